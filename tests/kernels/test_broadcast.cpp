#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/kernels/broadcast.hpp"

using namespace lamina;

namespace {

/// The element of an operand that element i of the space sees.
Index element(const Shape& space, const Shape& operand, Index i) {
  Index result = 0, step = 1;
  for (int axis = space.rank(); axis-- > 0;) {
    if (operand[axis] != 1) result += i % space[axis] * step;
    step *= operand[axis];
    i /= space[axis];
  }
  return result;
}

Tensor<double> naive(const Shape& space, const Shape& out, const Tensor<double>& a, const Tensor<double>& b) {
  Tensor<double> y = Tensor<double>::zeros(out);
  for (Index i = 0; i < space.numel(); ++i)
    y.data()[element(space, out, i)] += a.data()[element(space, a.shape(), i)] * b.data()[element(space, b.shape(), i)];
  return y;
}

template <class Scalar>
Tensor<Scalar> multiply(const Shape& space, const Shape& out, const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  Tensor<Scalar> y = Tensor<Scalar>::full(out, 99);
  kernels::multiply(space, out, y.data(), a.shape(), a.data(), b.shape(), b.data());
  return y;
}

/// The space with each axis replaced by 1 with probability one half.
Shape thinned(const Shape& space, Random& random) {
  Shape shape = space;
  for (int axis = 0; axis < shape.rank(); ++axis)
    if (random.below(2)) shape = shape.with(axis, 1);
  return shape;
}

}  // namespace

TEST_CASE("products that broadcast and sum agree with the naive loop") {
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    CAPTURE(i);
    std::vector<Index> extents(static_cast<std::size_t>(random.below(6)));
    for (Index& extent : extents) extent = 1 + (random.below(8) ? random.below(5) : random.below(40));
    const Shape space(extents), out = thinned(space, random);
    const auto a = random.normal<double>(thinned(space, random)), b = random.normal<double>(thinned(space, random));
    const Tensor<double> got = multiply(space, out, a, b), expected = naive(space, out, a, b);
    const double bound = 1e-13 * static_cast<double>(space.numel());
    CHECK(((got.array() - expected.array()).abs() <= bound).all());
  }
}

TEST_CASE("products of the shapes that gates have") {
  Random random(2);
  const Shape images{3, 5, 17, 19}, gates{3, 5, 1, 1}, maps{3, 1, 17, 19}, one{1, 1, 1, 1};
  for (const Shape& gate : {gates, maps, one, images}) {
    const auto x = random.normal<double>(images), g = random.normal<double>(gate);
    CHECK(multiply(images, images, x, g) == naive(images, images, x, g));
    CHECK(multiply(images, images, g, x) == naive(images, images, g, x));
    const Tensor<double> got = multiply(images, gate, x, x), expected = naive(images, gate, x, x);
    CHECK((got.array() - expected.array()).abs().maxCoeff() < 1e-10);
  }
  CHECK(multiply({0, 3}, {1, 3}, Tensor<float>({0, 3}), Tensor<float>({0, 3})) == Tensor<float>::zeros({1, 3}));
  CHECK(multiply({0, 3}, {0, 3}, Tensor<float>({0, 3}), Tensor<float>({1, 3})).empty());
}

TEST_CASE("an infinity beside the end of an axis does not leak into the sum") {
  const Tensor<float> a({1, 1}, {std::numeric_limits<float>::infinity()}), b = Tensor<float>::ones({1, 3});
  CHECK(multiply({1, 3}, {1, 1}, a, b) == a);
}

TEST_CASE("products do not depend on the number of threads") {
  const int before = num_threads();
  Random random(3);
  const Shape images{4, 30, 50, 61};
  const auto x = random.normal<float>(images);
  for (const Shape& gate : {Shape{4, 30, 1, 1}, Shape{4, 1, 50, 61}, Shape{1, 30, 1, 61}, Shape{1, 1, 1, 1}}) {
    const auto g = random.normal<float>(gate);
    set_num_threads(1);
    const Tensor<float> product = multiply(images, images, x, g), sum = multiply(images, gate, x, x);
    set_num_threads(2);
    CHECK(multiply(images, images, x, g) == product);
    CHECK(multiply(images, gate, x, x) == sum);
  }
  set_num_threads(before);
}

TEST_CASE("sums that broadcast, and their gradients") {
  Random random(4);
  for (int i = 0; i < 300; ++i) {
    CAPTURE(i);
    std::vector<Index> extents(static_cast<std::size_t>(1 + random.below(4)));
    for (Index& extent : extents) extent = 1 + random.below(9);
    const Shape whole(extents);
    const auto a = random.normal<double>(thinned(whole, random)), b = random.normal<double>(thinned(whole, random));
    const Shape space = kernels::broadcast_shape(a.shape(), b.shape());
    const Tensor<double> y = kernels::add(a, b), ones = Tensor<double>::ones(space);
    REQUIRE(y.shape() == space);
    for (Index j = 0; j < space.numel(); ++j)
      CHECK(y.data()[j] == a.data()[element(space, a.shape(), j)] + b.data()[element(space, b.shape(), j)]);
    const Tensor<double> got = kernels::sum_to(a.shape(), y), expected = naive(space, a.shape(), y, ones);
    CHECK((got.array() - expected.array()).abs().maxCoeff() < 1e-10);
  }
  CHECK(kernels::broadcasts({2, 1, 3}, {1, 4, 3}));
  CHECK_FALSE(kernels::broadcasts({2, 1, 3}, {1, 4, 2}));
  CHECK_FALSE(kernels::broadcasts({2, 3}, {3}));
}
