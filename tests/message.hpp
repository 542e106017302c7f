#pragma once

#include <string>

#include "lamina/core/error.hpp"

namespace lamina::inline LAMINA_ABI::testing {

/// The message of the error that f() throws; empty if there is none.
template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace lamina::inline LAMINA_ABI::testing
