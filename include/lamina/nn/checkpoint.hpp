#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lamina/nn/module.hpp"

namespace lamina {

/// A module that is run again in backward instead of being saved (Chen et al. 2016, "Training deep nets with sublinear
/// memory cost"): between forward and backward the tape holds its inputs alone, for the price of a second forward.
///
///   Sequential net{Checkpoint(Sequential{Conv2d(3, 64, 3), ReLU(), Conv2d(64, 64, 3)}), ...};
///
/// Results, gradients and state_dict keys are the module's own: the second forward drops the same units, and running
/// statistics move with the first one alone. infer is the module's infer.
template <class Scalar = float>
class Checkpoint : public detail::Cloned<Checkpoint<Scalar>, Scalar, Primitive<Scalar>> {
 public:
  template <std::derived_from<Module<Scalar>> M>
  explicit Checkpoint(M module) : module_(std::make_unique<M>(std::move(module))) {}
  Checkpoint(const Checkpoint& other)
      : detail::Cloned<Checkpoint<Scalar>, Scalar, Primitive<Scalar>>(other), module_(other.module_->clone()) {}
  Checkpoint(Checkpoint&&) noexcept = default;
  Checkpoint& operator=(Checkpoint other) noexcept {
    std::swap(module_, other.module_);
    return *this;
  }

  Members<Scalar> members() override { return {{"", *module_}}; }
  std::string name() const override { return text("Checkpoint(", *module_, ")"); }
  Shape output_shape(const Shape& input) const override { return module_->output_shape(input); }
  Index multiply_adds(const Shape& input) const override { return module_->multiply_adds(input); }

  Few<Shape> output_shapes(const Values<Scalar>& inputs) const override {
    const Values<Scalar> results = detail::Shaping<Scalar>().all(*module_, inputs);
    Few<Shape> shapes;
    for (std::size_t i = 0; i < results.size(); ++i) shapes.push_back(results[i].shape());
    return shapes;
  }
  Values<Scalar> infer_values(Values<Scalar> x, Activation) const override {
    detail::Inference<Scalar> flow;
    return flow.settled(flow.all(*module_, std::move(x)));
  }
  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation) override {
    Tape scratch(tape.random());
    scratch.replays_ = tape.replays_;
    Values<Scalar> y = detail::Training<Scalar>::forward(*module_, x, scratch);
    tape.push(std::move(x), std::exchange(tape.random(), scratch.random()));
    return y;
  }
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) override {
    auto [x, random] = tape.template pop<Values<Scalar>, Random>();
    Tape scratch(random);
    scratch.replays_ = true;
    detail::Training<Scalar>::forward(*module_, std::move(x), scratch);
    return detail::Training<Scalar>::backward(*module_, std::move(dy), scratch, needs);
  }

 private:
  /// Only forward and backward see it as one layer.
  Values<Scalar> run(Flow<Scalar>& flow, Values<Scalar> inputs) const override {
    return flow.training() ? Primitive<Scalar>::run(flow, std::move(inputs)) : flow.all(*module_, std::move(inputs));
  }

  std::unique_ptr<Module<Scalar>> module_;
};

template <class M>
Checkpoint(M) -> Checkpoint<ScalarOf<M>>;

}  // namespace lamina
