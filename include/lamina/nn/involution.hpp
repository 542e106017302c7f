#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/involution.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/relu.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Involution.
struct InvolutionOptions {
  Index groups = 1;     ///< G; each group of C / G channels shares a kernel
  Index stride = 1;     ///< S
  Index reduction = 4;  ///< r; the kernels come from C / r features,
  Index features = 0;   ///< or from so many: the Keras listing's channel / reduction_ratio, whatever C is; 0: C / r
  Index dilation = 1;   ///< D, distance between the taps of a kernel
  /// false: channel c is in group c / (C / G), and the taps of a group are neighbours, as in the paper's program.
  /// true: it is in group c % G, and the groups of a tap are neighbours, as in the Keras listing; and zeros are put
  /// around the image as TensorFlow's SAME does.
  bool groups_innermost = false;
  bool bias = false;           ///< also in the convolution before the norm, as in the Keras listing
  BatchNormOptions norm = {};  ///< of the norm between the two 1x1 convolutions
};

/// The sum of an Involution: x [N, C, H, W] and kernels [N, K^2 G, OH, OW] give y [N, C, OH, OW]. Throws ShapeError for
/// kernels of another shape.
template <class Scalar = float>
class Involve : public JointLayer<Involve<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  Involve(Index kernel_size, const InvolutionOptions& options) : kernel_(kernel_size), options_(options) {}

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes images and kernels, got ", x.size(), " values");
    const Shape& input = x[0].shape();
    const kernels::InvolutionShape s = sizes(input);
    const Shape kernels{input[0], options_.groups * kernel_ * kernel_, s.oh(), s.ow()};
    require<ShapeError>(x[1].shape() == kernels, *this, ": expected kernels ", kernels, " for images ", input,
                        ", got shape ", x[1].shape());
    return Shape{input[0], input[1], s.oh(), s.ow()};
  }
  Fields fields() const override {
    return Fields("Involve")
        .argument("kernel_size", kernel_)
        .option("groups", options_.groups)
        .option("stride", options_.stride)
        .field("dilation", options_.dilation, "")
        .field("groups_innermost", options_.groups_innermost, "");
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    return output_shapes(x)[0].numel() * kernel_ * kernel_;
  }

  /// Of the windows over images of this shape.
  kernels::InvolutionShape sizes(const Shape& input) const {
    return {.n = input[0],
            .c = input[1],
            .h = input[2],
            .w = input[3],
            .groups = options_.groups,
            .kernel = kernel_,
            .stride = options_.stride,
            .dilation = std::min(options_.dilation, std::max(input[2], input[3])),  // beyond, the taps see zeros
            .groups_innermost = options_.groups_innermost};
  }

 private:
  Value<Scalar> do_infer(Values<Scalar> in) const override {
    Tensor<Scalar> y(output_shapes(in)[0]);
    const Tensor<Scalar> x = std::move(in[0].tensor), kernels = std::move(in[1].tensor);
    if (!y.empty()) kernels::involution_forward(sizes(x.shape()), x.data(), kernels.data(), y.data());
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> in, Tape& tape) override {
    tape.push(in[0].tensor, in[1].tensor);
    return do_infer(std::move(in));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    auto [x, kernels] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const kernels::InvolutionShape s = sizes(x.shape());
    Tensor<Scalar> dx, dkernels;
    if (needs[1] == InputGrad::compute) {
      dkernels = Tensor<Scalar>::zeros(kernels.shape());
      if (!dy.empty())
        kernels::involution_backward_kernels(s, std::as_const(x).data(), std::as_const(dy).data(), dkernels.data());
    }
    if (needs[0] == InputGrad::compute) {
      dx = Tensor<Scalar>::zeros(x.shape());
      if (!dy.empty())
        kernels::involution_backward_input(s, std::as_const(kernels).data(), std::as_const(dy).data(), dx.data());
    }
    return {std::move(dx), std::move(dkernels)};
  }

  Index kernel_;
  InvolutionOptions options_;
};

/// Involution (Li et al. 2021, equations 4 and 6): every pixel has a K x K kernel of its own, made from the features at
/// that pixel, which the channels of a group share:
///
///   kernels = conv2(relu(bn(conv1(x)))),    1x1 convolutions C -> features -> K^2 G; x is averaged over S x S before
///   y[n, c, i, j] = sum over a, b of kernels[n, g(c), a, b, i, j] x[n, c, i S + a D - P, j S + b D - P']
///
/// with zeros around the image: P = P' = (K - 1) / 2 D or, with groups_innermost, half of what the windows of that axis
/// need beyond the image, rounded down: P = max(0, (ceil(H / S) - 1) S + (K - 1) D + 1 - H) / 2. Shapes: x [N, C, H,
/// W], y [N, C, ceil(H / S), ceil(W / S)]; at an edge that S does not divide, the average is over the pixels that there
/// are. Keys are those of the paper's program: conv1.conv.weight, conv1.bn.weight, ..., conv2.conv.weight,
/// conv2.conv.bias.
///
/// Throws ValueError for sizes below 1, an even K, groups that do not divide C or a reduction that leaves no feature;
/// ShapeError for an input that is not [N, C, H, W] or smaller than the stride.
template <class Scalar = float>
class Involution : public Block<Involution<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  Involution(Index channels, Index kernel_size, const InvolutionOptions& options = {})
      : channels_(channels), kernel_(kernel_size), options_(options), involve_(kernel_size, options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    check(channels_ >= 1, "channels must be at least 1");
    check(kernel_ >= 1 && kernel_ % 2 == 1, "kernel_size must be odd, got ", kernel_);
    check(options_.groups >= 1, "groups must be at least 1, got ", options_.groups);
    check(channels_ % options_.groups == 0, "groups = ", options_.groups, " does not divide ", channels_, " channels");
    check(options_.stride >= 1, "stride must be at least 1, got ", options_.stride);
    check(options_.dilation >= 1, "dilation must be at least 1, got ", options_.dilation);
    check(options_.reduction >= 1, "reduction must be at least 1, got ", options_.reduction);
    check(options_.features >= 0, "features must not be negative, got ", options_.features);
    check(options_.features > 0 || channels_ >= options_.reduction, "reduction = ", options_.reduction,
          " leaves none of ", channels_, " channels");
    const Index features = options_.features > 0 ? options_.features : channels_ / options_.reduction;
    if (options_.stride > 1) generator_.add("", AvgPool2d<Scalar>(options_.stride, {.ceil_mode = true}));
    generator_.add("conv1",
                   Sequential<Scalar>{{"conv", Conv2d<Scalar>(channels_, features, 1, {.bias = options_.bias})},
                                      {"bn", BatchNorm2d<Scalar>(features, options_.norm)},
                                      {"", ReLU<Scalar>()}});
    generator_.add("conv2",
                   Sequential<Scalar>{{"conv", Conv2d<Scalar>(features, options_.groups * kernel_ * kernel_, 1)}});
  }

  /// The kernels that infer would use: [N, G, K, K, OH, OW], or with groups_innermost [N, K, K, G, OH, OW].
  Tensor<Scalar> kernels(const Tensor<Scalar>& x) const {
    const Shape y = this->output_shape(x.shape());
    const Tensor<Scalar> result = generator_.infer(x);
    if (options_.groups_innermost) return result.reshape({y[0], kernel_, kernel_, options_.groups, y[2], y[3]});
    return result.reshape({y[0], options_.groups, kernel_, kernel_, y[2], y[3]});
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Shape& input = x.shape();
    require<ShapeError>(input.rank() == 4, *this, ": expected an input [N, ", channels_, ", H, W], got shape ", input);
    require<ShapeError>(input[1] == channels_, *this, ": expected ", channels_, " channels, got shape ", input);
    require<ShapeError>(input[2] >= options_.stride && input[3] >= options_.stride, *this,
                        ": the stride is larger than the image, got shape ", input);
    Value<Scalar> kernels = run(generator_, x);
    return run(involve_, std::move(x), std::move(kernels));
  }

  Members<Scalar> members() override { return {{"", generator_}, {"", involve_}}; }

  Fields fields() const override {
    const InvolutionOptions usual;
    return Fields("Involution")
        .argument("channels", channels_)
        .argument("kernel_size", kernel_)
        .option("groups", options_.groups, usual.groups)
        .option("stride", options_.stride, usual.stride)
        .option("reduction", options_.reduction, usual.reduction)
        .option("features", options_.features, usual.features)
        .option("dilation", options_.dilation, usual.dilation)
        .option("groups_innermost", options_.groups_innermost, false)
        .option("bias", options_.bias, false);
  }

 private:
  Index channels_, kernel_;
  InvolutionOptions options_;
  Sequential<Scalar> generator_;
  Involve<Scalar> involve_;
};

}  // namespace lamina::inline LAMINA_ABI
