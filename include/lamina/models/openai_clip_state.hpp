#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/models/openai_clip.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// What a file of CLIP's weights does not say.
struct OpenAIClipHints {
  std::optional<Index> text_heads = {};   ///< of the attention; 64 features each unless given
  std::optional<Index> image_heads = {};  ///< likewise
  bool quick_gelu = true;                 ///< OpenAI's; false for GELU, of LAION's and most others' weights
};

/// CLIP's weights under the names of OpenAIClip, and what it is made of.
template <class Scalar>
struct OpenAIClipState {
  OpenAIClipOptions options;  ///< of the model
  StateDict<Scalar> state;    ///< its weights
};

namespace detail {

/// Reads CLIP's weights by whatever names; see openai_clip_state.
template <class Scalar>
class ClipStateReader {
 public:
  ClipStateReader(const StateDict<Scalar>& state, const OpenAIClipHints& hints) : hints_(hints) {
    const auto has = [&](std::string_view key) {
      for (const auto& entry : state)
        if (entry.first == key) return true;
      return false;
    };
    const bool hugging_face =
        has("text_model.embeddings.token_embedding.weight") || has("vision_model.embeddings.class_embedding");
    for (const auto& [key, value] : state) {
      if (ignored(key)) continue;
      const std::string name = hugging_face ? from_hugging_face(key) : from_open_clip(key);
      std::visit([&](const auto& tensor) { add(name, tensor.template cast<Scalar>()); }, value);
    }
    for (std::size_t i = 0; i < result_.size(); ++i) places_.emplace(result_[i].first, i);
  }

  OpenAIClipState<Scalar> read() {
    require<StateError>(places_.contains("token_embedding.weight"),
                        "openai_clip_state: there is no text tower: expected ",
                        "token_embedding.weight, or Hugging Face's text_model.embeddings.token_embedding.weight");
    require<StateError>(places_.contains("visual.conv1.weight"),
                        "openai_clip_state: there is no image tower: expected ",
                        "visual.conv1.weight, or Hugging Face's vision_model.embeddings.patch_embedding.weight");
    OpenAIClipOptions options;
    options.text = text_options();
    if (places_.contains("visual.class_embedding"))
      options.image = transformer_options();
    else
      options.image = resnet_options();
    return {std::move(options), std::move(result_)};
  }

 private:
  /// What is not a weight.
  static bool ignored(std::string_view key) {
    return key == "input_resolution" || key == "context_length" || key == "vocab_size" || key == "attn_mask" ||
           key.ends_with("embeddings.position_ids") || key.starts_with("example.");
  }

  /// open_clip's models with towers of other kinds have "text." before the text tower's names.
  static std::string from_open_clip(const std::string& key) { return key.starts_with("text.") ? key.substr(5) : key; }

  static std::string from_hugging_face(const std::string& key) {
    using Pair = std::pair<std::string_view, std::string_view>;
    static constexpr std::array<Pair, 15> names{
        {{"vision_model.embeddings.class_embedding", "visual.class_embedding"},
         {"vision_model.embeddings.patch_embedding.", "visual.conv1."},
         {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},
         {"vision_model.pre_layrnorm.", "visual.ln_pre."},
         {"vision_model.encoder.layers.", "visual.transformer.resblocks."},
         {"vision_model.post_layernorm.", "visual.ln_post."},
         {"visual_projection.", "visual.proj."},
         {"text_model.embeddings.token_embedding.", "token_embedding."},
         {"text_model.embeddings.position_embedding.", "positional_embedding."},
         {"text_model.encoder.layers.", "transformer.resblocks."},
         {"text_model.final_layer_norm.", "ln_final."},
         {"text_projection.", "text_projection."},
         {".self_attn.", ".attn."},
         {".layer_norm", ".ln_"},
         {".mlp.fc", ".mlp."}}};
    std::string name = key;
    for (std::size_t i = 0; i < 12; ++i)
      if (name.starts_with(names[i].first)) {
        name.replace(0, names[i].first.size(), names[i].second);
        break;
      }
    for (std::size_t i = 12; i < names.size(); ++i)
      if (const std::size_t at = name.find(names[i].first); at != std::string::npos)
        name.replace(at, names[i].first.size(), names[i].second);
    for (const auto& [from, to] : {Pair{".mlp.1.", ".mlp.c_fc."}, Pair{".mlp.2.", ".mlp.c_proj."}})
      if (const std::size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    return name;
  }

  /// Adds an entry under OpenAI's name, split and turned as OpenAIClip has it.
  void add(const std::string& name, Tensor<Scalar> value) {
    for (const char* joined : {"attn.in_proj_weight", "attn.in_proj_bias"})
      if (name.ends_with(joined) && value.rank() >= 1 && value.dim(0) % 3 == 0) {
        const std::string before = name.substr(0, name.size() - std::string_view(joined).size());
        const char* kind = name.ends_with("weight") ? ".weight" : ".bias";
        const Index rows = value.dim(0) / 3;
        const Shape shape = value.shape().with(0, rows);
        for (Index i = 0; i < 3; ++i) {
          Tensor<Scalar> part(shape);
          std::copy_n(std::as_const(value).data() + i * part.numel(), part.numel(), part.data());
          result_.emplace_back(
              before + "attn." + std::array{"q", "k", "v"}[static_cast<std::size_t>(i)] + "_proj" + kind,
              std::move(part));
        }
        return;
      }
    if ((name == "visual.proj" || name == "text_projection") && value.rank() == 2) {
      Tensor<Scalar> turned({value.dim(1), value.dim(0)});
      turned.matrix() = std::as_const(value).matrix().transpose();
      result_.emplace_back(name + ".weight", std::move(turned));
      return;
    }
    result_.emplace_back(name == "positional_embedding" ? "positional_embedding.weight" : name, std::move(value));
  }

  /// The shape of an entry that tells what the model is. Throws StateError without it or with another rank.
  Shape shape_of(const std::string& name, int rank) const {
    const auto place = places_.find(name);
    require<StateError>(place != places_.end(), "openai_clip_state: there is no ", name);
    const Shape shape = std::visit([](const auto& tensor) { return tensor.shape(); }, result_[place->second].second);
    require<StateError>(shape.rank() == rank && shape.numel() > 0, "openai_clip_state: ", name, " has shape ", shape,
                        ", expected ", rank, " axes");
    return shape;
  }
  /// How many of prefix + "0" + suffix, "1", ... there are.
  Index count(const std::string& prefix, const std::string& suffix) const {
    Index found = 0;
    while (places_.contains(prefix + std::to_string(found) + suffix)) ++found;
    return found;
  }
  static Index heads(std::optional<Index> given, Index features, const char* tower) {
    const Index heads = given.value_or(features / 64);
    require<StateError>(heads >= 1 && features % heads == 0, "openai_clip_state: ", heads, " heads of the ", tower,
                        " do not divide its ", features, " features");
    return heads;
  }

  TextTransformerOptions text_options() const {
    const Shape words = shape_of("token_embedding.weight", 2);
    return {.vocabulary = words[0],
            .context = shape_of("positional_embedding.weight", 2)[0],
            .features = words[1],
            .layers = count("transformer.resblocks.", ".ln_1.weight"),
            .heads = heads(hints_.text_heads, words[1], "text tower"),
            .hidden = shape_of("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            .projection = shape_of("text_projection.weight", 2)[0],
            .quick_gelu = hints_.quick_gelu};
  }
  VisionTransformerOptions transformer_options() const {
    const Shape patches = shape_of("visual.conv1.weight", 4);
    const Index places = shape_of("visual.positional_embedding", 2)[0] - 1;
    const Index side = static_cast<Index>(std::lround(std::sqrt(static_cast<double>(places))));
    require<StateError>(side >= 1 && side * side == places, "openai_clip_state: visual.positional_embedding is for ",
                        places, " patches, which are not a square");
    return {.image_size = side * patches[3],
            .patch = patches[3],
            .features = patches[0],
            .layers = count("visual.transformer.resblocks.", ".ln_1.weight"),
            .heads = heads(hints_.image_heads, patches[0], "image tower"),
            .hidden = shape_of("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            .projection = shape_of("visual.proj.weight", 2)[0],
            .quick_gelu = hints_.quick_gelu};
  }
  ModifiedResNetOptions resnet_options() const {
    const Index width = shape_of("visual.layer1.0.conv1.weight", 4)[0];
    const Index places = shape_of("visual.attnpool.positional_embedding", 2)[0] - 1;
    const Index side = static_cast<Index>(std::lround(std::sqrt(static_cast<double>(places))));
    require<StateError>(side >= 1 && side * side == places,
                        "openai_clip_state: visual.attnpool.positional_embedding is for ", places,
                        " pixels, which are not a square");
    ModifiedResNetOptions options{.image_size = 32 * side,
                                  .width = width,
                                  .heads = heads(hints_.image_heads, 32 * width, "image tower"),
                                  .projection = shape_of("visual.attnpool.c_proj.weight", 2)[0]};
    for (std::size_t stage = 0; stage < 4; ++stage)
      options.layers[stage] = count("visual.layer" + std::to_string(stage + 1) + ".", ".conv1.weight");
    return options;
  }

  OpenAIClipHints hints_;
  StateDict<Scalar> result_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace detail

/// CLIP's weights under the names of OpenAIClip, from OpenAI's own ("visual.*", "transformer.resblocks.*"), open_clip's
/// (the same) or Hugging Face's CLIPModel ("vision_model.*", "text_model.*"), whichever they are: in_proj_weight in
/// three, projections turned, what is not a weight (input_resolution, position_ids, example.* ...) left out. The sizes
/// are read off the weights, but for the heads and the activation. Throws StateError, saying what is missing, when a
/// tower is.
template <class Scalar>
OpenAIClipState<Scalar> openai_clip_state(const StateDict<Scalar>& state, const OpenAIClipHints& hints = {}) {
  return detail::ClipStateReader<Scalar>(state, hints).read();
}

/// An OpenAIClip with weights of openai_clip_state. Throws StateError when they do not fit together.
template <class Scalar>
OpenAIClip<Scalar> openai_clip_of(const StateDict<Scalar>& state, const OpenAIClipHints& hints = {}) {
  const OpenAIClipState<Scalar> read = openai_clip_state(state, hints);
  const SkipInit skip;
  OpenAIClip<Scalar> net(read.options);
  load_state_dict(net, read.state);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
