#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/kernels/simd.hpp"

/// Convolution as a matrix product whose right operand is never formed.
///
/// The image is copied once into planes with its zeros around it; with a stride s, into s*s planes that each hold every
/// s-th row and column. Then the pixels that one filter tap meets, for all outputs in a row-major sweep over a plane,
/// are a contiguous run at a fixed offset, and the register tile of a matrix product reads its rows there.
/// A sweep is as wide as the plane, so a few results at the end of each line belong to no output and are dropped.
/// The input's gradient is such a sweep over dy with the taps of one phase of the stride at a time, and the weight's
/// gradient multiplies dy, laid out like the planes, with the runs.
namespace lamina::kernels::inline LAMINA_ISA {

/// A tile is `rows` (at most) times two vectors of accumulators: as many as the registers hold.
template <class T>
inline constexpr Index max_tile_rows = simd::vector_bytes == 64 ? 12 : 6;
template <class T>
inline constexpr Index tile_columns = 2 * simd::width<T>;  ///< columns of results of a tile

/// Heights of tiles that are worth compiling.
inline constexpr auto tile_heights = [] {
  if constexpr (simd::vector_bytes == 64)
    return std::array{1, 2, 3, 4, 6, 8, 10, 12};
  else
    return std::array{1, 2, 3, 4, 6};
}();

/// Rows in each of the equal panels that `rows` rows are cut into; the last panel is filled up with zeros.
template <class T>
constexpr Index panel_rows(Index rows) {
  const Index share = parts_of(rows, std::max<Index>(1, parts_of(rows, max_tile_rows<T>)));
  return *std::find_if(tile_heights.begin(), tile_heights.end() - 1, [&](int height) { return height >= share; });
}

/// c[i][j] (+)= sum over k of a[k * Rows + i] * b[offsets[k] + j], for j < tile_columns.
template <class T, int Rows>
void tile(Index depth, const T* a, const T* b, const Index* offsets, T* c, Index row_stride, bool accumulate) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  simd::Registers<Pack, Rows> left, right;
  LAMINA_UNROLL(i, Rows) {
    left[i] = accumulate ? Pack::load(c + i * row_stride) : Pack(T(0));
    right[i] = accumulate ? Pack::load(c + i * row_stride + width) : Pack(T(0));
  }
  for (Index k = 0; k < depth; ++k, a += Rows) {
    const T* row = b + offsets[k];
    const Pack b0 = Pack::load(row), b1 = Pack::load(row + width);
    LAMINA_UNROLL(i, Rows) {
      const Pack factor(a[i]);
      left[i] = multiply_add(factor, b0, left[i]);
      right[i] = multiply_add(factor, b1, right[i]);
    }
  }
  LAMINA_UNROLL(i, Rows) {
    left[i].store(c + i * row_stride);
    right[i].store(c + i * row_stride + width);
  }
}

/// A tile's function: one for each height.
template <class T>
using TileKernel = void (*)(Index, const T*, const T*, const Index*, T*, Index, bool);

/// The tile kernel for panels of panel_rows() rows.
template <class T>
TileKernel<T> tile_kernel(Index rows) {
  return []<std::size_t... I>(Index n, std::index_sequence<I...>) {
    static constexpr TileKernel<T> kernels[] = {&tile<T, tile_heights[I]>...};
    return kernels[std::find(tile_heights.begin(), tile_heights.end(), n) - tile_heights.begin()];
  }
  (rows, std::make_index_sequence<tile_heights.size()>{});
}

/// `count` rows of `depth` values as a panel [depth][rows], zeros in the rows behind.
template <class T>
void pack_panel(Index count, Index depth, const T* from, Index rows, T* panel) {
  if (count < rows) std::fill_n(panel, depth * rows, T(0));
  // Strips of k short enough that the panel's lines stay in the first-level cache while the rows are written.
  constexpr Index strip = 128;
  for (Index k0 = 0; k0 < depth; k0 += strip)
    for (Index i = 0; i < count; ++i)
      for (Index k = k0; k < std::min(depth, k0 + strip); ++k) panel[k * rows + i] = from[i * depth + k];
}

/// From so many tasks on, each may prepare its own operands; below, they are prepared once for all.
inline constexpr Index many_tasks = 8;

/// Images in planes: `phases_h * phases_w` planes of `rows x columns` for each of `images`, the first pixel of the
/// image at (top, left) of the padded one. Behind the last plane lie `slack` zeros, since the last tile reads past it.
template <class T>
struct Planes {
  /// Their number, rows and columns.
  /// @{
  Index images, h, w;
  /// @}
  /// See above.
  /// @{
  Index phases_h, phases_w, top, left, rows, columns;
  /// @}
  static constexpr Index slack = tile_columns<T>;  ///< zeros behind the last plane

  /// Pixels of a plane.
  Index plane() const { return rows * columns; }
  /// An image's planes, in whole vectors.
  Index image() const { return simd::whole_vectors<T>(phases_h * phases_w * plane()); }
  /// Values of all images, with the slack.
  Index size() const { return images * image() + slack; }
  /// Where padded pixel (i, j) of an image lies.
  Index at(Index i, Index j) const {
    return (i % phases_h * phases_w + j % phases_w) * plane() + i / phases_h * columns + j / phases_w;
  }

  /// Such planes for another number of images.
  Planes of(Index count) const {
    Planes result = *this;
    result.images = count;
    return result;
  }

  /// Copies all images, with zeros around; sums[i], if asked for, is the sum of image i's pixels.
  Tensor<T> copy(const T* x, T* sums = nullptr) const {
    Tensor<T> result({size()});
    T* const out = result.data();
    parallel_for(0, images, grain_of(image()), [&](Index first, Index last) {
      of(last - first).copy_to(x + first * h * w, out + first * image(), sums ? sums + first : nullptr);
    });
    std::fill_n(out + images * image(), slack, T(0));
    return result;
  }
  /// Copies all images on this thread, to memory for size() less slack.
  void copy_to(const T* x, T* out, T* sums = nullptr) const {
    for (Index i = 0; i < images; ++i) {
      copy_image(x + i * h * w, out + i * image());
      if (sums) sums[i] = vector_sum(x + i * h * w, h * w);
    }
  }

 private:
  void copy_image(const T* x, T* out) const {
    T* const end_of_image = out + image();
    const auto zero = [](auto) { return simd::Pack<T>(T(0)); };
    for (Index ph = 0; ph < phases_h; ++ph)
      for (Index pw = 0; pw < phases_w; ++pw)
        for (Index r = 0; r < rows; ++r, out += columns) {
          const Index i = r * phases_h + ph - top;
          if (i < 0 || i >= h) {
            map_run(columns, out, zero);
            continue;
          }
          // Columns j = c * phases_w + pw - left of the image, for those c where they exist.
          const Index begin = std::clamp<Index>((left - pw + phases_w - 1) / phases_w, 0, columns);
          const Index end = std::clamp<Index>((w + left - pw + phases_w - 1) / phases_w, begin, columns);
          const T* const from = x + i * w + pw - left;
          map_run(begin, out, zero);
          if (phases_w == 1)
            map_run(end - begin, out + begin, [&](auto load) { return load(from + begin); });
          else
            for (Index c = begin; c < end; ++c) out[c] = from[c * phases_w];
          map_run(columns - end, out + end, zero);
        }
    std::fill(out, end_of_image, T(0));
  }
};

/// One sweep: results (row, line, column) = sum over k of panels[k][row] * base[offsets[k] + line * columns + column],
/// for `lines` lines of which the first `used` columns count, given to put(row, line, values) a line at a time.
template <class T>
struct Sweep {
  Index rows;   ///< rows of results
  Index panel;  ///< rows in a panel
  /// Of the plane.
  /// @{
  Index columns, used, lines;  // of the plane
  /// @}
  std::vector<Index> offsets;  ///< of the runs
  /// Panels of results.
  Index panels() const { return (rows + panel - 1) / panel; }
  /// Runs that are summed.
  Index depth() const { return static_cast<Index>(offsets.size()); }
  /// Lines done at a time, so that the results stay in the cache; and the results' size.
  Index band() const {
    return std::clamp<Index>((Index{1} << 13) / (panel * std::max<Index>(1, columns)), 1, std::max<Index>(1, lines));
  }
  /// Results of a panel's band, in whole tiles.
  Index stretch() const { return (band() * columns + tile_columns<T> - 1) / tile_columns<T> * tile_columns<T>; }
  /// Values of memory that a thread needs.
  Index scratch() const { return panel * stretch(); }

  /// The results of panels first_panel..last_panel-1 in lines first_line..last_line-1.
  template <class Put>
  void run(const T* packed, const T* base, Index first_panel, Index last_panel, Index first_line, Index last_line,
           T* results, Put put) const {
    constexpr Index depth_block = 512;
    const auto kernel = tile_kernel<T>(panel);
    const Index length = (last_line - first_line - 1) * columns + used, stride = stretch();
    for (Index p = first_panel; p < last_panel; ++p) {
      for (Index k = 0; k == 0 || k < depth(); k += depth_block)
        for (Index j = 0; j < length; j += tile_columns<T>)
          kernel(std::min(depth_block, depth() - k), packed + (p * depth() + k) * panel,
                 base + first_line * columns + j, offsets.data() + k, results + j, stride, k > 0);
      for (Index i = p * panel; i < std::min(rows, (p + 1) * panel); ++i)
        for (Index line = first_line; line < last_line; ++line)
          put(i, line, results + (i - p * panel) * stride + (line - first_line) * columns);
    }
  }
};

/// Runs sweeps over n samples of `groups` groups, whose operands are the planes of `images` images each: calls
/// f(sample, group, base, panels' range, lines' range, scratch) for all of them, `scratch_size` values being scratch.
/// Small images of many samples are copied into planes by the task that sweeps over them, while they are in the cache.
template <class T, class F>
void sweep_all(Index n, Index groups, const Planes<T>& planes, const T* x, const Sweep<T>& sweep, Index scratch_size,
               F f) {
  const Index images = planes.images / n / groups, image = planes.h * planes.w;
  const Index band = sweep.band(), bands = (sweep.lines + band - 1) / band;
  const Planes<T> group = planes.of(images);
  const bool local = bands == 1 && n * groups >= many_tasks;
  const Index parts = local ? 1 : sweep.panels(), panels = local ? sweep.panels() : 1;
  const Tensor<T> all = local ? Tensor<T>() : planes.copy(x);
  const Index own = scratch_size + (local ? group.size() : 0);
  const Index work = panels * sweep.panel * sweep.depth() * band * sweep.columns / tile_columns<T>;
  const Index tasks = n * groups * bands * parts;
  parallel_for(0, tasks, grain_of(work), Scratch<T>{own}, [&](Index first_task, Index last_task, T* mine) {
    for (Index task = first_task; task < last_task; ++task) {
      const Index part = task % parts, first = task / parts % bands * band, g = task / parts / bands % groups;
      const Index sample = task / parts / bands / groups;
      const T* base = nullptr;
      if (local) {
        T* const copy = mine + scratch_size;
        group.copy_to(x + (sample * groups + g) * images * image, copy);
        std::fill_n(copy + group.size() - group.slack, group.slack, T(0));
        base = copy;
      } else {
        base = all.data() + (sample * groups + g) * images * planes.image();
      }
      f(sample, g, base, std::pair(part, part + panels), std::pair(first, std::min(sweep.lines, first + band)), mine);
    }
  });
}

/// The forward sweep's planes: an output (i, j) meets padded pixel (i SH + a DH, j SW + b DW) at tap (a, b).
template <class T>
Planes<T> forward_planes(const ConvolutionShape& s) {
  return {s.n * s.c,
          s.h,
          s.w,
          s.sh,
          s.sw,
          s.top,
          s.left,
          s.oh() + s.dh * (s.kh - 1) / s.sh,
          s.ow() + s.dw * (s.kw - 1) / s.sw};
}

/// Where the runs of a group's taps (c, a, b) start in its planes.
template <class T>
std::vector<Index> forward_offsets(const ConvolutionShape& s, const Planes<T>& planes) {
  std::vector<Index> offsets;
  for (Index c = 0; c < s.group_c(); ++c)
    for (Index a = 0; a < s.kh; ++a)
      for (Index b = 0; b < s.kw; ++b) offsets.push_back(c * planes.image() + planes.at(a * s.dh, b * s.dw));
  return offsets;
}

/// Copies n values, in whole vectors where `room` values may be written.
template <class T, class F>
void put_line(const T* from, Index n, T* to, Index room, F f) {
  const Index whole = std::min(simd::whole_vectors<T>(n), room);
  simd::for_each_vector<T>(0, whole, [&](Index j, auto... partial) {
    f(simd::Pack<T>::load(from + j, partial...)).store(to + j, partial...);
  });
}

/// The sweep of a group's forward convolution.
template <class T>
Sweep<T> forward_sweep(const ConvolutionShape& s) {
  const Planes<T> planes = forward_planes<T>(s);
  return {s.group_m(), panel_rows<T>(s.group_m()), planes.columns, s.ow(), s.oh(), forward_offsets(s, planes)};
}

/// The weight in the panels that sweep_forward reads.
template <class T>
Tensor<T> pack_sweep_filters(const ConvolutionShape& s, const T* weight) {
  const Index m = s.group_m(), depth = s.group_c() * s.taps(), rows = panel_rows<T>(m), panels = parts_of(m, rows);
  Tensor<T> packed({s.groups, panels, rows * depth});
  T* const out = packed.data();
  parallel_for(0, s.groups * panels, grain_of(rows * depth), [&](Index first, Index last) {
    for (Index task = first; task < last; ++task) {
      const Index g = task / panels, row = task % panels * rows;
      pack_panel(std::min(rows, m - row), depth, weight + (g * m + row) * depth, rows, out + task * rows * depth);
    }
  });
  return packed;
}

/// y = x * filters (from pack_sweep_filters) + bias, which may be null.
template <class T>
void sweep_forward(const ConvolutionShape& s, const T* x, const T* filters, const T* bias, T* y) {
  const Index out_w = s.ow(), pixels = s.oh() * out_w;
  const Sweep<T> sweep = forward_sweep<T>(s);
  const Index filters_size = sweep.panels() * sweep.panel * sweep.depth();
  sweep_all(s.n, s.groups, forward_planes<T>(s), x, sweep, sweep.scratch(),
            [&](Index sample, Index g, const T* base, auto part, auto band, T* scratch) {
              T* const out = y + (sample * s.m + g * s.group_m()) * pixels;
              sweep.run(filters + g * filters_size, base, part.first, part.second, band.first, band.second, scratch,
                        [&](Index row, Index line, const T* values) {
                          // Whole vectors may run over into the lines that this task writes next.
                          const simd::Pack<T> b(bias ? bias[g * s.group_m() + row] : T(0));
                          put_line(values, out_w, out + row * pixels + line * out_w, (band.second - line) * out_w,
                                   [&](simd::Pack<T> v) { return v + b; });
                        });
            });
}

namespace detail {

/// The sweep over dy that makes a phase of the input's gradient, and its weight in panels, by groups.
template <class T>
struct PhaseSweep {
  Index p, q;
  Sweep<T> sweep;
  Tensor<T> packed;

  PhaseSweep(const ConvolutionShape& s, const Planes<T>& planes, const StridePhases& strides,
             const StridePhases::Phase& phase, const T* weight)
      : p(phase.p), q(phase.q), sweep{s.group_c(),    panel_rows<T>(s.group_c()),
                                      planes.columns, strides.columns,
                                      strides.lines,  {}} {
    for (Index m = 0; m < s.group_m(); ++m)
      for (const StridePhases::Tap& tap : phase.taps)
        sweep.offsets.push_back(m * planes.image() + (strides.up - tap.up) * planes.columns + strides.back - tap.back);
    const Index panel_size = sweep.panel * sweep.depth();
    packed = Tensor<T>({s.groups, sweep.panels() * panel_size});
    T* const panels = packed.data();
    parallel_for(0, s.groups * sweep.panels(), 1, [&](Index task, Index) {
      const Index g = task / sweep.panels(), c0 = task % sweep.panels() * sweep.panel;
      T* panel = panels + task * panel_size;
      for (Index m = 0; m < s.group_m(); ++m)
        for (const StridePhases::Tap& tap : phase.taps)
          for (Index c = c0; c < c0 + sweep.panel; ++c)
            *panel++ = c < s.group_c() ? weight[((g * s.group_m() + m) * s.group_c() + c) * s.taps() + tap.at] : T(0);
    });
  }

  /// The phase of lines band.first..band.second-1 of a group's dx, at `out`.
  template <class Range>
  void run(const ConvolutionShape& s, Index group, const T* base, const Range& panels, const Range& band, T* scratch,
           T* out) const {
    const Index begin = std::max<Index>(0, (s.left - q + s.sw - 1) / s.sw), end = (s.w + s.left - q + s.sw - 1) / s.sw;
    const Index last_row = std::min(s.h, (band.second - 1) * s.sh + p - s.top + 1);
    const auto put = [&](Index row, Index line, const T* values) {
      const Index i = line * s.sh + p - s.top;
      if (i < 0 || i >= s.h) return;
      T* const to = out + (row * s.h + i) * s.w;
      if (s.sh == 1 && s.sw == 1)
        put_line(values + begin, s.w, to, (last_row - i) * s.w, [](simd::Pack<T> v) { return v; });
      else
        for (Index j = begin; j < end; ++j) to[j * s.sw + q - s.left] = values[j];
    };
    sweep.run(packed.data() + group * sweep.panels() * sweep.panel * sweep.depth(), base, panels.first, panels.second,
              band.first, band.second, scratch, put);
  }
};

}  // namespace detail

/// dx, the gradient with respect to x, one phase of the stride after the other.
template <class T>
void sweep_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  const StridePhases strides(s, all_taps(s));
  const Planes<T> planes{s.n * s.m,
                         s.oh(),
                         s.ow(),
                         1,
                         1,
                         strides.up,
                         strides.back,
                         strides.up + strides.lines,
                         strides.back + strides.columns};
  std::vector<detail::PhaseSweep<T>> sweeps;
  Index scratch_size = 0;
  for (const StridePhases::Phase& phase : strides.phases) {
    sweeps.emplace_back(s, planes, strides, phase, weight);
    scratch_size = std::max(scratch_size, sweeps.back().sweep.scratch());
  }
  sweep_all(s.n, s.groups, planes, dy, sweeps[0].sweep, scratch_size,
            [&](Index sample, Index g, const T* base, auto panels, auto band, T* scratch) {
              T* const out = dx + (sample * s.c + g * s.group_c()) * s.h * s.w;
              for (const auto& phase : sweeps) phase.run(s, g, base, panels, band, scratch, out);
            });
}

/// out[i * out_stride + j] += sum over `samples` and `length` (a multiple of the vector) of a[i][.] * b[j][.], for i <
/// rows and j < columns; sample n lies at a[i] + n * a_stride and b[j] + n * b_stride. The tile is always computed
/// whole. Inlined, so that the pointers
/// stay in registers.
template <class T, int Rows, int Columns>
__attribute__((always_inline)) inline void accumulate_products(Index samples, Index length,
                                                               simd::Registers<const T*, Rows> a, Index a_stride,
                                                               simd::Registers<const T*, Columns> b, Index b_stride,
                                                               T* out, Index out_stride, Index rows, Index columns) {
  using Pack = simd::Pack<T>;
  auto sums = simd::filled<Rows * Columns>(Pack(T(0)));
  for (Index n = 0; n < samples; ++n) {
    for (Index l = 0; l < length; l += simd::width<T>) {
      simd::Registers<Pack, Columns> right;
      LAMINA_UNROLL(j, Columns) right[j] = Pack::load(b[j] + l);
      LAMINA_UNROLL(i, Rows) {
        const Pack left = Pack::load(a[i] + l);
        LAMINA_UNROLL(j, Columns) sums[i * Columns + j] = multiply_add(left, right[j], sums[i * Columns + j]);
      }
    }
    LAMINA_UNROLL(i, Rows) a[i] += a_stride;
    LAMINA_UNROLL(j, Columns) b[j] += b_stride;
  }
  LAMINA_UNROLL(i, Rows)
    LAMINA_UNROLL(j, Columns)
      if (i < rows && j < columns) out[i * out_stride + j] += simd::sum(sums[i * Columns + j]);
}

namespace detail {

/// The products of a group's gradients with the pixels that its taps meet.
template <class T>
struct WeightProducts {
  static constexpr int tile_rows = simd::vector_bytes == 64 ? 6 : 3, tile_taps = 4;  // as many sums as registers hold

  Index rows, length, row_stride;  // of the gradients
  const std::vector<Index>& offsets;

  /// Adds to rows m0..m0+tile_rows-1 of `sums` [rows, taps], from `samples` samples at these strides.
  [[gnu::flatten]] void add(T* sums, Index m0, const T* pixels, Index x_stride, const T* grads, Index dy_stride,
                            Index samples) const {
    const Index depth = static_cast<Index>(offsets.size());
    simd::Registers<const T*, tile_rows> a;
    simd::Registers<const T*, tile_taps> b;
    // Tiles that stick out repeat the last row or tap; the copies are not used.
    LAMINA_UNROLL(i, tile_rows) a[i] = grads + std::min(m0 + i, rows - 1) * row_stride;
    for (Index k = 0; k < depth; k += tile_taps) {
      LAMINA_UNROLL(j, tile_taps) b[j] = pixels + offsets[static_cast<std::size_t>(std::min(k + j, depth - 1))];
      accumulate_products<T, tile_rows, tile_taps>(samples, length, a, dy_stride, b, x_stride, sums + m0 * depth + k,
                                                   depth, rows - m0, depth - k);
    }
  }
};

}  // namespace detail

/// Adds the gradients with respect to the weight and, unless null, the bias: dw[m, c, a, b] is the sum over samples and
/// outputs of dy times the pixel that tap (a, b) meets. Samples are cut into chunks whose partial sums are added in
/// order.
template <class T>
void sweep_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  constexpr int tile_rows = detail::WeightProducts<T>::tile_rows;
  constexpr Index width = simd::width<T>;
  const Planes<T> planes = forward_planes<T>(s);
  // dy in lines as wide as the planes', zeros behind each line; in whole vectors, so planes follow with a gap.
  const Index length = ((s.oh() - 1) * planes.columns + s.ow() + width - 1) / width * width;
  const Planes<T> dy_planes{s.n * s.m,     s.oh(), s.ow(), 1, 1, 0, 0, (length + planes.columns - 1) / planes.columns,
                            planes.columns};
  const std::vector<Index> offsets = forward_offsets(s, planes);
  const Index depth = static_cast<Index>(offsets.size()), total = s.m * depth;
  const Index c = s.group_c(), m = s.group_m(), in = s.h * s.w, out = s.oh() * s.ow();

  // Samples are cut into chunks to keep threads busy, as far as the partial sums are small.
  const Index chunks = std::clamp<Index>((Index{1} << 20) / total, 1, std::min<Index>(s.n, 16));
  Tensor<T> partial({chunks, s.m, depth}), sums(dbias ? Shape{s.n, s.m} : Shape{0});
  T* const partials = partial.data();
  T* const dy_sums = dbias ? sums.data() : nullptr;

  const detail::WeightProducts<T> products{m, length, dy_planes.image(), offsets};
  const auto sum_of = [&](Index chunk, Index g) { return partials + (chunk * s.m + g * m) * depth; };
  // So many samples at a time that they stay in the second-level cache while all tiles go over them.
  const Index x_size = c * planes.image(), dy_size = m * dy_planes.image();
  const Index together = std::clamp<Index>((Index{1} << 16) / (x_size + dy_size), 1, (s.n + chunks - 1) / chunks);

  if (chunks * s.groups >= many_tasks) {
    const Index own = together * (x_size + dy_size) + planes.slack;
    parallel_for(0, chunks * s.groups, 1, Scratch<T>{own}, [&](Index task, Index, T* grads) {
      const Index g = task % s.groups, chunk = task / s.groups;
      T* const pixels = grads + together * dy_size;
      std::fill_n(sum_of(chunk, g), m * depth, T(0));
      const Index end = (chunk + 1) * s.n / chunks;
      for (Index n0 = chunk * s.n / chunks; n0 < end; n0 += together) {
        const Index samples = std::min(together, end - n0);
        for (Index i = 0; i < samples; ++i) {
          const Index group = (n0 + i) * s.groups + g;
          planes.of(c).copy_to(x + group * c * in, pixels + i * x_size);
          dy_planes.of(m).copy_to(dy + group * m * out, grads + i * dy_size, dbias ? dy_sums + group * m : nullptr);
        }
        std::fill_n(pixels + samples * x_size, planes.slack, T(0));
        for (Index m0 = 0; m0 < m; m0 += tile_rows)
          products.add(sum_of(chunk, g), m0, pixels, x_size, grads, dy_size, samples);
      }
    });
  } else {
    const Tensor<T> image = planes.copy(x), gradient = dy_planes.copy(dy, dy_sums);
    const Index row_tiles = (m + tile_rows - 1) / tile_rows;
    parallel_for(0, chunks * s.groups * row_tiles, 1, [&](Index task, Index) {
      const Index m0 = task % row_tiles * tile_rows, g = task / row_tiles % s.groups;
      const Index chunk = task / row_tiles / s.groups;
      std::fill_n(sum_of(chunk, g) + m0 * depth, std::min<Index>(tile_rows, m - m0) * depth, T(0));
      const Index end = (chunk + 1) * s.n / chunks;
      for (Index n0 = chunk * s.n / chunks; n0 < end; n0 += together)
        products.add(sum_of(chunk, g), m0, image.data() + (n0 * s.groups + g) * x_size, s.groups * x_size,
                     gradient.data() + (n0 * s.groups + g) * dy_size, s.groups * dy_size, std::min(together, end - n0));
    });
  }
  parallel_for(0, total, 1 << 12, [&](Index first, Index last) {
    for (Index chunk = 0; chunk < chunks; ++chunk)
      for (Index i = first; i < last; ++i) dweight[i] += partials[chunk * total + i];
  });
  if (dbias)
    for (Index n = 0; n < s.n; ++n)
      for (Index i = 0; i < s.m; ++i) dbias[i] += dy_sums[n * s.m + i];
}

}  // namespace lamina::kernels::inline LAMINA_ISA
