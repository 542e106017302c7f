// Compares an involutional network with a convolutional one, as the Keras example "Involutional neural networks" does:
// trains both, prints their tables and what they came to, draws their curves and the kernels that the involutions make.
//
//   involution                                        on drawn digits, which need no download
//   involution --dataset cifar10 --data DIR           DIR/cifar10/cifar-10-batches-bin/data_batch_1.bin, ...

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/models/inn.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/nn/visit_inputs.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/fit.hpp"

namespace {

using namespace lamina;

struct Settings {
  std::string dataset = "digits", data, out = "out";
  Index epochs = 20, batch_size = 256;
  Index limit_train = std::numeric_limits<Index>::max(), limit_test = limit_train;
  double lr = 1e-3;
  int threads = num_threads();
  std::uint64_t seed = 0;

  std::string file(const std::string& name) const { return out + "/" + name; }
};

void add_options(CLI::App& app, Settings& s) {
  app.add_option("--dataset", s.dataset, "The images; digits are drawn, CIFAR-10 is read from --data")
      ->check(CLI::IsMember({"digits", "cifar10"}))
      ->capture_default_str();
  app.add_option("--data", s.data, "Folder with cifar10/ (default: LAMINA_DATA)");
  app.add_option("--epochs", s.epochs, "Passes over the training data")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--batch-size", s.batch_size, "Images in a training step")
      ->check(CLI::Range(2, 100000))
      ->capture_default_str();
  app.add_option("--lr", s.lr, "Adam's learning rate")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--threads", s.threads, "The results do not depend on them")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "Of initial weights and order of images")->capture_default_str();
  app.add_option("--limit-train", s.limit_train, "Use only the first training images")->check(CLI::PositiveNumber);
  app.add_option("--limit-test", s.limit_test, "Use only the first test images")->check(CLI::Range(10, 1000000000));
  app.add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
}

Subset<float> load(const Settings& s, bool train) {
  const Index limit = train ? s.limit_train : s.limit_test;
  if (s.dataset == "cifar10") {
    TensorDataset<float> images = load_cifar10(data_directory(s.data), train);
    const Index count = std::min(limit, images.size());
    return Subset(std::move(images), count);
  }
  constexpr Index training = 10000, test = 2000;
  const Index count = std::min(limit, train ? training : test);
  return Subset(digits(count, {.first = train ? 0 : training}), count);
}

/// One side of the comparison.
struct Contestant {
  std::string name;
  Sequential<float> net;
  History history = {};

  const EpochRecord& last() const { return history.epochs.back(); }
  double seconds() const {
    double sum = 0;
    for (const EpochRecord& epoch : history.epochs) sum += epoch.seconds;
    return sum;
  }
};

void train(const Settings& s, const Subset<float>& train_set, const Subset<float>& test_set, Contestant& contestant) {
  std::fprintf(stderr, "%s\n", contestant.name.c_str());
  DataLoader<float> train(train_set, {.batch_size = s.batch_size, .shuffle = true, .seed = s.seed}),
      test(test_set, {.batch_size = s.batch_size});
  Adam<float> optimizer(parameters(contestant.net), {.lr = s.lr, .eps = 1e-7});  // as in Keras
  contestant.history = fit(contestant.net, optimizer, train, {.epochs = s.epochs, .test = &test, .seed = s.seed});
}

void print_comparison(const std::vector<Contestant>& contestants, const Shape& image) {
  std::printf("\n%-6s%12s%16s%12s%12s%12s%12s%10s\n", "", "parameters", "multiply-adds", "train loss", "accuracy",
              "test loss", "accuracy", "seconds");
  for (const Contestant& c : contestants)
    std::printf("%-6s%12s%16s%12.4f%12.4f%12.4f%12.4f%10.1f\n", c.name.c_str(),
                with_commas(count_parameters(c.net).total).c_str(),
                with_commas(c.net.multiply_adds(image.batch(1))).c_str(), c.last().train_loss, c.last().train_accuracy,
                c.last().test_loss, c.last().test_accuracy, c.seconds());
}

void write_metrics(const Settings& s, const std::vector<Contestant>& contestants, const Shape& image) {
  std::vector<examples::TrainedModel> models;
  for (const Contestant& c : contestants)
    models.push_back({.name = c.name,
                      .parameters = count_parameters(c.net).total,
                      .history = c.history,
                      .results = {{"multiply_adds", c.net.multiply_adds(image.batch(1))}, {"seconds", c.seconds()}}});
  examples::write_metrics(
      s.out,
      {{"dataset", s.dataset}, {"batch_size", s.batch_size}, {"lr", s.lr}, {"seed", s.seed}, {"threads", s.threads}},
      models);
}

/// The curves of both networks, one below the other.
Tensor<std::uint8_t> draw_curves(const std::vector<Contestant>& contestants) {
  std::vector<Tensor<std::uint8_t>> charts;
  for (const Contestant& c : contestants) charts.push_back(plot_history(c.history));
  constexpr Index heading = 60;
  const Index width = charts[0].dim(2), height = heading + charts[0].dim(1);
  Canvas canvas(width, height * static_cast<Index>(charts.size()));
  for (std::size_t i = 0; i < charts.size(); ++i) {
    const auto top = static_cast<double>(height * static_cast<Index>(i));
    canvas.text(40, top + 48,
                text(contestants[i].name, ", ", with_commas(count_parameters(contestants[i].net).total), " parameters"),
                {.size = 26, .bold = true});
    canvas.picture(0, top + heading, static_cast<double>(width), static_cast<double>(charts[i].dim(1)), charts[i]);
  }
  return canvas.image();
}

/// Dark blue over green to yellow, for t from 0 to 1: a map that stays readable in grey.
std::array<float, 3> heat(float t) {
  constexpr std::array<std::array<float, 3>, 5> stops{
      {{.27f, .00f, .33f}, {.23f, .32f, .55f}, {.13f, .57f, .55f}, {.37f, .79f, .38f}, {.99f, .91f, .14f}}};
  const float place = t * static_cast<float>(stops.size() - 1);
  const auto i = std::min(static_cast<std::size_t>(place), stops.size() - 2);
  const float part = place - static_cast<float>(i);
  std::array<float, 3> color;
  for (std::size_t c = 0; c < 3; ++c) color[c] = stops[i][c] + part * (stops[i + 1][c] - stops[i][c]);
  return color;
}

/// Writes a map [H, W], stretched to [side, side] and over all colours, to planes [3, side, side].
void paint_heat_map(const float* map, Index h, Index w, Index side, float* planes) {
  const auto [low, high] = std::minmax_element(map, map + h * w);
  const float range = std::max(*high - *low, std::numeric_limits<float>::min());
  for (Index i = 0; i < side; ++i)
    for (Index j = 0; j < side; ++j) {
      const auto color = heat((map[i * h / side * w + j * w / side] - *low) / range);
      for (Index c = 0; c < 3; ++c) planes[(c * side + i) * side + j] = color[static_cast<std::size_t>(c)];
    }
}

/// For each image [N, 1 or 3, S, S] a row: the image, and for every involution of the network the sums of the kernels
/// that it makes at each place.
Tensor<std::uint8_t> draw_kernels(const Sequential<float>& net, const Tensor<float>& images) {
  const Index n = images.dim(0), channels = images.dim(1), side = images.dim(2), plane = side * side;
  std::vector<Tensor<float>> maps;
  std::vector<std::string> captions{"image"};
  visit_inputs<Involution<float>>(net, images, [&](const Involution<float>& involution, const Tensor<float>& x) {
    const Tensor<float> kernels = involution.kernels(x);
    const Index pixels = kernels.dim(4) * kernels.dim(5);
    Tensor<float> sums({n, kernels.dim(4), kernels.dim(5)});
    for (Index k = 0; k < n; ++k)
      sums.matrix(n, pixels).row(k) = kernels[k].matrix(kernels.numel() / n / pixels, pixels).colwise().sum();
    maps.push_back(std::move(sums));
    captions.push_back(text("kernels of inv_", maps.size()));
  });

  const auto columns = static_cast<Index>(captions.size());
  Tensor<float> pictures({n * columns, 3, side, side});
  std::vector<std::string> all_captions;
  for (Index k = 0; k < n; ++k) {
    float* to = pictures.data() + k * columns * 3 * plane;
    for (Index c = 0; c < 3; ++c)
      std::copy_n(images.data() + (k * channels + c % channels) * plane, plane, to + c * plane);
    for (const Tensor<float>& map : maps) {
      const Index h = map.dim(1), w = map.dim(2);
      paint_heat_map(map.data() + k * h * w, h, w, side, to += 3 * plane);
    }
    all_captions.insert(all_captions.end(), captions.begin(), captions.end());
  }
  return plot_images(pictures, all_captions,
                     {.title = "What the involutions look at", .columns = columns, .cell = 160});
}

void run(const Settings& s) {
  examples::Interruption interruption;  // it keeps no checkpoint
  set_num_threads(s.threads);
  examples::prepare_folder(s.out);
  const Subset<float> train_set = load(s, true), test_set = load(s, false);
  const Shape image = train_set.get(0).input.shape();

  const InnOptions options{.in_channels = image[0], .classes = 10, .side = image[1]};
  manual_seed(s.seed);
  std::vector<Contestant> contestants;
  contestants.push_back({"CNN", inn_counterpart(options)});
  contestants.push_back({"INN", inn(options)});
  for (const Contestant& c : contestants)
    std::printf("%s\n%s\n", c.name.c_str(), summary(c.net, image.batch(1)).c_str());
  std::printf("%s: %s training and %s test images, %d thread%s\n", s.dataset.c_str(),
              with_commas(train_set.size()).c_str(), with_commas(test_set.size()).c_str(), s.threads,
              s.threads == 1 ? "" : "s");
  std::fflush(stdout);
  for (Contestant& c : contestants) train(s, train_set, test_set, c);
  print_comparison(contestants, image);

  const std::vector<Index> shown{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  write_metrics(s, contestants, image);
  write_png(s.file("curves.png"), draw_curves(contestants));
  write_png(s.file("kernels.png"), draw_kernels(contestants[1].net, test_set.batch(shown).inputs));
  std::printf("\n");
  examples::print_outputs(s.out, {{"metrics.json", "settings and every epoch's numbers"},
                                  {"curves.png", "loss and accuracy by epoch"},
                                  {"kernels.png", "for ten test images the sums of the involutions' kernels"}});
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv, "Trains an involutional and a convolutional network and compares them.", add_options, run);
}
