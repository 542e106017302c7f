#pragma once

#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Blocks of channels as blocks of pixels, for images r times as large (Shi et al. 2016):
///
///   y[n, c, i r + a, j r + b] = x[n, (c r + a) r + b, i, j]
///
/// Shapes: x [N, C r^2, H, W], y [N, C, H r, W r], with r = upscale_factor. Throws ValueError for r below 1, ShapeError
/// for another rank or channels that r^2 does not divide.
template <class Scalar = float>
class PixelShuffle : public Layer<PixelShuffle<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit PixelShuffle(Index upscale_factor) : r_(upscale_factor) {
    require(r_ >= 1 && r_ <= 1 << 15, *this, ": upscale_factor must be at least 1 and at most 32768");
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[1] % (r_ * r_) == 0, *this,
                        ": expected [N, C, H, W] with a multiple of ", r_ * r_, " channels, got shape ", input);
    return {input[0], input[1] / (r_ * r_), input[2] * r_, input[3] * r_};
  }
  Fields fields() const override { return Fields("PixelShuffle").argument("upscale_factor", r_); }

  /// What it was made with.
  Index upscale_factor() const { return r_; }

 private:
  /// f(place in x, place in y) of the first of W pixels, which lie 1 and r apart, for every row of every channel of x.
  template <class F>
  void for_each_row(const Shape& x, F f) const {
    const Index h = x[2], w = x[3];
    parallel_for(0, x[0] * x[1], std::max<Index>(1, kernels::stream_grain / std::max<Index>(1, h * w)),
                 [&, r = r_](Index first, Index last) {
                   for (Index plane = first; plane < last; ++plane)
                     for (Index i = 0; i < h; ++i) {
                       const Index row = plane / (r * r) * h * r + i * r + plane / r % r;
                       f((plane * h + i) * w, row * w * r + plane % r, w);
                     }
                 });
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    for_each_row(x.shape(), [=, r = r_](Index from, Index to, Index w) {
      for (Index j = 0; j < w; ++j) out[to + j * r] = in[from + j];
    });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.template pop<Shape>();
    Tensor<Scalar> dx(shape);
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for_each_row(shape, [=, r = r_](Index to, Index from, Index w) {
      for (Index j = 0; j < w; ++j) out[to + j] = in[from + j * r];
    });
    return dx;
  }

  Index r_;
};

}  // namespace lamina::inline LAMINA_ABI
