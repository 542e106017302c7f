// The first thing to run: LeNet (LeCun et al. 1998) learns drawn digits, in seconds.
//
//   lenet [FOLDER]        writes curves.png, predictions.png and model.safetensors there; default: out
//
// Header-only, in one source: what a small program of your own takes to compile. train_classifier has the other
// networks, datasets and options.

#include <cstdio>
#include <exception>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "lamina/data/digits.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/fit.hpp"

namespace {

using namespace lamina;

Sequential<float> make_lenet() {
  Sequential net{Conv2d(1, 6, 5, {.padding = 2}),
                 Sigmoid(),
                 AvgPool2d(2),
                 Conv2d(6, 16, 5),
                 Sigmoid(),
                 AvgPool2d(2),
                 Flatten(),
                 Linear(400, 120),
                 Sigmoid(),
                 Linear(120, 84),
                 Sigmoid(),
                 Linear(84, 10)};
  init::weights<Conv2d<float>, Linear<float>>(net, [](auto& weight) { init::xavier_uniform(weight); });
  return net;
}

/// The first 40 of a dataset, with what the network says.
Tensor<std::uint8_t> draw_predictions(const Sequential<float>& lenet, const TensorDataset<float>& data) {
  std::vector<Index> shown(40);
  std::iota(shown.begin(), shown.end(), Index{0});
  const auto [images, labels] = data.batch(shown);
  const Labels predicted = predicted_classes(lenet(images));
  std::vector<std::string> captions;
  ImageGridOptions options{.title = "Test images and what LeNet says they are"};
  for (Index i = 0; i < labels.numel(); ++i) {
    captions.push_back(text(predicted(i)));
    options.marked.push_back(predicted(i) != labels(i));
  }
  return plot_images(images, captions, options);
}

void run(const std::string& folder) {
  std::filesystem::create_directories(folder);
  manual_seed(0);
  Sequential<float> net = make_lenet();
  std::puts(summary(net, {1, 1, 28, 28}).c_str());

  const TensorDataset<float> test = digits(2000, {.first = 12000});
  DataLoader loader(digits(12000), {.batch_size = 64, .shuffle = true});
  DataLoader test_loader(test, {.batch_size = 500});
  Adam optimizer(parameters(net), {.lr = 0.003});
  const History history = fit(net, optimizer, loader, {.epochs = 5, .test = &test_loader});

  write_png(folder + "/curves.png", plot_history(history));
  write_png(folder + "/predictions.png", draw_predictions(net, test));
  save_state_dict(folder + "/model.safetensors", state_dict(net));
  std::printf("\n%.1f %% of the test images are right\n\n", 100 * history.epochs.back().test_accuracy);
  std::printf("  %s/curves.png          loss and accuracy by epoch\n", folder.c_str());
  std::printf("  %s/predictions.png     test images with their predicted classes\n", folder.c_str());
  std::printf("  %s/model.safetensors   the weights, under PyTorch's names\n", folder.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc > 1 ? argv[1] : "out");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
