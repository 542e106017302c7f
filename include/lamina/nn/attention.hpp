#pragma once

#include <array>
#include <span>
#include <string>
#include <utility>

#include "lamina/kernels/attention.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of ScaledDotProductAttention.
struct ScaledDotProductAttentionOptions {
  double dropout = 0;   ///< of the probabilities, in training
  bool causal = false;  ///< a token sees itself and those before it alone
};

/// The core of multi-head attention (Vaswani et al. 2017, equation 1): with queries, keys and values each cut into
/// `heads` parts of size d = features / heads,
///
///   y = [head_1, ..., head_h],   head_i = dropout(softmax(q_i k_iᵀ / sqrt(d))) v_i
///
/// within each sequence of a packed batch [tokens, features], or of a dense one, [L, features] or [N, L, features];
/// with
/// {.causal = true} a token's softmax goes over itself and the tokens before it. The
/// matrix of probabilities is never held as a whole. Takes the three values, of one shape, and gives one. Throws
/// ValueError when heads does not divide features or dropout is not in [0, 1], ShapeError for other shapes.
template <class Scalar = float>
class ScaledDotProductAttention : public JointLayer<ScaledDotProductAttention<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  ScaledDotProductAttention(Index features, Index heads, const ScaledDotProductAttentionOptions& options = {})
      : features_(features), heads_(heads), options_(options) {
    require(heads >= 1 && features % heads == 0, *this, ": ", heads, " heads do not divide ", features, " features");
    require(options_.dropout >= 0 && options_.dropout <= 1, *this, ": dropout must be in [0, 1], got ",
            options_.dropout);
  }

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    sequences(x);
    return x[0].shape();
  }
  Fields fields() const override {
    return Fields("ScaledDotProductAttention")
        .argument("features", features_)
        .argument("heads", heads_)
        .option("dropout", options_.dropout, 0)
        .option("causal", options_.causal, false);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    const Sequences division = sequences(x);
    Index pairs = 0;
    for (Index i = 0; i < division.size(); ++i) pairs += division.length(i) * division.length(i);
    return 2 * features_ * pairs;
  }

  /// What it was made with.
  /// @{
  Index heads() const { return heads_; }
  bool causal() const { return options_.causal; }
  /// @}

 private:
  Sequences sequences(const Values<Scalar>& x) const {
    require(x.size() == 3, *this, ": takes queries, keys and values, got ", x.size(), " values");
    require<ShapeError>(x[1].shape() == x[0].shape() && x[2].shape() == x[0].shape(), *this,
                        ": expected three values of one shape, got ", x[0].shape(), ", ", x[1].shape(), " and ",
                        x[2].shape());
    return sequences_of(*this, x[0], features_);
  }

  kernels::AttentionInput<Scalar> input(std::span<const Index> offsets, const Tensor<Scalar>& queries,
                                        const Tensor<Scalar>& keys, const Tensor<Scalar>& values) const {
    return {offsets, heads_, features_ / heads_, queries.data(), keys.data(), values.data(), options_.causal};
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Sequences division = sequences(x);
    Tensor<Scalar> y(x[0].shape());
    kernels::attention(
        input(division.offsets(), std::as_const(x)[0].tensor, std::as_const(x)[1].tensor, std::as_const(x)[2].tensor),
        y.data());
    x[0].tensor = std::move(y);
    return std::move(x[0]);
  }

  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    Sequences division = sequences(x);
    const Tensor<Scalar> queries = std::move(x[0].tensor), keys = std::move(x[1].tensor),
                         values = std::move(x[2].tensor);
    auto in = input(division.offsets(), queries, keys, values);
    if (options_.dropout > 0 && !this->frozen()) {
      in.dropout = options_.dropout;
      in.draws = tape.random().split(tape.random().position());
      tape.random().uniform();  // the next split is another
    }
    x[0].tensor = Tensor<Scalar>(queries.shape());
    kernels::attention(in, x[0].tensor.data());
    tape.push(queries, keys, values, std::move(division), in.dropout, in.draws);
    return std::move(x[0]);
  }

  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [queries, keys, values, division, dropout, draws] =
        tape.template pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>, Sequences, double, Random>();
    auto in = input(division.offsets(), queries, keys, values);
    in.dropout = dropout;
    in.draws = draws;
    Tensor<Scalar> dq(queries.shape()), dk(queries.shape()), dv(queries.shape());
    kernels::attention_backward(in, std::as_const(dy).data(), dq.data(), dk.data(), dv.data());
    return {std::move(dq), std::move(dk), std::move(dv)};
  }

  Index features_, heads_;
  ScaledDotProductAttentionOptions options_;
};

/// Options of MultiHeadAttention.
struct MultiHeadAttentionOptions {
  double dropout = 0;   ///< of the probabilities, in training
  bool causal = false;  ///< a token sees itself and those before it alone
  std::array<const char*, 4> keys{"q_proj", "k_proj", "v_proj", "out_proj"};  ///< names of the four linear maps
};

/// Multi-head self-attention (Vaswani et al. 2017, section 3.2.2): y = out(attention(q(x), k(x), v(x))) with linear
/// maps and ScaledDotProductAttention. Shapes and errors are those of its parts; y has x's shape.
template <class Scalar = float>
class MultiHeadAttention : public Block<MultiHeadAttention<Scalar>, Scalar> {
 public:
  /// The maps to queries, keys and values, and of the joined heads.
  /// @{
  Linear<Scalar> q, k, v, out;
  /// @}

  /// Shapes, defaults and errors are said at the class.
  MultiHeadAttention(Index features, Index heads, const MultiHeadAttentionOptions& options = {})
      : q(features, features),
        k(features, features),
        v(features, features),
        out(features, features),
        attend_(features, heads, {.dropout = options.dropout, .causal = options.causal}),
        keys_(options.keys) {}

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> queries = run(q, x), keys = run(k, x), values = run(v, std::move(x));
    return run(out, run(attend_, std::move(queries), std::move(keys), std::move(values)));
  }

  Members<Scalar> members() override {
    return {{keys_[0], q}, {keys_[1], k}, {keys_[2], v}, {keys_[3], out}, {"", attend_}};
  }

 private:
  ScaledDotProductAttention<Scalar> attend_;
  std::array<const char*, 4> keys_;
};

}  // namespace lamina::inline LAMINA_ABI
