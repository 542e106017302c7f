#pragma once

#include <utility>

#include "lamina/nn/block.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {
/// Inference that shows the inputs of modules of one type.
template <class M, class Scalar, class F>
class Visiting final : public Computing<Scalar> {
 public:
  explicit Visiting(const F& f) : f_(f) {}

 private:
  /// The inputs, computed if they are shown.
  Values<Scalar> visit(const Module<Scalar>& module, Values<Scalar> inputs) {
    if (const M* wanted = module.template as<M>()) {
      inputs = this->settled(std::move(inputs));
      f_(*wanted, std::as_const(inputs)[0].tensor);
    }
    return inputs;
  }
  void enter(const Module<Scalar>& block, const Values<Scalar>& inputs) override { visit(block, inputs); }
  Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation, bool) override {
    return layer.infer_values(visit(layer, std::move(inputs)), activation);
  }

  const F& f_;
};
}  // namespace detail

/// net(x), and on the way f(module, input) for every module of type M in the net, in order, at any depth: what a
/// picture of a network's insides needs. M is a layer or a block, such as Involution<float>.
template <class M, class Scalar, class F>
Tensor<Scalar> visit_inputs(const Module<Scalar>& net, Tensor<Scalar> x, const F& f) {
  detail::Visiting<M, Scalar, F> flow(f);
  return std::move(flow.settled(flow.all(net, Value<Scalar>(std::move(x))))[0].tensor);
}

}  // namespace lamina::inline LAMINA_ABI
