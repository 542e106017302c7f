#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/broadcast.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = a + b, elementwise, each repeated along the axes where it has extent 1 and the other has not: a residual
/// connection in a Block, or a bias. Throws ShapeError for shapes of different rank, or that differ in an axis where
/// neither is 1.
template <class Scalar = float>
class Add : public JointLayer<Add<Scalar>, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes two values, got ", x.size());
    const Shape &a = x[0].shape(), &b = x[1].shape();
    if (a == b) return a;
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
    const bool same = x[0].shape() == x[1].shape();
    Tensor<Scalar> a = std::move(x[0].tensor), b = std::move(x[1].tensor);
    x[0].tensor = same ? detail::add(std::move(a), std::move(b)) : kernels::add(std::move(a), std::move(b));
    return std::move(x[0]);
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor.shape(), x[1].tensor.shape());
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [a, b] = tape.template pop<Shape, Shape>();
    const auto gradient = [&](const Shape& of, InputGrad need) {
      if (of == dy.shape() || need == InputGrad::skip) return dy;
      return kernels::sum_to(of, dy);
    };
    return {gradient(a, needs[0]), gradient(b, needs[1])};
  }
};

}  // namespace lamina::inline LAMINA_ABI
