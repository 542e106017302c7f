#include <doctest/doctest.h>

#include <string>

#include "lamina/models/lenet.hpp"
#include "lamina/models/pixelcnn.hpp"
#include "lamina/nn/training_memory.hpp"
#include "lamina/optim/adam.hpp"
#include "models/networks.hpp"

using namespace lamina;

namespace {

/// Bytes in use at the fullest moment of a step, the weights included, beside the estimate.
struct Compared {
  double estimate, measured;
};
Compared compare(Module<float>& net, const Shape& shape) {
  const Tensor<float> x = testing::images<float>(shape);
  const TrainingMemory memory = training_memory(net, shape);
  Adam optimizer(parameters(net), {.lr = 1e-6});
  Tape tape;
  const auto step = [&] {
    const Tensor<float> logits = net.forward(x, tape, InputGrad::skip);
    net.backward(Tensor<float>::full(logits.shape(), 1e-3f), tape, InputGrad::skip);
    optimizer.step();
  };
  step();
  release_cached_storage();  // so that blocks have the sizes that are asked for
  const std::size_t before = storage_statistics().bytes_in_use;
  reset_peak_storage();
  step();
  const Index fixed = memory.parameters + memory.gradients + memory.optimizer;
  const auto risen = static_cast<double>(storage_statistics().peak_bytes - before);
  CHECK(memory.total() == fixed + memory.peak);
  CHECK(memory.peak >= memory.activations);
  // The images were there before.
  return {static_cast<double>(memory.peak - x.numel() * Index{sizeof(float)}), risen};
}

}  // namespace

TEST_CASE("training_memory estimates what a step takes") {
  const auto check = [](const std::string& name, Module<float>& net, const Shape& shape) {
    const Compared bytes = compare(net, shape);
    CAPTURE(name);
    CAPTURE(bytes.estimate / 1e6);
    CAPTURE(bytes.measured / 1e6);
    CHECK(bytes.estimate > 0.8 * bytes.measured);
    CHECK(bytes.estimate < 1.2 * bytes.measured);
  };
  for (const std::string name : {"alexnet", "vgg_a_bn", "nin_imagenet", "googlenet", "resnet18", "resnet50",
                                 "densenet121", "mobilenet", "mobilenet_v2", "mobilenet_v3_large"})
    check(name, *testing::network<float>(name), {4, 3, 128, 128});
  auto digits = lenet<float>();
  check("lenet", digits, {64, 1, 28, 28});
  auto pixels = pixelcnn<float>({.blocks = 3});
  check("pixelcnn", pixels, {8, 1, 28, 28});
}
