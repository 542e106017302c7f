#pragma once

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina {

/// y = max(x, 0), elementwise (Nair and Hinton 2010). The derivative at 0 is 0, as in PyTorch; NaN stays NaN.
template <class Scalar = float>
class ReLU : public ShapePreserving<ReLU<Scalar>, Scalar> {
  using Pack = simd::Pack<Scalar>;

 public:
  std::string name() const override { return "ReLU()"; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Scalar* y = x.data();
    kernels::map(
        x.numel(), y, [](Pack v) { return max(v, Scalar(0)); }, y);
    return x;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    x = do_infer(std::move(x));
    tape.push(x);
    return x;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [y] = tape.pop<Tensor<Scalar>>();
    Scalar* dx = dy.data();
    kernels::map(
        dy.numel(), dx, [](Pack out, Pack grad) { return select(out > Pack(0), grad, Scalar(0)); }, y.data(), dx);
    return dy;
  }
};

}  // namespace lamina
