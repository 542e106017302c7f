#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "lamina/data/detail/unicode.hpp"

/// UTF-8, and what Python's strings know of characters.
namespace lamina::inline LAMINA_ABI::detail::unicode {

/// Takes the first character off UTF-8 text that is not empty; U+FFFD for a byte that does not belong into such.
inline char32_t take(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = byte(0);
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  char32_t c = length == 1 ? lead : lead & (0xffu >> (length + 1));
  bool valid = lead < 0x80 || (lead >= 0xc2 && lead < 0xf5);
  for (std::size_t i = 1; i < length && valid; ++i) {
    valid = (byte(i) & 0xc0) == 0x80;
    c = c << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<char32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
  valid = valid && c >= smallest[length] && c < 0x110000 && (c < 0xd800 || c >= 0xe000);
  text.remove_prefix(valid ? length : 1);
  return valid ? c : 0xfffd;
}

inline void append(std::string& text, char32_t c) {
  const auto byte = [&](char32_t value) { text += static_cast<char>(value); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      byte(0xe0 | c >> 12);
    } else {
      byte(0xf0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3f));
    }
    byte(0x80 | (c >> 6 & 0x3f));
  }
  byte(0x80 | (c & 0x3f));
}

/// Where the first byte is that does not belong into UTF-8 text; its size if there is none.
inline std::size_t find_invalid(std::string_view text) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t before = rest.size();
    if (take(rest) == 0xfffd && before - rest.size() == 1) return text.size() - before;
  }
  return text.size();
}

/// Unicode's White_Space: what a regular expression's \s is.
constexpr bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || (c >= 0x80 && contains(spaces, c));
}
/// What Python's str.strip() takes off: the separators of ASCII too.
constexpr bool is_stripped(char32_t c) { return is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

/// Calls f for every character of a character's lower case, wherever it stands.
template <class F>
void lower(char32_t c, F&& f) {
  if (c < 0x80) return f(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (c == 0x130) {
    f(U'i');
    return f(char32_t{0x307});
  }
  const auto after = std::upper_bound(lowerings.begin(), lowerings.end(), c,
                                      [](char32_t x, const Lowering& y) { return x < y.first; });
  const bool lowered =
      after != lowerings.begin() && c <= (after - 1)->last && (c - (after - 1)->first) % (after - 1)->step == 0;
  f(lowered ? static_cast<char32_t>(static_cast<std::int32_t>(c) + (after - 1)->difference) : c);
}

/// Python's str.lower(): a capital sigma at the end of a word becomes the small one that ends words.
inline std::string lower_case(std::string_view text) {
  std::string result;
  std::u32string characters;
  for (std::string_view rest = text; !rest.empty();) characters += take(rest);
  const auto neighbour_is_cased = [&](auto at, auto end) {
    at = std::find_if(at, end, [](char32_t c) { return !contains(case_ignorable, c); });
    return at != end && contains(cased, *at);
  };
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const auto here = static_cast<std::ptrdiff_t>(i);
    const bool last = characters[i] == 0x3a3 && neighbour_is_cased(characters.rend() - here, characters.rend()) &&
                      !neighbour_is_cased(characters.begin() + here + 1, characters.end());
    if (last)
      append(result, 0x3c2);
    else
      lower(characters[i], [&](char32_t c) { append(result, c); });
  }
  return result;
}

}  // namespace lamina::inline LAMINA_ABI::detail::unicode
