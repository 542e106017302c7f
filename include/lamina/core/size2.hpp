#pragma once

#include <concepts>
#include <string>

#include "lamina/core/shape.hpp"

namespace lamina {

/// A height and a width: `5` means {5, 5}.
struct Size2 {
  Index h = 0;  ///< the height, in rows
  Index w = 0;  ///< the width, in columns

  /// The same both ways.
  template <std::integral I>
  constexpr Size2(I both) : h(static_cast<Index>(both)), w(static_cast<Index>(both)) {}
  /// A height and a width.
  constexpr Size2(Index height, Index width) : h(height), w(width) {}

  /// Equal in both.
  friend constexpr bool operator==(const Size2&, const Size2&) = default;
  /// "5" or "(5, 3)".
  std::string to_string() const { return h == w ? std::to_string(h) : text("(", h, ", ", w, ")"); }
};

}  // namespace lamina
