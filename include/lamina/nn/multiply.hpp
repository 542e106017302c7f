#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/broadcast.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = a * b, elementwise, each repeated along the axes where it has extent 1 and the other has not: a gate in a Block.
/// Throws ShapeError for shapes of different rank, or that differ in an axis where neither is 1.
template <class Scalar = float>
class Multiply : public JointLayer<Multiply<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes two values, got ", x.size());
    const Shape &a = x[0].shape(), &b = x[1].shape();
    require<ShapeError>(kernels::broadcasts(a, b), *this, ": expected shapes that agree where neither is 1, got ", a,
                        " and ", b);
    return kernels::broadcast_shape(a, b);
  }
  Locality locality() const override { return Locality::element; }
  /// Where both have all channels.
  Blocks blocks(const Values<Scalar>& x) const override {
    return detail::same_channels(x) ? Blocks::keeps : Blocks::no;
  }

 private:
  Value<Scalar> do_infer(Values<Scalar> x) const override {
    output_shapes(x);
    x[0].tensor = kernels::multiply(std::move(x[0].tensor), std::move(x[1].tensor));
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

}  // namespace lamina::inline LAMINA_ABI
