#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// A module that is run again in backward instead of being saved (Chen et al. 2016, "Training deep nets with sublinear
/// memory cost"): between forward and backward the tape holds its inputs alone, for the price of a second forward. That
/// is also so for its results, where the layers that see them would save them: a cheap module before a convolution,
/// such as a norm with its ReLU, leaves nothing behind.
///
///   Sequential net{Checkpoint(Sequential{Conv2d(3, 64, 3), ReLU(), Conv2d(64, 64, 3)}), ...};
///
/// Results, gradients and state_dict keys are the module's own: the second forward drops the same units, and running
/// statistics move with the first one alone. infer is the module's infer.
template <class Scalar = float>
class Checkpoint : public detail::Cloned<Checkpoint<Scalar>, Scalar, Primitive<Scalar>> {
 public:
  /// Around any module.
  template <std::derived_from<Module<Scalar>> M>
  explicit Checkpoint(M module) : module_(std::make_unique<M>(std::move(module))) {}
  /// Copies are independent, as those of all modules.
  /// @{
  Checkpoint(const Checkpoint& other)
      : detail::Cloned<Checkpoint<Scalar>, Scalar, Primitive<Scalar>>(other), module_(other.module_->clone()) {}
  Checkpoint(Checkpoint&&) noexcept = default;
  Checkpoint& operator=(Checkpoint other) noexcept {
    std::swap(module_, other.module_);
    return *this;
  }
  /// @}

  Members<Scalar> members() override { return {{"", *module_}}; }
  Fields fields() const override { return Fields("Checkpoint").remark(module_->name()); }
  Shape output_shape(const Shape& input) const override { return module_->output_shape(input); }
  Index multiply_adds(const Shape& input) const override { return module_->multiply_adds(input); }

  Few<Shape> output_shapes(const Values<Scalar>& inputs) const override {
    const Values<Scalar> results = detail::Shaping<Scalar>().all(*module_, inputs);
    Few<Shape> shapes;
    for (std::size_t i = 0; i < results.size(); ++i) shapes.push_back(results[i].shape());
    return shapes;
  }
  /// As the module's.
  Values<Scalar> infer_values(Values<Scalar> x, Activation) const override {
    detail::Inference<Scalar> flow;
    return flow.settled(flow.all(*module_, std::move(x)));
  }
  /// Takes the parts of a join as they are.
  Joins joins() const override { return Joins::inputs; }
  /// As the module finds them.
  Blocks blocks(const Values<Scalar>&) const override { return Blocks::either; }
  /// Keeps the inputs, and the state of the tape's random numbers, in place of what the module saves.
  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation) override {
    Tape scratch(tape.random());
    scratch.replays_ = tape.replays_;
    x = detail::Training<Scalar>::own(std::move(x));
    const bool blocked = tape.in_blocks();
    Values<Scalar> y = detail::Training<Scalar>::forward(*module_, x, scratch, InputGrad::compute, blocked);
    const auto replay = std::make_shared<Replay>(*module_, std::move(x), tape.random(), blocked);
    tape.random() = scratch.random();
    for (std::size_t i = 0; i < y.size(); ++i) y[i].again_ = [replay, i] { return std::any(replay->result(i)); };
    tape.push(replay);
    return y;
  }
  /// Runs forward again, then backward.
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [replay] = tape.template pop<std::shared_ptr<Replay>>();
    Few<Tensor<Scalar>> before;
    for (std::size_t i = 0; i < needs.size(); ++i) before.push_back(tape.template take_gradient<Scalar>(i));
    return replay->backward(std::move(dy), needs, std::move(before));
  }

 private:
  /// What a forward leaves: how to run it again, at most once.
  class Replay {
   public:
    Replay(Module<Scalar>& module, Values<Scalar> inputs, const Random& random, bool blocked)
        : module_(module), inputs_(std::move(inputs)), blocked_(blocked), tape_(random) {}

    const Tensor<Scalar>& result(std::size_t i) {
      if (results_.empty()) {
        tape_.replays_ = true;
        results_ =
            detail::Training<Scalar>::forward(module_, std::exchange(inputs_, {}), tape_, InputGrad::compute, blocked_);
      }
      return results_[i].tensor;
    }
    Few<Tensor<Scalar>> backward(Few<Tensor<Scalar>> dy, const Few<InputGrad>& needs, Few<Tensor<Scalar>> before) {
      result(0);
      results_ = {};
      return detail::Training<Scalar>::backward(module_, std::move(dy), tape_, needs, std::move(before));
    }

   private:
    Module<Scalar>& module_;
    Values<Scalar> inputs_;
    bool blocked_;  // its results may be in blocks
    Tape tape_;
    Values<Scalar> results_;
  };

  /// Only forward and backward see it as one layer.
  Values<Scalar> run(Flow<Scalar>& flow, Values<Scalar> inputs) const override {
    return flow.training() ? Primitive<Scalar>::run(flow, std::move(inputs)) : flow.all(*module_, std::move(inputs));
  }

  std::unique_ptr<Module<Scalar>> module_;
};

/// Takes the scalar type of the module.
template <class M>
Checkpoint(M) -> Checkpoint<ScalarOf<M>>;

}  // namespace lamina::inline LAMINA_ABI
