#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Joins the axes start_dim..end_dim (both included, negative ones count from the end) into one, without moving an
/// element: Flatten() makes [N, C * H * W] of [N, C, H, W]. Throws ShapeError for axes that the input does not have
/// or an end before the start.
template <class Scalar = float>
class Flatten : public Layer<Flatten<Scalar>, Scalar> {
 public:
  /// From axis start_dim to end_dim; negative ones count from the end.
  explicit Flatten(int start_dim = 1, int end_dim = -1) : start_(start_dim), end_(end_dim) {}

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    const int first = detail::axis_position(start_, input, *this), last = detail::axis_position(end_, input, *this);
    require<ShapeError>(first <= last, *this, ": start_dim lies behind end_dim in shape ", input);
    std::vector<Index> extents(input.begin(), input.begin() + first);
    extents.push_back(input.product(first, last + 1));
    extents.insert(extents.end(), input.begin() + last + 1, input.end());
    return Shape(extents);
  }
  Members<Scalar> members() override { return {}; }
  Index multiply_adds(const Shape&) const override { return 0; }
  Fields fields() const override {
    const bool usual = start_ == 1 && end_ == -1;
    return Fields("Flatten")
        .field("start_dim", start_, usual ? "" : text(start_))
        .field("end_dim", end_, usual ? "" : text(end_));
  }

  /// What it was made with.
  /// @{
  int start_dim() const { return start_; }
  int end_dim() const { return end_; }
  /// @}

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = output_shape(x.shape());
    return std::move(x).reshape(shape);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.pop<Shape>();
    return std::move(dy).reshape(shape);
  }

  int start_, end_;
};

}  // namespace lamina::inline LAMINA_ABI
