#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "lamina/core/error.hpp"

namespace lamina::examples {

/// Whole numbers from `low` on.
inline CLI::Validator at_least(long long low) {
  const auto check = [low](const std::string& text) -> std::string {
    long long value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= low) return {};
    return lamina::text("expected a whole number of at least ", low, ", got ", text);
  };
  return CLI::Validator(check, lamina::text(">=", low), "at_least");
}

}  // namespace lamina::examples
