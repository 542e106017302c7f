#pragma once

#include <limits>
#include <vector>

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/finish.hpp"
#include "lamina/kernels/pooling.hpp"

/// Passes over one block of channels of one sample: pooling, elementwise arithmetic, and the way from planes to blocks
/// and back. x and y are the block's pixels.
namespace lamina::kernels::inline LAMINA_ISA {

/// The largest value in each window; a NaN counts as the largest.
template <class T>
void blocked_max_pool(const WindowAxis& rows, const WindowAxis& columns, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  for (Index oy = 0; oy < rows.out; ++oy) {
    const Index ky_begin = rows.first_tap(oy), ky_end = rows.end_tap(oy);
    for (Index ox = 0; ox < columns.out; ++ox, y += width) {
      const Index kx_begin = columns.first_tap(ox), kx_end = columns.end_tap(ox);
      Pack best(-std::numeric_limits<T>::infinity());
      for (Index ky = ky_begin; ky < ky_end; ++ky) {
        const T* from =
            x + ((rows.start(oy) + ky * rows.dilation) * columns.in + columns.start(ox) + kx_begin * columns.dilation) *
                    width;
        for (Index kx = kx_begin; kx < kx_end; ++kx, from += columns.dilation * width) {
          const Pack v = Pack::load(from);
          best = select((v > best) | is_nan(v), v, best);
        }
      }
      best.store(y);
    }
  }
}

/// The average of each window; the block is changed as it is read.
template <class T>
void blocked_avg_pool(const std::vector<Span>& rows, const std::vector<Span>& columns, Index w, Index sample,
                      Index block, const Intake<T>& intake, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  alignas(64) T changed[16 * width];
  for (const Span& row : rows)
    for (const Span& column : columns) {
      Pack sum(T(0)), other(T(0));
      for (Index i = row.first; i < row.last; ++i)
        for (Index j = column.first; j < column.last; j += 16) {
          const Index count = std::min<Index>(16, column.last - j);
          const T* from = x + (i * w + j) * width;
          if (intake) {
            intake(sample, block, count, from, changed);
            from = changed;
          }
          Index p = 0;
          for (; p + 2 <= count; p += 2) {
            sum += Pack::load(from + p * width);
            other += Pack::load(from + (p + 1) * width);
          }
          if (p < count) sum += Pack::load(from + p * width);
        }
      ((sum + other) * Pack(T(1) / static_cast<T>(row.divisor * column.divisor))).store(y);
      y += width;
    }
}

/// y = f(clamp(x + residual)); y may be x or the residual.
template <class T>
void finish_pass(Index n, const T* x, const T* residual, const Finish<T>& finish, T* y) {
  map_run(n, y, [&](auto load) {
    auto v = load(x);
    if (residual) v += load(residual);
    return finish.clamp(v);
  });
  if (finish.activation) finish.activation(y, n);
}

}  // namespace lamina::kernels::inline LAMINA_ISA
