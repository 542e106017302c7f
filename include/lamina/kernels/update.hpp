#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/reduce.hpp"

namespace lamina::kernels::inline LAMINA_KERNELS {

/// f(x[i]...) for i < n in one pass, where f takes packs by reference and changes what it likes; arrays of constants
/// are only read. Results do not depend on the number of threads.
template <class F, class... T>
void update(Index n, F f, T*... x) {
  using Scalar = std::common_type_t<std::remove_const_t<T>...>;
  const auto store = []<class To>(simd::Pack<Scalar> pack, To* to, auto... count) {
    if constexpr (!std::is_const_v<To>) pack.store(to, count...);
  };
  parallel_for(
      0, n, stream_grain, [&](Index first, Index last) __attribute__((flatten)) {
        simd::for_each_vector<Scalar>(first, last, [&](Index i, auto... count) {
          [&](auto... packs) {
            f(packs...);
            (store(packs, x + i, count...), ...);
          }(simd::Pack<Scalar>::load(x + i, count...)...);
        });
      });
}

/// Appends the sums of squares of fixed pieces of x to `partial`, in order: the same bits for any number of threads.
template <class T>
void append_squares(Index n, const T* x, std::vector<double>& partial) {
  constexpr Index grain = stream_grain / 4;
  const std::size_t begin = partial.size();
  partial.resize(begin + static_cast<std::size_t>((n + grain - 1) / grain));
  parallel_for(0, n, grain, [&](Index first, Index last) {
    partial[begin + static_cast<std::size_t>(first / grain)] =
        static_cast<double>(sum_of_squares(x + first, last - first));
  });
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
