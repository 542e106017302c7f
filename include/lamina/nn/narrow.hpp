#pragma once

#include <limits>
#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Entries start .. start + length - 1 along an axis, as torch.narrow: with Concat{Sequential{Narrow(1, 0, n), F}, ...}
/// the layers of each branch see channels of their own. Negative axes count from the end. Throws ShapeError for an axis
/// that x does not have or one that is too short.
template <class Scalar = float>
class Narrow : public Layer<Narrow<Scalar>, Scalar> {
 public:
  /// Entries start to start + length - 1 along axis dim. Throws ValueError for negative numbers.
  Narrow(int dim, Index start, Index length) : dim_(dim), start_(start), length_(length) {
    require(start >= 0 && length >= 0, *this, ": start and length must not be negative");
    require(start <= std::numeric_limits<Index>::max() - length, *this, ": no axis is that long");
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    const int axis = detail::axis_position(dim_, input, *this);
    require<ShapeError>(start_ + length_ <= input[axis], *this, ": expected at least ", start_ + length_,
                        " entries in axis ", axis, ", got shape ", input);
    return input.with(axis, length_);
  }
  Members<Scalar> members() override { return {}; }
  Fields fields() const override {
    return Fields("Narrow").argument("dim", dim_).argument("start", start_).argument("length", length_);
  }
  Index multiply_adds(const Shape&) const override { return 0; }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  Index start() const { return start_; }
  Index length() const { return length_; }
  /// @}

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    if (y.empty()) return y;
    const detail::AroundAxis axis(x.shape(), dim_, *this);
    kernels::copy_rows(axis.outer, length_ * axis.inner, std::as_const(x).data() + start_ * axis.inner,
                       axis.n * axis.inner, y.data(), length_ * axis.inner);
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.pop<Shape>();
    const detail::AroundAxis axis(shape, dim_, *this);
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    if (dy.empty()) return dx;
    kernels::copy_rows(axis.outer, length_ * axis.inner, std::as_const(dy).data(), length_ * axis.inner,
                       dx.data() + start_ * axis.inner, axis.n * axis.inner);
    return dx;
  }

  int dim_;
  Index start_, length_;
};

}  // namespace lamina::inline LAMINA_ABI
