#include <doctest/doctest.h>

#include "lamina/nn/concat.hpp"
#include "lamina/nn/dense_block.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// The same block of combinators, which keep everything: the twin.
Sequential<double> twin(Index in, Index layers, const DenseBlockOptions& o) {
  using Net = Sequential<double>;
  Net block;
  for (Index i = 0; i < layers; ++i, in += o.growth) {
    Net layer{{"norm1", BatchNorm2d<double>(in)}, {"", ReLU<double>()}};
    const Index inside = o.bottleneck * o.growth;
    if (inside > 0) {
      layer.add("conv1", Conv2d<double>(in, inside, 1, {.bias = o.bias}));
      layer.add("norm2", BatchNorm2d<double>(inside));
      layer.add("", ReLU<double>());
      layer.add("conv2", Conv2d<double>(inside, o.growth, 3, {.padding = 1, .bias = o.bias}));
    } else {
      layer.add("conv1", Conv2d<double>(in, o.growth, 3, {.padding = 1, .bias = o.bias}));
    }
    block.add("", Concat<double>{{"", Identity<double>()}, {"denselayer" + std::to_string(i + 1), layer}});
  }
  return block;
}

void check_equal(const Tensor<double>& a, const Tensor<double>& b) {
  REQUIRE(a.shape() == b.shape());
  CHECK(testing::worst_difference(a, b).error < 1e-11);
}

}  // namespace

TEST_CASE("a dense block is the concatenations that it stands for") {
  Random random(3);
  for (const DenseBlockOptions& options :
       {DenseBlockOptions{.growth = 3, .bottleneck = 2}, DenseBlockOptions{.growth = 4, .bottleneck = 0, .bias = true},
        DenseBlockOptions{.growth = 8, .bottleneck = 2}})  // in blocks, with 16 channels
    for (const Shape& shape : {Shape{3, 5, 7, 6}, Shape{2, 1, 1, 1}, Shape{1, 4, 3, 19}, Shape{3, 16, 7, 6}}) {
      CAPTURE(shape.to_string());
      Sequential<double> expected = twin(shape[1], 4, options);
      DenseBlock<double> block(shape[1], 4, options);
      for (auto& [name, parameter, owner] : parameters(expected))
        parameter->value = random.normal<double>(parameter->value.shape());
      load_state_dict(block, state_dict(expected));
      CHECK(block.multiply_adds(shape) == expected.multiply_adds(shape));

      const Tensor<double> x = random.normal<double>(shape, 1.0, 2.0);
      Tape tape, expected_tape;
      const Tensor<double> y = block.forward(x, tape);
      check_equal(y, expected.forward(x, expected_tape));
      const Tensor<double> dy = random.normal<double>(y.shape());
      check_equal(block.backward(dy, tape), expected.backward(dy, expected_tape));
      const auto ours = parameters(block), theirs = parameters(expected);
      for (std::size_t i = 0; i < ours.size(); ++i) {
        CAPTURE(ours[i].name);
        check_equal(ours[i].parameter->grad, theirs[i].parameter->grad);
      }
      check_equal(block.infer(x), expected.infer(x));  // with the running statistics of the forward
    }
}

TEST_CASE("dense blocks conform") {
  const ConformanceOptions training_differs{.training_differs = true};
  CHECK(conforms(DenseBlock<double>(3, 3, {.growth = 2, .bottleneck = 2}), {3, 3, 3, 4}, training_differs));
  CHECK(
      conforms(DenseBlock<double>(2, 2, {.growth = 2, .bottleneck = 0, .bias = true}), {2, 2, 4, 3}, training_differs));
  CHECK(conforms(DenseBlock<double>(2, 2, {.growth = 2, .bottleneck = 1, .dropout = 0.4}), {2, 2, 4, 3},
                 training_differs));
}

TEST_CASE("a dense block's memory grows with its layers, not with their square") {
  const auto peak = [](Index layers) {
    DenseBlock<float> block(16, layers, {.growth = 8, .bottleneck = 2});
    const Tensor<float> x = Random(1).normal({4, 16, 16, 16});
    Tape tape;
    release_cached_storage();  // so that blocks have the sizes that are asked for
    const std::size_t before = storage_statistics().bytes_in_use;
    block.forward(x, tape);
    return static_cast<double>(storage_statistics().bytes_in_use - before);
  };
  CHECK(peak(32) / peak(8) < 4.5);
}

TEST_CASE("dense blocks give the same bits for any number of threads") {
  const auto run = [](int threads) {
    const int before = num_threads();
    set_num_threads(threads);
    manual_seed(5);
    DenseBlock<float> block(24, 3);
    const Tensor<float> x = Random(2).normal({3, 24, 13, 17});
    Tape tape;
    std::vector<Tensor<float>> result{block.forward(x, tape)};
    result.push_back(block.backward(result[0], tape));
    result.push_back(block.infer(x));
    for (auto& [name, parameter, owner] : parameters(block)) result.push_back(parameter->grad);
    set_num_threads(before);
    return result;
  };
  CHECK(run(1) == run(4));
}

TEST_CASE("dense blocks name themselves, their layers and what is wrong") {
  CHECK(DenseBlock(64, 6).name() == "DenseBlock(64, 6)");
  CHECK(DenseBlock(4, 2, {.growth = 3, .bottleneck = 0, .bias = true, .dropout = 0.2}).name() ==
        "DenseBlock(4, 2, growth=3, bottleneck=0, bias=true, dropout=0.2)");
  const std::string table = summary(DenseBlock(4, 2), {1, 4, 8, 8});
  for (const std::string row : {"DenseBlock ", "denselayer2.norm1  BatchNorm2d(36) ", "denselayer2.relu1 ",
                                "denselayer2.conv1  Conv2d(36, 128, 1, bias=false) ", "Cat(1) "}) {
    CAPTURE(row);
    CHECK(table.find(row) != std::string::npos);
  }
  CHECK_THROWS_WITH_AS(DenseBlock(4, 0), "DenseBlock(4, 0): needs at least 1 channel and 1 layer", ValueError);
  CHECK_THROWS_WITH_AS(DenseBlock(4, 1, {.growth = 0}), "DenseBlock(4, 1, growth=0): growth must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(DenseBlock(4, 1).output_shape({1, 3, 2, 2}),
                       "DenseBlock(4, 1): expected an input [N, 4, H, W], got shape [1, 3, 2, 2]", ShapeError);
  Tape tape;
  DenseBlock block(4, 1);
  CHECK_THROWS_WITH_AS(
      block.forward(Tensor<float>::ones({1, 4, 1, 1}), tape),
      "denselayer1.norm1: BatchNorm2d(4): expected more than 1 value per channel when training, got shape [1, 4, 1, 1]",
      ShapeError);
  CHECK(tape.empty());
}
