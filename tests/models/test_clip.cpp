#include <doctest/doctest.h>

#include "lamina/models/clip.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/testing/conformance.hpp"
#include "message.hpp"

using namespace lamina;
using testing::message;

namespace {

const DistilBertOptions small{.vocabulary = 20,
                              .positions = 6,
                              .layers = 2,
                              .features = 8,
                              .heads = 2,
                              .hidden = 12,
                              .dropout = 0,
                              .attention_dropout = 0};

ClipModel<float> small_clip(const DistilBertOptions& text = small) {
  return {ImageEncoder<float>({Conv2d<float>(3, 8, 3, {.stride = 2}), ReLU<float>()}, {3, 8, 8}),
          TextEncoder<float>(text),
          {.projection = 8, .dropout = 0}};
}
PackedTokens small_texts(Index n) {
  Labels ids = Labels::zeros({n, 5});
  Random random(3);
  for (Index i = 0; i < n; ++i)
    for (Index t = 0; t < 2 + i % 4; ++t) ids(i, t) = static_cast<std::int32_t>(1 + random.below(19));
  return pack(ids);
}

}  // namespace

TEST_CASE("CLIP's parts have the published sizes and keys") {
  DistilBert<float> bert;
  CHECK(count_parameters(bert).total == 66362880);
  const auto state = state_dict(bert);
  CHECK(state.size() == 4 + 6 * 16);
  CHECK(state.front().first == "embeddings.word_embeddings.weight");
  CHECK(state[1].first == "embeddings.position_embeddings.weight");
  CHECK(state[3].first == "embeddings.LayerNorm.bias");
  CHECK(state[4].first == "transformer.layer.0.attention.q_lin.weight");
  CHECK(state[11].first == "transformer.layer.0.attention.out_lin.bias");
  CHECK(state[12].first == "transformer.layer.0.sa_layer_norm.weight");
  CHECK(state[14].first == "transformer.layer.0.ffn.lin1.weight");
  CHECK(state[17].first == "transformer.layer.0.ffn.lin2.bias");
  CHECK(state.back().first == "transformer.layer.5.output_layer_norm.bias");
  CHECK(bert.multiply_adds({8, 64}) == Index{8} * 64 * 6 * (4 * 768 * 768 + 2 * 64 * 768 + 2 * 768 * 3072));

  auto image_head = projection_head(2048), text_head = projection_head(768);
  CHECK(count_parameters(image_head).total == 590848);
  CHECK(count_parameters(text_head).total == 263168);

  const auto clip = state_dict(small_clip());
  CHECK(clip.front().first == "image_encoder.model.0.weight");
  CHECK(clip[2].first == "text_encoder.model.embeddings.word_embeddings.weight");
  CHECK(clip[clip.size() - 2].first == "text_projection.layer_norm.bias");
  CHECK(clip.back().first == "logit_scale");
}

TEST_CASE("a checkpoint of a model around DistilBERT loads by name") {
  DistilBert<float> from(small), to(small);
  StateDict<float> checkpoint;
  for (const auto& [key, value] : state_dict(from)) checkpoint.emplace_back("distilbert." + key, value);
  checkpoint.emplace_back("vocab_projector.bias", Tensor<float>({20}));
  load_state_dict(to, distilbert_state(checkpoint));
  CHECK(state_dict(to) == state_dict(from));
  CHECK(distilbert_state(state_dict(from)) == state_dict(from));
}

TEST_CASE("an image encoder is a network without its head") {
  const ImageEncoder<float> encoder(resnet<float>(50, {.width = 0.125}), {3, 64, 64});
  CHECK(encoder.features() == 256);
  CHECK(encoder.output_shape({2, 3, 96, 64}) == Shape{2, 256});
  for (const auto& [key, value] : state_dict(encoder)) CHECK(!key.starts_with("model.fc"));
  CHECK(state_dict(encoder).front().first == "model.conv1.weight");
  CHECK(conforms(ImageEncoder<double>({{"a", Conv2d<double>(2, 3, 2)}, {"b", Flatten<double>()}}, {2, 4, 4}),
                 {2, 2, 4, 5}));
}

TEST_CASE("DistilBERT computes a ragged batch as its sequences alone, and a dense one from numbers") {
  const DistilBert<float> bert(small);
  const PackedTokens texts = small_texts(5);
  const Tensor<float> y = bert.infer(texts);
  for (Index i = 0; i < 5; ++i) {
    const Index begin = texts.sequences.begin(i), end = texts.sequences.begin(i + 1);
    const Tensor<float> dense = bert.infer(texts.ids.slice(begin, end).cast<float>().reshape({1, -1}));
    CHECK(dense.shape() == Shape{1, end - begin, 8});
    CHECK(testing::worst_difference(y.slice(begin, end), dense.reshape({-1, 8})).error < 1e-5);
  }
  const std::string table = summary(bert, {2, 6});
  CHECK(table.find("transformer.layer.1.ffn.lin1 ") != std::string::npos);
  CHECK(table.find("transformer.layer.1. ") == std::string::npos);
}

TEST_CASE("CLIP learns which text belongs to which image, with either loss") {
  for (const bool soft : {true, false}) {
    manual_seed(1);
    ClipModel<float> clip = small_clip();
    const auto images = Random(2).normal<float>({8, 3, 8, 8});
    const PackedTokens texts = small_texts(8);
    AdamW optimizer(parameters(clip), {.lr = 5e-3});
    Tape tape;
    for (int step = 0; step < 150; ++step) {
      const Tensor<float> both = clip.forward(images, texts, tape);
      const auto [loss, grad] = soft ? soft_target_loss(both) : contrastive_loss(both, clip.logit_scale);
      clip.backward(grad, tape, InputGrad::skip);
      REQUIRE(tape.empty());
      optimizer.step();
    }
    const auto image = l2_normalize(clip.embed_images(images)), text = l2_normalize(clip.embed_texts(texts));
    const auto cosines = (text.matrix() * image.matrix().transpose()).eval();
    for (Index i = 0; i < 8; ++i) {
      Index best = 0;
      cosines.row(i).maxCoeff(&best);
      CHECK(best == i);
    }
    CHECK(clip.logit_scale.grad.empty() == soft);
  }
}

TEST_CASE("frozen encoders get no gradient and the heads still do") {
  const auto images = Random(2).normal<float>({3, 3, 8, 8});
  const PackedTokens texts = small_texts(3);
  ClipModel<float> clip = small_clip(), free = clip;
  const auto run = [&](ClipModel<float>& model) {
    Tape tape;
    const auto [loss, grad] = soft_target_loss(model.forward(images, texts, tape));
    model.backward(grad, tape, InputGrad::skip);
    CHECK(tape.empty());
  };
  run(free);
  set_requires_grad(clip.image_encoder, false);
  set_requires_grad(clip.text_encoder, false);
  run(clip);
  for (const auto& [name, parameter, owner] : parameters(clip.text_encoder)) CHECK(parameter->grad.empty());
  for (const auto& [name, parameter, owner] : parameters(clip.image_encoder)) CHECK(parameter->grad.empty());
  const auto heads = parameters(clip.text_projection), others = parameters(free.text_projection);
  for (std::size_t i = 0; i < heads.size(); ++i) CHECK(heads[i].parameter->grad == others[i].parameter->grad);

  // The embeddings and the first layer alone.
  ClipModel<float> upper = free;
  zero_grad(upper);
  set_requires_grad(upper.text_encoder, false);
  set_requires_grad(upper.text_encoder.model.blocks[1], true);
  run(upper);
  CHECK(upper.text_encoder.model.blocks[1].attention.q.weight.grad ==
        free.text_encoder.model.blocks[1].attention.q.weight.grad);
  CHECK((upper.text_encoder.model.blocks[0].attention.q.weight.grad.array() == 0).all());
}

TEST_CASE("the learned scale is clamped at 100") {
  Parameter<float> scale(Tensor<float>::full({}, 7));
  const auto embeddings = Random(1).normal<float>({2, 3, 4});
  const auto [loss, grad] = contrastive_loss(embeddings, scale);
  CHECK(scale.value.item() == std::log(100.0f));
  Parameter<float> most(Tensor<float>::full({}, std::log(100.0f)));
  CHECK(contrastive_loss(embeddings, most).value == loss);
  scale.value.fill(5);
  clamp_logit_scale(scale);
  CHECK(scale.value.item() == std::log(100.0f));
  scale.value.fill(4);
  clamp_logit_scale(scale);
  CHECK(scale.value.item() == 4);
}

TEST_CASE("frozen encoders stay as they are while the heads learn") {
  manual_seed(1);
  DistilBertOptions text = small;
  text.dropout = text.attention_dropout = 0.5;
  ClipModel<float> clip{
      ImageEncoder<float>({Conv2d<float>(3, 8, 3), BatchNorm2d<float>(8), ReLU<float>(), Dropout<float>(0.5)},
                          {3, 8, 8}),
      TextEncoder<float>(text),
      {.projection = 8}};
  const auto images = Random(2).normal<float>({6, 3, 8, 8});
  const PackedTokens texts = small_texts(6);
  freeze(clip.image_encoder);
  freeze(clip.text_encoder);
  const auto image_state = state_dict(std::as_const(clip.image_encoder)),
             text_state = state_dict(std::as_const(clip.text_encoder)),
             head_state = state_dict(std::as_const(clip.image_projection));
  const Tensor<float> image_features = clip.image_encoder.infer(images), text_features = clip.text_encoder.infer(texts);
  AdamW optimizer(parameters(clip), {.lr = 5e-3, .weight_decay = 0.1});
  Tape tape;
  for (int step = 0; step < 5; ++step) {
    CHECK(clip.image_encoder.forward(images, tape) == image_features);
    clip.image_encoder.discard(tape);
    CHECK(clip.text_encoder.forward(texts, tape) == text_features);
    clip.text_encoder.discard(tape);
    const auto [loss, grad] = soft_target_loss(clip.forward(images, texts, tape));
    clip.backward(grad, tape, InputGrad::skip);
    optimizer.step();
  }
  CHECK(state_dict(std::as_const(clip.image_encoder)) == image_state);
  CHECK(state_dict(std::as_const(clip.text_encoder)) == text_state);
  CHECK(clip.image_encoder.infer(images) == image_features);
  CHECK(clip.text_encoder.infer(texts) == text_features);
  CHECK(state_dict(std::as_const(clip.image_projection)) != head_state);
}

TEST_CASE("CLIP names what does not fit") {
  const DistilBert<float> bert(small);
  CHECK(message([&] {
          bert.infer(pack(Labels::full({1, 2}, 20)));
        }) ==
        "embeddings.word_embeddings: Embedding(20, 8, padding_idx=0): id 20 at position 0 is not one of the 20 "
        "entries 0 to 19");
  CHECK(message([&] {
          bert.infer(pack(Labels::full({1, 7}, 1)));
        }) ==
        "embeddings.position_embeddings: LearnedPositions(6, 8): sequence 0 has 7 tokens, but there are 6 "
        "positions");
  CHECK(message([&] {
          bert.output_shape({1, 2, 3});
        }) == "DistilBert(2 layers, 8, 2, 12): expected ids [L] or [N, L], got shape [1, 2, 3]");
  CHECK(message([&] {
          ImageEncoder<float>({Flatten<float>(), Linear<float>(12, 2)}, {3, 2, 2});
        }) == "ImageEncoder: Sequential(Flatten(), Linear(12, 2)) gives no features [N, C, H, W]");
  ClipModel<float> clip = small_clip();
  Tape tape;
  CHECK(message([&] {
          clip.forward(Tensor<float>::zeros({2, 3, 8, 8}), small_texts(3), tape);
        }).ends_with("expected a text for each image, got 3 texts for images of shape [2, 3, 8, 8]"));
  CHECK(tape.empty());
  CHECK(message([] {
          soft_target_loss(Tensor<float>({3, 2, 4}));
        }) == "soft_target_loss: expected embeddings [2, N, D], got shape [3, 2, 4]");
  CHECK(message([] {
          soft_target_loss(Tensor<float>({2, 2, 4}), {.temperature = 0});
        }) == "soft_target_loss: temperature must be positive, got 0");
  CHECK(message([] {
          soft_target_loss(Tensor<float>({2, 2, 4}), {.target_temperature = -1});
        }) == "soft_target_loss: target_temperature must be positive, got -1");
  Parameter<float> scales(Tensor<float>::zeros({2}));
  CHECK(message([&] {
          contrastive_loss(Tensor<float>({2, 2, 4}), scales);
        }) == "contrastive_loss: expected a logit_scale of one element, got shape [2]");
}
