#pragma once

#include <cstring>
#include <utility>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/simd.hpp"

namespace lamina::kernels::inline LAMINA_KERNELS {

/// Elements in one piece of a parallel streaming pass.
inline constexpr Index stream_grain = 1 << 15;

/// y[i] = f(x[i]...) for i < n, where f maps packs to a pack; y may be one of the x. Every element is computed by the
/// same instructions wherever it lies, so results do not depend on the number of threads. (flatten, here and in the
/// passes like this one: f becomes a part of the loop, however large the unit is that instantiates it.)
template <class Scalar, class F, class... In>
void map(Index n, Scalar* y, F f, const In*... x) {
  parallel_for(
      0, n, stream_grain, [&](Index first, Index last) __attribute__((flatten)) {
        simd::for_each_vector<Scalar>(first, last, [&](Index i, auto... partial) {
          f(simd::Pack<In>::load(x + i, partial...)...).store(y + i, partial...);
        });
      });
}

/// f(x[i], others[i]...) for every i, all of x's size; in x's storage if nobody else holds it.
template <class Scalar, class F, class... Other>
Tensor<Scalar> transform(Tensor<Scalar> x, F f, const Tensor<Other>&... others) {
  const Index n = x.numel();
  const Scalar* in = std::as_const(x).data();
  Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
  map(n, y.data(), f, in, others.data()...);
  return y;
}

/// a + aᵀ of a square.
template <class Scalar>
Tensor<Scalar> plus_transpose(const Tensor<Scalar>& a) {
  const Index n = a.dim(0);
  Tensor<Scalar> result(a.shape());
  const Scalar* const from = a.data();
  Scalar* const to = result.data();
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) to[i * n + j] = from[i * n + j] + from[j * n + i];
  return result;
}

/// Copies a matrix whose rows lie x_stride and y_stride elements apart.
template <class Scalar>
void copy_rows(Index rows, Index columns, const Scalar* x, Index x_stride, Scalar* y, Index y_stride) {
  if (columns == 0) return;
  parallel_for(0, rows, stream_grain / columns, [&](Index first, Index last) {
    for (Index row = first; row < last; ++row)
      std::memcpy(y + row * y_stride, x + row * x_stride, static_cast<std::size_t>(columns) * sizeof(Scalar));
  });
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
