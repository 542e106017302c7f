#pragma once

#include <array>
#include <utility>
#include <vector>

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/finish.hpp"

/// Depthwise convolution in blocks of channels, finished as it is stored. A row of outputs is made from left to right:
/// each input pixel is loaded once for a row of taps and added to all outputs that see it, whose sums wait in
/// registers. Neither padding nor a copy is needed: pixels outside the image are not visited.
namespace lamina::kernels::inline LAMINA_ISA {

/// What a row of outputs is made of: rows[a] is the input row that tap row a meets, or zeros.
template <class T>
struct DepthwiseRow {
  const T* const* rows;  ///< one for each row of taps
  const T* weight;       ///< of the block: KH x KW vectors
  /// Pixels of an input row and of an output row; zeros to the left.
  /// @{
  Index w, ow, left;
  /// @}
  T* y;                ///< the row of outputs
  simd::Pack<T> bias;  ///< where the sums begin
};

/// K x K taps at stride S: pixel q S + r (of the padded row) adds tap d S + r to output q - d.
template <class T, int K, int S>
[[gnu::flatten]] void depthwise_row(const DepthwiseRow<T>& row, const Finish<T>& finish, const T* residual) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  constexpr int waiting = (K + S - 1) / S;
  constexpr bool held = K == 3;  // the registers hold all weights
  simd::Registers<Pack, held ? K * K : 1> weights;
  if constexpr (held)
    LAMINA_UNROLL(t, K * K) weights[t] = Pack::load(row.weight + t * width);
  simd::Registers<const T*, K> rows;
  LAMINA_UNROLL(a, K) rows[a] = row.rows[a];
  const Pack bias = row.bias, lowest(finish.lowest), highest(finish.highest);
  T* const y = row.y;
  const Index w = row.w, left = row.left;
  auto sums = simd::filled<waiting>(bias);
  const auto step = [&](Index q, auto checked) __attribute__((always_inline)) {
    LAMINA_UNROLL(r, S) {
      const Index j = q * S + r - left;
      if (decltype(checked)::value && (j < 0 || j >= w)) continue;
      LAMINA_UNROLL(a, K) {
        const Pack v = Pack::load(rows[a] + j * width);
        LAMINA_UNROLL(d, waiting) {
          if (d * S + r < K) {
            const int tap = a * K + d * S + r;
            if constexpr (held)
              sums[d] = multiply_add(v, weights[tap], sums[d]);
            else
              sums[d] = multiply_add(v, Pack::load(row.weight + tap * width), sums[d]);
          }
        }
      }
    }
    const Index o = q - (waiting - 1);
    if (o >= 0) {
      Pack v = sums[waiting - 1];
      if (residual) v += Pack::load(residual + o * width);
      min(max(v, lowest), highest).store(y + o * width);
    }
    LAMINA_UNROLL(d, waiting - 1) sums[waiting - 1 - d] = sums[waiting - 2 - d];
    sums[0] = bias;
  };
  const Index end = row.ow + waiting - 1;
  const Index inner_begin = std::min(end, parts_of(row.left, S));
  const Index inner_end = std::clamp<Index>((row.w + row.left) / S, inner_begin, end);
  // Both edges in one loop: the code of a step is long.
  for (Index q = 0; q < end;) {
    for (const Index edge = q < inner_begin ? inner_begin : q < inner_end ? q : end; q < edge; ++q)
      step(q, std::true_type{});
    for (; q < inner_end; ++q) step(q, std::false_type{});
  }
}

/// K x K taps at stride 1, for rows of pixels with K / 2 zeros at each end and more behind: four outputs at a time,
/// whose pixels are loaded once for a row of taps and its weights once for the four.
template <class T, int K>
[[gnu::flatten]] void depthwise_padded_row(const DepthwiseRow<T>& row, const Finish<T>& finish, const T* residual) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  constexpr int together = 4;
  const Pack lowest(finish.lowest), highest(finish.highest);
  for (Index o = 0; o < row.ow; o += together) {
    auto sums = simd::filled<together>(row.bias);
    for (int a = 0; a < K; ++a) {
      const T* const from = row.rows[a] + o * width;
      const T* const weight = row.weight + a * K * width;
      simd::Registers<Pack, together + K - 1> pixels;
      LAMINA_UNROLL(j, together + K - 1) pixels[j] = Pack::load(from + j * width);
      LAMINA_UNROLL(b, K) {
        const Pack w = Pack::load(weight + b * width);
        LAMINA_UNROLL(i, together) sums[i] = multiply_add(pixels[i + b], w, sums[i]);
      }
    }
    LAMINA_UNROLL(i, together) {
      if (o + i >= row.ow) continue;
      Pack v = sums[i];
      if (residual) v += Pack::load(residual + (o + i) * width);
      min(max(v, lowest), highest).store(row.y + (o + i) * width);
    }
  }
}

/// Any filter.
template <class T>
[[gnu::flatten]] void depthwise_row_any(const ConvolutionShape& s, const DepthwiseRow<T>& row, const Finish<T>& finish,
                                        const T* residual) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  for (Index o = 0; o < row.ow; ++o) {
    Pack sum = row.bias;
    for (Index a = 0; a < s.kh; ++a)
      for (Index b = 0; b < s.kw; ++b) {
        const Index j = o * s.sw + b * s.dw - row.left;
        if (j >= 0 && j < row.w)
          sum = multiply_add(Pack::load(row.rows[a] + j * width), Pack::load(row.weight + (a * s.kw + b) * width), sum);
      }
    if (residual) sum += Pack::load(residual + o * width);
    clamped(finish, sum).store(row.y + o * width);
  }
}

/// Cut into units of a block of channels of a sample, or a band of its rows.
template <class T>
class BlockedDepthwise {
  static constexpr Index width = simd::width<T>;

 public:
  /// whole: a unit takes all rows, so that it can sum the outputs.
  BlockedDepthwise(const ConvolutionShape& s, bool whole)
      : s_(s), blocks_(blocks_of<T>(s.c)), zeros_(static_cast<std::size_t>((s.w + around) * width)) {
    const Index row = (s.ow() + s.w * s.sh) * width * static_cast<Index>(sizeof(T));
    const Index bands = whole ? 1 : parts_of(s.oh() * row, Index{128} << 10);
    band_ = parts_of(s.oh(), bands);
    bands_ = parts_of(s.oh(), band_);
    const bool square = s.kh == s.kw && s.sh == s.sw && s.dh == 1 && s.dw == 1;
    if (!square) return;
    if (s.sh == 1 && s.kh == 5 && s.left == 2 && s.right == 2) padded_ = true, row_ = &depthwise_padded_row<T, 5>;
    if (padded_) return;
    if (s.kh == 3) row_ = s.sh == 1 ? &depthwise_row<T, 3, 1> : s.sh == 2 ? &depthwise_row<T, 3, 2> : nullptr;
    if (s.kh == 5) row_ = s.sh == 1 ? &depthwise_row<T, 5, 1> : s.sh == 2 ? &depthwise_row<T, 5, 2> : nullptr;
    if (s.kh == 7) row_ = s.sh == 1 ? &depthwise_row<T, 7, 1> : s.sh == 2 ? &depthwise_row<T, 7, 2> : nullptr;
  }

  /// Values that pack_filters writes.
  Index filters_size() const { return blocks_ * s_.taps() * width; }
  /// The weight [C, 1, KH, KW] as vectors of channels.
  void pack_filters(const T* weight, T* filters) const {
    for (Index block = 0; block < blocks_; ++block)
      interleave(weight + block * width * s_.taps(), s_.taps(), std::min(width, s_.c - block * width), 1, s_.taps(),
                 filters + block * s_.taps() * width, s_.taps());
  }

  /// Units of work for n samples.
  Index units(Index n) const { return n * blocks_ * bands_; }
  /// Values of memory that a thread needs.
  Index scratch() const { return padded_ ? (band_ + s_.kh - 1) * (s_.w + around) * width : 0; }

  /// means, if wanted (by sample and channel): of what was stored, over all pixels.
  void run(Index unit, BlockedImages<const T> x, const T* filters, BlockedImages<T> y, const Finish<T>& finish,
           T* means, Index means_sample, T* scratch) const {
    const Index band = unit % bands_, block = unit / bands_ % blocks_, n = unit / bands_ / blocks_;
    const Index first = band * band_, last = std::min(s_.oh(), first + band_);
    rows(n, block, first, last, x.data + n * x.sample + block * s_.h * s_.w * width, filters,
         y.data + n * y.sample + block * s_.oh() * s_.ow() * width, finish, scratch);
    if (!means) return;
    using Pack = simd::Pack<T>;
    const Index pixels = s_.oh() * s_.ow();
    const T* const made = y.data + n * y.sample + block * pixels * width;
    auto sums = simd::filled<4>(Pack(T(0)));
    Index p = 0;
    for (; p + 4 <= pixels; p += 4)
      LAMINA_UNROLL(i, 4) sums[i] += Pack::load(made + (p + i) * width);
    for (; p < pixels; ++p) sums[0] += Pack::load(made + p * width);
    ((sums[0] + sums[1] + (sums[2] + sums[3])) * Pack(T(1) / static_cast<T>(pixels)))
        .store(means + n * means_sample + block * width);
  }

 private:
  /// Zeros in a padded row, some of them for outputs behind the last.
  static constexpr Index around = 8;

  /// Rows first..last-1 of a block's outputs.
  void rows(Index n, Index block, Index first, Index last, const T* x, const T* filters, T* y, const Finish<T>& finish,
            T* scratch) const {
    const T* taps[blocked_depthwise_rows];
    Index pitch = s_.w * width, x_first = 0;
    if (padded_) {
      x_first = std::max<Index>(0, first - s_.top);
      pitch = (s_.w + around) * width;
      const Index x_last = std::min(s_.h, last - 1 - s_.top + s_.kh);
      for (Index r = x_first; r < x_last; ++r) {
        T* const to = scratch + (r - x_first) * pitch;
        std::fill_n(to, s_.left * width, T(0));
        std::copy_n(x + r * s_.w * width, s_.w * width, to + s_.left * width);
        std::fill_n(to + (s_.left + s_.w) * width, (around - s_.left) * width, T(0));
      }
      x = scratch;
    }
    const Index ow = s_.ow(), place = block * s_.oh() * ow * width;
    DepthwiseRow<T> row{taps,
                        filters + block * s_.taps() * width,
                        s_.w,
                        ow,
                        s_.left,
                        nullptr,
                        finish.bias ? simd::Pack<T>::load(finish.bias + block * width) : simd::Pack<T>(T(0))};
    for (Index i = first; i < last; ++i) {
      for (Index a = 0; a < s_.kh; ++a) {
        const Index r = i * s_.sh + a * s_.dh - s_.top;
        taps[a] = r >= 0 && r < s_.h ? x + (r - x_first) * pitch : zeros_.data();
      }
      row.y = y + i * ow * width;
      const T* const residual =
          finish.residual ? finish.residual + n * finish.residual_sample + place + i * ow * width : nullptr;
      if (row_)
        row_(row, finish, residual);
      else
        depthwise_row_any(s_, row, finish, residual);
      if (finish.activation) finish.activation(row.y, ow * width);
    }
  }

  ConvolutionShape s_;
  Index blocks_, bands_ = 1, band_ = 1;
  bool padded_ = false;
  std::vector<T> zeros_;  // a row outside the image
  void (*row_)(const DepthwiseRow<T>&, const Finish<T>&, const T*) = nullptr;
};

namespace detail {

/// The units of a kernel over all samples; x and y [n, blocks, h, w, L], filters as its pack_filters writes them.
template <class T>
void run_depthwise(const BlockedDepthwise<T>& kernel, const ConvolutionShape& s, const T* x, const T* filters,
                   const T* bias, T* y) {
  const Index channels = blocks_of<T>(s.c) * simd::width<T>;
  std::vector<T> whole(static_cast<std::size_t>(bias ? channels : 0));
  if (bias) std::copy_n(bias, s.c, whole.begin());
  Finish<T> finish;
  if (bias) finish.bias = whole.data();
  parallel_for(0, kernel.units(s.n), grain_of(s.oh() * s.ow() * s.taps() * simd::width<T>),
               Scratch<T>{kernel.scratch()}, [&](Index first, Index last, T* scratch) {
                 for (Index unit = first; unit < last; ++unit)
                   kernel.run(unit, {x, channels * s.h * s.w}, filters, {y, channels * s.oh() * s.ow()}, finish,
                              nullptr, 0, scratch);
               });
}

/// Outputs first..last-1 along an axis whose tap lies inside the image: i stride + tap is in [0, size).
inline std::pair<Index, Index> outputs_of_tap(Index tap, Index stride, Index size, Index outputs) {
  const Index first = tap < 0 ? parts_of(-tap, stride) : 0;
  const Index last = size > tap ? parts_of(size - tap, stride) : 0;
  return {std::min(first, outputs), std::clamp(last, std::min(first, outputs), outputs)};
}

}  // namespace detail

/// Depthwise convolutions of images whose channels lie in blocks; the weight is [C, 1, KH, KW]. See convolution.hpp.
/// @{
template <class T>
void blocked_depthwise_forward(const ConvolutionShape& s, const T* x, const T* weight, const T* bias, T* y) {
  const BlockedDepthwise<T> kernel(s, false);
  Tensor<T> filters({kernel.filters_size()});
  kernel.pack_filters(weight, filters.data());
  detail::run_depthwise(kernel, s, x, std::as_const(filters).data(), bias, y);
}

/// At stride 1, a convolution of dy with the filters turned by half a turn; else every pixel of dx gathers what its
/// taps met.
template <class T>
void blocked_depthwise_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index blocks = blocks_of<T>(s.c), taps = s.taps();
  Tensor<T> filters({blocks, taps, width});
  T* const all = filters.data();
  BlockedDepthwise<T>(s, false).pack_filters(weight, all);
  if (s.sh == 1 && s.sw == 1) {
    for (Index block = 0; block < blocks; ++block)
      for (Index t = 0; t < taps / 2; ++t)
        std::swap_ranges(all + (block * taps + t) * width, all + (block * taps + t + 1) * width,
                         all + (block * taps + taps - 1 - t) * width);
    const ConvolutionShape turned = transposed(s);
    return detail::run_depthwise(BlockedDepthwise<T>(turned, false), turned, dy, all, static_cast<const T*>(nullptr),
                                 dx);
  }
  struct Met {
    Index tap, at;  // of a row of the kernel; the place in a row of dy
  };
  std::vector<std::vector<Met>> columns(static_cast<std::size_t>(s.w));
  for (Index b = 0; b < s.kw; ++b) {
    const auto [first, last] = detail::outputs_of_tap(b * s.dw - s.left, s.sw, s.w, s.ow());
    for (Index o = first; o < last; ++o)
      columns[static_cast<std::size_t>(o * s.sw + b * s.dw - s.left)].push_back({b * width, o * width});
  }
  const Index oh = s.oh(), ow = s.ow();
  parallel_for(0, s.n * blocks, grain_of(s.h * s.w * taps * width), [&](Index begin, Index end) {
    for (Index unit = begin; unit < end; ++unit) {
      const T* const filter = all + unit % blocks * taps * width;
      for (Index r = 0; r < s.h; ++r) {
        T* const to = dx + (unit * s.h + r) * s.w * width;
        std::fill_n(to, s.w * width, T(0));
        for (Index a = 0; a < s.kh; ++a) {
          const Index from = r + s.top - a * s.dh;
          if (from < 0 || from % s.sh != 0 || from / s.sh >= oh) continue;
          const T* const row = dy + (unit * oh + from / s.sh) * ow * width;
          const T* const row_filter = filter + a * s.kw * width;
          T* pixel = to;
          for (const auto& met : columns) {
            Pack sum = Pack::load(pixel);
            for (const Met& m : met) sum = multiply_add(Pack::load(row + m.at), Pack::load(row_filter + m.tap), sum);
            sum.store(pixel);
            pixel += width;
          }
        }
      }
    }
  });
}

/// Each block of a sample is summed by itself, then the samples in order.
template <class T>
void blocked_depthwise_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index blocks = blocks_of<T>(s.c), taps = s.taps(), oh = s.oh(), ow = s.ow(), part = (taps + 1) * width;
  Tensor<T> memory({s.n * blocks, part});
  T* const parts = memory.data();
  parallel_for(0, s.n * blocks, grain_of(oh * ow * taps * width), [&](Index begin, Index end) {
    for (Index unit = begin; unit < end; ++unit) {
      const T* const image = x + unit * s.h * s.w * width;
      const T* const gradients = dy + unit * oh * ow * width;
      T* const sums = parts + unit * part;
      std::fill_n(sums, part, T(0));
      const auto add = [](T* to, Pack value) { (Pack::load(to) + value).store(to); };
      for (Index i = 0; i < oh; ++i) {
        const T* const row = gradients + i * ow * width;
        for (Index a = 0; a < s.kh; ++a) {
          const Index r = i * s.sh + a * s.dh - s.top;
          if (r < 0 || r >= s.h) continue;
          for (Index b = 0; b < s.kw; ++b) {
            const Index shift = b * s.dw - s.left;
            const auto [first, last] = detail::outputs_of_tap(shift, s.sw, s.w, ow);
            const T* const pixels = image + (r * s.w + shift) * width;
            auto sum = simd::filled<4>(Pack(T(0)));
            Index o = first;
            for (; o + 4 <= last; o += 4)
              LAMINA_UNROLL(k, 4)
                sum[k] = multiply_add(Pack::load(row + (o + k) * width), Pack::load(pixels + (o + k) * s.sw * width),
                                      sum[k]);
            for (; o < last; ++o)
              sum[0] = multiply_add(Pack::load(row + o * width), Pack::load(pixels + o * s.sw * width), sum[0]);
            add(sums + (a * s.kw + b) * width, sum[0] + sum[1] + (sum[2] + sum[3]));
          }
        }
        if (!dbias) continue;
        add(sums + taps * width, sum_of_block(row, ow));
      }
    }
  });
  for (Index unit = 0; unit < s.n * blocks; ++unit)
    for (Index l = 0; l < width; ++l) {
      const Index c = unit % blocks * width + l;
      if (c >= s.c) break;
      const T* const sums = parts + unit * part + l;
      for (Index t = 0; t < taps; ++t) dweight[c * taps + t] += sums[t * width];
      if (dbias) dbias[c] += sums[taps * width];
    }
}
/// @}

}  // namespace lamina::kernels::inline LAMINA_ISA
