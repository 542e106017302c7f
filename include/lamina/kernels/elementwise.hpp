#pragma once

#include "lamina/kernels/simd.hpp"

namespace lamina::kernels {

/// Elements in one piece of a parallel streaming pass.
inline constexpr Index stream_grain = 1 << 15;

/// y[i] = f(x[i]...) for i < n, where f maps packs to a pack; y may be one of the x. Every element is computed by the
/// same instructions wherever it lies, so results do not depend on the number of threads.
template <class Scalar, class F, class... In>
void map(Index n, Scalar* y, F f, const In*... x) {
  parallel_for(0, n, stream_grain, [&](Index first, Index last) {
    constexpr Index width = simd::width<Scalar>;
    Index i = first;
    for (; i + width <= last; i += width) f(simd::Pack<In>::load(x + i)...).store(y + i);
    if (i < last) f(simd::Pack<In>::load(x + i, last - i)...).store(y + i, last - i);
  });
}

}  // namespace lamina::kernels
