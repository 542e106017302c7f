#include <cstdio>
#include <memory>

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
  DataLoader<float> loader(data.images, {.batch_size = s.batch_size, .transform = prepared_images(s.network)});
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
  sub->add_option("--limit", s.limit, "Use only the first images")->check(CLI::PositiveNumber)->capture_default_str();
}

}  // namespace lamina::examples::clip
