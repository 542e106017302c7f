#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/models/clip.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/image_tokens.hpp"
#include "lamina/nn/transformer_block.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// The pre-norm blocks of CLIP's transformers under OpenAI's names, but for the maps to queries, keys and values, which
/// are three here.
inline TransformerBlockOptions clip_block(bool causal, bool quick_gelu) {
  return {.norm = NormPosition::pre,
          .quick_gelu = quick_gelu,
          .attention = {.causal = causal, .keys = {"attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"}},
          .keys = {"", "ln_1", "mlp.c_fc", "mlp.c_proj", "ln_2"}};
}

/// Blocks with the members "transformer.resblocks.0" and so on.
template <class Scalar>
void add_blocks(Members<Scalar>& members, std::vector<TransformerBlock<Scalar>>& blocks) {
  for (std::size_t i = 0; i < blocks.size(); ++i)
    members.push_back({"transformer.resblocks." + std::to_string(i), blocks[i]});
}

}  // namespace detail

/// Options of VisionTransformer; the defaults are CLIP's ViT-B/32.
struct VisionTransformerOptions {
  Index image_size = 224;  ///< side of the images
  Index patch = 32;        ///< side of a patch; the image's is cut to a multiple of it
  Index features = 768;    ///< of a token
  Index layers = 12;       ///< transformer blocks
  Index heads = 12;        ///< of the attention; they divide features
  Index hidden = 3072;     ///< of the feed-forward branches
  Index projection = 512;  ///< size of the embeddings
  bool quick_gelu = true;  ///< as OpenAI's weights; others' were mostly trained with GELU
};

/// CLIP's vision transformer (Dosovitskiy et al. 2021; Radford et al. 2021, section 2.4), with its normalisation before
/// the blocks:
///
///   tokens = ln_pre([class; patches] + positions),   `layers` pre-norm TransformerBlocks,   y = proj
///   ln_post(tokens[0])
///
/// Shapes: images [N, 3, S, S] -> [N, projection]. The state_dict keys are OpenAI's ("conv1.weight", "class_embedding",
/// "positional_embedding", "ln_pre", "transformer.resblocks.0.attn", ...), except that attn.in_proj_weight is three
/// linear maps, q_proj, k_proj and v_proj, and proj a linear map too; see openai_clip_state(). Throws ShapeError for
/// images of another size, ValueError for a patch larger than the image.
template <class Scalar = float>
class VisionTransformer : public Block<VisionTransformer<Scalar>, Scalar> {
 public:
  Conv2d<Scalar> conv1;                          ///< of the patches
  ImageTokens<Scalar> tokens;                    ///< the class and the positions
  LayerNorm<Scalar> ln_pre;                      ///< of the tokens before the blocks
  std::vector<TransformerBlock<Scalar>> blocks;  ///< in order
  LayerNorm<Scalar> ln_post;                     ///< of the class token
  Linear<Scalar> proj;                           ///< to the embedding

  /// Weights are drawn from default_random().
  explicit VisionTransformer(const VisionTransformerOptions& options = {})
      : conv1(3, options.features, options.patch, {.stride = options.patch, .bias = false}),
        tokens(patches(options), options.features),
        ln_pre(options.features),
        ln_post(options.features),
        proj(options.features, options.projection, {.bias = false}),
        options_(options) {
    for (Index i = 0; i < options.layers; ++i)
      blocks.emplace_back(options.features, options.heads, options.hidden,
                          detail::clip_block(false, options.quick_gelu));
    const double deviation = 1 / std::sqrt(static_cast<double>(options.features));
    init::normal(proj.weight.value, 0, deviation);
    for (auto& block : blocks) {  // one matrix [3 features, features], drawn as Xavier's; no biases
      const double bound = std::sqrt(6.0 / static_cast<double>(4 * options.features));
      for (auto* map : {&block.attention.q, &block.attention.k, &block.attention.v}) {
        init::uniform(map->weight.value, -bound, bound);
        map->bias.value.fill(0);
      }
      block.attention.out.bias.value.fill(0);
    }
  }

  /// What it was made with.
  const VisionTransformerOptions& options() const { return options_; }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const {
    Value<Scalar> x = run(ln_pre, run(tokens, run(conv1, std::move(images))));
    for (const auto& block : blocks) x = run(block, std::move(x));
    return run(proj, run(ln_post, run(first_, std::move(x))));
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"conv1", conv1}, {"", tokens}, {"ln_pre", ln_pre}};
    detail::add_blocks(result, blocks);
    result.push_back({"ln_post", ln_post});
    result.push_back({"proj", proj});
    return result;
  }
  Fields fields() const override {
    return Fields("VisionTransformer")
        .argument("image_size", options_.image_size)
        .argument("patch", options_.patch)
        .argument("features", options_.features)
        .field("layers", options_.layers, text(options_.layers, " layers"));
  }

 private:
  static Index patches(const VisionTransformerOptions& o) {
    require(o.patch >= 1 && o.patch <= o.image_size, "VisionTransformer: expected a patch of 1 to ", o.image_size,
            " pixels, got ", o.patch);
    const Index side = o.image_size / o.patch;
    return side * side;
  }

  VisionTransformerOptions options_;
  FirstToken<Scalar> first_;
};

}  // namespace lamina::inline LAMINA_ABI
