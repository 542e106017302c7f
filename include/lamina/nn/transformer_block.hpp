#pragma once

#include <string>
#include <utility>

#include "lamina/nn/attention.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/layer_norm.hpp"

namespace lamina {

/// Where a transformer block normalises: behind its residual sums (Vaswani et al. 2017) or before its branches (Xiong
/// et al. 2020).
enum class NormPosition { post, pre };

struct TransformerBlockOptions {
  NormPosition norm = NormPosition::post;
  double eps = 1e-5;   ///< of the layer normalisations
  double dropout = 0;  ///< behind the feed-forward branch, in training
  MultiHeadAttentionOptions attention = {};
  /// Names of the attention, the first norm, the two linear maps of the feed-forward branch and the second norm.
  std::array<const char*, 5> keys{"self_attn", "layer_norm1", "mlp.fc1", "mlp.fc2", "layer_norm2"};
};

/// One layer of a transformer encoder, with f(x) = dropout(linear2(GELU(linear1(x)))):
///
///   post   h = norm1(x + attention(x)),   y = norm2(h + f(h))
///   pre    h = x + attention(norm1(x)),   y = h + f(norm2(h))
///
/// for the tokens of a packed batch x [tokens, features]; as a Module for [L, features] or [N, L, features]. The
/// feed-forward branch has `hidden` units. Errors are MultiHeadAttention's and Linear's.
template <class Scalar = float>
class TransformerBlock : public Layer<TransformerBlock<Scalar>, Scalar> {
 public:
  MultiHeadAttention<Scalar> attention;
  LayerNorm<Scalar> norm1;
  Sequential<Scalar> feed_forward;
  LayerNorm<Scalar> norm2;

  TransformerBlock(Index features, Index heads, Index hidden, const TransformerBlockOptions& options = {})
      : attention(features, heads, options.attention),
        norm1(features, {.eps = options.eps}),
        feed_forward{{options.keys[2], Linear<Scalar>(features, hidden)},
                     {"", GELU<Scalar>()},
                     {options.keys[3], Linear<Scalar>(hidden, features)},
                     {"", Dropout<Scalar>(options.dropout)}},
        norm2(features, {.eps = options.eps}),
        features_(features),
        heads_(heads),
        hidden_(hidden),
        options_(options) {}

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  Tensor<Scalar> infer(Tensor<Scalar> x, const Sequences& sequences) const {
    if (options_.norm == NormPosition::post) {
      x = norm1.infer(detail::add(attention.infer(x, sequences), x));
      return norm2.infer(detail::add(feed_forward.infer(x), x));
    }
    x = detail::add(attention.infer(norm1.infer(x), sequences), x);
    return detail::add(feed_forward.infer(norm2.infer(x)), x);
  }
  Tensor<Scalar> forward(Tensor<Scalar> x, const Sequences& sequences, Tape& tape) {
    return this->recorded(tape, [&] { return run_forward(std::move(x), sequences, tape); });
  }

  Shape output_shape(const Shape& x) const override { return attention.output_shape(x); }
  Members<Scalar> members() override {
    return {
        {options_.keys[0], &attention}, {options_.keys[1], &norm1}, {"", &feed_forward}, {options_.keys[4], &norm2}};
  }
  std::string name() const override {
    return detail::text("TransformerBlock(", features_, ", ", heads_, ", ", hidden_,
                        options_.norm == NormPosition::pre ? ", norm=pre)" : ")");
  }
  Index multiply_adds(const Shape& x) const override {
    return attention.multiply_adds(x) + feed_forward.multiply_adds(x);
  }
  void trace(const Shape& x, const std::string& path, int depth, std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, x, output_shape(x)});
    const std::string prefix = path.empty() ? "" : path + ".", attention_key = options_.keys[0];
    attention.trace(x, attention_key.empty() ? path : prefix + attention_key, depth + 1, steps);
    norm1.trace(x, prefix + options_.keys[1], depth + 1, steps);
    feed_forward.trace(x, path, depth + 1, steps);
    norm2.trace(x, prefix + options_.keys[4], depth + 1, steps);
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = x.shape();
    const Sequences sequences = detail::dense_sequences(name(), shape, features_);
    return infer(std::move(x).reshape({sequences.tokens(), features_}), sequences).reshape(shape);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Sequences sequences = detail::dense_sequences(name(), x.shape(), features_);
    return run_forward(std::move(x), sequences, tape);
  }

  Tensor<Scalar> run_forward(Tensor<Scalar> x, const Sequences& sequences, Tape& tape) {
    if (options_.norm == NormPosition::post) {
      x = norm1.forward(detail::add(attention.forward(x, sequences, tape), x), tape);
      return norm2.forward(detail::add(feed_forward.forward(x, tape), x), tape);
    }
    x = detail::add(attention.forward(norm1.forward(x, tape), sequences, tape), x);
    return detail::add(feed_forward.forward(norm2.forward(x, tape), tape), x);
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    if (options_.norm == NormPosition::post) {
      dy = norm2.backward(std::move(dy), tape);
      dy = norm1.backward(detail::add(feed_forward.backward(dy, tape), dy), tape);
      Tensor<Scalar> dx = attention.backward(dy, tape, input_grad);
      return input_grad == InputGrad::skip ? Tensor<Scalar>() : detail::add(std::move(dx), std::move(dy));
    }
    dy = detail::add(norm2.backward(feed_forward.backward(dy, tape), tape), dy);
    Tensor<Scalar> dx = norm1.backward(attention.backward(dy, tape), tape, input_grad);
    return input_grad == InputGrad::skip ? Tensor<Scalar>() : detail::add(std::move(dx), std::move(dy));
  }

  Index features_, heads_, hidden_;
  TransformerBlockOptions options_;
};

}  // namespace lamina
