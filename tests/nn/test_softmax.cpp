#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lamina/nn/container.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_softmax {

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// log softmax in double, element by element from the definition.
template <class Scalar>
Tensor<double> naive_log_softmax(const Tensor<Scalar>& x, int axis) {
  const Shape& shape = x.shape();
  const Index n = shape[axis], inner = shape.product(axis + 1, shape.rank());
  const Tensor<double> in = x.template cast<double>();
  Tensor<double> y(shape);
  for (Index i = 0; i < x.numel(); ++i) {
    const Index first = i - i / inner % n * inner;
    double largest = in.data()[first], sum = 0;
    for (Index k = 0; k < n; ++k) largest = std::max(largest, in.data()[first + k * inner]);
    for (Index k = 0; k < n; ++k) sum += std::exp(in.data()[first + k * inner] - largest);
    y.data()[i] = in.data()[i] - largest - std::log(sum);
  }
  return y;
}

Tensor<double> exp(Tensor<double> x) {
  x.array() = x.array().exp();
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("softmax agrees with its definition along every axis", Scalar, float, double) {
  const double tolerance = std::is_same_v<Scalar, float> ? 3e-7 : 1e-15;
  Random random(11);
  for (const Shape& shape :
       {Shape{1}, Shape{7}, Shape{16}, Shape{1, 1}, Shape{5, 3}, Shape{4, 33}, Shape{3, 1000}, Shape{2, 3, 17},
        Shape{2, 5, 4, 9}, Shape{1, 21, 8, 8}, Shape{3, 1, 2}, Shape{2, 3, 2, 3, 5}}) {
    const Tensor<Scalar> x = random.normal<Scalar>(shape, 0, 4);
    for (int axis = 0; axis < shape.rank(); ++axis) {
      CAPTURE(shape.to_string());
      CAPTURE(axis);
      const Tensor<double> expected = naive_log_softmax(x, axis);
      CHECK(testing::worst_difference(softmax(x, axis).template cast<double>(), exp(expected)).error < tolerance);
      CHECK(testing::worst_difference(log_softmax(x, axis).template cast<double>(), expected).error < tolerance);
      CHECK(softmax(x, axis - shape.rank()) == softmax(x, axis));
    }
  }
}

TEST_CASE("Softmax and LogSoftmax conform") {
  for (int dim = -4; dim < 4; ++dim) {
    const bool batched = dim % 4 != 0;
    CHECK(conforms(Softmax<double>(dim), {2, 3, 4, 5}, {.batched = batched}));
    CHECK(conforms(LogSoftmax<double>(dim), {2, 3, 4, 5}, {.batched = batched}));
  }
  Random random(3);
  for (int i = 0; i < 10; ++i) {
    const Shape shape{1 + random.below(3), 1 + random.below(20), 1 + random.below(10)};
    const int dim = static_cast<int>(random.below(3));
    const ConformanceOptions options{.seed = static_cast<std::uint64_t>(i), .batched = dim != 0, .scale = 2};
    CHECK(conforms(Softmax<double>(dim), shape, options));
    CHECK(conforms(LogSoftmax<double>(dim), shape, options));
  }
  CHECK(conforms(Softmax<double>(), {1, 1}));
  CHECK(conforms(Softmax<double>(0), {9}));
  CHECK(conforms(LogSoftmax<double>(), {0, 4}));
  CHECK(conforms(Softmax<double>(1), {3, 0, 2}));
}

TEST_CASE("the default axis is 1 for the layers and the last for the functions") {
  const Tensor<float> x = Random(2).normal<float>({2, 3, 4});
  CHECK(Softmax()(x) == softmax(x, 1));
  CHECK(LogSoftmax()(x) == log_softmax(x, 1));
  CHECK(softmax(x) == softmax(x, 2));
  CHECK(log_softmax(x) == log_softmax(x, 2));
}

TEST_CASE("softmax of large, masked and foreign numbers") {
  const auto row = [](std::initializer_list<float> values) {
    return Tensor<float>({1, static_cast<Index>(values.size())}, values);
  };
  CHECK(softmax(row({1e4f, 1e4f})) == row({0.5f, 0.5f}));
  CHECK(softmax(row({3e38f, -3e38f, 0})) == row({1, 0, 0}));
  CHECK(softmax(row({-infinity, 2, -infinity})) == row({0, 1, 0}));
  CHECK(log_softmax(row({-infinity, 2})) == row({-infinity, 0}));
  CHECK(log_softmax(row({0, -1000})) == row({0, -1000}));
  for (const float bad : {not_a_number, infinity})
    for (const int dim : {0, 1}) {
      Tensor<float> x = Tensor<float>::zeros({20, 20});
      x(3, 17) = bad;
      const Tensor<float> y = softmax(x, dim), log_y = log_softmax(x, dim);
      for (Index i = 0; i < 20; ++i)
        for (Index j = 0; j < 20; ++j) {
          const bool touched = dim == 1 ? i == 3 : j == 17;
          CHECK(std::isnan(y(i, j)) == touched);
          CHECK(std::isnan(log_y(i, j)) == touched);
        }
    }
  const Tensor<float> nothing = softmax(row({-infinity, -infinity}));
  CHECK(std::isnan(nothing(0, 0)));
  CHECK(std::isnan(nothing(0, 1)));
}

TEST_CASE("the rows of a softmax sum to one, and their order of size is the input's") {
  const Tensor<float> x = Random(4).normal<float>({50, 130}, 0, 3);
  const Tensor<float> y = softmax(x);
  for (Index i = 0; i < 50; ++i) CHECK(y[i].array().sum() == doctest::Approx(1).epsilon(1e-6));
  CHECK(softmax(x).shape() == x.shape());
}

TEST_CASE("softmax works in place on what nobody else holds") {
  Tensor<float> x({1, 2}, {0, 0});
  const Tensor<float> kept = x;
  CHECK(softmax(x) == Tensor<float>({1, 2}, {0.5f, 0.5f}));
  CHECK(kept == Tensor<float>({1, 2}, {0, 0}));
  Tensor<float> alone({1, 2}, {0, 0});
  const float* storage = std::as_const(alone).data();
  CHECK(softmax(std::move(alone)).data() == storage);
}

TEST_CASE("softmax does not depend on the number of threads") {
  const int before = num_threads();
  const Tensor<float> x = Random(5).normal<float>({30, 41, 130}), dy = Random(6).normal<float>(x.shape());
  for (int dim = 0; dim < 3; ++dim) {
    const auto gradient = [&](int threads) {
      set_num_threads(threads);
      Softmax layer(dim);
      Tape tape;
      const Tensor<float> y = layer.forward(x, tape);
      return std::pair(y, layer.backward(dy, tape));
    };
    CHECK(gradient(1) == gradient(2));
  }
  set_num_threads(before);
}

TEST_CASE("names and errors of softmax") {
  CHECK(Softmax().name() == "Softmax(1)");
  CHECK(LogSoftmax(-1).name() == "LogSoftmax(-1)");
  const Tensor<float> x({5});
  CHECK_THROWS_WITH_AS(Softmax()(x), "Softmax(1): no axis 1 in shape [5]", ShapeError);
  CHECK_THROWS_WITH_AS(LogSoftmax(-2).output_shape({5}), "LogSoftmax(-2): no axis -2 in shape [5]", ShapeError);
  CHECK_THROWS_WITH_AS(softmax(x, 1), "softmax: no axis 1 in shape [5]", ShapeError);
  CHECK_THROWS_WITH_AS(log_softmax(Tensor<float>(Shape{})), "log_softmax: no axis -1 in shape []", ShapeError);
}

TEST_CASE("softmax of millions of entries sums to 1: the sum is taken in parts") {
  // One after the other, float sums of so many terms are wrong by some 1e-4, and stop growing at 2^24.
  const auto x = Random(1).uniform<float>({Index{1} << 21, 2}, -3.f, 0.f);
  for (const int axis : {0, 1}) {
    const Tensor<float> rows = axis == 0 ? x : x.reshape({2, -1});
    const Tensor<float> y = softmax(rows, axis), logs = log_softmax(rows, axis);
    double sum = 0, expected = 0;
    for (const float v : y.values()) sum += static_cast<double>(v);
    for (const float v : x.values()) expected += std::exp(static_cast<double>(v));
    CHECK(sum == doctest::Approx(2).epsilon(2e-7));
    // Both lines have about half of the values: their logarithms to the last digits.
    double first = 0;
    for (Index i = 0; i < Index{1} << 21; ++i) first += std::exp(static_cast<double>(x.data()[axis == 0 ? 2 * i : i]));
    CHECK(static_cast<double>(logs.data()[0]) == doctest::Approx(x.data()[0] - std::log(first)).epsilon(1e-7));
    CHECK(first < expected);
  }
}

TEST_CASE("cross entropy over millions of classes, in parts") {
  const Index classes = Index{1} << 21;
  const auto x = Random(1).uniform<float>({1, classes}, -3.f, 0.f);
  double sum = 0;
  for (const float v : x.values()) sum += std::exp(static_cast<double>(v));
  const double expected = std::log(sum) - static_cast<double>(x.data()[5]);
  CHECK(cross_entropy(x, Labels({1}, {5})).value == doctest::Approx(expected).epsilon(1e-7));
  CHECK(cross_entropy(x.reshape({1, classes, 1, 1}), Labels({1, 1, 1}, {5})).value ==
        doctest::Approx(expected).epsilon(1e-7));
}

}  // namespace test_softmax
