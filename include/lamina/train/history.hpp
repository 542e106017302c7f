#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/shape.hpp"

namespace lamina::inline LAMINA_ABI {

/// What one epoch of training came to; NaN where something was not measured.
struct EpochRecord {
  Index epoch = 0;                                               ///< from 1
  double train_loss = std::numeric_limits<double>::quiet_NaN();  ///< averaged over the samples, while the weights moved
  double train_accuracy = std::numeric_limits<double>::quiet_NaN();  ///< the metric's share, likewise
  double test_loss = std::numeric_limits<double>::quiet_NaN();       ///< averaged over the test samples
  double test_accuracy = std::numeric_limits<double>::quiet_NaN();   ///< the metric's share
  double seconds = 0;                                                ///< of training, without the evaluation
  double examples_per_second = 0;                                    ///< in training
  double lr = 0;  ///< of the first parameter group, at the end of the epoch
};

/// A training run, epoch by epoch.
struct History {
  std::vector<EpochRecord> epochs;  ///< in order
  Index best_epoch = 0;             ///< the epoch, from 1, with the best monitored value; 0: none
  bool stopped_early = false;       ///< before the last epoch, because the monitored value did not improve
};

namespace detail {

inline constexpr std::array<std::pair<const char*, double EpochRecord::*>, 7> epoch_fields{
    {{"train_loss", &EpochRecord::train_loss},
     {"train_accuracy", &EpochRecord::train_accuracy},
     {"test_loss", &EpochRecord::test_loss},
     {"test_accuracy", &EpochRecord::test_accuracy},
     {"seconds", &EpochRecord::seconds},
     {"examples_per_second", &EpochRecord::examples_per_second},
     {"lr", &EpochRecord::lr}}};

/// The shortest text that reads back as the same double; `otherwise` for NaN and infinities.
inline std::string number(double value, const char* otherwise) {
  if (!is_finite(value)) return otherwise;
  std::array<char, 32> buffer;
#if defined(_LIBCPP_VERSION) && _LIBCPP_VERSION < 14000  // Emscripten 3.1.6: all digits, by the locale's decimal point
  std::string out(buffer.data(), static_cast<std::size_t>(std::snprintf(buffer.data(), buffer.size(), "%.17g", value)));
  std::replace(out.begin(), out.end(), ',', '.');
  return out;
#else
  return std::string(buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr);
#endif
}

}  // namespace detail

/// A header line and one line for each epoch; empty where something was not measured.
inline std::string to_csv(const History& history) {
  std::string out = "epoch";
  for (const auto& [name, field] : detail::epoch_fields) out += text(",", name);
  out += '\n';
  for (const EpochRecord& record : history.epochs) {
    out += std::to_string(record.epoch);
    for (const auto& [name, field] : detail::epoch_fields) out += text(",", detail::number(record.*field, ""));
    out += '\n';
  }
  return out;
}

/// A JSON array with an object for each epoch; null where something was not measured.
inline std::string to_json(const History& history) {
  std::string out = "[";
  for (const EpochRecord& record : history.epochs) {
    out += text(out.size() > 1 ? ",\n " : "", "{\"epoch\": ", record.epoch);
    for (const auto& [name, field] : detail::epoch_fields)
      out += text(", \"", name, "\": ", detail::number(record.*field, "null"));
    out += '}';
  }
  return out + "]";
}

}  // namespace lamina::inline LAMINA_ABI
