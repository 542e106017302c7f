#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/add.hpp"
#include "lamina/nn/hamburger/hamburger.hpp"
#include "lamina/nn/sigmoid.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {
/// relu(BatchNorm(W x)) with the keys conv and bn.
template <class Scalar>
Sequential<Scalar> pointwise(Index in, Index out, double momentum) {
  return {{"conv", HamburgerParts<Scalar>::convolution(in, out, false)},
          {"bn", BatchNorm2d<Scalar>(out, {.momentum = momentum})},
          {"act", ReLU<Scalar>()}};
}
}  // namespace detail

/// The features of regions, summed for every pixel with its own weights: regions [N, C, S, S'] and weights [N, S S', H,
/// W] give y [N, C, H, W],
///
///   y[n, c, p] = sum over regions r of regions[n, c, r] weights[n, r, p]
///
/// Throws ShapeError for others.
template <class Scalar = float>
class MixRegions : public JointLayer<MixRegions<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes regions and weights, got ", x.size(), " values");
    const Shape &regions = x[0].shape(), &weights = x[1].shape();
    require<ShapeError>(
        regions.rank() == 4 && weights.rank() == 4 && regions[0] == weights[0] && regions[2] * regions[3] == weights[1],
        *this, ": expected regions [N, C, S, S'] and weights [N, S S', H, W], got ", regions, " and ", weights);
    return weights.with(1, regions[1]);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    return output_shapes(x)[0].numel() * x[1].shape()[1];
  }

 private:
  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y(output_shapes(x)[0]);
    const Tensor<Scalar> regions = std::move(x[0].tensor), weights = std::move(x[1].tensor);
    const Index c = regions.dim(1), r = weights.dim(1), n = weights.dim(2) * weights.dim(3);
    Scalar* const out = y.data();
    for (Index image = 0; image < y.dim(0); ++image)
      kernels::gemm(c, n, r, kernels::row_major(regions.data() + image * c * r, r),
                    kernels::row_major(weights.data() + image * r * n, n), out + image * c * n);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [regions, weights] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const Index c = regions.dim(1), r = weights.dim(1), n = weights.dim(2) * weights.dim(3);
    Tensor<Scalar> dregions(regions.shape()), dweights(weights.shape());
    Scalar *const to_regions = dregions.data(), *const to_weights = dweights.data();
    for (Index image = 0; image < dy.dim(0); ++image) {
      const Scalar* const gradient = std::as_const(dy).data() + image * c * n;
      kernels::gemm(c, r, n, kernels::row_major(gradient, n), kernels::transposed(weights.data() + image * r * n, n),
                    to_regions + image * c * r);
      kernels::gemm(r, n, c, kernels::transposed(regions.data() + image * c * r, r), kernels::row_major(gradient, n),
                    to_weights + image * r * n);
    }
    return {std::move(dregions), std::move(dweights)};
  }
};

/// The adaptive context module of APCNet (He et al. 2019a, section 3.2, as its authors' program has it): the mean
/// features of scale x scale regions, mixed for every pixel by weights that the pixel and the whole image give,
///
///   h = input_redu_conv(x),   r = pooled_redu_conv(mean of x over the regions)
///   a = sigmoid(gla(h + global_info(mean of h)))                                   [N, scale², H, W]
///   y = fusion_conv(relu(residual_conv(sum over regions of r a) + h))
///
/// where all are 1x1 convolutions, and but for gla, which has a bias, followed by BatchNorm and ReLU. Shapes: x [N,
/// in_channels, H, W], y [N, channels, H, W]. Keys of the state are the authors'. Errors are those of the parts.
template <class Scalar = float>
class AdaptiveContext : public Block<AdaptiveContext<Scalar>, Scalar> {
 public:
  /// The parts, as above.
  /// @{
  Sequential<Scalar> pooled_redu_conv, input_redu_conv, global_info;
  Conv2d<Scalar> gla;
  Sequential<Scalar> residual_conv, fusion_conv;
  /// @}

  /// Shapes, defaults and errors are said at the class.
  AdaptiveContext(Index scale, Index in_channels, Index channels, double norm_momentum = 0.1)
      : pooled_redu_conv(detail::pointwise<Scalar>(in_channels, channels, norm_momentum)),
        input_redu_conv(detail::pointwise<Scalar>(in_channels, channels, norm_momentum)),
        global_info(detail::pointwise<Scalar>(channels, channels, norm_momentum)),
        gla(channels, scale * scale, 1),
        residual_conv(detail::pointwise<Scalar>(channels, channels, norm_momentum)),
        fusion_conv(detail::pointwise<Scalar>(channels, channels, norm_momentum)),
        regions_(scale),
        scale_(scale) {}

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> regions = run(pooled_redu_conv, run(regions_, x));
    const Value<Scalar> h = run(input_redu_conv, std::move(x));
    Value<Scalar> weights = run(sigmoid_, run(gla, run(add_, h, run(global_info, run(mean_, h)))));
    Value<Scalar> mixed = run(residual_conv, run(mix_, std::move(regions), std::move(weights)));
    return run(fusion_conv, run(relu_, run(add_, std::move(mixed), h)));
  }
  Members<Scalar> members() override {
    return {{"", regions_},
            {"", mean_},
            {"pooled_redu_conv", pooled_redu_conv},
            {"input_redu_conv", input_redu_conv},
            {"global_info", global_info},
            {"gla", gla},
            {"", sigmoid_},
            {"", mix_},
            {"residual_conv", residual_conv},
            {"", add_},
            {"", relu_},
            {"fusion_conv", fusion_conv}};
  }
  Fields fields() const override { return Fields("AdaptiveContext").argument("scale", scale_); }

 private:
  AdaptiveAvgPool2d<Scalar> regions_, mean_{1};
  Sigmoid<Scalar> sigmoid_;
  MixRegions<Scalar> mix_;
  Add<Scalar> add_;
  ReLU<Scalar> relu_;
  Index scale_;
};

/// Options of adaptive_pyramid.
struct AdaptivePyramidOptions {
  Index channels = 0;                     ///< of each module's result; 0: half of x's, as in table 3
  std::vector<Index> scales{1, 2, 3, 6};  ///< regions along a side, a module each
  double norm_momentum = 0.1;             ///< of the norms
};

/// APCNet's pyramid: [x, y_1, y_2, ...] along the channels, an AdaptiveContext for each scale. Shapes: x [N, channels,
/// H, W], y [N, channels + scales * options.channels, H, W]; what follows, in the authors' program, is a 3x3
/// convolution. Keys are theirs, acm_modules.0.gla.weight and so on. Throws ValueError without scales, and as its
/// parts.
template <class Scalar = float>
Concat<Scalar> adaptive_pyramid(Index channels, const AdaptivePyramidOptions& options = {}) {
  require(!options.scales.empty(), "adaptive_pyramid: there are no scales");
  const Index each = options.channels > 0 ? options.channels : channels / 2;
  Concat<Scalar> result{{"", Identity<Scalar>()}};
  for (std::size_t i = 0; i < options.scales.size(); ++i)
    result.add(text("acm_modules.", i),
               AdaptiveContext<Scalar>(options.scales[i], channels, each, options.norm_momentum));
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
