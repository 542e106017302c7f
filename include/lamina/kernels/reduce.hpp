#pragma once

#include <algorithm>

#include "lamina/core/shape.hpp"
#include "lamina/kernels/simd.hpp"

/// Sums, each in one fixed order.
namespace lamina::kernels {

inline namespace LAMINA_ISA {

/// So many vectors are summed one after the other, then such sums: the rounding error does not grow with their number.
inline constexpr Index summed_together = 4096;

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// The sum of n values.
template <class T>
T vector_sum(const T* x, Index n) {
  constexpr Index width = simd::width<T>;
  simd::Pack<T> total(T(0));
  for (Index i = 0; i < n;) {
    const Index end = std::min(n, i + summed_together * width);
    simd::Pack<T> part(T(0));
    simd::for_each_vector<T>(i, end, [&](Index k, auto... partial) { part += simd::Pack<T>::load(x + k, partial...); });
    i = end;
    total += part;
  }
  return simd::sum(total);
}

/// The sum of the squares of n values, so few that no more care is needed.
template <class T>
T sum_of_squares(const T* x, Index n) {
  simd::Pack<T> sum(T(0));
  simd::for_each_vector<T>(0, n, [&](Index i, auto... partial) {
    const auto v = simd::Pack<T>::load(x + i, partial...);
    sum += v * v;
  });
  return simd::sum(sum);
}

/// Adds to sums[m] the sum over n and pixels of x [n, m, pixels]. blocked: the channels lie in blocks (layout.hpp).
template <class T>
void add_channel_sums(Index n, Index m, Index pixels, const T* x, T* sums, bool blocked = false) {
  constexpr Index width = simd::width<T>;
  const Index blocks = parts_of(m, width);
  for (Index i = 0; blocked && i < n * blocks; ++i) {
    simd::Pack<T> total(T(0));
    for (Index p = 0; p < pixels;) {
      simd::Pack<T> part(T(0));
      for (const Index end = std::min(pixels, p + summed_together); p < end; ++p)
        part += simd::Pack<T>::load(x + (i * pixels + p) * width);
      total += part;
    }
    T* const to = sums + i % blocks * width;
    const Index lanes = std::min(width, m - i % blocks * width);
    (simd::Pack<T>::load(to, lanes) + total).store(to, lanes);
  }
  if (blocked) return;
  for (Index i = 0; i < n * m; ++i) sums[i % m] += vector_sum(x + i * pixels, pixels);
}

/// Adds to sums[j] the sum over rows of x [rows, columns].
template <class T>
void add_column_sums(Index rows, Index columns, const T* x, T* sums) {
  simd::for_each_vector<T>(0, columns, [&](Index j, auto... partial) {
    simd::Pack<T> total(T(0));
    for (Index i = 0; i < rows;) {
      simd::Pack<T> part(T(0));
      for (const Index end = std::min(rows, i + summed_together); i < end; ++i)
        part += simd::Pack<T>::load(x + i * columns + j, partial...);
      total += part;
    }
    (simd::Pack<T>::load(sums + j, partial...) + total).store(sums + j, partial...);
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
