#pragma once

#include <array>
#include <string>
#include <string_view>

#include "lamina/data/detail/characters.hpp"
#include "lamina/data/detail/html_entities.hpp"

/// Python's html.unescape.
namespace lamina::inline LAMINA_ABI::detail::html {

/// What HTML5's name stands for; empty if it is none.
inline std::string_view find(std::string_view name) {
  std::size_t low = 0, high = entities.size();  // of whole entries
  while (low < high) {
    std::size_t begin = low + (high - low) / 2;
    while (begin > low && entities[begin - 1] != '\2') --begin;
    const std::size_t middle = entities.find('\1', begin), end = entities.find('\2', begin);
    const int order = name.compare(entities.substr(begin, middle - begin));
    if (order == 0) return entities.substr(middle + 1, end - middle - 1);
    (order < 0 ? high : low) = order < 0 ? begin : end + 1;
  }
  return {};
}

/// The character of a number, as browsers read it: those of Windows where Latin-1 has control characters, none for what
/// is not a character.
inline void append_numbered(std::string& text, char32_t number) {
  constexpr std::array<char32_t, 32> windows{0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                             0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                             0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                             0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
  if (number >= 0x80 && number < 0xa0) return unicode::append(text, windows[number - 0x80]);
  if (number == 0 || number > 0x10ffff || (number >= 0xd800 && number < 0xe000)) return unicode::append(text, 0xfffd);
  const bool control = number < 0x20 && number != '\t' && number != '\n' && number != '\f' && number != '\r';
  const bool none = (number >= 0xfdd0 && number < 0xfdf0) || (number & 0xfffe) == 0xfffe;
  if (!control && !none && number != 0x7f) unicode::append(text, number);
}

/// Appends what the reference at the beginning of `text` stands for, behind its '&'; returns how much of it was read.
inline std::size_t append_reference(std::string& result, std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? text[i] : '\0'; };
  if (at(0) == '#') {
    const bool hexadecimal = at(1) == 'x' || at(1) == 'X';
    const std::string_view digits = hexadecimal ? "0123456789abcdefABCDEF" : "0123456789";
    std::size_t end = hexadecimal ? 2 : 1;
    const std::size_t begin = end;
    char32_t number = 0;
    for (; digits.find(at(end)) != std::string_view::npos; ++end) {
      const auto digit = static_cast<char32_t>(digits.find(at(end)));
      number = std::min<char32_t>(0x110000, number * (hexadecimal ? 16 : 10) + (digit < 16 ? digit : digit - 6));
    }
    if (end == begin) {
      result += '&';
      return 0;
    }
    append_numbered(result, number);
    return end + (at(end) == ';');
  }
  std::string_view rest = text;
  for (int count = 0;
       count < 32 && !rest.empty() && std::string_view("\t\n\f <&#;").find(rest[0]) == std::string_view::npos; ++count)
    unicode::take(rest);
  std::size_t end = text.size() - rest.size();
  if (end > 0 && at(end) == ';') ++end;
  for (std::size_t length = end; length >= 2; --length)  // the longest name that it begins with
    if (const std::string_view found = find(text.substr(0, length)); !found.empty()) {
      result += found;
      return length;
    }
  result += '&';
  return 0;
}

/// A text with its references to characters replaced: "&lt;" "&#60;" "&#x3c;" are "<".
inline std::string unescape(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t next = std::min(text.find('&'), text.size());
    result += text.substr(0, next);
    text.remove_prefix(next);
    if (!text.empty()) text.remove_prefix(1 + append_reference(result, text.substr(1)));
  }
  return result;
}

}  // namespace lamina::inline LAMINA_ABI::detail::html
