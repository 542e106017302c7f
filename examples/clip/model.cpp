#include "clip/model.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <tuple>

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

namespace {

/// What a file of the listing's weights says of the model, by their shapes; its images have 224 pixels, its captions
/// 200 tokens at most.
Architecture listing_architecture(const SafetensorsFile& file) {
  const auto shape = [&](const std::string& key, int rank) {
    const Shape& found = file.info(key).shape;
    require<FileError>(found.rank() == rank, file.path(), ": ", key, " has shape ", found, ", expected ", rank,
                       " axes");
    return found;
  };
  const auto count = [&](const std::string& before, const std::string& behind) {
    Index i = 0;
    while (file.contains(text(before, i, behind))) ++i;
    return i;
  };
  const std::string image = "image_encoder.model.", words = "text_encoder.model.embeddings.";
  std::array<Index, 4> stages{};
  for (std::size_t i = 0; i < 4; ++i) stages[i] = count(text(image, "layer", i + 1, "."), ".conv1.weight");
  const bool bottleneck = file.contains(image + "layer1.0.conv3.weight");
  Architecture n{.resnet = 0};
  using Depth = std::tuple<Index, bool, std::array<Index, 4>>;
  for (const auto& [depth, three, blocks] :
       {Depth{18, false, {2, 2, 2, 2}}, Depth{34, false, {3, 4, 6, 3}}, Depth{50, true, {3, 4, 6, 3}},
        Depth{101, true, {3, 4, 23, 3}}, Depth{152, true, {3, 8, 36, 3}}})
    if (three == bottleneck && blocks == stages) n.resnet = depth;
  require<FileError>(n.resnet > 0, file.path(), ": ", image, "* is no ResNet of 18, 34, 50, 101 or 152 layers");
  n.width = static_cast<double>(shape(image + "conv1.weight", 4)[0]) / 64;
  n.image_size = 224;
  n.layers = count("text_encoder.model.transformer.layer.", ".sa_layer_norm.weight");
  n.features = shape(words + "word_embeddings.weight", 2)[1];
  n.heads = std::max<Index>(1, n.features / 64);
  n.positions = shape(words + "position_embeddings.weight", 2)[0];
  n.max_length = std::min<Index>(200, n.positions);
  n.projection = shape("text_projection.projection.weight", 2)[0];
  return n;
}

/// The listing's best.pt, converted to safetensors: its vocabulary is --tokenizer, or vocab.txt beside it.
Clip read_listing(const SafetensorsFile& file, const Settings& s) {
  const std::string beside = std::filesystem::path(s.model).replace_filename("vocab.txt").string();
  require<FileError>(!s.tokenizer.empty() || file_exists(beside), s.model,
                     ": needs its tokenizer: --tokenizer, or vocab.txt beside it");
  WordPiece tokenizer = load_vocabulary(s.tokenizer.empty() ? beside : s.tokenizer);
  const Architecture network = listing_architecture(file);
  const Index rows = file.info("text_encoder.model.embeddings.word_embeddings.weight").shape[0];
  require<FileError>(rows == tokenizer.size(), s.model, ": has ", rows, " tokens, its tokenizer ", tokenizer.size());
  try {
    const SkipInit skip;
    ClipModel<float> net = make_network(network, rows, 0);
    load_state_dict(net, listing_clip_state(load_safetensors(s.model)));
    return {network, std::move(tokenizer), std::move(net), "", "", ""};
  } catch (const StateError& error) {
    throw FileError(text(s.model, ": ", error.what()));
  }
}

}  // namespace

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
  Metadata metadata{{"format", format},
                    {"dataset", clip.dataset},
                    {"validation", clip.validation},
                    {"test", clip.test},
                    {"vocabulary", encode_vocabulary(clip.tokenizer)}};
  Architecture network = clip.network;
  metadata["image_model"] = network.image_model;
  for_each_later_number(network, [&](const char* name, auto& value) { metadata[name] = text(value); });
  for_each_number(network, [&](const char* name, auto& value) { metadata[name] = text(value); });
  save_state_dict(path, state_dict(clip.net), metadata);
}

bool is_listing(const SafetensorsFile& file) {
  return !file.metadata().contains("vocabulary") && file.contains("image_projection.projection.weight");
}

Clip read_model(const Settings& s) {
  const SafetensorsFile file(s.model);
  if (is_listing(file)) return read_listing(file, s);
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
  require(s.tokenizer.empty(), s.model, ": a model of this program has its own tokenizer");
  WordPiece tokenizer = decode_vocabulary(entry("vocabulary"), s.model);
  const auto folder = [&](const char* key) { return file.metadata().contains(key) ? entry(key) : ""; };
  const auto features = static_cast<double>(network.features);
  const double rows = static_cast<double>(network.layers) * features + static_cast<double>(network.positions) +
                      static_cast<double>(network.projection);
  const double least = rows * features + 1e6 * network.width * network.width;  // the second: of the smallest ResNet
  ClipModel<float> net =
      examples::described_network(file, least, [&] { return make_network(network, tokenizer.size(), 0); });
  return {network, std::move(tokenizer), std::move(net), entry("dataset"), folder("validation"), folder("test")};
}

}  // namespace lamina::examples::clip
