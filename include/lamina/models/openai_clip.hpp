#pragma once

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "lamina/models/modified_resnet.hpp"
#include "lamina/models/text_transformer.hpp"
#include "lamina/models/vision_transformer.hpp"
#include "lamina/nn/stack.hpp"

namespace lamina::inline LAMINA_ABI {

/// What an OpenAIClip is made of; the defaults are ViT-B/32's.
struct OpenAIClipOptions {
  std::variant<VisionTransformerOptions, ModifiedResNetOptions> image =
      VisionTransformerOptions{};    ///< the image tower
  TextTransformerOptions text = {};  ///< the text tower

  /// Side of the images.
  Index image_size() const {
    return std::visit([](const auto& tower) { return tower.image_size; }, image);
  }
  /// Size of the embeddings.
  Index projection() const { return text.projection; }
};

/// The names of OpenAI's models, as clip.available_models() gives them.
inline constexpr std::array<const char*, 9> openai_clip_names{
    "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px"};

/// What OpenAI's models are made of (Radford et al. 2021, tables 19 and 20):
///
///   RN50, RN101, RN50x4, RN50x16, RN50x64      102,007,137  119,688,033  178,300,601  290,979,217  623,258,305
///   parameters ViT-B/32, B/16, L/14, L/14@336px           151,277,313  149,620,737  427,616,513  427,944,193
///
/// Throws ValueError, with the names, for another.
inline OpenAIClipOptions openai_clip_options(std::string_view name) {
  const auto text = [](Index projection, Index features) {
    return TextTransformerOptions{
        .features = features, .heads = features / 64, .hidden = 4 * features, .projection = projection};
  };
  const auto transformer = [&](Index size, Index patch, Index features, Index layers, Index projection) {
    return OpenAIClipOptions{VisionTransformerOptions{.image_size = size,
                                                      .patch = patch,
                                                      .features = features,
                                                      .layers = layers,
                                                      .heads = features / 64,
                                                      .hidden = 4 * features,
                                                      .projection = projection},
                             text(projection, projection)};
  };
  const auto network = [&](Index size, const std::array<Index, 4>& layers, Index width, Index projection,
                           Index features) {
    return OpenAIClipOptions{
        ModifiedResNetOptions{
            .image_size = size, .layers = layers, .width = width, .heads = width / 2, .projection = projection},
        text(projection, features)};
  };
  if (name == "ViT-B/32") return transformer(224, 32, 768, 12, 512);
  if (name == "ViT-B/16") return transformer(224, 16, 768, 12, 512);
  if (name == "ViT-L/14") return transformer(224, 14, 1024, 24, 768);
  if (name == "ViT-L/14@336px") return transformer(336, 14, 1024, 24, 768);
  if (name == "RN50") return network(224, {3, 4, 6, 3}, 64, 1024, 512);
  if (name == "RN101") return network(224, {3, 4, 23, 3}, 64, 512, 512);
  if (name == "RN50x4") return network(288, {4, 6, 10, 6}, 80, 640, 640);
  if (name == "RN50x16") return network(384, {6, 8, 18, 8}, 96, 768, 768);
  if (name == "RN50x64") return network(448, {3, 15, 36, 10}, 128, 1024, 1024);
  std::string names;
  for (const char* each : openai_clip_names) names += lamina::text(names.empty() ? "" : ", ", each);
  throw ValueError(lamina::text("openai_clip_options: expected one of ", names, ", got ", name));
}

/// CLIP (Radford et al. 2021) as OpenAI's, open_clip's and Hugging Face's weights have it: an image tower, a
/// VisionTransformer or modified_resnet(), a TextTransformer, and a logit_scale.
///
///   OpenAIClip<float> net = load_openai_clip("ViT-B-32.safetensors");
///   const Tensor<float> image = l2_normalize(net.embed_images(pixels)), texts = l2_normalize(net.embed_texts(tokens));
///   auto [loss, grad] = contrastive_loss(net.forward(pixels, tokens, tape), net.logit_scale);     // or to train it
///
/// forward of images and texts gives both embeddings as one tensor [2, N, projection]; as a Module of one tensor it is
/// its image half. The state_dict keys are OpenAI's but for a few, see the towers. Throws ValueError for towers of
/// different projections, and for texts of another number than the images.
template <class Scalar = float>
class OpenAIClip : public Block<OpenAIClip<Scalar>, Scalar> {
 public:
  Sequential<Scalar> visual;     ///< of N images
  TextTransformer<Scalar> text;  ///< of N texts
  /// The logarithm of the factor of the cosines, see contrastive_loss.
  Parameter<Scalar> logit_scale = Tensor<Scalar>::full({}, static_cast<Scalar>(std::log(1 / 0.07)));

  /// Weights are drawn from default_random().
  explicit OpenAIClip(const OpenAIClipOptions& options = {})
      : visual(tower(options)), text(options.text), options_(options) {
    const Index projection = std::visit([](const auto& image) { return image.projection; }, options.image);
    require(projection == options.text.projection, "OpenAIClip: the image tower projects to ", projection,
            " features, the text tower to ", options.text.projection);
  }

  /// What it was made with.
  const OpenAIClipOptions& options() const { return options_; }

  /// Images alone: their embeddings.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const { return run(visual, std::move(images)); }
  /// Images and their texts: both embeddings.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images, Value<Scalar> tokens) const {
    const Index texts = tokens.sequences ? tokens.sequences->size() : tokens.shape()[0];
    require(images.shape().rank() > 0 && images.shape()[0] == texts, *this, ": expected a text for each image, got ",
            texts, " texts for images of shape ", images.shape());
    Value<Scalar> image = flow(run, std::move(images));
    return run(stack_, std::move(image), run(text, std::move(tokens)));
  }

  Members<Scalar> members() override { return {{"visual", visual}, {"", text}, {"logit_scale", logit_scale}}; }

  /// [N, projection], not normalised.
  /// @{
  Tensor<Scalar> embed_images(Tensor<Scalar> images) const { return this->infer(std::move(images)); }
  Tensor<Scalar> embed_texts(const PackedTokens& tokens) const { return text.infer(tokens); }
  /// @}

 private:
  static Sequential<Scalar> tower(const OpenAIClipOptions& options) {
    if (const auto* image = std::get_if<VisionTransformerOptions>(&options.image))
      return {{"", VisionTransformer<Scalar>(*image)}};
    return modified_resnet<Scalar>(std::get<ModifiedResNetOptions>(options.image));
  }

  OpenAIClipOptions options_;
  Stack<Scalar> stack_;
};

}  // namespace lamina::inline LAMINA_ABI
