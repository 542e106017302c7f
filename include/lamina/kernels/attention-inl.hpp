#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lamina/kernels/attention.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/gemm-inl.hpp"
#include "lamina/kernels/softmax.hpp"

/// Attention head by head, block by block.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {

/// One head of one sequence.
template <class T>
struct AttentionHead {
  const AttentionInput<T>& in;
  Index task;  ///< sequence * heads + head
  Index head = task % in.heads;
  Index begin = in.offsets[static_cast<std::size_t>(task / in.heads)];
  Index n = in.offsets[static_cast<std::size_t>(task / in.heads) + 1] - begin;

  /// Its part of q or another matrix of that shape.
  template <class S>
  MatrixView<S> of(S* x) const {
    return {x + begin * in.columns() + head * in.size, in.columns(), 1};
  }
  T scale() const { return T(1) / std::sqrt(static_cast<T>(in.size)); }

  /// Queries in a block, so that their probabilities stay in the cache.
  Index block_rows() const { return std::min(n, std::max<Index>(16, (1 << 14) / n)); }

  /// How many keys the queries of such a block see.
  Index seen(Index first, Index rows) const { return in.causal ? first + rows : n; }

  /// The probabilities [rows, n] of the queries from `first` on, before dropout; zeros for keys that they don't see.
  void probabilities(Index first, Index rows, T* p) const {
    MatrixProduct<T> product{rows,      seen(first, rows), in.size, of(in.q).from(first, 0), of(in.k).transpose(),
                             {p, n, 1}, Store::assign};
    product.factor = scale();
    product.run();
    for (Index r = 0; r < rows && in.causal; ++r)
      std::fill(p + r * n + first + r + 1, p + (r + 1) * n, -std::numeric_limits<T>::infinity());
    softmax<false>(rows, n, 1, p, p);
  }

  /// to = from times the dropout's factors, 0 or 1 / (1 - dropout); [rows, n].
  void drop(Index first, Index rows, const T* from, T* to) const {
    const Tensor<T> uniform = in.draws.split(static_cast<std::uint64_t>(task), static_cast<std::uint64_t>(first))
                                  .template uniform<T>({rows, n});
    const auto p = static_cast<T>(in.dropout), kept = static_cast<T>(in.dropout < 1 ? 1 / (1 - in.dropout) : 0);
    map(rows * n, to, Dropped<T>{{p, kept}}, from, uniform.data());
  }
};

/// f(head) for all heads of all sequences, in parallel.
template <class T, class F>
void for_each_head(const AttentionInput<T>& in, F f) {
  const Index sequences = static_cast<Index>(in.offsets.size()) - 1;
  parallel_for(0, sequences * in.heads, 1, [&](Index first, Index last) {
    for (Index task = first; task < last; ++task) f(AttentionHead<T>{in, task});
  });
}

}  // namespace detail

}  // namespace lamina::kernels::inline LAMINA_ISA

#ifndef LAMINA_DISPATCHED
namespace lamina::kernels::inline LAMINA_KERNELS {

template <class T>
void attention(const AttentionInput<T>& in, T* y) {
  detail::for_each_head(in, [&](const detail::AttentionHead<T>& head) {
    const Index block = head.block_rows();
    Tensor<T> scratch({block, head.n});
    T* const p = scratch.data();
    for (Index first = 0; first < head.n; first += block) {
      const Index rows = std::min(block, head.n - first);
      head.probabilities(first, rows, p);
      if (in.dropout > 0) head.drop(first, rows, p, p);
      gemm(rows, in.size, head.seen(first, rows), row_major(p, head.n), head.of(in.v), head.of(y).from(first, 0));
    }
  });
}

template <class T>
void attention_backward(const AttentionInput<T>& in, const T* dy, T* dq, T* dk, T* dv) {
  detail::for_each_head(in, [&](const detail::AttentionHead<T>& head) {
    const Index n = head.n, size = in.size, block = head.block_rows();
    Tensor<T> scratch({3, block, n});
    T *const p = scratch.data(), *const ds = p + block * n, *const dropped = ds + block * n;
    for (Index r = 0; r < n && in.causal; ++r) {  // each block adds to more rows than the one before
      std::fill_n(head.of(dk).data + r * in.columns(), size, T(0));
      std::fill_n(head.of(dv).data + r * in.columns(), size, T(0));
    }
    for (Index first = 0; first < n; first += block) {
      const Index rows = std::min(block, n - first), seen = head.seen(first, rows);
      const Store store = first == 0 && !in.causal ? Store::assign : Store::add;
      const MatrixView<const T> dy_block = head.of(dy).from(first, 0);
      head.probabilities(first, rows, p);
      if (in.dropout > 0) head.drop(first, rows, p, dropped);
      gemm(seen, size, rows, transposed(in.dropout > 0 ? dropped : p, n), dy_block, head.of(dv), store);
      if (seen < n) std::fill_n(ds, rows * n, T(0));
      gemm(rows, seen, size, dy_block, head.of(in.v).transpose(), MatrixView<T>{ds, n, 1});
      if (in.dropout > 0) head.drop(first, rows, ds, ds);
      softmax_backward<false>(rows, n, 1, p, ds, ds);  // where p is 0 the gradient is
      map(rows * n, ds, Scaled<T>{head.scale()}, static_cast<const T*>(ds));
      gemm(rows, size, seen, row_major(ds, n), head.of(in.k), head.of(dq).from(first, 0));
      gemm(seen, size, rows, transposed(ds, n), head.of(in.q).from(first, 0), head.of(dk), store);
    }
  });
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
