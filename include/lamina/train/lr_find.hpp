#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/train/fit.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of lr_find; the defaults are fastai's.
struct LrFindOptions {
  double start_lr = 1e-7;   ///< of the first step
  double end_lr = 10;       ///< that would be of the step behind the last
  Index steps = 100;        ///< at most
  double smoothing = 0.98;  ///< share of the past in the average of the losses
  double diverged = 4;      ///< ends when the average is above this many times its least
};

/// What lr_find saw: the steps that tell something, the first tenth and the last five left out.
struct LrFind {
  std::vector<double> lrs;     ///< of each step, rising
  std::vector<double> losses;  ///< averaged
  double suggestion;           ///< one of the rates
};

/// fastai's rule ("valley"): of the longest way on which losses fall, not every one of them lower than the one before
/// but a subsequence, the point at half of it. lrs and losses are those of lr_find. Throws ValueError unless there are
/// equally many, at least one.
inline double suggest_lr(const std::vector<double>& lrs, const std::vector<double>& losses) {
  require(!losses.empty() && lrs.size() == losses.size(), "suggest_lr: expected as many losses as rates, at least 1, ",
          "got ", losses.size(), " and ", lrs.size());
  const std::size_t n = losses.size();
  std::vector<std::size_t> length(n, 1);  // of the longest falling subsequence that ends here
  std::size_t end = 0;
  for (std::size_t i = 1; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (losses[i] < losses[j]) length[i] = std::max(length[i], length[j] + 1);
    if (length[i] > length[end]) end = i;
  }
  // As many places back as the subsequence is long; it may begin one before the first.
  const auto valley = static_cast<Index>(length[end]);
  const Index at = static_cast<Index>(end) - valley + valley / 3 + valley / 6;
  return lrs[static_cast<std::size_t>(std::max<Index>(0, at))];
}

namespace detail {

/// The sweep of lr_find as an on_batch of fit.
template <class Scalar>
class LrSweep {
 public:
  /// Ends fit.
  struct Over {};

  LrSweep(Optimizer<Scalar>& optimizer, const LrFindOptions& options) : optimizer_(optimizer), options_(options) {
    for (Index group = 0; group < optimizer.groups(); ++group)
      ratios_.push_back(optimizer.lr(0) > 0 ? optimizer.lr(group) / optimizer.lr(0) : 1);
    set_lr();
  }

  void step(double loss) {
    average_ = options_.smoothing * average_ + (1 - options_.smoothing) * loss;
    lrs_.push_back(lr());
    losses_.push_back(average_ / (1 - std::pow(options_.smoothing, static_cast<double>(lrs_.size()))));
    least_ = std::min(least_, losses_.back());
    if (losses_.back() > options_.diverged * least_ || static_cast<Index>(lrs_.size()) >= options_.steps) throw Over();
    set_lr();
  }

  LrFind result() const {
    const Index begin = options_.steps / 10, end = static_cast<Index>(lrs_.size()) - 5;
    require<NumericalError>(begin < end, "lr_find: the loss diverged after ", lrs_.size(), " steps, at a rate of ",
                            lr(), "; begin lower than at ", options_.start_lr);
    LrFind found{{lrs_.begin() + begin, lrs_.begin() + end}, {losses_.begin() + begin, losses_.begin() + end}, 0};
    found.suggestion = suggest_lr(found.lrs, found.losses);
    return found;
  }

 private:
  double lr() const {
    return options_.start_lr * std::pow(options_.end_lr / options_.start_lr,
                                        static_cast<double>(lrs_.size()) / static_cast<double>(options_.steps));
  }
  void set_lr() {
    for (Index group = 0; group < optimizer_.groups(); ++group)
      optimizer_.set_lr(lr() * ratios_[static_cast<std::size_t>(group)], group);
  }

  Optimizer<Scalar>& optimizer_;
  LrFindOptions options_;
  std::vector<double> ratios_;  // of each group's rate to the first's
  std::vector<double> lrs_, losses_;
  double average_ = 0, least_ = std::numeric_limits<double>::infinity();
};

}  // namespace detail

/// The test of learning rates (Smith 2017, section 3.3, with exponential steps as in fastai): trains with rates from
/// start_lr to end_lr, step by step, until the loss diverges, and then puts model, optimiser and loader back as they
/// were. Where the averaged loss falls steadily is a good rate to train with.
///
///   const LrFind found = lr_find(net, optimizer, train);
///   write_png("lr_find.png", plot_lr_find(found));
///   optimizer.set_lr(found.suggestion);
///
/// Losses, clipping and cached features are those of fit's options, of which the test data, the schedule, accumulation,
/// averages and callbacks are not used. Groups keep the ratios of their rates; the first one's is the one that counts.
/// Throws ValueError unless 0 < start_lr < end_lr, steps >= 10, smoothing is in [0, 1) and diverged > 1; NumericalError
/// when the loss diverges within the first steps.
template <class Scalar, class Target>
LrFind lr_find(Module<Scalar>& net, Optimizer<Scalar>& optimizer, DataLoader<Scalar, Target>& train,
               const LrFindOptions& options = {}, std::type_identity_t<FitOptions<Scalar, Target>> fit_options = {}) {
  require(options.start_lr > 0 && options.start_lr < options.end_lr && is_finite(options.end_lr),
          "lr_find: expected 0 < start_lr < end_lr, got ", options.start_lr, " and ", options.end_lr);
  require(options.steps >= 10, "lr_find: steps must be at least 10, got ", options.steps);
  require(options.smoothing >= 0 && options.smoothing < 1, "lr_find: smoothing must be in [0, 1), got ",
          options.smoothing);
  require(options.diverged > 1, "lr_find: diverged must be above 1, got ", options.diverged);
  FitOptions<Scalar, Target> run{.epochs = parts_of(options.steps, train.size())};
  run.loss = std::move(fit_options.loss);
  run.metric = nullptr;
  run.clip_grad_norm = fit_options.clip_grad_norm;
  run.auxiliary_weight = fit_options.auxiliary_weight;
  run.cache_features = fit_options.cache_features;
  run.seed = fit_options.seed;
  run.progress = false;

  const auto restore = [&, weights = state_dict(std::as_const(net)), state = optimizer.state(), epoch = train.epoch()] {
    load_state_dict(net, weights);
    optimizer.load_state(state);
    optimizer.zero_grad();
    train.set_epoch(epoch);
  };
  detail::LrSweep<Scalar> sweep(optimizer, options);
  run.on_batch = [&](const BatchRecord& record) { sweep.step(record.loss); };
  try {
    fit(net, optimizer, train, run);
  } catch (const typename detail::LrSweep<Scalar>::Over&) {
  } catch (const NumericalError&) {  // the loss is NaN: it has diverged
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return sweep.result();
}

}  // namespace lamina::inline LAMINA_ABI
