#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "lamina/nn/tanh.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/fit.hpp"
#include "problems.hpp"

using namespace lamina;
using namespace problems;

namespace {

/// 24 samples of three numbers and five classes, by formula; and a small network whose weights are, too. What is
/// expected of them is what PyTorch 1.13 gives in float64.
DataLoader<double> formula_loader() {
  Tensor<double> x({24, 3});
  Labels y({24});
  for (Index i = 0; i < 24; ++i) {
    for (Index j = 0; j < 3; ++j) x(i, j) = std::sin(static_cast<double>(1 + 3 * i + j * j));
    y(i) = static_cast<std::int32_t>(i * 7 % 5);
  }
  return DataLoader(TensorDataset(x, y), {.batch_size = 8});
}
Sequential<double> formula_network() {
  Sequential<double> net{
      {"features", Linear<double>(3, 4)}, {"act", Tanh<double>()}, {"classifier", Linear<double>(4, 5)}};
  int k = 0;
  for (const auto& named : parameters(net)) {
    auto values = named.parameter->value.values();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.3 * std::sin(static_cast<double>(i) + 1 + 7 * k);
    ++k;
  }
  return net;
}

}  // namespace

TEST_CASE("training with label smoothing loses what PyTorch loses") {
  const double expected[] = {1.62991695007514, 1.61842734298712, 1.67812349168831,
                             1.61756456193827, 1.61712067792532, 1.65149451539791};
  auto net = formula_network();
  auto train = formula_loader();
  SGD optimizer(parameters(net), {.lr = 0.1, .momentum = 0.9});
  std::vector<double> losses;
  FitOptions<double> options{.epochs = 2, .loss = CrossEntropyLoss<double>({.label_smoothing = 0.1})};
  options.progress = false;
  options.on_batch = [&](const BatchRecord& record) { losses.push_back(record.loss); };
  fit(net, optimizer, train, options);
  REQUIRE(losses.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(std::abs(losses[i] - expected[i]) < 1e-13);
  CHECK_THROWS_WITH_AS(CrossEntropyLoss({.label_smoothing = 1.5}),
                       "cross_entropy: label_smoothing must be in [0, 1], got 1.5", ValueError);
}

TEST_CASE(
    "training with a learning rate for each pattern of names, and a schedule over them, loses what PyTorch loses") {
  // SGD of three groups: features.weight; classifier.* with lr 0.5; features.bias without decay. StepLR halves all.
  const double expected[] = {1.62893697347221, 1.62368673775026, 1.66830702762997, 1.58795706279822, 1.62369954276135,
                             1.61101204671599, 1.57848474917193, 1.63731139493763, 1.58870714328397};
  auto net = formula_network();
  auto train = formula_loader();
  SGD<double> optimizer(
      name_groups(parameters(net), {{.pattern = "classifier.*", .lr = 0.5}, {.pattern = "*.bias", .weight_decay = 0}}),
      {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  StepLR schedule(optimizer, {.step_size = 1, .gamma = 0.5});
  std::vector<double> losses;
  fit(net, optimizer, train,
      {.epochs = 3, .schedule = &schedule, .progress = false, .on_batch = [&](const BatchRecord& record) {
         losses.push_back(record.loss);
       }});
  REQUIRE(losses.size() == 9);
  for (std::size_t i = 0; i < 9; ++i) CHECK(std::abs(losses[i] - expected[i]) < 1e-13);
  CHECK(optimizer.lr(1) == 0.5 / 8);
}

TEST_CASE("what is frozen keeps its bits, with an average of the weights, weight decay and accumulated gradients") {
  auto net = network();
  auto train = loader(), test = test_loader();
  freeze(net[0]);
  freeze(net[1]);
  const StateDict<float> before[] = {state_dict(net[0]), state_dict(net[1])}, head = state_dict(net[4]);
  SGD optimizer(parameters(net), {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1});
  FitState<float> state;
  fit(net, optimizer, train,
      {.epochs = 2, .test = &test, .accumulate = 3, .ema_decay = 0.7, .clip_grad_norm = 1.0, .progress = false}, state);
  CHECK(state_dict(net[0]) == before[0]);
  CHECK(state_dict(net[1]) == before[1]);
  CHECK(state_dict(net[4]) != head);
}
