#pragma once

#include <algorithm>

#include "lamina/kernels/elementwise.hpp"

/// Passes over rows whose first half belongs to the second: gates, and what gives two values for one.
namespace lamina::kernels {

inline namespace LAMINA_ISA {

namespace detail {

/// f(place in the first half, place in the second, place in a row of `half`, lanes...) for all vectors of `parts` rows.
template <class T, class F>
void for_each_half(Index parts, Index half, F f) {
  if (half == 0) return;
  parallel_for(
      0, parts, std::max<Index>(1, stream_grain / half), [&](Index first, Index last) __attribute__((flatten)) {
        for (Index part = first; part < last; ++part) {
          const Index single = part * half, a = 2 * single, b = a + half;
          simd::for_each_vector<T>(0, half, [&](Index i, auto... lanes) { f(a + i, b + i, single + i, lanes...); });
        }
      });
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y [parts, half] is the product of the pair f(a, b), for the halves a and b of x [parts, 2, half]. The pair goes to
/// `kept`, which is like x and may be x, unless that is null.
template <class T, class F>
void gate(Index parts, Index half, F f, const T* x, T* kept, T* y) {
  using Pack = simd::Pack<T>;
  detail::for_each_half<T>(parts, half, [=](Index a, Index b, Index to, auto... lanes) {
    const auto factors = f(Pack::load(x + a, lanes...), Pack::load(x + b, lanes...));
    if (kept) {
      factors.first.store(kept + a, lanes...);
      factors.second.store(kept + b, lanes...);
    }
    (factors.first * factors.second).store(y + to, lanes...);
  });
}

/// dx [parts, 2, half] is the pair f(a, b, dy), for the halves a and b of x, and dy [parts, half].
template <class T, class F>
void gate_backward(Index parts, Index half, F f, const T* x, const T* dy, T* dx) {
  using Pack = simd::Pack<T>;
  detail::for_each_half<T>(parts, half, [=](Index a, Index b, Index from, auto... lanes) {
    const auto slopes = f(Pack::load(x + a, lanes...), Pack::load(x + b, lanes...), Pack::load(dy + from, lanes...));
    slopes.first.store(dx + a, lanes...);
    slopes.second.store(dx + b, lanes...);
  });
}

/// y [parts, 2, half] is the pair f(x), for x [parts, half].
template <class T, class F>
void split(Index parts, Index half, F f, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  detail::for_each_half<T>(parts, half, [=](Index a, Index b, Index from, auto... lanes) {
    const auto values = f(Pack::load(x + from, lanes...));
    values.first.store(y + a, lanes...);
    values.second.store(y + b, lanes...);
  });
}

/// dx [parts, half] is f(a, b, x), for the halves a and b of dy [parts, 2, half], and x [parts, half].
template <class T, class F>
void split_backward(Index parts, Index half, F f, const T* dy, const T* x, T* dx) {
  using Pack = simd::Pack<T>;
  detail::for_each_half<T>(parts, half, [=](Index a, Index b, Index to, auto... lanes) {
    f(Pack::load(dy + a, lanes...), Pack::load(dy + b, lanes...), Pack::load(x + to, lanes...))
        .store(dx + to, lanes...);
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
