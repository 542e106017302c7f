#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "io/files.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/io/openai_clip.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/named_modules.hpp"
#include "lamina/nn/sigmoid_contrastive_loss.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"
#include "lamina/train/grad_cache.hpp"
#include "message.hpp"

using namespace lamina;
using testing::message;

namespace openai_clip {

/// |a - b| / |b|.
template <class A, class B>
double distance(const Tensor<A>& a, const Tensor<B>& b) {
  REQUIRE(a.shape() == b.shape());
  double apart = 0, whole = 0;
  for (Index i = 0; i < b.numel(); ++i) {
    const auto x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    apart += (x - y) * (x - y);
    whole += y * y;
  }
  return std::sqrt(apart / whole);
}

/// A model of make_openai_clip.py: its weights in half precision, and what PyTorch makes of an example.
struct GoldenClip {
  SafetensorsFile file{std::string(LAMINA_GOLDEN_DIR) + "/openai_clip.safetensors"};
  std::string prefix;

  explicit GoldenClip(const std::string& name) : prefix(name + "/") {}
  Tensor<float> get(const std::string& key) const { return file.tensor(prefix + key); }
  Labels text() const { return file.tensor<std::int64_t>("text").cast<std::int32_t>(); }
  StateDict<float> state() const {
    StateDict<float> result;
    const std::string before = prefix + "state.";
    for (const std::string& key : file.keys())
      if (key.starts_with(before) && !key.ends_with("num_batches_tracked"))
        result.emplace_back(key.substr(before.size()), file.tensor(key));
      else if (key.starts_with(before))
        result.emplace_back(key.substr(before.size()), file.tensor<std::int64_t>(key));
    return result;
  }
  OpenAIClip<float> model() const { return openai_clip_of(state(), hints); }
  static constexpr OpenAIClipHints hints{.text_heads = 2};
};

/// logits_per_image of embeddings.
Tensor<float> logits(const OpenAIClip<float>& net, const Tensor<float>& images, const Tensor<float>& texts) {
  const Tensor<float> i = l2_normalize(images), t = l2_normalize(texts);
  Tensor<float> result({i.dim(0), t.dim(0)});
  result.matrix() = std::exp(net.logit_scale.value.item()) * i.matrix() * t.matrix().transpose();
  return result;
}

/// The names of Hugging Face's CLIPModel for OpenAI's.
StateDict<float> hugging_face(const StateDict<float>& state) {
  StateDict<float> result{{"text_model.embeddings.position_ids", Tensor<std::int64_t>::zeros({1, 10})}};
  const auto put = [&](std::string key, const std::string& from, const std::string& to) {
    if (const auto at = key.find(from); at != std::string::npos) key.replace(at, from.size(), to);
    return key;
  };
  for (const auto& [key, value] : state) {
    Tensor<float> x = std::get<Tensor<float>>(value);
    if (key == "visual.proj" || key == "text_projection") {
      Tensor<float> turned({x.dim(1), x.dim(0)});
      turned.matrix() = std::as_const(x).matrix().transpose();
      result.emplace_back(key == "visual.proj" ? "visual_projection.weight" : "text_projection.weight", turned);
      continue;
    }
    if (key == "logit_scale") {
      result.emplace_back(key, x);
      continue;
    }
    const bool image = key.starts_with("visual.");
    std::string name = image ? key.substr(7) : key;
    name = put(name, "conv1.", "embeddings.patch_embedding.");
    name = put(name, "class_embedding", "embeddings.class_embedding");
    name = put(name, "positional_embedding", "embeddings.position_embedding.weight");
    name = put(name, "token_embedding", "embeddings.token_embedding");
    name = put(name, "ln_pre", "pre_layrnorm");
    name = put(name, "ln_post", "post_layernorm");
    name = put(name, "ln_final", "final_layer_norm");
    name = put(name, "transformer.resblocks.", "encoder.layers.");
    name = put(name, ".ln_", ".layer_norm");
    name = put(name, ".attn.", ".self_attn.");
    name = put(name, "c_fc", "fc1");
    name = put(name, "c_proj", "fc2");
    name = (image ? "vision_model." : "text_model.") + name;
    if (name.find("in_proj_") == std::string::npos) {
      result.emplace_back(name, x);
      continue;
    }
    const Index rows = x.dim(0) / 3;
    for (Index i = 0; i < 3; ++i) {
      const std::string part =
          name.substr(0, name.find("in_proj_")) + "qkv"[i] + "_proj." + name.substr(name.find("in_proj_") + 8);
      result.emplace_back(part, x.slice(i * rows, (i + 1) * rows));
    }
  }
  return result;
}

void erase(StateDict<float>& state, const std::string& prefix) {
  std::erase_if(state, [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

}  // namespace openai_clip

using openai_clip::distance;
using openai_clip::GoldenClip;

TEST_CASE("OpenAI's models give OpenAI's features, logits, loss and gradients") {
  for (const char* name : {"vit", "resnet"}) {
    CAPTURE(name);
    const GoldenClip example(name);
    OpenAIClip<float> net = example.model();
    const Tensor<float> images = net.embed_images(example.get("image"));
    CHECK(distance(images, example.get("image_features")) < 1e-5);
    const Tensor<float> dense = net.text.infer(example.text());
    CHECK(distance(dense, example.get("text_features")) < 1e-5);
    // Without the padding, which nothing depends on.
    const std::vector<Index> lengths{4, 2, 10};
    const Tensor<float> packed = net.embed_texts(pack(example.text(), lengths));
    CHECK(distance(packed, example.get("text_features")) < 1e-5);
    CHECK(distance(openai_clip::logits(net, images, packed), example.get("logits_per_image")) < 1e-5);

    Tape tape;
    const auto [loss, grad] = contrastive_loss(
        net.forward(example.get("image"), pack(example.text(), lengths), tape, InputGrad::skip), net.logit_scale);
    CHECK(loss == doctest::Approx(example.get("loss").item()).epsilon(1e-5));
    net.backward(grad, tape, InputGrad::skip);
    CHECK(tape.empty());
    StateDict<float> gradients;
    for (const auto& [key, parameter, owner] : parameters(net)) gradients.emplace_back(key, parameter->grad);
    StateDict<float> expected;
    for (const std::string& key : example.file.keys())
      if (key.starts_with(example.prefix + "grad."))
        expected.emplace_back(key.substr(example.prefix.size() + 5), example.file.tensor(key));
    REQUIRE(expected.size() >= 8);
    // Gradients have the names, and are turned and split, as the weights.
    StateDict<float> whole = example.state();
    for (auto& [key, value] : whole)
      for (const auto& [other, gradient] : expected)
        if (key == other) value = gradient;
    const auto read = openai_clip_state(whole, GoldenClip::hints).state;
    std::size_t compared = 0;
    for (const auto& [key, value] : read)
      for (const auto& [other, gradient] : gradients)
        if (key == other)
          for (const auto& [named, unused] : expected) {
            const std::string stem = named.substr(0, named.find("in_proj_"));
            if (!key.starts_with(stem) || (stem == named && key != named && key != named + ".weight")) continue;
            if (stem != named && !key.ends_with("_proj.weight")) continue;
            if (stem != named && key.find(".out_proj.") != std::string::npos) continue;
            CAPTURE(key);
            CHECK(distance(std::get<Tensor<float>>(gradient), std::get<Tensor<float>>(value)) < 2e-4);
            ++compared;
          }
    CHECK(compared == expected.size() + 2);  // one is of three maps
  }
}

TEST_CASE("the models of the data folder load strictly and give OpenAI's values") {
  const char* folder = std::getenv("LAMINA_DATA");
  for (const char* kind : {"vit", "resnet"}) {
    const std::string path = text(folder ? folder : "/nowhere", "/text/clip/openai_", kind, "_tiny.safetensors");
    if (!file_exists(path)) {
      MESSAGE("no ", path);
      continue;
    }
    const OpenAIClip<float> net = load_openai_clip(path, {.text_heads = 2});
    std::map<std::string, Tensor<float>> example;
    for (const auto& [key, value] : load_safetensors(path))
      if (key.starts_with("example."))
        example[key.substr(8)] = std::visit([](const auto& x) { return x.template cast<float>(); }, value);
    const Tensor<float> images = net.embed_images(example["image"]), texts = net.text.infer(example["text"]);
    const double of_images = distance(images, example["image_features"]),
                 of_texts = distance(texts, example["text_features"]),
                 of_logits = distance(openai_clip::logits(net, images, texts), example["logits_per_image"]);
    MESSAGE(kind, ": relative L2 ", of_images, ", ", of_texts, ", ", of_logits);
    CHECK(of_images < 1e-5);
    CHECK(of_texts < 1e-5);
    CHECK(of_logits < 1e-5);
  }
}

TEST_CASE("weights load by OpenAI's, open_clip's, Hugging Face's and its own names, in F32, F16 and BF16") {
  const GoldenClip example("vit");
  const TemporaryFolder folder;
  const Tensor<float> expected = example.model().embed_images(example.get("image"));
  const auto features = [&](const StateDict<float>& state) {
    save_state_dict(folder / "clip.safetensors", state);
    const OpenAIClip<float> net = load_openai_clip(folder / "clip.safetensors", GoldenClip::hints);
    CHECK(distance(net.text.infer(example.text()), example.get("text_features")) < 1e-5);
    return net.embed_images(example.get("image"));
  };
  StateDict<float> named = example.state();
  for (const char* number : {"input_resolution", "context_length", "vocab_size"})  // as in TorchScript archives
    named.emplace_back(number, Tensor<std::int64_t>::full({}, 7));
  CHECK(distance(features(named), expected) < 1e-6);
  CHECK(distance(features(openai_clip::hugging_face(example.state())), expected) < 1e-6);
  CHECK(distance(features(state_dict(std::as_const(example).model())), expected) < 1e-6);
  StateDict<float> custom;  // open_clip's CustomTextCLIP
  for (const auto& [key, value] : example.state())
    custom.emplace_back(key.starts_with("visual.") || key == "logit_scale" ? key : "text." + key, value);
  CHECK(distance(features(custom), expected) < 1e-6);

  // The fixture's own file is F16; the same bits in BF16 lose three digits.
  std::string header = "{", data;
  for (const auto& [key, value] : example.state()) {
    const auto& x = std::get<Tensor<float>>(value);
    const std::size_t begin = data.size();
    for (const float number : x.values()) {
      const auto bits = static_cast<std::uint16_t>(lamina::bit_cast<std::uint32_t>(number) >> 16);
      data += static_cast<char>(bits & 0xff);
      data += static_cast<char>(bits >> 8);
    }
    std::string extents;
    for (const Index extent : x.shape()) extents += text(extents.empty() ? "" : ",", extent);
    header += text(header.size() > 1 ? "," : "", "\"", key, "\":{\"dtype\":\"BF16\",\"shape\":[", extents,
                   "],\"data_offsets\":[", begin, ",", data.size(), "]}");
  }
  header += "}";
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  put(folder / "low.safetensors", length + header + data);
  const OpenAIClip<float> low = load_openai_clip(folder / "low.safetensors", GoldenClip::hints);
  const double apart = distance(low.embed_images(example.get("image")), expected);
  CHECK(apart > 1e-5);
  CHECK(apart < 0.05);
  // GELU is another model.
  const OpenAIClip<float> gelu = openai_clip_of(example.state(), {.text_heads = 2, .quick_gelu = false});
  CHECK(distance(gelu.embed_images(example.get("image")), expected) > 1e-4);
}

TEST_CASE("OpenAI's sizes by name have their numbers of parameters") {
  const std::vector<Index> expected{102007137, 119688033, 178300601, 290979217, 623258305,
                                    151277313, 149620737, 427616513, 427944193};
  const SkipInit skip;
  // All blocks but a ResNet stage's first are equal, and so are tokens: a model with two of each tells the rest.
  for (std::size_t i = 0; i < openai_clip_names.size(); ++i) {
    CAPTURE(openai_clip_names[i]);
    const OpenAIClipOptions options = openai_clip_options(openai_clip_names[i]);
    OpenAIClipOptions two = options;
    two.text.layers = two.text.vocabulary = 2;
    std::vector<std::pair<std::string, Index>> depths{{"transformer.resblocks.1", options.text.layers}};
    if (auto* image = std::get_if<VisionTransformerOptions>(&two.image)) {
      depths.push_back({"visual.transformer.resblocks.1", std::exchange(image->layers, 2)});
    } else {
      auto& layers = std::get<ModifiedResNetOptions>(two.image).layers;
      for (std::size_t k = 0; k < 4; ++k)
        depths.push_back({text("visual.layer", k + 1, ".1"), std::exchange(layers[k], 2)});
    }
    OpenAIClip<float> net(two);
    Index total = count_parameters(net).total + (options.text.vocabulary - 2) * options.text.features;
    for (const auto& [block, count] : depths) total += (count - 2) * count_parameters(find<float>(net, block)).total;
    CHECK(total == expected[i]);
  }
  OpenAIClipOptions images = openai_clip_options("ViT-B/32");
  images.text.layers = images.text.vocabulary = 2;  // what an image costs has nothing to do with text
  CHECK(OpenAIClip<float>(images).multiply_adds({1, 3, 224, 224}) / 1000000 == 4408);
  CHECK(message([] { openai_clip_options("ViT-B/64"); }) ==
        "openai_clip_options: expected one of RN50, RN101, RN50x4, RN50x16, RN50x64, ViT-B/32, ViT-B/16, ViT-L/14, "
        "ViT-L/14@336px, got ViT-B/64");
}

TEST_CASE("a Plan of either tower gives what infer gives") {
  for (const char* name : {"vit", "resnet"}) {
    const GoldenClip example(name);
    const OpenAIClip<float> net = example.model();
    const Plan<float> images = compile(net, example.get("image").shape());
    CHECK(distance(images(example.get("image")), example.get("image_features")) < 1e-5);
    const PackedTokens tokens = pack(example.text(), std::vector<Index>{4, 2, 10});
    const Plan<float> texts = compile(net.text, Values<float>(Value<float>(tokens)));
    CHECK(distance(texts(tokens), example.get("text_features")) < 1e-5);
    CHECK(distance(texts(pack(example.text()[0].reshape({1, 10}), std::vector<Index>{4})),
                   example.get("text_features").slice(0, 1)) < 1e-5);
  }
}

TEST_CASE("CLIP's layers conform") {
  CHECK(conforms(QuickGELU<double>(), {2, 5, 3}, {.scale = 2}));
  CHECK(conforms(ImageTokens<double>(6, 4), {2, 4, 2, 3}));
  CHECK(conforms(ImageTokens<double>(6, 4, {.mean = true}), {2, 4, 3, 2}));
  CHECK(conforms(AttentionPool2d<double>(4, 6, 3, 5), {2, 6, 2, 2}));
  CHECK(conforms(MultiHeadAttention<double>(6, 2, {.causal = true}), {2, 5, 6}));
  CHECK(conforms(MultiHeadAttention<double>(2, 1, {.dropout = 0.3, .causal = true}), {130, 2},
                 {.training_differs = true, .batched = false}));
  CHECK(
      conforms(VisionTransformer<double>(
                   {.image_size = 8, .patch = 4, .features = 6, .layers = 2, .heads = 2, .hidden = 8, .projection = 3}),
               {2, 3, 8, 8}));
}

TEST_CASE("a causal token depends on itself and those before it, and on nothing behind") {
  const MultiHeadAttention<double> shape(4, 2, {.causal = true});
  MultiHeadAttention<double> layer = shape;
  const Tensor<double> x = Random(3).normal<double>({140, 4});
  for (const Index row : {Index{0}, Index{1}, Index{77}, Index{139}}) {
    Tape tape;
    layer.forward(x, tape);
    Tensor<double> dy = Tensor<double>::zeros(x.shape());
    dy(row, 2) = 1;
    const Tensor<double> dx = layer.backward(dy, tape);
    for (Index i = 0; i < 140; ++i) CHECK((dx[i].array().abs().maxCoeff() == 0) == (i > row));
  }
}

TEST_CASE("GradCache gives the gradients of one piece") {
  manual_seed(5);
  const DistilBertOptions text{.vocabulary = 20, .positions = 6, .layers = 1, .features = 8, .heads = 2, .hidden = 12};
  ClipModel<double> net(ImageEncoder<double>(Sequential<double>{Conv2d<double>(3, 8, 3, {.stride = 2})}, {3, 8, 8}),
                        TextEncoder<double>(text), {.projection = 6, .logit_bias = true});  // dropout everywhere
  const Tensor<double> images = Random(1).normal<double>({12, 3, 8, 8});
  Labels ids({12, 4});
  for (Index i = 0; i < ids.numel(); ++i) ids.data()[i] = static_cast<std::int32_t>(1 + i * 7 % 19);
  const auto tokens = [&](Index first, Index count) {
    return pack(ids.slice(first, first + count), std::vector<Index>(static_cast<std::size_t>(count), 4));
  };
  const auto loss_of = [&](const Tensor<double>& all) {
    return sigmoid_contrastive_loss(all, net.logit_scale, net.logit_bias);
  };
  const auto gradients = [&] {
    StateDict<double> result;
    for (const auto& [key, parameter, owner] : parameters(net)) result.emplace_back(key, parameter->grad);
    zero_grad(net);
    return result;
  };
  // In parts of four that are run one after the other on one tape, kept whole: what the cached ones must equal.
  Tape kept(9);
  Tensor<double> all({2, 12, 6});
  for (Index part = 0; part < 3; ++part) {
    const Tensor<double> own = net.forward(images.slice(4 * part, 4 * part + 4), tokens(4 * part, 4), kept);
    for (Index half = 0; half < 2; ++half) std::copy_n(own.data() + half * 24, 24, all.data() + half * 72 + part * 24);
  }
  auto [expected_loss, grad] = loss_of(all);
  for (Index part = 2; part >= 0; --part) {
    Tensor<double> own({2, 4, 6});
    for (Index half = 0; half < 2; ++half)
      std::copy_n(std::as_const(grad).data() + half * 72 + part * 24, 24, own.data() + half * 24);
    net.backward(own, kept, InputGrad::skip);
  }
  const StateDict<double> expected = gradients();

  Tape tape(9);
  const double loss = grad_cache<double>(
      3, tape,
      [&](Index part, Tape& t) { return net.forward(images.slice(4 * part, 4 * part + 4), tokens(4 * part, 4), t); },
      [&](Tensor<double> d, Tape& t) { net.backward(std::move(d), t, InputGrad::skip); }, loss_of);
  CHECK(loss == doctest::Approx(expected_loss).epsilon(1e-12));
  CHECK(tape.empty());
  const StateDict<double> cached = gradients();
  REQUIRE(cached.size() == expected.size());
  for (std::size_t i = 0; i < cached.size(); ++i) {
    CAPTURE(cached[i].first);
    const auto &a = std::get<Tensor<double>>(cached[i].second), &b = std::get<Tensor<double>>(expected[i].second);
    CHECK(testing::worst_difference(a, b).error < 1e-10);
  }
  // Without dropout the parts are the batch in one piece.
  freeze(net.image_projection);
  ClipModel<double> plain(ImageEncoder<double>(Sequential<double>{Conv2d<double>(3, 8, 3, {.stride = 2})}, {3, 8, 8}),
                          TextEncoder<double>({.vocabulary = 20,
                                               .positions = 6,
                                               .layers = 1,
                                               .features = 8,
                                               .heads = 2,
                                               .hidden = 12,
                                               .dropout = 0,
                                               .attention_dropout = 0}),
                          {.projection = 6, .dropout = 0});
  Tape one;
  auto [whole, whole_grad] = contrastive_loss(plain.forward(images, tokens(0, 12), one), plain.logit_scale);
  plain.backward(whole_grad, one, InputGrad::skip);
  std::vector<Tensor<double>> in_one_piece;
  for (const auto& [key, parameter, owner] : parameters(plain)) in_one_piece.push_back(parameter->grad);
  zero_grad(plain);
  for (const Index size : {Index{1}, Index{3}, Index{12}}) {
    const double value = grad_cache<double>(
        12 / size, one,
        [&](Index p, Tape& t) {
          return plain.forward(images.slice(size * p, size * p + size), tokens(size * p, size), t);
        },
        [&](Tensor<double> d, Tape& t) { plain.backward(std::move(d), t, InputGrad::skip); },
        [&](const Tensor<double>& each) { return contrastive_loss(each, plain.logit_scale); });
    CHECK(value == doctest::Approx(whole).epsilon(1e-12));
    std::size_t i = 0;
    for (const auto& [key, parameter, owner] : parameters(plain))
      CHECK(testing::worst_difference(parameter->grad, in_one_piece[i++]).error < 1e-10);
    zero_grad(plain);
  }
  CHECK(message([&] {
          grad_cache<double>(
              0, one, [&](Index, Tape&) { return all; }, [](Tensor<double>, Tape&) {}, loss_of);
        }) == "grad_cache: expected at least one part, got 0");
}

TEST_CASE("SigLIP's loss and its gradients") {
  Parameter<double> scale(Tensor<double>::full({}, 0.7)), bias(Tensor<double>::full({}, -0.4));
  const Tensor<double> x = Random(2).normal<double>({2, 3, 4});
  const auto value = [&](const Tensor<double>& embeddings) {  // the definition
    const Tensor<double> unit = l2_normalize(embeddings);
    double sum = 0;
    for (Index i = 0; i < 3; ++i)
      for (Index j = 0; j < 3; ++j) {
        const double logit =
            std::exp(scale.value.item()) * unit[0][i].vector().dot(unit[1][j].vector()) + bias.value.item();
        sum += std::log(1 + std::exp((i == j ? -1 : 1) * logit));
      }
    return sum / 3;
  };
  const auto [loss, grad] = sigmoid_contrastive_loss(x, scale, bias);
  CHECK(loss == doctest::Approx(value(x)).epsilon(1e-12));
  const double step = 1e-6;
  for (Index i = 0; i < x.numel(); ++i) {
    Tensor<double> up = x, down = x;
    up.data()[i] += step;
    down.data()[i] -= step;
    CHECK(grad.data()[i] == doctest::Approx((value(up) - value(down)) / (2 * step)).epsilon(1e-6));
  }
  for (Parameter<double>* parameter : {&scale, &bias}) {
    const double at = parameter->value.item();
    parameter->value.fill(at + step);
    const double up = value(x);
    parameter->value.fill(at - step);
    const double down = value(x);
    parameter->value.fill(at);
    CHECK(parameter->grad.item() == doctest::Approx((up - down) / (2 * step)).epsilon(1e-6));
  }
  Parameter<double> two(Tensor<double>::zeros({2}));
  CHECK(message([&] { sigmoid_contrastive_loss(x, two, bias); }) ==
        "sigmoid_contrastive_loss: expected a logit_scale and a logit_bias of one element, got shapes [2] and []");
}

TEST_CASE("weights that are no CLIP's are refused with what is missing") {
  const GoldenClip example("vit");
  const TemporaryFolder folder;
  const std::string path = folder / "clip.safetensors";
  const auto complaint = [&](const StateDict<float>& state, const OpenAIClipHints& hints = GoldenClip::hints) {
    save_state_dict(path, state);
    return complaint_of(path, [&] { load_openai_clip(path, hints); });
  };
  StateDict<float> state = example.state();
  openai_clip::erase(state, "visual.");
  CHECK(complaint(state) ==
        "openai_clip_state: there is no image tower: expected visual.conv1.weight, or Hugging Face's "
        "vision_model.embeddings.patch_embedding.weight");
  state = example.state();
  openai_clip::erase(state, "token_embedding");
  CHECK(complaint(state) ==
        "openai_clip_state: there is no text tower: expected token_embedding.weight, or Hugging Face's "
        "text_model.embeddings.token_embedding.weight");
  state = example.state();
  openai_clip::erase(state, "visual.ln_post");
  CHECK(complaint(state) ==
        "load_state_dict: the state does not fit OpenAIClip()\n missing:\n  visual.ln_post.weight\n  "
        "visual.ln_post.bias");
  state = example.state();
  for (auto& [key, value] : state)
    if (key == "transformer.resblocks.1.ln_2.weight") value = Tensor<float>::ones({17});
  CHECK(
      complaint(state).ends_with("mis-shaped:\n  transformer.resblocks.1.ln_2.weight: expected shape [16], got [17]"));
  state = example.state();
  for (auto& [key, value] : state)
    if (key == "visual.positional_embedding") value = Tensor<float>::ones({6, 64});
  CHECK(complaint(state) == "openai_clip_state: visual.positional_embedding is for 5 patches, which are not a square");
  CHECK(complaint(example.state(), {}) == "openai_clip_state: 0 heads of the text tower do not divide its 16 features");
  OpenAIClipOptions options;
  options.text.projection = 256;
  options.text.layers = 0;
  std::get<VisionTransformerOptions>(options.image).layers = 0;
  CHECK(message([&] { OpenAIClip<float>{options}; }) ==
        "OpenAIClip: the image tower projects to 512 features, the text tower to 256");
}

TEST_CASE("the listing's best.pt, which has no logit_scale") {
  ClipModel<float> net(ImageEncoder<float>(Sequential<float>{Conv2d<float>(3, 8, 3)}, {3, 8, 8}),
                       TextEncoder<float>({.vocabulary = 20, .positions = 6, .layers = 1, .features = 8, .heads = 2}),
                       {.projection = 6});
  StateDict<float> state = state_dict(std::as_const(net));
  openai_clip::erase(state, "logit_scale");
  state.emplace_back("text_encoder.model.embeddings.position_ids", Tensor<std::int64_t>::zeros({1, 6}));
  CHECK_THROWS_AS(load_state_dict(net, state), StateError);
  load_state_dict(net, listing_clip_state(state));
  CHECK(net.logit_scale.value.item() == doctest::Approx(std::log(1 / 0.07)));
}
