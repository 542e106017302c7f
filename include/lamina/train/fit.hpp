#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "lamina/core/choice.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/optim/clip_grad.hpp"
#include "lamina/optim/schedule.hpp"
#include "lamina/train/cache_features.hpp"
#include "lamina/train/history.hpp"
#include "lamina/train/metrics.hpp"
#include "lamina/train/progress.hpp"
#include "lamina/train/weight_average.hpp"

namespace lamina::inline LAMINA_ABI {

/// The mean loss of a batch, and its gradient with respect to the model's output.
template <class Scalar = float, class Target = Labels>
using LossFunction = std::function<Loss<Scalar>(Tensor<Scalar> output, const Target& targets)>;

/// How many of a batch's targets the model's output gets right.
template <class Scalar = float, class Target = Labels>
using Metric = std::function<Count(const Tensor<Scalar>& output, const Target& targets)>;

namespace detail {

/// The defaults of fit and evaluate: cross entropy and accuracy of classes, the mean squared error of numbers.
template <class Scalar, class Target>
LossFunction<Scalar, Target> default_loss() {
  return [](Tensor<Scalar> output, const Target& targets) {
    if constexpr (std::is_same_v<Target, Labels>)
      return cross_entropy(std::move(output), targets);
    else
      return mse_loss(std::move(output), targets);
  };
}
template <class Scalar, class Target>
Metric<Scalar, Target> default_metric() {
  if constexpr (std::is_same_v<Target, Labels>)
    return [](const Tensor<Scalar>& output, const Labels& targets) { return count_correct(output, targets); };
  else
    return nullptr;
}

}  // namespace detail

/// The average loss over the samples of batches that are added one by one; `count` is the metric's sum.
struct LossAverage {
  double loss_sum = 0;  ///< the sum over the samples
  Index samples = 0;    ///< so far
  Count count;          ///< of the metric

  /// Adds the average loss of a batch.
  void add(double loss, Index batch) {
    loss_sum = std::fma(loss, static_cast<double>(batch), loss_sum);  // the same bits wherever this is compiled
    samples += batch;
  }
  /// The average loss; NaN without samples.
  double loss() const { return loss_sum / static_cast<double>(samples); }
};

/// Options of evaluate.
template <class Scalar = float, class Target = Labels>
struct EvaluateOptions {
  /// Of the results and the targets: cross entropy of labels, mean squared error of numbers.
  LossFunction<Scalar, Target> loss = detail::default_loss<Scalar, Target>();
  Metric<Scalar, Target> metric = detail::default_metric<Scalar, Target>();  ///< accuracy of labels; nullptr: none
};

/// What evaluate measured.
struct Evaluation {
  double loss;      ///< averaged over samples
  double accuracy;  ///< the metric's share; NaN without one
};

/// What gives a tensor for a tensor: a Module, which infers, a Plan, or any other function.
template <class Model, class Scalar>
concept TensorFunction = requires(const Model& model, Tensor<Scalar> x) {
  Tensor<Scalar>(model(std::move(x)));
};

/// Runs a model over all batches, and averages loss and accuracy. A Plan must take the loader's batches.
template <class Scalar, class Target, TensorFunction<Scalar> Model>
Evaluation evaluate(const Model& model, DataLoader<Scalar, Target>& loader,
                    const std::type_identity_t<EvaluateOptions<Scalar, Target>>& options = {}) {
  LossAverage average;
  for (auto& [inputs, targets] : loader) {
    const Index batch = inputs.dim(0);
    Tensor<Scalar> output = model(std::move(inputs));
    if (options.metric) average.count += options.metric(output, targets);
    average.add(options.loss(std::move(output), targets).value, batch);
  }
  return {average.loss(), average.count.fraction()};
}

/// Which number tells whether an epoch was better: that of the test data, or of the training data if fit has no test
/// data.
enum class Monitor { loss, accuracy };
/// The same.
template <>
struct Words<Monitor> {
  static constexpr const char* what = "monitor";          ///< in messages
  static constexpr std::array words{"loss", "accuracy"};  ///< of each
};

/// Stops training when the monitored number has not improved, by more than min_delta, for `patience` epochs.
struct EarlyStopping {
  Index patience = 5;    ///< epochs
  double min_delta = 0;  ///< a smaller change is no improvement
};

/// Everything about a run that is not in the model, the optimiser or the schedule. fit continues from it; a checkpoint
/// holds it.
template <class Scalar = float>
struct FitState {
  Index epoch = 0;  ///< epochs done
  std::optional<Random> random =
      {};  ///< what the tape draws from next; empty: FitOptions::seed, before the first epoch
  std::optional<std::uint64_t> loader_seed = {};           ///< of the training data; checked when a run continues
  History history = {};                                    ///< of the epochs done
  double best = std::numeric_limits<double>::quiet_NaN();  ///< the monitored number of history.best_epoch
  StateDict<Scalar> best_weights = {};                     ///< of that epoch, with FitOptions::keep_best
  StateDict<Scalar> average = {};                          ///< of the weights, with FitOptions::ema_decay
};

/// What on_batch is told, after the optimiser's step.
struct BatchRecord {
  Index epoch;       ///< from 1
  Index batch;       ///< from 1
  Index batches;     ///< in the epoch
  double loss;       ///< of the batch
  double grad_norm;  ///< before clipping; NaN without clip_grad_norm, or where no step follows (accumulate)
};

/// Options of fit.
template <class Scalar = float, class Target = Labels>
struct FitOptions {
  Index epochs = 10;                           ///< in all, those of a continued run included
  DataLoader<Scalar, Target>* test = nullptr;  ///< evaluated after each epoch
  /// cross_entropy of labels, mse_loss of numbers.
  LossFunction<Scalar, Target> loss = detail::default_loss<Scalar, Target>();
  Metric<Scalar, Target> metric = detail::default_metric<Scalar, Target>();  ///< count_correct; nullptr: none
  Schedule* schedule = nullptr;     ///< of the learning rate; made on the same optimiser
  bool schedule_per_batch = false;  ///< step the schedule after each batch, not each epoch
  /// Batches to a step, which goes by the mean of their gradients: as large a batch as that, where losses are means
  /// over equally many samples. The last step of an epoch takes what is left.
  Index accumulate = 1;
  /// Keeps the exponential moving average of the weights, average = decay average + (1 - decay) weights after each
  /// step, e.g. 0.999 (Polyak and Juditsky 1992). The test data is evaluated with it, keep_best keeps it, and at the
  /// end the model has it. What is not learned (running statistics, what is frozen) is the model's of now. None: the
  /// weights as they are.
  std::optional<double> ema_decay = {};
  /// Of a Sequential (with Sequentials in it) that begins with frozen modules, computes what those give for each sample
  /// once, and keeps it: an epoch is then that of the rest alone, with the same bits. Layers behind them that learn
  /// nothing, as pooling, are kept too if they are frozen. Asked for anew when an epoch begins, so that on_epoch may
  /// unfreeze; weights of a frozen module must not change. Not with transforms that draw, see cache_features.
  bool cache_features = false;
  std::optional<double> clip_grad_norm = {};  ///< largest norm of all gradients together; none: they are not clipped
  /// Of the losses of the results behind the first that forward may have, as GoogLeNet's with auxiliary heads.
  double auxiliary_weight = 0.3;
  Choice<Monitor> monitor = Monitor::loss;           ///< what early stopping, keep_best and ReduceLROnPlateau look at
  std::optional<EarlyStopping> early_stopping = {};  ///< by default training runs to its end
  bool keep_best = false;                            ///< at the end, give the model the weights of its best epoch
  std::uint64_t seed = 0;                            ///< of the training's random numbers (dropout)
  bool progress = true;                              ///< a bar and a table, on stderr
  std::function<void(const BatchRecord&)> on_batch = {};  ///< called after each step
  std::function<void(const FitState<Scalar>&)> on_epoch =
      {};  ///< everything of the epoch is done; save checkpoints here
};

namespace detail {

/// One call of fit.
template <class Scalar, class Target = Labels>
class FitRun {
 public:
  FitRun(Module<Scalar>& net, Optimizer<Scalar>& optimizer, DataLoader<Scalar, Target>& train,
         const FitOptions<Scalar, Target>& options, FitState<Scalar>& state)
      : net_(net),
        optimizer_(optimizer),
        train_(train),
        options_(options),
        state_(state),
        parameters_(optimizer.parameters()),
        tape_(state.random.value_or(Random(options.seed))),
        progress_(std::max<Index>(0, options.epochs - state.epoch) * train.size()) {
    check();
    state_.loader_seed = train.options().seed;
  }

  void run() {
    optimizer_.zero_grad();
    state_.history.stopped_early = patience_is_over();  // the patience may be another than before
    table_header();
    for (bool first = true; state_.epoch < options_.epochs && !state_.history.stopped_early; first = false) {
      if (options_.cache_features) cache(first);
      EpochRecord record = train_epoch();
      if (options_.test) test(record);
      finish_epoch(record);
    }
    progress_.clear();
    if (options_.keep_best && !state_.best_weights.empty())
      load_state_dict(net_, state_.best_weights);
    else if (options_.ema_decay && !state_.average.empty())
      load_state_dict(net_, state_.average);
  }

 private:
  void check() const {
    require(options_.epochs >= 0, "fit: epochs must not be negative, got ", options_.epochs);
    require(options_.loss != nullptr, "fit: there is no loss function");
    require(options_.metric || options_.monitor != Monitor::accuracy,
            "fit: cannot monitor the accuracy without metric");
    require(options_.accumulate >= 1, "fit: accumulate must be at least 1, got ", options_.accumulate);
    require(!options_.ema_decay || (*options_.ema_decay >= 0 && *options_.ema_decay < 1),
            "fit: ema_decay must be in [0, 1), got ", options_.ema_decay.value_or(0));
    if (options_.early_stopping) {
      require(options_.early_stopping->patience >= 1, "fit: patience must be at least 1, got ",
              options_.early_stopping->patience);
      require(options_.early_stopping->min_delta >= 0, "fit: min_delta must not be negative, got ",
              options_.early_stopping->min_delta);
    }
    if (options_.schedule && options_.schedule_per_batch)
      require(!options_.schedule->needs_metric(), "fit: ", options_.schedule->name(),
              " looks at epochs; it cannot step after each batch");
    require<StateError>(!state_.loader_seed || *state_.loader_seed == train_.options().seed,
                        "fit: the run began with the loader's seed ", state_.loader_seed.value_or(0),
                        ", it cannot continue with ", train_.options().seed);
  }

  /// What the frozen modules at a model's beginning give, and the rest of it.
  struct Cache {
    Chain<Scalar> frozen, rest;
    std::optional<DataLoader<Scalar, Target>> train = {}, test = {};
  };

  /// Makes the cache of what is frozen now, unless it is there.
  void cache(bool first) {
    Cache now;
    split_frozen(net_, "", now.frozen, now.rest);
    const bool useful = !now.frozen.empty() && !now.rest.empty();
    require(useful || !first,
            "fit: cache_features needs a Sequential that begins with frozen modules and goes on with ", "others, got ",
            net_, "; see freeze()");
    if (cache_ && cache_->frozen.same(now.frozen)) return;
    cache_.reset();
    if (!useful) return;
    now.train = cached(now.frozen, train_);
    if (options_.test) now.test = cached(now.frozen, *options_.test);
    cache_ = std::move(now);
  }
  /// A loader of the same batches, of features.
  static DataLoader<Scalar, Target> cached(const Chain<Scalar>& frozen, const DataLoader<Scalar, Target>& loader) {
    LoaderOptions<Scalar, Target> options = loader.options();
    options.transform = nullptr;
    options.augment = nullptr;
    return DataLoader<Scalar, Target>(cache_features(frozen, loader), std::move(options));
  }
  /// What is trained.
  Module<Scalar>& learner() {
    if (cache_) return cache_->rest;
    return net_;
  }

  void test(EpochRecord& record) {
    StateDict<Scalar> own;
    if (options_.ema_decay) {
      own = state_dict(std::as_const(net_));
      load_state_dict(net_, state_.average);
    }
    const Evaluation test =
        evaluate(std::as_const(learner()), cache_ ? *cache_->test : *options_.test, {options_.loss, options_.metric});
    if (options_.ema_decay) load_state_dict(net_, own);
    record.test_loss = test.loss;
    record.test_accuracy = test.accuracy;
  }

  EpochRecord train_epoch() {
    const double begin = seconds_now();
    LossAverage average;
    Index batch = 0;
    progress_.section(text("epoch ", state_.epoch + 1, "/", options_.epochs), train_.size());
    DataLoader<Scalar, Target>& loader = cache_ ? *cache_->train : train_;
    loader.set_epoch(state_.epoch);
    for (auto& [inputs, targets] : loader) {
      const Index samples = inputs.dim(0);
      const auto [loss, grad_norm] = train_batch(std::move(inputs), targets, ++batch, average);
      average.add(loss, samples);
      if (options_.on_batch) options_.on_batch({state_.epoch + 1, batch, train_.size(), loss, grad_norm});
      if (options_.progress) progress_.advance(samples, note(average));
    }
    train_.set_epoch(state_.epoch + 1);  // as if it had been this one
    EpochRecord record;
    record.epoch = state_.epoch + 1;
    record.train_loss = average.loss();
    record.train_accuracy = average.count.fraction();
    record.seconds = seconds_now() - begin;
    record.examples_per_second = static_cast<double>(average.samples) / record.seconds;
    record.lr = optimizer_.lr();
    return record;
  }

  /// One step; returns the loss and the gradients' norm.
  std::pair<double, double> train_batch(Tensor<Scalar> inputs, const Target& targets, Index batch,
                                        LossAverage& average) {
    Module<Scalar>& net = learner();
    Few<Tensor<Scalar>> outputs = net.forward(Values<Scalar>(std::move(inputs)), tape_, InputGrad::skip), gradients;
    if (options_.metric) average.count += options_.metric(outputs[0], targets);
    // The batches of this step: accumulate, or what is left of the epoch.
    const Index first = (batch - 1) / options_.accumulate * options_.accumulate;
    const Index together = std::min(options_.accumulate, train_.size() - first);
    double loss = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      auto [value, gradient] = options_.loss(std::move(outputs[i]), targets);
      const double weight = i == 0 ? 1 : options_.auxiliary_weight, share = weight / static_cast<double>(together);
      loss += weight * value;
      if (share != 1) gradient *= static_cast<Scalar>(share);
      gradients.push_back(std::move(gradient));
    }
    if (!is_finite(loss))
      throw NumericalError(text("fit: the loss is ", is_nan(loss) ? "nan" : text(loss), " in epoch ", state_.epoch + 1,
                                ", batch ", batch, " of ", train_.size()));
    net.backward(std::move(gradients), tape_, InputGrad::skip);
    require<StateError>(tape_.empty(), "fit: ", net_, " left values on the tape");
    double norm = std::numeric_limits<double>::quiet_NaN();
    if (batch < first + together) return {loss, norm};
    if (options_.clip_grad_norm) norm = clip_grad_norm(parameters_, *options_.clip_grad_norm);
    optimizer_.step();
    if (options_.ema_decay) move_average(state_.average, net_, *options_.ema_decay);
    if (options_.schedule && options_.schedule_per_batch) options_.schedule->step();
    return {loss, norm};
  }

  void finish_epoch(const EpochRecord& record) {
    ++state_.epoch;
    state_.random = tape_.random();
    state_.history.epochs.push_back(record);
    const double monitored = judge(record);
    if (options_.schedule && !options_.schedule_per_batch) options_.schedule->step(monitored);
    if (options_.progress) table_row(record);
    if (options_.on_epoch) options_.on_epoch(state_);
  }

  /// Notes whether this epoch was the best so far; returns the monitored number.
  double judge(const EpochRecord& record) {
    const bool by_loss = options_.monitor == Monitor::loss;
    const double value = options_.test ? (by_loss ? record.test_loss : record.test_accuracy)
                                       : (by_loss ? record.train_loss : record.train_accuracy);
    const double delta = options_.early_stopping ? options_.early_stopping->min_delta : 0;
    const bool better = by_loss ? value < state_.best - delta : value > state_.best + delta;
    if (better || (is_nan(state_.best) && !is_nan(value))) {
      state_.best = value;
      state_.history.best_epoch = record.epoch;
      if (options_.keep_best)
        state_.best_weights = options_.ema_decay ? state_.average : state_dict(std::as_const(net_));
    }
    state_.history.stopped_early = patience_is_over();
    return value;
  }

  bool patience_is_over() const {
    return options_.early_stopping && state_.epoch - state_.history.best_epoch >= options_.early_stopping->patience;
  }

  std::string note(const LossAverage& average) const {
    char buffer[64];
    const double loss = average.loss();
    const int used = std::snprintf(buffer, sizeof buffer, loss < 1e5 ? "loss %.4f" : "loss %.4g", loss);
    if (options_.metric)
      std::snprintf(buffer + used, sizeof buffer - static_cast<std::size_t>(used), "  accuracy %.3f",
                    average.count.fraction());
    return buffer;
  }

  /// A table with a line for each epoch: columns of what is measured.
  void table_header() {
    if (!options_.progress) return;
    std::string line = "  epoch  train loss";
    if (options_.metric) line += "  accuracy";
    if (options_.test) line += "   test loss";
    if (options_.test && options_.metric) line += "  accuracy";
    progress_.line(line + "  learning rate   seconds  examples/s");
  }
  void table_row(const EpochRecord& record) {
    std::string line;
    const auto add = [&](int width, const char* format, auto value) {
      char cell[64];
      std::snprintf(cell, sizeof cell, format, value);
      const std::string_view digits(cell);
      line.append(static_cast<std::size_t>(std::max<Index>(1, width - static_cast<Index>(digits.size()))), ' ');
      line += digits;
    };
    const auto loss = [&](double value) { add(12, value < 1e5 ? "%.4f" : "%.4g", value); };
    add(7, "%s", text(record.epoch, "/", options_.epochs).c_str());
    loss(record.train_loss);
    if (options_.metric) add(10, "%.4f", record.train_accuracy);
    if (options_.test) loss(record.test_loss);
    if (options_.test && options_.metric) add(10, "%.4f", record.test_accuracy);
    add(15, "%.5g", record.lr);
    add(10, "%.2f", record.seconds);
    add(12, "%s", with_commas(static_cast<Index>(record.examples_per_second)).c_str());
    progress_.line(line);
  }

  Module<Scalar>& net_;
  Optimizer<Scalar>& optimizer_;
  DataLoader<Scalar, Target>& train_;
  const FitOptions<Scalar, Target>& options_;
  FitState<Scalar>& state_;
  const std::vector<NamedParameter<Scalar>> parameters_;
  std::optional<Cache> cache_;
  Tape tape_;
  Progress progress_;
};

}  // namespace detail

/// Trains a model, from where `state` stands to options.epochs: for each batch forward, loss, backward, clipping, the
/// optimiser's step; after each epoch evaluation on the test data, the schedule's step, the table's line, on_epoch.
/// Returns the history of the whole run.
///
/// Throws NumericalError, naming epoch and batch, when the loss of a batch is not finite; the model then has the
/// weights that the batch before left, and what on_epoch saved is as it was. Throws ValueError for options outside
/// their range, and StateError when a run continues with another loader seed.
template <class Scalar, class Target>
History fit(Module<Scalar>& net, Optimizer<Scalar>& optimizer, DataLoader<Scalar, Target>& train,
            const std::type_identity_t<FitOptions<Scalar, Target>>& options,
            std::type_identity_t<FitState<Scalar>>& state) {
  detail::FitRun<Scalar, Target>(net, optimizer, train, options, state).run();
  return state.history;
}

/// Trains a model from the beginning:
///
///   DataLoader train(train_set, {.batch_size = 256, .shuffle = true}), test(test_set, {.batch_size = 256});
///   History history = fit(net, optimizer, train, {.epochs = 10, .test = &test});
template <class Scalar, class Target>
History fit(Module<Scalar>& net, Optimizer<Scalar>& optimizer, DataLoader<Scalar, Target>& train,
            const std::type_identity_t<FitOptions<Scalar, Target>>& options = {}) {
  FitState<Scalar> state;
  return fit(net, optimizer, train, options, state);
}

}  // namespace lamina::inline LAMINA_ABI
