#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/attention.hpp"
#include "lamina/nn/branches.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina {

struct MultiHeadAttentionOptions {
  double dropout = 0;                                                         ///< of the probabilities, in training
  std::array<const char*, 4> keys{"q_proj", "k_proj", "v_proj", "out_proj"};  ///< names of the four linear maps
};

/// Multi-head self-attention (Vaswani et al. 2017, section 3.2.2): with q, k, v linear maps of x, each cut into `heads`
/// parts of size d = features / heads,
///
///   y = out([head_1, ..., head_h]),   head_i = dropout(softmax(q_i k_iᵀ / sqrt(d))) v_i
///
/// within each sequence of a packed batch x [tokens, features]; y has x's shape. As a Module it takes sequences of one
/// length, [L, features] or [N, L, features]. The matrix of probabilities is never held as a whole. Throws ValueError
/// when heads does not divide features or dropout is not in [0, 1], ShapeError when x does not have the sequences'
/// tokens.
template <class Scalar = float>
class MultiHeadAttention : public Layer<MultiHeadAttention<Scalar>, Scalar> {
 public:
  Linear<Scalar> q, k, v, out;

  MultiHeadAttention(Index features, Index heads, const MultiHeadAttentionOptions& options = {})
      : q(features, features),
        k(features, features),
        v(features, features),
        out(features, features),
        features_(features),
        heads_(heads),
        options_(options) {
    detail::require(heads >= 1 && features % heads == 0, name(), ": ", heads, " heads do not divide ", features,
                    " features");
    detail::require(options_.dropout >= 0 && options_.dropout <= 1, name(), ": dropout must be in [0, 1], got ",
                    options_.dropout);
  }

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  Tensor<Scalar> infer(Tensor<Scalar> x, const Sequences& sequences) const {
    detail::check_packed(name(), x.shape(), features_, sequences);
    const Tensor<Scalar> queries = q.infer(x), keys = k.infer(x), values = v.infer(std::move(x));
    return out.infer(attend(input(sequences.offsets(), queries, keys, values)));
  }
  Tensor<Scalar> forward(Tensor<Scalar> x, const Sequences& sequences, Tape& tape) {
    return this->recorded(tape, [&] { return run_forward(std::move(x), sequences, tape); });
  }

  Shape output_shape(const Shape& x) const override {
    detail::dense_sequences(name(), x, features_);
    return x;
  }
  Members<Scalar> members() override {
    return {{options_.keys[0], &q}, {options_.keys[1], &k}, {options_.keys[2], &v}, {options_.keys[3], &out}};
  }
  std::string name() const override {
    return detail::text("MultiHeadAttention(", features_, ", ", heads_) +
           (options_.dropout > 0 ? detail::text(", dropout=", options_.dropout, ")") : ")");
  }
  Index multiply_adds(const Shape& x) const override { return output_shape(x).numel() * (4 * features_ + 2 * x[-2]); }

 private:
  kernels::AttentionInput<Scalar> input(std::span<const Index> offsets, const Tensor<Scalar>& queries,
                                        const Tensor<Scalar>& keys, const Tensor<Scalar>& values) const {
    return {offsets, heads_, features_ / heads_, queries.data(), keys.data(), values.data()};
  }
  Tensor<Scalar> attend(const kernels::AttentionInput<Scalar>& in) const {
    Tensor<Scalar> y({in.offsets.back(), features_});
    kernels::attention(in, y.data());
    return y;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = x.shape();
    const Sequences sequences = detail::dense_sequences(name(), shape, features_);
    return infer(std::move(x), sequences).reshape(shape);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Sequences sequences = detail::dense_sequences(name(), x.shape(), features_);
    return run_forward(std::move(x), sequences, tape);
  }

  Tensor<Scalar> run_forward(Tensor<Scalar> x, const Sequences& sequences, Tape& tape) {
    const Shape shape = x.shape();
    detail::check_packed(name(), shape, features_, sequences);
    Tensor<Scalar> queries = q.forward(x, tape), keys = k.forward(x, tape), values = v.forward(std::move(x), tape);
    auto in = input(sequences.offsets(), queries, keys, values);
    if (options_.dropout > 0 && !this->frozen()) {
      in.dropout = options_.dropout;
      in.draws = tape.random().split(tape.random().position());
      tape.random().uniform();  // the next split is another
    }
    Tensor<Scalar> heads = attend(in).reshape(shape);
    tape.push(std::move(queries), std::move(keys), std::move(values), sequences, in.dropout, in.draws);
    return out.forward(std::move(heads), tape);
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const Tensor<Scalar> dheads = out.backward(std::move(dy), tape);
    const auto [queries, keys, values, sequences, dropout, draws] =
        tape.pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>, Sequences, double, Random>();
    auto in = input(sequences.offsets(), queries, keys, values);
    in.dropout = dropout;
    in.draws = draws;
    Tensor<Scalar> dq(queries.shape()), dk(queries.shape()), dv(queries.shape());
    kernels::attention_backward(in, dheads.data(), dq.data(), dk.data(), dv.data());
    Tensor<Scalar> dx = v.backward(std::move(dv), tape, input_grad);
    Tensor<Scalar> from_k = k.backward(std::move(dk), tape, input_grad);
    Tensor<Scalar> from_q = q.backward(std::move(dq), tape, input_grad);
    if (input_grad == InputGrad::skip) return {};
    return detail::add(detail::add(std::move(dx), std::move(from_k)), std::move(from_q));
  }

  Index features_, heads_;
  MultiHeadAttentionOptions options_;
};

}  // namespace lamina
