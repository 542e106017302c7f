#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// Texts as ids [N, L], padding behind the shorter ones; lengths[i] is the number of ids of text i that are not. What
/// pack() of lamina/nn/sequences.hpp takes.
struct EncodedTexts {
  Labels ids;                  ///< of all texts, one behind the other
  std::vector<Index> lengths;  ///< tokens of each text
};

/// Rows of ids, padded to the longest of them, or to `length` if that is more.
inline EncodedTexts padded(const std::vector<std::vector<std::int32_t>>& rows, std::int32_t padding, Index length = 0) {
  for (const auto& row : rows) length = std::max(length, static_cast<Index>(row.size()));
  EncodedTexts result{Labels::full({static_cast<Index>(rows.size()), length}, padding), {}};
  std::int32_t* out = result.ids.data();
  for (const auto& row : rows) {
    std::copy(row.begin(), row.end(), out);
    out += length;
    result.lengths.push_back(static_cast<Index>(row.size()));
  }
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
