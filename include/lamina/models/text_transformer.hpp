#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/models/vision_transformer.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/largest_token.hpp"
#include "lamina/nn/positions.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of TextTransformer; the defaults are CLIP's ViT-B/32's.
struct TextTransformerOptions {
  Index vocabulary = 49408;  ///< the number of token ids; the last is the end of text
  Index context = 77;        ///< the longest sequence
  Index features = 512;      ///< of a token
  Index layers = 12;         ///< transformer blocks
  Index heads = 8;           ///< of the attention; they divide features
  Index hidden = 2048;       ///< of the feed-forward branches
  Index projection = 512;    ///< size of the embeddings
  bool quick_gelu = true;    ///< as OpenAI's weights; others' were mostly trained with GELU
};

/// CLIP's text encoder (Radford et al. 2021, section 2.4): a transformer whose tokens see those before them, read at
/// the end of text.
///
///   x = token_embedding[id] + position,   `layers` causal pre-norm TransformerBlocks,
///   y = text_projection ln_final(x[end]),   end the place of the largest id
///
/// Shapes: packed sequences of ids, or dense ids [N, L] with any padding behind the end of text -> [N, projection]. The
/// state_dict keys are OpenAI's, except that attn.in_proj_weight is three linear maps, and that positional_embedding
/// and text_projection have a ".weight" behind; see openai_clip_state(). Throws as Embedding for ids beyond the
/// vocabulary, as LearnedPositions for a sequence that is too long.
template <class Scalar = float>
class TextTransformer : public Block<TextTransformer<Scalar>, Scalar> {
 public:
  Embedding<Scalar> token_embedding;              ///< of the ids
  LearnedPositions<Scalar> positional_embedding;  ///< of the places in a sequence
  std::vector<TransformerBlock<Scalar>> blocks;   ///< in order
  LayerNorm<Scalar> ln_final;                     ///< of the end of text
  Linear<Scalar> text_projection;                 ///< to the embedding

  /// Weights are drawn from default_random() as OpenAI's.
  explicit TextTransformer(const TextTransformerOptions& options = {})
      : token_embedding(options.vocabulary, options.features),
        positional_embedding(options.context, options.features),
        ln_final(options.features),
        text_projection(options.features, options.projection, {.bias = false}),
        options_(options) {
    for (Index i = 0; i < options.layers; ++i)
      blocks.emplace_back(options.features, options.heads, options.hidden,
                          detail::clip_block(true, options.quick_gelu));
    const auto features = static_cast<double>(options.features);
    token_embedding.weight.value *= Scalar(0.02);  // they are from N(0, 1)
    positional_embedding.weight.value *= Scalar(0.01);
    const double out = 1 / std::sqrt(features * static_cast<double>(2 * options.layers));
    for (auto& block : blocks) {
      for (auto* map : {&block.attention.q, &block.attention.k, &block.attention.v}) {
        init::normal(map->weight.value, 0, 1 / std::sqrt(features));
        map->bias.value.fill(0);
      }
      init::normal(block.attention.out.weight.value, 0, out);
      block.attention.out.bias.value.fill(0);
      init::normal(block.feed_forward.template get<Linear<Scalar>>(0).weight.value, 0, 1 / std::sqrt(2 * features));
      init::normal(block.feed_forward.template get<Linear<Scalar>>(2).weight.value, 0, out);
    }
    init::normal(text_projection.weight.value, 0, 1 / std::sqrt(features));
  }

  /// What it was made with.
  const TextTransformerOptions& options() const { return options_; }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> ids) const {
    require<ShapeError>(ids.sequences ? ids.shape().rank() == 1 : ids.shape().rank() == 2, *this,
                        ": expected ids [N, L], got shape ", ids.shape());
    Value<Scalar> x = run(positional_embedding, run(token_embedding, ids));
    for (const auto& block : blocks) x = run(block, std::move(x));
    return run(text_projection, run(ln_final, run(end_, std::move(x), std::move(ids))));
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"token_embedding", token_embedding}, {"positional_embedding", positional_embedding}};
    detail::add_blocks(result, blocks);
    result.push_back({"ln_final", ln_final});
    result.push_back({"text_projection", text_projection});
    return result;
  }
  Fields fields() const override {
    return Fields("TextTransformer")
        .argument("vocabulary", options_.vocabulary)
        .argument("context", options_.context)
        .argument("features", options_.features)
        .field("layers", options_.layers, text(options_.layers, " layers"));
  }

 private:
  TextTransformerOptions options_;
  LargestToken<Scalar> end_;
};

}  // namespace lamina::inline LAMINA_ABI
