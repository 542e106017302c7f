#include <doctest/doctest.h>

#include "lamina/nn/pad2d.hpp"
#include "lamina/nn/pixel_shuffle.hpp"
#include "lamina/nn/unflatten.hpp"
#include "lamina/nn/upsample.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

TEST_CASE("paddings conform") {
  for (const Padding& padding : {Padding(2), Padding(0), Padding(1, 0), Padding(0, 2), Padding(2, 0, 1, 3)}) {
    CHECK(conforms(ZeroPad2d<double>(padding), {2, 3, 4, 5}));
    CHECK(conforms(ConstantPad2d<double>(padding, 0.4), {1, 2, 3, 19}));
    CHECK(conforms(ReflectionPad2d<double>(padding), {2, 3, 4, 5}));
    CHECK(conforms(ReplicationPad2d<double>(padding), {2, 1, 4, 5}));
  }
  CHECK(conforms(ReplicationPad2d<double>({9, 0, 0, 9}), {2, 3, 1, 1}));
  CHECK(conforms(ZeroPad2d<double>(1), {2, 0, 3, 3}));
}

TEST_CASE("paddings give the same bits for any number of threads") {
  const int before = num_threads();
  const Tensor<float> x = Random(1).normal<float>({4, 30, 41, 43});
  ReflectionPad2d<float> layer({9, 5, 30, 2});
  std::vector<Tensor<float>> results;
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    Tape tape;
    results.push_back(layer.forward(x, tape));
    results.push_back(layer.backward(Random(2).normal<float>(results.back().shape()), tape));
  }
  set_num_threads(before);
  CHECK(results[0] == results[2]);
  CHECK(results[1] == results[3]);
}

TEST_CASE("PixelShuffle, Unflatten, Upsample and Interpolate by factors conform") {
  CHECK(conforms(PixelShuffle<double>(1), {2, 3, 2, 5}));
  CHECK(conforms(PixelShuffle<double>(2), {2, 8, 3, 2}));
  CHECK(conforms(PixelShuffle<double>(3), {1, 9, 2, 19}));
  CHECK(conforms(Unflatten<double>(1, {3, -1}), {4, 6, 7}));
  CHECK(conforms(Unflatten<double>(-1, {2, 2, 2}), {3, 8}));
  for (const ScaleFactor& factor : {ScaleFactor(2), ScaleFactor(0.6), ScaleFactor(1.7, 0.4), ScaleFactor(1)})
    for (const char* const mode : {"nearest", "bilinear", "bicubic", "nearest-exact"}) {
      CHECK(conforms(Upsample<double>(factor, {.mode = mode}), {2, 3, 4, 5}));
      CHECK(conforms(Interpolate<double>(factor, {.mode = mode}), {1, 2, 3, 6}));
    }
}

TEST_CASE("by a factor pixels lie as far apart as it says; PyTorch's 2.667 where ONNX's own suite has 0.6") {
  const Tensor<double> x({1, 1, 2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  const Tensor<double> y = interpolate(x, ScaleFactor(0.6), {.mode = InterpolateMode::bilinear});
  CHECK(y.shape() == Shape{1, 1, 1, 2});
  CHECK(testing::worst_difference(y, Tensor<double>({1, 1, 1, 2}, {2.0 + 2.0 / 3, 4.0 + 1.0 / 3})).error < 1e-12);
  CHECK(interpolate(x, ScaleFactor(2)).shape() == Shape{1, 1, 4, 8});
  CHECK(Upsample<double>({0.5, 2})(x).shape() == Shape{1, 1, 1, 8});
}

TEST_CASE("names and errors of layers of images") {
  CHECK(ZeroPad2d(2).name() == "ZeroPad2d(2)");
  CHECK(ConstantPad2d({1, 2}, 0.5).name() == "ConstantPad2d((1, 2), 0.5)");
  CHECK(ReflectionPad2d({1, 2, 3, 4}).name() == "ReflectionPad2d((1, 2, 3, 4))");
  CHECK(ReplicationPad2d(1).name() == "ReplicationPad2d(1)");
  CHECK(PixelShuffle(3).name() == "PixelShuffle(3)");
  CHECK(Unflatten(1, {2, -1}).name() == "Unflatten(1, [2, -1])");
  CHECK(Upsample(2).name() == "Upsample(2, nearest)");
  CHECK(Upsample({2, 0.5}, {.mode = InterpolateMode::bilinear}).name() == "Upsample((2, 0.5), bilinear)");
  CHECK(Interpolate(ScaleFactor(0.6)).name() == "Interpolate(0.6, nearest)");
  CHECK(Interpolate({4, 2}, {.mode = InterpolateMode::nearest_exact}).name() == "Interpolate((4, 2), nearest-exact)");
  CHECK(Upsample(2, {.mode = "bicubic", .align_corners = true}).name() == "Upsample(2, bicubic, align_corners)");
  CHECK_THROWS_WITH_AS(Upsample(2, {.mode = "cubic"}),
                       "mode: expected nearest, bilinear, bicubic or nearest-exact, got 'cubic'", ValueError);
  CHECK_THROWS_WITH_AS(
      Upsample(2, {.mode = "nearest-exact", .align_corners = true}),
      "Upsample(2, nearest-exact, align_corners): align_corners is for bilinear and bicubic interpolation", ValueError);

  CHECK_THROWS_WITH_AS(ZeroPad2d("same"), "ZeroPad2d(same): padding \"same\" is not for this layer", ValueError);
  CHECK_THROWS_WITH_AS(ZeroPad2d(1)(Tensor<float>({3, 4, 4})),
                       "ZeroPad2d(1): expected images [N, C, H, W], got shape [3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(ReflectionPad2d(3)(Tensor<float>({1, 1, 3, 9})),
                       "ReflectionPad2d(3): axis 2 is too short, got shape [1, 1, 3, 9]", ShapeError);
  CHECK_THROWS_WITH_AS(ReplicationPad2d(3)(Tensor<float>({1, 1, 0, 9})),
                       "ReplicationPad2d(3): axis 2 is too short, got shape [1, 1, 0, 9]", ShapeError);
  CHECK_THROWS_WITH_AS(PixelShuffle(0), "PixelShuffle(0): upscale_factor must be at least 1 and at most 32768",
                       ValueError);
  CHECK_THROWS_WITH_AS(PixelShuffle(2)(Tensor<float>({1, 6, 3, 3})),
                       "PixelShuffle(2): expected [N, C, H, W] with a multiple of 4 channels, got shape [1, 6, 3, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Unflatten(1, {-1, -1}), "Unflatten(1, [-1, -1]): at most one size can be -1", ValueError);
  CHECK_THROWS_WITH_AS(Unflatten(1, {}), "Unflatten(1, []): expected at least one size", ValueError);
  CHECK_THROWS_WITH_AS(Unflatten(1, {4, -1})(Tensor<float>({2, 6})),
                       "Unflatten(1, [4, -1]): does not fit axis 1 of shape [2, 6]", ShapeError);
  CHECK_THROWS_WITH_AS(Upsample(0), "Upsample(0, nearest): scale factors must be positive and at most 65536, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(Upsample(0.1)(Tensor<float>({1, 1, 5, 5})),
                       "Upsample(0.1, nearest): leaves no pixel, got shape [1, 1, 5, 5]", ShapeError);
  CHECK_THROWS_WITH_AS(Upsample(2, {.align_corners = true}),
                       "Upsample(2, nearest, align_corners): align_corners is for bilinear and bicubic interpolation",
                       ValueError);
}
