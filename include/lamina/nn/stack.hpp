#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Values of one shape as the entries of a new first axis, as torch.stack: k values [...] -> [k, ...]. Throws
/// ShapeError for different shapes.
template <class Scalar = float>
class Stack : public JointLayer<Stack<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(!x.empty(), *this, ": takes at least one value");
    for (std::size_t i = 1; i < x.size(); ++i)
      require<ShapeError>(x[i].shape() == x[0].shape(), *this, ": expected values of one shape, got ", x[0].shape(),
                          " and ", x[i].shape());
    return x[0].shape().batch(static_cast<Index>(x.size()));
  }

 private:
  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y(output_shapes(x)[0]);
    Scalar* out = y.data();
    for (std::size_t i = 0; i < x.size(); ++i)
      out = std::copy_n(std::as_const(x)[i].tensor.data(), x[i].tensor.numel(), out);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape&) override { return do_infer(std::move(x)); }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape&, const Few<InputGrad>& needs) override {
    Few<Tensor<Scalar>> parts;
    for (std::size_t i = 0; i < needs.size(); ++i) parts.push_back(dy[static_cast<Index>(i)]);
    return parts;
  }
};

}  // namespace lamina::inline LAMINA_ABI
