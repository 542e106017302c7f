#include <doctest/doctest.h>

#include "lamina/nn/context/context.hpp"
#include "lamina/nn/interpolate.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

TEST_CASE("Interpolate and the attentions conform") {
  for (const InterpolateOptions& options : {InterpolateOptions{},
                                            {.mode = InterpolateMode::bilinear},
                                            {.mode = InterpolateMode::bilinear, .align_corners = true}}) {
    CHECK(conforms(Interpolate<double>({7, 11}, options), {2, 3, 4, 5}));
    CHECK(conforms(Interpolate<double>({3, 2}, options), {1, 2, 5, 9}));
    CHECK(conforms(Interpolate<double>({4, 5}, options), {1, 2, 4, 5}));
  }
  CHECK(conforms(PixelAttention<double>(2, 0.7), {2, 7, 3, 4}));
  CHECK(conforms(ChannelAttention<double>(), {2, 3, 2, 5}));
  CHECK(conforms(GatherDistribute<double>(2), {2, 7, 3, 4}));
  CHECK(conforms(dual_attention<double>(8), {2, 8, 3, 3}, {.training_differs = true}));
  manual_seed(1);  // the same weights in any order of tests: differences across a ReLU's kink say nothing
  CHECK(conforms(AdaptiveContext<double>(2, 3, 2), {3, 3, 4, 5}, {.training_differs = true}));
  CHECK(conforms(adaptive_pyramid<double>(4, {.scales = {1, 3}}), {3, 4, 5, 4}, {.training_differs = true}));
  for (const Index k : {1, 2, 3, 5})
    CHECK(conforms(DynamicContext<double>(k, 3, 2, k != 3), {3, 3, 4, 5}, {.training_differs = true}));
  CHECK(conforms(dynamic_pyramid<double>(2, {.filter_sizes = {1, 3}}), {3, 2, 4, 3}, {.training_differs = true}));
  CHECK(conforms(CoOccurrence<double>(4, {.heads = 2, .dropout = 0}), {2, 4, 5, 3}, {.training_differs = true}));
  CHECK(conforms(CoOccurrence<double>(4, {.heads = 2, .dropout = 0.4}), {2, 4, 4, 4}, {.training_differs = true}));
}

TEST_CASE("parameters and multiply-adds of the paper's table 3") {
  const Shape input{1, 512, 128, 128};
  const auto check = [&](auto net, double parameters, double multiply_adds) {
    CHECK(static_cast<double>(count_parameters(net).total) / (1 << 20) == doctest::Approx(parameters).epsilon(0.01));
    CHECK(static_cast<double>(net.multiply_adds(input)) == doctest::Approx(multiply_adds).epsilon(0.02));
  };
  check(self_attention<float>(512), 1.00, 292e9);
  check(double_attention<float>(512), 1.01, 25.7e9);
  check(dual_attention<float>(512), 4.82, 246e9);     // the convolutions are 82.7e9 of them
  check(adaptive_pyramid<float>(512), 1.77, 17.6e9);  // 2.03 in the paper, see context.hpp
  check(dynamic_pyramid<float>(512), 3.00, 35.1e9);
  check(CoOccurrence<float>(512), 0.75, 79.5e9);
  CHECK(adaptive_pyramid<float>(512).output_shape(input) == Shape{1, 1536, 128, 128});
  CHECK(dynamic_pyramid<float>(512).output_shape(input) == Shape{1, 2560, 128, 128});
  CHECK(CoOccurrence<float>(512).output_shape(input) == input);
}

TEST_CASE("APC, DM and ACF refuse what does not fit") {
  const auto shapes = [](std::initializer_list<Shape> list) {
    Values<float> result;
    for (const Shape& shape : list) result.push_back(Value<float>::of_shape(shape));
    return result;
  };
  CHECK_THROWS_WITH_AS(adaptive_pyramid<float>(8, {.scales = {}}), "adaptive_pyramid: there are no scales", ValueError);
  CHECK_THROWS_WITH_AS(dynamic_pyramid<float>(8, {.filter_sizes = {}}), "dynamic_pyramid: there are no filter sizes",
                       ValueError);
  CHECK_THROWS_WITH_AS(MixRegions<float>().output_shapes(shapes({{1, 4, 2, 2}, {1, 3, 5, 5}})),
                       "MixRegions(): expected regions [N, C, S, S'] and weights [N, S S', H, W], got [1, 4, 2, 2] and "
                       "[1, 3, 5, 5]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      DynamicDepthwise<float>().output_shapes(shapes({{1, 4, 5, 5}, {1, 3, 3, 3}})),
      "DynamicDepthwise(): expected images [N, C, H, W] and filters [N, C, K, K], got [1, 4, 5, 5] and "
      "[1, 3, 3, 3]",
      ShapeError);
  CHECK_THROWS_WITH_AS(CoOccurrence<float>(12), "CoOccurrence(12): 8 heads do not divide 12 channels", ValueError);
  CHECK_THROWS_WITH_AS(CrossAttention<float>(0), "CrossAttention(0): heads must be at least 1", ValueError);
  CHECK_THROWS_WITH_AS(CrossAttention<float>(1, 2), "CrossAttention(1, dropout=2): dropout must be in [0, 1]",
                       ValueError);
  CHECK_THROWS_WITH_AS(CrossAttention<float>(2).output_shapes(shapes({{1, 3, 5, 5}, {1, 3, 3, 3}, {1, 4, 3, 3}})),
                       "CrossAttention(2): expected images of channels for 2 equal heads, got shape [1, 3, 5, 5]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      CrossAttention<float>(2).output_shapes(shapes({{1, 2, 5, 5}, {1, 2, 3, 3}, {1, 4, 3, 2}})),
      "CrossAttention(2): expected keys with the queries' channels and values with the keys' size, got "
      "[1, 2, 5, 5], [1, 2, 3, 3] and [1, 4, 3, 2]",
      ShapeError);
}

TEST_CASE("ACF's dropout leaves out weights in training, the same for any number of threads") {
  const Tensor<float> x = Random(1).normal<float>({2, 4, 8, 8});
  CoOccurrence<float> net(4, {.heads = 2, .dropout = 0.5});
  const auto trained = [&](std::uint64_t seed) {
    Tape tape{Random(seed)};
    return CoOccurrence<float>(net).forward(x, tape);
  };
  const Tensor<float> first = trained(1);
  CHECK(trained(1) == first);
  CHECK(!(trained(2) == first));
  const int threads = num_threads();
  set_num_threads(1);
  CHECK(trained(1) == first);
  set_num_threads(threads);
}

TEST_CASE("self-attention's memory grows linearly in the number of pixels") {
  const auto peak = [](Index side) {
    const PixelAttention<float> attention(4);
    const Tensor<float> x = Random(1).normal<float>({1, 12, side, side});
    const auto before = storage_statistics().bytes_in_use;
    Tape tape;
    PixelAttention<float>(attention).forward(x, tape);
    return storage_statistics().bytes_in_use - before;
  };
  CHECK(peak(32) <= 5 * peak(16));
}

TEST_CASE("nearest takes the pixel of the exact quotient") {
  // Where PyTorch's rounded scale gives the pixel before.
  for (const auto& [in, out, at, pixel] : {std::array<Index, 4>{14, 46, 23, 7}, {26, 22, 11, 13}, {30, 58, 29, 15}}) {
    Tensor<float> x({1, 1, in, 1});
    for (Index i = 0; i < in; ++i) x.data()[i] = static_cast<float>(i);
    CHECK(interpolate(x, {out, 1})(0, 0, at, 0) == static_cast<float>(pixel));
  }
}

TEST_CASE("Interpolate and the attentions name themselves and what is wrong") {
  CHECK(Interpolate({4, 8}).name() == "Interpolate((4, 8), nearest)");
  CHECK(Interpolate(4, {.mode = InterpolateMode::bilinear, .align_corners = true}).name() ==
        "Interpolate(4, bilinear, align_corners)");
  CHECK_THROWS_WITH_AS(Interpolate(0), "Interpolate(0, nearest): the size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(
      Interpolate(4, {.align_corners = true}),
      "Interpolate(4, nearest, align_corners): align_corners is for bilinear and bicubic interpolation", ValueError);
  CHECK_THROWS_WITH_AS(Interpolate(4).output_shape({3, 8, 8}),
                       "Interpolate(4, nearest): expected images [N, C, H, W], got shape [3, 8, 8]", ShapeError);
  CHECK_THROWS_WITH_AS(interpolate(Tensor<float>({1, 2, 3, 4}), Size2(0, 4)),
                       "interpolate: the size must be at least 1, got (0, 4)", ValueError);
  CHECK_THROWS_WITH_AS(PixelAttention(3).output_shape({1, 6, 2, 2}),
                       "PixelAttention(3): expected more than 2 * 3 channels, got shape [1, 6, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(GatherDistribute(3).infer(Tensor<float>({1, 2, 4})),
                       "GatherDistribute(3): expected an input [N, C, H, W], got shape [1, 2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(dual_attention<float>(7), "dual_attention: expected at least 8 channels, got 7", ValueError);
}
