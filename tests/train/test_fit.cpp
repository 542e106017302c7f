#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "lamina/data/digits.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/fit.hpp"
#include "problems.hpp"

using namespace lamina;
using namespace problems;

TEST_CASE("fit learns, and tells how it went") {
  auto net = network();
  auto train = loader(), test = test_loader();
  Adam optimizer(parameters(net), {.lr = 0.01});
  Index batches = 0, epochs = 0;
  const History history = fit(net, optimizer, train,
                              {.epochs = 8,
                               .test = &test,
                               .progress = false,
                               .on_batch =
                                   [&](const BatchRecord& record) {
                                     CHECK(record.batch == batches % 10 + 1);
                                     CHECK(record.batches == 10);
                                     CHECK(record.epoch == batches / 10 + 1);
                                     CHECK(std::isnan(record.grad_norm));
                                     ++batches;
                                   },
                               .on_epoch = [&](const FitState<float>& state) { CHECK(state.epoch == ++epochs); }});
  CHECK(batches == 80);
  CHECK(epochs == 8);
  REQUIRE(history.epochs.size() == 8);
  const EpochRecord &first = history.epochs.front(), &last = history.epochs.back();
  CHECK(last.epoch == 8);
  CHECK(last.train_loss < 0.7 * first.train_loss);
  CHECK(last.test_accuracy > 0.9);
  CHECK(last.lr == 0.01);
  CHECK(last.seconds > 0);
  CHECK(last.examples_per_second == doctest::Approx(300 / last.seconds));
  CHECK(history.best_epoch >= 1);

  const Evaluation again = evaluate(net, test);
  CHECK(again.loss == last.test_loss);
  CHECK(again.accuracy == last.test_accuracy);
}

TEST_CASE("evaluate averages over samples, not batches") {
  auto net = network();
  auto whole = DataLoader<float>(clouds(90, 2), {.batch_size = 90}), pieces = test_loader();  // 40, 40, 10
  const Evaluation one = evaluate(net, whole), three = evaluate(net, pieces);
  CHECK(one.loss == doctest::Approx(three.loss).epsilon(1e-6));
  CHECK(one.accuracy == doctest::Approx(three.accuracy).epsilon(1e-12));
  CHECK(std::isnan(evaluate(net, whole, {.metric = nullptr}).accuracy));
}

TEST_CASE("the weights after an epoch do not depend on the number of threads") {
  const auto run = [](int threads) {
    set_num_threads(threads);
    auto net = network();
    auto train = noisy_loader(), test = test_loader();
    SGD optimizer(parameters(net), {.lr = 0.1, .momentum = 0.9});
    fit(net, optimizer, train, {.epochs = 2, .test = &test, .clip_grad_norm = 1.0, .progress = false});
    set_num_threads(1);
    return state_dict(net);
  };
  const auto one = run(1);
  CHECK(one == run(2));
  CHECK(one == run(3));
}

TEST_CASE("after the first step a training loop of one's own asks the system for no tensor storage") {
  release_cached_storage();
  auto net = lenet();
  SGD optimizer(parameters(net), {.lr = 0.1, .momentum = 0.9});
  const auto images = Random(1).normal({32, 1, 28, 28});
  Labels labels({32});
  labels.fill(3);
  Tape tape;
  std::vector<std::int64_t> allocations;
  for (int step = 0; step < 5; ++step) {
    auto logits = net.forward(images, tape);
    auto [loss, grad] = cross_entropy(logits, labels);
    net.backward(grad, tape);
    optimizer.step();
    allocations.push_back(storage_statistics().system_allocations);
  }
  CHECK(allocations == std::vector<std::int64_t>(5, allocations.front()));
}

TEST_CASE("after the first step training asks the system for no tensor storage") {
  const auto quiet = [](auto make_optimizer) {
    release_cached_storage();  // what earlier tests left would hide it
    auto net = lenet();
    // Without prefetch: how many blocks a second thread holds at once depends on who is faster.
    DataLoader train(digits(640), {.batch_size = 64, .shuffle = true, .prefetch = 0});
    auto optimizer = make_optimizer(parameters(net));
    std::vector<std::int64_t> allocations;
    fit(net, optimizer, train,
        {.epochs = 2, .clip_grad_norm = 1.0, .progress = false, .on_batch = [&](const BatchRecord&) {
           allocations.push_back(storage_statistics().system_allocations);
         }});
    CHECK(allocations.size() == 20);
    CHECK(allocations.front() == allocations.back());
  };
  quiet([](auto list) { return SGD(list, {.lr = 0.1, .momentum = 0.9}); });
  quiet([](auto list) { return Adam(list, {.amsgrad = true}); });
}

TEST_CASE("accumulated gradients are those of one larger batch; the last step of an epoch takes what is left") {
  const auto train = [](Index batch_size, Index accumulate) {
    manual_seed(3);
    Sequential net{Linear(8, 16), Tanh(), Linear(16, 3)};
    SGD optimizer(parameters(net), {.lr = 0.2, .momentum = 0.9});
    DataLoader<float> loader(clouds(70, 1), {.batch_size = batch_size, .shuffle = true, .seed = 5});
    std::vector<double> norms;
    fit(net, optimizer, loader,
        {.epochs = 3,
         .accumulate = accumulate,
         .clip_grad_norm = 0.5,
         .progress = false,
         .on_batch = [&](const BatchRecord& record) {
           if (!is_nan(record.grad_norm)) norms.push_back(record.grad_norm);
         }});
    CHECK(static_cast<Index>(norms.size()) == 3 * parts_of(70, batch_size * accumulate));
    return net(clouds(20, 4).batch(std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 7}).inputs);
  };
  const Tensor<float> large = train(30, 1), parts = train(10, 3);
  for (Index i = 0; i < large.numel(); ++i) CHECK(parts.data()[i] == doctest::Approx(large.data()[i]).epsilon(1e-4));
}

TEST_CASE("the average of the weights is evaluated, kept, and in the model at the end") {
  auto net = network();
  auto train = loader(), test = test_loader();
  SGD optimizer(parameters(net), {.lr = 0.1});
  std::vector<std::vector<double>> average;  // of each parameter, by the definition
  FitState<float> state;
  std::optional<StateDict<float>> at_epoch;
  FitOptions<float> options{.epochs = 2, .test = &test, .ema_decay = 0.5, .progress = false};
  int steps = 0;
  options.on_batch = [&](const BatchRecord&) {
    const double warm = (1.0 + steps) / (10.0 + steps), decay = warm < 0.5 ? warm : 0.5;
    ++steps;
    std::size_t k = 0;
    for (const auto& [name, parameter, owner] : parameters(net)) {
      const auto values = std::as_const(parameter->value).values();
      if (average.size() <= k) average.emplace_back(values.begin(), values.end());
      for (std::size_t i = 0; i < values.size(); ++i)
        average[k][i] = decay * average[k][i] + (1 - decay) * static_cast<double>(values[i]);
      ++k;
    }
  };
  options.on_epoch = [&](const FitState<float>& now) {
    CHECK(now.average != state_dict(net));  // which goes on from its own weights
    at_epoch = now.average;
  };
  const History history = fit(net, optimizer, train, options, state);
  CHECK(state_dict(net) == *at_epoch);
  CHECK(state.average == *at_epoch);
  std::size_t k = 0;
  for (const auto& [name, parameter, owner] : parameters(net)) {
    for (Index i = 0; i < parameter->value.numel(); ++i)
      CHECK(parameter->value.data()[i] == doctest::Approx(average[k][static_cast<std::size_t>(i)]).epsilon(1e-5));
    ++k;
  }
  CHECK(evaluate(net, test).loss == history.epochs.back().test_loss);
}

TEST_CASE("early stopping and the best weights") {
  auto net = network();
  auto train = loader(), test = test_loader();
  SGD optimizer(parameters(net), {.lr = 0.1});
  std::vector<StateDict<float>> weights;
  FitOptions<float> options{
      .epochs = 50, .test = &test, .early_stopping = EarlyStopping{.patience = 2}, .progress = false};
  options.keep_best = true;
  options.on_epoch = [&](const FitState<float>& state) {
    weights.push_back(state_dict(net));
    if (state.epoch == 4) optimizer.set_lr(30);  // from here on it gets worse
  };
  const History history = fit(net, optimizer, train, options);
  CHECK(history.stopped_early);
  REQUIRE(history.epochs.size() < 50);
  CHECK(static_cast<Index>(history.epochs.size()) == history.best_epoch + 2);
  const auto best = static_cast<std::size_t>(history.best_epoch - 1);
  for (const EpochRecord& record : history.epochs) CHECK(record.test_loss >= history.epochs[best].test_loss);
  CHECK(state_dict(net) == weights[best]);
  CHECK(state_dict(net) != weights.back());
}

TEST_CASE("early stopping counts improvements above min_delta only") {
  auto net = network();
  auto train = loader();
  SGD optimizer(parameters(net), {.lr = 1e-6});
  const History history =
      fit(net, optimizer, train,
          {.epochs = 50, .early_stopping = EarlyStopping{.patience = 3, .min_delta = 10}, .progress = false});
  CHECK(history.epochs.size() == 4);
  CHECK(history.best_epoch == 1);
}

TEST_CASE("monitoring the accuracy") {
  auto net = network();
  auto train = loader(), test = test_loader();
  Adam optimizer(parameters(net), {.lr = 0.01});
  const History history =
      fit(net, optimizer, train, {.epochs = 6, .test = &test, .monitor = "accuracy", .progress = false});
  const double best = history.epochs[static_cast<std::size_t>(history.best_epoch - 1)].test_accuracy;
  for (const EpochRecord& record : history.epochs) CHECK(record.test_accuracy <= best);
}

TEST_CASE("a NaN loss stops the training and names the batch") {
  auto net = network();
  auto dataset = clouds(90, 1);
  Tensor<float> inputs = dataset.batch(std::vector<Index>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}).inputs;
  inputs(7, 0) = std::numeric_limits<float>::quiet_NaN();
  DataLoader<float> train(TensorDataset<float>(inputs, Labels::zeros({10})), {.batch_size = 2});
  SGD optimizer(parameters(net), {.lr = 0.1});
  Tensor<float> after_third;
  Index epochs = 0;
  FitOptions<float> options{.epochs = 3, .progress = false};
  options.on_batch = [&](const BatchRecord&) { after_third = net.get<Linear<float>>(0).weight.value; };
  options.on_epoch = [&](const FitState<float>&) { ++epochs; };
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), "fit: the loss is nan in epoch 1, batch 4 of 5",
                       NumericalError);
  CHECK(epochs == 0);
  CHECK(net.get<Linear<float>>(0).weight.value == after_third);
}

TEST_CASE("schedules step by epoch or by batch") {
  const auto rates = [](bool per_batch) {
    auto net = network();
    auto train = loader();
    SGD optimizer(parameters(net), {.lr = 0.5});
    StepLR schedule(optimizer, {.step_size = 1, .gamma = 0.5});
    std::vector<double> result;
    fit(net, optimizer, train,
        {.epochs = 2,
         .schedule = &schedule,
         .schedule_per_batch = per_batch,
         .progress = false,
         .on_batch = [&](const BatchRecord&) { result.push_back(optimizer.lr()); }});
    return result;
  };
  const auto by_epoch = rates(false), by_batch = rates(true);
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(by_epoch[i] == (i < 10 ? 0.5 : 0.25));
    CHECK(by_batch[i] == std::ldexp(0.5, -1 - static_cast<int>(i)));
  }
}

TEST_CASE("ReduceLROnPlateau sees the monitored number") {
  auto net = network();
  auto train = loader(), test = test_loader();
  SGD optimizer(parameters(net), {.lr = 1e-9});
  ReduceLROnPlateau schedule(optimizer, {.patience = 0, .threshold = 0.5, .eps = 0});
  const History history =
      fit(net, optimizer, train, {.epochs = 3, .test = &test, .schedule = &schedule, .progress = false});
  CHECK(history.epochs[1].lr == 1e-9);
  CHECK(history.epochs[2].lr == doctest::Approx(1e-10));
}

TEST_CASE("gradients are clipped, and their norm reported") {
  auto net = network();
  auto train = loader();
  SGD optimizer(parameters(net), {.lr = 1});
  Tensor<float> before = net.get<Linear<float>>(4).weight.value;
  bool checked = false;
  fit(net, optimizer, train,
      {.epochs = 1, .clip_grad_norm = 1e-3, .progress = false, .on_batch = [&](const BatchRecord& r) {
         if (std::exchange(checked, true)) return;
         CHECK(r.grad_norm > 1e-2);
         const Tensor<float> moved = net.get<Linear<float>>(4).weight.value - before;
         CHECK(moved.vector().norm() <= 1e-3f);
       }});
  CHECK(checked);
}

TEST_CASE("another loss, without metric") {
  auto net = Sequential{Linear(8, 1)};
  auto train = loader();
  SGD optimizer(parameters(net), {.lr = 0.05});
  FitOptions<float> options{.epochs = 5, .metric = nullptr, .progress = false};
  options.loss = [](Tensor<float> output, const Labels& targets) {
    return mse_loss(std::move(output), targets.cast<float>().reshape({-1, 1}));
  };
  const History history = fit(net, optimizer, train, options);
  CHECK(history.epochs.back().train_loss < 0.5 * history.epochs.front().train_loss);
  CHECK(std::isnan(history.epochs.back().train_accuracy));
}

TEST_CASE("fit in double precision") {
  Random random(1);
  Sequential net{Linear<double>(2, 2)};
  DataLoader train(TensorDataset<double>(random.normal<double>({20, 2}), Labels::zeros({20})), {.batch_size = 5});
  SGD optimizer(parameters(net), {.lr = 0.5});
  const History history = fit(net, optimizer, train, {.epochs = 3, .progress = false});
  CHECK(history.epochs[2].train_loss < history.epochs[0].train_loss);
}

TEST_CASE("fit refuses options that make no sense") {
  auto net = network();
  auto train = loader();
  SGD optimizer(parameters(net));
  ReduceLROnPlateau plateau(optimizer);
  const auto refuses = [&](FitOptions<float> options, const char* message) {
    options.progress = false;
    CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), message, ValueError);
  };
  refuses({.epochs = -1}, "fit: epochs must not be negative, got -1");
  refuses({.loss = nullptr}, "fit: there is no loss function");
  refuses({.accumulate = 0}, "fit: accumulate must be at least 1, got 0");
  refuses({.ema_decay = 1.0}, "fit: ema_decay must be in [0, 1), got 1");
  refuses({.metric = nullptr, .monitor = Monitor::accuracy}, "fit: cannot monitor the accuracy without metric");
  refuses({.schedule = &plateau, .schedule_per_batch = true},
          "fit: ReduceLROnPlateau looks at epochs; it cannot step after each batch");
  refuses({.early_stopping = EarlyStopping{.patience = 0}}, "fit: patience must be at least 1, got 0");
  refuses({.early_stopping = EarlyStopping{.min_delta = -1}}, "fit: min_delta must not be negative, got -1");
  refuses({.clip_grad_norm = -1.0}, "clip_grad_norm: max_norm must be positive, got -1");
  CHECK(fit(net, optimizer, train, {.epochs = 0, .progress = false}).epochs.empty());
}
