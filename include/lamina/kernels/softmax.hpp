#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/reduce.hpp"

/// Softmax along the middle axis of a tensor seen as [outer, n, inner].
namespace lamina::kernels {

inline namespace LAMINA_ISA {

namespace detail {

/// One run of n elements, `inner` apart, or as many neighbouring runs as a vector has lanes. Where inner is 1 the lanes
/// lie along the run, and a reduction goes across them; else every lane is a run of its own.
template <class Scalar>
class Line {
 public:
  using Pack = simd::Pack<Scalar>;

  Line(Index n, Index inner, Index lanes) : n_(n), inner_(inner), lanes_(lanes) {}

  /// f(offset, lanes) for each vector of the line.
  template <class F>
  void each(F f) const {
    each(0, n_, f);
  }
  Pack max(Pack a) const { return inner_ == 1 ? Pack(simd::max(a)) : a; }
  /// The sum of f(offset, lanes), taken in parts, so that its rounding error does not grow with n.
  template <class F>
  Pack sum(F f) const {
    Pack total(Scalar(0));
    for (Index first = 0; first < n_; first += summed_together) {
      Pack part(Scalar(0));
      each(first, std::min(n_, first + summed_together), [&](Index i, auto lanes) { part += f(i, lanes); });
      total += part;
    }
    return inner_ == 1 ? Pack(simd::sum(total)) : total;
  }
  /// The logarithm of a sum, the same in all lanes where inner is 1.
  Pack log(Pack a) const { return inner_ == 1 ? Pack(std::log(a[0])) : simd::log(a); }

 private:
  /// The same for elements first..last-1.
  template <class F>
  void each(Index first, Index last, F f) const {
    constexpr std::integral_constant<Index, simd::width<Scalar>> full;
    if (inner_ == 1) {
      Index i = first;
      for (; i + full <= last; i += full) f(i, full);
      if (i < last) f(i, last - i);
    } else if (lanes_ == full) {
      for (Index i = first; i < last; ++i) f(i * inner_, full);
    } else {
      for (Index i = first; i < last; ++i) f(i * inner_, lanes_);
    }
  }

  Index n_, inner_, lanes_;
};

/// f(line, offset) for every line of [outer, n, inner].
template <class Scalar, class F>
void for_each_line(Index outer, Index n, Index inner, F f) {
  const Index width = inner == 1 ? 1 : simd::width<Scalar>;
  const Index groups = (inner + width - 1) / width;
  parallel_for(0, outer * groups, stream_grain / std::max<Index>(n * width, 1), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const Index column = i % groups * width;
      f(Line<Scalar>(n, inner, std::min(width, inner - column)), i / groups * n * inner + column);
    }
  });
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y = e^(x - m) / sum e^(x - m), or with `logarithm` y = x - m - log sum e^(x - m), m the largest x of the line: no
/// finite x overflows. A NaN makes its line NaN. y may be x.
template <bool logarithm, class Scalar>
void softmax(Index outer, Index n, Index inner, const Scalar* x, Scalar* y) {
  using Pack = simd::Pack<Scalar>;
  constexpr Scalar lowest = -std::numeric_limits<Scalar>::infinity();  // in lanes beyond the line: e^lowest = 0
  detail::for_each_line<Scalar>(outer, n, inner, [=](const detail::Line<Scalar>& line, Index offset) {
    const Scalar* in = x + offset;
    Scalar* out = y + offset;
    Pack largest(lowest);
    line.each([&](Index i, auto lanes) { largest = max(largest, Pack::load(in + i, lanes, lowest)); });
    largest = line.max(largest);
    Pack sum = line.sum([&](Index i, auto lanes) {
      const Pack power = simd::exp(Pack::load(in + i, lanes, lowest) - largest);
      if constexpr (!logarithm) power.store(out + i, lanes);
      return power;
    });
    if constexpr (logarithm) {
      sum = line.log(sum);
      line.each([&](Index i, auto lanes) { (Pack::load(in + i, lanes) - largest - sum).store(out + i, lanes); });
    } else {
      line.each([&](Index i, auto lanes) { (Pack::load(out + i, lanes) / sum).store(out + i, lanes); });
    }
  });
}

/// From the result y: dx = y (dy - sum dy y), or with `logarithm` dx = dy - e^y sum dy. dx may be dy.
template <bool logarithm, class Scalar>
void softmax_backward(Index outer, Index n, Index inner, const Scalar* y, const Scalar* dy, Scalar* dx) {
  using Pack = simd::Pack<Scalar>;
  detail::for_each_line<Scalar>(outer, n, inner, [=](const detail::Line<Scalar>& line, Index offset) {
    const Pack sum = line.sum([&](Index i, auto lanes) {
      const Pack grad = Pack::load(dy + offset + i, lanes);
      return logarithm ? grad : grad * Pack::load(y + offset + i, lanes);
    });
    line.each([&](Index i, auto lanes) {
      const Pack grad = Pack::load(dy + offset + i, lanes), out = Pack::load(y + offset + i, lanes);
      (logarithm ? grad - simd::exp(out) * sum : out * (grad - sum)).store(dx + offset + i, lanes);
    });
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
