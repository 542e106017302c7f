#pragma once

#include <algorithm>
#include <vector>

#include "fuzz.hpp"

namespace fuzz {

/// Bytes as they are; but what begins with "{" is the header's text, which ends at a zero byte, and the data: the
/// length is put before it, so that mutations of the header need not guess it.
inline std::vector<std::uint8_t> safetensors(Input input) {
  if (input.empty() || input[0] != '{') return {input.begin(), input.end()};
  const auto end = std::find(input.begin(), input.end(), std::uint8_t{0});
  const auto length = static_cast<std::size_t>(end - input.begin());
  std::vector<std::uint8_t> file;
  for (int byte = 0; byte < 8; ++byte) file.push_back(static_cast<std::uint8_t>(length >> 8 * byte));
  file.insert(file.end(), input.begin(), end);
  if (end != input.end()) file.insert(file.end(), end + 1, input.end());
  return file;
}

}  // namespace fuzz
