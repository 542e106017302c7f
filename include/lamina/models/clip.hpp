#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/models/distilbert.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/contrastive_loss.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/stack.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/nn/sum.hpp"

/// A compact CLIP (Radford et al. 2021): an encoder of images and one of texts, each with a projection head into one
/// space where what belongs together lies together.
namespace lamina::inline LAMINA_ABI {

/// A classic network without its head: y = the averages over the image of its last features.
///
/// What counts as head is everything behind the last child that gives images [N, C, H, W]; a network of features alone
/// is kept as it is. Shapes: x [N, channels, H, W], y [N, C]; state_dict keys "model.KEY" with the network's own keys.
/// Throws ValueError for a network that gives no images at all, ShapeError when it does not take `image`.
template <class Scalar = float>
class ImageEncoder : public Block<ImageEncoder<Scalar>, Scalar> {
 public:
  Sequential<Scalar> model;  ///< the network without its head, with an average over the pixels

  /// `image` is a shape [channels, H, W] that the network takes; other sizes may be encoded if it takes them too.
  explicit ImageEncoder(Sequential<Scalar> network, const Shape& image = {3, 224, 224}) {
    Shape shape = image.batch(1), features;
    Index kept = 0;
    for (Index i = 0; i < network.size(); ++i) {
      shape = network[i].output_shape(shape);
      if (shape.rank() != 4) continue;
      kept = i + 1;
      features = shape;
    }
    require(kept > 0, "ImageEncoder: ", network.name(), " gives no features [N, C, H, W]");
    features_ = features[1];
    const Members<Scalar> children = network.members();
    for (std::size_t i = 0; i < static_cast<std::size_t>(kept); ++i)
      model.add(Child<Scalar>(children[i].name, std::get<Module<Scalar>*>(children[i].part)->clone()));
    model.add("", AdaptiveAvgPool2d<Scalar>(1));
    model.add("", Flatten<Scalar>());
  }

  /// C.
  Index features() const { return features_; }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const { return run(model, std::move(images)); }
  Members<Scalar> members() override { return {{"model", model}}; }

 private:
  Index features_;
};

/// The state of each sequence's first token, [CLS]: packed x [tokens, features] or dense x [N, L, features] -> [N,
/// features]. Throws ShapeError for another shape.
template <class Scalar = float>
class FirstToken : public JointLayer<FirstToken<Scalar>, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    return Shape{sequences(x).size(), x[0].shape()[-1]};
  }

 private:
  Sequences sequences(const Values<Scalar>& x) const {
    const Shape& shape = x[0].shape();
    require<ShapeError>(shape.rank() == (x[0].sequences ? 2 : 3), *this,
                        ": expected states [N, L, features], got shape ", shape);
    return sequences_of(*this, x[0], shape[-1]);
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Sequences division = sequences(x);
    const Tensor<Scalar>& states = std::as_const(x)[0].tensor;
    const Index features = states.dim(-1);
    Tensor<Scalar> y({division.size(), features});
    Scalar* const out = y.data();
    for (Index i = 0; i < division.size(); ++i)
      std::copy_n(states.data() + division.begin(i) * features, features, out + i * features);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].shape(), sequences(x));
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [shape, division] = tape.template pop<Shape, Sequences>();
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    Scalar* const out = dx.data();
    const Index features = shape[-1];
    for (Index i = 0; i < division.size(); ++i)
      std::copy_n(std::as_const(dy).data() + i * features, features, out + division.begin(i) * features);
    return dx;
  }
};

/// DistilBERT's last hidden state of each sequence's first token, [CLS].
///
/// Shapes: N packed sequences, or ids [N, L] -> [N, features]. State_dict keys "model.KEY" with DistilBert's. Errors
/// are DistilBert's.
template <class Scalar = float>
class TextEncoder : public Block<TextEncoder<Scalar>, Scalar> {
 public:
  DistilBert<Scalar> model;  ///< without a head

  /// A new DistilBERT, or one that is there already.
  /// @{
  explicit TextEncoder(const DistilBertOptions& options = {}) : model(options) {}
  explicit TextEncoder(DistilBert<Scalar> distilbert) : model(std::move(distilbert)) {}
  /// @}

  /// The size of a text's embedding before the projection.
  Index features() const { return model.features(); }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> ids) const {
    require<ShapeError>(ids.sequences || ids.shape().rank() == 2, *this, ": expected ids [N, L], got shape ",
                        ids.shape());
    return run(first_, run(model, std::move(ids)));
  }
  Members<Scalar> members() override { return {{"model", model}}; }

 private:
  FirstToken<Scalar> first_;
};

/// The listing's projection head: p = projection(x), y = layer_norm(p + dropout(fc(GELU(p)))).
///
/// Shapes: x [N, features], y [N, projection]. Parameters: 590,848 from 2048 features to 256, 263,168 from 768.
template <class Scalar = float>
Sequential<Scalar> projection_head(Index features, Index projection = 256, double dropout = 0.1) {
  return {{"projection", Linear<Scalar>(features, projection)},
          {"", Sum<Scalar>{{"", Identity<Scalar>()},
                           {"", Sequential<Scalar>{{"", GELU<Scalar>()},
                                                   {"fc", Linear<Scalar>(projection, projection)},
                                                   {"", Dropout<Scalar>(dropout)}}}}},
          {"layer_norm", LayerNorm<Scalar>(projection)}};
}

/// Options of ClipModel.
struct ClipOptions {
  Index projection = 256;   ///< size of the embeddings
  double dropout = 0.1;     ///< of the projection heads
  bool logit_bias = false;  ///< learn one too, for sigmoid_contrastive_loss
};

/// The two encoders with their projection heads, for N images and the N texts that belong to them:
///
///   Tape tape;
///   auto [loss, grad] = soft_target_loss(model.forward(images, tokens, tape));   // or contrastive_loss
///   model.backward(grad, tape);
///
/// forward gives both embeddings as one tensor [2, N, projection], the images' and the texts'. As a Module of one
/// tensor it is its image half: images -> [N, projection]. Nothing is computed backwards through a frozen encoder.
/// Throws ValueError for sequences of another number than the images.
template <class Scalar = float>
class ClipModel : public Block<ClipModel<Scalar>, Scalar> {
 public:
  ImageEncoder<Scalar> image_encoder;   ///< of N images
  TextEncoder<Scalar> text_encoder;     ///< of N texts
  Sequential<Scalar> image_projection;  ///< to the common space
  Sequential<Scalar> text_projection;   ///< to the common space
  /// The logarithm of the factor of the cosines in contrastive_loss; the soft targets do not use it.
  Parameter<Scalar> logit_scale = Tensor<Scalar>::full({}, static_cast<Scalar>(std::log(1 / 0.07)));
  /// What is added in sigmoid_contrastive_loss; empty without ClipOptions::logit_bias, with which both start as
  /// SigLIP's.
  Parameter<Scalar> logit_bias;

  /// Takes both encoders; projection heads are new.
  ClipModel(ImageEncoder<Scalar> images, TextEncoder<Scalar> texts, const ClipOptions& options = {})
      : image_encoder(std::move(images)),
        text_encoder(std::move(texts)),
        image_projection(projection_head<Scalar>(image_encoder.features(), options.projection, options.dropout)),
        text_projection(projection_head<Scalar>(text_encoder.features(), options.projection, options.dropout)) {
    if (!options.logit_bias) return;
    logit_scale.value.fill(static_cast<Scalar>(std::log(10.0)));
    logit_bias = Tensor<Scalar>::full({}, Scalar(-10));
  }

  /// Images alone: their embeddings.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images) const {
    return run(image_projection, run(image_encoder, std::move(images)));
  }
  /// Images and their texts: both embeddings.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> images, Value<Scalar> tokens) const {
    const Index texts = tokens.sequences ? tokens.sequences->size() : tokens.shape()[0];
    require(images.shape().rank() > 0 && images.shape()[0] == texts, *this, ": expected a text for each image, got ",
            texts, " texts for images of shape ", images.shape());
    Value<Scalar> image = flow(run, std::move(images));
    return run(stack_, std::move(image), run(text_projection, run(text_encoder, std::move(tokens))));
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"image_encoder", image_encoder},
                           {"text_encoder", text_encoder},
                           {"image_projection", image_projection},
                           {"text_projection", text_projection},
                           {"logit_scale", logit_scale}};
    if (!logit_bias.value.empty()) result.push_back({"logit_bias", logit_bias});
    return result;
  }

  /// [N, projection], not normalised.
  /// @{
  Tensor<Scalar> embed_images(Tensor<Scalar> images) const { return this->infer(std::move(images)); }
  Tensor<Scalar> embed_texts(const PackedTokens& tokens) const {
    return text_projection.infer(text_encoder.infer(tokens));
  }
  /// @}

 private:
  Stack<Scalar> stack_;
};

/// What a ClipModel takes of a state that was saved in PyTorch by the listing that it follows ("OpenAI-CLIP", best.pt):
/// that has no logit_scale, which its loss does not use, so that `otherwise` is put in; position_ids are no weights.
template <class Scalar>
StateDict<Scalar> listing_clip_state(StateDict<Scalar> state, double otherwise = std::log(1 / 0.07)) {
  std::erase_if(state, [](const auto& entry) { return entry.first.ends_with(".position_ids"); });
  const auto is_scale = [](const auto& entry) { return entry.first == "logit_scale"; };
  if (std::none_of(state.begin(), state.end(), is_scale))
    state.emplace_back("logit_scale", Tensor<Scalar>::full({}, static_cast<Scalar>(otherwise)));
  return state;
}

}  // namespace lamina::inline LAMINA_ABI
