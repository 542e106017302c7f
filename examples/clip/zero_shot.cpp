#include <cstdio>
#include <memory>

#include "clip/encoder.hpp"
#include "clip/images.hpp"
#include "clip/model.hpp"
#include "clip/options.hpp"
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

/// The lines of a file that are not empty.
std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines = read_lines(path);
  std::erase(lines, "");
  require<FileError>(!lines.empty(), path, ": there are no lines in it");
  return lines;
}

void run_zero_shot(Settings s) {
  examples::prepare_folder(s.out);
  if (!s.templates.empty()) s.prompts = lines_of(s.templates);
  for (const std::string& prompt : s.prompts)
    require(prompt.find("{}") != std::string::npos, "zero-shot: the prompt '", prompt, "' has no {} for the class");
  const Encoder encoder = read_encoder(s);
  s.network.image_size = encoder.image_size;
  Classified data = load_classified(s);
  if (!s.class_names.empty()) {
    std::vector<std::string> names = lines_of(s.class_names);
    require<FileError>(names.size() == data.classes.size(), s.class_names, ": ", names.size(), " names for ",
                       data.classes.size(), " classes");
    data.classes = std::move(names);
  }
  // A class is the mean of what its sentences become.
  const auto classes = static_cast<Index>(data.classes.size());
  Tensor<float> means = Tensor<float>::zeros({classes, encoder.projection});
  for (const std::string& prompt : s.prompts) {
    std::vector<std::string> sentences;
    for (const std::string& name : data.classes)
      sentences.push_back(std::string(prompt).replace(prompt.find("{}"), 2, name));
    means += encoder.texts(sentences);
  }
  means = l2_normalize(std::move(means));
  ConfusionMatrix confusion(classes);
  DataLoader<float> loader(data.images, {.batch_size = s.batch_size, .transform = encoder.prepare});
  Progress progress(loader.size());
  progress.section("zero-shot", loader.size());
  for (auto& [pixels, labels] : loader) {
    const Tensor<float> embeddings = encoder.images(std::move(pixels));
    Tensor<float> scores({embeddings.dim(0), classes});
    scores.matrix() = embeddings.matrix() * means.matrix().transpose();
    confusion.add(labels, predicted_classes(scores));
    progress.advance(labels.numel(), "");
  }
  progress.clear();
  char title[96];
  std::snprintf(title, sizeof title, "%.1f %% of %s images are right, by chance %.1f %%", 100 * confusion.accuracy(),
                with_commas(data.images->size()).c_str(), 100.0 / static_cast<double>(classes));
  std::printf("%s\n", title);
  write_png(s.file("zero_shot.png"), plot_confusion(confusion, data.classes, title));
  write_json(s.file("zero_shot.json"),
             {{"images", data.images->size()}, {"classes", classes}, {"accuracy", confusion.accuracy()}});
}

}  // namespace

void add_zero_shot(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "zero-shot", "Classifies images by sentences: zero_shot.png", run_zero_shot);
  add_model(sub, s);
  add_out(sub, s);
  sub->add_option("--classes", s.classes,
                  "figures (drawn, one alone), cifar10, or a folder with a folder for each class")
      ->capture_default_str();
  sub->add_option("--prompt", s.prompts, "The sentence, {} for the class; of several --prompt the mean is taken")
      ->allow_extra_args(false);
  sub->add_option("--templates", s.templates, "A file of such sentences, one a line, in place of --prompt");
  sub->add_option("--class-names", s.class_names, "A file of the classes' names, one a line, in the classes' order");
  add_tokenizer(sub, s);
  sub->add_option("--limit", s.limit, "Use only the first images")->check(CLI::PositiveNumber)->capture_default_str();
}

}  // namespace lamina::examples::clip
