#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "lamina/compile/place.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

/// A piece of memory that is needed from step `first` to step `last`.
struct Lifetime {
  /// Its size in values, and the steps.
  /// @{
  Index size, first, last;
  /// @}
  Index offset = 0;  ///< in the arena, once it is planned
};

/// The largest sum of pieces that are needed at once: no arena can be smaller.
inline Index largest_live_sum(const std::vector<Lifetime>& pieces) {
  Index largest = 0;
  for (const Lifetime& moment : pieces) {  // the sum is largest where some piece begins
    Index sum = 0;
    for (const Lifetime& piece : pieces)
      if (piece.first <= moment.first && moment.first <= piece.last) sum += piece.size;
    largest = std::max(largest, sum);
  }
  return largest;
}

namespace detail {
/// Gives the pieces places in this order, each the lowest offset where it fits. Returns the arena's size.
inline Index place_pieces(std::vector<Lifetime>& pieces, const std::vector<std::size_t>& order) {
  Index total = 0;
  std::vector<const Lifetime*> placed;  // by offset
  for (std::size_t i : order) {
    Lifetime& piece = pieces[i];
    piece.offset = 0;
    for (const Lifetime* other : placed) {
      if (other->last < piece.first || piece.last < other->first) continue;
      if (piece.offset + piece.size <= other->offset) break;
      piece.offset = std::max(piece.offset, other->offset + other->size);
    }
    total = std::max(total, piece.offset + piece.size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), &piece,
                                   [](const Lifetime* a, const Lifetime* b) { return a->offset < b->offset; }),
                  &piece);
  }
  return total;
}
}  // namespace detail

/// Gives every piece a place such that none overlap while both are needed. The better of two ways: the largest first,
/// and those with the largest product of size and lifetime first. Returns the arena's size.
inline Index plan_memory(std::vector<Lifetime>& pieces) {
  const auto placed_by = [&](auto weight) {
    std::vector<std::size_t> order(pieces.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weight(pieces[a]) > weight(pieces[b]); });
    return detail::place_pieces(pieces, order);
  };
  const auto size = [](const Lifetime& piece) { return piece.size; };
  const auto area = [](const Lifetime& piece) { return piece.size * (piece.last - piece.first + 1); };
  const Index by_size = placed_by(size), by_area = placed_by(area);
  return by_area < by_size ? by_area : placed_by(size);
}

}  // namespace lamina::inline LAMINA_ABI::compiler
