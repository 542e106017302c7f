#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/pooling.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"

/// What the pooling layers share.
namespace lamina::inline LAMINA_ABI {

/// As a stride: that of the kernel, so that the windows tile the image.
inline constexpr Size2 kernel_sized{std::numeric_limits<Index>::min(), std::numeric_limits<Index>::min()};

namespace detail {

/// Throws ShapeError unless the input is [N, C, H, W] with at least one pixel.
template <class Scalar>
void require_images(const Module<Scalar>& layer, const Shape& input) {
  require<ShapeError>(input.rank() == 4, layer, ": expected an input [N, C, H, W], got shape ", input);
  require<ShapeError>(input[2] >= 1 && input[3] >= 1, layer, ": expected images of at least 1 x 1, got shape ", input);
}

/// What a layer that pools makes of a tensor, in blocks or not.
template <class Scalar>
Shape pooled_shape(const Module<Scalar>& layer, const Shape& x) {
  if (x.rank() != 5) return layer.output_shape(x);
  const Shape y = layer.output_shape(images_shape(x, x[1]));
  return {y[0], y[1], y[2], y[3], x[4]};
}

/// The sliding window of MaxPool2d and AvgPool2d.
struct PoolWindow {
  Size2 kernel, stride;
  Padding padding;
  Size2 dilation;
  bool ceil_mode;

  /// Throws ValueError unless the sizes make sense.
  template <class Scalar>
  void validate(const Module<Scalar>& layer) const {
    const auto at_least = [&](const char* what, Size2 size, Index least) {
      require(size.h >= least && size.w >= least, layer, ": ", what, " must be at least ", least, ", got ", size);
    };
    at_least("kernel_size", kernel, 1);
    at_least("stride", stride, 1);
    at_least("dilation", dilation, 1);
    require(std::max({kernel.h, kernel.w, dilation.h, dilation.w}) <= largest_window, layer,
            ": kernel_size and dilation must be at most ", largest_window);
    require(
        std::max(padding.top, padding.bottom) <= kernel.h / 2 && std::max(padding.left, padding.right) <= kernel.w / 2,
        layer, ": padding must be at most half of kernel_size ", kernel, ", got ", padding);
    require(!padding.same || !ceil_mode, layer, ": with padding \"same\" no window hangs over for ceil_mode");
  }

  Fields fields(std::string type) const {
    return Fields(std::move(type))
        .argument("kernel_size", kernel)
        .option("stride", stride, kernel)
        .option("padding", padding, 0)
        .option("dilation", dilation, 1)
        .option("ceil_mode", ceil_mode, false);
  }

  /// The padding of an image of this size, in numbers.
  Padding around(const Size2& image) const { return padding.around(image, kernel, stride, dilation); }

  kernels::WindowAxis rows(Index h) const {
    const Padding p = around({h, 1});
    return axis(h, kernel.h, stride.h, p.top, p.bottom, dilation.h);
  }
  kernels::WindowAxis columns(Index w) const {
    const Padding p = around({1, w});
    return axis(w, kernel.w, stride.w, p.left, p.right, dilation.w);
  }

  /// Throws ShapeError when the input is not [N, C, H, W] or the window does not fit into it.
  template <class Scalar>
  Shape output_shape(const Module<Scalar>& layer, const Shape& input) const {
    require_images(layer, input);
    const kernels::WindowAxis y = rows(input[2]), x = columns(input[3]);
    require<ShapeError>(y.out >= 1 && x.out >= 1, layer, ": the window is larger than the padded image, ", "got shape ",
                        input);
    require<ShapeError>(sees_image(y) && sees_image(x), layer, ": a window lies in the padding alone, ", "got shape ",
                        input);
    return {input[0], input[1], y.out, x.out};
  }

 private:
  kernels::WindowAxis axis(Index in, Index size, Index step, Index before, Index behind, Index spacing) const {
    step = std::min(step, in + before + behind + spacing * (size - 1) + 1);  // beyond, there is no second window
    const Index room = in + before + behind - spacing * (size - 1) - 1 + (ceil_mode ? step - 1 : 0);
    Index out = room < 0 ? 0 : room / step + 1;
    if (ceil_mode && (out - 1) * step >= in + before) --out;  // the last window would begin behind the image
    return {in, out, size, out == 1 ? 1 : step, before, size == 1 ? 1 : spacing};  // what says nothing may be huge
  }
  /// Only a dilated window can step over the whole image.
  static bool sees_image(const kernels::WindowAxis& axis) {
    if (axis.dilation == 1 || axis.padding == 0) return true;
    for (Index o = 0; o < axis.out; ++o)
      if (axis.first_tap(o) >= axis.end_tap(o)) return false;
    return true;
  }
};

/// Averages over windows: a layer says where they lie along each axis of the image.
template <class Derived, class Scalar>
class AveragePool : public Layer<Derived, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Members<Scalar> members() override { return {}; }
  Index multiply_adds(const Shape&) const override { return 0; }
  /// What is frozen computes as infer does, to the bit.
  Blocks blocks(const Values<Scalar>&) const override { return this->frozen() ? Blocks::no : Blocks::keeps; }

  /// What each output sees along the axes of an image of such a height and width.
  virtual std::vector<kernels::Span> row_spans(Index h) const = 0;
  virtual std::vector<kernels::Span> column_spans(Index w) const = 0;

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(pooled_shape(*this, x.shape()));
    if (y.empty()) return y;
    kernels::avg_pool(x.dim(0) * x.dim(1), x.dim(2), x.dim(3), row_spans(x.dim(2)), column_spans(x.dim(3)),
                      std::as_const(x).data(), y.data(), in_blocks(x));
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(shape);
    if (dx.empty()) return dx;
    kernels::avg_pool_backward(shape[0] * shape[1], shape[2], shape[3], row_spans(shape[2]), column_spans(shape[3]),
                               std::as_const(dy).data(), dx.data(), in_blocks(dx));
    return dx;
  }
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
