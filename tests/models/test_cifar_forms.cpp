#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lamina/models/densenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

Index parameters_of(const Module<float>& net) { return count_parameters(net).total; }

const DenseNetOptions bc_100{.classes = 10, .layers = {16, 16, 16}, .growth = 12, .small_stem = true};
const DenseNetOptions plain_40{
    .classes = 10, .layers = {12, 12, 12}, .growth = 12, .stem = 16, .theta = 1, .bottleneck = 0, .small_stem = true};

}  // namespace

TEST_CASE("the forms for CIFAR have their papers' parameters and multiply-adds") {
  // He et al. 2016, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M; exactly, those of the widely used programs.
  for (const auto& [depth, count] : {std::pair(20, 269722), {32, 464154}, {44, 658586}, {56, 853018}, {110, 1727962}})
    CHECK(parameters_of(resnet_cifar(depth)) == count);
  CHECK(resnet_cifar(20).multiply_adds({1, 3, 32, 32}) == 40551040);  // 0.04 billion
  CHECK(parameters_of(resnet_cifar(20, {.projections = true})) == 269722 + 16 * 32 + 64 + 32 * 64 + 128);
  // Huang et al. 2017, table 2: 1.0M for L = 40, k = 12, and 0.8M for BC with L = 100, k = 12.
  CHECK(parameters_of(densenet(plain_40)) == 1019722);
  CHECK(parameters_of(densenet(bc_100)) == 769162);
  // The strides have no parameters.
  CHECK(parameters_of(mobilenet_v2({.classes = 10, .small_images = true})) == 2236682);
  CHECK(parameters_of(resnet(18, {.classes = 10, .small_stem = true})) == 11173962);
}

TEST_CASE("the forms for CIFAR reduce 32 x 32 pixels as their papers say") {
  const auto last = [](const Sequential<float>& net, Index count, const Shape& shape) {
    Shape at = shape;
    for (Index i = 0; i < count; ++i) at = net[i].output_shape(at);
    return at;
  };
  const Shape images{2, 3, 32, 32};
  CHECK(last(resnet_cifar(20), 6, images) == Shape{2, 64, 8, 8});
  CHECK(last(resnet(18, {.small_stem = true}), 7, images) == Shape{2, 512, 4, 4});
  CHECK(last(densenet(bc_100), 1, images) == Shape{2, 342, 8, 8});
  CHECK(last(mobilenet_v2({.small_images = true}), 1, images) == Shape{2, 1280, 4, 4});
  std::vector<std::string> keys;
  auto net = resnet_cifar(20);
  for (const auto& [name, parameter, owner] : parameters(net)) keys.push_back(name);
  for (const char* key : {"conv1.weight", "bn1.bias", "layer2.0.conv1.weight", "layer3.2.bn2.weight", "fc.bias"})
    CHECK(std::count(keys.begin(), keys.end(), key) == 1);
  CHECK(std::count(keys.begin(), keys.end(), "layer2.0.downsample.0.weight") == 0);
}

TEST_CASE("a shortcut without parameters takes every second pixel, and zeros for the channels that lack") {
  auto block = residual_block<float>(
      {.bottleneck = false, .in = 2, .channels = 3, .stride = 2, .dilation = 1, .zero_padded = true}, {});
  // With the last norm's weight at zero, what is left is the shortcut.
  for (auto& [name, parameter, owner] : parameters(block))
    if (name == "bn2.weight" || name == "bn2.bias") parameter->value.fill(0);
  const Tensor<float> x = Random(3).uniform({1, 2, 5, 4});
  const Tensor<float> y = block(x);
  REQUIRE(y.shape() == Shape{1, 3, 3, 2});
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 2; ++j) {
      for (Index c = 0; c < 2; ++c) CHECK(y(0, c, i, j) == x(0, c, 2 * i, 2 * j));
      CHECK(y(0, 2, i, j) == 0);
    }
  CHECK(
      conforms(residual_block<double>(
                   {.bottleneck = false, .in = 2, .channels = 4, .stride = 2, .dilation = 1, .zero_padded = true}, {}),
               {2, 2, 6, 5}, {.training_differs = true}));
}

TEST_CASE("small networks of these forms give an image the same logits anywhere in a batch") {
  const testing::ConformanceOptions differs{.training_differs = true};
  CHECK(testing::check_batches<float>(resnet_cifar(8, {.classes = 4, .width = 0.25}), {3, 16, 16}, differs) == "");
  CHECK(testing::check_batches<float>(
            densenet({.classes = 4, .layers = {2, 3}, .growth = 4, .theta = 0.7, .small_stem = true}), {3, 9, 9},
            differs) == "");
  CHECK(testing::check_batches<float>(mobilenet_v2({.classes = 4, .width = 0.1, .small_images = true}), {3, 32, 32},
                                      differs) == "");
  CHECK(densenet({.layers = {2, 3}, .growth = 4, .theta = 0.7, .small_stem = true})[0].output_shape({1, 3, 9, 9}) ==
        Shape{1, 11 + 12, 4, 4});  // floor(0.7 * 16) = 11
}

TEST_CASE("forms for CIFAR that cannot be are refused") {
  CHECK_THROWS_WITH_AS(resnet_cifar(18), "resnet_cifar: expected a depth of 6 n + 2, as 20, 32, 44, 56 or 110, got 18",
                       ValueError);
  CHECK_THROWS_WITH_AS(resnet_cifar(20, {.width = 0.01}), "resnet_cifar: width 0.01 leaves none of 16 channels",
                       ValueError);
  CHECK_THROWS_WITH_AS(resnet(18, {.deep_stem = true, .small_stem = true}),
                       "resnet: small_stem goes neither with deep_stem nor with an output_stride", ValueError);
  CHECK_THROWS_WITH_AS(densenet({.theta = 1}), "densenet: no layers; give those of each dense block, or a depth",
                       ValueError);
  CHECK_THROWS_WITH_AS(densenet({.layers = {2}, .theta = 0}), "densenet: theta must be in (0, 1], got 0", ValueError);
  CHECK_THROWS_WITH_AS(densenet(121, {.layers = {2, 2}}),
                       "densenet: depth 121 says the layers; leave it out to choose them", ValueError);
  CHECK_THROWS_WITH_AS(mobilenet_v2({.small_images = true, .output_stride = 16}),
                       "mobilenet_v2: with small_images output_stride must be 32, got 16", ValueError);
}
