#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/module.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI {

/// The state of each sequence's token with the largest id, the first among equals: CLIP's end of text, whatever padding
/// is behind it.
///
/// Takes states and the ids that they come from, of packed sequences ([tokens, features] and [tokens]) or dense ([N, L,
/// features] and [N, L]), and gives [N, features]. Throws ShapeError for others.
template <class Scalar = float>
class LargestToken : public JointLayer<LargestToken<Scalar>, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    return Shape{sequences(x).size(), x[0].shape()[-1]};
  }

 private:
  Sequences sequences(const Values<Scalar>& x) const {
    require(x.size() == 2, *this, ": takes states and ids, got ", x.size(), " values");
    const Shape &states = x[0].shape(), &ids = x[1].shape();
    const int rank = x[0].sequences ? 2 : 3;
    require<ShapeError>(states.rank() == rank && states.with(-1, 1).numel() == ids.numel() && ids.rank() == rank - 1,
                        *this, ": expected states [N, L, features] and ids [N, L], got shapes ", states, " and ", ids);
    return sequences_of(*this, x[0], states[-1]);
  }
  /// The rows of the tokens.
  std::vector<Index> places(const Values<Scalar>& x) const {
    const Sequences division = sequences(x);
    const Scalar* const ids = x[1].tensor.data();
    std::vector<Index> rows;
    for (Index i = 0; i < division.size(); ++i)
      rows.push_back(std::max_element(ids + division.begin(i), ids + division.begin(i + 1)) - ids);
    return rows;
  }

  Tensor<Scalar> picked(const Tensor<Scalar>& states, const std::vector<Index>& rows) const {
    const Index features = states.dim(-1);
    Tensor<Scalar> y({static_cast<Index>(rows.size()), features});
    Scalar* out = y.data();
    for (const Index row : rows) out = std::copy_n(states.data() + row * features, features, out);
    return y;
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override { return picked(std::as_const(x)[0].tensor, places(x)); }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    std::vector<Index> rows = places(x);
    Tensor<Scalar> y = picked(std::as_const(x)[0].tensor, rows);
    tape.push(x[0].shape(), std::move(rows));
    return y;
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [shape, rows] = tape.template pop<Shape, std::vector<Index>>();
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    const Scalar* from = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for (const Index row : rows) {
      std::copy_n(from, shape[-1], out + row * shape[-1]);
      from += shape[-1];
    }
    return {std::move(dx), Tensor<Scalar>{}};
  }
};

}  // namespace lamina::inline LAMINA_ABI
