#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/kernels/run.hpp"

/// Pooling over the two last axes; `planes` is the product of the others.
namespace lamina::kernels {

/// One axis of a sliding window: output o sees the inputs start(o) + k * dilation, k < kernel, that lie in [0, in).
struct WindowAxis {
  /// Inputs, outputs, taps, and distances of windows, zeros before, and distances of taps.
  /// @{
  Index in, out, kernel, stride, padding, dilation;
  /// @}

  /// The input that tap 0 of output o would see.
  Index start(Index o) const { return o * stride - padding; }
  /// The taps first_tap(o) <= k < end_tap(o) are those within the image.
  /// @{
  Index first_tap(Index o) const { return start(o) >= 0 ? 0 : (-start(o) + dilation - 1) / dilation; }
  Index end_tap(Index o) const { return std::min(kernel, (in - start(o) + dilation - 1) / dilation); }
  /// @}
};

/// What one output of average pooling sees along one axis: the inputs first..last-1, and the factor of its divisor.
struct Span {
  /// See above.
  /// @{
  Index first, last, divisor;
  /// @}
};

inline namespace LAMINA_ISA {

namespace detail {

/// Stores integers that fit into To at p, but nothing from end on.
template <class T, class To>
void store_within(typename simd::Pack<T>::Mask v, To* p, const To* end) {
  if (p + simd::width<T> <= end)
    simd::store_narrow<T>(v, p);
  else
    for (Index i = 0; p + i < end; ++i) p[i] = static_cast<To>(v[i]);
}

/// The largest value in each window of a block of channels of an image; with `taps` (numbers), its position.
template <class T, class Tap>
void max_pool_block(const WindowAxis& rows, const WindowAxis& columns, const T* x, T* y, Tap* taps) {
  using Pack = simd::Pack<T>;
  using Mask = typename Pack::Mask;
  using Int = simd::detail::IntegerOf<T>;
  constexpr Index width = simd::width<T>;
  constexpr bool placed = !std::is_same_v<Tap, const void>;
  for (Index oy = 0; oy < rows.out; ++oy) {
    const Index ky_begin = rows.first_tap(oy), ky_end = rows.end_tap(oy);
    for (Index ox = 0; ox < columns.out; ++ox, y += width) {
      const Index kx_begin = columns.first_tap(ox), kx_end = columns.end_tap(ox);
      Pack best(-std::numeric_limits<T>::infinity());
      Mask best_tap = Mask{} + static_cast<Int>(ky_begin * columns.kernel + kx_begin);
      for (Index ky = ky_begin; ky < ky_end; ++ky) {
        const T* from =
            x + ((rows.start(oy) + ky * rows.dilation) * columns.in + columns.start(ox) + kx_begin * columns.dilation) *
                    width;
        for (Index kx = kx_begin; kx < kx_end; ++kx, from += columns.dilation * width) {
          const Pack v = Pack::load(from);
          const Mask wins = (v > best) | is_nan(v);
          best = select(wins, v, best);
          if constexpr (placed) best_tap = wins ? Mask{} + static_cast<Int>(ky * columns.kernel + kx) : best_tap;
        }
      }
      best.store(y);
      if constexpr (placed) {
        simd::store_narrow<T>(best_tap, taps);
        taps += width;
      }
    }
  }
}

/// dx = 0, then dx[where the maximum was] += dy, of a block.
template <class T, class Tap>
void max_pool_block_backward(const WindowAxis& rows, const WindowAxis& columns, const T* dy, const Tap* taps, T* dx) {
  using Pack = simd::Pack<T>;
  using Int = simd::detail::IntegerOf<T>;
  constexpr Index width = simd::width<T>;
  std::fill_n(dx, rows.in * columns.in * width, T(0));
  for (Index oy = 0; oy < rows.out; ++oy) {
    const Index ky_begin = rows.first_tap(oy), ky_end = rows.end_tap(oy);
    for (Index ox = 0; ox < columns.out; ++ox, dy += width, taps += width) {
      const Index kx_begin = columns.first_tap(ox), kx_end = columns.end_tap(ox);
      const Pack gradient = Pack::load(dy);
      const auto tap = simd::load_wide<T>(taps);
      for (Index ky = ky_begin; ky < ky_end; ++ky) {
        T* to = dx +
                ((rows.start(oy) + ky * rows.dilation) * columns.in + columns.start(ox) + kx_begin * columns.dilation) *
                    width;
        for (Index kx = kx_begin; kx < kx_end; ++kx, to += columns.dilation * width) {
          const auto here = tap == static_cast<Int>(ky * columns.kernel + kx);
          (Pack::load(to) + select(here, gradient, Pack(T(0)))).store(to);
        }
      }
    }
  }
}

/// The average of each window of a block of channels of an image; and its backward.
/// @{
template <class T>
void avg_pool_block(Index w, const std::vector<Span>& rows, const std::vector<Span>& columns, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  for (const Span& row : rows)
    for (const Span& column : columns) {
      auto sums = simd::filled<4>(Pack(T(0)));
      for (Index i = row.first; i < row.last; ++i) {
        const T* const from = x + i * w * width;
        Index j = column.first;
        for (; j + 4 <= column.last; j += 4)
          LAMINA_UNROLL(k, 4) sums[k] += Pack::load(from + (j + k) * width);
        for (; j < column.last; ++j) sums[0] += Pack::load(from + j * width);
      }
      ((sums[0] + sums[1] + (sums[2] + sums[3])) * Pack(T(1) / static_cast<T>(row.divisor * column.divisor))).store(y);
      y += width;
    }
}
template <class T>
void avg_pool_block_backward(Index h, Index w, const std::vector<Span>& rows, const std::vector<Span>& columns,
                             const T* dy, T* dx) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  std::fill_n(dx, h * w * width, T(0));
  for (const Span& row : rows)
    for (const Span& column : columns) {
      const Pack share = Pack::load(dy) * Pack(T(1) / static_cast<T>(row.divisor * column.divisor));
      for (Index i = row.first; i < row.last; ++i)
        for (Index j = column.first; j < column.last; ++j) {
          T* const to = dx + (i * w + j) * width;
          (Pack::load(to) + share).store(to);
        }
      dy += width;
    }
}
/// @}

/// f(i) for blocks 0..n-1 of `values` vectors, in parallel.
template <class T, class F>
void for_each_block(Index n, Index values, F f) {
  parallel_for(0, n, std::max<Index>(1, (1 << 14) / (values * simd::width<T>)), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) f(i);
  });
}

/// Rows of an image, padded, and for a stride s cut into s phases (every s-th element, from 0, 1, ...), so that each
/// tap of a window is one contiguous vector over the outputs, whatever stride and dilation.
template <class T>
class PhasedRows {
 public:
  explicit PhasedRows(const WindowAxis& columns)
      : columns_(columns),
        used_(std::min(columns.in, columns.start(columns.out - 1) + (columns.kernel - 1) * columns.dilation + 1)),
        length_(columns.out + (columns.kernel - 1) * columns.dilation / columns.stride + 3 * simd::width<T>) {}

  /// Elements of memory that a row needs.
  Index row_size() const { return columns_.stride * length_; }
  /// Where tap k of output 0 lies in a row.
  Index offset(Index k) const {
    const Index position = k * columns_.dilation;
    return position % columns_.stride * length_ + position / columns_.stride;
  }

  /// Writes an image row x into its phases. The places around it keep what they hold, or become `fill`.
  [[gnu::flatten]] void split(const T* x, const T* end, T fill, T* phases) const {
    const Index stride = columns_.stride, padding = columns_.padding;
    if (stride == 1) {
      copy_row(x, used_, end, fill, phases + padding);
    } else if (stride == 2) {
      split_row(x, used_, end, fill, phases + padding % 2 * length_ + padding / 2,
                phases + (padding + 1) % 2 * length_ + (padding + 1) / 2);
    } else {
      Index phase = padding % stride, position = padding / stride;
      for (Index i = 0; i < used_; ++i) {
        phases[phase * length_ + position] = x[i];
        if (++phase == stride) {
          phase = 0;
          ++position;
        }
      }
    }
  }

 private:
  WindowAxis columns_;
  Index used_;    // inputs that some window sees
  Index length_;  // of a phase, with room for whole vectors
};

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y = the largest value in each window: x is [planes, rows.in, columns.in], y [planes, rows.out, columns.out]. With
/// `taps`, its position in the window, ky * columns.kernel + kx; Tap must hold that. Of equal values the first counts;
/// a NaN counts as the largest. blocked: a plane is a block of channels (blocked.hpp), whose values are vectors.
template <class T, class Tap>
void max_pool(Index planes, const WindowAxis& rows, const WindowAxis& columns, const T* x, T* y, Tap* taps,
              bool blocked) {
  if (blocked) {
    const Index in = rows.in * columns.in * simd::width<T>, out = rows.out * columns.out * simd::width<T>;
    return detail::for_each_block<T>(planes, rows.in * columns.in, [&](Index i) {
      if (taps)
        detail::max_pool_block(rows, columns, x + i * in, y + i * out, taps + i * out);
      else
        detail::max_pool_block<T, const void>(rows, columns, x + i * in, y + i * out, nullptr);
    });
  }
  using Pack = simd::Pack<T>;
  using Mask = typename Pack::Mask;
  using Int = simd::detail::IntegerOf<T>;
  constexpr Index width = simd::width<T>;
  constexpr T lowest = -std::numeric_limits<T>::infinity();

  // A unit of work is a band of output rows of a plane, whose input rows fit into the first-level cache.
  const detail::PhasedRows<T> phased(columns);
  const Index row_size = phased.row_size();
  const auto input_rows = [&](Index count) {
    return (count - 1) * rows.stride + (rows.kernel - 1) * rows.dilation + 1;
  };
  Index band = rows.out;
  while (band > 1 && input_rows(band) * row_size * static_cast<Index>(sizeof(T)) > (1 << 14)) band = (band + 1) / 2;
  const Index bands = (rows.out + band - 1) / band;
  const Index image_size = input_rows(band) * row_size;

  std::vector<Index> offsets;
  for (Index k = 0; k < columns.kernel; ++k) offsets.push_back(phased.offset(k));
  std::vector<Int> first_tap(static_cast<std::size_t>(columns.out + width));
  for (Index o = 0; o < columns.out; ++o)
    first_tap[static_cast<std::size_t>(o)] = static_cast<Int>(columns.first_tap(o));

  const T* const x_end = x + planes * rows.in * columns.in;
  const Index grain = std::max<Index>(1, (1 << 14) / (band * columns.out));
  parallel_for(0, planes * bands, grain, Scratch<T>{image_size}, [&](Index first, Index last, T* image) {
    std::fill_n(image, image_size, lowest);
    const auto output_begin = [&](Index unit) {
      return (unit / bands * rows.out + std::min(unit % bands * band, rows.out)) * columns.out;
    };
    const Index piece_end = output_begin(last);
    for (Index unit = first; unit < last; ++unit) {
      const Index begin = unit % bands * band, end = std::min(rows.out, begin + band);
      const Index top = std::max<Index>(0, rows.start(begin));
      const Index bottom = std::min(rows.in, rows.start(begin) + input_rows(end - begin));
      for (Index i = top; i < bottom; ++i)
        phased.split(x + (unit / bands * rows.in + i) * columns.in, x_end, lowest, image + (i - top) * row_size);
      Index out = output_begin(unit);
      for (Index oy = begin; oy < end; ++oy, out += columns.out) {
        const Index ky_first = rows.first_tap(oy), ky_end = rows.end_tap(oy);
        for (Index ox = 0; ox < columns.out; ox += width) {
          Pack best(lowest);
          Mask best_tap;
          std::memcpy(&best_tap, first_tap.data() + ox, sizeof best_tap);
          best_tap += static_cast<Int>(ky_first * columns.kernel);
          for (Index ky = ky_first; ky < ky_end; ++ky) {
            const T* row = image + (rows.start(oy) + ky * rows.dilation - top) * row_size + ox;
            for (Index kx = 0; kx < columns.kernel; ++kx) {
              const Pack v = Pack::load(row + offsets[static_cast<std::size_t>(kx)]);
              const Mask wins = (v > best) | is_nan(v);
              best = select(wins, v, best);
              if (taps) best_tap = wins ? Mask{} + static_cast<Int>(ky * columns.kernel + kx) : best_tap;
            }
          }
          // A whole vector may reach into the rows that follow; they are written afterwards.
          detail::store_within(best, y + out + ox, y + piece_end);
          if (taps) detail::store_within<T>(best_tap, taps + out + ox, taps + piece_end);
        }
      }
    }
  });
}

/// dx = 0, then dx[where the maximum was] += dy.
template <class T, class Tap>
void max_pool_backward(Index planes, const WindowAxis& rows, const WindowAxis& columns, const T* dy, const Tap* taps,
                       T* dx, bool blocked) {
  if (blocked) {
    const Index in = rows.in * columns.in * simd::width<T>, out = rows.out * columns.out * simd::width<T>;
    return detail::for_each_block<T>(planes, rows.in * columns.in, [&](Index i) {
      detail::max_pool_block_backward(rows, columns, dy + i * out, taps + i * out, dx + i * in);
    });
  }
  std::vector<Index> offsets;
  for (Index ky = 0; ky < rows.kernel; ++ky)
    for (Index kx = 0; kx < columns.kernel; ++kx)
      offsets.push_back(ky * rows.dilation * columns.in + kx * columns.dilation);
  const Index in = rows.in * columns.in, out = rows.out * columns.out;
  parallel_for(0, planes, std::max<Index>(1, (1 << 14) / out), [&](Index first, Index last) {
    for (Index plane = first; plane < last; ++plane) {
      T* const image = dx + plane * in;
      std::fill_n(image, in, T(0));
      const T* grad = dy + plane * out;
      const Tap* tap = taps + plane * out;
      for (Index oy = 0; oy < rows.out; ++oy) {
        T* corner = image + rows.start(oy) * columns.in - columns.padding;
        for (Index ox = 0; ox < columns.out; ++ox, corner += columns.stride)
          corner[offsets[static_cast<std::size_t>(*tap++)]] += *grad++;
      }
    }
  });
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {

/// Whether the spans are {0, 1}, {2, 3}, ...: a halving of the axis.
inline bool halves(const std::vector<Span>& spans) {
  for (std::size_t o = 0; o < spans.size(); ++o)
    if (const auto first = static_cast<Index>(2 * o);
        spans[o].first != first || spans[o].last != first + 2 || spans[o].divisor != 2)
      return false;
  return true;
}
/// Whether there is one span and it is the whole axis.
inline bool whole(const std::vector<Span>& spans, Index in) {
  return spans.size() == 1 && spans[0].first == 0 && spans[0].last == in;
}

/// One plane of 2x2 average pooling; whole vectors may reach behind the row, but not to x_end or y_end.
template <class T>
void halve_plane(Index w, Index out_rows, Index out_columns, const T* x, const T* x_end, T* y, const T* y_end) {
  constexpr Index width = simd::width<T>;
  for (Index oy = 0; oy < out_rows; ++oy, x += 2 * w, y += out_columns)
    for (Index ox = 0; ox < out_columns; ox += width) {
      const T* const p = x + 2 * ox;
      const auto a = load_within(p, x_end) + load_within(p + w, x_end);
      const auto b = load_within(p + width, x_end) + load_within(p + w + width, x_end);
      store_within((simd::even(a, b) + simd::odd(a, b)) * simd::Pack<T>(T(0.25)), y + ox, y_end);
    }
}

/// Its backward: each input gets a quarter of its output's gradient, an odd last row or column nothing.
template <class T>
void halve_plane_backward(Index h, Index w, Index out_rows, Index out_columns, const T* dy, const T* dy_end, T* dx,
                          const T* dx_end) {
  constexpr Index width = simd::width<T>;
  for (Index row = 0; row < 2 * out_rows; ++row, dx += w) {
    const T* const grad = dy + row / 2 * out_columns;
    for (Index ox = 0; ox < out_columns; ox += width) {
      const auto v = load_within(grad + ox, dy_end) * simd::Pack<T>(T(0.25));
      store_within(interleave_low(v, v), dx + 2 * ox, dx_end);
      store_within(interleave_high(v, v), dx + 2 * ox + width, dx_end);
    }
    if (w % 2) dx[w - 1] = T(0);
  }
  if (h % 2) std::fill_n(dx, w, T(0));
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y = the average of each window: x is [planes, h, w], y [planes, rows.size(), columns.size()]. blocked: a plane is a
/// block of channels (blocked.hpp), whose values are vectors.
template <class T>
void avg_pool(Index planes, Index h, Index w, const std::vector<Span>& rows, const std::vector<Span>& columns,
              const T* x, T* y, bool blocked) {
  using Pack = simd::Pack<T>;
  const Index in = h * w, out = static_cast<Index>(rows.size() * columns.size());
  if (blocked)
    return detail::for_each_block<T>(planes, in, [&](Index i) {
      detail::avg_pool_block(w, rows, columns, x + i * in * simd::width<T>, y + i * out * simd::width<T>);
    });
  const bool halving = detail::halves(rows) && detail::halves(columns);
  const bool global = detail::whole(columns, w) && detail::whole(rows, h);
  const T area = global ? static_cast<T>(rows[0].divisor * columns[0].divisor) : T(1);
  const T* const x_end = x + planes * in;
  const Index buffer_size = w + simd::width<T>;
  const Index grain = std::max<Index>(1, (1 << 15) / in);
  parallel_for(0, planes, grain, Scratch<T>{buffer_size}, [&](Index first, Index last, T* sums) {
    for (Index plane = first; plane < last; ++plane) {
      const T* const image = x + plane * in;
      T* result = y + plane * out;
      if (halving) {
        detail::halve_plane(w, static_cast<Index>(rows.size()), static_cast<Index>(columns.size()), image, x_end,
                            result, y + last * out);
        continue;
      }
      if (global) {
        const auto sum = sum_run<1, T>(in, [=](auto load) { return std::array{load(image)}; });
        *result = simd::sum(sum[0]) / area;
        continue;
      }
      for (const Span& row : rows) {
        const Index count = row.last - row.first;
        const T* const top = image + row.first * w;
        // The rows of the window into one, then its columns.
        for (Index i = 0; i < w; i += simd::width<T>) {
          Pack sum = detail::load_within(top + i, x_end);
          for (Index k = 1; k < count; ++k) sum += detail::load_within(top + k * w + i, x_end);
          sum.store(sums + i);
        }
        for (const Span& column : columns) {
          T sum = 0;
          for (Index i = column.first; i < column.last; ++i) sum += sums[i];
          *result++ = sum / static_cast<T>(row.divisor * column.divisor);
        }
      }
    }
  });
}

/// dx = the sum, over the windows that see an input, of their dy / divisor.
template <class T>
void avg_pool_backward(Index planes, Index h, Index w, const std::vector<Span>& rows, const std::vector<Span>& columns,
                       const T* dy, T* dx, bool blocked) {
  const Index in = h * w, out = static_cast<Index>(rows.size() * columns.size());
  if (blocked)
    return detail::for_each_block<T>(planes, in, [&](Index i) {
      detail::avg_pool_block_backward(h, w, rows, columns, dy + i * out * simd::width<T>, dx + i * in * simd::width<T>);
    });
  const bool halving = detail::halves(rows) && detail::halves(columns);
  const bool global = detail::whole(columns, w) && detail::whole(rows, h);
  parallel_for(0, planes, std::max<Index>(1, (1 << 15) / in), Scratch<T>{w}, [&](Index first, Index last, T* sums) {
    for (Index plane = first; plane < last; ++plane) {
      T* const image = dx + plane * in;
      const T* grad = dy + plane * out;
      if (halving) {
        detail::halve_plane_backward(h, w, static_cast<Index>(rows.size()), static_cast<Index>(columns.size()), grad,
                                     dy + planes * out, image, dx + last * in);
        continue;
      }
      if (global) {
        std::fill_n(image, in, *grad / static_cast<T>(rows[0].divisor * columns[0].divisor));
        continue;
      }
      std::fill_n(image, in, T(0));
      for (const Span& row : rows) {
        std::fill_n(sums, w, T(0));
        for (const Span& column : columns) {
          const T share = *grad++ / static_cast<T>(row.divisor * column.divisor);
          for (Index i = column.first; i < column.last; ++i) sums[i] += share;
        }
        for (Index i = row.first; i < row.last; ++i)
          map_run(w, image + i * w, [&](auto load) { return load(image + i * w) + load(sums); });
      }
    }
  });
}

/// y = the largest of what the spans see together, the first of equal ones, a NaN if there is one; its place in the
/// plane goes to `places`, unless that is null.
template <class T>
void max_of_spans(Index planes, Index h, Index w, const std::vector<Span>& rows, const std::vector<Span>& columns,
                  const T* x, T* y, std::int32_t* places) {
  const Index outputs = static_cast<Index>(rows.size() * columns.size());
  parallel_for(0, planes, std::max<Index>(1, (1 << 14) / std::max<Index>(1, h * w)), [&](Index first, Index last) {
    for (Index plane = first; plane < last; ++plane) {
      const T* const image = x + plane * h * w;
      Index out = plane * outputs;
      for (const Span& row : rows)
        for (const Span& column : columns) {
          Index best = row.first * w + column.first;
          for (Index i = row.first; i < row.last; ++i)
            for (Index at = i * w + column.first; at < i * w + column.last; ++at)
              if (!(image[at] <= image[best]) && !is_nan(image[best])) best = at;
          y[out] = image[best];
          if (places) places[out] = static_cast<std::int32_t>(best);
          ++out;
        }
    }
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
