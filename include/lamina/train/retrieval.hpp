#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "lamina/core/parallel.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/kernels/gemm.hpp"

namespace lamina::inline LAMINA_ABI {

/// Finding what belongs together by similarity: for each query, how many targets of other items are at least as similar
/// to it (by the scalar product; equals count against it) as the best target of its own item. 0: its own comes first.
///
/// Queries [Q, D] and targets [T, D] belong to the items query_items[Q] and target_items[T]: captions to their images,
/// say, or images to themselves. Throws ShapeError when shapes do not fit, ValueError for a query whose item has no
/// target.
template <class Scalar>
std::vector<Index> retrieval_ranks(const Tensor<Scalar>& queries, std::span<const Index> query_items,
                                   const Tensor<Scalar>& targets, std::span<const Index> target_items) {
  require<ShapeError>(queries.rank() == 2 && targets.rank() == 2 && queries.dim(1) == targets.dim(1) &&
                          queries.dim(0) == static_cast<Index>(query_items.size()) &&
                          targets.dim(0) == static_cast<Index>(target_items.size()),
                      "retrieval_ranks: expected queries [Q, D], targets [T, D] and their items, got shapes ",
                      queries.shape(), " and ", targets.shape(), " with ", query_items.size(), " and ",
                      target_items.size(), " items");
  std::vector<Index> ranks(query_items.size());
  parallel_for(0, queries.dim(0), 64, [&](Index first, Index last) {
    Tensor<Scalar> similarity({last - first, targets.dim(0)});
    const Index depth = queries.dim(1);
    kernels::gemm(last - first, targets.dim(0), depth, kernels::row_major(queries.data() + first * depth, depth),
                  kernels::transposed(targets.data(), depth), similarity.data());
    for (Index q = first; q < last; ++q) {
      const Index item = query_items[static_cast<std::size_t>(q)];
      const Scalar* best = nullptr;
      const Scalar* const row = std::as_const(similarity).data() + (q - first) * targets.dim(0);
      for (std::size_t t = 0; t < target_items.size(); ++t)
        if (target_items[t] == item && (!best || row[t] > *best)) best = row + t;
      require(best != nullptr, "retrieval_ranks: query ", q, " is of item ", item, ", which has no target");
      Index& rank = ranks[static_cast<std::size_t>(q)];
      for (std::size_t t = 0; t < target_items.size(); ++t) rank += target_items[t] != item && !(row[t] < *best);
    }
  });
  return ranks;
}

/// The share of queries whose own item is among the first k.
inline double recall_at(Index k, std::span<const Index> ranks) {
  const auto hits = std::count_if(ranks.begin(), ranks.end(), [&](Index rank) { return rank < k; });
  return static_cast<double>(hits) / static_cast<double>(ranks.size());
}

/// What that is in random order, when `own` of `all` targets are the query's: 1 - C(all - own, k) / C(all, k).
inline double recall_by_chance(Index k, Index own, Index all) {
  double none = 1;
  for (Index i = 0; i < std::min(k, all); ++i)
    none *= static_cast<double>(std::max<Index>(0, all - own - i)) / static_cast<double>(all - i);
  return 1 - none;
}

}  // namespace lamina::inline LAMINA_ABI
