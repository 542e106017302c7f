#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/train/fit.hpp"

/// A whole training run in one safetensors file: the model ("model.KEY"), the optimiser ("optimizer.KEY"), the schedule
/// ("schedule.KEY"), the state of fit ("fit.KEY"), the best weights so far ("best.KEY") and their average
/// ("average.KEY"). Opt-in: needs lamina::io.
namespace lamina::inline LAMINA_ABI {

namespace detail {

inline constexpr const char* checkpoint_format = "lamina checkpoint 1";

template <class Values>
void add_tensors(NamedTensors& tensors, const std::string& prefix, const Values& values) {
  for (const auto& [name, value] : values)
    tensors.emplace_back(prefix + name, std::visit([](const auto& tensor) { return AnyTensor(tensor); }, value));
}

/// FitState without the best weights, as tensors; seeds are stored as the integers of the same bits.
template <class Scalar>
TrainingState fit_tensors(const FitState<Scalar>& state) {
  const auto integers = [](std::vector<std::int64_t> values) {
    return Tensor<std::int64_t>({static_cast<Index>(values.size())}, values);
  };
  const auto bits = [](std::uint64_t value) { return lamina::bit_cast<std::int64_t>(value); };
  const History& history = state.history;
  TrainingState result{{"epoch", integers({state.epoch})},
                       {"best_epoch", integers({history.best_epoch})},
                       {"stopped_early", integers({history.stopped_early})},
                       {"best", Tensor<double>({1}, {state.best})}};
  if (state.random)
    result.emplace_back("random", integers({bits(state.random->seed()), bits(state.random->position())}));
  if (state.loader_seed) result.emplace_back("loader_seed", integers({bits(*state.loader_seed)}));
  const auto epochs = static_cast<Index>(history.epochs.size());
  for (const auto& entry : epoch_fields) {
    Tensor<double> column({epochs});
    for (Index i = 0; i < epochs; ++i) column(i) = history.epochs[static_cast<std::size_t>(i)].*entry.second;
    result.emplace_back(text("history.", entry.first), column);
  }
  return result;
}

template <class Scalar>
FitState<Scalar> fit_state(const TrainingState& tensors) {
  StateReader reader("fit", tensors);
  const auto bits = [](std::int64_t value) { return lamina::bit_cast<std::uint64_t>(value); };
  FitState<Scalar> state;
  History& history = state.history;
  state.epoch = reader.take_count("epoch", {1});
  state.best = reader.take<double>("best", {1}).item();
  if (reader.has("random")) {
    const auto random = reader.take<std::int64_t>("random", {2});
    state.random = Random(bits(random(0)), bits(random(1)));
  }
  if (reader.has("loader_seed")) state.loader_seed = bits(reader.take<std::int64_t>("loader_seed", {1}).item());
  history.best_epoch = reader.take_count("best_epoch", {1});
  history.stopped_early = reader.take_count("stopped_early", {1}) != 0;
  // What is made is as large as what the file holds, whatever its numbers say.
  const Index epochs = reader.size(text("history.", epoch_fields[0].first));
  reader.check(state.epoch == epochs, "epoch: ", state.epoch, ", but the history has ", epochs, " epochs");
  reader.check(history.best_epoch <= state.epoch, "best_epoch: ", history.best_epoch, " of ", state.epoch, " epochs");
  history.epochs.resize(static_cast<std::size_t>(epochs));
  for (const auto& entry : epoch_fields) {
    const auto column = reader.take<double>(text("history.", entry.first), {epochs});
    for (Index i = 0; i < epochs; ++i) history.epochs[static_cast<std::size_t>(i)].*entry.second = column(i);
  }
  for (std::size_t i = 0; i < history.epochs.size(); ++i) history.epochs[i].epoch = static_cast<Index>(i) + 1;
  reader.finish();
  return state;
}

/// The tensors of a checkpoint by their parts.
template <class Scalar>
struct CheckpointParts {
  StateDict<Scalar> model, best, average;
  TrainingState optimizer, schedule, fit;

  explicit CheckpointParts(const SafetensorsFile& file) {
    for (const TensorInfo& tensor : file.tensors()) {
      const std::size_t dot = std::min(tensor.name.find('.'), tensor.name.size() - 1);
      const std::string part = tensor.name.substr(0, dot), key = tensor.name.substr(dot + 1);
      const auto add = [&]<class Values>(Values& values) {
        std::visit(
            [&]<class T>(const Tensor<T>& value) {
              if constexpr (std::is_constructible_v<typename Values::value_type::second_type, Tensor<T>>)
                values.emplace_back(key, value);
              else
                throw FileError(
                    text(file.path(), ": tensor '", tensor.name, "': unexpected dtype ", info(tensor.dtype).name));
            },
            file.any(tensor.name));
      };
      if (part == "model")
        add(model);
      else if (part == "best")
        add(best);
      else if (part == "average")
        add(average);
      else if (part == "optimizer")
        add(optimizer);
      else if (part == "schedule")
        add(schedule);
      else if (part == "fit")
        add(fit);
      else
        throw FileError(text(file.path(), ": tensor '", tensor.name, "' does not belong into a checkpoint"));
    }
  }
};

}  // namespace detail

/// Writes everything that a run needs to continue, whole or not at all. Throws FileError when it cannot be written.
///
///   .on_epoch = [&](const FitState<>& state) { save_checkpoint("run.safetensors", state, net, optimizer, &schedule); }
template <class Scalar>
void save_checkpoint(const std::string& path, const FitState<Scalar>& state, const Module<Scalar>& net,
                     const Optimizer<Scalar>& optimizer, const Schedule* schedule = nullptr) {
  NamedTensors tensors;
  detail::add_tensors(tensors, "model.", state_dict(net));
  detail::add_tensors(tensors, "optimizer.", optimizer.state());
  if (schedule) detail::add_tensors(tensors, "schedule.", schedule->state());
  detail::add_tensors(tensors, "fit.", detail::fit_tensors(state));
  detail::add_tensors(tensors, "best.", state.best_weights);
  detail::add_tensors(tensors, "average.", state.average);
  write_safetensors(path, tensors,
                    {{"format", detail::checkpoint_format},
                     {"model", net.name()},
                     {"optimizer", optimizer.name()},
                     {"schedule", schedule ? schedule->name() : "none"}});
}

/// Puts a saved run into a model, an optimiser and a schedule made as they were for it, and returns the state with
/// which fit continues to the same bits as if it had not been interrupted:
///
///   FitState state = load_checkpoint("run.safetensors", net, optimizer, &schedule);
///   fit(net, optimizer, train, options, state);
///
/// Learning rates are taken from the file; the optimiser's and schedule's other options stay as constructed. Throws
/// FileError for a file that is damaged or no checkpoint, StateError when model, optimiser or schedule are not those of
/// the run, or a number cannot be (a rate of NaN, a negative count). All is checked before anything is put in: then
/// none of them has changed.
template <class Scalar>
FitState<Scalar> load_checkpoint(const std::string& path, Module<Scalar>& net, Optimizer<Scalar>& optimizer,
                                 std::type_identity_t<Schedule*> schedule = nullptr) {
  const SafetensorsFile file(path);
  const auto of = [&](const char* key) {
    const auto entry = file.metadata().find(key);
    return entry == file.metadata().end() ? std::string() : entry->second;
  };
  require<FileError>(of("format") == detail::checkpoint_format, path, ": not a checkpoint: expected format '",
                     detail::checkpoint_format, "', found '", of("format"), "'");
  const std::string optimizer_name = optimizer.name(), schedule_name = schedule ? schedule->name() : "none";
  for (const auto& [key, name] : {std::pair("optimizer", &optimizer_name), {"schedule", &schedule_name}})
    require<StateError>(of(key) == *name, path, ": the checkpoint's ", key, " is ", of(key), ", this run's is ", *name);
  const detail::CheckpointParts<Scalar> parts(file);

  try {
    FitState<Scalar> state = detail::fit_state<Scalar>(parts.fit);
    state.best_weights = parts.best;
    state.average = parts.average;
    LoadReport report;
    for (const auto* weights : {&parts.best, &parts.average})  // only to see whether they fit
      if (!weights->empty()) prepare_load_state_dict(net, *weights, {}, report);
    const auto load_model = prepare_load_state_dict(net, parts.model, {}, report);
    const auto load_optimizer = optimizer.prepare_load(parts.optimizer);
    const auto load_schedule = schedule ? schedule->prepare_load(parts.schedule) : [] {};
    load_model();
    load_optimizer();
    load_schedule();
    return state;
  } catch (const StateError& error) {
    throw StateError(text(path, ": ", error.what()));
  }
}

}  // namespace lamina::inline LAMINA_ABI
