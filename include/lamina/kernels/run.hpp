#pragma once

#include <array>

#include "lamina/kernels/simd.hpp"

/// Passes of one thread over short runs of memory (an image plane's channel, a row), whatever their length: the last
/// vector of a run overlaps the one before instead of being cut, so that no element is handled one by one.
namespace lamina::kernels {

inline namespace LAMINA_KERNELS {

/// y[i] = f(load)[i] for i < n, where load(p) is the vector of p at the present position; y may be what is loaded.
template <class T, class F>
[[gnu::flatten]] void map_run(Index n, T* y, F f) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  if (n < width) {
    f([n](const T* p) { return Pack::load(p, n); }).store(y, n);
    return;
  }
  const auto at = [&f](Index i) { return f([i](const T* p) { return Pack::load(p + i); }); };
  const Pack last = at(n - width);  // before the loop: y may be what it loads
  for (Index i = 0; i + width < n; i += width) at(i).store(y + i);
  last.store(y + n - width);
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {
/// A vector from p, where only memory below end may be read; zeros behind.
template <class T>
[[gnu::always_inline]] inline simd::Pack<T> load_within(const T* p, const T* end) {
  using Pack = simd::Pack<T>;
  if (p + simd::width<T> <= end) return Pack::load(p);
  return p < end ? Pack::load(p, end - p) : Pack(T(0));
}
/// Stores a vector at p, but nothing from end on.
template <class T>
[[gnu::always_inline]] inline void store_within(simd::Pack<T> v, T* p, const T* end) {
  if (p + simd::width<T> <= end)
    v.store(p);
  else if (p < end)
    v.store(p, end - p);
}
/// The first n elements at p, where only memory below end may be read; `rest` behind.
template <class T>
[[gnu::always_inline]] inline simd::Pack<T> load_first(const T* p, Index n, const T* end, T rest) {
  using Pack = simd::Pack<T>;
  if (n >= simd::width<T>) return Pack::load(p);
  if (n <= 0) return rest;
  using Int = simd::detail::IntegerOf<T>;
  return select(simd::lanes<T>() < static_cast<Int>(n), load_within(p, end), Pack(rest));
}

/// A row of n elements in whole vectors, `rest` behind it: as it is, and in two, elements 0, 2, ... and 1, 3, ...
/// Nothing is read from `end` on.
/// @{
template <class T>
[[gnu::always_inline]] inline void copy_row(const T* x, Index n, const T* end, T rest, T* to) {
  Index i = 0;
  for (; i + simd::width<T> <= n; i += simd::width<T>) simd::Pack<T>::load(x + i).store(to + i);
  if (i < n) load_first(x + i, n - i, end, rest).store(to + i);
}
template <class T>
[[gnu::always_inline]] inline void split_row(const T* x, Index n, const T* end, T rest, T* even, T* odd) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  Index i = 0;
  const auto put = [&](Pack a, Pack b) {
    simd::even(a, b).store(even + i / 2);
    simd::odd(a, b).store(odd + i / 2);
  };
  for (; i + 2 * width <= n; i += 2 * width) put(Pack::load(x + i), Pack::load(x + i + width));
  if (i < n) put(load_first(x + i, n - i, end, rest), load_first(x + i + width, n - i - width, end, rest));
}
/// @}

template <class T, std::size_t N>
void add(std::array<simd::Pack<T>, N>& sum, const std::array<simd::Pack<T>, N>& terms) {
  for (std::size_t k = 0; k < N; ++k) sum[k] += terms[k];
}
/// The terms in lanes first..last-1, zeros elsewhere.
template <class T, std::size_t N>
std::array<simd::Pack<T>, N> keep(std::array<simd::Pack<T>, N> terms, Index first, Index last) {
  using Int = simd::detail::IntegerOf<T>;
  const auto lanes = simd::lanes<T>();
  for (auto& term : terms)
    term = select((lanes >= static_cast<Int>(first)) & (lanes < static_cast<Int>(last)), term, T(0));
  return terms;
}
}  // namespace detail

/// The sums over i < n of f(load), an array of vectors, lane by lane; load(p) as in map_run. Summed in blocks, so that
/// the rounding error does not grow with n.
template <std::size_t N, class T, class F>
[[gnu::flatten]] std::array<simd::Pack<T>, N> sum_run(Index n, F f) {
  using Pack = simd::Pack<T>;
  using Sums = std::array<Pack, N>;
  constexpr Index width = simd::width<T>;
  if (n < width) return detail::keep<T, N>(f([n](const T* p) { return Pack::load(p, n); }), 0, n);
  const auto at = [&f](Index i) -> Sums { return f([i](const T* p) { return Pack::load(p + i); }); };
  Sums total{};
  Index i = 0;
  while (i + width <= n) {
    const Index end = std::min(n, i + 256 * width);
    Sums even = at(i), odd{};  // two chains of additions run at once
    for (i += width; i + 2 * width <= end; i += 2 * width) {
      detail::add<T, N>(odd, at(i));
      detail::add<T, N>(even, at(i + width));
    }
    if (i + width <= end) {
      detail::add<T, N>(odd, at(i));
      i += width;
    }
    detail::add<T, N>(even, odd);
    detail::add<T, N>(total, even);
  }
  if (i < n) detail::add<T, N>(total, detail::keep<T, N>(at(n - width), width - (n - i), width));
  return total;
}

}  // namespace LAMINA_ISA

}  // namespace lamina::kernels
