#pragma once

#include <algorithm>
#include <utility>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Shift2d.
struct Shift2dOptions {
  Index down = 0;   ///< rows
  Index right = 0;  ///< columns
};

/// Images moved down and to the right: y[n, c, i, j] = x[n, c, i - down, j - right], and zero where that lies outside.
/// What a convolution makes of the pixels up to its own thus becomes what is known before it (Salimans et al. 2017).
///
/// Shapes: x and y [N, C, H, W]. Throws ValueError for negative numbers, ShapeError for another input.
template <class Scalar = float>
class Shift2d : public Layer<Shift2d<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit Shift2d(const Shift2dOptions& options) : options_(options) {
    require(options.down >= 0 && options.right >= 0, *this, ": down and right must not be negative");
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4, *this, ": expected an input [N, C, H, W], got shape ", input);
    return input;
  }
  Fields fields() const override {
    return Fields("Shift2d").option("down", options_.down, 0).option("right", options_.right, 0);
  }
  Saved saved() const override { return Saved::nothing; }

  /// What it was made with.
  const Shift2dOptions& options() const { return options_; }

 private:
  /// Copies what of each plane stays inside, from x to its place in y, or from there back.
  Tensor<Scalar> moved(const Tensor<Scalar>& x, bool back) const {
    const Index h = x.dim(2), w = x.dim(3), rows = std::max<Index>(0, h - options_.down);
    const Index columns = std::max<Index>(0, w - options_.right);
    Tensor<Scalar> y = Tensor<Scalar>::zeros(x.shape());
    const Index moved_to = (h - rows) * w + w - columns, from = back ? moved_to : 0, to = back ? 0 : moved_to;
    Scalar* const out = y.data();
    for (Index plane = 0; plane < x.dim(0) * x.dim(1); ++plane)
      for (Index row = 0; row < rows && columns > 0; ++row) {
        const Index at = (plane * h + row) * w;
        std::copy_n(x.data() + at + from, columns, out + at + to);
      }
    return y;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    output_shape(x.shape());
    return moved(std::as_const(x), false);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape&) override { return do_infer(std::move(x)); }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape&, InputGrad) override { return moved(std::as_const(dy), true); }

  Shift2dOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
