#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "lamina/models/distilbert.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/contrastive_loss.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/sum.hpp"

/// A compact CLIP (Radford et al. 2021): an encoder of images and one of texts, each with a projection head into one
/// space where what belongs together lies together.
namespace lamina {

/// A classic network without its head: y = the averages over the image of its last features.
///
/// What counts as head is everything behind the last child that gives images [N, C, H, W]; a network of features alone
/// is kept as it is. Shapes: x [N, channels, H, W], y [N, C]; state_dict keys "model.KEY" with the network's own keys.
/// Throws ValueError for a network that gives no images at all, ShapeError when it does not take `image`.
template <class Scalar = float>
class ImageEncoder : public Layer<ImageEncoder<Scalar>, Scalar> {
 public:
  Sequential<Scalar> model;

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
    detail::require(kept > 0, "ImageEncoder: ", network.name(), " gives no features [N, C, H, W]");
    features_ = features[1];
    const Members<Scalar> children = network.members();
    for (std::size_t i = 0; i < static_cast<std::size_t>(kept); ++i)
      model.add(Child<Scalar>(children[i].name, std::get<Module<Scalar>*>(children[i].part)->clone()));
    model.add("", AdaptiveAvgPool2d<Scalar>(1));
    model.add("", Flatten<Scalar>());
  }

  /// C.
  Index features() const { return features_; }

  Shape output_shape(const Shape& images) const override { return model.output_shape(images); }
  Members<Scalar> members() override { return {{"model", &model}}; }
  std::string name() const override { return detail::text("ImageEncoder(", model.name(), ")"); }
  Index multiply_adds(const Shape& images) const override { return model.multiply_adds(images); }
  void trace(const Shape& images, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, images, output_shape(images)});
    model.trace(images, path.empty() ? "model" : path + ".model", depth + 1, steps);
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return model.infer(std::move(x)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override { return model.forward(std::move(x), tape); }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    return model.backward(std::move(dy), tape, input_grad);
  }

  Index features_;
};

/// DistilBERT's last hidden state of each sequence's first token, [CLS].
///
/// Shapes: N packed sequences -> [N, features]; as a Module ids as numbers [N, L]. State_dict keys "model.KEY" with
/// DistilBert's. Errors are DistilBert's.
template <class Scalar = float>
class TextEncoder : public Layer<TextEncoder<Scalar>, Scalar> {
 public:
  DistilBert<Scalar> model;

  explicit TextEncoder(const DistilBertOptions& options = {}) : model(options) {}
  explicit TextEncoder(DistilBert<Scalar> distilbert) : model(std::move(distilbert)) {}

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  Tensor<Scalar> infer(const PackedTokens& tokens) const { return first_rows(model.infer(tokens), tokens.sequences); }
  Tensor<Scalar> forward(const PackedTokens& tokens, Tape& tape) {
    return this->recorded(tape, [&] { return run_forward(tokens, tape); });
  }

  Index features() const { return model.features(); }

  Shape output_shape(const Shape& ids) const override {
    detail::require<ShapeError>(ids.rank() == 2, name(), ": expected ids [N, L], got shape ", ids);
    model.output_shape(ids);
    return {ids[0], features()};
  }
  Members<Scalar> members() override { return {{"model", &model}}; }
  std::string name() const override { return detail::text("TextEncoder(", model.name(), ")"); }
  Index multiply_adds(const Shape& ids) const override { return model.multiply_adds(ids); }
  void trace(const Shape& ids, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    steps.push_back({path, depth, this, ids, output_shape(ids)});
    model.trace(ids, path.empty() ? "model" : path + ".model", depth + 1, steps);
  }

 private:
  Tensor<Scalar> first_rows(const Tensor<Scalar>& states, const Sequences& sequences) const {
    Tensor<Scalar> y({sequences.size(), features()});
    for (Index i = 0; i < sequences.size(); ++i)
      std::copy_n(states.data() + sequences.begin(i) * features(), features(), y.data() + i * features());
    return y;
  }
  PackedTokens tokens_of(const Tensor<Scalar>& x) const {
    output_shape(x.shape());
    return {detail::ids_of(name(), x).reshape({-1}), Sequences(x.dim(0), x.dim(1))};
  }
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return infer(tokens_of(x)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override { return run_forward(tokens_of(x), tape); }

  Tensor<Scalar> run_forward(const PackedTokens& tokens, Tape& tape) {
    Tensor<Scalar> y = first_rows(model.forward(tokens, tape), tokens.sequences);
    tape.push(tokens.sequences);
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [sequences] = tape.pop<Sequences>();
    if (!trainable(model)) {
      model.discard(tape);
      return {};
    }
    auto dstates = Tensor<Scalar>::zeros({sequences.tokens(), features()});
    for (Index i = 0; i < sequences.size(); ++i)
      std::copy_n(std::as_const(dy).data() + i * features(), features(),
                  dstates.data() + sequences.begin(i) * features());
    return model.backward(std::move(dstates), tape, InputGrad::skip);
  }
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

struct ClipOptions {
  Index projection = 256;  ///< size of the embeddings
  double dropout = 0.1;    ///< of the projection heads
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
class ClipModel : public Layer<ClipModel<Scalar>, Scalar> {
 public:
  ImageEncoder<Scalar> image_encoder;
  TextEncoder<Scalar> text_encoder;
  Sequential<Scalar> image_projection, text_projection;
  /// The logarithm of the factor of the cosines in contrastive_loss; the soft targets do not use it.
  Parameter<Scalar> logit_scale = Tensor<Scalar>::full({}, static_cast<Scalar>(std::log(1 / 0.07)));

  ClipModel(ImageEncoder<Scalar> images, TextEncoder<Scalar> texts, const ClipOptions& options = {})
      : image_encoder(std::move(images)),
        text_encoder(std::move(texts)),
        image_projection(projection_head<Scalar>(image_encoder.features(), options.projection, options.dropout)),
        text_projection(projection_head<Scalar>(text_encoder.features(), options.projection, options.dropout)) {}

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  /// [N, projection], not normalised.
  Tensor<Scalar> embed_images(Tensor<Scalar> images) const {
    return image_projection.infer(image_encoder.infer(std::move(images)));
  }
  Tensor<Scalar> embed_texts(const PackedTokens& tokens) const {
    return text_projection.infer(text_encoder.infer(tokens));
  }

  Tensor<Scalar> forward(Tensor<Scalar> images, const PackedTokens& tokens, Tape& tape) {
    return this->recorded(tape, [&] {
      detail::require(images.rank() > 0 && images.dim(0) == tokens.sequences.size(), name(),
                      ": expected a text for each image, got ", tokens.sequences.size(), " texts for images of shape ",
                      images.shape());
      const Tensor<Scalar> image = do_forward(std::move(images), tape);
      const Tensor<Scalar> text = text_projection.forward(text_encoder.forward(tokens, tape), tape);
      Tensor<Scalar> both(image.shape().batch(2));
      std::copy_n(text.data(), text.numel(), std::copy_n(image.data(), image.numel(), both.data()));
      return both;
    });
  }

  Shape output_shape(const Shape& images) const override {
    return image_projection.output_shape(image_encoder.output_shape(images));
  }
  Members<Scalar> members() override {
    return {{"image_encoder", &image_encoder},
            {"text_encoder", &text_encoder},
            {"image_projection", &image_projection},
            {"text_projection", &text_projection},
            {"logit_scale", &logit_scale}};
  }
  std::string name() const override {
    return detail::text("ClipModel(", image_encoder.name(), ", ", text_encoder.name(), ")");
  }
  Index multiply_adds(const Shape& images) const override {
    return image_encoder.multiply_adds(images) + image_projection.multiply_adds(image_encoder.output_shape(images));
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> images) const override { return embed_images(std::move(images)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> images, Tape& tape) override {
    return image_projection.forward(image_encoder.forward(std::move(images), tape), tape);
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    if (dy.rank() == 2) return backward_half(image_encoder, image_projection, std::move(dy), tape, input_grad);
    backward_half(text_encoder, text_projection, dy[1], tape, InputGrad::skip);
    return backward_half(image_encoder, image_projection, dy[0], tape, input_grad);
  }
  static Tensor<Scalar> backward_half(Module<Scalar>& encoder, Module<Scalar>& projection, Tensor<Scalar> dy,
                                      Tape& tape, InputGrad input_grad) {
    const bool needed = input_grad == InputGrad::compute || trainable(encoder);
    dy = projection.backward(std::move(dy), tape, needed ? InputGrad::compute : InputGrad::skip);
    if (needed) return encoder.backward(std::move(dy), tape, input_grad);
    encoder.discard(tape);
    return {};
  }
};

}  // namespace lamina
