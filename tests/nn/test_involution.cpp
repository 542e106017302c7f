#include <doctest/doctest.h>

#include "lamina/core/random.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/involution.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/visit_inputs.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

Parameter<double>& parameter(Module<double>& layer, const std::string& key) {
  for (auto& [name, parameter, owner] : parameters(layer))
    if (name == key) return *parameter;
  throw ValueError("no parameter " + key);
}

}  // namespace

TEST_CASE("Involution conforms, for drawn options") {
  Random random(11);
  const auto pick = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  for (int trial = 0; trial < 24; ++trial) {
    const Index groups = pick(1, 3), channels = groups * pick(1, 3), kernel = 2 * pick(0, 2) + 1;
    const InvolutionOptions options{.groups = groups,
                                    .stride = pick(1, 3),
                                    .reduction = pick(1, channels),
                                    .features = trial % 4 == 0 ? pick(1, 5) : 0,
                                    .dilation = pick(1, 2),
                                    .groups_innermost = trial % 2 == 1,
                                    .bias = trial % 3 == 0};
    const Shape shape{pick(2, 3), channels, options.stride + pick(0, 5), options.stride + pick(0, 6)};
    CHECK(conforms(Involution<double>(channels, kernel, options), shape,
                   {.seed = static_cast<std::uint64_t>(trial + 1), .training_differs = true}));
  }
}

TEST_CASE("an involution that makes the same kernel everywhere is a convolution") {
  Random random(1);
  const Tensor<double> x = random.normal<double>({2, 4, 9, 7});
  Involution<double> layer(4, 3, {.groups = 2, .stride = 2, .dilation = 2});
  parameter(layer, "conv2.conv.weight").value.fill(0);
  Conv2d<double> same(4, 4, 3, {.stride = 2, .padding = 2, .dilation = 2, .groups = 4, .bias = false});
  for (Index c = 0; c < 4; ++c)
    for (Index tap = 0; tap < 9; ++tap)
      same.weight.value.data()[c * 9 + tap] = parameter(layer, "conv2.conv.bias").value(c / 2 * 9 + tap);
  CHECK(testing::worst_difference(layer(x), same(x)).error < 1e-13);
}

TEST_CASE("in the Keras listing's form zeros lie around the image as with TensorFlow's SAME") {
  // x = 8 i + j; the kernels that are 1 in the middle show which pixels the windows are around.
  const auto middles = [](Index h, Index w, Index kernel, const InvolutionOptions& options) {
    Tensor<double> x({1, 1, h, w});
    for (Index i = 0; i < h; ++i)
      for (Index j = 0; j < w; ++j) x(0, 0, i, j) = static_cast<double>(8 * i + j);
    InvolutionOptions identity = options;
    identity.reduction = 1;
    Involution<double> layer(1, kernel, identity);
    parameter(layer, "conv2.conv.weight").value.fill(0);
    parameter(layer, "conv2.conv.bias").value.fill(0);
    parameter(layer, "conv2.conv.bias").value.data()[kernel * kernel / 2] = 1;
    const Tensor<double> y = layer(x);
    return Tensor<double>({y.dim(3)}, std::vector<double>(y.data(), y.data() + y.dim(3)));
  };
  const auto row = [](std::vector<double> values) {
    return Tensor<double>({static_cast<Index>(values.size())}, values);
  };
  CHECK(middles(8, 8, 3, {.stride = 2, .groups_innermost = true}) == row({9, 11, 13, 15}));
  CHECK(middles(8, 8, 3, {.stride = 2}) == row({0, 2, 4, 6}));
  CHECK(middles(8, 7, 3, {.stride = 2, .groups_innermost = true}) ==
        row({8, 10, 12, 14}));  // rows behind, columns both
  CHECK(middles(7, 8, 3, {.stride = 2, .groups_innermost = true}) == row({1, 3, 5, 7}));
  CHECK(middles(8, 8, 5, {.stride = 2, .groups_innermost = true}) == row({9, 11, 13, 15}));
  CHECK(middles(9, 9, 3, {.stride = 3, .groups_innermost = true}) == row({9, 12, 15}));
  CHECK(middles(8, 8, 3, {.groups_innermost = true}) == row({0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST_CASE("the Keras listing's third call: channel = 16, reduction_ratio = 2 on images of 3 channels") {
  const Involution<float> layer(3, 5, {.reduction = 2, .features = 16 / 2, .groups_innermost = true, .bias = true});
  const auto state = state_dict(layer);
  const auto shape_of = [&](const std::string& key) {
    for (const auto& [name, value] : state)
      if (name == key) return std::get<Tensor<float>>(value).shape();
    throw ValueError("no " + key);
  };
  CHECK(shape_of("conv1.conv.weight") == Shape{8, 3, 1, 1});
  CHECK(shape_of("conv1.conv.bias") == Shape{8});
  CHECK(shape_of("conv2.conv.weight") == Shape{25, 8, 1, 1});
  CHECK(layer(Tensor<float>::ones({2, 3, 9, 7})).shape() == Shape{2, 3, 9, 7});
  CHECK(layer.name() == "Involution(3, 5, reduction=2, features=8, groups_innermost=true, bias=true)");
  CHECK_THROWS_WITH_AS(Involution(3, 3, {.features = -1}),
                       "Involution(3, 3, features=-1): features must not be negative, got -1", ValueError);
}

TEST_CASE("the kernels can be had, in both layouts") {
  Random random(2);
  const Tensor<double> x = random.normal<double>({2, 6, 5, 8});
  for (bool innermost : {false, true}) {
    const Involution<double> layer(6, 3, {.groups = 3, .reduction = 2, .groups_innermost = innermost});
    const Tensor<double> kernels = layer.kernels(x), y = layer(x);
    Tensor<double> expected = Tensor<double>::zeros(y.shape());
    for (Index n = 0; n < 2; ++n)
      for (Index c = 0; c < 6; ++c)
        for (Index i = 0; i < 5; ++i)
          for (Index j = 0; j < 8; ++j)
            for (Index a = 0; a < 3; ++a)
              for (Index b = 0; b < 3; ++b) {
                const Index p = i + a - 1, q = j + b - 1;
                if (p < 0 || p >= 5 || q < 0 || q >= 8) continue;
                expected(n, c, i, j) +=
                    (innermost ? kernels(n, a, b, c % 3, i, j) : kernels(n, c / 2, a, b, i, j)) * x(n, c, p, q);
              }
    CHECK(testing::worst_difference(y, expected).error < 1e-12);
  }
  CHECK(Involution(8, 5, {.groups = 4, .stride = 2}).kernels(Tensor<float>::ones({1, 8, 5, 6})).shape() ==
        Shape{1, 4, 5, 5, 3, 3});
  CHECK(Involution(8, 5, {.groups = 2, .groups_innermost = true}).kernels(Tensor<float>::ones({1, 8, 4, 6})).shape() ==
        Shape{1, 5, 5, 2, 4, 6});
}

TEST_CASE("visit_inputs finds involutions at any depth, with the inputs that they see") {
  const auto involution = [] { return Involution<float>(4, 3); };
  const Sequential<float> net{involution(),
                              Sum<float>{Sequential<float>{ReLU<float>(), involution()}, Identity<float>()},
                              Concat<float>{involution(), ReLU<float>()}};
  const Tensor<float> x = Random(1).normal({2, 4, 5, 6}), first = net[0](x), second = net[1](first);
  std::vector<Tensor<float>> inputs;
  const Tensor<float> y = visit_inputs<Involution<float>>(
      net, x, [&](const Involution<float>&, const Tensor<float>& input) { inputs.push_back(input); });
  CHECK(y == net(x));
  REQUIRE(inputs.size() == 3);
  CHECK(inputs[0] == x);
  CHECK(inputs[1] == ReLU<float>()(first));
  CHECK(inputs[2] == second);
}

TEST_CASE("an involution's parameters and multiply-adds are the paper's formulas") {
  // (C^2 + K^2 G C) / r weights; the convolutions' products and K^2 C for each pixel.
  const Index c = 64, k = 7, g = 4, r = 4, pixels = 14 * 14;
  Involution<float> layer(c, k, {.groups = g, .reduction = r});
  Index weights = 0;
  for (auto& [name, parameter, owner] : parameters(layer))
    if (name.ends_with("conv.weight")) weights += parameter->value.numel();
  CHECK(weights == (c * c + k * k * g * c) / r);
  CHECK(layer.multiply_adds({1, c, 14, 14}) == pixels * (weights + k * k * c));
  CHECK(layer.output_shape({3, c, 9, 6}) == Shape{3, c, 9, 6});
  CHECK(Involution(4, 3, {.stride = 2}).output_shape({3, 4, 9, 6}) == Shape{3, 4, 5, 3});
  CHECK(layer.name() == "Involution(64, 7, groups=4)");
  CHECK(Involution(4, 3,
                   {.groups = 2, .stride = 3, .reduction = 1, .dilation = 2, .groups_innermost = true, .bias = true})
            .name() ==
        "Involution(4, 3, groups=2, stride=3, reduction=1, dilation=2, groups_innermost=true, bias=true)");
  CHECK(state_dict(layer)[0].first == "conv1.conv.weight");
  CHECK(layer(Tensor<float>({0, c, 5, 5})).shape() == Shape{0, c, 5, 5});
}

TEST_CASE("a frozen involution whose input needs no gradient computes none") {
  Involution<float> layer(4, 3);
  set_requires_grad(layer, false);
  Tape tape;
  const Tensor<float> y = layer.forward(Tensor<float>::ones({2, 4, 5, 5}), tape);
  CHECK(layer.backward(y, tape, InputGrad::skip).empty());
  CHECK(tape.empty());
}

TEST_CASE("what Involution refuses") {
  CHECK_THROWS_WITH_AS(Involution(0, 3), "Involution(0, 3): channels must be at least 1", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 4), "Involution(16, 4): kernel_size must be odd, got 4", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, -1), "Involution(16, -1): kernel_size must be odd, got -1", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 3, {.groups = 3}),
                       "Involution(16, 3, groups=3): groups = 3 does not divide 16 channels", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 3, {.groups = 0}),
                       "Involution(16, 3, groups=0): groups must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 3, {.stride = 0}),
                       "Involution(16, 3, stride=0): stride must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 3, {.dilation = 0}),
                       "Involution(16, 3, dilation=0): dilation must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Involution(16, 3, {.reduction = 0}),
                       "Involution(16, 3, reduction=0): reduction must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Involution(3, 3), "Involution(3, 3): reduction = 4 leaves none of 3 channels", ValueError);

  Involution<float> layer(4, 3, {.stride = 3});
  Tape tape;
  CHECK_THROWS_WITH_AS(layer(Tensor<float>::zeros({1, 4, 2, 8})),
                       "Involution(4, 3, stride=3): the stride is larger than the image, got shape [1, 4, 2, 8]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(layer.forward(Tensor<float>::zeros({1, 5, 8, 8}), tape),
                       "Involution(4, 3, stride=3): expected 4 channels, got shape [1, 5, 8, 8]", ShapeError);
  CHECK_THROWS_WITH_AS(layer.kernels(Tensor<float>::zeros({4, 8, 8})),
                       "Involution(4, 3, stride=3): expected an input [N, 4, H, W], got shape [4, 8, 8]", ShapeError);
  CHECK(tape.empty());
}
