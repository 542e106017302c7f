// Learns to match images with sentences (CLIP), and finds pictures by words.
//
//   clip train --out run                                            drawn scenes with captions, which need no download
//   clip find --model run/model.safetensors --query "a red circle above a blue square" -n 9      run/matches.png
//   clip evaluate --model run/model.safetensors                     recall at 1, 5 and 10, both ways, beside chance
//   clip zero-shot --model run/model.safetensors                    classifies by sentences, "a photo of a {}"
//   clip embed --model run/model.safetensors                        only fills the cache from which find takes images
//   clip train --dataset flickr8k --data DIR --out flickr           DIR/flickr8k/images/ and a file of captions

#include "lamina/models/clip.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "common/described.hpp"
#include "common/interruption.hpp"
#include "common/program.hpp"
#include "lamina/data/captions.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/data/wordpiece.hpp"
#include "lamina/io/captions.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/checkpoint.hpp"
#include "lamina/train/plots.hpp"
#include "lamina/train/retrieval.hpp"

namespace {

using namespace lamina;

/// What a model is made of; saved with its weights.
struct Architecture {
  Index resnet = 18, image_size = 64, layers = 2, features = 128, heads = 4, max_length = 48, positions = 48,
        projection = 128;
  double width = 0.25;
};

struct Settings {
  Architecture network;
  std::string dataset, data, captions, out = "out", model, resume, vocabulary, image_weights, text_weights,
                                       loss = "openai", split = "held-out", images, query, classes = "figures";
  std::vector<std::string> prompts{"a photo of a {}"};
  Index epochs = 30, batch_size = 128, scenes = 8000, held_out = 0, vocabulary_size = 4000, patience = 1, count = 9,
        limit = 1000;
  std::optional<double> lr_image, lr_text;
  double lr_heads = 1e-3, weight_decay = 1e-3, factor = 0.8, temperature = 1, dropout = 0.1;
  bool skip_unmatched = false, freeze_image = false, freeze_text = false;
  int threads = num_threads();
  std::uint64_t seed = 0;

  std::string file(const std::string& name) const { return out + "/" + name; }
};

// ---------------------------------------------------------------------------------------------------- the images

/// Images to learn from, to choose the best epoch by, and to judge by.
struct Data {
  CaptionDataset<float> train, validation, held_out;
  std::string folder;  // of the image files; empty: drawn

  const CaptionDataset<float>& part(const std::string& name) const {
    return name == "train" ? train : name == "validation" ? validation : held_out;
  }
};

/// Drawn scenes are judged by arrangements that neither training nor validation has; of photographs some are held out,
/// and as many others are for validation.
Data load(const Settings& s) {
  if (s.dataset == "figures") {
    constexpr Index many = 1 << 30;
    const Index side = s.network.image_size;
    return {captioned_figures(s.scenes, {.side = side}), captioned_figures(200, {.first = many, .side = side}),
            captioned_figures(s.held_out ? s.held_out : 200, {.side = side, .held_out = true}), ""};
  }
  const std::string dir = s.dataset == "flickr8k" ? data_directory(s.data) + "/flickr8k" : s.dataset;
  const std::string folder = detail::find_images(dir);
  const auto all = load_captions(dir, {.captions = s.captions, .images = folder, .skip_unmatched = s.skip_unmatched});
  const Index judged = s.held_out ? s.held_out : std::max<Index>(1, all.size() / 10);
  require(2 * judged < all.size(), dir, ": of ", all.size(), " images ", judged, " cannot be held out and ", judged,
          " be for validation");
  const auto [others, held_out] = split(all, judged);
  const auto [train, validation] = split(others, judged, 1);
  return {train, validation, held_out, folder};
}

/// All images below a folder, of which nothing is said.
CaptionDataset<float> load_images(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> paths;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && detail::is_image(entry.path().extension().string()))
        paths.push_back(entry.path().string());
  } catch (const fs::filesystem_error& error) {
    throw FileError(text(folder, ": cannot read: ", error.code().message()));
  }
  require<FileError>(!paths.empty(), folder, ": no PNG or JPEG image in it");
  std::sort(paths.begin(), paths.end());
  std::vector<ImageCaptions> entries;
  for (const std::string& path : paths) entries.push_back({fs::path(path).lexically_relative(folder).string(), {""}});
  return {std::make_shared<const ImageFiles<float>>(paths), std::move(entries)};
}

Transform<float> prepared_images(Index side) {
  return Compose{Resize(Size2(side, side)), Normalize({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225})};
}
DataLoader<float> make_loader(const CaptionDataset<float>& images, const Settings& s, bool shuffle) {
  return DataLoader<float>(images, {.batch_size = std::min(s.batch_size, images.size()),
                                    .shuffle = shuffle,
                                    .seed = s.seed,
                                    .drop_last = shuffle,
                                    .transform = prepared_images(s.network.image_size)});
}

// ----------------------------------------------------------------------------------------------------- the model

/// A model with its tokenizer: what model.safetensors holds.
struct Clip {
  Architecture network;
  WordPiece tokenizer;
  ClipModel<float> net;
  std::string dataset;  // that it has learned from

  PackedTokens tokens(const std::vector<std::string>& texts) const {
    const auto [ids, lengths] = tokenizer.encode(texts, network.max_length);
    return pack(ids, lengths);
  }
};

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

/// Embeddings as they are. Throws NumericalError for NaN, which is like nothing and unlike nothing.
Tensor<float> checked(Tensor<float> embeddings) {
  require<NumericalError>(embeddings.array().isFinite().all(),
                          "the model's embeddings are not finite; are its weights whole?");
  return embeddings;
}

/// Embeddings [N, projection], not normalised.
Tensor<float> embed(const Clip& clip, const CaptionDataset<float>& images, const Settings& s, const char* what) {
  DataLoader<float> loader = make_loader(images, s, false);
  Progress progress(loader.size());
  progress.section(what, loader.size());
  Tensor<float> all({images.size(), clip.network.projection});
  float* out = all.data();
  for (auto& [pixels, numbers] : loader) {
    const Tensor<float> embeddings = clip.net.embed_images(std::move(pixels));
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
  return {ImageEncoder<float>(resnet(n.resnet, {.width = n.width}), {3, n.image_size, n.image_size}),
          TextEncoder<float>({.vocabulary = vocabulary,
                              .positions = n.positions,
                              .layers = n.layers,
                              .features = n.features,
                              .heads = n.heads,
                              .hidden = 4 * n.features,
                              .dropout = dropout,
                              .attention_dropout = dropout}),
          {.projection = n.projection, .dropout = dropout}};
}

/// Puts in the weights of networks that were trained before, without their heads, and freezes what is to stay.
void prepare_encoders(ClipModel<float>& net, const Settings& s) {
  if (!s.image_weights.empty()) {
    StateDict<float> state = load_safetensors(s.image_weights);
    std::erase_if(state, [](const auto& entry) { return entry.first.starts_with("fc."); });
    load_state_dict(net.image_encoder.model, state);
  }
  if (!s.text_weights.empty())
    load_state_dict(net.text_encoder.model, distilbert_state(load_safetensors(s.text_weights)));
  else  // BERT's deviation of 0.02 is for its 768 features; with few it would be slow to start
    init::weights<Linear<float>>(net.text_encoder, [](Tensor<float>& weight) { init::xavier_uniform(weight); });
  if (s.freeze_image) freeze(net.image_encoder);
  if (s.freeze_text) freeze(net.text_encoder);
}

/// The projection heads, the image encoder, the text encoder and the scale. Only the heads' weights decay.
std::vector<ParameterGroup<float>> parameter_groups(ClipModel<float>& net, const Settings& s) {
  std::vector<ParameterGroup<float>> groups(4);
  groups[0].weight_decay = s.weight_decay;
  groups[1].lr = s.lr_image.value_or(s.image_weights.empty() ? s.lr_heads : 1e-4);
  groups[2].lr = s.lr_text.value_or(s.text_weights.empty() ? s.lr_heads : 1e-5);
  for (const NamedParameter<float>& named : parameters(net))
    groups[named.name.starts_with("image_encoder.")  ? 1
           : named.name.starts_with("text_encoder.") ? 2
           : named.name == "logit_scale"             ? 3
                                                     : 0]
        .parameters.push_back(named);
  return groups;
}

void save(const Clip& clip, const std::string& path) {
  Metadata metadata{
      {"format", "lamina clip 1"}, {"dataset", clip.dataset}, {"vocabulary", encode_vocabulary(clip.tokenizer)}};
  Architecture network = clip.network;
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
  WordPiece tokenizer = decode_vocabulary(entry("vocabulary"), s.model);
  const auto features = static_cast<double>(network.features);
  const double rows = static_cast<double>(network.layers) * features + static_cast<double>(network.positions) +
                      static_cast<double>(network.projection);
  const double least = rows * features + 1e6 * network.width * network.width;  // the second: of the smallest ResNet
  ClipModel<float> net =
      examples::described_network(file, least, [&] { return make_network(network, tokenizer.size(), 0); });
  return {network, std::move(tokenizer), std::move(net), entry("dataset")};
}

// ---------------------------------------------------------------------------------------------------- the judgement

constexpr std::array<Index, 3> recall_ranks{1, 5, 10};

/// The shares of captions whose image is among the first 1, 5, 10, and of images with a caption of theirs among the
/// first; and what a random order comes to.
struct Recalls {
  std::array<double, 3> to_image{}, to_text{}, chance_to_image{}, chance_to_text{};
  Index images = 0, captions = 0;
};
Recalls recalls(Tensor<float> images, Tensor<float> texts, const CaptionDataset<float>& data) {
  images = l2_normalize(std::move(images));
  texts = l2_normalize(std::move(texts));
  std::vector<Index> image_items, text_items;
  for (Index i = 0; i < data.size(); ++i) {
    image_items.push_back(i);
    text_items.insert(text_items.end(), data.captions(i).size(), i);
  }
  const auto to_image = retrieval_ranks(texts, text_items, images, image_items);
  const auto to_text = retrieval_ranks(images, image_items, texts, text_items);
  Recalls result;
  result.images = data.size();
  result.captions = static_cast<Index>(text_items.size());
  for (std::size_t k = 0; k < recall_ranks.size(); ++k) {
    const Index first = recall_ranks[k];
    result.to_image[k] = recall_at(first, to_image);
    result.to_text[k] = recall_at(first, to_text);
    result.chance_to_image[k] = recall_by_chance(first, 1, result.images);
    for (Index i = 0; i < data.size(); ++i)
      result.chance_to_text[k] +=
          recall_by_chance(first, static_cast<Index>(data.captions(i).size()), result.captions) /
          static_cast<double>(data.size());
  }
  return result;
}

Recalls judge(const Clip& clip, const CaptionDataset<float>& data, const Settings& s) {
  return recalls(embed(clip, data, s, "images"), embed(clip, data.all_captions()), data);
}

void print(const Recalls& r) {
  std::printf("%s images, %s captions         recall at 1      at 5     at 10\n", detail::grouped(r.images).c_str(),
              detail::grouped(r.captions).c_str());
  const auto row = [](const char* name, const std::array<double, 3>& values) {
    std::printf("  %-28s %13.3f %9.3f %9.3f\n", name, values[0], values[1], values[2]);
  };
  row("text to image", r.to_image);
  row("  by chance", r.chance_to_image);
  row("image to text", r.to_text);
  row("  by chance", r.chance_to_text);
}

std::string to_json(const Recalls& r) {
  const auto list = [](const std::array<double, 3>& values) {
    return text("[", detail::number(values[0], "null"), ", ", detail::number(values[1], "null"), ", ",
                detail::number(values[2], "null"), "]");
  };
  return text("{\"images\": ", r.images, ", \"captions\": ", r.captions, ", \"at\": [1, 5, 10], ",
              "\"text_to_image\": ", list(r.to_image), ", \"text_to_image_by_chance\": ", list(r.chance_to_image),
              ", \"image_to_text\": ", list(r.to_text), ", \"image_to_text_by_chance\": ", list(r.chance_to_text), "}");
}

// ---------------------------------------------------------------------------------------------------- the cache

/// FNV-1a of what goes in.
struct Fingerprint {
  std::uint64_t value = 0xcbf29ce484222325;
  void add(std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) value = (value ^ byte) * 0x100000001b3;
  }
  void add(const std::string& text) { add({reinterpret_cast<const std::uint8_t*>(text.c_str()), text.size() + 1}); }
  std::string hex() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value));
    return digits;
  }
};

/// Of the images' names and their captions, and of their files' sizes and times.
std::string fingerprint(const CaptionDataset<float>& images, const std::string& folder) {
  Fingerprint print;
  print.add(folder);
  for (Index i = 0; i < images.size(); ++i) {
    print.add(images.name(i));
    if (folder.empty()) {
      for (const std::string& caption : images.captions(i)) print.add(caption);
      continue;
    }
    const std::filesystem::path path = std::filesystem::path(folder) / images.name(i);
    std::error_code ignored;
    print.add(text(static_cast<Index>(std::filesystem::file_size(path, ignored)), " ",
                   std::filesystem::last_write_time(path, ignored).time_since_epoch().count()));
  }
  return print.hex();
}

/// The images' embeddings from the cache beside the model, which is made anew when it is of another model or of other
/// images, or cannot be read.
Tensor<float> cached_embeddings(const Clip& clip, const CaptionDataset<float>& images, const std::string& folder,
                                const Settings& s) {
  const std::string path = text(s.model, ".", s.split, ".embeddings");
  Fingerprint model;
  model.add(read_file(s.model));
  const Metadata wanted{{"model", model.hex()}, {"images", fingerprint(images, folder)}};
  if (file_exists(path)) {
    try {
      const SafetensorsFile file(path);
      const auto same = [&](const char* key) {
        const auto found = file.metadata().find(key);
        return found != file.metadata().end() && found->second == wanted.at(key);
      };
      if (same("model") && same("images")) {
        Tensor<float> embeddings = file.tensor("embeddings");
        if (embeddings.shape() == Shape{images.size(), clip.network.projection}) {
          std::printf("embeddings of %s images from %s\n", detail::grouped(images.size()).c_str(), path.c_str());
          return embeddings;
        }
      }
      std::printf("%s is of %s; embedding again\n", path.c_str(), same("model") ? "other images" : "another model");
    } catch (const FileError& error) {
      std::printf("%s; embedding again\n", error.what());
    }
  }
  const Tensor<float> embeddings = l2_normalize(embed(clip, images, s, "embedding"));
  write_safetensors(path, {{"embeddings", AnyTensor(embeddings)}}, wanted);
  std::printf("embeddings of %s images written to %s\n", detail::grouped(images.size()).c_str(), path.c_str());
  return embeddings;
}

// ---------------------------------------------------------------------------------------------------- the commands

/// The model, and the images that it is asked about: those it was trained on, unless others are named.
std::pair<Clip, Data> open(Settings& s) {
  Clip clip = read_model(s);
  s.network = clip.network;
  if (!s.images.empty()) {
    s.split = "images";
    const CaptionDataset<float> all = load_images(s.images);
    return {std::move(clip), Data{all, all, all, s.images}};
  }
  if (s.dataset.empty()) s.dataset = clip.dataset;
  return {std::move(clip), load(s)};
}

void run_embedding(Settings s) {
  const auto [clip, data] = open(s);
  cached_embeddings(clip, data.part(s.split), data.folder, s);
}

void run_search(Settings s) {
  require(s.query.find_first_not_of(" \t\r\n") != std::string::npos, "find: the query is empty");
  examples::prepare_folder(s.out);
  const auto [clip, data] = open(s);
  const CaptionDataset<float>& images = data.part(s.split);
  const Tensor<float> embeddings = cached_embeddings(clip, images, data.folder, s);
  const Tensor<float> query = l2_normalize(embed(clip, {s.query}));
  const Eigen::VectorXf similarity = embeddings.matrix() * query.vector();

  std::vector<Index> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), Index{0});
  const Index shown_count = std::min(s.count, images.size());
  std::partial_sort(order.begin(), order.begin() + shown_count, order.end(),
                    [&](Index a, Index b) { return std::pair(-similarity(a), a) < std::pair(-similarity(b), b); });
  order.resize(static_cast<std::size_t>(shown_count));
  constexpr Index cell = 192;
  Tensor<float> shown({static_cast<Index>(order.size()), 3, cell, cell});
  std::vector<std::string> labels;
  float* out = shown.data();
  std::printf("\n%s\n", s.query.c_str());
  for (std::size_t k = 0; k < order.size(); ++k) {
    const Index i = order[k];
    const auto value = static_cast<double>(similarity(i));
    std::printf("%4zu  %6.3f  %-28s %s\n", k + 1, value, images.name(i).c_str(), images.captions(i)[0].c_str());
    char label[16];
    std::snprintf(label, sizeof label, "%.3f", value);
    labels.emplace_back(label);
    const Tensor<float> image = Resize(Size2(cell, cell))(images.get(i).input);
    out = std::copy_n(image.data(), image.numel(), out);
  }
  const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(order.size()))));
  write_png(s.file("matches.png"), plot_images(shown, labels, {.title = s.query, .columns = columns, .cell = cell}));
  std::printf("\n  %s\n", s.file("matches.png").c_str());
}

void run_evaluation(Settings s) {
  examples::prepare_folder(s.out);
  const auto [clip, data] = open(s);
  const Recalls result = judge(clip, data.part(s.split), s);
  print(result);
  write_file_atomically(s.file("evaluation.json"), to_json(result) + "\n");
}

/// Images with classes, for zero-shot.
struct Classified {
  std::shared_ptr<const Dataset<float>> images;
  std::vector<std::string> classes;
};
Classified load_classified(const Settings& s) {
  const auto first = [&](auto data, std::vector<std::string> classes) -> Classified {
    const Index count = std::min(s.limit, data.size());
    return {std::make_shared<const Subset<float>>(Subset(std::move(data), count)), std::move(classes)};
  };
  if (s.classes == "figures") return first(single_figures(s.limit, {.side = s.network.image_size}), figure_classes());
  if (s.classes == "cifar10")
    return first(load_cifar10(data_directory(s.data), false), {cifar10_classes.begin(), cifar10_classes.end()});
  ImageFolder<float> folder(s.classes);
  std::vector<std::string> classes = folder.classes();
  return first(std::move(folder), std::move(classes));
}

void run_zero_shot(Settings s) {
  examples::prepare_folder(s.out);
  for (const std::string& prompt : s.prompts)
    require(prompt.find("{}") != std::string::npos, "zero-shot: the prompt '", prompt, "' has no {} for the class");
  const Clip clip = read_model(s);
  s.network = clip.network;
  const Classified data = load_classified(s);
  // A class is the mean of what its sentences become.
  const auto classes = static_cast<Index>(data.classes.size());
  Tensor<float> means = Tensor<float>::zeros({classes, clip.network.projection});
  for (const std::string& prompt : s.prompts) {
    std::vector<std::string> sentences;
    for (const std::string& name : data.classes)
      sentences.push_back(std::string(prompt).replace(prompt.find("{}"), 2, name));
    means += l2_normalize(embed(clip, sentences));
  }
  means = l2_normalize(std::move(means));
  ConfusionMatrix confusion(classes);
  DataLoader<float> loader(data.images,
                           {.batch_size = s.batch_size, .transform = prepared_images(s.network.image_size)});
  Progress progress(loader.size());
  progress.section("zero-shot", loader.size());
  for (auto& [pixels, labels] : loader) {
    const Tensor<float> embeddings = l2_normalize(clip.net.embed_images(std::move(pixels)));
    Tensor<float> scores({embeddings.dim(0), classes});
    scores.matrix() = embeddings.matrix() * means.matrix().transpose();
    confusion.add(labels, predicted_classes(scores));
    progress.advance(labels.numel(), "");
  }
  progress.clear();
  char title[96];
  std::snprintf(title, sizeof title, "%.1f %% of %s images are right, by chance %.1f %%", 100 * confusion.accuracy(),
                detail::grouped(data.images->size()).c_str(), 100.0 / static_cast<double>(classes));
  std::printf("%s\n", title);
  write_png(s.file("zero_shot.png"), plot_confusion(confusion, data.classes, title));
  write_file_atomically(s.file("zero_shot.json"),
                        text("{\"images\": ", data.images->size(), ", \"classes\": ", classes,
                             ", \"accuracy\": ", detail::number(confusion.accuracy(), "null"), "}\n"));
}

/// One caption of each image of a batch, another each epoch.
std::vector<std::string> draw_captions(const CaptionDataset<float>& data, const Labels& images, std::uint64_t seed,
                                       Index epoch) {
  std::vector<std::string> texts;
  for (const std::int32_t i : images.values()) {
    Random random =
        Random(seed).split(static_cast<std::uint64_t>(epoch), (std::uint64_t{1} << 40) + static_cast<std::uint64_t>(i));
    const std::vector<std::string>& captions = data.captions(i);
    texts.push_back(captions[static_cast<std::size_t>(random.below(static_cast<Index>(captions.size())))]);
  }
  return texts;
}

/// How many captions of a batch, embeddings [2, N, projection], are most like their own image.
Count count_matches(const Tensor<float>& embeddings) {
  std::vector<Index> numbers(static_cast<std::size_t>(embeddings.dim(1)));
  std::iota(numbers.begin(), numbers.end(), Index{0});
  const Tensor<float> unit = l2_normalize(embeddings);
  const auto ranks = retrieval_ranks(unit[1], numbers, unit[0], numbers);
  return {std::count(ranks.begin(), ranks.end(), 0), embeddings.dim(1)};
}

Loss<float> batch_loss(const Tensor<float>& embeddings, Parameter<float>& logit_scale, const Settings& s) {
  if (s.loss == "soft") return soft_target_loss(embeddings, {.temperature = s.temperature});
  return contrastive_loss(embeddings, logit_scale);
}

void write_metrics(const Settings& s, const Clip& clip, const History& history,
                   const std::optional<Recalls>& held_out) {
  std::string epochs;
  for (const EpochRecord& e : history.epochs) {
    const auto number = [](double value) { return detail::number(value, "null"); };
    epochs += text(epochs.empty() ? "" : ",\n ", "{\"epoch\": ", e.epoch, ", \"train_loss\": ", number(e.train_loss),
                   ", \"train_matches\": ", number(e.train_accuracy), ", \"validation_loss\": ", number(e.test_loss),
                   ", \"validation_recall_at_1\": ", number(e.test_accuracy), ", \"seconds\": ", number(e.seconds),
                   ", \"examples_per_second\": ", number(e.examples_per_second), ", \"lr\": ", number(e.lr), "}");
  }
  write_file_atomically(
      s.file("metrics.json"),
      text("{\"dataset\": \"", s.dataset, "\", \"loss\": \"", s.loss, "\", \"seed\": ", s.seed,
           ", \"threads\": ", num_threads(), ", \"parameters\": ", count_parameters(clip.net).total,
           ", \"vocabulary\": ", clip.tokenizer.size(), ", \"best_epoch\": ", history.best_epoch, ",\n\"epochs\":\n[",
           epochs, "],\n\"held_out\": ", held_out ? to_json(*held_out) : "null", "}\n"));
}

EpochRecord train_epoch(Clip& clip, DataLoader<float>& loader, const CaptionDataset<float>& data,
                        Optimizer<float>& optimizer, Tape& tape, const Settings& s, Index epoch, Progress& progress) {
  detail::Average average;
  const double begin = detail::seconds_now();
  for (auto& [pixels, numbers] : loader) {
    const PackedTokens tokens = clip.tokens(draw_captions(data, numbers, s.seed, epoch));
    const Tensor<float> embeddings = clip.net.forward(std::move(pixels), tokens, tape);
    average.count += count_matches(embeddings);
    auto [loss, grad] = batch_loss(embeddings, clip.net.logit_scale, s);
    if (!is_finite(loss)) throw NumericalError(text("train: the loss is not finite in epoch ", epoch + 1));
    clip.net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    clamp_logit_scale(clip.net.logit_scale);
    average.add(loss, numbers.numel());
    char note[64];
    std::snprintf(note, sizeof note, "loss %.4f  matches %.3f", average.loss(), average.count.fraction());
    progress.advance(numbers.numel(), note);
  }
  EpochRecord record{.epoch = epoch + 1, .train_loss = average.loss(), .train_accuracy = average.count.fraction()};
  record.seconds = detail::seconds_now() - begin;
  record.examples_per_second = static_cast<double>(average.samples) / record.seconds;
  return record;
}

/// The loss over batches in order, with the first caption of each image, and the recall at 1 of all captions.
void validate(const Clip& clip, const CaptionDataset<float>& data, const Settings& s, EpochRecord& record) {
  const Tensor<float> images = embed(clip, data, s, "validation"), texts = embed(clip, data.all_captions());
  Parameter<float> logit_scale = clip.net.logit_scale;
  logit_scale.requires_grad = false;
  detail::Average average;
  Index caption = 0;
  for (Index first = 0; first < data.size(); first += s.batch_size) {
    const Index count = std::min(s.batch_size, data.size() - first), features = images.dim(1);
    Tensor<float> both({2, count, features});
    float* out = std::copy_n(images.data() + first * features, count * features, both.data());
    for (Index i = first; i < first + count; ++i) {
      out = std::copy_n(texts.data() + caption * features, features, out);
      caption += static_cast<Index>(data.captions(i).size());
    }
    average.add(batch_loss(both, logit_scale, s).value, count);
  }
  record.test_loss = average.loss();
  record.test_accuracy = recalls(images, texts, data).to_image[0];
}

void run_training(Settings s) {
  examples::Interruption interruption(s.resume);
  examples::prepare_folder(s.out);
  if (s.dataset.empty()) s.dataset = "figures";
  s.network.positions = s.text_weights.empty() ? s.network.max_length : 512;
  const Data data = load(s);
  DataLoader<float> loader = make_loader(data.train, s, true);
  manual_seed(s.seed);
  WordPiece tokenizer = s.vocabulary.empty() ? train_wordpiece(data.train.all_captions(), {.size = s.vocabulary_size})
                                             : load_vocabulary(s.vocabulary);
  const Index vocabulary = tokenizer.size();
  Clip clip{s.network, std::move(tokenizer), make_network(s.network, vocabulary, s.dropout), s.dataset};
  prepare_encoders(clip.net, s);
  AdamW<float> optimizer(parameter_groups(clip.net, s), {.lr = s.lr_heads, .weight_decay = 0});
  ReduceLROnPlateau schedule(optimizer, {.factor = s.factor, .patience = s.patience});
  std::printf("CLIP on %s: %s images to learn from, %s to validate, %s held out; %s tokens, %s parameters\n",
              s.dataset.c_str(), detail::grouped(data.train.size()).c_str(),
              detail::grouped(data.validation.size()).c_str(), detail::grouped(data.held_out.size()).c_str(),
              detail::grouped(vocabulary).c_str(), detail::grouped(count_parameters(clip.net).total).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) {
    state = load_checkpoint(s.resume, clip.net, optimizer, &schedule);
    std::fprintf(stderr, "continuing %s after epoch %td\n", s.resume.c_str(), state.epoch);
  }
  loader.set_epoch(state.epoch);
  Tape tape(state.random.value_or(Random(s.seed)));
  Progress progress(std::max<Index>(0, s.epochs - state.epoch) * loader.size());
  if (state.epoch < s.epochs)
    progress.line("  epoch  train loss   matches  validation loss  recall at 1  learning rate   seconds");
  for (; state.epoch < s.epochs;) {
    progress.section(text("epoch ", state.epoch + 1, "/", s.epochs), loader.size());
    EpochRecord record = train_epoch(clip, loader, data.train, optimizer, tape, s, state.epoch, progress);
    validate(clip, data.validation, s, record);
    record.lr = optimizer.lr();
    state.random = tape.random();
    state.history.epochs.push_back(record);
    ++state.epoch;
    if (!(record.test_loss >= state.best)) {
      state.best = record.test_loss;
      state.history.best_epoch = record.epoch;
      state.best_weights = state_dict(std::as_const(clip.net));
      save(clip, s.file("model.safetensors"));
    }
    schedule.step(record.test_loss);
    interruption.save_checkpoint(s.file("checkpoint.safetensors"), [&] {
      save_checkpoint(s.file("checkpoint.safetensors"), state, clip.net, optimizer, &schedule);
    });
    char line[128];
    std::snprintf(line, sizeof line, "%7s %11.4f %9.3f %16.4f %12.3f %14.2e %9.1f",
                  text(record.epoch, "/", s.epochs).c_str(), record.train_loss, record.train_accuracy, record.test_loss,
                  record.test_accuracy, record.lr, record.seconds);
    progress.line(line);
    write_metrics(s, clip, state.history, {});
  }
  progress.clear();
  if (!state.best_weights.empty()) load_state_dict(clip.net, state.best_weights);
  save(clip, s.file("model.safetensors"));
  const Recalls result = judge(clip, data.held_out, s);
  write_metrics(s, clip, state.history, result);
  write_png(s.file("curves.png"), plot_history(state.history));
  std::printf("\nheld out, with the weights of epoch %td: ", state.history.best_epoch);
  print(result);
  std::printf("\n");
  examples::print_outputs(s.out, {{"metrics.json", "every epoch's numbers, and the recalls"},
                                  {"curves.png", "loss, and how many captions find their image first"},
                                  {"model.safetensors", "the best epoch's weights, with the vocabulary"},
                                  {"checkpoint.safetensors", "to go on with: --resume"}});
}

void add_options(CLI::App& app, Settings& s) {
  const auto verb = [&](const char* name, const char* what, void (*run)(Settings)) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->add_option("--data", s.data, "Folder with flickr8k/ and cifar10/ (default: LAMINA_DATA)");
    sub->add_option("--batch-size", s.batch_size, "Images in a step")
        ->check(CLI::Range(2, 1 << 20))
        ->capture_default_str();
    sub->add_option("--threads", s.threads, "Threads; results do not depend on them")->check(CLI::Range(1, 4096));
    sub->callback([&s, run] {
      set_num_threads(s.threads);
      run(s);
    });
    return sub;
  };
  const auto images = [&](CLI::App* sub, const char* otherwise) {
    sub->add_option("--dataset", s.dataset,
                    text("figures (drawn), flickr8k (below --data), or a folder with images/ and a file of "
                         "captions (default: ",
                         otherwise, ")"));
    sub->add_option("--captions", s.captions, "The file of captions, if it is not in that folder");
    sub->add_flag("--skip-unmatched", s.skip_unmatched, "Leave out images without captions, captions without images");
    sub->add_option("--held-out", s.held_out,
                    "Images for the final figures (default: 200 figures; a tenth); of a dataset as many others are for "
                    "validation")
        ->check(CLI::PositiveNumber);
  };
  const auto model = [&](CLI::App* sub) {
    sub->add_option("--model", s.model, "model.safetensors of a training run")->required();
  };
  const auto part = [&](CLI::App* sub) {
    sub->add_option("--split", s.split, "Which images: held-out, validation or train")
        ->check(CLI::IsMember({"held-out", "validation", "train"}))
        ->capture_default_str();
  };
  const auto results = [&](CLI::App* sub) {
    sub->add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
  };

  CLI::App* train = verb("train", "Learns to match images with their captions", run_training);
  images(train, "figures");
  results(train);
  Architecture& n = s.network;
  const auto option = [train](const char* flag, auto& value, const char* what, const CLI::Validator& check) {
    train->add_option(flag, value, what)->check(check)->capture_default_str();
  };
  const auto positive = CLI::PositiveNumber, not_negative = CLI::NonNegativeNumber;
  option("--scenes", s.scenes, "Drawn scenes to learn from", positive);
  option("--resnet", n.resnet, "Depth of the image encoder", CLI::IsMember({18, 34, 50, 101, 152}));
  option("--width", n.width, "Factor of its channels", positive);
  option("--image-size", n.image_size, "Side to which images are resized", CLI::Range(32, 1024));
  option("--layers", n.layers, "Of the text encoder, a DistilBERT", positive);
  option("--features", n.features, "Of its tokens", positive);
  option("--heads", n.heads, "Of its attention", positive);
  option("--max-length", n.max_length, "Tokens of a caption that are read", CLI::Range(2, 512));
  option("--vocabulary-size", s.vocabulary_size, "Most tokens to learn", positive);
  option("--projection", n.projection, "Features of the embeddings", positive);
  option("--loss", s.loss, "openai (symmetric cross entropy, learned scale) or soft (soft targets)",
         CLI::IsMember({"openai", "soft"}));
  option("--temperature", s.temperature, "Of the soft targets", positive);
  option("--dropout", s.dropout, "In the text encoder and the projections", CLI::Range(0.0, 0.99));
  option("--epochs", s.epochs, "Passes over the images, each with one of its captions", not_negative);
  option("--lr-heads", s.lr_heads, "Learning rate of the projections", not_negative);
  option("--weight-decay", s.weight_decay, "Of the projections", not_negative);
  option("--patience", s.patience, "Epochs without a lower validation loss before the rates fall", not_negative);
  option("--factor", s.factor, "By which they fall", CLI::Range(0.01, 0.99));
  option("--seed", s.seed, "Of initial weights, order and captions", not_negative);
  train->add_option("--lr-image", s.lr_image, "Of the image encoder (default: the heads'; 1e-4 with weights)")
      ->check(not_negative);
  train->add_option("--lr-text", s.lr_text, "Of the text encoder (default: the heads'; 1e-5 with weights)")
      ->check(not_negative);
  train->add_option("--image-weights", s.image_weights, "Weights of the ResNet, under torchvision's names");
  train->add_option("--text-weights", s.text_weights, "Weights of the DistilBERT, under Hugging Face's names");
  train->add_option("--vocabulary", s.vocabulary, "A vocab.txt (default: learned from the captions)");
  train->add_flag("--freeze-image", s.freeze_image, "Leave the image encoder as it is, and use it as in inference");
  train->add_flag("--freeze-text", s.freeze_text, "Leave the text encoder as it is, and use it as in inference");
  train->add_option("--resume", s.resume, "Continue from this checkpoint");

  CLI::App* embedded = verb("embed", "Fills the cache of embeddings beside the model", run_embedding);
  CLI::App* found = verb("find", "The images that fit a sentence best: matches.png", run_search);
  CLI::App* evaluated = verb("evaluate", "Recall at 1, 5 and 10: evaluation.json", run_evaluation);
  for (CLI::App* sub : {embedded, found, evaluated}) {
    model(sub);
    images(sub, "the model's");
    part(sub);
  }
  for (CLI::App* sub : {embedded, found})
    sub->add_option("--images", s.images, "All images below a folder, which need no captions, in place of a dataset");
  found->add_option("--query", s.query, "What to look for")->required();
  found->add_option("-n,--count", s.count, "How many images")->check(CLI::PositiveNumber)->capture_default_str();
  results(found);
  results(evaluated);

  CLI::App* zero = verb("zero-shot", "Classifies images by sentences: zero_shot.png", run_zero_shot);
  model(zero);
  results(zero);
  zero->add_option("--classes", s.classes,
                   "figures (drawn, one alone), cifar10, or a folder with a folder for each class")
      ->capture_default_str();
  zero->add_option("--prompt", s.prompts, "The sentence, {} for the class; of several --prompt the mean is taken")
      ->allow_extra_args(false);
  zero->add_option("--limit", s.limit, "Use only the first images")->check(CLI::PositiveNumber)->capture_default_str();
  app.require_subcommand(1);
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(argc, argv, "Learns to match images with sentences, and finds pictures by words.",
                                     add_options);
}
