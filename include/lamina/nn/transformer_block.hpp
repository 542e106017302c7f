#pragma once

#include <string>
#include <utility>

#include "lamina/nn/add.hpp"
#include "lamina/nn/attention.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/quick_gelu.hpp"

namespace lamina::inline LAMINA_ABI {

/// Where a transformer block normalises: behind its residual sums (Vaswani et al. 2017) or before its branches (Xiong
/// et al. 2020).
enum class NormPosition { post, pre };

/// Options of TransformerBlock.
struct TransformerBlockOptions {
  NormPosition norm = NormPosition::post;    ///< where it normalises
  double eps = 1e-5;                         ///< of the layer normalisations
  double dropout = 0;                        ///< behind the feed-forward branch, in training
  bool quick_gelu = false;                   ///< QuickGELU in place of GELU
  MultiHeadAttentionOptions attention = {};  ///< of the attention
  /// Names of the attention, the first norm, the two linear maps of the feed-forward branch and the second norm.
  std::array<const char*, 5> keys{"self_attn", "layer_norm1", "mlp.fc1", "mlp.fc2", "layer_norm2"};
};

/// One layer of a transformer encoder, with f(x) = dropout(linear2(GELU(linear1(x)))), or QuickGELU:
///
///   post   h = norm1(x + attention(x)),   y = norm2(h + f(h))
///   pre    h = x + attention(norm1(x)),   y = h + f(norm2(h))
///
/// for the tokens of a packed batch x [tokens, features], or a dense one, [L, features] or [N, L, features]. The
/// feed-forward branch has `hidden` units. Errors are MultiHeadAttention's and Linear's.
template <class Scalar = float>
class TransformerBlock : public Block<TransformerBlock<Scalar>, Scalar> {
 public:
  MultiHeadAttention<Scalar> attention;  ///< of the tokens of a sequence to each other
  LayerNorm<Scalar> norm1;               ///< of the attention's branch
  Sequential<Scalar> feed_forward;       ///< linear, GELU, linear, dropout
  LayerNorm<Scalar> norm2;               ///< of the feed-forward branch

  /// Shapes, defaults and errors are said at the class.
  TransformerBlock(Index features, Index heads, Index hidden, const TransformerBlockOptions& options = {})
      : attention(features, heads, options.attention),
        norm1(features, {.eps = options.eps}),
        feed_forward{{options.keys[2], Linear<Scalar>(features, hidden)},
                     options.quick_gelu ? Child<Scalar>("", QuickGELU<Scalar>()) : Child<Scalar>("", GELU<Scalar>()),
                     {options.keys[3], Linear<Scalar>(hidden, features)},
                     {"", Dropout<Scalar>(options.dropout)}},
        norm2(features, {.eps = options.eps}),
        options_(options) {}

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    if (options_.norm == NormPosition::post) {
      x = run(norm1, run(add_, run(attention, x), x));
      return run(norm2, run(add_, run(feed_forward, x), x));
    }
    x = run(add_, run(attention, run(norm1, x)), x);
    return run(add_, run(feed_forward, run(norm2, x)), x);
  }

  Members<Scalar> members() override {
    return {{options_.keys[0], attention}, {options_.keys[1], norm1}, {"", feed_forward}, {options_.keys[4], norm2}};
  }

 private:
  TransformerBlockOptions options_;
  Add<Scalar> add_;
};

}  // namespace lamina::inline LAMINA_ABI
