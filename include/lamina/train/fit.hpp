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
#include "lamina/train/parallel.hpp"
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
  /// Becomes the sum over all ranks.
  void add_up(const SumOverRanks& sum) {
    std::array<double, 4> numbers{loss_sum, static_cast<double>(samples), static_cast<double>(count.correct),
                                  static_cast<double>(count.total)};
    sum(numbers);
    loss_sum = numbers[0];
    samples = static_cast<Index>(numbers[1]);
    count = {static_cast<Index>(numbers[2]), static_cast<Index>(numbers[3])};
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
  SumOverRanks sum = {};  ///< where each rank evaluates its part of the data (see Shard); empty: it is all of it
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
  if (options.sum) average.add_up(options.sum);
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
  /// step, e.g. 0.999 (Polyak and Juditsky 1992); in the first steps with a smaller decay, see warm_up_decay. The test
  /// data is evaluated with it, keep_best keeps it, and at the end the model has it. What is not learned (running
  /// statistics, what is frozen) is the model's of now. None: the weights as they are.
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
  /// Trains as one of several ranks, each with its part of the training data and, by their loaders' shards, perhaps of
  /// the test data: gradients, losses and what the metric counts are added up over the ranks, and a part of a batch
  /// weighs as many samples as it has. Numbers are those of one process with the batches of all, but that random
  /// numbers (dropout) are drawn for each epoch and rank, and that batch norm takes its statistics from a rank's part
  /// alone, unless it is told to synchronize(). Rank 0 shows the progress; on_batch (with the loss of the rank's part)
  /// and on_epoch are called on all, and write files on rank 0 alone. Checkpoints know nothing of ranks: any number
  /// goes on.
  Parallel<Scalar>* parallel = nullptr;
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
        shown_(options.progress && (!options.parallel || options.parallel->rank() == 0)),
        progress_(std::max<Index>(0, options.epochs - state.epoch) * train.size()) {
    check();
    state_.loader_seed = train.options().seed;
    if (options_.parallel) options_.parallel->begin(net_, settings());
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
    if (options_.parallel) check_shard();
  }

  /// Whether the ranks' parts of the batches fit together.
  void check_shard() const {
    const Shard& shard = train_.options().shard;
    require(shard.rank == options_.parallel->rank() && shard.ranks == options_.parallel->ranks(),
            "fit: the training data's shard is that of rank ", shard.rank, " of ", shard.ranks, ", this is rank ",
            options_.parallel->rank(), " of ", options_.parallel->ranks());
    const Index whole = train_.options().batch_size, last = train_.samples() % whole;
    require(last == 0 || train_.options().drop_last || last >= shard.ranks, "fit: the last batch of an epoch has ",
            last, " samples, fewer than the ", shard.ranks,
            " ranks that share it: drop_last, or another batch_size, leaves none such");
  }

  /// What all ranks must agree on.
  RunSettings settings() const {
    RunSettings result;
    const auto add = [&](const char* name, const auto&... parts) { result.emplace_back(name, text(parts...)); };
    const auto hash = [&](const char* name, const auto& value) {
      Hash sum;
      sum.add(value);
      result.emplace_back(name, sum.text());
    };
    const auto& data = train_.options();
    add("batch_size", data.batch_size);
    add("training samples", train_.samples());
    add("shuffle", data.shuffle);
    add("loader seed", data.seed);
    add("drop_last", data.drop_last);
    add("test samples", options_.test ? options_.test->samples() : 0);
    add("epochs", options_.epochs);
    add("epochs done", state_.epoch);
    add("accumulate", options_.accumulate);
    add("seed", options_.seed);
    add("ema_decay", options_.ema_decay.value_or(-1));
    add("clip_grad_norm", options_.clip_grad_norm.value_or(-1));
    add("auxiliary_weight", options_.auxiliary_weight);
    add("patience", options_.early_stopping ? options_.early_stopping->patience : 0);
    add("keep_best", options_.keep_best);
    add("cache_features", options_.cache_features);
    add("optimizer", optimizer_.name());
    for (Index group = 0; group < optimizer_.groups(); ++group) add("learning rate", optimizer_.lr(group));
    hash("optimizer's state", optimizer_.state());
    add("schedule", options_.schedule ? options_.schedule->name() : "none");
    if (options_.schedule) hash("schedule's state", options_.schedule->state());
    Hash samples;
    for (const Index sample : {Index{0}, train_.samples() / 2, train_.samples() - 1}) {
      const auto example = train_.dataset().get(sample);
      samples.add(example.input);
      samples.add(example.target);
    }
    result.emplace_back("training data", samples.text());
    return result;
  }
  /// Adds up over the ranks, if there are any.
  void add_up(LossAverage& average) const {
    if (Parallel<Scalar>* const parallel = options_.parallel)
      average.add_up([parallel](std::span<double> values) { parallel->sum(values); });
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
    EvaluateOptions<Scalar, Target> how{options_.loss, options_.metric};
    if (Parallel<Scalar>* const parallel = options_.parallel)
      how.sum = [parallel](std::span<double> values) { parallel->sum(values); };
    const Evaluation test = evaluate(std::as_const(learner()), cache_ ? *cache_->test : *options_.test, how);
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
    if (const Parallel<Scalar>* const parallel = options_.parallel)  // ranks differ, and resumed runs do not
      tape_.random() =
          Random(options_.seed)
              .split(static_cast<std::uint64_t>(state_.epoch), static_cast<std::uint64_t>(parallel->rank()));
    for (auto& [inputs, targets] : loader) {
      const Index samples = inputs.dim(0);
      const auto [loss, grad_norm] = train_batch(std::move(inputs), targets, ++batch, average);
      average.add(loss, samples);
      if (options_.on_batch) options_.on_batch({state_.epoch + 1, batch, train_.size(), loss, grad_norm});
      if (shown_) progress_.advance(samples, note(average));
    }
    add_up(average);
    if (options_.parallel) options_.parallel->end_epoch(net_);
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
    const Index samples = inputs.dim(0);
    Few<Tensor<Scalar>> outputs = net.forward(Values<Scalar>(std::move(inputs)), tape_, InputGrad::skip), gradients;
    if (options_.metric) average.count += options_.metric(outputs[0], targets);
    // The batches of this step: accumulate, or what is left of the epoch.
    const Index first = (batch - 1) / options_.accumulate * options_.accumulate;
    const Index together = std::min(options_.accumulate, train_.size() - first);
    const bool steps = batch == first + together;
    double loss = 0, part = 1;  // of the batch
    if (options_.parallel) part = static_cast<double>(samples) / static_cast<double>(train_.samples_of(batch - 1));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      auto [value, gradient] = options_.loss(std::move(outputs[i]), targets);
      const double weight = i == 0 ? 1 : options_.auxiliary_weight;
      const double share = weight * part / static_cast<double>(together);
      loss += weight * value;
      if (share != 1) gradient *= static_cast<Scalar>(share);
      gradients.push_back(std::move(gradient));
    }
    if (!is_finite(loss))
      throw NumericalError(text("fit: the loss is ", is_nan(loss) ? "nan" : text(loss), " in epoch ", state_.epoch + 1,
                                ", batch ", batch, " of ", train_.size()));
    if (options_.parallel) options_.parallel->before_backward(tape_, steps);
    net.backward(std::move(gradients), tape_, InputGrad::skip);
    require<StateError>(tape_.empty(), "fit: ", net_, " left values on the tape");
    double norm = std::numeric_limits<double>::quiet_NaN();
    if (!steps) return {loss, norm};
    if (options_.parallel) options_.parallel->after_backward(tape_);
    if (options_.clip_grad_norm) norm = clip_grad_norm(parameters_, *options_.clip_grad_norm);
    optimizer_.step();
    if (options_.ema_decay) {
      const Index step = state_.epoch * parts_of(train_.size(), options_.accumulate) + first / options_.accumulate;
      move_average(state_.average, net_, warm_up_decay(*options_.ema_decay, step));
    }
    if (options_.schedule && options_.schedule_per_batch) options_.schedule->step();
    return {loss, norm};
  }

  void finish_epoch(const EpochRecord& record) {
    ++state_.epoch;
    state_.random = tape_.random();
    state_.history.epochs.push_back(record);
    const double monitored = judge(record);
    if (options_.schedule && !options_.schedule_per_batch) options_.schedule->step(monitored);
    if (shown_) table_row(record);
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
    if (!shown_) return;
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
  const bool shown_;
  Progress progress_;
};

}  // namespace detail

/// Trains a model, from where `state` stands to options.epochs: for each batch forward, loss, backward, clipping, the
/// optimiser's step; after each epoch evaluation on the test data, the schedule's step, the table's line, on_epoch.
/// Returns the history of the whole run.
///
/// Throws NumericalError, naming epoch and batch, when the loss of a batch is not finite; the model then has the
/// weights that the batch before left, and what on_epoch saved is as it was. Throws ValueError for options outside
/// their range, for a training loader whose shard is not that of FitOptions::parallel, and where the last batch has
/// fewer samples than there are ranks; and StateError when a run continues with another loader seed, or what a rank was
/// given is not what rank 0 was.
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
