// PixelCNN: learns the distribution of images, draws new ones, completes given ones.
//
//   pixelcnn train --dataset mnist --levels 2 --blocks 7 --hidden 32 --out run      metrics, sheets of samples, weights
//   pixelcnn sample --model run/model.safetensors --temperature 0.9 --out run      run/samples.png
//   pixelcnn complete --model run/model.safetensors --dataset mnist --out run      run/completed.png
//   pixelcnn evaluate --model run/model.safetensors --dataset mnist                nats and bits per dimension
//
// train --gated learns the Gated PixelCNN, with --conditional one that is told the class of the image.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "common/described.hpp"
#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/incremental/likelihood.hpp"
#include "lamina/incremental/sampling.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/gated_pixelcnn.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/fit.hpp"

namespace {

using namespace lamina;

struct Settings {
  std::string dataset = "digits", data, out = "out", model, resume;
  PixelCNNOptions network{.blocks = 7, .hidden = 32, .levels = 2};
  bool no_norm = false, gated = false, conditional = false;
  Index epochs = 10, batch_size = 32, limit_train = 60000, limit_test = 10000, count = 64, rows = 0, top_k = 0,
        label = -1;
  double lr = 1e-3, temperature = 1;
  int threads = num_threads();
  std::uint64_t seed = 0;

  std::string file(const std::string& name) const { return out + "/" + name; }
  Index classes() const { return conditional ? 10 : 0; }
};

Sequential<float> make_network(const Settings& s) {
  const PixelCNNOptions& n = s.network;
  if (!s.gated) return pixelcnn(n);
  return gated_pixelcnn({n.channels, n.blocks, n.hidden, n.levels, s.classes()});
}

TensorDataset<float> load(const Settings& s, bool train) {
  const Index limit = train ? s.limit_train : s.limit_test;
  if (s.dataset == "digits") return digits(limit, {.first = train ? 0 : 60000});
  const std::string dir = data_directory(s.data);
  return s.dataset == "mnist"           ? load_mnist(dir, train)
         : s.dataset == "fashion-mnist" ? load_fashion_mnist(dir, train)
                                        : load_cifar10(dir, train);
}

/// Classes as a condition [N, classes].
Tensor<float> one_hot(const Labels& labels, Index classes) {
  Tensor<float> result = Tensor<float>::zeros({labels.numel(), classes});
  for (Index i = 0; i < labels.numel(); ++i) result(i, labels.data()[i]) = 1;
  return result;
}

/// Images of so many levels, whose targets are their levels; with classes, as many further channels that are 1 for the
/// image's class and 0 for others. For two levels a pixel is 1 with the probability of its grey value, drawn once from
/// the seed, as in the literature's binarised MNIST (Salakhutdinov and Murray 2008).
class Pixels : public Dataset<float> {
 public:
  Pixels(TensorDataset<float> images, Index limit, Index levels, Index classes, std::uint64_t seed)
      : images_(std::move(images)),
        size_(std::min(limit, images_.size())),
        levels_(levels),
        classes_(classes),
        random_(seed) {}

  Index size() const override { return size_; }
  /// Of an image.
  Shape shape() const { return images_.input_shape(); }
  /// Of what the network sees: the image, and a plane for each class that it is told.
  Shape input_shape() const { return shape().with(0, shape()[0] + classes_); }
  Labels classes() const { return images_.targets(); }

  Example<float> get(Index i) const override {
    const Tensor<float> levels = image(i);
    const Labels targets = pixel_levels(levels, levels_);
    if (classes_ == 0) return {levels, targets};
    Tensor<float> input = Tensor<float>::zeros(input_shape());
    std::copy_n(levels.data(), levels.numel(), input.data());
    const Index plane = shape()[1] * shape()[2];
    std::fill_n(input.data() + levels.numel() + images_.targets().data()[i] * plane, plane, 1.0f);
    return {input, targets};
  }

  Tensor<float> image(Index i) const {
    Tensor<float> image = images_.get(i).input;
    if (levels_ == 2) {
      const Tensor<float> u = random_.split(static_cast<std::uint64_t>(i)).uniform(image.shape());
      std::transform(u.data(), u.data() + u.numel(), std::as_const(image).data(), image.data(),
                     [](float threshold, float grey) { return threshold < grey ? 1.0f : 0.0f; });
    } else {
      image = quantize(std::move(image), levels_);
    }
    return image;
  }

 private:
  TensorDataset<float> images_;
  Index size_, levels_, classes_;
  Random random_;
};

Pixels pixels(const Settings& s, bool train) {
  return {load(s, train), train ? s.limit_train : s.limit_test, s.network.levels, s.classes(), train ? 1u : 2u};
}

Sequential<float> read_model(Settings& s, Shape& image) {
  const SafetensorsFile file(s.model);
  const auto number = [&](const char* key) {
    const auto entry = file.metadata().find(key);
    require<FileError>(entry != file.metadata().end(), s.model, ": not a PixelCNN of this program: no ", key);
    Index value = 0;
    require<FileError>(CLI::detail::lexical_cast(entry->second, value), s.model, ": ", key,
                       " should be a whole number, got ", entry->second);
    return value;
  };
  s.network = {number("channels"), number("blocks"), number("hidden"), number("levels"), number("norm") != 0};
  s.gated = number("gated") != 0;
  s.conditional = number("conditional") != 0;
  const Index height = number("height"), width = number("width");
  const auto hidden = static_cast<double>(s.network.hidden);
  const double logits = static_cast<double>(s.network.channels) * static_cast<double>(s.network.levels);
  const double least = (static_cast<double>(s.network.blocks) * hidden + logits) * hidden;
  return examples::described_network(file, least, [&] {
    image = {s.network.channels, height, width};
    return make_network(s);
  });
}

SampleOptions sampling(const Settings& s, Progress* progress) {
  SampleOptions options{.levels = s.network.levels, .temperature = s.temperature, .top_k = s.top_k, .seed = s.seed};
  if (progress) options.progress = [=, n = s.count](Index, Index) { progress->advance(n, "pixels"); };
  return options;
}

/// The images of a sheet: with classes a column for each, or all of one.
Tensor<float> draw(const Settings& s, const Module<float>& net, const Shape& image, Progress* progress) {
  Tensor<float> condition;
  if (s.conditional) {
    Labels labels({s.count});
    for (Index i = 0; i < s.count; ++i)
      labels.data()[i] = static_cast<std::int32_t>(s.label >= 0 ? s.label : i % s.classes());
    condition = one_hot(labels, s.classes());
  }
  return sample(net, image.batch(s.count), sampling(s, progress), condition);
}

void write_sheet(const Settings& s, const std::string& name, const Tensor<float>& images, const std::string& title) {
  const Index columns = s.conditional ? s.classes() : 8;
  write_png(s.file(name), plot_images(images, {}, {.title = title, .columns = columns, .cell = 4 * images.dim(3)}));
}

void write_metrics(const Settings& s, const Module<float>& net, const History& history, Index values) {
  std::vector<examples::Json> measures;
  for (const EpochRecord& e : history.epochs)
    measures.push_back({{"test_bits_per_dimension", bits_per_dimension(e.test_loss, values)}});
  examples::write_metrics(s.out,
                          {{"dataset", s.dataset},
                           {"gated", s.gated},
                           {"conditional", s.conditional},
                           {"blocks", s.network.blocks},
                           {"hidden", s.network.hidden},
                           {"levels", s.network.levels},
                           {"seed", s.seed},
                           {"threads", num_threads()}},
                          {{.name = s.gated ? "gated_pixelcnn" : "pixelcnn",
                            .parameters = count_parameters(net).total,
                            .history = history,
                            .measures = std::move(measures)}});
}

void run_training(Settings s) {
  examples::Interruption interruption(s.resume);
  examples::prepare_folder(s.out);
  s.network.norm = !s.no_norm;
  s.network.channels = s.dataset == "cifar10" ? 3 : 1;
  const Pixels training = pixels(s, true), test_images = pixels(s, false);
  DataLoader<float> train(training, {.batch_size = s.batch_size, .shuffle = true, .seed = s.seed}),
      test(test_images, {.batch_size = s.batch_size});
  const Shape image = training.shape();
  manual_seed(s.seed);
  auto net = make_network(s);
  Adam optimizer(parameters(net), {.lr = s.lr});
  CosineAnnealingLR schedule(optimizer, {.T_max = std::max<Index>(1, s.epochs * train.size())});
  std::printf("%sPixelCNN on %s: %s training and %s test images, %s parameters\n", s.gated ? "Gated " : "",
              s.dataset.c_str(), with_commas(training.size()).c_str(), with_commas(test_images.size()).c_str(),
              with_commas(count_parameters(net).total).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) state = load_checkpoint(s.resume, net, optimizer, &schedule);
  FitOptions<float> options{.epochs = s.epochs, .test = &test, .loss = pixel_loss<float>, .metric = nullptr};
  options.schedule = &schedule;
  options.schedule_per_batch = true;
  options.seed = s.seed;
  options.on_epoch = [&](const FitState<float>& now) {
    interruption.save_checkpoint(s.file("checkpoint.safetensors"), [&] {
      save_checkpoint(s.file("checkpoint.safetensors"), now, net, optimizer, &schedule);
    });
    const auto number = [](Index value) { return std::to_string(value); };
    save_state_dict(s.file("model.safetensors"), state_dict(std::as_const(net)),
                    {{"channels", number(s.network.channels)},
                     {"blocks", number(s.network.blocks)},
                     {"hidden", number(s.network.hidden)},
                     {"levels", number(s.network.levels)},
                     {"norm", number(s.network.norm)},
                     {"gated", number(s.gated)},
                     {"conditional", number(s.conditional)},
                     {"height", number(image[1])},
                     {"width", number(image[2])}});
    write_metrics(s, net, now.history, image.numel());
    char name[32];
    std::snprintf(name, sizeof name, "samples_epoch%02td.png", now.epoch);
    char title[64];
    std::snprintf(title, sizeof title, "Epoch %td: %.2f nats", now.epoch, now.history.epochs.back().test_loss);
    write_sheet(s, name, draw(s, net, image, nullptr), title);
  };
  const History history = fit(net, optimizer, train, options, state);
  write_png(s.file("curves.png"), plot_history(history));
  if (!history.epochs.empty())
    std::printf("test: %.2f nats, %.4f bits per dimension\n", history.epochs.back().test_loss,
                bits_per_dimension(history.epochs.back().test_loss, image.numel()));
}

void run_sampling(Settings s) {
  examples::prepare_folder(s.out);
  Shape image;
  const auto net = read_model(s, image);
  require(s.label < 0 || s.conditional, "sample: --label needs a model trained with --conditional");
  Progress progress(image[1] * image[2]);
  progress.section("sampling", image[1] * image[2]);
  const double begin = seconds_now();
  const Tensor<float> images = draw(s, net, image, &progress);
  progress.clear();
  std::printf("%td images in %.2f s\n", s.count, seconds_now() - begin);
  write_sheet(s, "samples.png", images, text(s.count, " samples, temperature ", s.temperature));
}

void run_completion(Settings s) {
  examples::prepare_folder(s.out);
  Shape image;
  const auto net = read_model(s, image);
  const Pixels test = pixels(s, false);
  require<ShapeError>(test.shape() == image, "complete: the model makes images ", image, ", ", s.dataset, " has ",
                      test.shape());
  const Index n = std::min(s.count, test.size()), rows = s.rows > 0 ? s.rows : image[1] / 2;
  require(rows <= image[1], "complete: --rows must be at most ", image[1], ", got ", rows);
  Tensor<float> truth(image.batch(n));
  for (Index i = 0; i < n; ++i) std::copy_n(test.image(i).data(), image.numel(), truth.data() + i * image.numel());
  Progress progress(image[1] * image[2]);
  progress.section("completing", image[1] * image[2]);
  SampleOptions options = sampling(s, &progress);
  options.given = rows * image[2];
  Tensor<float> condition;
  if (s.conditional) condition = one_hot(test.classes().slice(0, n), s.classes());
  const Tensor<float> completed = complete(net, truth, options, condition);
  progress.clear();
  Tensor<float> shown({3 * n, image[0], image[1], image[2]});  // given, completed, true
  for (Index i = 0; i < n; ++i)
    for (Index c = 0; c < image[0]; ++c) {
      const Index plane = image[1] * image[2], from = (i * image[0] + c) * plane;
      float* const to = shown.data() + (3 * i * image[0] + c) * plane;
      std::fill_n(to, plane, 0.35f);
      std::copy_n(truth.data() + from, options.given, to);
      std::copy_n(completed.data() + from, plane, to + image[0] * plane);
      std::copy_n(truth.data() + from, plane, to + 2 * image[0] * plane);
    }
  write_png(s.file("completed.png"),
            plot_images(shown, {}, {.title = "Given, completed, true", .columns = 12, .cell = 3 * image[2]}));
}

void run_evaluation(Settings s) {
  Shape image;
  const auto net = read_model(s, image);
  const Pixels test = pixels(s, false);
  require<ShapeError>(test.shape() == image, "evaluate: the model is of images ", image, ", ", s.dataset, " has ",
                      test.shape());
  DataLoader<float> loader(test, {.batch_size = s.batch_size});
  const Plan plan = compile(net, test.input_shape().batch(loader.batch_size()));
  const double nats = evaluate(plan, loader, {.loss = pixel_loss<float>, .metric = nullptr}).loss;
  std::printf("%s test images: %.3f nats, %.4f bits per dimension\n", with_commas(test.size()).c_str(), nats,
              bits_per_dimension(nats, image.numel()));
}

void add_options(CLI::App& app, Settings& s) {
  const auto verb = [&](const char* name, const char* what, void (*run)(Settings)) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
    sub->add_option("--threads", s.threads, "Threads; results do not depend on them")->check(CLI::Range(1, 4096));
    sub->add_option("--seed", s.seed, "Of initial weights, order and samples")->capture_default_str();
    sub->callback([&s, run] {
      set_num_threads(s.threads);
      run(s);
    });
    return sub;
  };
  const auto data = [&](CLI::App* sub) {
    sub->add_option("--dataset", s.dataset, "The images; digits are drawn, the others read from --data")
        ->check(CLI::IsMember({"digits", "mnist", "fashion-mnist", "cifar10"}))
        ->capture_default_str();
    sub->add_option("--data", s.data, "Folder with mnist/, fashion-mnist/, cifar10/ (default: LAMINA_DATA)");
    sub->add_option("--batch-size", s.batch_size, "Images in a step")->check(CLI::PositiveNumber);
    sub->add_option("--limit-train", s.limit_train, "Use only the first training images")->check(CLI::PositiveNumber);
    sub->add_option("--limit-test", s.limit_test, "Use only the first test images")->check(CLI::PositiveNumber);
  };
  const auto drawing = [&](CLI::App* sub) {
    sub->add_option("--count", s.count, "Images to draw")->check(CLI::PositiveNumber)->capture_default_str();
    sub->add_option("--temperature", s.temperature, "Divides the logits")->check(CLI::PositiveNumber);
    sub->add_option("--top-k", s.top_k, "Choose among the k likeliest levels; 0: all")->check(CLI::NonNegativeNumber);
  };
  const auto model = [&](CLI::App* sub) {
    sub->add_option("--model", s.model, "model.safetensors of a training run")->required();
  };

  CLI::App* train = verb("train", "Learns the distribution of a dataset's images", run_training);
  data(train);
  drawing(train);
  train->add_option("--blocks", s.network.blocks, "Residual blocks")->check(CLI::PositiveNumber)->capture_default_str();
  train->add_option("--hidden", s.network.hidden, "h; layers have h and 2h channels")->check(CLI::PositiveNumber);
  train->add_option("--levels", s.network.levels, "Values that a pixel can take")
      ->check(CLI::IsMember({2, 4, 16, 256}))
      ->capture_default_str();
  train->add_flag("--no-norm", s.no_norm, "Without batch normalisation");
  CLI::Option* gated = train->add_flag("--gated", s.gated, "Gated PixelCNN, of h and 2h channels, which has no norms");
  train->add_flag("--conditional", s.conditional, "Tell the network the image's class")->needs(gated);
  train->add_option("--epochs", s.epochs, "Passes over the training data")->check(CLI::NonNegativeNumber);
  train->add_option("--lr", s.lr, "Adam's first learning rate; it falls to zero along a cosine")->capture_default_str();
  train->add_option("--resume", s.resume, "Continue from this checkpoint");

  CLI::App* sampled = verb("sample", "Draws images: samples.png", run_sampling);
  model(sampled);
  drawing(sampled);
  sampled->add_option("--label", s.label, "Draw this class only (a model trained with --conditional)")
      ->check(CLI::Range(0, 9));
  CLI::App* completed = verb("complete", "Draws the lower part of test images: completed.png", run_completion);
  model(completed);
  data(completed);
  drawing(completed);
  completed->add_option("--rows", s.rows, "Rows that are given (default: half)")->check(CLI::PositiveNumber);
  CLI::App* evaluated = verb("evaluate", "The likelihood of the test images", run_evaluation);
  model(evaluated);
  data(evaluated);
  app.require_subcommand(1);
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv, "Learns the distribution of images pixel by pixel, draws from it, and completes images.",
      add_options);
}
