#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/nn/graph.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// What plain_weights asks a layer.
template <class Scalar>
class HasPlainState {
 public:
  virtual ~HasPlainState() = default;
  /// The state of the layer around which it is, with the weight that it has now.
  virtual StateDict<Scalar> plain_state() const = 0;
};

/// A layer whose weight is a function of other parameters: what WeightNorm and SpectralNorm share. Derived gives
///
///   Factors                          a type: what forward finds out of the parameters, kept for backward
///   factors(bool training)           those of this pass; in training, state may move
///   infer_factors() const            those of infer
///   weight(factors) const            the inner layer's weight
///   hand_on(dw, factors)             from the gradient of that weight to those of the parameters that require it
///   learns() const                   whether any does
template <class Derived, class Inner>
class Reparameterized : public Layer<Derived, ScalarOf<Inner>>, public HasPlainState<ScalarOf<Inner>> {
 protected:
  using Scalar = ScalarOf<Inner>;

 public:
  Shape output_shape(const Shape& input) const override { return inner_.output_shape(input); }
  Index multiply_adds(const Shape& input) const override { return inner_.multiply_adds(input); }
  Locality locality() const override { return inner_.locality(); }
  Saved saved() const override { return inner_.saved(); }
  Blocks blocks(const Values<Scalar>& x) const override { return this->frozen() ? Blocks::no : inner_.blocks(x); }

  /// The layer with the weight that it has now.
  Inner plain() const {
    Inner result = inner_;
    result.weight = Parameter<Scalar>(self().weight(self().infer_factors()));
    return result;
  }
  StateDict<Scalar> plain_state() const override {
    Inner result = plain();
    return state_dict(std::as_const(result));
  }

 protected:
  explicit Reparameterized(Inner inner) : inner_(std::move(inner)) {}

  /// The members of the inner layer but its weight.
  Members<Scalar> other_members() {
    Members<Scalar> result = inner_.members();
    std::erase_if(result, [](const Member<Scalar>& member) { return member.name == "weight"; });
    return result;
  }

  Inner inner_;  // its weight is that of the last pass

 private:
  Derived& self() { return static_cast<Derived&>(*this); }
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return plain().infer(std::move(x)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    auto factors = self().factors(!this->frozen() && !tape.replays());
    inner_.weight.value = self().weight(factors);
    Values<Scalar> y = inner_.forward_values(Value<Scalar>(std::move(x)), tape, Activation::none);
    tape.push(std::move(factors), inner_.weight.value);
    return std::move(y[0].tensor);
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    auto [factors, weight] = tape.template pop<typename Derived::Factors, Tensor<Scalar>>();
    inner_.weight.value = std::move(weight);
    inner_.weight.requires_grad = self().learns();
    Few<Tensor<Scalar>> dx = inner_.backward_values(std::move(dy), tape, input_grad);
    if (const Tensor<Scalar> dw = std::exchange(inner_.weight.grad, {}); !dw.empty())
      self().hand_on(dw, factors);  // of no samples: none
    return std::move(dx[0]);
  }
};

}  // namespace detail

/// The state of the same model without weight or spectral normalisation: "weight" as WeightNorm and SpectralNorm
/// compute it instead of what they compute it from, everything else as it is. A model of plain layers that loads it
/// gives the same results, and is compiled into a Plan like any other.
template <class Scalar>
StateDict<Scalar> plain_weights(const Module<Scalar>& net) {
  StateDict<Scalar> result;
  const auto visit = [&](const auto& self, const Module<Scalar>& module, const std::string& path) -> void {
    const std::string prefix = path.empty() ? "" : path + ".";
    const auto add = [&](StateDict<Scalar> state) {
      for (auto& [key, value] : state) result.emplace_back(prefix + key, std::move(value));
    };
    if (const auto* layer = dynamic_cast<const detail::HasPlainState<Scalar>*>(&module))
      return add(layer->plain_state());
    bool children = false;
    for (const Member<Scalar>& member : members_of(module))
      if (auto* child = std::get_if<Module<Scalar>*>(&member.part)) {
        children = true;
        self(self, **child, member.name.empty() ? path : prefix + member.name);
      }
    if (!children) add(state_dict(module));
  };
  visit(visit, net, "");
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
