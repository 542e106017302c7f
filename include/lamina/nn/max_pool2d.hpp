#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

#include "lamina/nn/pooling.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of MaxPool2d.
struct MaxPool2dOptions {
  Size2 stride = kernel_sized;  ///< of the window, by height and width
  Padding padding = 0;          ///< places around the image that never win, at most half of the kernel; or "same"
  Size2 dilation = 1;           ///< distance between the taps of the window
  bool ceil_mode = false;       ///< also keep a last window that hangs over the edge
};

/// y[n, c, i, j] = max over a, b of x[n, c, i SH - PH + a DH, j SW - PW + b DW], in every window of kernel size KH, KW.
///
/// Shapes: x [N, C, H, W], y [N, C, OH, OW] with OH = floor((H + 2 PH - DH (KH - 1) - 1) / SH) + 1, or, with ceil_mode,
/// the ceiling, less a window that would begin behind the image; with a padding for each side, 2 PH is their sum and PH
/// above the first. Of equal values the first takes the gradient; a NaN
/// in the window is its maximum. Throws ValueError for sizes below 1 or a padding of more than half of the kernel,
/// ShapeError for an input that is not [N, C, H, W] or too small.
template <class Scalar = float>
class MaxPool2d : public Layer<MaxPool2d<Scalar>, Scalar> {
 public:
  /// What PyTorch's order of arguments is told here.
  template <std::integral Stride, class Padding, class... Rest>
  MaxPool2d(Size2, Stride, const Padding&, const Rest&...) : MaxPool2d(1) {
    static_assert(sizeof(Scalar) == 0,
                  "the options of MaxPool2d have names: MaxPool2d(3, {.stride = 2, .padding = 1}) and the like");
  }
  /// Shapes, defaults and errors are said at the class.
  explicit MaxPool2d(Size2 kernel_size, const MaxPool2dOptions& options = {})
      : window_{kernel_size, options.stride == kernel_sized ? kernel_size : options.stride, options.padding,
                options.dilation, options.ceil_mode} {
    window_.validate(*this);
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override { return window_.output_shape(*this, input); }
  Members<Scalar> members() override { return {}; }
  Fields fields() const override { return window_.fields("MaxPool2d"); }
  Index multiply_adds(const Shape&) const override { return 0; }
  Blocks blocks(const Values<Scalar>&) const override { return Blocks::keeps; }

  /// What it was made with.
  const Size2& kernel_size() const { return window_.kernel; }
  /// With the stride that was chosen.
  MaxPool2dOptions options() const { return {window_.stride, window_.padding, window_.dilation, window_.ceil_mode}; }

  /// y, and where its values come from: for each the place of its maximum in the image, row W + column, as PyTorch's
  /// return_indices. Of equal values the first counts.
  ///
  ///   auto [y, indices] = MaxPool2d(2).with_indices(x);
  std::pair<Tensor<Scalar>, Labels> with_indices(const Tensor<Scalar>& x) const {
    Labels places(output_shape(x.shape()));
    Tensor<Scalar> y = pool(x, places.data());
    const kernels::WindowAxis down = rows(x.dim(2)), across = columns(x.dim(3));
    std::int32_t* const at = places.data();
    for (Index i = 0; i < places.numel(); ++i) {
      const Index row = down.start(i / across.out % down.out) + at[i] / across.kernel * down.dilation;
      const Index column = across.start(i % across.out) + at[i] % across.kernel * across.dilation;
      at[i] = static_cast<std::int32_t>(row * across.in + column);
    }
    return {std::move(y), std::move(places)};
  }

  /// The padding of an image of this size, in numbers.
  Padding padding(const Size2& image) const { return window_.around(image); }
  /// The window along each axis of an image of such a height and width.
  /// @{
  kernels::WindowAxis rows(Index h) const { return window_.rows(h); }
  kernels::WindowAxis columns(Index w) const { return window_.columns(w); }
  /// @}

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return pool<std::uint8_t>(x, nullptr); }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    return with_tap_type([&]<class Tap>(Tap) {
      Tensor<Tap> taps(detail::pooled_shape(*this, x.shape()));
      Tensor<Scalar> y = pool(x, taps.data());
      tape.push(x.shape(), std::move(taps));
      return y;
    });
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    return with_tap_type([&]<class Tap>(Tap) {
      const auto [shape, taps] = tape.pop<Shape, Tensor<Tap>>();
      if (input_grad == InputGrad::skip) return Tensor<Scalar>();
      Tensor<Scalar> dx(shape);
      if (dx.empty()) return dx;
      kernels::max_pool_backward(shape[0] * shape[1], window_.rows(shape[2]), window_.columns(shape[3]),
                                 std::as_const(dy).data(), taps.data(), dx.data(), detail::in_blocks(dx));
      return dx;
    });
  }

  template <class Tap>
  Tensor<Scalar> pool(const Tensor<Scalar>& x, Tap* taps) const {
    Tensor<Scalar> y(detail::pooled_shape(*this, x.shape()));
    if (y.empty()) return y;
    kernels::max_pool(x.dim(0) * x.dim(1), window_.rows(x.dim(2)), window_.columns(x.dim(3)), x.data(), y.data(), taps,
                      detail::in_blocks(x));
    return y;
  }

  /// f with a value of the narrowest type that can number the taps of the window.
  template <class F>
  Tensor<Scalar> with_tap_type(F f) const {
    return window_.kernel.h * window_.kernel.w <= 256 ? f(std::uint8_t{}) : f(std::int32_t{});
  }

  detail::PoolWindow window_;
};

}  // namespace lamina::inline LAMINA_ABI
