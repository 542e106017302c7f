#include "gan/run.hpp"

#include <array>
#include <utility>
#include <variant>

#include "lamina/io/safetensors.hpp"

namespace lamina::examples::gan {

namespace {
constexpr const char* format = "lamina gan 1";

/// The numbers of an epoch, in order.
constexpr std::array columns{&EpochOfRun::discriminator_loss, &EpochOfRun::generator_loss, &EpochOfRun::real_score,
                             &EpochOfRun::fake_score,         &EpochOfRun::spread,         &EpochOfRun::seconds};

template <class State>
void add(NamedTensors& tensors, const std::string& prefix, const State& state) {
  for (const auto& [name, value] : state)
    tensors.emplace_back(prefix + name, std::visit([](const auto& tensor) { return AnyTensor(tensor); }, value));
}

/// The tensors of a file whose names begin with the prefix.
template <class State>
State part(const SafetensorsFile& file, const std::string& prefix) {
  State result;
  for (const TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    std::visit(
        [&]<class T>(const Tensor<T>& value) {
          if constexpr (std::is_constructible_v<typename State::value_type::second_type, Tensor<T>>)
            result.emplace_back(tensor.name.substr(prefix.size()), value);
          else
            throw FileError(text(file.path(), ": tensor '", tensor.name, "' is of an unexpected type"));
        },
        file.any(tensor.name));
  }
  return result;
}
}  // namespace

void save_run(const std::string& path, const Run& run) {
  NamedTensors tensors;
  add(tensors, "generator.", state_dict(run.generator));
  add(tensors, "discriminator.", state_dict(run.discriminator));
  add(tensors, "average.", run.average);
  add(tensors, "optimizer_g.", run.generator_optimizer.state());
  add(tensors, "optimizer_d.", run.discriminator_optimizer.state());
  Tensor<double> epochs({run.epoch(), static_cast<Index>(columns.size())});
  for (Index i = 0; i < run.epoch(); ++i)
    for (std::size_t k = 0; k < columns.size(); ++k)
      epochs(i, static_cast<Index>(k)) = run.epochs[static_cast<std::size_t>(i)].*columns[k];
  tensors.emplace_back("run.epochs", epochs);
  write_safetensors(path, tensors, {{"format", format}, {"generator", run.generator.name()}});
}

void load_run(const std::string& path, Run& run) {
  const SafetensorsFile file(path);
  const auto word = [&](const char* key) {
    const auto entry = file.metadata().find(key);
    return entry == file.metadata().end() ? std::string() : entry->second;
  };
  require<FileError>(word("format") == format, path, ": not a checkpoint of this program: expected format '", format,
                     "', found '", word("format"), "'");
  require<StateError>(word("generator") == run.generator.name(), path, ": the checkpoint is of ", word("generator"),
                      ", this run's networks are of ", run.generator.name());
  const Tensor<double> epochs = file.tensor<double>("run.epochs");
  require<FileError>(epochs.rank() == 2 && epochs.dim(1) == static_cast<Index>(columns.size()), path,
                     ": tensor 'run.epochs': unexpected shape ", epochs.shape());
  try {
    LoadReport report;
    auto average = part<StateDict<float>>(file, "average.");
    prepare_load_state_dict(run.generator, average, {}, report);  // only to see whether they fit
    const auto generator =
        prepare_load_state_dict(run.generator, part<StateDict<float>>(file, "generator."), {}, report);
    const auto discriminator =
        prepare_load_state_dict(run.discriminator, part<StateDict<float>>(file, "discriminator."), {}, report);
    const auto first = run.generator_optimizer.prepare_load(part<TrainingState>(file, "optimizer_g."));
    const auto second = run.discriminator_optimizer.prepare_load(part<TrainingState>(file, "optimizer_d."));
    generator();
    discriminator();
    first();
    second();
    run.average = std::move(average);
  } catch (const StateError& error) {
    throw StateError(text(path, ": ", error.what()));
  }
  for (Index i = 0; i < epochs.dim(0); ++i) {
    EpochOfRun epoch;
    for (std::size_t k = 0; k < columns.size(); ++k) epoch.*columns[k] = epochs(i, static_cast<Index>(k));
    run.epochs.push_back(epoch);
  }
  run.resumed = run.epoch();
}

}  // namespace lamina::examples::gan
