#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/nn/tanh.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/lr_find.hpp"
#include "problems.hpp"

using namespace lamina;
using namespace problems;

TEST_CASE("the suggested rate is the one that fastai's valley gives") {
  const auto suggestion = [](auto loss) {
    std::vector<double> lrs, losses;
    for (int i = 0; i < 85; ++i) {
      lrs.push_back(i);
      losses.push_back(loss(static_cast<double>(i)));
    }
    return suggest_lr(lrs, losses);
  };
  CHECK(suggestion([](double i) { return (i - 37) * (i - 37) / 100 + 0.3 * std::sin(i); }) == 24);
  CHECK(suggestion([](double i) { return std::sin(i * i); }) == 62);
  CHECK(suggestion([](double i) { return -i; }) == 41);
  CHECK(suggestion([](double i) { return i; }) == 0);
  CHECK(suggestion([](double i) {
          if (i < 40) return 2.3;
          return i < 70 ? 2.3 - 0.05 * (i - 40) + 0.1 * std::sin(3 * i) : (i - 60) * (i - 60) / 30;
        }) == 59);
  CHECK(suggest_lr({7}, {1}) == 7);
  CHECK(suggest_lr({1, 2, 3}, {3, 2, 1}) == 1);
  CHECK_THROWS_WITH_AS(suggest_lr({1, 2}, {1}), "suggest_lr: expected as many losses as rates, at least 1, got 1 and 2",
                       ValueError);
}

TEST_CASE("lr_find puts everything back, and what it suggests trains") {
  auto net = network();
  auto train = noisy_loader();
  auto groups = name_groups(parameters(net), {{.pattern = "4.*", .lr = 0.02}});
  SGD<float> optimizer(groups, {.lr = 0.01, .momentum = 0.9});
  fit(net, optimizer, train, {.epochs = 1, .progress = false});  // so that there is a state to put back
  const auto weights = state_dict(net);
  const auto state = optimizer.state();
  const LrFind found = lr_find(net, optimizer, train);
  CHECK(state_dict(net) == weights);
  CHECK(optimizer.state() == state);
  CHECK(train.epoch() == 1);
  for (const auto& [name, parameter, owner] : parameters(net))
    for (const float value : std::as_const(parameter->grad).values()) CHECK(value == 0);

  REQUIRE(found.lrs.size() == found.losses.size());
  CHECK(found.lrs.front() == doctest::Approx(1e-7 * std::pow(1e8, 0.1)));
  CHECK(found.lrs[1] / found.lrs[0] == doctest::Approx(std::pow(1e8, 0.01)));
  CHECK(std::find(found.lrs.begin(), found.lrs.end(), found.suggestion) != found.lrs.end());
  const LrFind again = lr_find(net, optimizer, train);
  CHECK(again.losses == found.losses);
  CHECK(again.suggestion == found.suggestion);

  auto fresh = network();
  SGD other(parameters(fresh), {.lr = 1, .momentum = 0.9});
  other.set_lr(lr_find(fresh, other, train).suggestion);
  auto plain = loader(), test = test_loader();
  CHECK(fit(fresh, other, plain, {.epochs = 5, .test = &test, .progress = false}).epochs.back().test_accuracy > 0.9);
}

TEST_CASE("lr_find's losses are those of training with its rates, averaged as fastai does; groups keep their ratios") {
  const auto problem = [] {
    manual_seed(4);
    return Sequential{Linear(8, 16), Tanh(), Linear(16, 3)};
  };
  auto net = problem(), by_hand = problem();
  auto train = loader();
  const auto groups = [](auto& model) { return name_groups(parameters(model), {{.pattern = "2.*", .lr = 0.3}}); };
  SGD<float> optimizer(groups(net), {.lr = 0.1}), stepping(groups(by_hand), {.lr = 0.1});
  const LrFind found = lr_find(net, optimizer, train, {.start_lr = 1e-3, .end_lr = 1, .steps = 40},
                               {.loss = CrossEntropyLoss({.label_smoothing = 0.1}), .clip_grad_norm = 0.5});
  CHECK(optimizer.lr(0) == 0.1);
  CHECK(optimizer.lr(1) == 0.3);

  double average = 0;
  std::vector<double> losses;
  Tape tape;
  train.set_epoch(0);
  while (losses.size() < 40)
    for (auto& [inputs, targets] : train) {
      const auto i = static_cast<double>(losses.size());
      const double lr = 1e-3 * std::pow(1e3, i / 40);
      stepping.set_lr(lr, 0);
      stepping.set_lr(lr * (0.3 / 0.1), 1);
      auto [loss, grad] = cross_entropy(by_hand.forward(inputs, tape), targets, {.label_smoothing = 0.1});
      by_hand.backward(grad, tape);
      clip_grad_norm(stepping.parameters(), 0.5);
      stepping.step();
      average = 0.98 * average + 0.02 * loss;
      losses.push_back(average / (1 - std::pow(0.98, i + 1)));
    }
  REQUIRE(found.losses.size() == 31);  // without the first tenth and the last five
  for (std::size_t i = 0; i < 31; ++i) CHECK(found.losses[i] == doctest::Approx(losses[i + 4]).epsilon(1e-6));
}

TEST_CASE("lr_find ends when the loss diverges, to NaN too, and says when there is nothing to see") {
  auto net = Sequential{Linear(8, 1)};
  const StateDict<float> before = state_dict(net);
  DataLoader train(TensorDataset(clouds(60, 1).batch(std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}).inputs,
                                 Tensor<float>::ones({12, 1})),
                   {.batch_size = 4});
  SGD optimizer(parameters(net), {.lr = 0.1});
  const LrFind found = lr_find(net, optimizer, train, {.start_lr = 1e-4, .end_lr = 1e4, .steps = 200});
  CHECK(found.lrs.back() < 100);
  CHECK(state_dict(net) == before);
  CHECK_THROWS_AS(lr_find(net, optimizer, train, {.start_lr = 1e3, .end_lr = 1e4}), NumericalError);
  CHECK(state_dict(net) == before);
  CHECK(optimizer.lr() == 0.1);

  FitOptions<float, Tensor<float>> faulty{.epochs = 1};
  faulty.loss = [](Tensor<float>, const Tensor<float>&) -> Loss<float> { throw ValueError("no loss today"); };
  CHECK_THROWS_WITH_AS(lr_find(net, optimizer, train, {}, faulty), "no loss today", ValueError);
  CHECK(optimizer.lr() == 0.1);
  CHECK_THROWS_WITH_AS(lr_find(net, optimizer, train, {.start_lr = 1, .end_lr = 0.1}),
                       "lr_find: expected 0 < start_lr < end_lr, got 1 and 0.1", ValueError);
  CHECK_THROWS_WITH_AS(lr_find(net, optimizer, train, {.steps = 9}), "lr_find: steps must be at least 10, got 9",
                       ValueError);
  CHECK_THROWS_WITH_AS(lr_find(net, optimizer, train, {.smoothing = 1}), "lr_find: smoothing must be in [0, 1), got 1",
                       ValueError);
  CHECK_THROWS_WITH_AS(lr_find(net, optimizer, train, {.diverged = 1}), "lr_find: diverged must be above 1, got 1",
                       ValueError);
}

TEST_CASE("the plot of lr_find marks the suggestion, over powers of ten") {
  LrFind found;
  for (int i = 0; i < 85; ++i) {
    found.lrs.push_back(1e-6 * std::pow(10, i / 14.0));
    found.losses.push_back(i < 60 ? 2.3 - 0.02 * i : 1.1 + 0.01 * (i - 60) * (i - 60));
  }
  found.suggestion = suggest_lr(found.lrs, found.losses);
  const auto picture = plot_lr_find(found);
  CHECK(picture.shape() == Shape{3, 640, 900});
  found.suggestion = 0;  // which is none of them
  CHECK(plot_lr_find(found) != picture);
}
