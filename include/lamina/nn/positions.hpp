#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI {

/// Learned positions (Gehring et al. 2017; BERT): y[t] = x[t] + weight[p] for token t, the p-th of its sequence, p from
/// 0.
///
/// Shapes: x and y [tokens, features] of a packed batch, or dense, [L, features] or [N, L, features]; weight
/// [positions, features], from N(0, 1). Throws ValueError for sizes below 1 and, naming it, for a sequence longer than
/// the positions, ShapeError when x does not have the sequences' tokens.
template <class Scalar = float>
class LearnedPositions : public JointLayer<LearnedPositions<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [positions, features]

  /// Shapes, defaults and errors are said at the class.
  LearnedPositions(Index positions, Index features) : positions_(positions), features_(features) {
    require(positions_ >= 1 && features_ >= 1, *this, ": sizes must be at least 1");
    weight = init::normal<Scalar>({positions_, features_});
  }

  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    sequences(x);
    return x[0].shape();
  }
  Members<Scalar> members() override { return {{"weight", weight}}; }
  Fields fields() const override {
    return Fields("LearnedPositions").argument("positions", positions_).argument("features", features_);
  }

 private:
  Sequences sequences(const Values<Scalar>& x) const {
    Sequences result = sequences_of(*this, x[0], features_);
    for (Index i = 0; i < result.size(); ++i)
      require(result.length(i) <= positions_, *this, ": sequence ", i, " has ", result.length(i),
              " tokens, but there are ", positions_, " positions");
    return result;
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Sequences division = sequences(x);
    return added(std::move(x[0]), division);
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    Sequences division = sequences(x);
    Value<Scalar> y = added(std::move(x[0]), division);
    tape.push(std::move(division));
    return y;
  }

  Value<Scalar> added(Value<Scalar> value, const Sequences& division) const {
    Tensor<Scalar>& x = value.tensor;
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    Scalar* const out = y.data();
    const Scalar* const rows = weight.value.data();
    parallel_for(0, division.size(), 1, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const Index begin = division.begin(i) * features_;  // the positions of a sequence are one piece of memory
        kernels::map_run(division.length(i) * features_, out + begin, kernels::SumAt<Scalar>{in + begin, rows});
      }
    });
    x = std::move(y);
    return value;
  }

  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [division] = tape.template pop<Sequences>();
    if (!weight.requires_grad) return dy;
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const grad = weight.gradient().data();
    for (Index i = 0; i < division.size(); ++i) {
      const Scalar* const from = in + division.begin(i) * features_;
      kernels::map_run(division.length(i) * features_, grad, kernels::SumAt<Scalar>{grad, from});
    }
    return dy;
  }

  Index positions_, features_;
};

}  // namespace lamina::inline LAMINA_ABI
