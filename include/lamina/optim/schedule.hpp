#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <limits>
#include <memory>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Base of the learning-rate schedules. A schedule starts from the rates that its optimiser's groups have when it is
/// made, and changes all of them at each step(), which is called after an epoch or after a batch:
///
///   SGD optimizer(parameters(net), {.lr = 0.1});
///   LinearWarmup schedule(optimizer, {.total_iters = 5}, CosineAnnealingLR(optimizer, {.T_max = 95}));
///   for (int epoch = 0; epoch < 100; ++epoch) { ...; schedule.step(); }
///
/// Values are PyTorch's. Below, t counts the steps and lr(0) is a group's rate at the start. The optimiser must outlive
/// the schedule.
class Schedule {
 public:
  virtual ~Schedule() = default;

  /// The name in messages and checkpoints.
  virtual std::string name() const = 0;

  /// Sets the rates of the next epoch (or batch). Throws StateError if the schedule needs a metric.
  void step() {
    require<StateError>(!needs_metric(), name(), ": step needs the metric that it watches");
    advance(std::numeric_limits<double>::quiet_NaN());
  }
  /// The same, with the metric that ReduceLROnPlateau watches; the others ignore it.
  void step(double metric) { advance(metric); }

  /// Whether step needs a metric.
  virtual bool needs_metric() const { return false; }
  /// Steps so far.
  Index steps() const { return steps_; }

  /// Everything that step() depends on. The optimiser's rates are in its own state.
  TrainingState state() const {
    TrainingState result{{"steps", Tensor<std::int64_t>({}, {steps_})},
                         {"base_lr", Tensor<double>({static_cast<Index>(base_.size())}, base_)}};
    save(result);
    return result;
  }
  /// Continues from a state. Throws StateError listing what does not fit or is impossible; then nothing has changed.
  void load_state(const TrainingState& state) { prepare_load(state)(); }

  /// Checks a state as load_state does. What it returns puts the state in, and cannot fail; the schedule must still be
  /// there.
  std::function<void()> prepare_load(const TrainingState& state) {
    detail::StateReader reader(name(), state);
    const Index steps = reader.take_count("steps");
    const auto base = reader.take_rates("base_lr", static_cast<Index>(base_.size()));
    return [this, steps, base, apply = prepare(reader)] {
      apply();
      steps_ = steps;
      base_.assign(base.values().begin(), base.values().end());
    };
  }

 protected:
  /// Takes the optimiser's rates of now as the base rates; the optimiser must outlive the schedule.
  explicit Schedule(OptimizerBase& optimizer) : optimizer_(&optimizer) {
    for (Index group = 0; group < optimizer.groups(); ++group) base_.push_back(optimizer.lr(group));
  }
  /// A copy steers the same optimiser.
  /// @{
  Schedule(const Schedule&) = default;
  Schedule(Schedule&&) = default;
  Schedule& operator=(const Schedule&) = default;
  Schedule& operator=(Schedule&&) = default;
  /// @}

  /// The optimiser that it steers.
  OptimizerBase& optimizer() const { return *optimizer_; }

  /// f(lr(0)) for every group.
  template <class F>
  void set(F f) {
    for (Index group = 0; group < optimizer_->groups(); ++group)
      optimizer_->set_lr(f(base_[static_cast<std::size_t>(group)]), group);
  }

 private:
  void advance(double metric) {
    count_up(steps_);
    update(steps_, metric);
  }
  virtual void update(Index t, double metric) = 0;
  virtual void save(TrainingState&) const {}
  /// Takes and checks what save() gave, and finishes the reader; returns what puts it in.
  virtual std::function<void()> prepare(detail::StateReader& reader) {
    reader.finish();
    return [] {};
  }

  OptimizerBase* optimizer_;
  std::vector<double> base_;  // lr(0)
  Index steps_ = 0;
};

/// Options of StepLR.
struct StepLROptions {
  Index step_size;     ///< steps between two falls, at least 1
  double gamma = 0.1;  ///< factor of a fall
};

/// lr(t) = lr(0) gamma^floor(t / step_size).
class StepLR : public Schedule {
 public:
  /// Throws ValueError unless step_size >= 1 and gamma >= 0.
  /// @{
  StepLR(OptimizerBase& optimizer, const StepLROptions& options) : Schedule(optimizer), options_(options) {
    require(options.step_size >= 1, "StepLR: step_size must be at least 1, got ", options.step_size);
    require(options.gamma >= 0, "StepLR: gamma must not be negative, got ", options.gamma);
  }
  template <std::integral Steps>
  StepLR(OptimizerBase& optimizer, Steps step_size)
      : StepLR(optimizer, StepLROptions{.step_size = static_cast<Index>(step_size)}) {}
  /// @}
  std::string name() const override { return "StepLR"; }

 private:
  void update(Index t, double) override {
    const double factor = std::pow(options_.gamma, static_cast<double>(t / options_.step_size));
    set([=](double base) { return base * factor; });
  }
  StepLROptions options_;
};

/// Options of MultiStepLR.
struct MultiStepLROptions {
  std::vector<Index> milestones;  ///< the steps after which the rate falls, rising
  double gamma = 0.1;             ///< factor of a fall
};

/// lr(t) = lr(0) gamma^(number of milestones <= t).
class MultiStepLR : public Schedule {
 public:
  /// Throws ValueError unless the milestones are at least 1 and increase (equal ones are allowed) and gamma >= 0.
  MultiStepLR(OptimizerBase& optimizer, const MultiStepLROptions& options) : Schedule(optimizer), options_(options) {
    require(std::is_sorted(options_.milestones.begin(), options_.milestones.end()),
            "MultiStepLR: milestones must be in increasing order");
    require(options_.milestones.empty() || options_.milestones.front() >= 1,
            "MultiStepLR: milestones must be at least 1, got ",
            options_.milestones.empty() ? 0 : options_.milestones.front());
    require(options_.gamma >= 0, "MultiStepLR: gamma must not be negative, got ", options_.gamma);
  }
  std::string name() const override { return "MultiStepLR"; }

 private:
  void update(Index t, double) override {
    const auto& milestones = options_.milestones;
    const auto passed = std::upper_bound(milestones.begin(), milestones.end(), t) - milestones.begin();
    const double factor = std::pow(options_.gamma, static_cast<double>(passed));
    set([=](double base) { return base * factor; });
  }
  MultiStepLROptions options_;
};

/// Options of ExponentialLR.
struct ExponentialLROptions {
  double gamma;  ///< factor of each step
};

/// lr(t) = lr(0) gamma^t.
class ExponentialLR : public Schedule {
 public:
  /// Throws ValueError unless gamma >= 0.
  /// @{
  ExponentialLR(OptimizerBase& optimizer, const ExponentialLROptions& options)
      : Schedule(optimizer), options_(options) {
    require(options.gamma >= 0, "ExponentialLR: gamma must not be negative, got ", options.gamma);
  }
  template <std::floating_point Factor>
  ExponentialLR(OptimizerBase& optimizer, Factor gamma) : ExponentialLR(optimizer, ExponentialLROptions{gamma}) {}
  /// @}
  std::string name() const override { return "ExponentialLR"; }

 private:
  void update(Index t, double) override {
    set([factor = std::pow(options_.gamma, static_cast<double>(t))](double base) { return base * factor; });
  }
  ExponentialLROptions options_;
};

namespace detail {

/// From `begin` at angle 0 to `end` at pi, along half a cosine.
inline double cosine(double begin, double end, double angle) { return end + (begin - end) * (1 + std::cos(angle)) / 2; }

}  // namespace detail

/// Options of CosineAnnealingLR.
struct CosineAnnealingLROptions {
  Index T_max;         ///< steps from the first rate to eta_min; then it rises again, with period 2 T_max
  double eta_min = 0;  ///< the lowest rate
};

/// lr(t) = eta_min + (lr(0) - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov and Hutter 2017, equation 5, without
/// restarts).
class CosineAnnealingLR : public Schedule {
 public:
  /// Throws ValueError unless T_max >= 1 and eta_min >= 0.
  /// @{
  CosineAnnealingLR(OptimizerBase& optimizer, const CosineAnnealingLROptions& options)
      : Schedule(optimizer), options_(options) {
    require(options.T_max >= 1, "CosineAnnealingLR: T_max must be at least 1, got ", options.T_max);
    require(options.eta_min >= 0, "CosineAnnealingLR: eta_min must not be negative, got ", options.eta_min);
  }
  template <std::integral Steps>
  CosineAnnealingLR(OptimizerBase& optimizer, Steps T_max)
      : CosineAnnealingLR(optimizer, CosineAnnealingLROptions{.T_max = static_cast<Index>(T_max)}) {}
  /// @}
  std::string name() const override { return "CosineAnnealingLR"; }

 private:
  void update(Index t, double) override {
    const double angle = std::numbers::pi * static_cast<double>(t) / static_cast<double>(options_.T_max);
    set([=, low = options_.eta_min](double base) { return detail::cosine(base, low, angle); });
  }
  CosineAnnealingLROptions options_;
};

/// Options of CosineAnnealingWarmRestarts.
struct CosineAnnealingWarmRestartsOptions {
  Index T_0;           ///< steps until the first restart
  Index T_mult = 1;    ///< factor of each period to the next
  double eta_min = 0;  ///< the rate just before a restart
};

/// lr(t) = eta_min + (lr(0) - eta_min) (1 + cos(pi s / T)) / 2, s steps after the last restart, in a period of T = T_0,
/// T_0 T_mult, T_0 T_mult^2, ... steps (Loshchilov and Hutter 2017, equation 5).
class CosineAnnealingWarmRestarts : public Schedule {
 public:
  /// Throws ValueError unless T_0 >= 1, T_mult >= 1 and eta_min >= 0.
  CosineAnnealingWarmRestarts(OptimizerBase& optimizer, const CosineAnnealingWarmRestartsOptions& options)
      : Schedule(optimizer), options_(options) {
    require(options.T_0 >= 1, "CosineAnnealingWarmRestarts: T_0 must be at least 1, got ", options.T_0);
    require(options.T_mult >= 1, "CosineAnnealingWarmRestarts: T_mult must be at least 1, got ", options.T_mult);
    require(options.eta_min >= 0, "CosineAnnealingWarmRestarts: eta_min must not be negative, got ", options.eta_min);
  }
  std::string name() const override { return "CosineAnnealingWarmRestarts"; }

 private:
  void update(Index t, double) override {
    Index period = options_.T_0;
    if (options_.T_mult == 1) t %= period;
    for (; t >= period; period *= options_.T_mult) t -= period;
    const double angle = std::numbers::pi * static_cast<double>(t) / static_cast<double>(period);
    set([=, low = options_.eta_min](double base) { return detail::cosine(base, low, angle); });
  }
  CosineAnnealingWarmRestartsOptions options_;
};

/// Options of OneCycleLR.
struct OneCycleLROptions {
  Index total_steps;                    ///< of the cycle; afterwards the rate stays
  std::optional<double> max_lr = {};    ///< the peak; none: each group's own rate
  double pct_start = 0.3;               ///< share of the steps in which it rises
  std::string anneal_strategy = "cos";  ///< "cos" or "linear"
  double div_factor = 25;               ///< it starts from max_lr / div_factor
  double final_div_factor = 1e4;        ///< and ends at the start's divided by this
};

/// One cycle, usually stepped after each batch: from max_lr / div_factor up to max_lr, and down to a rate far below
/// (Smith and Topin 2018). PyTorch's two-phase form, of the learning rate alone.
class OneCycleLR : public Schedule {
 public:
  /// Sets the rates to the first. Throws ValueError unless total_steps >= 2, max_lr >= 0, 0 <= pct_start <= 1, the
  /// factors are above 0 and the strategy is known.
  OneCycleLR(OptimizerBase& optimizer, const OneCycleLROptions& options) : Schedule(optimizer), options_(options) {
    const auto check = [](bool valid, const char* what, const auto& got) {
      require(valid, "OneCycleLR: ", what, ", got ", got);
    };
    check(options.total_steps >= 2, "total_steps must be at least 2", options.total_steps);
    check(options.max_lr.value_or(0) >= 0, "max_lr must not be negative", options.max_lr.value_or(0));
    check(options.pct_start >= 0 && options.pct_start <= 1, "pct_start must be in [0, 1]", options.pct_start);
    check(options.div_factor > 0, "div_factor must be above 0", options.div_factor);
    check(options.final_div_factor > 0, "final_div_factor must be above 0", options.final_div_factor);
    check(options.anneal_strategy == "cos" || options.anneal_strategy == "linear",
          "anneal_strategy must be cos or linear", options.anneal_strategy);
    update(0, 0);
  }
  std::string name() const override { return "OneCycleLR"; }

 private:
  /// From `begin` to `end`, of which a share is done.
  double between(double begin, double end, double done) const {
    if (options_.anneal_strategy == "linear") return begin + (end - begin) * done;
    return detail::cosine(begin, end, std::numbers::pi * done);
  }
  void update(Index t, double) override {
    const auto last = static_cast<double>(options_.total_steps - 1);
    const double at = std::min(static_cast<double>(t), last);
    const double peak = options_.pct_start * static_cast<double>(options_.total_steps) - 1;
    set([&](double base) {
      const double highest = options_.max_lr.value_or(base), first = highest / options_.div_factor;
      if (at <= peak) return between(first, highest, peak > 0 ? at / peak : 1);
      return between(highest, first / options_.final_div_factor, last > peak ? (at - peak) / (last - peak) : 1);
    });
  }
  OneCycleLROptions options_;
};

/// Options of PolynomialLR.
struct PolynomialLROptions {
  Index total_iters = 5;  ///< steps until the rate is 0
  double power = 1;       ///< exponent of the fall, 1 for a straight line
};

/// lr(t) = lr(0) (1 - min(t, total_iters) / total_iters)^power.
class PolynomialLR : public Schedule {
 public:
  /// Throws ValueError unless total_iters >= 1 and power >= 0.
  explicit PolynomialLR(OptimizerBase& optimizer, const PolynomialLROptions& options = {})
      : Schedule(optimizer), options_(options) {
    require(options.total_iters >= 1, "PolynomialLR: total_iters must be at least 1, got ", options.total_iters);
    require(options.power >= 0, "PolynomialLR: power must not be negative, got ", options.power);
  }
  std::string name() const override { return "PolynomialLR"; }

 private:
  void update(Index t, double) override {
    const double done =
        static_cast<double>(std::min(t, options_.total_iters)) / static_cast<double>(options_.total_iters);
    set([factor = std::pow(1 - done, options_.power)](double base) { return base * factor; });
  }
  PolynomialLROptions options_;
};

/// Options of LinearWarmup.
struct LinearWarmupOptions {
  Index total_iters = 5;          ///< steps of the warm-up
  double start_factor = 1.0 / 3;  ///< share of the rate that it starts from
};

/// lr(t) = lr(0) (start_factor + (1 - start_factor) t / total_iters) up to total_iters (Goyal et al. 2017,
/// section 2.2); from there on constant, or another schedule, which starts then: PyTorch's LinearLR and SequentialLR.
class LinearWarmup : public Schedule {
 public:
  /// Sets the rates to start_factor lr(0). Throws ValueError unless total_iters >= 1 and 0 < start_factor <= 1.
  explicit LinearWarmup(OptimizerBase& optimizer, const LinearWarmupOptions& options = {})
      : Schedule(optimizer), options_(options) {
    require(options.total_iters >= 1, "LinearWarmup: total_iters must be at least 1, got ", options.total_iters);
    require(options.start_factor > 0 && options.start_factor <= 1, "LinearWarmup: start_factor must be in (0, 1], got ",
            options.start_factor);
    warm(0);
  }
  /// With the schedule that takes over when the warm-up has ended.
  /// @{
  template <std::derived_from<Schedule> S>
  LinearWarmup(OptimizerBase& optimizer, const LinearWarmupOptions& options, S then)
      : LinearWarmup(optimizer, options, std::make_unique<S>(std::move(then))) {}
  LinearWarmup(OptimizerBase& optimizer, const LinearWarmupOptions& options, std::unique_ptr<Schedule> then)
      : LinearWarmup(optimizer, options) {
    then_ = std::move(then);
  }
  /// @}

  /// With those of the schedule that follows.
  /// @{
  std::string name() const override { return then_ ? "LinearWarmup, then " + then_->name() : "LinearWarmup"; }
  bool needs_metric() const override { return then_ && then_->needs_metric(); }
  /// @}

 private:
  void warm(Index t) {
    const double done = static_cast<double>(t) / static_cast<double>(options_.total_iters);
    set([=, start = options_.start_factor](double base) { return base * (start + (1 - start) * done); });
  }
  void update(Index t, double metric) override {
    if (t < options_.total_iters)
      warm(t);
    else if (t == options_.total_iters)
      set([](double base) { return base; });
    else if (then_)
      then_->step(metric);
  }
  void save(TrainingState& state) const override {
    if (!then_) return;
    for (auto& [name, value] : then_->state()) state.emplace_back("then." + name, std::move(value));
  }
  std::function<void()> prepare(detail::StateReader& reader) override {
    const TrainingState inner = then_ ? reader.take_all("then.") : TrainingState{};
    reader.finish();
    return then_ ? then_->prepare_load(inner) : [] {};
  }

  LinearWarmupOptions options_;
  std::unique_ptr<Schedule> then_;
};

/// Options of ReduceLROnPlateau.
struct ReduceLROnPlateauOptions {
  std::string mode = "min";            ///< "min": the metric should fall; "max": it should rise
  double factor = 0.1;                 ///< factor of a fall, below 1
  Index patience = 10;                 ///< steps without improvement that are let pass
  double threshold = 1e-4;             ///< smallest change that is an improvement
  std::string threshold_mode = "rel";  ///< "rel": as a share of the best value; "abs": absolute
  Index cooldown = 0;                  ///< steps after a reduction that do not count
  double min_lr = 0;                   ///< the rate does not fall below it
  double eps = 1e-8;                   ///< smaller changes of the rate are not made
};

/// Multiplies the rates by `factor` when the metric has not improved for more than `patience` steps. What improves:
///
///   "min", "rel"  metric < best (1 - threshold)       "min", "abs"  metric < best - threshold
///   "max", "rel"  metric > best (1 + threshold)       "max", "abs"  metric > best + threshold
///
/// As in PyTorch "rel" is meant for metrics above zero: below, the same value again counts as better.
class ReduceLROnPlateau : public Schedule {
 public:
  /// Throws ValueError unless 0 < factor < 1, patience, threshold, cooldown, min_lr and eps are not negative and the
  /// modes are known.
  explicit ReduceLROnPlateau(OptimizerBase& optimizer, const ReduceLROnPlateauOptions& options = {})
      : Schedule(optimizer), options_(options) {
    const auto check = [](bool valid, const char* what, const auto& got) {
      require(valid, "ReduceLROnPlateau: ", what, ", got ", got);
    };
    check(options_.mode == "min" || options_.mode == "max", "mode must be min or max", options_.mode);
    check(options_.threshold_mode == "rel" || options_.threshold_mode == "abs", "threshold_mode must be rel or abs",
          options_.threshold_mode);
    check(options_.factor > 0 && options_.factor < 1, "factor must be in (0, 1)", options_.factor);
    check(options_.patience >= 0, "patience must not be negative", options_.patience);
    check(options_.threshold >= 0, "threshold must not be negative", options_.threshold);
    check(options_.cooldown >= 0, "cooldown must not be negative", options_.cooldown);
    check(options_.min_lr >= 0, "min_lr must not be negative", options_.min_lr);
    check(options_.eps >= 0, "eps must not be negative", options_.eps);
    best_ = options_.mode == "min" ? infinity : -infinity;
  }
  std::string name() const override { return "ReduceLROnPlateau"; }
  bool needs_metric() const override { return true; }

 private:
  /// The first value beats the infinite best, to which no margin applies.
  bool better(double metric) const {
    const bool falls = options_.mode == "min", relative = options_.threshold_mode == "rel";
    const double sign = falls ? -1 : 1;
    if (is_infinite(best_)) return sign * metric > sign * best_;
    const double bar = relative ? best_ * (1 + sign * options_.threshold) : best_ + sign * options_.threshold;
    return falls ? metric < bar : metric > bar;
  }

  void update(Index, double metric) override {
    if (better(metric)) {
      best_ = metric;
      bad_ = 0;
    } else {
      count_up(bad_);
    }
    if (resting_ > 0) {
      --resting_;
      bad_ = 0;
    }
    if (bad_ <= options_.patience) return;
    for (Index group = 0; group < optimizer().groups(); ++group) {
      const double old = optimizer().lr(group);
      const double reduced = std::max(old * options_.factor, options_.min_lr);
      if (old - reduced > options_.eps) optimizer().set_lr(reduced, group);
    }
    resting_ = options_.cooldown;
    bad_ = 0;
  }

  void save(TrainingState& state) const override {
    state.emplace_back("best", Tensor<double>({}, {best_}));
    state.emplace_back("bad_steps", Tensor<std::int64_t>({}, {bad_}));
    state.emplace_back("cooldown_steps", Tensor<std::int64_t>({}, {resting_}));
  }
  std::function<void()> prepare(detail::StateReader& reader) override {
    const double best = reader.take<double>("best", {}).item();
    const Index bad = reader.take_count("bad_steps"), resting = reader.take_count("cooldown_steps");
    reader.check(!is_nan(best), "best: expected a number, got ", best);
    reader.finish();
    return [=, this] {
      best_ = best;
      bad_ = bad;
      resting_ = resting;
    };
  }

  static constexpr double infinity = std::numeric_limits<double>::infinity();
  ReduceLROnPlateauOptions options_;
  double best_;
  Index bad_ = 0, resting_ = 0;
};

}  // namespace lamina::inline LAMINA_ABI
