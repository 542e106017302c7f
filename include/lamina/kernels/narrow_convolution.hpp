#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/convolution_shape.hpp"

/// The weight's gradient of a convolution of few channels in planes, a network's first, whose dy lies in blocks: each
/// pixel of x times the vectors of dy that it meets, with some rows of taps in registers.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {

/// Rows of K taps whose sums the registers hold.
template <int K>
inline constexpr int rows_together = static_cast<int>(std::max<Index>(1, (simd::registers - 5) / K));

/// sums[r K + b] += the sum over o < count of x[rows[r] + o step + b] dy[o], where dy and the sums are vectors.
template <class T, int Rows, int K>
void add_tap_rows(const T* x, const Index* rows, Index step, Index count, const T* dy, T* sums) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  auto totals = simd::filled<Rows * K>(Pack(T(0)));
  simd::Registers<const T*, Rows> from;
  LAMINA_UNROLL(r, Rows) from[r] = x + rows[r];
  for (Index o = 0; o < count; ++o, dy += width) {
    const Pack g = Pack::load(dy);
    LAMINA_UNROLL(r, Rows) {
      LAMINA_UNROLL(b, K) totals[r * K + b] = multiply_add(Pack(from[r][b]), g, totals[r * K + b]);
      from[r] += step;
    }
  }
  LAMINA_UNROLL(t, Rows * K) (Pack::load(sums + t * width) + totals[t]).store(sums + t * width);
}

/// The functions for filters of so many columns.
template <class T>
struct TapRows {
  Index columns, together;  ///< of taps; rows that `add` takes
  decltype(&add_tap_rows<T, 1, 1>) add, add_one;
};
template <class T, int K>
inline constexpr TapRows<T> tap_rows{K, rows_together<K>, &add_tap_rows<T, rows_together<K>, K>,
                                     &add_tap_rows<T, 1, K>};

/// Those for a convolution, or null where there is no kernel for it.
template <class T>
const TapRows<T>* tap_rows_for(const ConvolutionShape& s) {
  static constexpr std::array all{tap_rows<T, 3>, tap_rows<T, 5>, tap_rows<T, 7>, tap_rows<T, 11>};
  if (s.groups != 1 || s.blocked_x || !s.blocked_y || s.dw != 1 || s.c > 8) return nullptr;
  const auto found = std::find_if(all.begin(), all.end(), [&](const TapRows<T>& k) { return k.columns == s.kw; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace detail

/// Adds the gradients as convolution_backward_weight does; false, and nothing done, where there is no kernel for it.
template <class T>
bool narrow_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  using Pack = simd::Pack<T>;
  const detail::TapRows<T>* const kernel = detail::tap_rows_for<T>(s);
  if (!kernel) return false;
  constexpr Index width = simd::width<T>;
  const Index together = kernel->together, kw = s.kw;
  const Index oh = s.oh(), ow = s.ow(), blocks = blocks_of<T>(s.m), taps = s.c * s.taps();
  // The images with their zeros around.
  const Index lines = (oh - 1) * s.sh + s.dh * (s.kh - 1) + 1, columns = (ow - 1) * s.sw + kw;
  Tensor<T> memory({s.n * s.c * lines * columns + blocks * (taps + 1) * width});
  T* const padded = memory.data();
  T* const sums = padded + s.n * s.c * lines * columns;
  parallel_for(0, s.n * s.c, grain_of(lines * columns), [&](Index first, Index last) {
    for (Index plane = first; plane < last; ++plane)
      for (Index i = 0; i < lines; ++i) {
        T* const to = padded + (plane * lines + i) * columns;
        const Index r = i - s.top, begin = std::clamp<Index>(s.left, 0, columns);
        const Index end = std::clamp<Index>(s.w + s.left, begin, columns);
        std::fill_n(to, columns, T(0));
        if (r >= 0 && r < s.h) std::copy_n(x + (plane * s.h + r) * s.w + begin - s.left, end - begin, to + begin);
      }
  });
  std::vector<Index> rows;  // of taps: the place in an image's planes
  for (Index c = 0; c < s.c; ++c)
    for (Index a = 0; a < s.kh; ++a) rows.push_back((c * lines + a * s.dh) * columns);
  const Index count = static_cast<Index>(rows.size()), parts = parts_of(count, together);
  // One row of outputs after the other: sums of sums keep more digits than one long sum.
  parallel_for(0, blocks * parts, 1, [&](Index task, Index) {
    const Index block = task / parts, row = task % parts * together;
    T* const part = sums + (block * (taps + 1) + row * kw) * width;
    T* const dy_sum = sums + (block * (taps + 1) + taps) * width;
    std::fill_n(part, std::min(together, count - row) * kw * width, T(0));
    if (row == 0) std::fill_n(dy_sum, width, T(0));
    for (Index n = 0; n < s.n; ++n)
      for (Index i = 0; i < oh; ++i) {
        const T* const image = padded + (n * s.c * lines + i * s.sh) * columns;
        const T* const gradients = dy + ((n * blocks + block) * oh + i) * ow * width;
        if (row + together <= count)
          kernel->add(image, &rows[static_cast<std::size_t>(row)], s.sw, ow, gradients, part);
        else
          for (Index r = row; r < count; ++r)
            kernel->add_one(image, &rows[static_cast<std::size_t>(r)], s.sw, ow, gradients,
                            part + (r - row) * kw * width);
        if (!dbias || row > 0) continue;
        (Pack::load(dy_sum) + sum_of_block(gradients, ow)).store(dy_sum);
      }
  });
  for (Index m = 0; m < s.m; ++m) {
    const T* const own = sums + m / width * (taps + 1) * width + m % width;
    for (Index t = 0; t < taps; ++t) dweight[m * taps + t] += own[t * width];
    if (dbias) dbias[m] += own[taps * width];
  }
  return true;
}

}  // namespace lamina::kernels::inline LAMINA_ISA
