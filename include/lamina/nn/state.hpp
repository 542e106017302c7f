#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Calls f(path, owner, member) for everything below a module that is not a child, in the order of enumeration.
template <class M, class F>
void for_each_member(M& module, const std::string& prefix, F& f) {
  using Scalar = ScalarOf<M>;
  for (const Member<Scalar>& member : members_of(module)) {
    const std::string separator = prefix.empty() || member.name.empty() ? "" : ".";
    const std::string path = prefix + separator + member.name;
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part))
      for_each_member(**child, path, f);
    else
      f(path, module, member);
  }
}

}  // namespace detail

/// A parameter, its state_dict key, and the layer that holds it.
template <class Scalar>
struct NamedParameter {
  std::string name;              ///< the key in state_dict
  Parameter<Scalar>* parameter;  ///< in the model
  Module<Scalar>* owner;         ///< the layer that holds it
};

/// All parameters of a model, frozen ones included, in the order of enumeration. The pointers stay valid as long as
/// the model lives and is not moved.
template <class Scalar>
std::vector<NamedParameter<Scalar>> parameters(Module<Scalar>& module) {
  std::vector<NamedParameter<Scalar>> result;
  auto collect = [&](const std::string& path, Module<Scalar>& owner, const Member<Scalar>& member) {
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part)) result.push_back({path, *parameter, &owner});
  };
  detail::for_each_member(module, "", collect);
  return result;
}

/// f(layer) for every module of type L below a module, itself included:
/// `for_each<Linear<float>>(net, [&](auto& linear) { linear.bias.value.fill(0); })`.
template <class L, class Scalar, class F>
void for_each(Module<Scalar>& module, F&& f) {
  if (auto* layer = module.template as<L>()) f(*layer);
  for (const Member<Scalar>& member : module.members())
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part)) for_each<L>(**child, f);
}

/// Whether all parameters of a module are learned: `set_requires_grad(net[0], false)`. As in PyTorch that is about the
/// parameters alone: in training the module still moves its running statistics and drops units; freeze() stops that.
template <class Scalar>
void set_requires_grad(Module<Scalar>& module, bool requires_grad) {
  for (auto& [name, parameter, owner] : parameters(module)) parameter->requires_grad = requires_grad;
}

namespace detail {

template <class Scalar>
void set_frozen(Module<Scalar>& module, bool frozen) {
  module.set_frozen(frozen);
  for (const Member<Scalar>& member : module.members())
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part)) set_frozen(**child, frozen);
  set_requires_grad(module, !frozen);
}

}  // namespace detail

/// Leaves a module, with all below it, as it is: its parameters are not learned, and its forward computes as infer does
/// (batch norm by the running statistics, which stand still; nothing is dropped; a ham takes the steps and bases of
/// inference). Gradients still go through it where something before it is learned. A module that is put into it later
/// is not frozen.
template <class Scalar>
void freeze(Module<Scalar>& module) {
  detail::set_frozen(module, true);
}

/// Takes freeze() back for a module, or for a part of a frozen one: `unfreeze(net[3])`. All its parameters are learned.
template <class Scalar>
void unfreeze(Module<Scalar>& module) {
  detail::set_frozen(module, false);
}

/// Zeroes all gradients, keeping their storage.
template <class Scalar>
void zero_grad(Module<Scalar>& module) {
  for (auto& [name, parameter, owner] : parameters(module))
    if (!parameter->grad.empty()) parameter->grad.fill(0);
}

/// A learned tensor or buffer, or a counter.
template <class Scalar>
using StateTensor = std::variant<Tensor<Scalar>, Tensor<std::int64_t>>;

/// Names and values of all parameters and buffers, in the order of enumeration. The names are PyTorch's.
template <class Scalar>
using StateDict = std::vector<std::pair<std::string, StateTensor<Scalar>>>;

/// The parameters and buffers of a model. The tensors share storage with it until either is written.
template <class Scalar>
StateDict<Scalar> state_dict(const Module<Scalar>& module) {
  StateDict<Scalar> result;
  std::unordered_set<std::string> paths;
  auto collect = [&](const std::string& path, const Module<Scalar>& owner, const Member<Scalar>& member) {
    require<StateError>(paths.insert(path).second, "state_dict: two entries are named '", path, "', the second in ",
                        owner.name());
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part))
      result.emplace_back(path, (*parameter)->value);
    else if (auto* buffer = std::get_if<Tensor<Scalar>*>(&member.part))
      result.emplace_back(path, **buffer);
    else
      result.emplace_back(path, *std::get<Tensor<std::int64_t>*>(member.part));
  };
  detail::for_each_member(module, "", collect);
  return result;
}

/// Options of load_state_dict.
struct LoadOptions {
  bool strict = true;  ///< entries that are missing or unexpected are an error, as mis-shaped ones always are
};

/// What a load that was not strict left out.
struct LoadReport {
  std::vector<std::string> missing;     ///< in the model, not in the state
  std::vector<std::string> unexpected;  ///< in the state, not in the model
};

/// Checks a state as load_state_dict does. What it returns puts the state in, and cannot fail; the model must still be
/// there.
template <class Scalar>
std::function<void()> prepare_load_state_dict(Module<Scalar>& module, const StateDict<Scalar>& state,
                                              LoadOptions options, LoadReport& report) {
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < state.size(); ++i) places.emplace(state[i].first, i);
  std::vector<bool> used(state.size(), false);
  std::vector<std::pair<Tensor<Scalar>*, Tensor<Scalar>>> values;
  std::vector<std::pair<Tensor<std::int64_t>*, Tensor<std::int64_t>>> counters;
  std::vector<std::string> mismatched;
  auto match = [&](const std::string& path, Module<Scalar>&, const Member<Scalar>& member) {
    const auto place = places.find(path);
    if (place == places.end()) {
      report.missing.push_back(path);
      return;
    }
    const std::size_t i = place->second;
    used[i] = true;
    const auto take = [&](auto* target, auto& list) {
      using T = typename std::remove_pointer_t<decltype(target)>::value_type;
      Tensor<T> value = std::visit([](const auto& tensor) { return tensor.template cast<T>(); }, state[i].second);
      if (value.shape() == target->shape())
        list.emplace_back(target, std::move(value));
      else
        mismatched.push_back(text(path, ": expected shape ", target->shape(), ", got ", value.shape()));
    };
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part))
      take(&(*parameter)->value, values);
    else if (auto* buffer = std::get_if<Tensor<Scalar>*>(&member.part))
      take(*buffer, values);
    else
      take(std::get<Tensor<std::int64_t>*>(member.part), counters);
  };
  detail::for_each_member(module, "", match);
  for (std::size_t i = 0; i < state.size(); ++i)
    if (!used[i]) report.unexpected.push_back(state[i].first);

  std::string problems;
  const auto list = [&](const char* title, const std::vector<std::string>& entries) {
    constexpr std::size_t most = 5;
    if (entries.empty()) return;
    problems += text("\n ", title, ":");
    for (std::size_t i = 0; i < entries.size() && i < most; ++i) problems += "\n  " + entries[i];
    if (entries.size() > most) problems += text("\n  and ", entries.size() - most, " more");
  };
  if (options.strict) {
    list("missing", report.missing);
    list("unexpected", report.unexpected);
  }
  list("mis-shaped", mismatched);
  require<StateError>(problems.empty(), "load_state_dict: the state does not fit ", module.name(), problems);

  return [values = std::move(values), counters = std::move(counters)]() mutable {
    for (auto& [target, value] : values) *target = std::move(value);
    for (auto& [target, value] : counters) *target = std::move(value);
  };
}

/// Sets parameters and buffers by name. Throws StateError listing missing, unexpected (if strict) and mis-shaped
/// entries, the first five of each; then the model is unchanged. A counter may come as a number of either type.
template <class Scalar>
LoadReport load_state_dict(Module<Scalar>& module, const StateDict<Scalar>& state, LoadOptions options = {}) {
  LoadReport report;
  prepare_load_state_dict(module, state, options, report)();
  return report;
}

}  // namespace lamina::inline LAMINA_ABI
