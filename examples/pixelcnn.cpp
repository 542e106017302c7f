// PixelCNN: learns the distribution of images, draws new ones, completes given ones.
//
//   pixelcnn train --dataset mnist --levels 2 --blocks 15 --hidden 24 --out run     metrics, sheets of samples, weights
//   pixelcnn sample --model run/model.safetensors --temperature 0.9 --out run      run/samples.png
//   pixelcnn complete --model run/model.safetensors --dataset mnist --out run      run/completed.png
//   pixelcnn evaluate --model run/model.safetensors --dataset mnist                nats and bits per dimension
//   pixelcnn compare --model run/model.safetensors --dataset fashion-mnist --against mnist --out run    histogram.png
//   pixelcnn judge --model run/model.safetensors --dataset mnist        whether a LeNet sees the classes asked for
//
// train --model gated learns the Gated PixelCNN, --model plusplus PixelCNN++; --conditional one that is told the class
// of the image.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/described.hpp"
#include "common/distributed.hpp"
#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/data/mixup.hpp"
#include "lamina/incremental/likelihood.hpp"
#include "lamina/incremental/sampling.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/gated_pixelcnn.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/models/pixelcnn_plus_plus.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/fit.hpp"

namespace {

using namespace lamina;

struct Settings {
  std::string dataset = "digits", against = "mnist", data, out = "out", kind = "pixelcnn", model, resume,
              lr_schedule = "cosine", binarize = "drawn";
  PixelCNNOptions network{.blocks = 7, .hidden = 32, .levels = 2};
  bool no_norm = false, conditional = false, neighbours = false;
  Index epochs = 10, batch_size = 32, limit_train = 60000, limit_test = 10000, validation = 0, count = 64, rows = 0,
        top_k = 0, label = -1, mixtures = 10, steps = 0, size = 28;
  double lr = 1e-3, temperature = 1, ema = 0, dropout = 0.5;
  int threads = num_threads();
  std::uint64_t seed = 0;
  examples::DistributedSettings distributed;

  std::string file(const std::string& name) const { return out + "/" + name; }
  Index classes() const { return conditional ? 10 : 0; }
  bool plusplus() const { return kind == "plusplus"; }
};

enum class Weights { normalized, plain };  // of PixelCNN++: to train, to use

Sequential<float> make_network(const Settings& s, Weights weights) {
  const PixelCNNOptions& n = s.network;
  if (s.kind == "pixelcnn") return pixelcnn(n);
  if (s.kind == "gated") return gated_pixelcnn({n.channels, n.blocks, n.hidden, n.levels, s.classes()});
  Sequential<float> net;
  net.add("", PixelCNNPlusPlus<float>({.channels = n.channels,
                                       .resnets = n.blocks,
                                       .filters = n.hidden,
                                       .mixtures = s.mixtures,
                                       .classes = s.classes(),
                                       .dropout = s.dropout,
                                       .weight_norm = weights == Weights::normalized}));
  return net;
}

LossFunction<float, Labels> loss_of(const Settings& s) {
  if (!s.plusplus()) return pixel_loss<float>;
  return [levels = s.network.levels](Tensor<float> parameters, const Labels& targets) {
    return logistic_mixture_loss(parameters, targets, {.levels = levels});
  };
}

TensorDataset<float> load(const Settings& s, bool train) {
  if (s.dataset == "digits") return digits(train ? s.limit_train : s.limit_test, {.first = train ? 0 : 60000});
  const std::string dir = data_directory(s.data);
  return s.dataset == "mnist"           ? load_mnist(dir, train)
         : s.dataset == "fashion-mnist" ? load_fashion_mnist(dir, train)
                                        : load_cifar10(dir, train);
}

/// Images of so many levels, whose targets are their levels; with classes, as many further channels that are 1 for the
/// image's class and 0 for others. For two levels a pixel is 1 with the probability of its grey value, drawn once from
/// the seed, as in the literature's binarised MNIST (Salakhutdinov and Murray 2008), or where it is above a half.
class Pixels : public Dataset<float> {
 public:
  Pixels(TensorDataset<float> images, Index first, Index limit, const Settings& s, std::uint64_t seed)
      : images_(std::move(images)),
        first_(std::min(first, images_.size())),
        size_(std::min(limit, images_.size() - first_)),
        levels_(s.network.levels),
        classes_(s.classes()),
        drawn_(s.binarize == "drawn"),
        random_(seed) {}

  Index size() const override { return size_; }
  /// Of an image.
  Shape shape() const { return images_.input_shape(); }
  /// Of what the network sees: the image, and a plane for each class that it is told.
  Shape input_shape() const { return shape().with(0, shape()[0] + classes_); }
  Labels classes() const { return images_.targets().slice(first_, first_ + size_); }

  Example<float> get(Index i) const override {
    const Tensor<float> levels = image(i);
    const Labels targets = pixel_levels(levels, levels_);
    if (classes_ == 0) return {levels, targets};
    Tensor<float> input = Tensor<float>::zeros(input_shape());
    std::copy_n(levels.data(), levels.numel(), input.data());
    const Index plane = shape()[1] * shape()[2];
    std::fill_n(input.data() + levels.numel() + images_.targets().data()[first_ + i] * plane, plane, 1.0f);
    return {input, targets};
  }

  Tensor<float> image(Index i) const {
    Tensor<float> image = images_.get(first_ + i).input;
    if (levels_ == 2 && drawn_) {
      const Tensor<float> u = random_.split(static_cast<std::uint64_t>(first_ + i)).uniform(image.shape());
      std::transform(u.data(), u.data() + u.numel(), std::as_const(image).data(), image.data(),
                     [](float threshold, float grey) { return threshold < grey ? 1.0f : 0.0f; });
    } else {
      image = quantize(std::move(image), levels_);
    }
    return image;
  }

 private:
  TensorDataset<float> images_;
  Index first_, size_, levels_, classes_;
  bool drawn_;
  Random random_;
};

/// Training images but the last, on which a choice is made; those; test images.
enum class Part { training, validation, test };

Pixels pixels(const Settings& s, Part part) {
  TensorDataset<float> images = load(s, part != Part::test);
  if (part == Part::test) return {std::move(images), 0, s.limit_test, s, 2};
  const Index all = images.size(), kept = all - s.validation;
  require(kept >= 1, "--validation leaves nothing of ", all, " training images, got ", s.validation);
  if (part == Part::training) return {std::move(images), 0, std::min(kept, s.limit_train), s, 1};
  return {std::move(images), kept, s.validation, s, 1};
}

/// The sizes of a file with the usual PyTorch listing's names, which says nothing about itself: a grey PixelCNN.
Shape describe_listing(Settings& s, const SafetensorsFile& file) {
  const auto shape = [&](const std::string& name) {
    for (const TensorInfo& tensor : file.tensors())
      if (tensor.name == name) return tensor.shape;
    return Shape{};
  };
  const auto has = [&](const std::string& name) { return shape(name).rank() > 0; };
  const Shape first = shape("conv1.conv.weight"), last = shape("head.4.weight");
  require<FileError>(first.rank() == 4 && first[1] == 1 && last.rank() == 4, s.model,
                     ": not a PixelCNN of this program, nor one with the names of the usual PyTorch listing");
  Index blocks = 0;
  while (has(text("residual_blocks.", blocks, ".conv1.weight"))) ++blocks;
  s.network = {1, blocks, first[0] / 2, last[0], has("bn1.weight")};
  s.kind = "pixelcnn";
  return {1, s.size, s.size};
}

Sequential<float> read_model(Settings& s, Shape& image) {
  const SafetensorsFile file(s.model);
  const auto word = [&](const char* key) {
    const auto entry = file.metadata().find(key);
    require<FileError>(entry != file.metadata().end(), s.model, ": not a PixelCNN of this program: no ", key);
    return entry->second;
  };
  const auto number = [&](const char* key) {
    Index value = 0;
    require<FileError>(CLI::detail::lexical_cast(word(key), value), s.model, ": ", key,
                       " should be a whole number, got ", word(key));
    return value;
  };
  if (!file.metadata().contains("kind")) {
    image = describe_listing(s, file);
  } else {
    s.kind = word("kind");
    require<FileError>(s.kind == "pixelcnn" || s.kind == "gated" || s.kind == "plusplus", s.model, ": kind should be ",
                       "pixelcnn, gated or plusplus, got ", s.kind);
    s.network = {number("channels"), number("blocks"), number("hidden"), number("levels"), number("norm") != 0};
    s.mixtures = number("mixtures");
    s.conditional = number("conditional") != 0;
    s.binarize = word("binarize");
    image = {s.network.channels, number("height"), number("width")};
  }
  const auto hidden = static_cast<double>(s.network.hidden);
  const double logits =
      s.plusplus() ? 0 : static_cast<double>(s.network.channels) * static_cast<double>(s.network.levels);
  const double least = (static_cast<double>(s.network.blocks) * hidden + logits) * hidden;
  return examples::described_network(file, least, [&] { return make_network(s, Weights::plain); });
}

/// A part of the dataset's images, which must be as the model's.
Pixels images_as(const Shape& image, const Settings& s, Part part) {
  Pixels images = pixels(s, part);
  require<ShapeError>(images.shape() == image, "the model is of images ", image, ", ", s.dataset, " has ",
                      images.shape());
  return images;
}

/// The first images of a dataset as one batch, given by image(i).
template <class Image>
Tensor<float> batch_of(Index count, const Shape& shape, Image image) {
  Tensor<float> result(shape.batch(count));
  for (Index i = 0; i < count; ++i) std::copy_n(image(i).data(), shape.numel(), result.data() + i * shape.numel());
  return result;
}
Tensor<float> first_images(const Pixels& images, Index count) {
  return batch_of(count, images.shape(), [&](Index i) { return images.image(i); });
}

SampleOptions sampling(const Settings& s, Progress* progress) {
  SampleOptions options{.levels = s.network.levels,
                        .mixtures = s.plusplus() ? s.mixtures : 0,
                        .temperature = s.temperature,
                        .top_k = s.top_k,
                        .seed = s.seed};
  if (progress) options.progress = [=, n = s.count](Index, Index) { progress->advance(n, "pixels"); };
  return options;
}

/// The classes of a sheet's images: a column for each, or all of one.
Labels asked_classes(const Settings& s) {
  Labels labels({s.count});
  for (Index i = 0; i < s.count; ++i)
    labels.data()[i] = static_cast<std::int32_t>(s.label >= 0 ? s.label : i % s.classes());
  return labels;
}

Tensor<float> draw(const Settings& s, const Module<float>& net, const Shape& image, Progress* progress) {
  Tensor<float> condition;
  if (s.conditional) condition = one_hot<float>(asked_classes(s), s.classes());
  return sample(net, image.batch(s.count), sampling(s, progress), condition);
}

void write_sheet(const Settings& s, const std::string& name, const Tensor<float>& images, const std::string& title) {
  const Index columns = s.conditional ? s.classes() : 8;
  write_png(s.file(name), plot_images(images, {}, {.title = title, .columns = columns, .cell = 4 * images.dim(3)}));
}

/// How images grow: of each of a few a row, with more and more of its pixels.
void write_growth(const Settings& s, const Tensor<float>& images) {
  const Index n = std::min<Index>(images.dim(0), 8), channels = images.dim(1), plane = images.dim(2) * images.dim(3);
  Tensor<float> shown({n * s.steps, channels, images.dim(2), images.dim(3)});
  for (Index i = 0; i < n; ++i)
    for (Index step = 0; step < s.steps; ++step)
      for (Index c = 0; c < channels; ++c) {
        const Index drawn = plane * (step + 1) / s.steps;
        float* const to = shown.data() + ((i * s.steps + step) * channels + c) * plane;
        std::copy_n(images.data() + (i * channels + c) * plane, drawn, to);
        std::fill_n(to + drawn, plane - drawn, 0.35f);
      }
  write_png(s.file("growth.png"),
            plot_images(shown, {}, {.title = "Pixel by pixel", .columns = s.steps, .cell = 3 * images.dim(3)}));
}

/// Beside each of a few images the training image that is nearest to it.
void write_neighbours(const Settings& s, const Tensor<float>& images) {
  const Pixels training = images_as(images.shape().tail(1), s, Part::training);
  const Index n = std::min<Index>(images.dim(0), 24), values = training.shape().numel();
  Tensor<float> shown(training.shape().batch(2 * n));
  std::vector<double> nearest(static_cast<std::size_t>(n), HUGE_VAL);
  for (Index j = 0; j < training.size(); ++j) {
    const Tensor<float> other = training.image(j);
    for (Index i = 0; i < n; ++i) {
      const float *const a = images.data() + i * values, *const b = other.data();
      double distance = 0;
      for (Index k = 0; k < values; ++k) distance += static_cast<double>((a[k] - b[k]) * (a[k] - b[k]));
      if (distance >= nearest[static_cast<std::size_t>(i)]) continue;
      nearest[static_cast<std::size_t>(i)] = distance;
      std::copy_n(b, values, shown.data() + (2 * i + 1) * values);
    }
  }
  std::vector<std::string> captions;
  for (Index i = 0; i < n; ++i) {
    std::copy_n(images.data() + i * values, values, shown.data() + 2 * i * values);
    char distance[32];
    std::snprintf(distance, sizeof distance, "%.2f", std::sqrt(nearest[static_cast<std::size_t>(i)]));
    captions.insert(captions.end(), {"drawn", std::string("at ") + distance});
  }
  write_png(
      s.file("neighbours.png"),
      plot_images(shown, captions,
                  {.title = "Drawn images, and the nearest training images", .columns = 8, .cell = 3 * images.dim(3)}));
}

void write_metrics(const Settings& s, const Module<float>& net, const History& history, Index values) {
  std::vector<examples::Json> measures;
  for (const EpochRecord& e : history.epochs)
    measures.push_back({{"test_bits_per_dimension", bits_per_dimension(e.test_loss, values)}});
  examples::write_metrics(s.out,
                          {{"dataset", s.dataset},
                           {"model", s.kind},
                           {"conditional", s.conditional},
                           {"blocks", s.network.blocks},
                           {"hidden", s.network.hidden},
                           {"levels", s.network.levels},
                           {"binarize", s.binarize},
                           {"lr_schedule", s.lr_schedule},
                           {"ema", s.ema},
                           {"seed", s.seed},
                           {"threads", num_threads()}},
                          {{.name = s.kind,
                            .parameters = count_parameters(net).total,
                            .history = history,
                            .measures = std::move(measures)}});
}

/// The model as it is used: with the average of the weights if there is one, of PixelCNN++ without its normalisation.
void save_model(const Settings& s, const Module<float>& net, const Shape& image) {
  const auto number = [](Index value) { return std::to_string(value); };
  save_state_dict(s.file("model.safetensors"), s.plusplus() ? plain_weights(net) : state_dict(net),
                  {{"kind", s.kind},
                   {"channels", number(s.network.channels)},
                   {"blocks", number(s.network.blocks)},
                   {"hidden", number(s.network.hidden)},
                   {"levels", number(s.network.levels)},
                   {"mixtures", number(s.mixtures)},
                   {"norm", number(s.network.norm)},
                   {"conditional", number(s.conditional)},
                   {"binarize", s.binarize},
                   {"height", number(image[1])},
                   {"width", number(image[2])}});
}

double evaluate_by_plan(const Settings& s, const Module<float>& net, const Pixels& images) {
  DataLoader<float> loader(images, {.batch_size = s.batch_size});
  const Plan plan = compile(net, images.input_shape().batch(loader.batch_size()));
  return evaluate(plan, loader, {.loss = loss_of(s), .metric = nullptr}).loss;
}

void train_network(Settings& s, examples::Ranks& ranks) {
  examples::Interruption interruption(s.resume);
  if (ranks.first()) examples::prepare_folder(s.out);
  require(!s.conditional || s.kind != "pixelcnn", "--conditional needs --model gated or plusplus");
  require(s.top_k == 0 || !s.plusplus(), "--top-k chooses among logits, which --model plusplus does not give");
  require(s.top_k <= s.network.levels, "--top-k must be at most --levels, ", s.network.levels, ", got ", s.top_k);
  s.network.norm = !s.no_norm;
  s.network.channels = s.dataset == "cifar10" ? 3 : 1;
  const Pixels training = pixels(s, Part::training),
               held_out = pixels(s, s.validation > 0 ? Part::validation : Part::test);
  DataLoader<float> train(training,
                          {.batch_size = s.batch_size, .shuffle = true, .seed = s.seed, .shard = ranks.shard()}),
      test(held_out, {.batch_size = s.batch_size, .shard = ranks.shard()});
  const Shape image = training.shape();
  manual_seed(s.seed);
  auto net = make_network(s, Weights::normalized);
  if (s.plusplus())
    initialize_weight_norm(net, batch_of(std::min(s.batch_size, training.size()), training.input_shape(),
                                         [&](Index i) { return training.get(i).input; }));
  Adam optimizer(parameters(net), {.lr = s.lr});
  std::optional<CosineAnnealingLR> schedule;
  if (s.lr_schedule == "cosine")
    schedule.emplace(optimizer, CosineAnnealingLROptions{.T_max = std::max<Index>(1, s.epochs * train.size())});
  Schedule* const chosen = schedule ? &*schedule : nullptr;
  std::printf("%s on %s: %s training and %s %s images, %s parameters\n", s.kind.c_str(), s.dataset.c_str(),
              with_commas(training.size()).c_str(), with_commas(held_out.size()).c_str(),
              s.validation > 0 ? "validation" : "test", with_commas(count_parameters(net).total).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) state = load_checkpoint(s.resume, net, optimizer, chosen);
  FitOptions<float> options{.epochs = s.epochs, .test = &test, .loss = loss_of(s), .metric = nullptr};
  options.schedule = chosen;
  options.schedule_per_batch = true;
  if (s.ema > 0) options.ema_decay = s.ema;
  options.seed = s.seed;
  options.parallel = ranks.parallel();
  ranks.prepare(net);
  options.on_epoch = [&](const FitState<float>& now) {
    if (!ranks.first()) return;
    interruption.save_checkpoint(s.file("checkpoint.safetensors"), [&] {
      save_checkpoint(s.file("checkpoint.safetensors"), now, net, optimizer, chosen);
    });
    auto shown = net;
    if (!now.average.empty()) load_state_dict(shown, now.average);
    save_model(s, shown, image);
    write_metrics(s, net, now.history, image.numel());
    char name[32];
    std::snprintf(name, sizeof name, "samples_epoch%02td.png", now.epoch);
    char title[64];
    std::snprintf(title, sizeof title, "Epoch %td: %.2f nats", now.epoch, now.history.epochs.back().test_loss);
    write_sheet(s, name, draw(s, shown, image, nullptr), title);
  };
  const History history = fit(net, optimizer, train, options, state);
  if (!ranks.first()) return;
  write_png(s.file("curves.png"), plot_history(history));
  if (history.epochs.empty()) return;
  const double nats =
      s.validation > 0 ? evaluate_by_plan(s, net, pixels(s, Part::test)) : history.epochs.back().test_loss;
  std::printf("test: %.2f nats, %.4f bits per dimension\n", nats, bits_per_dimension(nats, image.numel()));
}

void run_training(Settings s) {
  examples::with_ranks(s.distributed, [&](examples::Ranks& ranks) { train_network(s, ranks); });
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
  if (s.steps > 0) write_growth(s, images);
  if (s.neighbours) write_neighbours(s, images);
}

void run_completion(Settings s) {
  examples::prepare_folder(s.out);
  Shape image;
  const auto net = read_model(s, image);
  const Pixels test = images_as(image, s, Part::test);
  const Index n = std::min(s.count, test.size()), rows = s.rows > 0 ? s.rows : image[1] / 2;
  require(rows <= image[1], "complete: --rows must be at most ", image[1], ", got ", rows);
  const Tensor<float> truth = first_images(test, n);
  Progress progress(image[1] * image[2]);
  progress.section("completing", image[1] * image[2]);
  SampleOptions options = sampling(s, &progress);
  options.given = rows * image[2];
  Tensor<float> condition;
  if (s.conditional) condition = one_hot<float>(test.classes().slice(0, n), s.classes());
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
  const Pixels test = images_as(image, s, Part::test);
  const double nats = evaluate_by_plan(s, net, test);
  std::printf("%s test images: %.3f nats, %.4f bits per dimension\n", with_commas(test.size()).c_str(), nats,
              bits_per_dimension(nats, image.numel()));
}

/// Bits per dimension of each image.
std::vector<double> bits_of_images(const Settings& s, const Module<float>& net, const Pixels& images) {
  DataLoader<float> loader(images, {.batch_size = s.batch_size});
  const Plan plan = compile(net, images.input_shape().batch(loader.batch_size()));
  const auto loss = loss_of(s);
  std::vector<double> result;
  for (auto& [inputs, targets] : loader) {
    const Tensor<float> output = plan(std::move(inputs));
    for (Index i = 0; i < output.dim(0); ++i)
      result.push_back(
          bits_per_dimension(loss(output.slice(i, i + 1), targets.slice(i, i + 1)).value, images.shape().numel()));
  }
  return result;
}

/// The shares of numbers in bins, as the outline of bars.
Series histogram(const std::string& label, const std::vector<double>& numbers, double low, double width, Index bins) {
  std::vector<double> shares(static_cast<std::size_t>(bins));
  for (const double number : numbers) {
    const auto bin = static_cast<Index>((number - low) / width);
    shares[static_cast<std::size_t>(std::clamp<Index>(bin, 0, bins - 1))] += 1 / static_cast<double>(numbers.size());
  }
  Series result{label, {}, {}};
  for (Index bin = 0; bin < bins; ++bin)
    for (const Index edge : {bin, bin + 1}) {
      result.x.push_back(low + width * static_cast<double>(edge));
      result.y.push_back(shares[static_cast<std::size_t>(bin)]);
    }
  return result;
}

double mean_of(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number;
  return sum / static_cast<double>(numbers.size());
}

/// Whether images of another dataset than the model's look less likely to it: often they do not (Nalisnick et al.
/// 2019).
void run_comparison(Settings s) {
  examples::prepare_folder(s.out);
  Shape image;
  const auto net = read_model(s, image);
  Settings other = s;
  other.dataset = s.against;
  const std::vector<double> own = bits_of_images(s, net, images_as(image, s, Part::test)),
                            foreign = bits_of_images(s, net, images_as(image, other, Part::test));
  const auto [own_low, own_high] = std::minmax_element(own.begin(), own.end());
  const auto [low_place, high_place] = std::minmax_element(foreign.begin(), foreign.end());
  const double low = std::min(*own_low, *low_place), high = std::max(*own_high, *high_place);
  const double width = std::max(1e-6, (high - low) / 60);
  write_png(
      s.file("histogram.png"),
      plot_lines(
          {histogram(s.dataset, own, low, width, 60), histogram(s.against, foreign, low, width, 60)},
          {.title = "Likelihood of test images", .x_label = "bits per dimension", .y_label = "share of the images"}));
  const double own_mean = mean_of(own);
  const auto likelier = std::count_if(foreign.begin(), foreign.end(), [=](double bits) { return bits < own_mean; });
  std::printf("bits per dimension: %s %.4f, %s %.4f; %.1f %% of the latter are likelier than the mean of the former\n",
              s.dataset.c_str(), own_mean, s.against.c_str(), mean_of(foreign),
              100 * static_cast<double>(likelier) / static_cast<double>(foreign.size()));
}

/// Classes of a LeNet that learns the images as the model sees them, of the model's conditional samples.
void run_judgement(Settings s) {
  Shape image;
  const auto net = read_model(s, image);
  require(s.conditional, "judge: ", s.model, " was not trained with --conditional, there are no classes to ask for");
  require<ShapeError>(image == Shape{1, 28, 28}, "judge: LeNet wants images [1, 28, 28], the model's are ", image);
  const auto classified = [&](Part part) {
    const Pixels images = pixels(s, part);
    return TensorDataset<float>(first_images(images, images.size()), images.classes());
  };
  const TensorDataset<float> training = classified(Part::training), held_out = classified(Part::test);
  DataLoader<float> train(training, {.batch_size = 64, .shuffle = true, .seed = s.seed}),
      test(held_out, {.batch_size = 256});
  manual_seed(s.seed);
  auto judge = lenet();
  Adam optimizer(parameters(judge), {.lr = 2e-3});
  CosineAnnealingLR schedule(optimizer, {.T_max = s.epochs * train.size()});
  fit(judge, optimizer, train, {.epochs = s.epochs, .schedule = &schedule, .schedule_per_batch = true, .seed = s.seed});
  const double accuracy = evaluate(judge, test).accuracy;
  const Labels seen = predicted_classes(judge(draw(s, net, image, nullptr))), asked = asked_classes(s);
  Index same = 0;
  for (Index i = 0; i < s.count; ++i) same += seen.data()[i] == asked.data()[i];
  std::printf("LeNet: %.2f %% of the test images; of %td samples it sees the class asked for in %.2f %%\n",
              100 * accuracy, s.count, 100 * static_cast<double>(same) / static_cast<double>(s.count));
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
    sub->add_option("--validation", s.validation,
                    "So many of the last training images are held out: training looks at them, and at the test images "
                    "when it is over")
        ->check(CLI::NonNegativeNumber);
  };
  const auto drawing = [&](CLI::App* sub) {
    sub->add_option("--count", s.count, "Images to draw")->check(CLI::PositiveNumber)->capture_default_str();
    sub->add_option("--temperature", s.temperature, "Divides the logits")->check(CLI::PositiveNumber);
    sub->add_option("--top-k", s.top_k, "Choose among the k likeliest levels; 0: all")->check(CLI::NonNegativeNumber);
  };
  const auto model = [&](CLI::App* sub) {
    sub->add_option("--model", s.model, "model.safetensors of a training run, or a PyTorch listing's weights")
        ->required();
    sub->add_option("--size", s.size, "Of the listing's images, which its file does not tell")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
  };

  CLI::App* train = verb("train", "Learns the distribution of a dataset's images", run_training);
  data(train);
  drawing(train);
  train->add_option("--model", s.kind, "PixelCNN, Gated PixelCNN (which has no norms) or PixelCNN++")
      ->check(CLI::IsMember({"pixelcnn", "gated", "plusplus"}))
      ->capture_default_str();
  train->add_option("--blocks", s.network.blocks, "Residual blocks; of plusplus at each of three sizes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--hidden", s.network.hidden, "h; layers have h and 2h channels")->check(CLI::PositiveNumber);
  train->add_option("--mixtures", s.mixtures, "Logistics in a mixture, of plusplus")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  train->add_option("--dropout", s.dropout, "Of plusplus")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  train->add_option("--binarize", s.binarize, "With two levels: a pixel is drawn once by its grey value, or rounded")
      ->check(CLI::IsMember({"drawn", "threshold"}))
      ->capture_default_str();
  train->add_option("--levels", s.network.levels, "Values that a pixel can take")
      ->check(CLI::IsMember({2, 4, 16, 256}))
      ->capture_default_str();
  train->add_flag("--no-norm", s.no_norm, "Without batch normalisation");
  train->add_flag("--conditional", s.conditional, "Tell the network the image's class (gated, plusplus)");
  train->add_option("--epochs", s.epochs, "Passes over the training data")->check(CLI::NonNegativeNumber);
  train->add_option("--lr", s.lr, "Adam's learning rate")->check(CLI::PositiveNumber)->capture_default_str();
  train->add_option("--lr-schedule", s.lr_schedule, "It stays, or falls to zero along a cosine")
      ->check(CLI::IsMember({"constant", "cosine"}))
      ->capture_default_str();
  train->add_option("--ema", s.ema, "Decay of the average of the weights that is tested, saved and drawn from; 0: none")
      ->check(CLI::Range(0.0, 0.999999));
  train->add_option("--resume", s.resume, "Continue from this checkpoint");
  examples::add_distributed_options(*train, s.distributed);

  CLI::App* sampled = verb("sample", "Draws images: samples.png", run_sampling);
  model(sampled);
  drawing(sampled);
  sampled->add_option("--label", s.label, "Draw this class only (a model trained with --conditional)")
      ->check(CLI::Range(0, 9));
  sampled->add_option("--steps", s.steps, "Show how images grow, in so many steps: growth.png")
      ->check(CLI::Range(1, 64));
  sampled->add_flag("--neighbours", s.neighbours, "Show the nearest training images of --dataset: neighbours.png");
  data(sampled);
  CLI::App* completed = verb("complete", "Draws the lower part of test images: completed.png", run_completion);
  model(completed);
  data(completed);
  drawing(completed);
  completed->add_option("--rows", s.rows, "Rows that are given (default: half)")->check(CLI::PositiveNumber);
  CLI::App* evaluated = verb("evaluate", "The likelihood of the test images", run_evaluation);
  model(evaluated);
  data(evaluated);
  CLI::App* compared = verb("compare", "The likelihood of two datasets' test images: histogram.png", run_comparison);
  model(compared);
  data(compared);
  compared->add_option("--against", s.against, "The other dataset")
      ->check(CLI::IsMember({"digits", "mnist", "fashion-mnist", "cifar10"}))
      ->capture_default_str();
  CLI::App* judged = verb("judge", "Whether a LeNet sees the classes that samples were asked for", run_judgement);
  model(judged);
  data(judged);
  drawing(judged);
  judged->add_option("--epochs", s.epochs, "Of the LeNet")->check(CLI::PositiveNumber)->capture_default_str();
  app.require_subcommand(1);
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv, "Learns the distribution of images pixel by pixel, draws from it, and completes images.",
      add_options);
}
