#include <doctest/doctest.h>

#include <utility>

#include "lamina/nn/flatten.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

TEST_CASE("Flatten joins axes") {
  CHECK(Flatten().output_shape({2, 3, 4, 5}) == Shape{2, 60});
  CHECK(Flatten().output_shape({2, 3}) == Shape{2, 3});
  CHECK(Flatten(0).output_shape({2, 3, 4}) == Shape{24});
  CHECK(Flatten(0).output_shape({7}) == Shape{7});
  CHECK(Flatten(2).output_shape({2, 3, 4, 5}) == Shape{2, 3, 20});
  CHECK(Flatten(1, 2).output_shape({2, 3, 4, 5}) == Shape{2, 12, 5});
  CHECK(Flatten(-3, -2).output_shape({2, 3, 4, 5}) == Shape{2, 12, 5});
  CHECK(Flatten().output_shape({0, 3, 4}) == Shape{0, 12});
  CHECK(Flatten(2, 2).output_shape({2, 3, 4}) == Shape{2, 3, 4});
}

TEST_CASE("Flatten moves no element") {
  const Tensor<float> x = Random(1).normal<float>({2, 3, 4});
  const Tensor<float> y = Flatten()(x);
  CHECK(y.shares_storage(x));
  CHECK(y == x.reshape({2, 12}));
}

TEST_CASE("Flatten conforms") {
  CHECK(conforms(Flatten<double>(), {1, 3, 5}));
  CHECK(conforms(Flatten<double>(), {2, 3, 4, 5}));
  CHECK(conforms(Flatten<double>(0, 1), {2, 3, 4}, {.batched = false}));
  CHECK(conforms(Flatten<double>(-2), {2, 1, 3, 3, 2, 2}));
  CHECK(conforms(Flatten<double>(), {0, 3, 2}));
}

TEST_CASE("names and errors of Flatten") {
  CHECK(Flatten().name() == "Flatten()");
  CHECK(Flatten(1, 2).name() == "Flatten(1, 2)");
  CHECK_THROWS_WITH_AS(Flatten().output_shape({5}), "Flatten(): no axis 1 in shape [5]", ShapeError);
  CHECK_THROWS_WITH_AS(Flatten(0, 3).output_shape({5, 2}), "Flatten(0, 3): no axis 3 in shape [5, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(Flatten(2, 1).output_shape({2, 3, 4}),
                       "Flatten(2, 1): start_dim lies behind end_dim in shape [2, 3, 4]", ShapeError);
}
