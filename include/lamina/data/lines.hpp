#pragma once

#include <algorithm>
#include <string_view>

#include "lamina/core/isa.hpp"

namespace lamina::inline LAMINA_ABI {

/// A text without the UTF-8 byte order mark that some editors write before it.
inline std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return text;
}

/// Takes a line off a text, and returns it without its end ("\n" or "\r\n").
inline std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace lamina::inline LAMINA_ABI
