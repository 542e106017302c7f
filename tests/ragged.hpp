#pragma once

#include <string>
#include <utility>

#include "lamina/nn/module.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::testing {

/// A layer of packed sequences that keeps their shape as a Module of one tensor [tokens, D], for the suites that check
/// modules.
template <class L, class Scalar>
class Ragged : public Layer<Ragged<L, Scalar>, Scalar> {
 public:
  Ragged(L layer, Sequences sequences) : layer_(std::move(layer)), sequences_(std::move(sequences)) {}

  Shape output_shape(const Shape& x) const override { return x; }
  Members<Scalar> members() override { return {{"", &layer_}}; }
  std::string name() const override { return "Ragged " + layer_.name(); }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return layer_.infer(std::move(x), sequences_); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    return layer_.forward(std::move(x), sequences_, tape);
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    return layer_.backward(std::move(dy), tape, input_grad);
  }

  L layer_;
  Sequences sequences_;
};

/// `layer` on sequences of these lengths.
template <class L>
auto ragged(L layer, std::initializer_list<Index> lengths) {
  return Ragged<L, lamina::detail::ScalarOf<L>>(std::move(layer), Sequences(std::span<const Index>(lengths)));
}

}  // namespace lamina::testing
