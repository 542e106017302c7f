#pragma once

#include <string>
#include <utility>

#include "lamina/nn/module.hpp"

namespace lamina {

/// y = a + b, elementwise, for two values of the same shape: a residual connection in a Block. Throws ShapeError for
/// different shapes.
template <class Scalar = float>
class Add : public JointLayer<Add<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    detail::require(x.size() == 2, *this, ": takes two values, got ", x.size());
    detail::require<ShapeError>(x[0].shape() == x[1].shape(), *this, ": expected two values of one shape, got ",
                                x[0].shape(), " and ", x[1].shape());
    return x[0].shape();
  }
  std::string name() const override { return "Add()"; }

 private:
  Value<Scalar> do_infer(Values<Scalar> x) const override {
    output_shapes(x);
    Value<Scalar> y = std::move(x[0]);
    y.tensor = detail::add(std::move(y.tensor), std::move(x[1].tensor));
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape&) override { return do_infer(std::move(x)); }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape&, const Few<InputGrad>&) override { return {dy, dy}; }
};

}  // namespace lamina
