#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/tensor.hpp"

namespace lamina {

/// What an optimiser or a schedule has gathered so far, as named tensors, for checkpoints. Learning rates are doubles
/// whatever the parameters are, so that a run resumes with the same bits.
using TrainingValue = std::variant<Tensor<float>, Tensor<double>, Tensor<std::int64_t>>;
using TrainingState = std::vector<std::pair<std::string, TrainingValue>>;

namespace detail {

/// Takes values out of a TrainingState and gathers what is wrong with it; finish() reports all of it at once.
class StateReader {
 public:
  /// `who` begins the message.
  StateReader(std::string who, const TrainingState& state)
      : who_(std::move(who)), state_(state), used_(state.size(), false) {}

  /// The value of that name, converted to T; zeros, and a problem noted, if it is missing or of another shape or kind.
  template <class T>
  Tensor<T> take(const std::string& name, const Shape& shape) {
    std::size_t i = 0;
    while (i < state_.size() && state_[i].first != name) ++i;
    if (i == state_.size()) {
      missing_ += text("\n  ", name);
      return Tensor<T>::zeros(shape);
    }
    used_[i] = true;
    return std::visit(
        [&]<class From>(const Tensor<From>& value) {
          if (std::is_integral_v<From> != std::is_integral_v<T>)
            mismatched_ += text("\n  ", name, ": expected ", std::is_integral_v<T> ? "integers" : "floating point");
          else if (value.shape() != shape)
            mismatched_ += text("\n  ", name, ": expected shape ", shape, ", got ", value.shape());
          else
            return value.template cast<T>();
          return Tensor<T>::zeros(shape);
        },
        state_[i].second);
  }

  /// The rest of the entries whose names begin with a prefix, without it.
  TrainingState take_all(const std::string& prefix) {
    TrainingState result;
    for (std::size_t i = 0; i < state_.size(); ++i)
      if (state_[i].first.starts_with(prefix)) {
        used_[i] = true;
        result.emplace_back(state_[i].first.substr(prefix.size()), state_[i].second);
      }
    return result;
  }

  /// Throws StateError listing what was missing, of the wrong shape, or not asked for.
  void finish() const {
    std::string unexpected;
    for (std::size_t i = 0; i < state_.size(); ++i)
      if (!used_[i]) unexpected += text("\n  ", state_[i].first);
    std::string problems;
    if (!missing_.empty()) problems += text("\n missing:", missing_);
    if (!unexpected.empty()) problems += text("\n unexpected:", unexpected);
    if (!mismatched_.empty()) problems += text("\n mis-shaped:", mismatched_);
    require<StateError>(problems.empty(), who_, ": the state does not fit", problems);
  }

 private:
  std::string who_;
  const TrainingState& state_;
  std::vector<bool> used_;
  std::string missing_, mismatched_;
};

}  // namespace detail
}  // namespace lamina
