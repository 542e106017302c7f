#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/core/denormals.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/kernels/update.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/optim/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// Parameters with settings of their own; what is not set here is as in the optimiser's options:
///
///   SGD<float> optimizer({{.parameters = parameters(net[0]), .lr = 0.001}, {.parameters = parameters(net[1])}},
///                        {.lr = 0.01});
template <class Scalar = float>
struct ParameterGroup {
  std::vector<NamedParameter<Scalar>> parameters;  ///< what it learns
  std::optional<double> lr = {};                   ///< the group's learning rate, by default the optimiser's
  std::optional<double> weight_decay = {};         ///< the group's weight decay, by default the optimiser's
};

/// The usual two groups: weights of rank 2 and more, which decay as the optimiser's options say; and vectors and
/// scalars (biases, the scales and shifts of norms), which do not decay.
template <class Scalar>
std::vector<ParameterGroup<Scalar>> decay_groups(const std::vector<NamedParameter<Scalar>>& parameters) {
  std::vector<ParameterGroup<Scalar>> groups(2);
  groups[1].weight_decay = 0;
  for (const NamedParameter<Scalar>& named : parameters)
    groups[named.parameter->value.rank() <= 1 ? 1 : 0].parameters.push_back(named);
  return groups;
}

/// Three groups, as networks of segmentation are trained (Geng et al. 2021, appendix E.1, and the programs of DeepLab):
/// weights of rank 2 and more, which decay as the optimiser's options say; other weights (of norms), which do not; and
/// biases, which do not and have a learning rate of their own, there twice the others'. Groups without a parameter are
/// left out.
template <class Scalar>
std::vector<ParameterGroup<Scalar>> bias_groups(const std::vector<NamedParameter<Scalar>>& parameters, double bias_lr) {
  std::vector<ParameterGroup<Scalar>> groups(3);
  groups[1].weight_decay = groups[2].weight_decay = 0;
  groups[2].lr = bias_lr;
  for (const NamedParameter<Scalar>& named : parameters) {
    const bool bias = named.name == "bias" || named.name.ends_with(".bias");
    groups[bias ? 2 : named.parameter->value.rank() > 1 ? 0 : 1].parameters.push_back(named);
  }
  std::erase_if(groups, [](const auto& group) { return group.parameters.empty(); });
  return groups;
}

/// Settings for the parameters whose names fit a pattern, see name_groups.
struct NamePattern {
  std::string pattern;                      ///< `*` stands for any characters, or none; `?` for one
  std::optional<double> lr = {};            ///< by default the optimiser's
  std::optional<double> weight_decay = {};  ///< by default the optimiser's
};

namespace detail {

/// Whether a text is a pattern's, in which `*` stands for any characters, or none, and `?` for one.
inline bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, begin = 0;  // the last star, and where its text begins
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      begin = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++begin;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace detail

/// Groups by the parameters' names, their keys in state_dict: those that no pattern fits come first, with the
/// optimiser's settings, if there are any; then a group for each pattern. The first pattern that fits counts.
///
///   AdamW optimizer(name_groups(parameters(net), {{.pattern = "classifier.*", .lr = 1e-2}}), {.lr = 1e-4});
///
/// Throws ValueError for a pattern that has no parameters.
template <class Scalar>
std::vector<ParameterGroup<Scalar>> name_groups(const std::vector<NamedParameter<Scalar>>& parameters,
                                                const std::vector<NamePattern>& patterns) {
  std::vector<ParameterGroup<Scalar>> groups(1);
  for (const NamePattern& pattern : patterns) groups.push_back({{}, pattern.lr, pattern.weight_decay});
  for (const NamedParameter<Scalar>& named : parameters) {
    std::size_t k = 0;
    while (k < patterns.size() && !detail::matches(patterns[k].pattern, named.name)) ++k;
    groups[k < patterns.size() ? k + 1 : 0].parameters.push_back(named);
  }
  for (std::size_t k = 0; k < patterns.size(); ++k)
    require(!groups[k + 1].parameters.empty(), "name_groups: '", patterns[k].pattern, "' fits no parameter",
            std::any_of(parameters.begin(), parameters.end(),
                        [&](const auto& named) { return detail::matches(patterns[k].pattern, named.name); })
                ? " that an earlier pattern has left"
                : "",
            parameters.empty() ? "" : text("; the first is '", parameters[0].name, "'"));
  if (groups[0].parameters.empty()) groups.erase(groups.begin());
  return groups;
}

/// The part of an optimiser that does not depend on the scalar type: what a learning-rate schedule works on.
class OptimizerBase {
 public:
  virtual ~OptimizerBase() = default;

  /// "SGD", "Adam", ...
  virtual std::string name() const = 0;

  /// The number of parameter groups.
  Index groups() const { return static_cast<Index>(settings_.size()); }
  /// A group's learning rate. Throws ValueError if there is no such group.
  double lr(Index group = 0) const { return settings_[position(group)].lr; }
  /// Sets the learning rate of all groups, or of one. Throws ValueError unless it is finite and not negative.
  void set_lr(double lr) {
    for (Index group = 0; group < groups(); ++group) set_lr(lr, group);
  }
  /// Of one group. Throws ValueError for a group that there is not, or a rate that is negative or not finite.
  void set_lr(double lr, Index group) {
    check(name(), "lr", lr);
    settings_[position(group)].lr = lr;
  }

 protected:
  /// What a group has of its own.
  struct Settings {
    double lr;            ///< the learning rate
    double weight_decay;  ///< the weight decay
  };

  OptimizerBase() = default;
  /// Copies go on from the same state.
  /// @{
  OptimizerBase(const OptimizerBase&) = default;
  OptimizerBase& operator=(const OptimizerBase&) = default;
  /// @}

  /// Throws ValueError unless an option's value is finite and not negative.
  static void check(const std::string& who, const char* option, double value) {
    require(is_finite(value) && value >= 0, who, ": ", option, " must be finite and not negative, got ", value);
  }
  /// Throws ValueError unless an option's value is in [0, 1).
  static void check_fraction(const std::string& who, const char* option, double value) {
    require(value >= 0 && value < 1, who, ": ", option, " must be in [0, 1), got ", value);
  }
  /// The place of a group in settings_. Throws ValueError if there is none.
  std::size_t position(Index group) const {
    require(group >= 0 && group < groups(), name(), ": no parameter group ", group, ", there are ", groups());
    return static_cast<std::size_t>(group);
  }

  std::vector<Settings> settings_;  ///< of each group
};

/// Base of the optimisers. It refers to the parameters of a model, which must outlive it and stay where it is.
template <class Scalar>
class Optimizer : public OptimizerBase {
 public:
  /// Updates every parameter that requires a gradient and has one, then zeroes the gradients, keeping their storage:
  /// one pass over memory, with the same result for any number of threads.
  void step() {
    const FlushDenormals flush;
    for (Entry& entry : entries_) {
      Parameter<Scalar>& parameter = *entry.named.parameter;
      if (!parameter.requires_grad || parameter.grad.shape() != parameter.value.shape()) continue;
      count_up(entry.steps);
      std::array<Scalar*, max_slots> slots{};
      prepare(entry);
      for (std::size_t k = 0; k < slot_names_.size(); ++k) slots[k] = entry.slots[k].data();
      const Settings& settings = settings_[entry.group];
      update(parameter.value.numel(), parameter.value.data(), parameter.grad.data(), slots,
             {entry.steps, settings.lr, settings.weight_decay});
    }
  }

  /// Zeroes all gradients, keeping their storage.
  void zero_grad() {
    for (Entry& entry : entries_)
      if (Tensor<Scalar>& grad = entry.named.parameter->grad; !grad.empty()) grad.fill(0);
  }

  /// All parameters, group by group.
  std::vector<NamedParameter<Scalar>> parameters() const {
    std::vector<NamedParameter<Scalar>> result;
    for (const Entry& entry : entries_) result.push_back(entry.named);
    return result;
  }

  /// Learning rates ("lr", one for each group), and for each parameter its number of updates ("NAME.step") and what the
  /// optimiser keeps for it ("NAME.exp_avg", ...; PyTorch's names). The tensors share storage until either is written.
  TrainingState state() const {
    Tensor<double> lrs({groups()});
    for (Index group = 0; group < groups(); ++group) lrs(group) = lr(group);
    TrainingState result{{"lr", lrs}};
    for (const Entry& entry : entries_) {
      result.emplace_back(entry.named.name + ".step", Tensor<std::int64_t>({}, {entry.steps}));
      if (entry.steps > 0)
        for (std::size_t k = 0; k < slot_names_.size(); ++k)
          result.emplace_back(entry.named.name + "." + slot_names_[k], entry.slots[k]);
    }
    return result;
  }

  /// Continues from a state; the other options stay as constructed. Throws StateError listing every entry that is
  /// missing, unexpected, mis-shaped or impossible (a rate or a count); then nothing has changed.
  void load_state(const TrainingState& state) { prepare_load(state)(); }

  /// Checks a state as load_state does. What it returns puts the state in, and cannot fail; the optimiser must still be
  /// there.
  std::function<void()> prepare_load(const TrainingState& state) {
    detail::StateReader reader(name(), state);
    const Tensor<double> lrs = reader.take_rates("lr", groups());
    std::vector<Entry> entries = entries_;
    for (Entry& entry : entries) {
      entry.steps = reader.take_count(entry.named.name + ".step");
      for (std::size_t k = 0; k < slot_names_.size(); ++k)
        entry.slots[k] = entry.steps != 0 ? reader.take<Scalar>(entry.named.name + "." + slot_names_[k],
                                                                entry.named.parameter->value.shape())
                                          : Tensor<Scalar>();
    }
    reader.finish();
    return [this, lrs, entries = std::move(entries)]() mutable {
      for (Index group = 0; group < groups(); ++group) set_lr(lrs.values()[static_cast<std::size_t>(group)], group);
      entries_ = std::move(entries);
    };
  }

 protected:
  static constexpr std::size_t max_slots = 3;  ///< tensors of state for each parameter, at most
  /// One update.
  struct Step {
    std::int64_t number;  ///< counted from 1 for each parameter
    double lr;            ///< the group's learning rate
    double weight_decay;  ///< the group's weight decay
  };

  /// `slots` names the tensors that the optimiser keeps for each parameter, zeros at first. Throws ValueError for a
  /// negative setting, no parameters, or one that comes twice.
  Optimizer(const std::string& who, std::vector<ParameterGroup<Scalar>> groups, double lr, double weight_decay,
            std::vector<std::string> slots)
      : slot_names_(std::move(slots)) {
    for (ParameterGroup<Scalar>& group : groups) {
      settings_.push_back({group.lr.value_or(lr), group.weight_decay.value_or(weight_decay)});
      check(who, "lr", settings_.back().lr);
      check(who, "weight_decay", settings_.back().weight_decay);
      for (NamedParameter<Scalar>& named : group.parameters) {
        for (const Entry& entry : entries_) {
          require(entry.named.parameter != named.parameter, who, ": parameter '", named.name, "' comes twice");
          // Names are the keys of the saved state; two models may use the same.
          if (entry.named.name == named.name) named.name += text("#", entries_.size());
        }
        entries_.push_back(
            {std::move(named), settings_.size() - 1, 0, std::vector<Tensor<Scalar>>(slot_names_.size())});
        // Storage taken before the first step is storage that later steps need not ask the system for.
        if (Entry& entry = entries_.back(); entry.named.parameter->requires_grad) {
          entry.named.parameter->reserve_gradient();
          prepare(entry);
        }
      }
    }
    require(!entries_.empty(), who, ": there are no parameters");
  }

  /// All parameters as one group with the optimiser's settings.
  static std::vector<ParameterGroup<Scalar>> one_group(std::vector<NamedParameter<Scalar>> parameters) {
    std::vector<ParameterGroup<Scalar>> groups(1);
    groups[0].parameters = std::move(parameters);
    return groups;
  }

 private:
  struct Entry {
    NamedParameter<Scalar> named;
    std::size_t group;
    std::int64_t steps;  // updates so far
    std::vector<Tensor<Scalar>> slots;
  };

  /// Makes the tensors that the optimiser keeps for a parameter.
  static void prepare(Entry& entry) {
    const Shape& shape = entry.named.parameter->value.shape();
    for (Tensor<Scalar>& slot : entry.slots)
      if (slot.shape() != shape) slot = Tensor<Scalar>::zeros(shape);
  }

  /// Updates n values x with gradients g, and sets g to zero.
  virtual void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, max_slots>& slots,
                      const Step& step) const = 0;

  std::vector<std::string> slot_names_;
  std::vector<Entry> entries_;
};

}  // namespace lamina::inline LAMINA_ABI
