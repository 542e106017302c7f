#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/resize.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI {

/// The nearest pixel, or a weighted mean of the four around the place.
enum class InterpolateMode { nearest, bilinear };

/// Options of Interpolate.
struct InterpolateOptions {
  InterpolateMode mode = InterpolateMode::nearest;  ///< how values between pixels are made
  bool align_corners = false;  ///< bilinear: the centres of the corner pixels stay where they are, not their edges
};

/// The options after those of a module that interpolates.
inline Fields add_fields(Fields fields, const InterpolateOptions& options) {
  return fields.argument("mode", options.mode == InterpolateMode::nearest ? "nearest" : "bilinear")
      .field("align_corners", options.align_corners, options.align_corners ? "align_corners" : "");
}
/// Throws ValueError, naming the caller, for align_corners with nearest.
template <class Caller>
void check_interpolation(const Caller& who, const InterpolateOptions& options) {
  require(options.mode == InterpolateMode::bilinear || !options.align_corners, who,
          ": align_corners is for bilinear interpolation");
}

namespace detail {

template <class Scalar>
std::vector<kernels::ResizeTap<Scalar>> taps(const InterpolateOptions& options, Index in, Index out) {
  if (options.mode == InterpolateMode::nearest) return kernels::nearest_taps<Scalar>(in, out);
  return kernels::bilinear_taps<Scalar>(in, out, options.align_corners);
}

template <class Scalar>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, Size2 size, const InterpolateOptions& options) {
  const Index h = x.dim(2), w = x.dim(3);
  if (size == Size2(h, w)) return x;
  Tensor<Scalar> y({x.dim(0), x.dim(1), size.h, size.w});
  if (!y.empty())
    kernels::resize(x.dim(0) * x.dim(1), h, w, taps<Scalar>(options, h, size.h), taps<Scalar>(options, w, size.w),
                    x.data(), y.data());
  return y;
}

}  // namespace detail

/// The gradient of interpolate() for an input of this shape.
template <class Scalar>
Tensor<Scalar> interpolate_backward(Tensor<Scalar> dy, const Shape& input, const InterpolateOptions& options) {
  if (dy.shape() == input) return dy;
  Tensor<Scalar> dx(input);
  if (!dx.empty())
    kernels::resize_backward(input[0] * input[1], input[2], input[3],
                             detail::taps<Scalar>(options, input[2], dy.dim(2)),
                             detail::taps<Scalar>(options, input[3], dy.dim(3)), std::as_const(dy).data(), dx.data());
  return dx;
}

/// Throws ShapeError, naming the caller, unless the shape is [N, C, H, W] with a pixel.
template <class Caller>
void check_interpolated(const Caller& who, const Shape& input) {
  require<ShapeError>(input.rank() == 4 && input[2] > 0 && input[3] > 0, who,
                      ": expected images [N, C, H, W], got shape ", input);
}

/// Images [N, C, H, W] resampled to the given height and width, as torch.nn.functional.interpolate does: `nearest`
/// takes pixel floor(i H / OH), `bilinear` weighs the four neighbours (no antialiasing). The floor is that of the exact
/// quotient; PyTorch takes floor(i s) with s = H / OH rounded to float, which for 1.2 % of the pairs of sizes up to 128
/// is another pixel somewhere. Throws ValueError for a size below 1 and for align_corners with nearest, ShapeError for
/// another input.
template <class Scalar>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, Size2 size, const InterpolateOptions& options = {}) {
  check_interpolation("interpolate", options);
  require(size.h >= 1 && size.w >= 1, "interpolate: the size must be at least 1, got ", size);
  check_interpolated("interpolate", x.shape());
  return detail::interpolate(x, size, options);
}

/// interpolate() to a fixed size as a layer: [N, C, H, W] -> [N, C, size.h, size.w].
template <class Scalar = float>
class Interpolate : public Layer<Interpolate<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit Interpolate(Size2 size, const InterpolateOptions& options = {}) : size_(size), options_(options) {
    check_interpolation(*this, options);
    require(size.h >= 1 && size.w >= 1, *this, ": the size must be at least 1");
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    check_interpolated(*this, input);
    return {input[0], input[1], size_.h, size_.w};
  }
  Members<Scalar> members() override { return {}; }
  Fields fields() const override { return add_fields(Fields("Interpolate").argument("size", size_), options_); }
  Index multiply_adds(const Shape&) const override { return 0; }

  /// What it was made with.
  /// @{
  const Size2& size() const { return size_; }
  const InterpolateOptions& options() const { return options_; }
  /// @}

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    check_interpolated(*this, x.shape());
    return detail::interpolate(x, size_, options_);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    return interpolate_backward(std::move(dy), shape, options_);
  }

  Size2 size_;
  InterpolateOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
