// Names what is on photographs, by a network that train_classifier trained, or one with weights from PyTorch:
//
//   classify_image --model-file out/model.safetensors photo.jpg ...
//
//   convert_weights.py resnet18-f37072fd.pth resnet18.safetensors
//   classify_image --model resnet18 --weights resnet18.safetensors --labels names.txt photo.jpg ...
//
// A model file says itself how photographs are to be prepared. For weights alone
// a photograph is prepared as torchvision does it: resized so that its shorter side has 256 pixels, bilinearly with the
// antialiasing of PIL (the triangle widens by the factor of the reduction), but without PIL's rounding to bytes between
// the two directions; its middle 224 x 224 pixels, in [0, 1]; ImageNet's mean and standard deviation.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include "common/classifier_file.hpp"
#include "common/networks.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/nn/softmax.hpp"

namespace {

using namespace lamina;
using examples::Network;

/// Those for colour images.
std::vector<Network> colour_networks() {
  std::vector<Network> result;
  std::copy_if(examples::networks().begin(), examples::networks().end(), std::back_inserter(result),
               [](const Network& network) { return network.channels == 3; });
  return result;
}

struct Settings {
  std::string model = "resnet18", weights, model_file, labels;
  std::vector<std::string> images;
  std::optional<Index> classes, hidden;
  Index resize = 256, crop = 224, top = 5;
  double width = 1;
  std::array<double, 3> mean = {0.485, 0.456, 0.406}, std = {0.229, 0.224, 0.225};  // of fixed size: images follow
  int threads = num_threads();
  bool report = false;
};

void add_options(CLI::App& app, Settings& s) {
  const CLI::Validator positive = examples::at_least(1);
  CLI::Option* const file = app.add_option(
      "--model-file", s.model_file, "model.safetensors of train_classifier, which says all of the following itself");
  app.add_option("--model", s.model, "The network, see below")
      ->check(CLI::IsMember(names_of(colour_networks())).description(""))
      ->capture_default_str();
  app.add_option("--weights", s.weights, "Its weights, as examples/convert_weights.py makes them from PyTorch's");
  app.add_option("--labels", s.labels, "Text file with the name of a class in each line (default: numbers)");
  app.add_option("--classes", s.classes, "Outputs of the network (default: as many as labels, else the network's)")
      ->check(positive);
  app.add_option("--width", s.width, "Factor of the network's channels")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--hidden", s.hidden, "Units of AlexNet's and VGG's hidden layers (default: 4096)")->check(positive);
  app.add_option("--resize", s.resize, "Shorter side to which images are resized")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--crop", s.crop, "Side of the middle that the network sees")->check(positive)->capture_default_str();
  app.add_option("--mean", s.mean, "Subtracted from red, green, blue in [0, 1]; torchvision's googlenet: 0.5 0.5 0.5")
      ->capture_default_str();
  app.add_option("--std", s.std, "What they are divided by; torchvision's googlenet: 0.5 0.5 0.5")
      ->capture_default_str();
  for (CLI::Option* option : app.get_options())
    if (option != file && option->get_name() != "--help") file->excludes(option);
  app.add_option("--top", s.top, "How many classes to print")->check(positive)->capture_default_str();
  app.add_option("--threads", s.threads, "Threads; results do not depend on them")
      ->check(positive)
      ->capture_default_str();
  app.add_flag("--report", s.report, "Print what each step of the compiled network takes");
  app.add_option("IMAGE", s.images, "PNG or JPEG files")->required();
  app.footer([] { return "\n" + table_of(colour_networks()); });
}

/// A network, how images become what it sees, and the names of its classes; none: numbers.
struct Classifier {
  std::unique_ptr<Module<float>> net;
  Index channels;
  examples::Preparation preparation;
  std::vector<std::string> labels;
};

Classifier load_model_file(const std::string& path) {
  const examples::ClassifierFile file = examples::read_classifier(path);
  return {examples::load_classifier(path, file), file.options.channels, file.preparation, file.classes};
}

Classifier load(const Settings& s) {
  if (!s.model_file.empty()) return load_model_file(s.model_file);
  require(!s.weights.empty(), "there is no network: give --model-file, or --weights with --model");
  require(!examples::is_classifier_file(s.weights), s.weights,
          ": the file says itself which network it is of and how images are prepared for it; give it as --model-file");
  std::vector<std::string> labels = s.labels.empty() ? std::vector<std::string>{} : read_lines(s.labels);
  const auto names = static_cast<Index>(labels.size());
  require(s.labels.empty() || names > 0, s.labels, ": there are no labels");
  const Network& network = examples::find_network(s.model);
  const Index classes = s.classes.value_or(names ? names : network.classes);
  require(!names || names == classes, s.labels, ": ", names, " labels, but --classes ", classes);
  const SkipInit skip;
  auto net = network.make({.channels = 3,
                           .classes = classes,
                           .side = s.crop,
                           .width = s.width,
                           .hidden = s.hidden,
                           .auxiliary_heads = s.model == "googlenet" && examples::has_auxiliary_heads(s.weights)});
  check_side(*net, network, 3, s.crop, "--crop");
  load_weights(*net, network, s.weights);
  return {std::move(net),
          3,
          {s.resize, s.crop, {s.mean.begin(), s.mean.end()}, {s.std.begin(), s.std.end()}},
          std::move(labels)};
}

/// The classes with the largest probabilities, a line each.
void print(const std::string& title, const Tensor<float>& probabilities, const std::vector<std::string>& labels,
           Index top) {
  std::vector<Index> classes(static_cast<std::size_t>(probabilities.numel()));
  std::iota(classes.begin(), classes.end(), Index{0});
  const auto end = classes.begin() + std::min(top, probabilities.numel());
  const float* p = probabilities.data();
  require<NumericalError>(std::none_of(p, p + probabilities.numel(), [](float x) { return std::isnan(x); }), title,
                          ": the network gives NaN; are its weights whole?");
  std::partial_sort(classes.begin(), end, classes.end(),
                    [p](Index a, Index b) { return std::pair(-p[a], a) < std::pair(-p[b], b); });
  std::printf("%s\n  probability  class\n", title.c_str());
  for (auto k = classes.begin(); k != end; ++k)
    std::printf("  %11.6f  %5td%s%s\n", static_cast<double>(p[*k]), *k, labels.empty() ? "" : "  ",
                labels.empty() ? "" : labels[static_cast<std::size_t>(*k)].c_str());
}

void run(const Settings& s) {
  set_num_threads(s.threads);
  const Classifier classifier = load(s);
  const Shape batch{1, classifier.channels, classifier.preparation.crop, classifier.preparation.crop};
  const Plan plan = compile(*classifier.net, batch);
  if (s.report) std::printf("%s\n", plan.report().c_str());
  int failures = 0;
  for (const std::string& path : s.images) {
    try {
      Tensor<float> image = to_float(read_image(path, {.channels = static_cast<int>(classifier.channels)}));
      image = classifier.preparation(std::move(image)).reshape(batch);
      print(path, softmax(plan(std::move(image))), classifier.labels, s.top);
    } catch (const FileError& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ++failures;
    }
  }
  require<FileError>(failures == 0, failures, " of ", s.images.size(), " images could not be read");
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(argc, argv, "Names what is on photographs.", add_options, run);
}
