#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/depthwise.hpp"
#include "lamina/nn/context/adaptive_pyramid.hpp"

namespace lamina::inline LAMINA_ABI {

/// A depthwise convolution whose filters come with the images: x [N, C, H, W] and filters [N, C, K, K'] give y [N, C,
/// H, W],
///
///   y[n, c, i, j] = sum over a, b of filters[n, c, a, b] x[n, c, i + a - K / 2, j + b - K' / 2]
///
/// with zeros outside of the image. Throws ShapeError for filters of other numbers.
template <class Scalar = float>
class DynamicDepthwise : public JointLayer<DynamicDepthwise<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes images and filters, got ", x.size(), " values");
    const Shape &images = x[0].shape(), &filters = x[1].shape();
    require<ShapeError>(images.rank() == 4 && filters.rank() == 4 && images[0] == filters[0] &&
                            images[1] == filters[1] && filters[2] > 0 && filters[3] > 0,
                        *this, ": expected images [N, C, H, W] and filters [N, C, K, K], got ", images, " and ",
                        filters);
    return images;
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    return output_shapes(x)[0].numel() * x[1].shape()[2] * x[1].shape()[3];
  }

 private:
  /// Every channel of every image is a channel of one.
  static kernels::ConvolutionShape sizes(const Shape& x, const Shape& filters) {
    const Index planes = x[0] * x[1], kh = filters[2], kw = filters[3];
    kernels::ConvolutionShape s{.n = 1, .c = planes, .h = x[2], .w = x[3], .m = planes, .kh = kh, .kw = kw};
    s.top = kh / 2, s.bottom = (kh - 1) / 2, s.left = kw / 2, s.right = (kw - 1) / 2;
    s.groups = planes;
    return s;
  }

  Value<Scalar> do_infer(Values<Scalar> in) const override {
    Tensor<Scalar> y(output_shapes(in)[0]);
    const Tensor<Scalar> x = std::move(in[0].tensor), filters = std::move(in[1].tensor);
    const Scalar* const no_bias = nullptr;
    if (!y.empty())
      kernels::depthwise_forward(sizes(x.shape(), filters.shape()), x.data(), filters.data(), no_bias, y.data());
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [x, filters] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const kernels::ConvolutionShape s = sizes(x.shape(), filters.shape());
    const Scalar* const gradient = std::as_const(dy).data();
    Scalar* const no_bias = nullptr;
    Tensor<Scalar> dx, dfilters;
    if (needs[1] == InputGrad::compute) {
      dfilters = Tensor<Scalar>::zeros(filters.shape());
      if (!dy.empty()) kernels::depthwise_backward_weight(s, x.data(), gradient, dfilters.data(), no_bias);
    }
    if (needs[0] == InputGrad::compute) {
      dx = Tensor<Scalar>(x.shape());
      if (!dy.empty()) kernels::depthwise_backward_input(s, gradient, filters.data(), dx.data());
    }
    return {std::move(dx), std::move(dfilters)};
  }
};

/// The dynamic convolutional module of DMNet (He et al. 2019b, section 3.2, as mmsegmentation has it): a depthwise
/// convolution whose K x K filters are made from the image,
///
///   y = fusion_conv(relu(norm(input_redu_conv(x) * filter_gen_conv(mean of x over K x K regions))))
///
/// with 1x1 convolutions; input_redu_conv and fusion_conv are followed by BatchNorm and ReLU, filter_gen_conv has a
/// bias. Shapes: x [N, in_channels, H, W], y [N, channels, H, W]. Keys of the state are mmsegmentation's. Errors are
/// those of the parts.
template <class Scalar = float>
class DynamicContext : public Block<DynamicContext<Scalar>, Scalar> {
 public:
  /// The parts, as above.
  /// @{
  Conv2d<Scalar> filter_gen_conv;
  Sequential<Scalar> input_redu_conv;
  BatchNorm2d<Scalar> norm;
  Sequential<Scalar> fusion_conv;
  /// @}

  /// Without fusion there is no fusion_conv.
  DynamicContext(Index filter_size, Index in_channels, Index channels, bool fusion = true, double norm_momentum = 0.1)
      : filter_gen_conv(in_channels, channels, 1),
        input_redu_conv(detail::pointwise<Scalar>(in_channels, channels, norm_momentum)),
        norm(channels, {.momentum = norm_momentum}),
        regions_(filter_size),
        filter_size_(filter_size) {
    if (fusion) fusion_conv = detail::pointwise<Scalar>(channels, channels, norm_momentum);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> filters = run(filter_gen_conv, run(regions_, x));
    Value<Scalar> y = run(convolve_, run(input_redu_conv, std::move(x)), std::move(filters));
    return run(fusion_conv, run(relu_, run(norm, std::move(y))));
  }
  Members<Scalar> members() override {
    return {{"", regions_},
            {"filter_gen_conv", filter_gen_conv},
            {"input_redu_conv", input_redu_conv},
            {"", convolve_},
            {"norm", norm},
            {"", relu_},
            {"fusion_conv", fusion_conv}};
  }
  Fields fields() const override { return Fields("DynamicContext").argument("filter_size", filter_size_); }

 private:
  AdaptiveAvgPool2d<Scalar> regions_;
  DynamicDepthwise<Scalar> convolve_;
  ReLU<Scalar> relu_;
  Index filter_size_;
};

/// Options of dynamic_pyramid.
struct DynamicPyramidOptions {
  Index channels = 0;                           ///< of each module's result; 0: as many as x has, as in table 3
  std::vector<Index> filter_sizes{1, 3, 5, 7};  ///< a module each
  bool fusion = true;                           ///< table 3 has it, mmsegmentation's networks have not
  double norm_momentum = 0.1;                   ///< of the norms
};

/// DMNet's pyramid: [x, y_1, y_2, ...] along the channels, a DynamicContext for each size of filters. Shapes: x [N,
/// channels, H, W], y [N, channels + filter_sizes * options.channels, H, W]; what follows, in mmsegmentation, is a 3x3
/// convolution. Keys are its, dcm_modules.0.filter_gen_conv.weight and so on. Throws ValueError without filter sizes,
/// and as its parts.
template <class Scalar = float>
Concat<Scalar> dynamic_pyramid(Index channels, const DynamicPyramidOptions& options = {}) {
  require(!options.filter_sizes.empty(), "dynamic_pyramid: there are no filter sizes");
  const Index each = options.channels > 0 ? options.channels : channels;
  Concat<Scalar> result{{"", Identity<Scalar>()}};
  for (std::size_t i = 0; i < options.filter_sizes.size(); ++i)
    result.add(text("dcm_modules.", i),
               DynamicContext<Scalar>(options.filter_sizes[i], channels, each, options.fusion, options.norm_momentum));
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
