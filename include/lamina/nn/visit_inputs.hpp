#pragma once

#include <utility>

#include "lamina/nn/block.hpp"

namespace lamina {

namespace detail {
/// Inference that shows the inputs of modules of one type.
template <class M, class Scalar, class F>
class Visiting final : public Computing<Scalar> {
 public:
  explicit Visiting(const F& f) : f_(f) {}

 private:
  void visit(const Module<Scalar>& module, const Values<Scalar>& inputs) {
    const M* wanted = module.template as<M>();
    if (!wanted) return;
    const Values<Scalar> values = this->settled(inputs);
    f_(*wanted, std::as_const(values)[0].tensor);
  }
  void enter(const Module<Scalar>& block, const Values<Scalar>& inputs) override { visit(block, inputs); }
  Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation) override {
    visit(layer, inputs);
    return layer.infer_values(std::move(inputs), activation);
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

}  // namespace lamina
