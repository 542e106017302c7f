#pragma once

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x. The shortcut of a residual sum.
template <class Scalar = float>
class Identity : public Layer<Identity<Scalar>, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Locality locality() const override { return Locality::element; }
  Blocks blocks(const Values<Scalar>&) const override { return Blocks::keeps; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return x; }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape&) override { return x; }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape&, InputGrad) override { return dy; }
};

}  // namespace lamina::inline LAMINA_ABI
