#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "lamina/kernels/run.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina {

/// Learned positions (Gehring et al. 2017; BERT): y[t] = x[t] + weight[p] for token t, the p-th of its sequence, p from
/// 0.
///
/// Shapes: x and y [tokens, features] of a packed batch; as a Module [L, features] or [N, L, features]; weight
/// [positions, features], from N(0, 1). Throws ValueError for sizes below 1 and, naming it, for a sequence longer than
/// the positions, ShapeError when x does not have the sequences' tokens.
template <class Scalar = float>
class LearnedPositions : public Layer<LearnedPositions<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;

  LearnedPositions(Index positions, Index features) : positions_(positions), features_(features) {
    detail::require(positions_ >= 1 && features_ >= 1, name(), ": sizes must be at least 1");
    weight = default_random().normal<Scalar>({positions_, features_});
  }

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  Tensor<Scalar> infer(Tensor<Scalar> x, const Sequences& sequences) const {
    detail::check_packed(name(), x.shape(), features_, sequences);
    for (Index i = 0; i < sequences.size(); ++i)
      detail::require(sequences.length(i) <= positions_, name(), ": sequence ", i, " has ", sequences.length(i),
                      " tokens, but there are ", positions_, " positions");
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    Scalar* const out = y.data();
    const Scalar* const rows = weight.value.data();
    parallel_for(0, sequences.size(), 1, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const Index begin = sequences.begin(i) * features_;  // the positions of a sequence are one piece of memory
        kernels::map_run(sequences.length(i) * features_, out + begin,
                         [&](auto load) { return load(in + begin) + load(rows); });
      }
    });
    return y;
  }
  Tensor<Scalar> forward(Tensor<Scalar> x, const Sequences& sequences, Tape& tape) {
    return this->recorded(tape, [&] {
      Tensor<Scalar> y = infer(std::move(x), sequences);
      tape.push(sequences);
      return y;
    });
  }

  Shape output_shape(const Shape& x) const override {
    const Sequences sequences = detail::dense_sequences(name(), x, features_);
    detail::require(x[-2] <= positions_, name(), ": sequences of ", x[-2], " tokens, but there are ", positions_,
                    " positions");
    return x;
  }
  Members<Scalar> members() override { return {{"weight", &weight}}; }
  std::string name() const override { return detail::text("LearnedPositions(", positions_, ", ", features_, ")"); }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Sequences sequences = detail::dense_sequences(name(), x.shape(), features_);
    return infer(std::move(x), sequences);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Sequences sequences = detail::dense_sequences(name(), x.shape(), features_);
    Tensor<Scalar> y = infer(std::move(x), sequences);
    tape.push(sequences);
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [sequences] = tape.pop<Sequences>();
    if (!weight.requires_grad) return dy;
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const grad = weight.gradient().data();
    for (Index i = 0; i < sequences.size(); ++i) {
      const Scalar* const from = in + sequences.begin(i) * features_;
      kernels::map_run(sequences.length(i) * features_, grad, [&](auto load) { return load(grad) + load(from); });
    }
    return dy;
  }

  Index positions_, features_;
};

}  // namespace lamina
