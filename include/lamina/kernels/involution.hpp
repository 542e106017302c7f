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
/// a tap's weights is loaded once for those channels; their sums wait in registers while it passes over the taps. For
/// the kernels' gradient, dy waits there. The input's gradient is the same walk over dy, for one phase of dx after the
/// other: which taps meet it, and where, depends on the phase. Nothing is unfolded.
namespace lamina::kernels {

/// The sizes of an involution; x is [N, C, H, W], y [N, C, OH, OW] with OH = ceil(H / stride), and the kernels
/// [N, groups * K * K, OH, OW]; zeros around the image.
struct InvolutionShape {
  /// Of x.
  /// @{
  Index n, c, h, w;
  /// @}
  /// Of the kernels: how many share a pixel's channels, their side, stride, and distance of taps.
  /// @{
  Index groups = 1, kernel = 1, stride = 1, dilation = 1;
  /// @}
  bool groups_innermost = false;  ///< channel and tap of group g are those at i * groups + g, not at g * size + i

  /// Rows and columns of y.
  /// @{
  Index oh() const { return (h - 1) / stride + 1; }
  Index ow() const { return (w - 1) / stride + 1; }
  /// @}
  /// Taps of a kernel.
  Index taps() const { return kernel * kernel; }
  /// Channels that share a kernel.
  Index group_c() const { return c / groups; }

  /// Zeros before the first row and column of the image: (K - 1) / 2 * dilation on every side, or with groups_innermost
  /// TensorFlow's SAME, as few as needed, the odd one behind the image.
  /// @{
  Index top() const { return padding(h, oh()); }
  Index left() const { return padding(w, ow()); }
  /// @}
  /// Zeros before the first of `in` pixels, for `out` outputs.
  Index padding(Index in, Index out) const {
    const Index reach = (kernel - 1) * dilation;
    return groups_innermost ? std::max<Index>(0, (out - 1) * stride + reach + 1 - in) / 2 : reach / 2;
  }
};

inline namespace LAMINA_ISA {

namespace detail {

/// At most so many channels pass over the taps together: their vectors, a tap's and one more are in registers.
inline constexpr int involved_channels = 8;

/// A piece of work: rows first..last-1 of y, or of dx in its own gradient, for a chunk of a group's channels.
template <class T>
struct InvolutionTask {
  Index n, group, chunk;
  Index first, last;
  T* scratch;  // [channels][rows][pitch]
  Index step;  // from one channel to the next in scratch memory
};

/// What the kernels share: the sizes, how the work is cut, and what is in scratch memory.
template <class T>
struct Involution {
  using Task = InvolutionTask<T>;

  InvolutionShape s;
  Index oh, ow;
  Index chunks;        // parts of a group's channels
  Index channel_step;  // planes from one channel of a group to the next, of x and y
  Index tap_step;      // values from one tap's plane to the next
  ScratchRows<T> layout;

  Involution(const InvolutionShape& shape, const ScratchRows<T>& rows)
      : s(shape),
        oh(s.oh()),
        ow(s.ow()),
        chunks(parts_of(s.group_c(), involved_channels)),
        channel_step(s.groups_innermost ? s.groups : 1),
        tap_step(channel_step * oh * ow),
        layout(rows) {}

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

  /// f(task) for bands of `rows` rows, of all samples, groups and chunks (with `all_chunks`, once for all of them). A
  /// band of b rows has b * growth + more rows of scratch memory for each of its channels, zeros at first.
  template <class F>
  void tasks(Index rows, Index growth, Index more, bool all_chunks, F f) const {
    constexpr Index bytes = 96 << 10;  // of scratch memory: leaves room in a second-level cache for the taps
    const Index fitting = bytes / static_cast<Index>(sizeof(T)) / (involved_channels * layout.pitch());
    const Index bands = parts_of(rows, std::max<Index>(1, (fitting - more) / growth)), band = parts_of(rows, bands);
    // An odd number of vectors, so that the channels do not fall on the same lines of the cache.
    const Index step = ((band * growth + more) * layout.pitch() / simd::width<T> | 1) * simd::width<T>;
    const Index size = std::min<Index>(involved_channels, s.group_c()) * step;
    const Index parts = all_chunks ? 1 : chunks;
    const Index work = s.group_c() / parts * s.taps() * band * growth / s.stride * parts_of(ow, simd::width<T>);
    parallel_for(
        0, s.n * s.groups * parts * bands, grain_of(work), Scratch<T>{size}, [&](Index begin, Index end, T* own) {
          std::fill_n(own, size, T(0));
          for (Index unit = begin; unit < end; ++unit) {
            const Index first = unit % bands * band, chunk = unit / bands % parts,
                        group = unit / bands / parts % s.groups;
            if (first < rows)
              f(Task{unit / bands / parts / s.groups, group, chunk, first, std::min(rows, first + band), own, step});
          }
        });
  }

  /// Copies `rows` rows, from row `top` on, of planes [h, w] of the task's channels; zeros for rows that are not there.
  void copy(const T* planes, Index h, Index w, Index top, Index rows, const Task& t, T* to) const {
    const Index begin = std::clamp<Index>(-top, 0, rows), end = std::clamp<Index>(h - top, begin, rows);
    for (Index c = 0; c < channels(t); ++c, to += t.step) {
      const T* const from = planes + ((plane(t) + c * channel_step) * h + top + begin) * w;
      std::fill_n(to, begin * layout.pitch(), T(0));
      layout.copy(end - begin, from, planes + s.n * s.c * h * w, to + begin * layout.pitch(), layout.pitch());
      std::fill_n(to + end * layout.pitch(), (rows - end) * layout.pitch(), T(0));
    }
  }
};

/// For y and the kernels' gradient: walks over x, a vector of outputs at a time.
template <class T>
struct OutputWalk : Involution<T> {
  using Base = Involution<T>;
  using Base::layout, Base::ow, Base::s;

  Index count;                 // outputs in a vector: its width, if a row is so long
  std::vector<Index> columns;  // in scratch memory, where column b of the taps meets output 0

  explicit OutputWalk(const InvolutionShape& shape)
      : Base(shape, {shape.w, shape.stride, 1, -shape.left(),
                     (std::max(shape.ow(), simd::width<T>) - 1) * shape.stride + (shape.kernel - 1) * shape.dilation -
                         shape.left()}),
        count(std::min(ow, simd::width<T>)) {
    for (Index b = 0; b < s.kernel; ++b) columns.push_back(layout.at(b * s.dilation - s.left()));
  }

  /// f(task) for bands of outputs, with the pixels that they see.
  template <class F>
  void tasks(bool all_chunks, F f) const {
    Base::tasks(this->oh, s.stride, this->reach(), all_chunks, f);
  }
  void copy(const T* x, const InvolutionTask<T>& t) const {
    const Index rows = (t.last - 1 - t.first) * s.stride + this->reach() + 1;
    Base::copy(x, s.h, s.w, t.first * s.stride - s.top(), rows, t, t.scratch);
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
};

/// For the input's gradient: walks over dy, a vector of dx's pixels of one phase at a time: pixel u of phase r is
/// column u S + r. Rows have phases, too.
template <class T>
struct InputWalk : Involution<T> {
  using Base = Involution<T>;
  using Base::layout, Base::oh, Base::ow, Base::s;

  /// Column (row) `tap` of the taps brings dy's column (row) u + shift to pixel u.
  struct Meeting {
    Index tap, shift;
  };
  using Phases = std::vector<std::vector<Meeting>>;  // of the pixels in each
  Phases row_phases, column_phases;
  ScratchRows<T> result;  // a row of dx
  Index result_rows;      // that it takes in scratch memory, before the rows of dy

  explicit InputWalk(const InvolutionShape& shape)
      : Base(shape, {shape.ow(), 1, 1, (shape.left() - (shape.kernel - 1) * shape.dilation) / shape.stride,
                     simd::whole_vectors<T>(shape.ow()) - 1 + (shape.left() + shape.stride - 1) / shape.stride}),
        row_phases(phases(s.top())),
        column_phases(phases(s.left())),
        result(s.w, s.stride, 1, 0, simd::whole_vectors<T>(ow) * s.stride - 1),
        result_rows(parts_of(result.pitch(), layout.pitch())) {}
  Phases phases(Index padding) const {
    Phases meetings(static_cast<std::size_t>(s.stride));
    for (Index r = 0; r < s.stride; ++r)
      for (Index b = 0; b < s.kernel; ++b)
        if (const Index distance = r + padding - b * s.dilation; distance % s.stride == 0)
          meetings[static_cast<std::size_t>(r)].push_back({b, distance / s.stride});
    return meetings;
  }
  const std::vector<Meeting>& of_row(Index p) const { return row_phases[static_cast<std::size_t>(p % s.stride)]; }
  const std::vector<Meeting>& of_column(Index r) const { return column_phases[static_cast<std::size_t>(r)]; }

  /// f(task) for bands of dx's rows, with the rows of dy that they see.
  template <class F>
  void tasks(F f) const {
    Base::tasks(s.h, 1, result_rows + this->reach() / s.stride + 2, false, f);
  }
  Index top(const InvolutionTask<T>& t) const { return floor_divide(t.first + s.top() - this->reach(), s.stride); }
  void copy(const T* dy, const InvolutionTask<T>& t) const {
    const Index rows = (t.last - 1 + s.top()) / s.stride + 1 - top(t);
    Base::copy(dy, oh, ow, top(t), rows, t, t.scratch + result_rows * layout.pitch());
  }

  /// The weights of a row of outputs from `column` on, zeros outside of the row; no memory before `kernels` is read.
  simd::Pack<T> weights(const T* kernels, const T* row, Index column) const {
    using Pack = simd::Pack<T>;
    constexpr Index width = simd::width<T>;
    const Index count = std::clamp<Index>(ow - column, 0, width);
    if (row + column < kernels) {
      std::array<T, static_cast<std::size_t>(width)> lanes{};
      for (Index l = -column; l < count; ++l) lanes[static_cast<std::size_t>(l)] = row[column + l];
      return Pack::load(lanes.data());
    }
    const Pack v = count == width ? Pack::load(row + column) : Pack::load(row + column, count);
    return select(simd::lanes<T>() >= static_cast<simd::detail::IntegerOf<T>>(-column), v, T(0));
  }
};

/// The kernel for a number of channels, 1..involved_channels.
template <class Kernels>
auto kernel_for_channels(Index channels, Kernels kernel) {
  return [&]<int... C>(std::integer_sequence<int, C...>) {
    static constexpr std::array table{kernel(std::integral_constant<int, C + 1>{})...};
    return table[static_cast<std::size_t>(channels - 1)];
  }
  (std::make_integer_sequence<int, involved_channels>{});
}

// Below, `kernels` begin at the group's first tap, y and dy at the first channel. A vector's taps come from as many
// places as there are taps, too many for the hardware to foresee: the next row's are fetched ahead.

/// y = sum over the taps of kernels * x, for C channels.
template <class T, int C>
void involve(const OutputWalk<T>& d, const InvolutionTask<T>& t, const T* kernels, T* y) {
  using Pack = simd::Pack<T>;
  const Index pitch = d.layout.pitch();
  for (Index i = t.first; i < t.last; ++i)
    d.strips([&](Index j, Index) {
      const T* tap = kernels + i * d.ow + j;
      const T* row = t.scratch + (i - t.first) * d.s.stride * pitch + j;
      auto sums = simd::filled<C>(Pack(T(0)));
      for (Index a = 0; a < d.s.kernel; ++a, row += d.s.dilation * pitch)
        for (const Index column : d.columns) {
          const Pack weight = d.load(tap);
          __builtin_prefetch(tap + d.ow);
          const T* const x = row + column;
          tap += d.tap_step;
          LAMINA_UNROLL(c, C) sums[c] = multiply_add(Pack::load(x + c * t.step), weight, sums[c]);
        }
      LAMINA_UNROLL(c, C) d.store(sums[c], y + c * d.channel_step * d.out() + i * d.ow + j);
    });
}

/// dkernels = (with `add`, dkernels +) the sum over C channels of x * dy.
template <class T, int C>
void involution_taps(const OutputWalk<T>& d, const InvolutionTask<T>& t, const T* dy, bool add, T* dkernels) {
  using Pack = simd::Pack<T>;
  const Index pitch = d.layout.pitch();
  for (Index i = t.first; i < t.last; ++i)
    d.strips([&](Index j, Index fresh) {
      T* tap = dkernels + i * d.ow + j;
      const T* row = t.scratch + (i - t.first) * d.s.stride * pitch + j;
      const auto counted = simd::lanes<T>() >= static_cast<simd::detail::IntegerOf<T>>(add ? fresh : 0);
      simd::Registers<Pack, C> gradients;  // zeros where they have been added before
      LAMINA_UNROLL(c, C)
        gradients[c] = select(counted, d.load(dy + c * d.channel_step * d.out() + i * d.ow + j), T(0));
      for (Index a = 0; a < d.s.kernel; ++a, row += d.s.dilation * pitch)
        for (const Index column : d.columns) {
          const T* const x = row + column;
          __builtin_prefetch(tap + d.ow, 1);
          simd::Registers<Pack, 2> sums{add ? d.load(tap) : Pack(T(0)), Pack(T(0))};
          LAMINA_UNROLL(c, C) sums[c % 2] = multiply_add(Pack::load(x + c * t.step), gradients[c], sums[c % 2]);
          d.store(sums[0] + sums[1], tap);
          tap += d.tap_step;
        }
    });
}

/// Row p of dx for C channels, into scratch memory: the sum over the taps that meet a pixel of kernels * dy.
/// all_kernels: where the kernels of all samples begin.
template <class T, int C>
void involution_input_row(const InputWalk<T>& d, const InvolutionTask<T>& t, Index p, const T* all_kernels,
                          const T* kernels) {
  using Pack = simd::Pack<T>;
  const Index stride = d.s.stride, pitch = d.layout.pitch();
  const T* const dy = t.scratch + (d.result_rows - d.top(t)) * pitch + d.layout.at(0);
  for (Index r = 0; r < std::min(stride, d.s.w); ++r) {
    const auto& columns = d.of_column(r);
    for (Index u = 0; u * stride + r < d.s.w; u += simd::width<T>) {
      auto sums = simd::filled<C>(Pack(T(0)));
      const auto walk = [&](auto weights) {
        for (const auto [a, down] : d.of_row(p)) {
          const Index i = p / stride + down;
          if (i < 0 || i >= d.oh) continue;
          const T* const taps = kernels + a * d.s.kernel * d.tap_step + i * d.ow;
          const T* const row = dy + i * pitch + u;
          for (const auto [b, shift] : columns) {
            const T* const tap = taps + b * d.tap_step;
            const Pack weight = weights(tap, u + shift);
            __builtin_prefetch(tap + u + shift + d.ow);
            const T* const from = row + shift;
            LAMINA_UNROLL(c, C) sums[c] = multiply_add(Pack::load(from + c * t.step), weight, sums[c]);
          }
        }
      };
      if (columns.empty() || (u + columns.back().shift >= 0 && u + columns.front().shift + simd::width<T> <= d.ow))
        walk([](const T* tap, Index column) { return Pack::load(tap + column); });
      else
        walk([&](const T* tap, Index column) { return d.weights(all_kernels, tap, column); });
      LAMINA_UNROLL(c, C) sums[c].store(t.scratch + c * t.step + d.result.at(r) + u);
    }
  }
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

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y[n, c, i, j] = sum over a, b of kernels[n, g(c), a, b, i, j] x[n, c, i S + a D - top, j S + b D - left].
template <class T>
void involution_forward(const InvolutionShape& s, const T* x, const T* kernels, T* y) {
  using namespace detail;
  const OutputWalk<T> d(s);
  d.tasks(false, [&](const InvolutionTask<T>& t) {
    d.copy(x, t);
    const auto run = kernel_for_channels(d.channels(t), [](auto c) { return &involve<T, c()>; });
    run(d, t, kernels + d.first_tap(t), y + d.plane(t) * d.out());
  });
}

/// dkernels = the gradient with respect to the kernels.
template <class T>
void involution_backward_kernels(const InvolutionShape& s, const T* x, const T* dy, T* dkernels) {
  using namespace detail;
  const OutputWalk<T> d(s);
  d.tasks(true, [&](InvolutionTask<T> t) {
    for (t.chunk = 0; t.chunk < d.chunks; ++t.chunk) {
      d.copy(x, t);
      const auto run = kernel_for_channels(d.channels(t), [](auto c) { return &involution_taps<T, c()>; });
      run(d, t, dy + d.plane(t) * d.out(), t.chunk > 0, dkernels + d.first_tap(t));
    }
  });
}

/// Adds the gradient with respect to x, for these kernels, to dx.
template <class T>
void involution_backward_input(const InvolutionShape& s, const T* kernels, const T* dy, T* dx) {
  using namespace detail;
  const InputWalk<T> d(s);
  d.tasks([&](const InvolutionTask<T>& t) {
    d.copy(dy, t);
    const auto run = kernel_for_channels(d.channels(t), [](auto c) { return &involution_input_row<T, c()>; });
    for (Index p = t.first; p < t.last; ++p) {
      run(d, t, p, kernels, kernels + d.first_tap(t));
      for (Index c = 0; c < d.channels(t); ++c)
        add_scratch_row(d.result, s.w, s.stride, t.scratch + c * t.step,
                        dx + ((d.plane(t) + c * d.channel_step) * s.h + p) * s.w);
    }
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
