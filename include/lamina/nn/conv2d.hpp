#pragma once

#include <concepts>
#include <string>
#include <utility>

#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"
#include "lamina/nn/packed_cache.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Conv2d.
struct Conv2dOptions {
  Size2 stride = 1;     ///< of the window, by height and width
  Padding padding = 0;  ///< zeros around the image, or "same"
  Size2 dilation = 1;   ///< distance between the taps of the kernel
  Index groups = 1;     ///< each group of C / groups input channels makes M / groups output channels
  bool bias = true;     ///< whether a bias is added, which is learned
};

namespace detail {

/// The sizes of a convolution of x [N, C, H, W] to M channels, for the kernels.
template <class Options>
kernels::ConvolutionShape convolution_shape(const Shape& x, Index m, const Size2& kernel, const Options& options,
                                            const Padding& p) {
  return kernels::bounded({.n = x[0],
                           .c = x[1],
                           .h = x[2],
                           .w = x[3],
                           .m = m,
                           .kh = kernel.h,
                           .kw = kernel.w,
                           .sh = options.stride.h,
                           .sw = options.stride.w,
                           .dh = options.dilation.h,
                           .dw = options.dilation.w,
                           .top = p.top,
                           .bottom = p.bottom,
                           .left = p.left,
                           .right = p.right,
                           .groups = options.groups});
}

/// What Conv2d and Conv1d share: everything but the shapes. Derived gives output_shape and `sizes(input)`, those of the
/// convolution over images.
template <class Derived, class Scalar>
class Convolution : public Layer<Derived, Scalar> {
 public:
  /// [M, C / groups, kernel...]
  Parameter<Scalar> weight;
  Parameter<Scalar> bias;  ///< [M], or empty

  Members<Scalar> members() override {
    Members<Scalar> result{{"weight", &weight}};
    if (has_bias()) result.push_back({"bias", &bias});
    return result;
  }
  Index multiply_adds(const Shape& input) const override {
    return this->output_shape(input).numel() * weight.value.shape().product(1, weight.value.rank());
  }
  Index scratch(const Shape& input) const override {
    kernels::ConvolutionShape s = self().sizes(input);
    if (kernels::takes_blocks<Scalar>(s)) {  // as between layers in blocks
      s.blocked_x = fits_blocks<Scalar>(s.c);
      s.blocked_y = s.depthwise() ? s.blocked_x : fits_blocks<Scalar>(s.m);
    }
    return kernels::convolution_memory<Scalar>(s);
  }

 protected:
  /// Draws the parameters.
  void draw(const Shape& filters, bool with_bias) {
    const Index fan_in = filters.product(1, filters.rank());
    weight = init::uniform_fan_in<Scalar>(filters, fan_in);
    if (with_bias) bias = init::uniform_fan_in<Scalar>({filters[0]}, fan_in);
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }
  bool has_bias() const { return self().options().bias; }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    return convolve(x, false, [&](const auto& s, const Scalar* in, const Scalar* added, Scalar* y) {
      const auto filters = filters_.get(
          weight.value, [&](const auto& packed) { return packed.method == kernels::forward_method<Scalar>(s); },
          [&] { return kernels::pack_filters(s, weight.value.data()); });
      kernels::convolution_forward(s, in, filters, added, y);
    });
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    filters_.clear();
    tape.push(x);
    const bool blocked = tape.in_blocks() && fits_blocks<Scalar>(weight.value.dim(0));
    return convolve(x, blocked, [&](const auto& s, const Scalar* in, const Scalar* added, Scalar* y) {
      kernels::convolution_forward(s, in, std::as_const(weight).value.data(), added, y);
    });
  }

  /// The sizes for an input, with how it and the result lie.
  kernels::ConvolutionShape sizes_of(const Shape& x, bool blocked_y) const {
    kernels::ConvolutionShape s = self().sizes(images_shape(x, self().in_channels()));
    s.blocked_x = x.rank() == 5;
    s.blocked_y = s.depthwise() ? s.blocked_x : blocked_y;
    return s;
  }

  /// y, which forward(sizes, x, bias or null, y) makes.
  template <class Forward>
  Tensor<Scalar> convolve(const Tensor<Scalar>& x, bool blocked, Forward forward) const {
    const Shape shape = this->output_shape(images_shape(x.shape(), self().in_channels()));
    const kernels::ConvolutionShape s = sizes_of(x.shape(), blocked);
    Tensor<Scalar> y(s.blocked_y ? blocked_shape<Scalar>(shape) : shape);
    if (y.empty()) return y;
    forward(s, x.data(), has_bias() ? bias.value.data() : nullptr, y.data());
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const kernels::ConvolutionShape s = sizes_of(x.shape(), in_blocks(dy));
    const bool needs_bias = has_bias() && bias.requires_grad;
    const Tensor<Scalar> gradient = std::move(dy);
    if (gradient.empty()) return Tensor<Scalar>::zeros(x.shape());
    if (weight.requires_grad)
      kernels::convolution_backward_weight(s, x.data(), gradient.data(), weight.gradient().data(),
                                           needs_bias ? bias.gradient().data() : nullptr);
    else if (needs_bias)
      kernels::add_channel_sums(s.n, s.m, s.oh() * s.ow(), gradient.data(), bias.gradient().data(), s.blocked_y);
    if (input_grad == InputGrad::skip) return {};
    const Scalar* const filters = std::as_const(weight).value.data();
    Tensor<Scalar> before = tape.template take_gradient<Scalar>(0);
    if (!before.empty() && before.exclusive() &&
        kernels::add_convolution_backward_input(s, gradient.data(), filters, before.data()))
      return before;
    Tensor<Scalar> dx(x.shape());
    kernels::convolution_backward_input(s, gradient.data(), filters, dx.data());
    return before.empty() ? dx : add(std::move(before), std::move(dx));
  }

  PackedCache<Scalar, kernels::PackedFilters<Scalar>> filters_;
};

}  // namespace detail

/// Two-dimensional convolution (cross-correlation, as PyTorch's):
///
///   y[n, m, i, j] = bias[m] + sum over c, a, b of weight[m, c, a, b] x[n, c, i SH + a DH - top, j SW + b DW - left]
///
/// Shapes: x [N, C, H, W], weight [M, C / groups, KH, KW], bias [M],
/// y [N, M, floor((H + top + bottom - DH (KH - 1) - 1) / SH) + 1, the same for W].
/// Weight and bias start from U(-b, b), b = 1 / sqrt(C / groups * KH * KW), drawn from default_random().
/// With padding "same" the zeros are as many as make ceil(H / SH) rows and ceil(W / SW) columns, see Padding.
/// Throws ValueError for sizes below 1 or groups that do not divide C and M; ShapeError for an input that is not
/// [N, C, H, W] or is smaller than the kernel. (LeCun et al. 1998.)
template <class Scalar = float>
class Conv2d : public detail::Convolution<Conv2d<Scalar>, Scalar> {
 public:
  /// What PyTorch's order of arguments is told here.
  template <std::integral Stride, class... Rest>
  Conv2d(Index, Index, Size2, Stride, const Rest&...) : Conv2d(1, 1, 1) {
    static_assert(sizeof(Scalar) == 0,
                  "the options of Conv2d have names: Conv2d(3, 8, 3, {.stride = 2, .padding = 1}) and the like");
  }
  /// Shapes, defaults and errors are said at the class.
  Conv2d(Index in_channels, Index out_channels, Size2 kernel_size, const Conv2dOptions& options = {})
      : in_(in_channels), out_(out_channels), kernel_(kernel_size), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    check(in_ >= 1 && out_ >= 1, "channels must be at least 1");
    check(kernel_.h >= 1 && kernel_.w >= 1, "kernel_size must be at least 1");
    check(options_.stride.h >= 1 && options_.stride.w >= 1, "stride must be at least 1, got ", options_.stride);
    check(options_.dilation.h >= 1 && options_.dilation.w >= 1, "dilation must be at least 1, got ", options_.dilation);
    check(std::max({kernel_.h, kernel_.w, options_.dilation.h, options_.dilation.w}) <= largest_window,
          "kernel_size and dilation must be at most ", largest_window);
    check(options_.groups >= 1, "groups must be at least 1, got ", options_.groups);
    check(in_ % options_.groups == 0 && out_ % options_.groups == 0, "groups = ", options_.groups, " does not divide ",
          in_, " input and ", out_, " output channels");
    // At stride 1 the numbers do not depend on the image.
    if (options_.stride == Size2(1)) options_.padding = padding({1, 1});
    this->draw({out_, in_ / options_.groups, kernel_.h, kernel_.w}, options_.bias);
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4, *this, ": expected an input [N, ", in_, ", H, W], got shape ", input);
    require<ShapeError>(input[1] == in_, *this, ": expected ", in_, " input channels, got shape ", input);
    const Padding p = padding({input[2], input[3]});
    require<ShapeError>(input[2] + p.top + p.bottom >= options_.dilation.h * (kernel_.h - 1) + 1 &&
                            input[3] + p.left + p.right >= options_.dilation.w * (kernel_.w - 1) + 1,
                        *this, ": the kernel is larger than the padded image, got shape ", input);
    const kernels::ConvolutionShape s = sizes(input);
    return {input[0], out_, s.oh(), s.ow()};
  }

  Fields fields() const override {
    return Fields("Conv2d")
        .argument("in_channels", in_)
        .argument("out_channels", out_)
        .argument("kernel_size", kernel_)
        .option("stride", options_.stride, 1)
        .option("padding", options_.padding, 0)
        .option("dilation", options_.dilation, 1)
        .option("groups", options_.groups, 1)
        .option("bias", options_.bias, true);
  }

  /// Where the kernels can. What is frozen computes as infer does, to the bit.
  Blocks blocks(const Values<Scalar>& x) const override {
    const Shape& shape = x[0].shape();
    if (this->frozen() || shape.rank() != 4 || shape[1] != in_) return Blocks::no;
    const kernels::ConvolutionShape s = sizes(shape);
    if (s.oh() < 1 || s.ow() < 1 || !kernels::takes_blocks<Scalar>(s)) return Blocks::no;
    return s.depthwise() ? Blocks::keeps : Blocks::either;
  }

  /// What it was made with.
  /// @{
  Index in_channels() const { return in_; }
  Index out_channels() const { return out_; }
  const Size2& kernel_size() const { return kernel_; }
  const Conv2dOptions& options() const { return options_; }
  /// @}

  /// The zeros around an image of this size.
  Padding padding(const Size2& image) const {
    return options_.padding.around(image, kernel_, options_.stride, options_.dilation);
  }
  /// The sizes of the convolution of an input of this shape, for the kernels.
  kernels::ConvolutionShape sizes(const Shape& input) const {
    return detail::convolution_shape(input, out_, kernel_, options_, padding({input[2], input[3]}));
  }

 private:
  Index in_, out_;
  Size2 kernel_;
  Conv2dOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
