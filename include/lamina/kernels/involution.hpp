#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/depthwise.hpp"

/// Involution: every output pixel has a kernel of its own, which the channels of a group share.
///
/// The rows that a band of outputs sees of a few channels are copied into scratch memory, with zeros around them and
/// for a stride s in s phases (ScratchRows), so that a tap's pixels for a vector of outputs are one vector. A vector of
/// a tap's weights is loaded once for those channels; their sums, or their gradients, wait in registers while it passes
/// over the taps. Nothing is unfolded.
namespace lamina::kernels {

/// The sizes of an involution; x is [N, C, H, W], y [N, C, OH, OW] with OH = ceil(H / stride), and the kernels
/// [N, groups * K * K, OH, OW]; zeros around the image, (K - 1) / 2 * dilation on every side.
struct InvolutionShape {
  Index n, c, h, w;
  Index groups = 1, kernel = 1, stride = 1, dilation = 1;
  bool groups_innermost = false;  ///< channel and tap of group g are those at i * groups + g, not at g * size + i

  Index oh() const { return (h - 1) / stride + 1; }
  Index ow() const { return (w - 1) / stride + 1; }
  Index taps() const { return kernel * kernel; }
  Index group_c() const { return c / groups; }
  Index padding() const { return (kernel - 1) / 2 * dilation; }
};

namespace detail {

/// At most so many channels pass over the taps together: their vectors, a tap's and one more are in registers.
inline constexpr int involved_channels = 8;

/// A piece of work: rows first..last-1 of y, or of dx in its own gradient, for a chunk of a group's channels.
template <class T>
struct InvolutionTask {
  Index n, group, chunk;
  Index first, last;
  T* image;  // scratch memory, [channels][rows][pitch], zeros between the rows
};

/// What the kernels share: the sizes, how the work is cut, and where a tap's pixels lie in scratch memory.
template <class T>
struct Involution {
  using Task = InvolutionTask<T>;

  InvolutionShape s;
  Index oh, ow;
  Index chunks;        // parts of a group's channels
  Index channel_step;  // planes from one channel of a group to the next, of x and y
  Index tap_step;      // values from one tap's plane to the next
  Index count;         // outputs in a vector: its width, if a row is so long
  ScratchRows<T> layout;
  std::vector<Index> columns;  // where column b of the taps meets output 0

  explicit Involution(const InvolutionShape& shape)
      : s(shape),
        oh(s.oh()),
        ow(s.ow()),
        chunks(parts_of(s.group_c(), involved_channels)),
        channel_step(s.groups_innermost ? s.groups : 1),
        tap_step(channel_step * oh * ow),
        count(std::min(ow, simd::width<T>)),
        layout(s.w, s.stride, 1, -s.padding(), (std::max(ow, simd::width<T>) - 1) * s.stride + s.padding()) {
    for (Index b = 0; b < s.kernel; ++b) columns.push_back(layout.at(b * s.dilation - s.padding()));
  }

  Index in() const { return s.h * s.w; }
  Index out() const { return oh * ow; }
  /// From the first row of taps to the last.
  Index reach() const { return (s.kernel - 1) * s.dilation; }

  Index chunk_begin(Index chunk) const { return chunk * s.group_c() / chunks; }
  Index channels(const Task& t) const { return chunk_begin(t.chunk + 1) - chunk_begin(t.chunk); }
  /// The task's first channel among the planes of all samples; its group's first tap in the kernels.
  Index plane(const Task& t) const {
    return t.n * s.c + (s.groups_innermost ? t.group : t.group * s.group_c()) + chunk_begin(t.chunk) * channel_step;
  }
  Index first_tap(const Task& t) const {
    return (t.n * s.groups * s.taps() + (s.groups_innermost ? t.group : t.group * s.taps())) * out();
  }

  /// f(task) for bands of `rows` rows, of all samples, groups and chunks (one of all chunks, with `all_chunks`). A band
  /// of b rows needs b * step + more rows of scratch memory for each of its channels.
  template <class F>
  void tasks(Index rows, Index step, Index more, bool all_chunks, F f) const {
    // Scratch memory leaves room in a second-level cache for the taps.
    const Index fitting = (96 << 10) / static_cast<Index>(sizeof(T)) / (involved_channels * layout.pitch());
    const Index bands = parts_of(rows, std::max<Index>(1, (fitting - more) / step)), band = parts_of(rows, bands);
    const Index size = std::min<Index>(involved_channels, s.group_c()) * (band * step + more) * layout.pitch();
    const Index parts = all_chunks ? 1 : chunks;
    const Index work = s.group_c() / parts * s.taps() * parts_of(band * step, s.stride) * parts_of(ow, simd::width<T>);
    Tensor<T> scratch({num_threads(), size});
    T* const scratches = scratch.data();
    parallel_for(0, s.n * s.groups * parts * bands, grain_of(work), [&](Index begin, Index end) {
      T* const image = scratches + worker() * size;
      std::fill_n(image, size, T(0));
      for (Index unit = begin; unit < end; ++unit) {
        const Index first = unit % bands * band, chunk = unit / bands % parts, group = unit / bands / parts % s.groups;
        if (first < rows)
          f(Task{unit / bands / parts / s.groups, group, chunk, first, std::min(rows, first + band), image});
      }
    });
  }

  /// f(j, fresh) for vectors of a row's outputs from the left. The last one ends with the row; its lanes before `fresh`
  /// are outputs of the vector before.
  template <class F>
  void strips(F f) const {
    for (Index j = 0; j < ow; j += simd::width<T>) f(std::min(j, ow - count), std::max<Index>(0, j - ow + count));
  }
  simd::Pack<T> load(const T* p) const {
    return count == simd::width<T> ? simd::Pack<T>::load(p) : simd::Pack<T>::load(p, count);
  }
  void store(simd::Pack<T> v, T* p) const { count == simd::width<T> ? v.store(p) : v.store(p, count); }

  /// Copies the rows of x that the task's outputs see. Returns the values from one channel to the next.
  Index copy(const T* x, const Task& t) const {
    const Index rows = (t.last - 1 - t.first) * s.stride + reach() + 1, pitch = layout.pitch();
    const Index top = t.first * s.stride - s.padding();  // in x
    const Index begin = std::clamp<Index>(-top, 0, rows), end = std::clamp<Index>(s.h - top, begin, rows);
    const T* const x_end = x + s.n * s.c * in();
    for (Index c = 0; c < channels(t); ++c) {
      T* const to = t.image + c * rows * pitch;
      std::fill_n(to, begin * pitch, T(0));
      layout.copy(end - begin, x + (plane(t) + c * channel_step) * in() + (top + begin) * s.w, x_end,
                  to + begin * pitch, pitch);
      std::fill_n(to + end * pitch, (rows - end) * pitch, T(0));
    }
    return rows * pitch;
  }

  /// The vectors of C channels' dy at `at` in their planes, zeros in lanes that do not count.
  template <int C>
  std::array<simd::Pack<T>, C> gradients(const T* dy, Index at, typename simd::Pack<T>::Mask counted) const {
    std::array<simd::Pack<T>, C> result;
    simd::unroll<C>([&](auto c) { result[c] = select(counted, load(dy + c * channel_step * out() + at), T(0)); });
    return result;
  }
};

/// The kernel for a number of channels, 1..involved_channels.
template <class Kernels>
auto kernel_for_channels(Index channels, Kernels kernel) {
  return [&]<int... C>(std::integer_sequence<int, C...>) {
    const std::array table{kernel(std::integral_constant<int, C + 1>{})...};
    return table[static_cast<std::size_t>(channels - 1)];
  }
  (std::make_integer_sequence<int, involved_channels>{});
}

/// Where a kernel works: `kernels` at the group's first tap, y or dy at the first channel; `scratch` values from one
/// channel to the next in the task's scratch memory.

/// y = sum over the taps of kernels * x, for C channels.
template <class T, int C>
void involve(const Involution<T>& d, const InvolutionTask<T>& t, Index scratch, const T* kernels, T* y) {
  using Pack = simd::Pack<T>;
  const Index pitch = d.layout.pitch();
  d.strips([&](Index j, Index) {
    for (Index i = t.first; i < t.last; ++i) {
      const T* tap = kernels + i * d.ow + j;
      const T* row = t.image + (i - t.first) * d.s.stride * pitch + j;
      std::array<Pack, C> sums;
      simd::unroll<C>([&](auto c) { sums[c] = Pack(T(0)); });
      for (Index a = 0; a < d.s.kernel; ++a, row += d.s.dilation * pitch)
        for (const Index column : d.columns) {
          const Pack weight = d.load(tap);
          const T* const x = row + column;
          tap += d.tap_step;
          simd::unroll<C>([&](auto c) { sums[c] = multiply_add(Pack::load(x + c * scratch), weight, sums[c]); });
        }
      simd::unroll<C>([&](auto c) { d.store(sums[c], y + c * d.channel_step * d.out() + i * d.ow + j); });
    }
  });
}

/// dkernels = (dkernels +, with `add`) the sum over C channels of x * dy.
template <class T, int C>
void involution_taps(const Involution<T>& d, const InvolutionTask<T>& t, Index scratch, const T* dy, bool add,
                     T* dkernels) {
  using Pack = simd::Pack<T>;
  const Index pitch = d.layout.pitch();
  d.strips([&](Index j, Index fresh) {
    // Nothing is to be added twice.
    const auto counted = simd::lanes<T>() >= static_cast<simd::detail::IntegerOf<T>>(add ? fresh : 0);
    for (Index i = t.first; i < t.last; ++i) {
      T* tap = dkernels + i * d.ow + j;
      const T* row = t.image + (i - t.first) * d.s.stride * pitch + j;
      const auto gradients = d.template gradients<C>(dy, i * d.ow + j, counted);
      for (Index a = 0; a < d.s.kernel; ++a, row += d.s.dilation * pitch)
        for (const Index column : d.columns) {
          const T* const x = row + column;
          std::array<Pack, 2> sums{add ? d.load(tap) : Pack(T(0)), Pack(T(0))};
          simd::unroll<C>(
              [&](auto c) { sums[c % 2] = multiply_add(Pack::load(x + c * scratch), gradients[c], sums[c % 2]); });
          d.store(sums[0] + sums[1], tap);
          tap += d.tap_step;
        }
    }
  });
}

/// Adds what C channels' dy give to the task's rows of dx, in scratch memory.
template <class T, int C>
void involution_spread(const Involution<T>& d, const InvolutionTask<T>& t, Index scratch, const T* kernels,
                       const T* dy) {
  using Pack = simd::Pack<T>;
  const InvolutionShape& s = d.s;
  const Index pitch = d.layout.pitch();
  const Index begin = std::max<Index>(0, ceil_divide(t.first + s.padding() - d.reach(), s.stride));
  const Index end = std::min(d.oh, (t.last - 1 + s.padding()) / s.stride + 1);
  d.strips([&](Index j, Index fresh) {
    const auto counted = simd::lanes<T>() >= static_cast<simd::detail::IntegerOf<T>>(fresh);
    for (Index i = begin; i < end; ++i) {
      const auto gradients = d.template gradients<C>(dy, i * d.ow + j, counted);
      const Index top = i * s.stride - s.padding() - t.first;  // the first taps' row in scratch memory
      const Index a_begin = std::max<Index>(0, ceil_divide(-top, s.dilation));
      const Index a_end = std::min(s.kernel, ceil_divide(t.last - t.first - top, s.dilation));
      // Down the columns of taps: neighbours in a row write to vectors that overlap, and would wait for one another.
      for (Index b = 0; b < s.kernel; ++b) {
        const T* tap = kernels + (a_begin * s.kernel + b) * d.tap_step + i * d.ow + j;
        T* dx = t.image + (top + a_begin * s.dilation) * pitch + j + d.columns[static_cast<std::size_t>(b)];
        for (Index a = a_begin; a < a_end; ++a, tap += s.kernel * d.tap_step, dx += s.dilation * pitch) {
          const Pack weight = d.load(tap);
          simd::unroll<C>([&](auto c) {
            T* const to = dx + c * scratch;
            multiply_add(weight, gradients[c], Pack::load(to)).store(to);
          });
        }
      }
    }
  });
}

/// Adds a row of w pixels in scratch memory to dx.
template <class T>
void add_scratch_row(const ScratchRows<T>& layout, Index w, Index stride, const T* row, T* dx) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  Index i = 0;
  if (stride == 1) {
    const T* const from = row + layout.at(0);
    for (; i + width <= w; i += width) (Pack::load(from + i) + Pack::load(dx + i)).store(dx + i);
  } else if (stride == 2) {
    const T* const even = row + layout.at(0);
    const T* const odd = row + layout.at(1);
    for (; i + 2 * width <= w; i += 2 * width) {
      const Pack a = Pack::load(even + i / 2), b = Pack::load(odd + i / 2);
      (interleave_low(a, b) + Pack::load(dx + i)).store(dx + i);
      (interleave_high(a, b) + Pack::load(dx + i + width)).store(dx + i + width);
    }
  }
  for (; i < w; ++i) dx[i] += row[layout.at(i)];
}

}  // namespace detail

/// y[n, c, i, j] = sum over a, b of kernels[n, g(c), a, b, i, j] x[n, c, i S + a D - P, j S + b D - P].
template <class T>
void involution_forward(const InvolutionShape& s, const T* x, const T* kernels, T* y) {
  using namespace detail;
  const Involution<T> d(s);
  d.tasks(d.oh, s.stride, d.reach(), false, [&](const InvolutionTask<T>& t) {
    const Index scratch = d.copy(x, t);
    const auto run = kernel_for_channels(d.channels(t), [](auto c) { return &involve<T, c()>; });
    run(d, t, scratch, kernels + d.first_tap(t), y + d.plane(t) * d.out());
  });
}

/// dkernels = the gradient with respect to the kernels.
template <class T>
void involution_backward_kernels(const InvolutionShape& s, const T* x, const T* dy, T* dkernels) {
  using namespace detail;
  const Involution<T> d(s);
  d.tasks(d.oh, s.stride, d.reach(), true, [&](InvolutionTask<T> t) {
    for (t.chunk = 0; t.chunk < d.chunks; ++t.chunk) {
      const Index scratch = d.copy(x, t);
      const auto run = kernel_for_channels(d.channels(t), [](auto c) { return &involution_taps<T, c()>; });
      run(d, t, scratch, dy + d.plane(t) * d.out(), t.chunk > 0, dkernels + d.first_tap(t));
    }
  });
}

/// Adds the gradient with respect to x, for these kernels, to dx.
template <class T>
void involution_backward_input(const InvolutionShape& s, const T* kernels, const T* dy, T* dx) {
  using namespace detail;
  const Involution<T> d(s);
  const Index pitch = d.layout.pitch();
  d.tasks(s.h, 1, 0, false, [&](const InvolutionTask<T>& t) {
    const Index rows = t.last - t.first, channels = d.channels(t);
    std::fill_n(t.image, channels * rows * pitch, T(0));
    const auto run = kernel_for_channels(channels, [](auto c) { return &involution_spread<T, c()>; });
    run(d, t, rows * pitch, kernels + d.first_tap(t), dy + d.plane(t) * d.out());
    for (Index c = 0; c < channels; ++c)
      for (Index r = 0; r < rows; ++r)
        add_scratch_row(d.layout, s.w, s.stride, t.image + (c * rows + r) * pitch,
                        dx + (d.plane(t) + c * d.channel_step) * d.in() + (t.first + r) * s.w);
  });
}

}  // namespace lamina::kernels
