#include <doctest/doctest.h>

#include <cmath>

#include "lamina/data/digits.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/fit.hpp"

using namespace lamina;

TEST_CASE("LeNet has the listing's layers") {
  manual_seed(0);
  auto net = lenet();
  CHECK(count_parameters(net).total == 61706);
  CHECK(net.output_shape({256, 1, 28, 28}) == Shape{256, 10});
  std::string keys;
  for (const auto& [name, value] : state_dict(net)) keys += name + " ";
  CHECK(keys == "0.weight 0.bias 3.weight 3.bias 7.weight 7.bias 9.weight 9.bias 11.weight 11.bias ");
  const auto& weight = net.get<Linear<float>>(7).weight.value;  // Xavier: within sqrt(6 / (400 + 120))
  CHECK(weight.array().abs().maxCoeff() < std::sqrt(6.0f / 520));
  CHECK(weight.array().abs().maxCoeff() > 0.99f * std::sqrt(6.0f / 520));
  CHECK(lenet<double>({.in_channels = 3, .classes = 4}).output_shape({2, 3, 28, 28}) == Shape{2, 4});
  CHECK_THROWS_AS(net(Tensor<float>::zeros({1, 1, 32, 32})), ShapeError);
}

TEST_CASE("LeNet learns drawn digits") {
  manual_seed(1);
  auto net = lenet();
  DataLoader train(digits(1500), {.batch_size = 50, .shuffle = true}),
      test(digits(300, {.first = 1500}), {.batch_size = 100});
  Adam optimizer(parameters(net), {.lr = 0.005});
  const History history = fit(net, optimizer, train, {.epochs = 6, .test = &test, .progress = false});
  CHECK(history.epochs.back().test_accuracy > 0.75);
}
