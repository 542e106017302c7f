#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

#include "lamina/core/error.hpp"

namespace lamina::inline LAMINA_ABI {

/// The words of an enumeration, each in the place of its value, and what it chooses; specialised beside it:
///
///   template <>
///   struct Words<Reduction> {
///     static constexpr const char* what = "reduction";
///     static constexpr std::array words{"mean", "sum", "none"};
///   };
template <class Enum>
struct Words;

/// A value of an enumeration as an option: written as that, or by its word, as PyTorch has it:
/// `{.mode = InterpolateMode::bilinear}` or `{.mode = "bilinear"}`. Throws ValueError for another word.
template <class Enum>
class Choice {
 public:
  /// A value, or its word.
  /// @{
  constexpr Choice(Enum value) : value_(value) {}
  template <std::convertible_to<std::string_view> Word>
  Choice(const Word& word) : value_(find(word)) {}
  /// @}

  /// The value.
  constexpr operator Enum() const { return value_; }
  /// Its word.
  const char* word() const { return Words<Enum>::words[static_cast<std::size_t>(value_)]; }

 private:
  static Enum find(std::string_view word) {
    std::string known;
    for (std::size_t i = 0; i < Words<Enum>::words.size(); ++i) {
      if (word == Words<Enum>::words[i]) return static_cast<Enum>(i);
      known += text(i == 0 ? "" : i + 1 < Words<Enum>::words.size() ? ", " : " or ", Words<Enum>::words[i]);
    }
    fail<ValueError>(Words<Enum>::what, ": expected ", known, ", got '", word, "'");
  }

  Enum value_;
};

}  // namespace lamina::inline LAMINA_ABI
