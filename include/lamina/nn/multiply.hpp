#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/broadcast.hpp"
#include "lamina/nn/module.hpp"

namespace lamina {

/// y = a * b, elementwise, each repeated along the axes where it has extent 1 and the other has not: a gate in a Block.
/// Throws ShapeError for shapes of different rank, or that differ in an axis where neither is 1.
template <class Scalar = float>
class Multiply : public JointLayer<Multiply<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    detail::require(x.size() == 2, *this, ": takes two values, got ", x.size());
    const Shape &a = x[0].shape(), &b = x[1].shape();
    detail::require<ShapeError>(fit(a, b), *this, ": expected shapes that agree where neither is 1, got ", a, " and ",
                                b);
    Shape joined = a;
    for (int axis = 0; axis < a.rank(); ++axis)
      if (a[axis] == 1) joined = joined.with(axis, b[axis]);
    return joined;
  }
  std::string name() const override { return "Multiply()"; }

  /// Whether two shapes can be multiplied.
  static bool fit(const Shape& a, const Shape& b) {
    if (a.rank() != b.rank()) return false;
    for (int axis = 0; axis < a.rank(); ++axis)
      if (a[axis] != b[axis] && a[axis] != 1 && b[axis] != 1) return false;
    return true;
  }

 private:
  /// In the storage of a or b if it fits and nobody else holds it.
  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Shape space = output_shapes(x)[0];
    Tensor<Scalar> a = std::move(x[0].tensor), b = std::move(x[1].tensor);
    const auto reusable = [&](const Tensor<Scalar>& t) { return t.shape() == space && t.exclusive(); };
    if (!reusable(a)) std::swap(a, b);
    const Shape a_shape = a.shape();
    const Scalar* left = std::as_const(a).data();
    x[0].tensor = reusable(a) ? std::move(a) : Tensor<Scalar>(space);
    kernels::multiply(space, space, x[0].tensor.data(), a_shape, left, b.shape(), std::as_const(b).data());
    return std::move(x[0]);
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  /// dy times the other, summed where this one was repeated.
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [a, b] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const auto gradient = [&](const Tensor<Scalar>& of, const Tensor<Scalar>& other, InputGrad need) {
      if (need == InputGrad::skip) return Tensor<Scalar>();
      Tensor<Scalar> result(of.shape());
      kernels::multiply(dy.shape(), of.shape(), result.data(), dy.shape(), std::as_const(dy).data(), other.shape(),
                        other.data());
      return result;
    };
    return {gradient(a, b, needs[0]), gradient(b, a, needs[1])};
  }
};

}  // namespace lamina
