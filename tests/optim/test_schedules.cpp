#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <memory>

#include "expected.hpp"
#include "lamina/optim/schedule.hpp"
#include "lamina/optim/sgd.hpp"

using namespace lamina;

namespace {

/// Two groups with rates 0.5 and 0.2, as in make_optim.py.
struct Rates {
  Parameter<float> first{Tensor<float>::zeros({1})}, second{Tensor<float>::zeros({1})};
  SGD<float> optimizer{{{.parameters = {{"first", &first, nullptr}}, .lr = 0.5},
                        {.parameters = {{"second", &second, nullptr}}, .lr = 0.2}},
                       {}};
};

using Make = std::function<std::unique_ptr<Schedule>(OptimizerBase&)>;

template <class S, class Options>
Make make(Options options) {
  return [=](OptimizerBase& o) { return std::make_unique<S>(o, options); };
}

/// A schedule, its key in `expected`, and that of the metrics it is told.
struct Case {
  std::string name;
  Make make;
  std::string metrics = "falling";
};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = [] {
    std::vector<Case> result = {
        {"step", make<StepLR>(StepLROptions{.step_size = 3})},
        {"step gamma", make<StepLR>(StepLROptions{.step_size = 2, .gamma = 0.5})},
        {"multistep", make<MultiStepLR>(MultiStepLROptions{.milestones = {2, 5, 5, 11}, .gamma = 0.3})},
        {"exponential", make<ExponentialLR>(ExponentialLROptions{.gamma = 0.9})},
        {"exponential growth", make<ExponentialLR>(ExponentialLROptions{.gamma = 1.1})},
        {"cosine", make<CosineAnnealingLR>(CosineAnnealingLROptions{.T_max = 7})},
        {"cosine floor", make<CosineAnnealingLR>(CosineAnnealingLROptions{.T_max = 7, .eta_min = 0.01})},
        {"cosine between", make<CosineAnnealingLR>(CosineAnnealingLROptions{.T_max = 7, .eta_min = 0.3})},
        {"restarts", make<CosineAnnealingWarmRestarts>(CosineAnnealingWarmRestartsOptions{.T_0 = 4})},
        {"restarts longer",
         make<CosineAnnealingWarmRestarts>(CosineAnnealingWarmRestartsOptions{.T_0 = 3, .T_mult = 2, .eta_min = 0.01})},
        {"one cycle", make<OneCycleLR>(OneCycleLROptions{.total_steps = 21})},
        {"one cycle linear", make<OneCycleLR>(OneCycleLROptions{.total_steps = 21,
                                                                .max_lr = 0.7,
                                                                .pct_start = 0.2,
                                                                .anneal_strategy = "linear",
                                                                .div_factor = 10,
                                                                .final_div_factor = 100})},
        {"polynomial", make<PolynomialLR>(PolynomialLROptions{})},
        {"polynomial power", make<PolynomialLR>(PolynomialLROptions{.total_iters = 12, .power = 0.9})},
        {"warmup", make<LinearWarmup>(LinearWarmupOptions{})},
        {"warmup cosine",
         [](OptimizerBase& o) {
           return std::make_unique<LinearWarmup>(o, LinearWarmupOptions{.total_iters = 4, .start_factor = 0.1},
                                                 CosineAnnealingLR(o, {.T_max = 10}));
         }},
        {"warmup step",
         [](OptimizerBase& o) {
           return std::make_unique<LinearWarmup>(o, LinearWarmupOptions{.total_iters = 2, .start_factor = 0.5},
                                                 StepLR(o, {.step_size = 3}));
         }},
        {"warmup multistep",
         [](OptimizerBase& o) {
           return std::make_unique<LinearWarmup>(o, LinearWarmupOptions{.total_iters = 3, .start_factor = 0.5},
                                                 MultiStepLR(o, {.milestones = {1, 4}, .gamma = 0.3}));
         }},
        {"warmup polynomial",
         [](OptimizerBase& o) {
           return std::make_unique<LinearWarmup>(o, LinearWarmupOptions{.total_iters = 3, .start_factor = 0.2},
                                                 PolynomialLR(o, {.total_iters = 12, .power = 0.9}));
         }},
        {"plateau", make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{.patience = 2})},
        {"plateau cooldown",
         make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{.factor = 0.5, .patience = 1, .cooldown = 2, .min_lr = 0.1})},
        {"plateau absolute", make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{
                                 .factor = 0.5, .patience = 1, .threshold = 0.15, .threshold_mode = "abs"})},
        {"plateau max", make<ReduceLROnPlateau>(
                            ReduceLROnPlateauOptions{.mode = "max", .factor = 0.5, .patience = 3, .threshold = 0.01})},
        {"plateau eps", make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{.factor = 0.5, .patience = 1, .eps = 0.03})},
        {"plateau no patience",
         make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{.factor = 0.9, .patience = 0, .threshold = 0})},
    };
    for (const char* mode : {"min", "max"})
      result.push_back({text("plateau ", mode, " no threshold flat"),
                        make<ReduceLROnPlateau>(
                            ReduceLROnPlateauOptions{.mode = mode, .factor = 0.5, .patience = 2, .threshold = 0}),
                        "flat"});
    for (const char* mode : {"min", "max"})
      for (const char* threshold_mode : {"rel", "abs"})
        for (const auto& sequence : metrics)
          result.push_back({text("plateau ", mode, " ", threshold_mode, " ", sequence.first),
                            make<ReduceLROnPlateau>(ReduceLROnPlateauOptions{
                                .mode = mode, .factor = 0.5, .patience = 2, .threshold_mode = threshold_mode}),
                            sequence.first});
    return result;
  }();
  return list;
}

}  // namespace

TEST_CASE("every schedule gives PyTorch's rates") {
  for (const auto& entry : cases()) {
    const auto& [name, maker, sequence] = entry;
    const std::vector<double>& told = metrics.at(sequence);
    CAPTURE(name);
    Rates rates;
    const auto schedule = maker(rates.optimizer);
    std::vector<double> values{rates.optimizer.lr(0), rates.optimizer.lr(1)};
    for (const double metric : told) {
      if (schedule->needs_metric())
        schedule->step(metric);
      else
        schedule->step();
      values.insert(values.end(), {rates.optimizer.lr(0), rates.optimizer.lr(1)});
    }
    CHECK(schedule->steps() == static_cast<Index>(told.size()));
    const auto& wanted = expected.at("schedule " + name);
    REQUIRE(values.size() == wanted.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(values[i] - wanted[i]) < 1e-14);
    }
  }
}

TEST_CASE("a schedule continues from a saved state with the same bits") {
  for (const auto& entry : cases()) {
    const auto& [name, maker, sequence] = entry;
    const std::vector<double>& told = metrics.at(sequence);
    CAPTURE(name);
    Rates whole, before, after;
    const auto uninterrupted = maker(whole.optimizer), first = maker(before.optimizer);
    std::unique_ptr<Schedule> second;
    for (std::size_t t = 0; t < told.size(); ++t) {
      if (t == 7) {
        after.optimizer.load_state(before.optimizer.state());
        second = maker(after.optimizer);  // from rates that are not those of the start
        second->load_state(first->state());
        after.optimizer.load_state(before.optimizer.state());  // the warm-up's constructor has set the rates
      }
      uninterrupted->step(told[t]);
      if (t < 7) first->step(told[t]);
      if (t < 7) continue;
      second->step(told[t]);
      CHECK(after.optimizer.lr(0) == whole.optimizer.lr(0));
      CHECK(after.optimizer.lr(1) == whole.optimizer.lr(1));
    }
  }
}

TEST_CASE("a state of another schedule is refused") {
  Rates rates;
  ReduceLROnPlateau plateau(rates.optimizer);
  ExponentialLR exponential(rates.optimizer, {.gamma = 0.5});
  CHECK_THROWS_WITH_AS(plateau.load_state(exponential.state()),
                       "ReduceLROnPlateau: the state does not fit\n missing:\n  best\n  bad_steps\n  cooldown_steps",
                       StateError);
  CHECK_THROWS_WITH_AS(exponential.load_state(plateau.state()),
                       "ExponentialLR: the state does not fit\n unexpected:\n  best\n  bad_steps\n  cooldown_steps",
                       StateError);
  CHECK_THROWS_WITH_AS(exponential.load_state({{"steps", Tensor<double>({}, {1.0})}, {"base_lr", Tensor<double>({3})}}),
                       "ExponentialLR: the state does not fit\n mis-shaped:\n  steps: expected integers\n  base_lr: "
                       "expected shape [2], got [3]",
                       StateError);
}

TEST_CASE("schedule options are checked") {
  Rates rates;
  OptimizerBase& o = rates.optimizer;
  const auto refuses = [](auto make_it, const char* message) { CHECK_THROWS_WITH_AS(make_it(), message, ValueError); };
  refuses([&] { StepLR(o, {.step_size = 0}); }, "StepLR: step_size must be at least 1, got 0");
  refuses([&] { StepLR(o, {.step_size = 1, .gamma = -1}); }, "StepLR: gamma must not be negative, got -1");
  refuses([&] { MultiStepLR(o, {.milestones = {3, 2}}); }, "MultiStepLR: milestones must be in increasing order");
  refuses([&] { MultiStepLR(o, {.milestones = {0, 2}}); }, "MultiStepLR: milestones must be at least 1, got 0");
  refuses([&] { ExponentialLR(o, {.gamma = -1}); }, "ExponentialLR: gamma must not be negative, got -1");
  refuses([&] { CosineAnnealingLR(o, {.T_max = 0}); }, "CosineAnnealingLR: T_max must be at least 1, got 0");
  refuses([&] { CosineAnnealingWarmRestarts(o, {.T_0 = 0}); },
          "CosineAnnealingWarmRestarts: T_0 must be at least 1, got 0");
  refuses([&] { CosineAnnealingWarmRestarts(o, {.T_0 = 2, .T_mult = 0}); },
          "CosineAnnealingWarmRestarts: T_mult must be at least 1, got 0");
  refuses([&] { OneCycleLR(o, {.total_steps = 1}); }, "OneCycleLR: total_steps must be at least 2, got 1");
  refuses([&] { OneCycleLR(o, {.total_steps = 9, .pct_start = 2}); }, "OneCycleLR: pct_start must be in [0, 1], got 2");
  refuses([&] { OneCycleLR(o, {.total_steps = 9, .anneal_strategy = "cosine"}); },
          "OneCycleLR: anneal_strategy must be cos or linear, got cosine");
  refuses([&] { PolynomialLR(o, {.total_iters = 0}); }, "PolynomialLR: total_iters must be at least 1, got 0");
  refuses([&] { LinearWarmup(o, {.start_factor = 0}); }, "LinearWarmup: start_factor must be in (0, 1], got 0");
  refuses([&] { ReduceLROnPlateau(o, {.mode = "best"}); }, "ReduceLROnPlateau: mode must be min or max, got best");
  refuses([&] { ReduceLROnPlateau(o, {.factor = 1}); }, "ReduceLROnPlateau: factor must be in (0, 1), got 1");
  ReduceLROnPlateau plateau(o);
  CHECK_THROWS_WITH_AS(plateau.step(), "ReduceLROnPlateau: step needs the metric that it watches", StateError);
}

TEST_CASE("after its cycle, OneCycleLR stays where it ended") {
  Rates rates;
  OneCycleLR cycle(rates.optimizer, {.total_steps = 5});
  for (int t = 0; t < 4; ++t) cycle.step();
  const double last = rates.optimizer.lr(0);
  CHECK(last == doctest::Approx(0.5 / 25 / 1e4));
  for (int t = 0; t < 4; ++t) cycle.step();
  CHECK(rates.optimizer.lr(0) == last);
}

TEST_CASE("a number behind the optimiser is the schedule's first option, as PyTorch writes it") {
  const auto after = [](auto schedule_of, int steps) {
    Rates rates;
    auto schedule = schedule_of(rates.optimizer);
    for (int t = 0; t < steps; ++t) schedule.step();
    return rates.optimizer.lr(0) / 0.5;
  };
  CHECK(after([](auto& optimizer) { return CosineAnnealingLR(optimizer, 50); }, 25) == doctest::Approx(0.5));
  CHECK(after([](auto& optimizer) { return StepLR(optimizer, 30); }, 30) == doctest::Approx(0.1));
  CHECK(after([](auto& optimizer) { return ExponentialLR(optimizer, 0.5); }, 2) == doctest::Approx(0.25));
}
