#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "lamina/core/size2.hpp"

namespace lamina::inline LAMINA_ABI {

/// The most of kernel sizes, dilations and paddings: their products and sums with the sizes of images do not overflow.
inline constexpr Index largest_window = std::numeric_limits<std::int32_t>::max();

/// Zeros around an image: `2` on every side, `{1, 2}` above and below, left and right; `{top, bottom, left, right}`;
/// or "same": as many as make ceil(H / SH) rows and ceil(W / SW) columns, at stride 1 those of the image; the odd one
/// goes below and to the right. That is PyTorch's "same", which it has for stride 1 alone, and TensorFlow's SAME for
/// any stride. Throws ValueError for another word, a negative number or one above 2^31 - 1.
struct Padding {
  Index top = 0;      ///< rows above the image
  Index bottom = 0;   ///< rows below
  Index left = 0;     ///< columns to the left
  Index right = 0;    ///< columns to the right
  bool same = false;  ///< as many as keep the image's size, but for the stride

  /// Zeros on all sides, by direction or by side, or "same" or "valid" (none).
  /// @{
  template <std::integral I>
  Padding(I all) : Padding(static_cast<Index>(all), static_cast<Index>(all)) {}
  Padding(Index vertical, Index horizontal) : Padding(vertical, vertical, horizontal, horizontal) {}
  Padding(Index top_rows, Index bottom_rows, Index left_columns, Index right_columns)
      : top(top_rows), bottom(bottom_rows), left(left_columns), right(right_columns) {
    require(top >= 0 && bottom >= 0 && left >= 0 && right >= 0, "padding must not be negative, got ", to_string());
    require(std::max({top, bottom, left, right}) <= largest_window, "padding must be at most ", largest_window,
            ", got ", to_string());
  }
  Padding(const char* word) : same(std::string_view(word) == "same") {
    require(same || std::string_view(word) == "valid", "padding: expected numbers, \"same\" or \"valid\", got \"", word,
            "\"");
  }
  /// @}

  /// In numbers, for a window over an image of this size.
  Padding around(const Size2& image, const Size2& kernel, const Size2& stride, const Size2& dilation) const {
    if (!same) return *this;
    const auto all = [](Index n, Index size, Index step, Index spacing) {
      return std::max<Index>(0, (parts_of(n, step) - 1) * step + spacing * (size - 1) + 1 - n);
    };
    const Index h = all(image.h, kernel.h, stride.h, dilation.h), w = all(image.w, kernel.w, stride.w, dilation.w);
    return {h / 2, h - h / 2, w / 2, w - w / 2};
  }

  /// The same on all sides.
  friend bool operator==(const Padding&, const Padding&) = default;
  /// "2", "(1, 2)", "(1, 2, 1, 2)" or "same".
  std::string to_string() const {
    if (same) return "same";
    if (top == bottom && left == right) return Size2(top, left).to_string();
    return text("(", top, ", ", bottom, ", ", left, ", ", right, ")");
  }
};

}  // namespace lamina::inline LAMINA_ABI
