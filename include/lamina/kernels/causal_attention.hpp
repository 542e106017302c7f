#pragma once

#include <algorithm>
#include <limits>

#include "lamina/kernels/attention.hpp"

/// attention() where a token sees itself and those before it in its sequence: what is beyond is not computed, but for
/// the corner of each block of queries.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {

/// The probabilities [rows, n] of the queries from `first` on, before dropout; zeros for keys behind a query.
template <class T>
void causal_probabilities(const AttentionHead<T>& head, Index first, Index rows, T* p) {
  using Pack = simd::Pack<T>;
  const auto scaled = [s = Pack(head.scale())](Pack v) { return v * s; };
  const Index n = head.n;
  gemm(rows, first + rows, head.in.size, head.of(head.in.q).from(first, 0), head.of(head.in.k).transpose(),
       MatrixView<T>{p, n, 1}, Store::assign, Activation{scaled});
  for (Index r = 0; r < rows; ++r)
    std::fill(p + r * n + first + r + 1, p + (r + 1) * n, -std::numeric_limits<T>::infinity());
  softmax<false>(rows, n, 1, p, p);
}

}  // namespace detail

/// y [tokens, heads * size], on any number of threads.
template <class T>
void causal_attention(const AttentionInput<T>& in, T* y) {
  detail::for_each_head(in, [&](const detail::AttentionHead<T>& head) {
    const Index block = head.block_rows();
    Tensor<T> scratch({block, head.n});
    T* const p = scratch.data();
    for (Index first = 0; first < head.n; first += block) {
      const Index rows = std::min(block, head.n - first);
      detail::causal_probabilities(head, first, rows, p);
      if (in.dropout > 0) head.drop(first, rows, p, p);
      gemm(rows, in.size, first + rows, row_major(p, head.n), head.of(in.v), head.of(y).from(first, 0));
    }
  });
}

/// From the gradient of y, those of q, k and v.
template <class T>
void causal_attention_backward(const AttentionInput<T>& in, const T* dy, T* dq, T* dk, T* dv) {
  detail::for_each_head(in, [&](const detail::AttentionHead<T>& head) {
    const Index n = head.n, size = in.size, block = head.block_rows();
    Tensor<T> scratch({3, block, n});
    T *const p = scratch.data(), *const ds = p + block * n, *const dropped = ds + block * n;
    for (Index r = 0; r < n; ++r) {
      std::fill_n(head.of(dk).data + r * in.columns(), size, T(0));
      std::fill_n(head.of(dv).data + r * in.columns(), size, T(0));
    }
    for (Index first = 0; first < n; first += block) {
      const Index rows = std::min(block, n - first), seen = first + rows;
      const MatrixView<const T> dy_block = head.of(dy).from(first, 0);
      detail::causal_probabilities(head, first, rows, p);
      if (in.dropout > 0) head.drop(first, rows, p, dropped);
      gemm(seen, size, rows, transposed(in.dropout > 0 ? dropped : p, n), dy_block, head.of(dv), Store::add);
      std::fill_n(ds, rows * n, T(0));
      gemm(rows, seen, size, dy_block, head.of(in.v).transpose(), MatrixView<T>{ds, n, 1});
      if (in.dropout > 0) head.drop(first, rows, ds, ds);
      softmax_backward<false>(rows, n, 1, p, ds, ds);  // where p is 0 the gradient is
      map(
          rows * n, ds, [s = simd::Pack<T>(head.scale())](simd::Pack<T> v) { return v * s; }, ds);
      gemm(rows, size, seen, row_major(ds, n), head.of(in.k), head.of(dq).from(first, 0));
      gemm(seen, size, rows, transposed(ds, n), head.of(in.q).from(first, 0), head.of(dk), Store::add);
    }
  });
}

}  // namespace lamina::kernels::inline LAMINA_ISA
