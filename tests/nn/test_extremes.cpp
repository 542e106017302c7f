#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "lamina/compile/plan.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/involution.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/narrow.hpp"
#include "lamina/optim/sgd.hpp"
#include "message.hpp"

using namespace lamina;
using testing::message;

// Sizes and counters as large as their types allow, and batches of nothing.

namespace {

constexpr Index huge = Index{1} << 62;

/// y, dx and the gradients of the parameters, and that they took less than 64 MB.
template <class Layer>
std::vector<Tensor<float>> run(Layer layer, const Tensor<float>& x) {
  reset_peak_storage();
  const auto before = storage_statistics().bytes_in_use;
  Tape tape(1);
  std::vector<Tensor<float>> result{layer.forward(x, tape)};
  CHECK(layer.infer(x).shape() == layer.output_shape(x.shape()));
  result.push_back(layer.backward(Tensor<float>::ones(result[0].shape()), tape));
  for (const auto& entry : parameters(layer)) result.push_back(entry.parameter->grad);
  CHECK(storage_statistics().peak_bytes - before < 64u << 20);
  return result;
}

/// make(stride) for strides beyond the image gives what any stride beyond it does.
template <class Make>
void check_strides(const Tensor<float>& x, Make make) {
  const auto layer = [&](Index stride) {
    manual_seed(1);
    return make(stride);
  };
  const auto expected = run(layer(x.dim(2) + 8), x);
  for (const Index stride : {Index{100000}, huge, std::numeric_limits<Index>::max()}) {
    const auto got = run(layer(stride), x);
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      REQUIRE(got[i].shape() == expected[i].shape());
      CHECK((got[i].array() - expected[i].array()).abs().maxCoeff() <= 1e-5f);
    }
  }
}

}  // namespace

TEST_CASE("a stride beyond the image is bounded by it") {
  const Tensor<float> x = Random(1).normal<float>({2, 16, 9, 9});
  for (const Index groups : {Index{1}, Index{2}, Index{16}})
    for (const Index kernel : {Index{1}, Index{3}, Index{5}})
      check_strides(x, [=](Index stride) {
        return Conv2d(16, 16, kernel, {.stride = stride, .padding = kernel / 2, .groups = groups});
      });
  check_strides(x, [](Index stride) { return Conv2d(16, 3, 3, {.stride = {stride, 2}, .dilation = 2}); });
  check_strides(Random(2).normal<float>({1, 3, 9, 9}),
                [](Index stride) { return Conv2d(3, 5, 4, {.stride = stride, .padding = 1}); });
  for (const bool ceil_mode : {false, true}) {
    check_strides(x,
                  [=](Index stride) { return MaxPool2d(3, {.stride = stride, .padding = 1, .ceil_mode = ceil_mode}); });
    check_strides(x,
                  [=](Index stride) { return AvgPool2d(3, {.stride = stride, .padding = 1, .ceil_mode = ceil_mode}); });
  }
}

TEST_CASE("one output of a convolution with a large stride is the definition's") {
  manual_seed(2);
  const Conv2d conv(4, 4, 3, {.stride = huge, .padding = 1, .groups = 4});
  const Tensor<float> x = Random(1).normal<float>({1, 4, 7, 7}), y = conv(x);
  REQUIRE(y.shape() == Shape{1, 4, 1, 1});
  for (Index c = 0; c < 4; ++c) {
    double sum = std::as_const(conv.bias.value)(c);
    for (Index a = 1; a < 3; ++a)
      for (Index b = 1; b < 3; ++b) sum += std::as_const(conv.weight.value)(c, 0, a, b) * x(0, c, a - 1, b - 1);
    CHECK(y(0, c, 0, 0) == doctest::Approx(sum).epsilon(1e-5));
  }
}

TEST_CASE("dilations: one tap's says nothing, an involution's is bounded by the image, others are refused") {
  const Tensor<float> x = Random(1).normal<float>({1, 8, 6, 6});
  manual_seed(1);
  const auto one = run(Conv2d(8, 8, 1), x);
  manual_seed(1);
  CHECK(run(Conv2d(8, 8, 1, {.dilation = 1 << 30}), x)[0] == one[0]);
  CHECK(run(MaxPool2d(1, {.dilation = 1 << 30}), x)[0] == x);
  manual_seed(1);
  const auto wide = run(Involution(8, 3, {.dilation = 6}), x);
  manual_seed(1);
  CHECK(run(Involution(8, 3, {.dilation = huge}), x) == wide);
  CHECK(message([] { Conv2d(1, 1, 3, {.dilation = huge}); }).find("kernel_size and dilation must be at most") !=
        std::string::npos);
  CHECK(message([] { MaxPool2d(3, {.dilation = huge}); }).find("kernel_size and dilation must be at most") !=
        std::string::npos);
  CHECK(message([] { AvgPool2d{Size2(huge)}; }).find("kernel_size and dilation must be at most") != std::string::npos);
  CHECK(message([] { Padding{huge}; }) == "padding must be at most 2147483647, got 4611686018427387904");
  CHECK_THROWS_AS(Conv2d(3, 8, {Index{1} << 31, 1}), ValueError);
  CHECK_THROWS_AS(Conv2d(huge, 4, 1), ShapeError);
  CHECK_THROWS_AS(Linear(huge, 4), ShapeError);
  CHECK_THROWS_AS(AdaptiveAvgPool2d(huge).output_shape({1, 1, 4, 4}), ShapeError);
  CHECK_THROWS_AS(Narrow(1, huge, huge), ValueError);
  CHECK_THROWS_AS(Narrow(1, 1, huge).output_shape({2, 3}), ShapeError);
}

TEST_CASE("a batch of nothing goes through what copies parts") {
  const Tensor<float> none({0, 4, 3, 3});
  CHECK(run(Narrow(1, 1, 2), none)[0].shape() == Shape{0, 2, 3, 3});
  CHECK(run(Concat{Identity(), Narrow(1, 0, 2)}, none)[0].shape() == Shape{0, 6, 3, 3});
}

TEST_CASE("counters at their maximum stay there") {
  BatchNorm2d norm(2, {.momentum = std::nullopt});
  norm.num_batches_tracked.fill(std::numeric_limits<std::int64_t>::max());
  Tape tape;
  norm.forward(Random(1).normal<float>({2, 2, 3, 3}), tape);
  CHECK(norm.num_batches_tracked.item() == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("models, plans and optimisers take numbers too small to be normal for zero") {
  if (!FlushDenormals::possible) return;
  Linear<float> layer(1, 1, {.bias = false});
  layer.weight.value.fill(1e-30f);
  const auto x = Tensor<float>::full({1, 1}, 1e-12f);
  volatile float small = 1e-30f;
  const auto normal = [&] { return small * 1e-12f; };
  CHECK(layer.infer(x)(0, 0) == 0);
  Tape tape;
  CHECK(layer.forward(x, tape)(0, 0) == 0);
  CHECK(layer.backward(x, tape)(0, 0) == 0);  // dy w
  CHECK(compile(layer, {1, 1})(x)(0, 0) == 0);
  SGD<float> optimizer(parameters(layer), {.lr = 1e-12});
  layer.weight.value.fill(0);
  layer.weight.gradient().fill(1e-30f);
  optimizer.step();
  CHECK(layer.weight.value(0, 0) == 0);
  CHECK_THROWS_AS(layer.infer(Tensor<float>::ones({1, 2})), ShapeError);
  CHECK(normal() != 0);  // and it is as before
}
