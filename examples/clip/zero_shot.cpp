#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>

#include "clip/encoder.hpp"
#include "clip/images.hpp"
#include "clip/model.hpp"
#include "clip/options.hpp"
#include "clip/photos.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::examples::clip {

namespace {

/// Images with classes, for zero-shot.
struct Classified {
  std::shared_ptr<const Dataset<float>> images;
  std::vector<std::string> classes;
};
Classified load_classified(const Settings& s, Index side) {
  const auto first = [&](auto data, std::vector<std::string> classes) -> Classified {
    const Index count = std::min(s.limit, data.size());
    return {std::make_shared<const Subset<float>>(Subset(std::move(data), count)), std::move(classes)};
  };
  if (s.classes == "figures") return first(single_figures(s.limit, {.side = side}), figure_classes());
  if (s.classes == "cifar10")
    return first(load_cifar10(data_directory(s.data), false), {cifar10_classes.begin(), cifar10_classes.end()});
  ImageFolder<float> folder(s.classes, {.skip_unreadable = true});
  std::vector<std::string> skipped;
  for (const auto& image : folder.skipped()) skipped.push_back(image.reason);
  report_skipped(skipped, folder.size());
  std::vector<std::string> classes = folder.classes();
  return first(std::move(folder), std::move(classes));
}

/// The lines of a file that are not empty.
std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines = read_lines(path);
  std::erase(lines, "");
  require<FileError>(!lines.empty(), path, ": there are no lines in it");
  return lines;
}

/// What the classes' names are put into.
std::vector<std::string> prompts_of(const Settings& s) {
  std::vector<std::string> prompts = s.templates.empty() ? s.prompts : lines_of(s.templates);
  for (const std::string& prompt : prompts)
    require(prompt.find("{}") != std::string::npos, "zero-shot: the prompt '", prompt, "' has no {} for the class");
  return prompts;
}

/// A class is the mean of what its sentences become: [classes, projection], of length 1.
Tensor<float> embed_classes(const Encoder& encoder, const std::vector<std::string>& classes,
                            const std::vector<std::string>& prompts) {
  std::vector<std::string> sentences;
  for (const std::string& prompt : prompts)
    for (const std::string& name : classes)
      sentences.push_back(std::string(prompt).replace(prompt.find("{}"), 2, name));
  const Tensor<float> all = encoder.texts(sentences);
  const auto count = static_cast<Index>(classes.size());
  Tensor<float> means = Tensor<float>::zeros({count, encoder.projection});
  for (Index first = 0; first < all.dim(0); first += count) means += all.slice(first, first + count);
  return l2_normalize(std::move(means));
}

/// The similarities [N, classes] of embeddings.
Tensor<float> similarities(const Tensor<float>& images, const Tensor<float>& classes) {
  Tensor<float> result({images.dim(0), classes.dim(0)});
  result.matrix() = images.matrix() * classes.matrix().transpose();
  return result;
}

/// Photographs of unknown classes: the likeliest of each.
void name_photos(const Encoder& encoder, const std::vector<std::string>& classes, const Tensor<float>& means,
                 const Settings& s) {
  const EmbeddingIndex index = indexed_photos(encoder, s);
  Tensor<float> scores = similarities(index.rows(), means);
  scores *= static_cast<float>(encoder.scale);
  const Tensor<float> probabilities = softmax(std::move(scores));
  Json photos = Json::array();
  std::vector<Index> order(classes.size());
  const Index shown = std::min(s.top_classes, static_cast<Index>(classes.size()));
  for (Index i = 0; i < index.size(); ++i) {
    const Tensor<float> of_image = probabilities[i];
    const float* const p = of_image.data();
    std::iota(order.begin(), order.end(), Index{0});
    std::partial_sort(order.begin(), order.begin() + shown, order.end(),
                      [&](Index a, Index b) { return std::pair(-p[a], a) < std::pair(-p[b], b); });
    const std::string& name = index.files()[static_cast<std::size_t>(i)].name;
    Json likeliest = Json::array();
    if (!s.json) std::printf("%-28s", name.c_str());
    for (Index k = 0; k < shown; ++k) {
      const auto c = static_cast<std::size_t>(order[static_cast<std::size_t>(k)]);
      likeliest.push_back({{"class", classes[c]}, {"probability", p[c]}});
      if (!s.json) std::printf("  %5.3f %s", static_cast<double>(p[c]), classes[c].c_str());
    }
    if (!s.json) std::printf("\n");
    photos.push_back({{"image", name}, {"classes", std::move(likeliest)}});
  }
  const Json result{{"images", index.size()}, {"classes", classes.size()}, {"photos", std::move(photos)}};
  write_json(s.file("zero_shot.json"), result);
  if (s.json) std::printf("%s\n", result.dump(2).c_str());
}

/// Images whose classes are known: the share that is right.
void judge_classes(const Encoder& encoder, const Classified& data, const Tensor<float>& means, const Settings& s) {
  const Index classes = means.dim(0);
  ConfusionMatrix confusion(classes);
  DataLoader<float> loader(data.images, {.batch_size = s.batch_size, .transform = encoder.prepare});
  Progress progress(loader.size());
  progress.section("zero-shot", loader.size());
  for (auto& [pixels, labels] : loader) {
    confusion.add(labels, predicted_classes(similarities(encoder.images(std::move(pixels)), means)));
    progress.advance(labels.numel(), "");
  }
  progress.clear();
  char title[96];
  std::snprintf(title, sizeof title, "%.1f %% of %s images are right, by chance %.1f %%", 100 * confusion.accuracy(),
                with_commas(data.images->size()).c_str(), 100.0 / static_cast<double>(classes));
  const Json result{{"images", data.images->size()}, {"classes", classes}, {"accuracy", confusion.accuracy()}};
  std::printf("%s\n", s.json ? result.dump(2).c_str() : title);
  write_png(s.file("zero_shot.png"), plot_confusion(confusion, data.classes, title));
  write_json(s.file("zero_shot.json"), result);
}

void run_zero_shot(Settings s) {
  examples::prepare_folder(s.out);
  const std::vector<std::string> prompts = prompts_of(s);
  std::vector<std::string> names;
  if (!s.class_names.empty()) names = lines_of(s.class_names);
  const Encoder encoder = read_encoder(s);
  if (!s.images.empty()) return name_photos(encoder, names, embed_classes(encoder, names, prompts), s);
  Classified data = load_classified(s, encoder.image_size);
  require<FileError>(names.empty() || names.size() == data.classes.size(), s.class_names, ": ", names.size(),
                     " names for ", data.classes.size(), " classes");
  if (!names.empty()) data.classes = std::move(names);
  judge_classes(encoder, data, embed_classes(encoder, data.classes, prompts), s);
}

}  // namespace

void add_zero_shot(CLI::App& app, Settings& s) {
  CLI::App* sub =
      add_command(app, s, "zero-shot", "Classifies images by sentences: zero_shot.json, zero_shot.png", run_zero_shot);
  add_model(sub, s);
  add_out(sub, s);
  CLI::Option* classes =
      sub->add_option("--classes", s.classes,
                      "figures (drawn, one alone), cifar10, or a folder with a folder for each class")
          ->capture_default_str();
  CLI::Option* prompt =
      sub->add_option("--prompt", s.prompts, "The sentence, {} for the class; of several --prompt the mean is taken")
          ->allow_extra_args(false);
  sub->add_option("--templates", s.templates, "A file of such sentences, one a line, in place of --prompt")
      ->excludes(prompt);
  CLI::Option* names = sub->add_option("--class-names", s.class_names,
                                       "A file of the classes' names, one a line, in the classes' order");
  CLI::Option* limit = sub->add_option("--limit", s.limit, "Use only the first images")
                           ->check(CLI::PositiveNumber)
                           ->capture_default_str();
  CLI::Option* images = add_photos(sub, s)->excludes(classes)->excludes(limit)->needs(names);
  sub->add_option("--top", s.top_classes, "How many classes for each of --images")
      ->check(CLI::PositiveNumber)
      ->needs(images)
      ->capture_default_str();
  sub->add_flag("--json", s.json, "Print zero_shot.json");
}

}  // namespace lamina::examples::clip
