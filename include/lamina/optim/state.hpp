#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// What an optimiser or a schedule has gathered so far, as named tensors, for checkpoints. Learning rates are doubles
/// whatever the parameters are, so that a run resumes with the same bits.
using TrainingValue = std::variant<Tensor<float>, Tensor<double>, Tensor<std::int64_t>>;
using TrainingState = std::vector<std::pair<std::string, TrainingValue>>;  ///< by name

namespace detail {

/// Takes values out of a TrainingState and gathers what is wrong with it; finish() reports all of it at once.
class StateReader {
 public:
  /// `who` begins the message.
  StateReader(std::string who, const TrainingState& state)
      : who_(std::move(who)), state_(state), used_(state.size(), false) {
    for (std::size_t i = 0; i < state.size(); ++i) places_.emplace(state[i].first, i);
  }

  bool has(const std::string& name) const { return places_.contains(name); }
  /// The number of elements of the value of that name; 0 if it is missing.
  Index size(const std::string& name) const {
    const auto place = places_.find(name);
    if (place == places_.end()) return 0;
    return std::visit([](const auto& value) { return value.numel(); }, state_[place->second].second);
  }

  /// The value of that name, converted to T; zeros, and a problem noted, if it is missing or of another shape or kind.
  template <class T>
  Tensor<T> take(const std::string& name, const Shape& shape) {
    const auto place = places_.find(name);
    if (place == places_.end()) {
      missing_ += text("\n  ", name);
      return Tensor<T>::zeros(shape);
    }
    used_[place->second] = true;
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
        state_[place->second].second);
  }

  /// Notes a problem unless a value that was taken is possible.
  template <class... Parts>
  void check(bool possible, const Parts&... parts) {
    if (!possible) impossible_ += text("\n  ", parts...);
  }
  /// One number that counts: not negative, and as far from the largest integer as a run can come.
  Index take_count(const std::string& name, const Shape& shape = {}) {
    constexpr std::int64_t most = std::min(std::int64_t{1} << 53, std::int64_t{std::numeric_limits<Index>::max()});
    const std::int64_t count = take<std::int64_t>(name, shape).item();
    check(count >= 0 && count <= most, name, ": expected a count, got ", count);
    return static_cast<Index>(count);
  }
  /// Learning rates, which are finite and not negative.
  Tensor<double> take_rates(const std::string& name, Index count) {
    const Tensor<double> rates = take<double>(name, {count});
    for (const double rate : rates.values())
      check(is_finite(rate) && rate >= 0, name, ": must be finite and not negative, got ", rate);
    return rates;
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

  /// Throws StateError listing what was missing, of the wrong shape, impossible, or not asked for.
  void finish() const {
    std::string unexpected;
    for (std::size_t i = 0; i < state_.size(); ++i)
      if (!used_[i]) unexpected += text("\n  ", state_[i].first);
    std::string problems;
    if (!missing_.empty()) problems += text("\n missing:", missing_);
    if (!unexpected.empty()) problems += text("\n unexpected:", unexpected);
    if (!mismatched_.empty()) problems += text("\n mis-shaped:", mismatched_);
    if (!impossible_.empty()) problems += text("\n impossible:", impossible_);
    require<StateError>(problems.empty(), who_, ": the state does not fit", problems);
  }

 private:
  std::string who_;
  const TrainingState& state_;
  std::vector<bool> used_;
  std::unordered_map<std::string, std::size_t> places_;
  std::string missing_, mismatched_, impossible_;
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
