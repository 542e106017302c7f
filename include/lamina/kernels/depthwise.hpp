#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/run.hpp"

/// Depthwise convolution: groups = C = M, each channel is correlated with a filter of its own.
///
/// A band of a channel's rows is copied into scratch memory in the first-level cache: zeros around each row, and for a
/// stride s in s phases that each hold every s-th pixel, so that a tap's pixels for a vector of outputs are one vector.
/// A kernel then walks down a strip one vector wide. Every input vector is loaded once for each column of the filter
/// and added to the rows of outputs that see it, which wait in registers until their last input row has passed.
///
/// The input's gradient at stride 1 is a correlation of dy with the rotated filter; at stride 2 the walk goes down dy,
/// and each of its rows adds to the rows of dx that it came from, even and odd columns in registers of their own. The
/// weight's gradient keeps the taps' sums in registers while dy's rows pass by.
///
/// Filters of 3x3, 5x5 and 7x7 at stride 1 and 2 are compiled with their taps unrolled; others take loops over taps.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {

inline Index floor_divide(Index a, Index b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }
inline Index ceil_divide(Index a, Index b) { return -floor_divide(-a, b); }

/// How rows of an image lie in scratch memory: in phases, pixel `column` at at(column).
template <class T>
class ScratchRows {
 public:
  /// For rows of w pixels of which columns first..last are read; those outside of the image are zero. With a spread
  /// above 1, the image's columns are 0, spread, 2 spread, ..., and those between are zero (the stride is then 1).
  ScratchRows(Index w, Index stride, Index spread, Index first, Index last)
      : w_(w),
        stride_(stride),
        spread_(spread),
        front_(simd::whole_vectors<T>(std::max<Index>(0, -floor_divide(first, stride)))),
        phase_(front_ +
               simd::whole_vectors<T>(std::max(((w - 1) * spread + stride) / stride, floor_divide(last, stride) + 1))) {
  }

  Index pitch() const { return stride_ * phase_; }
  Index at(Index column) const {
    const Index q = floor_divide(column, stride_);
    return (column - q * stride_) * phase_ + front_ + q;
  }

  /// Copies `rows` rows of an image, one below the other, to places `step` apart in scratch memory that holds zeros
  /// around them. Nothing is read from `end` on.
  [[gnu::flatten]] void copy(Index rows, const T* x, const T* end, T* to, Index step) const {
    to += front_;
    for (Index r = 0; r < rows; ++r, x += w_, to += step) {
      if (stride_ == 1 && spread_ == 1) {
        copy_row(x, w_, end, T(0), to);
      } else if (stride_ == 2) {
        split_row(x, w_, end, T(0), to, to + phase_);
      } else {
        for (Index p = 0; p < stride_; ++p)
          for (Index k = p, j = 0; k < w_; k += stride_, ++j) to[p * phase_ + j * spread_] = x[k];
      }
    }
  }

 private:
  Index w_, stride_, spread_;
  Index front_;  // zeros before a phase's first pixel, in whole vectors
  Index phase_;  // elements of a phase
};

/// A channel's planes cut into bands of rows, and the scratch memory for the image rows that a band needs.
template <class T>
struct Bands {
  Index count;
  Index band;     // rows in a band
  Index scratch;  // elements of memory

  /// A band of b rows needs b * step + overlap rows of `pitch` elements.
  Bands(Index rows, Index step, Index overlap, Index pitch) {
    const Index fitting = (20 << 10) / static_cast<Index>(sizeof(T)) / pitch;
    const Index most = std::max<Index>(1, (fitting - overlap) / step);
    band = ceil_divide(rows, ceil_divide(rows, most));
    count = ceil_divide(rows, band);
    scratch = (band * step + overlap) * pitch;
  }
};

/// The grain for so many units of `work` outputs. Each piece clears its scratch memory, which should not be for one
/// unit where there are many.
inline Index grain_of_units(Index units, Index work) {
  return std::max(grain_of(work), std::min<Index>(8, units / 16));
}

/// What the kernels share: the sizes, and how a padded image row lies in scratch memory.
template <class T>
struct Depthwise {
  ConvolutionShape s;
  Index oh, ow;
  Index spread_h, spread_w;  // between the image's rows and columns; s.h and s.w count the zeros between them
  ScratchRows<T> layout;
  std::vector<Index> taps;  // where column b of the filter meets output 0
  Bands<T> bands;

  explicit Depthwise(const ConvolutionShape& shape, Index rows_apart = 1, Index columns_apart = 1)
      : s(shape),
        oh(s.oh()),
        ow(s.ow()),
        spread_h(rows_apart),
        spread_w(columns_apart),
        layout(image_w(), s.sw, spread_w, -s.left,
               (std::max(ow, simd::width<T>) - 1) * s.sw + (s.kw - 1) * s.dw - s.left),
        bands(oh, s.sh, (s.kh - 1) * s.dh, layout.pitch()) {
    for (Index b = 0; b < s.kw; ++b) taps.push_back(layout.at(b * s.dw - s.left));
  }

  /// Of the image in memory.
  Index image_w() const { return (s.w - 1) / spread_w + 1; }
  Index image_size() const { return ((s.h - 1) / spread_h + 1) * image_w(); }

  /// For rows first..last-1 of the output: the padded image rows from first * SH on, into scratch memory.
  void copy(const T* plane, const T* end, Index first, Index last, T* image) const {
    const Index pitch = layout.pitch(), above = s.top - first * s.sh;  // the image's first row lies so far below
    const Index seen = (last - 1 - first) * s.sh + (s.kh - 1) * s.dh + 1;
    const Index begin = std::max<Index>(0, ceil_divide(-above, spread_h));
    const Index count = std::max<Index>(0, floor_divide(std::min(s.h, seen - above) - 1, spread_h) + 1 - begin);
    const Index row = above + begin * spread_h;
    if (bands.count > 1) {  // otherwise the rows of zeros are the same for every image
      const Index rows = seen + s.sh - 1;
      if (count == 0 || spread_h > 1)
        std::fill_n(image, rows * pitch, T(0));
      else {
        std::fill_n(image, row * pitch, T(0));
        std::fill_n(image + (row + count) * pitch, (rows - row - count) * pitch, T(0));
      }
    }
    layout.copy(count, plane + begin * image_w(), end, image + row * pitch, spread_h * pitch);
  }

  /// Calls f(j) for output columns from the right, a vector each; the last vector ends with the row if it can.
  template <class F>
  void strips(F f) const {
    constexpr Index width = simd::width<T>;
    for (Index j = (ow - 1) / width * width; j >= 0; j -= width) f(std::min(j, std::max<Index>(0, ow - width)));
  }
};

/// A strip's rows first..last-1 of outputs at y, one vector each, nothing from y_end on; image is its padded row
/// first * SH in scratch memory.
template <class T>
struct Strip {
  const T* image;
  Index first, last;
  const T* weight;
  T bias;
  T* y;
  const T* y_end;
};

/// Steps s, of S padded image rows each, in which a filter of K rows of taps meets outputs first..last-1; less the
/// steps in the padding above and below.
struct Steps {
  Index first, last;
};
template <int K, int S>
Steps steps_within_image(const ConvolutionShape& s, Index top, Index first, Index last) {
  return {std::max(first, floor_divide(top, S)), std::min(last + (K - 1) / S, ceil_divide(s.h + top, S))};
}

/// The taps of a filter as a kernel reads them: in registers if they leave room for others; else each is broadcast from
/// memory where it is used, which costs less than keeping vectors of it on the stack.
template <int K, class T>
auto taps_of(const T* weight) {
  if constexpr (K == 3) {
    simd::Registers<simd::Pack<T>, K * K> taps;
    LAMINA_UNROLL(i, K * K) taps[i] = simd::Pack<T>(weight[i]);
    return taps;
  } else {
    return weight;
  }
}

/// K x K taps, stride S. Step s passes padded rows s S .. s S + S - 1; its row p meets output s - k at tap row k S + p.
template <class T, int K, int S>
void correlate_strip(const Depthwise<T>& d, const Strip<T>& strip) {
  using Pack = simd::Pack<T>;
  constexpr int reach = (K + S - 1) / S;
  const Index pitch = d.layout.pitch(), ow = d.ow, first = strip.first;
  const Pack bias(strip.bias);
  const auto weight = taps_of<K>(strip.weight);
  auto sums = simd::filled<reach>(bias);  // of outputs s - reach + 1, ..., s
  simd::Registers<const T*, S> phase;
  LAMINA_UNROLL(p, S) phase[p] = strip.image + d.taps[static_cast<std::size_t>(p)];

  const Steps steps = steps_within_image<K, S>(d.s, d.s.top, first, strip.last);
  for (Index s = std::min(steps.first, first + reach - 1); s < strip.last + reach - 1; ++s) {
    if (steps.first <= s && s < steps.last) {
      const Index row = (s - first) * S * pitch;
      Pack v;
      LAMINA_UNROLL(i, S * K * reach) {
        const int k = i % reach, b = i / reach % K, p = i / reach / K, a = k * S + p;
        if (k == 0) v = held(Pack::load(phase[b % S] + row + p * pitch + b / S));
        if (a < K) sums[reach - 1 - k] = multiply_add(v, Pack(weight[a * K + b]), sums[reach - 1 - k]);
      }
    }
    if (const Index i = s - reach + 1 - first; i >= 0) store_within(sums[0], strip.y + i * ow, strip.y_end);
    LAMINA_UNROLL(k, reach - 1) sums[k] = sums[k + 1];
    sums[reach - 1] = bias;
  }
}

/// Any filter, four rows of outputs at a time.
template <class T>
void correlate_strip_any(const Depthwise<T>& d, const Strip<T>& strip) {
  using Pack = simd::Pack<T>;
  constexpr int rows = 4;
  const Index pitch = d.layout.pitch();
  for (Index i = strip.first; i < strip.last; i += rows) {
    auto sums = simd::filled<rows>(Pack(strip.bias));
    simd::Registers<const T*, rows> image;  // the last row stands in for those behind it
    LAMINA_UNROLL(r, rows) image[r] = strip.image + (std::min(i + r, strip.last - 1) - strip.first) * d.s.sh * pitch;
    for (Index a = 0; a < d.s.kh; ++a)
      for (Index b = 0; b < d.s.kw; ++b) {
        const Pack weight(strip.weight[a * d.s.kw + b]);
        const Index offset = a * d.s.dh * pitch + d.taps[static_cast<std::size_t>(b)];
        LAMINA_UNROLL(r, rows) sums[r] = multiply_add(Pack::load(image[r] + offset), weight, sums[r]);
      }
    LAMINA_UNROLL(r, rows)
      if (i + r < strip.last) store_within(sums[r], strip.y + (i + r - strip.first) * d.ow, strip.y_end);
  }
}

/// The row of a table of kernels for a filter: 3x3, 5x5, 7x7 at stride 1, the same at stride 2, or -1.
inline int unrolled_kernel(const ConvolutionShape& s) {
  const bool square = s.kh == s.kw && s.sh == s.sw && s.dh == 1 && s.dw == 1;
  if (!square || s.sh > 2 || (s.kh != 3 && s.kh != 5 && s.kh != 7)) return -1;
  return static_cast<int>((s.sh - 1) * 3 + (s.kh - 3) / 2);
}

/// y = x * weight + bias, by bands of all planes; bias may be null.
template <class T>
void correlate(const Depthwise<T>& d, const T* x, const T* weight, const T* bias, T* y) {
  static constexpr std::array kernels{&correlate_strip<T, 3, 1>, &correlate_strip<T, 5, 1>, &correlate_strip<T, 7, 1>,
                                      &correlate_strip<T, 3, 2>, &correlate_strip<T, 5, 2>, &correlate_strip<T, 7, 2>};
  const ConvolutionShape& s = d.s;
  const int unrolled = unrolled_kernel(s);
  const auto kernel = unrolled < 0 ? &correlate_strip_any<T> : kernels[static_cast<std::size_t>(unrolled)];
  const Index in = d.image_size(), oh = d.oh, ow = d.ow, out = oh * ow;
  const Index band = d.bands.band, bands = d.bands.count, units = s.n * s.c * bands, size = d.bands.scratch;
  const T* const x_end = x + s.n * s.c * in;
  parallel_for(0, units, grain_of_units(units, band * ow), Scratch<T>{size}, [&](Index begin, Index end, T* image) {
    std::fill_n(image, size, T(0));
    const auto line_of = [&](Index unit) { return unit / bands * oh + std::min(oh, unit % bands * band); };
    const T* const y_end = y + line_of(end) * ow;
    for (Index unit = begin; unit < end; ++unit) {
      const Index plane = unit / bands, channel = plane % s.c;
      const Index first = unit % bands * band, last = std::min(oh, first + band);
      d.copy(x + plane * in, x_end, first, last, image);
      // Where a vector is wider than the row, it runs over into rows that are written afterwards.
      d.strips([&](Index j) {
        kernel(d, {image + j, first, last, weight + channel * s.taps(), bias ? bias[channel] : T(0),
                   y + plane * out + first * ow + j, y_end});
      });
    }
  });
}

/// A strip of dx's rows first..last-1, two vectors each: the even columns from dx and the odd ones. image is row
/// dy_first of dy in scratch memory, at the column j that meets dx's first pixel with tap 0 or 1; rows up to dy_last.
template <class T>
struct SpreadStrip {
  const T* image;
  Index dy_first, dy_last, pitch;
  const T* weight;
  Index first, last, top, w;
  T* dx;
  const T* dx_end;
  bool second;  // the second vector begins within the row
};

/// Column b of a K x K filter at stride 2 adds dy's column j + shift to even or odd (lane) columns of dx, where the
/// left padding is as odd as K / 2.
template <int K>
struct SpreadTap {
  static constexpr int parity = K / 2 % 2;
  static constexpr int lane(int b) { return (b + parity) % 2; }
  static constexpr int shift(int b) { return (parity + lane(b) - b) / 2; }
};

/// K x K taps, stride 2: row r of dy adds to padded rows 2 r .. 2 r + K - 1 of dx, of which it finishes the first two.
template <class T, int K>
void spread_strip(const SpreadStrip<T>& strip) {
  using Pack = simd::Pack<T>;
  using Tap = SpreadTap<K>;
  const auto weight = taps_of<K>(strip.weight);
  simd::Registers<Pack, 2 * K> sums{};  // [row][lane]
  const T* row = strip.image;
  for (Index r = strip.dy_first; 2 * r < strip.last + strip.top; ++r, row += strip.pitch) {
    if (r < strip.dy_last) {
      Pack v;
      LAMINA_UNROLL(i, K * K) {
        const int a = i % K, b = i / K, sum = 2 * a + Tap::lane(b);
        if (a == 0 && (b == 0 || Tap::shift(b) != Tap::shift(b - 1))) v = held(Pack::load(row + Tap::shift(b)));
        sums[sum] = multiply_add(v, Pack(weight[a * K + b]), sums[sum]);
      }
    }
    LAMINA_UNROLL(p, 2) {
      const Index i = 2 * r + p - strip.top;
      if (i < strip.first || i >= strip.last) continue;
      T* const to = strip.dx + (i - strip.first) * strip.w;
      store_within(interleave_low(sums[2 * p], sums[2 * p + 1]), to, strip.dx_end);
      if (strip.second) store_within(interleave_high(sums[2 * p], sums[2 * p + 1]), to + simd::width<T>, strip.dx_end);
    }
    LAMINA_UNROLL(i, 2 * K) {
      sums[i] = i + 4 < 2 * K ? sums[i + 4] : Pack(T(0));
    }
  }
}

/// spread_strip for one K, and how its first and last taps lie.
template <class T>
struct SpreadKernel {
  void (*strip)(const SpreadStrip<T>&);
  Index parity, first_shift, last_shift;
};
template <class T, int K>
inline constexpr SpreadKernel<T> spread_kernel{&spread_strip<T, K>, SpreadTap<K>::parity, SpreadTap<K>::shift(0),
                                               SpreadTap<K>::shift(K - 1)};

/// dx at stride 2 for K x K filters, K = 3, 5 or 7, whose left padding is as odd as K / 2.
template <class T>
void spread(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  static constexpr std::array kernels{spread_kernel<T, 3>, spread_kernel<T, 5>, spread_kernel<T, 7>};
  const SpreadKernel<T>& kernel = kernels[static_cast<std::size_t>(s.kh / 2 - 1)];
  constexpr Index width = simd::width<T>;
  const Index oh = s.oh(), ow = s.ow(), in = s.h * s.w;
  const Index last_strip = std::max<Index>(0, (s.w - 2 * width + 1) / 2 * 2), offset = (s.left - kernel.parity) / 2;
  const ScratchRows<T> layout(ow, 1, 1, offset + kernel.last_shift,
                              offset + last_strip / 2 + width - 1 + kernel.first_shift);
  const Index pitch = layout.pitch();
  const Bands<T> cut(ceil_divide(s.h, 2), 1, s.kh / 2, pitch);  // in pairs of rows
  const Index band = 2 * cut.band, bands = cut.count, units = s.n * s.c * bands;
  const Scratch<T> scratch{cut.scratch};
  parallel_for(0, units, grain_of_units(units, band * s.w), scratch, [&](Index begin, Index end, T* image) {
    std::fill_n(image, cut.scratch, T(0));
    const T* const dx_end = dx + (end / bands * s.h + std::min(s.h, end % bands * band)) * s.w;
    for (Index unit = begin; unit < end; ++unit) {
      const Index plane = unit / bands, first = unit % bands * band, last = std::min(s.h, first + band);
      const Index dy_first = std::max<Index>(0, ceil_divide(first + s.top - s.kh + 1, 2));
      const Index dy_last = std::min(oh, (last - 1 + s.top) / 2 + 1);
      layout.copy(dy_last - dy_first, dy + (plane * oh + dy_first) * ow, dy + s.n * s.c * oh * ow, image, pitch);
      // From the right, since the last strip may run over by one pixel into the next row.
      for (Index j = (s.w - 1) / (2 * width) * 2 * width; j >= 0; j -= 2 * width) {
        const Index column = std::min(j, last_strip);
        kernel.strip({image + layout.at(offset + column / 2), dy_first, dy_last, pitch, weight + plane % s.c * s.taps(),
                      first, last, s.top, s.w, dx + plane * in + first * s.w + column, dx_end, column + width < s.w});
      }
    }
  });
}

/// What adds to the weight's gradient in a strip: dy's rows first..last-1, whose lanes in `counted` count. image is the
/// padded image row first * SH in scratch memory. sums are vectors [taps + 1], the last for the bias.
template <class T>
struct GradientStrip {
  const T* image;
  Index first, last;
  const T* dy;
  const T* dy_end;
  typename simd::Pack<T>::Mask counted;
  T* sums;

  simd::Pack<T> dy_row(Index i, Index pitch) const {
    return i >= first && i < last ? load_within(dy + (i - first) * pitch, dy_end) : simd::Pack<T>(T(0));
  }
  /// The other lanes hold other pixels' products, and are dropped here, once for all rows.
  void add(Index tap, simd::Pack<T> v) const {
    T* const sum = sums + tap * simd::width<T>;
    (simd::Pack<T>::load(sum) + select(counted, v, T(0))).store(sum);
  }
};

/// Rows of taps whose sums the registers hold together with one row of the image and dy's.
template <class T, int K>
inline constexpr int gradient_rows = std::clamp(((simd::vector_bytes == 64 ? 32 : 16) - 1) / (K + 1), 1, K);

/// K x K taps, stride S; as in correlate_strip, the step s passes padded rows s S .. and dy's rows s - k.
template <class T, int K, int S>
void gradient_strip(const Depthwise<T>& d, const GradientStrip<T>& strip) {
  using Pack = simd::Pack<T>;
  constexpr int rows = gradient_rows<T, K>, reach = (rows + S - 1) / S;
  const Index pitch = d.layout.pitch(), ow = d.ow;
  for (Index group = 0; group < K; group += rows) {
    const Index top_row = std::min<Index>(group, K - rows);  // the last group repeats some of the one before
    simd::Registers<const T*, S> phase;
    LAMINA_UNROLL(p, S) phase[p] = strip.image + d.taps[static_cast<std::size_t>(p)] + top_row * pitch;
    const Steps steps = steps_within_image<rows, S>(d.s, d.s.top - top_row, strip.first, strip.last);
    simd::Registers<Pack, rows * K> sums{};
    Pack bias(T(0));
    simd::Registers<Pack, reach> dy{};  // rows s, s - 1, ...
    for (Index s = strip.first; s < strip.last + reach - 1; ++s) {
      LAMINA_UNROLL(k, reach - 1) dy[reach - 1 - k] = dy[reach - 2 - k];
      dy[0] = strip.dy_row(s, ow);
      bias += dy[0];
      if (s < steps.first || s >= steps.last) continue;
      const Index row = (s - strip.first) * S * pitch;
      Pack v;
      LAMINA_UNROLL(i, S * K * reach) {
        const int k = i % reach, b = i / reach % K, p = i / reach / K, a = k * S + p;
        if (k == 0) v = held(Pack::load(phase[b % S] + row + p * pitch + b / S));
        if (a < rows) sums[a * K + b] = multiply_add(v, dy[k], sums[a * K + b]);
      }
    }
    if (group == 0) strip.add(K * K, bias);
    LAMINA_UNROLL(i, rows * K)
      if (i >= (group - top_row) * K) strip.add(top_row * K + i, sums[i]);
  }
}

/// Any filter, four taps of a row at a time.
template <class T>
void gradient_strip_any(const Depthwise<T>& d, const GradientStrip<T>& strip) {
  using Pack = simd::Pack<T>;
  constexpr int together = 4;
  const Index pitch = d.layout.pitch(), kw = d.s.kw;
  for (Index a = 0; a < d.s.kh; ++a)
    for (Index b = 0; b < kw; b += together) {
      simd::Registers<const T*, together> image;  // the last tap stands in for those behind it
      LAMINA_UNROLL(t, together)
        image[t] = strip.image + a * d.s.dh * pitch + d.taps[static_cast<std::size_t>(std::min(b + t, kw - 1))];
      Pack bias(T(0));
      simd::Registers<Pack, together> sums{};
      for (Index i = strip.first; i < strip.last; ++i) {
        const Pack dy = strip.dy_row(i, d.ow);
        bias += dy;
        const Index row = (i - strip.first) * d.s.sh * pitch;
        LAMINA_UNROLL(t, together) sums[t] = multiply_add(Pack::load(image[t] + row), dy, sums[t]);
      }
      LAMINA_UNROLL(t, together)
        if (b + t < kw) strip.add(a * kw + b + t, sums[t]);
      if (a == 0 && b == 0) strip.add(d.s.taps(), bias);
    }
}

}  // namespace detail

}  // namespace lamina::kernels::inline LAMINA_ISA

namespace lamina::kernels::inline LAMINA_KERNELS {

/// y[n, c] = bias[c] + weight[c] * x[n, c] for x [N, C, H, W], weight [C, 1, KH, KW], y [N, C, OH, OW]; bias may be
/// null. s.depthwise() must hold.
template <class T>
void depthwise_forward(const ConvolutionShape& s, const T* x, const T* weight, const T* bias, T* y) {
  detail::correlate(detail::Depthwise<T>(s), x, weight, bias, y);
}

/// dx, the gradient with respect to x.
template <class T>
void depthwise_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  if (s.sh == 2 && detail::unrolled_kernel(s) >= 0 && s.left % 2 == s.kw / 2 % 2) {
    return detail::spread(s, dy, weight, dx);
  }
  // The correlation of dy, zeros between its rows and columns, with the filter turned round.
  const Index taps = s.taps();
  Tensor<T> turned({s.c, taps});
  T* const to = turned.data();
  for (Index c = 0; c < s.c; ++c) std::reverse_copy(weight + c * taps, weight + (c + 1) * taps, to + c * taps);
  ConvolutionShape r = s;
  r.h = (s.oh() - 1) * s.sh + 1, r.w = (s.ow() - 1) * s.sw + 1;
  r.sh = r.sw = 1;
  r.top = s.dh * (s.kh - 1) - s.top, r.bottom = s.h - r.h + s.top;
  r.left = s.dw * (s.kw - 1) - s.left, r.right = s.w - r.w + s.left;
  detail::correlate<T>(detail::Depthwise<T>(r, s.sh, s.sw), dy, to, nullptr, dx);
}

/// Adds the gradients with respect to the weight and, unless null, the bias. The samples are cut into chunks, whose
/// partial sums are added in order.
template <class T>
void depthwise_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  using namespace detail;
  static constexpr std::array kernels{&gradient_strip<T, 3, 1>, &gradient_strip<T, 5, 1>, &gradient_strip<T, 7, 1>,
                                      &gradient_strip<T, 3, 2>, &gradient_strip<T, 5, 2>, &gradient_strip<T, 7, 2>};
  using Int = simd::detail::IntegerOf<T>;
  constexpr Index width = simd::width<T>;
  const int unrolled = unrolled_kernel(s);
  const auto kernel = unrolled < 0 ? &gradient_strip_any<T> : kernels[static_cast<std::size_t>(unrolled)];
  const Depthwise<T> d(s);
  const Index in = s.h * s.w, oh = d.oh, ow = d.ow, out = oh * ow, results = s.taps() + 1;
  const Index chunks = std::clamp<Index>(32 / s.c, 1, s.n), own = results * width + d.bands.scratch;
  const T* const x_end = x + s.n * s.c * in;
  const T* const dy_end = dy + s.n * s.c * out;
  Tensor<T> partial({chunks, s.c, results});
  T* const partials = partial.data();
  const Index tasks = chunks * s.c, grain = grain_of_units(tasks, s.n / chunks * out);
  parallel_for(0, tasks, grain, Scratch<T>{own}, [&](Index begin, Index end, T* sums) {
    T* const image = sums + results * width;
    std::fill_n(image, d.bands.scratch, T(0));
    for (Index task = begin; task < end; ++task) {
      const Index chunk = task / s.c, channel = task % s.c;
      std::fill_n(sums, results * width, T(0));
      for (Index n = chunk * s.n / chunks; n < (chunk + 1) * s.n / chunks; ++n) {
        const Index plane = n * s.c + channel;
        for (Index first = 0; first < oh; first += d.bands.band) {
          const Index last = std::min(oh, first + d.bands.band);
          const T* const grad = dy + plane * out + first * ow;
          d.copy(x + plane * in, x_end, first, last, image);
          d.strips([&](Index j) {
            // The row's end, and columns before it that belong to the strip on the left.
            const auto column = simd::lanes<T>() + static_cast<Int>(j);
            const auto counted =
                (column >= static_cast<Int>(simd::whole_vectors<T>(j))) & (column < static_cast<Int>(ow));
            kernel(d, {image + j, first, last, grad + j, dy_end, counted, sums});
          });
        }
      }
      for (Index i = 0; i < results; ++i)
        partials[task * results + i] = simd::sum(simd::Pack<T>::load(sums + i * width));
    }
  });
  for (Index chunk = 0; chunk < chunks; ++chunk)
    for (Index channel = 0; channel < s.c; ++channel) {
      const T* const result = partials + (chunk * s.c + channel) * results;
      for (Index i = 0; i < s.taps(); ++i) dweight[channel * s.taps() + i] += result[i];
      if (dbias) dbias[channel] += result[s.taps()];
    }
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
