#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "lamina/core/random.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/softmax.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// Attention of n queries to m keys, matrices with a column for each: Q [keys, n], K [keys, m] and V [values, m] give
///
///   Y = V dropout(softmax over rows (scale Qᵀ K))ᵀ,    [values, n]
///
/// The n x m matrix is made for some rows at a time, and again in backward, so that memory is linear in n and m.
template <class Scalar>
struct RowAttention {
  Index n, m, keys, values;
  double scale;
  const Scalar *q, *k, *v;
  double dropout = 0;
  Random draws{};  ///< of the dropout: its factors depend on this and on their places

  void forward(Scalar* y) const {
    for (Index first = 0, count; first < n; first += count) {
      count = std::min(block(), n - first);
      const Tensor<Scalar> p = dropped(first, weights(first, count));
      kernels::gemm(values, count, m, kernels::row_major(v, m), rows(p).transpose(), To{y + first, n, 1});
    }
  }

  /// dq, dk and dv are written.
  void backward(const Scalar* dy, Scalar* dq, Scalar* dk, Scalar* dv) const {
    std::fill_n(dk, keys * m, Scalar(0));
    std::fill_n(dv, values * m, Scalar(0));
    for (Index first = 0, count; first < n; first += count) {
      count = std::min(block(), n - first);
      const Tensor<Scalar> p = weights(first, count);
      const auto gradient = kernels::row_major(dy + first, n);
      kernels::gemm(values, m, count, gradient, rows(dropped(first, p)), dv, kernels::Store::add);
      Tensor<Scalar> dp({count, m});
      kernels::gemm(count, m, values, gradient.transpose(), kernels::row_major(v, m), dp.data());
      Tensor<Scalar> ds = dropped(first, std::move(dp));
      kernels::softmax_backward<false>(count, m, 1, p.data(), std::as_const(ds).data(), ds.data());
      ds *= static_cast<Scalar>(scale);
      kernels::gemm(keys, m, count, kernels::row_major(q + first, n), rows(ds), dk, kernels::Store::add);
      kernels::gemm(keys, count, m, kernels::row_major(k, m), rows(ds).transpose(), To{dq + first, n, 1});
    }
  }

 private:
  using To = kernels::MatrixView<Scalar>;

  static auto rows(const Tensor<Scalar>& x) { return kernels::row_major(x.data(), x.dim(1)); }

  /// Rows at a time: 8 MB of them.
  Index block() const { return std::clamp<Index>((Index{1} << 21) / m, 16, 1024); }

  /// The weights of the keys for `count` queries from the first on, [count, m].
  Tensor<Scalar> weights(Index first, Index count) const {
    Tensor<Scalar> p({count, m});
    kernels::gemm(count, m, keys, kernels::row_major(q + first, n).transpose(), kernels::row_major(k, m), p.data());
    p *= static_cast<Scalar>(scale);
    kernels::softmax<false>(count, m, 1, std::as_const(p).data(), p.data());
    return p;
  }
  /// Times the dropout's factors, 0 or 1 / (1 - dropout).
  Tensor<Scalar> dropped(Index first, Tensor<Scalar> p) const {
    if (dropout == 0) return p;
    const Tensor<Scalar> uniform = draws.split(static_cast<std::uint64_t>(first)).template uniform<Scalar>(p.shape());
    const auto limit = static_cast<Scalar>(dropout), kept = static_cast<Scalar>(dropout < 1 ? 1 / (1 - dropout) : 0);
    Scalar* const to = p.data();
    for (Index i = 0; i < p.numel(); ++i) to[i] *= uniform.data()[i] < limit ? Scalar(0) : kept;
    return p;
  }
};

}  // namespace lamina::inline LAMINA_ABI::detail
