#include <doctest/doctest.h>

#include "lamina/nn/linear.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

TEST_CASE("Linear conforms") {
  CHECK(conforms(Linear<double>(7, 5), {3, 7}));
  CHECK(conforms(Linear<double>(4, 9, {.bias = false}), {2, 3, 4}));
  CHECK(conforms(Linear<double>(6, 1), {6}));
}

TEST_CASE("Linear computes x weight^T + bias") {
  Linear linear(400, 120);
  const auto x = Random(1).normal({256, 400});
  const Eigen::MatrixXd expected =
      (x.matrix().cast<double>() * linear.weight.value.matrix().cast<double>().transpose()).rowwise() +
      linear.bias.value.vector().cast<double>().transpose();
  CHECK((linear(x).matrix().cast<double>() - expected).norm() < 1e-6 * expected.norm());
}

TEST_CASE("a matrix of Eigen's is [rows, columns], and a vector a column") {
  const Linear one(1, 4), two(2, 3);
  const Eigen::VectorXf column = Eigen::VectorXf::LinSpaced(5, 0, 1);
  CHECK(one(column) == one(Tensor<float>(column).reshape({5, 1})));
  CHECK(one(2 * column).shape() == Shape{5, 4});
  const Eigen::MatrixXf samples = Eigen::MatrixXf::Random(7, 2);
  CHECK(two(samples) == two(Tensor<float>(samples)));
  CHECK(two(samples.array().square()).shape() == Shape{7, 3});
}

TEST_CASE("Linear says what is wrong") {
  CHECK_THROWS_WITH_AS(Linear(3, 2)(Tensor<float>::zeros({4, 5})),
                       "Linear(3, 2): expected 3 features in the last axis, got shape [4, 5]", ShapeError);
  CHECK_THROWS_WITH_AS(Linear(0, 2), "Linear(0, 2): sizes must be at least 1", ValueError);
  CHECK(Linear(3, 2, {.bias = false}).name() == "Linear(3, 2, bias=false)");
}
