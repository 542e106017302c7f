#include <doctest/doctest.h>

#include <cmath>

#include "lamina/nn/container.hpp"
#include "lamina/nn/conv1d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

TEST_CASE("Conv2d conforms") {
  manual_seed(3);
  CHECK(conforms(Conv2d<double>(3, 8, 3, {.stride = 2}), {2, 3, 9, 7}));
  CHECK(
      conforms(Conv2d<double>(2, 4, {3, 2}, {.stride = {1, 2}, .padding = {2, 1}, .dilation = {1, 2}}), {1, 2, 5, 6}));
  CHECK(conforms(Conv2d<double>(4, 6, 3, {.padding = "same", .groups = 2, .bias = false}), {2, 4, 4, 5}));
  CHECK(conforms(Conv2d<double>(4, 4, 1), {3, 4, 2, 3}));
  CHECK(conforms(Conv2d<double>(3, 2, {2, 4}, {.padding = "same"}), {1, 3, 3, 5}));
  CHECK(conforms(Conv2d<double>(2, 3, 2, {.padding = {0, 1, 2, 0}}), {2, 2, 4, 3}));
  CHECK(conforms(Conv2d<double>(3, 8, 3, {.stride = 2, .padding = "same"}), {2, 3, 8, 7}));
  CHECK(
      conforms(Conv2d<double>(2, 4, {5, 4}, {.stride = {3, 2}, .padding = "same", .dilation = {1, 2}}), {1, 2, 7, 8}));
  CHECK(conforms(Conv2d<double>(4, 4, 3, {.stride = 2, .padding = "same", .groups = 4}), {2, 4, 6, 5}));
}

TEST_CASE("Conv1d conforms, and is Conv2d over images of one row") {
  manual_seed(5);
  CHECK(conforms(Conv1d<double>(3, 8, 3), {2, 3, 9}));
  CHECK(conforms(Conv1d<double>(4, 6, 4, {.stride = 2, .padding = "same", .groups = 2, .bias = false}), {2, 4, 7}));
  CHECK(conforms(Conv1d<double>(2, 3, 3, {.padding = {4, 0}, .dilation = 2}), {1, 2, 6}));  // causal
  CHECK(conforms(Conv1d<double>(4, 4, 3, {.padding = 1, .groups = 4}), {2, 4, 19}));
  Conv1d<float> layer(16, 17, 3, {.stride = 2, .padding = {2, 1}});
  Conv2d<float> images(16, 17, {1, 3}, {.stride = {1, 2}, .padding = {0, 0, 2, 1}});
  images.weight.value = layer.weight.value.reshape({17, 16, 1, 3});
  images.bias.value = layer.bias.value;
  const auto x = Random(1).normal({3, 16, 40});
  CHECK(layer(x) == images(x.reshape({3, 16, 1, 40})).reshape({3, 17, 21}));
  CHECK(layer.multiply_adds({1, 16, 40}) == 21 * 17 * 16 * 3);
  CHECK(layer.name() == "Conv1d(16, 17, 3, stride=2, padding=(2, 1))");
  CHECK(Conv1d(2, 2, 3, {.padding = "same"}).name() == "Conv1d(2, 2, 3, padding=same)");
  CHECK_THROWS_WITH_AS(Conv1d(3, 4, 3, {.groups = 2}),
                       "Conv1d(3, 4, 3, groups=2): groups = 2 does not divide 3 input and 4 output channels",
                       ValueError);
  CHECK_THROWS_WITH_AS(layer(Tensor<float>({3, 4, 5})),
                       "Conv1d(16, 17, 3, stride=2, padding=(2, 1)): expected an input [N, 16, L], got shape [3, 4, 5]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Conv1d(1, 1, 9)(Tensor<float>({1, 1, 8})),
                       "Conv1d(1, 1, 9): the kernel is larger than the padded sequence, got shape [1, 1, 8]",
                       ShapeError);
}

TEST_CASE("Conv2d's inference sees every change of its weight") {
  manual_seed(4);
  Conv2d conv(16, 16, 3);  // enough channels for transformed filters, which are kept
  const auto x = Random(1).normal({1, 16, 20, 20});
  Tape tape;
  const auto agrees = [&] { return conv(x) == conv.forward(x, tape); };
  CHECK(agrees());
  CHECK(agrees());
  conv.weight.value.data()[5] += 1;
  CHECK(agrees());
  conv.weight.value = Random(2).normal({16, 16, 3, 3});
  CHECK(agrees());
  const auto copy = conv;
  conv.weight.value.fill(0);
  CHECK(conv(x) == conv.forward(x, tape));
  CHECK(copy(x) != conv(x));
  Conv2d other(16, 16, 3);
  other(x);
  other = copy;
  CHECK(other(x) == copy(x));

  // Memory that somebody else may write to is read every time.
  std::vector<float> memory(16 * 16 * 9, 0.5f);
  conv.weight.value = Tensor<float>::wrap(memory.data(), {16, 16, 3, 3});
  const auto before = conv(x);
  std::fill(memory.begin(), memory.end(), 0.25f);
  CHECK(conv(x) != before);
  CHECK(agrees());
}

TEST_CASE("Conv2d computes only what is needed") {
  Conv2d conv(2, 3, 3);
  const auto x = Random(1).normal({1, 2, 5, 5});
  conv.weight.requires_grad = false;
  Tape tape;
  const auto y = conv.forward(x, tape);
  conv.backward(Tensor<float>::ones(y.shape()), tape);
  CHECK(conv.weight.grad.empty());
  CHECK(conv.bias.grad == Tensor<float>::full({3}, 9));
}

TEST_CASE("Conv2d has PyTorch's names, counts and default initial values") {
  Conv2d conv(3, 64, 7, {.stride = 2, .padding = 3});
  CHECK(conv.name() == "Conv2d(3, 64, 7, stride=2, padding=3)");
  CHECK(conv.output_shape({8, 3, 224, 224}) == Shape{8, 64, 112, 112});
  CHECK(conv.multiply_adds({1, 3, 224, 224}) == Index{118013952});
  const auto state = state_dict(conv);
  REQUIRE(state.size() == 2);
  CHECK(state[0].first == "weight");
  CHECK(state[1].first == "bias");
  const float bound = 1 / std::sqrt(3.0f * 49);
  CHECK(conv.weight.value.array().abs().maxCoeff() <= bound);
  CHECK(conv.weight.value.array().abs().maxCoeff() > 0.99f * bound);
}

TEST_CASE("Conv2d says what is wrong") {
  CHECK_THROWS_WITH_AS(Conv2d(3, 64, 7)(Tensor<float>::zeros({8, 4, 224, 224})),
                       "Conv2d(3, 64, 7): expected 3 input channels, got shape [8, 4, 224, 224]", ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 64, 7)(Tensor<float>::zeros({3, 224, 224})),
                       "Conv2d(3, 64, 7): expected an input [N, 3, H, W], got shape [3, 224, 224]", ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 7)(Tensor<float>::zeros({1, 3, 6, 9})),
                       "Conv2d(3, 4, 7): the kernel is larger than the padded image, got shape [1, 3, 6, 9]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.groups = 2}),
                       "Conv2d(3, 4, 3, groups=2): groups = 2 does not divide 3 input and 4 output channels",
                       ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.stride = 0}), "Conv2d(3, 4, 3, stride=0): stride must be at least 1, got 0",
                       ValueError);
  CHECK(Conv2d(3, 4, 3, {.stride = 2, .padding = "same"}).name() == "Conv2d(3, 4, 3, stride=2, padding=same)");
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.padding = "full"}),
                       "padding: expected numbers, \"same\" or \"valid\", got \"full\"", ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.padding = -1}), "padding must not be negative, got -1", ValueError);
  CHECK_THROWS_AS(Conv2d(0, 4, 3), ValueError);
  CHECK_THROWS_AS(Conv2d(3, 4, 0), ValueError);
}
