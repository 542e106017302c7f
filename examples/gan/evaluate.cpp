#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "common/metrics.hpp"
#include "common/program.hpp"
#include "gan/images.hpp"
#include "gan/model.hpp"
#include "gan/options.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/nn/interpolate.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/generative.hpp"
#include "lamina/train/metrics.hpp"

namespace lamina::examples::gan {

namespace {

/// A fixed network, which gives features and perhaps classes of images [N, C, H, W] in [0, 1].
class Judge {
 public:
  virtual ~Judge() = default;
  virtual std::string name() const = 0;
  virtual Tensor<float> features(const Tensor<float>& images) const = 0;
  virtual std::optional<Labels> classes(const Tensor<float>&) const { return {}; }

  /// In parts of a batch.
  Tensor<float> all_features(const Tensor<float>& images) const {
    constexpr Index batch = 100;
    Tensor<float> result;
    for (Index first = 0; first < images.dim(0); first += batch) {
      const Tensor<float> part = features(images.slice(first, std::min(images.dim(0), first + batch)));
      if (first == 0) result = Tensor<float>({images.dim(0), part.dim(1)});
      std::copy_n(part.data(), part.numel(), result.data() + first * part.dim(1));
    }
    return result;
  }
};

/// A LeNet for images of 28 x 28: 84 features before the last layer. It is learned on the training images, or read.
class LeNetJudge : public Judge {
 public:
  LeNetJudge(const Settings& s, const TensorDataset<float>& test) {
    const std::string path = s.judge.empty() ? s.file("judge.safetensors") : s.judge;
    manual_seed(0);
    net_ = lenet();
    if (std::filesystem::exists(path)) {
      load_state_dict(net_, load_safetensors(path));
    } else {
      std::printf("a LeNet learns the training images of %s\n", s.dataset.c_str());
      std::fflush(stdout);
      DataLoader<float> train(load_images(s, true), {.batch_size = 64, .shuffle = true, .seed = 0});
      Adam optimizer(parameters(net_), {.lr = 2e-3});
      fit(net_, optimizer, train, {.epochs = s.judge_epochs, .progress = false});
      save_state_dict(path, state_dict(net_));
    }
    DataLoader<float> loader(test, {.batch_size = 256});
    accuracy_ = evaluate(std::as_const(net_), loader).accuracy;
    before_last_ = net_;
    before_last_.erase(before_last_.size() - 1);
  }

  std::string name() const override { return "LeNet"; }
  double accuracy() const { return accuracy_; }
  Tensor<float> features(const Tensor<float>& images) const override { return before_last_(images); }
  std::optional<Labels> classes(const Tensor<float>& images) const override { return predicted_classes(net_(images)); }

 private:
  Sequential<float> net_, before_last_;
  double accuracy_ = 0;
};

/// MobileNet V2 with ImageNet's weights, for photographs: 1280 features, of images resized to 96 x 96.
class MobileNetJudge : public Judge {
 public:
  explicit MobileNetJudge(const std::string& weights) {
    const SkipInit skip;
    Sequential<float> net = mobilenet_v2<float>();
    load_state_dict(net, load_safetensors(weights));
    net.erase(net.size() - 1);  // the classifier
    net_ = std::move(net);
    freeze(net_);
  }
  std::string name() const override { return "MobileNet V2"; }
  Tensor<float> features(const Tensor<float>& images) const override {
    Tensor<float> large = interpolate(images, Size2(96), {.mode = InterpolateMode::bilinear});
    for (float& value : large.values()) value = 2 * value - 1;
    const Tensor<float> result = net_(std::move(large));
    return result.reshape({result.dim(0), result.numel() / result.dim(0)});
  }

 private:
  Sequential<float> net_;
};

Json numbers_of(const Tensor<float>& real, const Tensor<float>& generated) {
  const PrecisionRecall among = precision_recall(real, generated);
  return {{"frechet_distance", frechet_distance(real, generated)},
          {"precision", among.precision},
          {"recall", among.recall}};
}

void print_row(const char* what, const Json& row) {
  std::printf("%-28s %10.3f %10.3f %10.3f\n", what, row["frechet_distance"].get<double>(),
              row["precision"].get<double>(), row["recall"].get<double>());
}

void run_evaluation(Settings s) {
  prepare_folder(s.out);
  const GanGenerator<float> net = load_generator(s);
  const TensorDataset<float> test = load_images(s, false), train = load_images(s, true);
  require(s.count <= std::min(test.size(), train.size()), "--count: there are ", std::min(test.size(), train.size()),
          " images of ", s.dataset, ", got ", s.count);
  std::vector<Index> places(static_cast<std::size_t>(s.count));
  std::iota(places.begin(), places.end(), Index{0});

  const bool photographs = s.dataset == "cifar10";
  require(!photographs || !s.features.empty(),
          "--features: the weights of a MobileNet V2 (torchvision's names), whose features tell photographs apart");
  std::unique_ptr<Judge> judge;
  double accuracy = 0;
  if (photographs) {
    judge = std::make_unique<MobileNetJudge>(s.features);
  } else {
    auto lenet_judge = std::make_unique<LeNetJudge>(s, test);
    accuracy = lenet_judge->accuracy();
    judge = std::move(lenet_judge);
  }

  Random random(s.seed);
  const Labels labels = drawn_labels(s.count, s.network.classes, random);
  const Tensor<float> images =
      from_network(generate(net, random.normal<float>({s.count, s.network.latent}), labels), side_of(s.dataset));
  const Tensor<float> real = judge->all_features(pick(test, places).input);
  Json result = {{"dataset", s.dataset},
                 {"context", s.network.context.word()},
                 {"features", judge->name()},
                 {"count", s.count},
                 {"seed", s.seed},
                 {"generated", numbers_of(real, judge->all_features(images))},
                 {"training", numbers_of(real, judge->all_features(pick(train, places).input))}};
  std::printf("%td images against as many test images, by the features of %s\n", s.count, judge->name().c_str());
  std::printf("%-28s %10s %10s %10s\n", "", "Fréchet  ", "precision", "recall");
  print_row("generated", result["generated"]);
  print_row("training images", result["training"]);
  if (const auto seen = judge->classes(images); seen && s.network.classes > 0) {
    Index same = 0;
    for (Index i = 0; i < s.count; ++i) same += seen->data()[i] == labels.data()[i];
    const double agreement = static_cast<double>(same) / static_cast<double>(s.count);
    result["agreement"] = agreement;
    result["judge_accuracy"] = accuracy;
    std::printf("LeNet sees the class asked for in %.2f %% of the images; it is right for %.2f %% of the test images\n",
                100 * agreement, 100 * accuracy);
  }
  write_json(s.file("evaluation.json"), result);
  print_outputs(s.out, {{"evaluation.json", "these numbers"}});
}

}  // namespace

void add_evaluate(CLI::App& app, Settings& s) {
  CLI::App* sub =
      add_command(app, s, "evaluate", "Fréchet distance, precision and recall, classes by a LeNet", run_evaluation);
  add_model(sub, s);
  sub->add_option("--data", s.data, "Folder with mnist/, fashion-mnist/, cifar10/ (default: LAMINA_DATA)");
  sub->add_option("--limit-train", s.limit_train, "Of drawn digits for the LeNet")->check(CLI::Range(8, 1 << 30));
  sub->add_option("-n,--count", s.count, "Images of each kind")->check(CLI::Range(10, 50000))->capture_default_str();
  sub->add_option(
      "--judge", s.judge,
      "Weights of the LeNet; learned and written if the file does not exist (default: OUT/judge.safetensors)");
  sub->add_option("--judge-epochs", s.judge_epochs, "In which it is learned")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_option("--features", s.features, "For cifar10: weights of a MobileNet V2 under torchvision's names");
}

}  // namespace lamina::examples::gan
