#include "clip/model.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "clip/images.hpp"
#include "common/described.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::examples::clip {

namespace {

/// Every number of an architecture by its name in the file.
template <class F>
void for_each_number(Architecture& network, F f) {
  f("resnet", network.resnet);
  f("width", network.width);
  f("image_size", network.image_size);
  f("layers", network.layers);
  f("features", network.features);
  f("heads", network.heads);
  f("max_length", network.max_length);
  f("positions", network.positions);
  f("projection", network.projection);
}
/// Those that files have had since later, which are as above in files that lack them.
template <class F>
void for_each_later_number(Architecture& network, F f) {
  f("logit_bias", network.logit_bias);
  f("mean", network.mean);
  f("std", network.std);
}

/// Embeddings as they are. Throws NumericalError for NaN, which is like nothing and unlike nothing.
Tensor<float> checked(Tensor<float> embeddings) {
  require<NumericalError>(embeddings.array().isFinite().all(),
                          "the model's embeddings are not finite; are its weights whole?");
  return embeddings;
}

}  // namespace

Tensor<float> embed(const Clip& clip, const CaptionDataset<float>& images, const Settings& s, const char* what) {
  DataLoader<float> loader = make_loader(images, s);
  const Index side = clip.network.image_size;
  const Plan encoder = compile(clip.net, {loader.batch_size(), 3, side, side});
  Progress progress(loader.size());
  progress.section(what, loader.size());
  Tensor<float> all({images.size(), clip.network.projection});
  float* out = all.data();
  for (auto& [pixels, numbers] : loader) {
    const Tensor<float> embeddings = encoder(std::move(pixels));
    out = std::copy_n(embeddings.data(), embeddings.numel(), out);
    progress.advance(numbers.numel(), "");
  }
  return checked(std::move(all));
}
Tensor<float> embed(const Clip& clip, const std::vector<std::string>& texts) {
  Tensor<float> all({static_cast<Index>(texts.size()), clip.network.projection});
  float* out = all.data();
  for (std::size_t first = 0; first < texts.size(); first += 256) {
    const auto begin = texts.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = begin + static_cast<std::ptrdiff_t>(std::min<std::size_t>(256, texts.size() - first));
    const Tensor<float> embeddings = clip.net.embed_texts(clip.tokens({begin, end}));
    out = std::copy_n(embeddings.data(), embeddings.numel(), out);
  }
  return checked(std::move(all));
}

ClipModel<float> make_network(const Architecture& n, Index vocabulary, double dropout) {
  Sequential<float> images =
      n.image_model == "mobilenet_v2" ? mobilenet_v2({.width = n.width}) : resnet(n.resnet, {.width = n.width});
  return {ImageEncoder<float>(std::move(images), {3, n.image_size, n.image_size}),
          TextEncoder<float>({.vocabulary = vocabulary,
                              .positions = n.positions,
                              .layers = n.layers,
                              .features = n.features,
                              .heads = n.heads,
                              .hidden = 4 * n.features,
                              .dropout = dropout,
                              .attention_dropout = dropout}),
          {.projection = n.projection, .dropout = dropout, .logit_bias = n.logit_bias != 0}};
}

void save(const Clip& clip, const std::string& path) {
  Metadata metadata{{"format", format}, {"dataset", clip.dataset}, {"vocabulary", encode_vocabulary(clip.tokenizer)}};
  Architecture network = clip.network;
  metadata["image_model"] = network.image_model;
  for_each_later_number(network, [&](const char* name, auto& value) { metadata[name] = text(value); });
  for_each_number(network, [&](const char* name, auto& value) { metadata[name] = text(value); });
  save_state_dict(path, state_dict(clip.net), metadata);
}

Clip read_model(const Settings& s) {
  const SafetensorsFile file(s.model);
  const auto entry = [&](const std::string& key) {
    const auto found = file.metadata().find(key);
    require<FileError>(found != file.metadata().end(), s.model, ": not a model of this program: no ", key);
    return found->second;
  };
  Architecture network;
  for_each_number(network, [&](const char* name, auto& value) {
    require<FileError>(CLI::detail::lexical_cast(entry(name), value), s.model, ": ", name, " should be a number, got ",
                       entry(name));
  });
  if (file.metadata().contains("image_model")) {
    network.image_model = entry("image_model");
    for_each_later_number(network, [&](const char* name, auto& value) {
      require<FileError>(CLI::detail::lexical_cast(entry(name), value), s.model, ": ", name,
                         " should be a number, got ", entry(name));
    });
  }
  WordPiece tokenizer = decode_vocabulary(entry("vocabulary"), s.model);
  const auto features = static_cast<double>(network.features);
  const double rows = static_cast<double>(network.layers) * features + static_cast<double>(network.positions) +
                      static_cast<double>(network.projection);
  const double least = rows * features + 1e6 * network.width * network.width;  // the second: of the smallest ResNet
  ClipModel<float> net =
      examples::described_network(file, least, [&] { return make_network(network, tokenizer.size(), 0); });
  return {network, std::move(tokenizer), std::move(net), entry("dataset")};
}

}  // namespace lamina::examples::clip
