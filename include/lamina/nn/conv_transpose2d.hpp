#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/normalization.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of ConvTranspose2d.
struct ConvTranspose2dOptions {
  Size2 stride = 1;          ///< of the window, by height and width
  Padding padding = 0;       ///< cut from the result's border
  Size2 output_padding = 0;  ///< rows below and columns to the right that the result has more
  Size2 dilation = 1;        ///< distance between the taps of the kernel
  Index groups = 1;          ///< each group of input channels makes its own output channels
  bool bias = true;          ///< whether a bias is added, which is learned
};

/// Transposed convolution, the gradient of a convolution with respect to its input (Zeiler et al. 2010):
///
///   y[n, m, i SH + a DH - top, j SW + b DW - left] += weight[c, m, a, b] x[n, c, i, j],   y += bias[m]
///
/// Shapes: x [N, C, H, W], weight [C, M / groups, KH, KW], bias [M], y [N, M, (H - 1) SH - top - bottom + DH (KH - 1) +
/// 1 + output_padding, the same for W]. Initial values, as PyTorch's, U(-b, b), b = 1 / sqrt(M / groups KH KW). Throws
/// ValueError for sizes below 1, groups that do not divide C and M, an output_padding that is not below the stride or
/// the dilation, or padding "same"; ShapeError for another input or one that leaves no result.
template <class Scalar = float>
class ConvTranspose2d : public Layer<ConvTranspose2d<Scalar>, Scalar> {
 public:
  /// [C, M / groups, KH, KW]
  Parameter<Scalar> weight;
  Parameter<Scalar> bias;  ///< empty with {.bias = false}

  /// What PyTorch's order of arguments is told here.
  template <std::integral Stride, class... Rest>
  ConvTranspose2d(Index, Index, Size2, Stride, const Rest&...) : ConvTranspose2d(1, 1, 1) {
    static_assert(
        sizeof(Scalar) == 0,
        "the options of ConvTranspose2d have names: ConvTranspose2d(8, 3, 4, {.stride = 2, .padding = 1}) and "
        "the like");
  }
  /// Shapes, defaults and errors are said at the class.
  ConvTranspose2d(Index in_channels, Index out_channels, Size2 kernel_size, const ConvTranspose2dOptions& options = {})
      : in_(in_channels), out_(out_channels), kernel_(kernel_size), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    const auto sizes = [&](const char* what, const Size2& size) {
      check(size.h >= 1 && size.w >= 1, what, " must be at least 1, got ", size);
      check(size.h <= largest_window && size.w <= largest_window, what, " must be at most ", largest_window);
    };
    check(in_ >= 1 && out_ >= 1, "channels must be at least 1");
    sizes("kernel_size", kernel_);
    sizes("stride", options_.stride);
    sizes("dilation", options_.dilation);
    check(options_.groups >= 1 && in_ % options_.groups == 0 && out_ % options_.groups == 0,
          "groups = ", options_.groups, " does not divide ", in_, " input and ", out_, " output channels");
    check(!options_.padding.same, "padding \"same\" is not for a transposed convolution");
    const Size2& more = options_.output_padding;
    check(more.h >= 0 && more.w >= 0 && more.h < std::max(options_.stride.h, options_.dilation.h) &&
              more.w < std::max(options_.stride.w, options_.dilation.w),
          "output_padding must be below the stride or the dilation, got ", more);
    const Shape filters{in_, out_ / options_.groups, kernel_.h, kernel_.w};
    weight = init::uniform_fan_in<Scalar>(filters, filters.product(1, 4));
    if (options_.bias) bias = init::uniform_fan_in<Scalar>({out_}, filters.product(1, 4));
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[1] == in_ && input[2] >= 1 && input[3] >= 1, *this,
                        ": expected an input [N, ", in_, ", H, W], got shape ", input);
    const Padding& p = options_.padding;
    const auto extent = [](Index n, Index stride, Index cut, Index dilation, Index kernel, Index more) {
      return (n - 1) * stride - cut + dilation * (kernel - 1) + 1 + more;
    };
    const Index h = extent(input[2], options_.stride.h, p.top + p.bottom, options_.dilation.h, kernel_.h,
                           options_.output_padding.h);
    const Index w = extent(input[3], options_.stride.w, p.left + p.right, options_.dilation.w, kernel_.w,
                           options_.output_padding.w);
    require<ShapeError>(h >= 1 && w >= 1, *this, ": the padding leaves nothing of the result, got shape ", input);
    return {input[0], out_, h, w};
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"weight", &weight}};
    if (options_.bias) result.push_back({"bias", &bias});
    return result;
  }
  Fields fields() const override {
    return Fields("ConvTranspose2d")
        .argument("in_channels", in_)
        .argument("out_channels", out_)
        .argument("kernel_size", kernel_)
        .option("stride", options_.stride, 1)
        .option("padding", options_.padding, 0)
        .option("output_padding", options_.output_padding, 0)
        .option("dilation", options_.dilation, 1)
        .option("groups", options_.groups, 1)
        .option("bias", options_.bias, true);
  }
  Index multiply_adds(const Shape& input) const override {
    output_shape(input);
    return input.numel() * (out_ / options_.groups) * kernel_.h * kernel_.w;
  }

  /// What it was made with.
  /// @{
  Index in_channels() const { return in_; }
  Index out_channels() const { return out_; }
  const Size2& kernel_size() const { return kernel_; }
  const ConvTranspose2dOptions& options() const { return options_; }
  /// @}

 private:
  /// The convolution whose input's gradient this is: from y to x. Where output_padding reaches the
  /// stride, it is no place for another window.
  kernels::ConvolutionShape sizes(const Shape& input) const {
    Padding p = options_.padding;
    p.bottom -= options_.output_padding.h / options_.stride.h * options_.stride.h;
    p.right -= options_.output_padding.w / options_.stride.w * options_.stride.w;
    return detail::convolution_shape(output_shape(input), in_, kernel_, options_, p);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    if (y.empty()) return y;
    kernels::convolution_backward_input(sizes(x.shape()), std::as_const(x).data(), weight.value.data(), y.data());
    if (!options_.bias) return y;
    const kernels::ChannelShape channels{y.dim(0), out_, y.dim(2) * y.dim(3)};
    Scalar* const out = y.data();
    kernels::map_channels(channels, out, bias.value.data(), kernels::Sum(), std::as_const(y).data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const Tensor<Scalar> gradient = std::move(dy);
    if (gradient.empty()) return Tensor<Scalar>::zeros(x.shape());
    const kernels::ConvolutionShape s = sizes(x.shape());
    if (weight.requires_grad)
      kernels::convolution_backward_weight<Scalar>(s, gradient.data(), x.data(), weight.gradient().data(), nullptr);
    if (options_.bias && bias.requires_grad)
      kernels::add_channel_sums(s.n, out_, s.h * s.w, gradient.data(), bias.gradient().data());
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(x.shape());
    kernels::convolution_forward<Scalar>(s, gradient.data(), std::as_const(weight).value.data(), nullptr, dx.data());
    return dx;
  }

  Index in_, out_;
  Size2 kernel_;
  ConvTranspose2dOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
