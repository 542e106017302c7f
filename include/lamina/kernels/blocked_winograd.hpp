#pragma once

#include <array>
#include <vector>

#include "lamina/kernels/dilation.hpp"
#include "lamina/kernels/finished_product.hpp"
#include "lamina/kernels/gemm-inl.hpp"
#include "lamina/kernels/winograd.hpp"

/// Winograd's convolution (winograd.hpp) from blocks of channels to blocks of channels, finished as it is stored.
namespace lamina::kernels::inline LAMINA_ISA {

/// A' m A of one tile of a block of channels with everything that a Finish does in registers; rows and columns of the
/// M x M outputs lie within the image, `pitch` values from row to row and `step` from column to column.
template <class T, int M, int R>
void finished_winograd_output(const T* products, Index stride, T* pixels, Index pitch, Index step, Index rows,
                              Index columns, const T* bias, const T* residual, const Finish<T>& finish) {
  using Pack = simd::Pack<T>;
  constexpr int N = M + R - 1;
  const Pack term = bias ? Pack::load(bias) : Pack(T(0));
  transform_tile<T, N, M>(
      WinogradTransform<T, M, R>::output, [&](int i, int j) { return Pack::load(products + (i * N + j) * stride); },
      [&](int i, int j, Pack v) {
        if (i >= rows || j >= columns) return;
        const Index at = i * pitch + j * step;
        v += term;
        if (residual) v += Pack::load(residual + at);
        clamped(finish, v).store(pixels + at);
      });
}

/// F(M x M, R x R), stride 1, cut into units. With a dilation the tiles are those of its phases (dilation.hpp), their
/// pixels as far apart as the taps: a row of tiles is one of a phase by rows, and has all phases by columns. Tiles are
/// done in groups: their inputs are transformed, then each of the N^2 products is made for all output channels at once,
/// so that its inputs stay in the second-level cache and its filters are read once, then the results are transformed
/// back. Where there are many groups, a unit is one. Where there are few, each has three phases, of units that are a
/// block of input channels, a product, and a block of output channels; between them the transforms lie in memory of
/// `shared()` values.
template <class T>
class BlockedWinograd {
  static constexpr Index width = simd::width<T>;

 public:
  /// Cut for these sizes, by a tile that exists.
  BlockedWinograd(const WinogradTile<T>& tile, const ConvolutionShape& s)
      : tile_(tile),
        M_(tile.outputs),
        N_(tile.size),
        products_(tile.size * tile.size),
        s_(s),
        inputs_(blocks_of<T>(s.c)),
        outputs_(blocks_of<T>(s.m)),
        tiles_h_(s.dh * parts_of(parts_of(s.oh(), s.dh), tile.outputs)),
        tiles_w_(s.dw * parts_of(parts_of(s.ow(), s.dw), tile.outputs)) {
    // What a group's transforms take in memory should fit the second-level cache, or be no more than the filters, which
    // every group reads once; but the inputs of one product must fit in any case.
    const Index values = cache_values(), together = (inputs_ + outputs_) * width, filter = s.c * s.m;
    Index tiles = std::max(values * 3 / 4 / products_, filter) / together;
    tiles = std::clamp<Index>(std::min(tiles, values / 3 / (inputs_ * width)), 16, 256);
    groups_ = parts_of(tiles_h_, std::clamp<Index>((tiles + tiles_w_ / 2) / tiles_w_, 1, tiles_h_));
    group_ = parts_of(tiles_h_, groups_);
    groups_ = parts_of(tiles_h_, group_);
    in_phases_ = groups_ < 4;
    for (Index block = 0; block < inputs_; ++block) offsets_.push_back(block * group_ * tiles_w_ * width);
    for (Index tile_index = 0; tile_index < group_ * tiles_w_; ++tile_index) rows_.push_back(tile_index * width);
    output_ = tile.taps == 5   ? &finished_winograd_output<T, 2, 5>
              : tile.size == 4 ? &finished_winograd_output<T, 2, 3>
                               : &finished_winograd_output<T, 4, 3>;
  }

  /// Values that pack_filters writes.
  Index filters_size() const { return products_ * filter_stride(); }

  /// G g G' of the weight [M, C, R, R].
  void pack_filters(const T* weight, T* filters) const {
    const Index taps = s_.taps(), m_stride = s_.c * taps;
    parallel_for(0, outputs_, 1, Scratch<T>{taps * width}, [&](Index block, Index, T* one) {
      const Index columns = std::min<Index>(2, outputs_ - block / 2 * 2);
      T* const to = filters + block / 2 * 2 * s_.c * width + block % 2 * width;
      for (Index c = 0; c < s_.c; ++c) {
        interleave(weight + block * width * m_stride + c * taps, m_stride, std::min(width, s_.m - block * width), 1,
                   taps, one, taps);
        tile_.filter(one, false, to + c * columns * width, filter_stride());
      }
    });
  }

  /// One, or three for each group of tiles.
  Index phases() const { return in_phases_ ? 3 * groups_ : 1; }
  /// Units of work of a phase for n samples.
  Index units(Index n, Index phase) const {
    if (!in_phases_) return n * groups_;
    return n * (phase % 3 == 0 ? inputs_ : phase % 3 == 1 ? products_ : outputs_);
  }
  /// Values of memory that lies between the phases, for n samples.
  Index shared(Index n) const { return in_phases_ ? n * group_size() : 0; }
  /// Values of memory that a thread needs.
  Index scratch() const { return products_ * width + (in_phases_ ? 0 : group_size()); }

  /// A unit of a phase; `shared` and `scratch` are as large as those functions say.
  void run(Index phase, Index unit, BlockedImages<const T> x, const T* filters, BlockedImages<T> y,
           const Finish<T>& finish, T* shared, T* scratch) const {
    const Index kind = phase % 3;
    const Index parts = !in_phases_ ? groups_ : kind == 0 ? inputs_ : kind == 1 ? products_ : outputs_;
    const Index n = unit / parts, part = unit % parts, group = in_phases_ ? phase / 3 : part;
    const Index first = group * group_, last = std::min(tiles_h_, first + group_), tiles = (last - first) * tiles_w_;
    T* const inputs = in_phases_ ? shared + n * group_size() : scratch + products_ * width;
    T* const sums = inputs + products_ * in_stride();
    const auto each = [&](Index which, Index count, auto f) {
      if (in_phases_ && kind != which) return;
      for (Index i = in_phases_ ? part : 0; i < (in_phases_ ? part + 1 : count); ++i) f(i);
    };
    each(0, inputs_, [&](Index block) { transform_input(x.data + n * x.sample, block, first, last, inputs, scratch); });
    each(1, products_, [&](Index k) { multiply(k, tiles, inputs, filters, sums); });
    each(2, outputs_, [&](Index block) { transform_output(n, block, first, last, sums, y, finish); });
  }

 private:
  static Index cache_values() { return detail::cache_bytes() / static_cast<Index>(sizeof(T)); }

  // Distances between the N^2 parts, kept off powers of two, which would all fall into the same lines of a cache.
  Index filter_stride() const { return (s_.c * outputs_ + 1) * width; }
  Index in_stride() const { return (inputs_ * group_ * tiles_w_ + 1) * width; }
  Index out_stride() const { return (outputs_ * group_ * tiles_w_ + 1) * width; }
  Index group_size() const { return products_ * (in_stride() + out_stride()); }

  /// The first row of y that row `row` of the tiles makes, and likewise the first column.
  /// @{
  Index row_of(Index row) const { return row % s_.dh + row / s_.dh * M_ * s_.dh; }
  Index column_of(Index column) const { return column % s_.dw + column / s_.dw * M_ * s_.dw; }
  /// @}

  /// B' x B of a block of channels for rows first..last-1 of tiles.
  void transform_input(const T* image, Index block, Index first, Index last, T* prepared, T* scratch) const {
    T* to = prepared + block * group_ * tiles_w_ * width;
    image += block * s_.h * s_.w * width;
    for (Index row = first; row < last; ++row)
      for (Index column = 0; column < tiles_w_; ++column, to += width) {
        const Index i = row_of(row) - s_.top, j = column_of(column) - s_.left;
        if (!dilated(s_) && i >= 0 && j >= 0 && i + N_ <= s_.h && j + N_ <= s_.w) {
          tile_.input(image + (i * s_.w + j) * width, s_.w * width, to, in_stride());
          continue;
        }
        gather(image, i, j, scratch);
        tile_.input(scratch, N_ * width, to, in_stride());
      }
  }

  /// The N x N pixels from (i, j) on that a tile reads, zeros outside the image.
  void gather(const T* image, Index i, Index j, T* to) const {
    std::fill_n(to, N_ * N_ * width, T(0));
    const Index begin = parts_of(std::max<Index>(0, -j), s_.dw);
    const Index end = std::min(N_, parts_of(std::max<Index>(0, s_.w - j), s_.dw));
    for (Index r = 0; r < N_ && begin < end; ++r) {
      const Index row = i + r * s_.dh;
      if (row < 0 || row >= s_.h) continue;
      const T* const from = image + (row * s_.w + j) * width;
      T* const line = to + r * N_ * width;
      if (s_.dw == 1)
        std::copy_n(from + begin * width, (end - begin) * width, line + begin * width);
      else
        for (Index c = begin; c < end; ++c) std::copy_n(from + c * s_.dw * width, width, line + c * width);
    }
  }

  /// Product k for all output channels.
  void multiply(Index k, Index tiles, const T* inputs, const T* filters, T* sums) const {
    const Index block = group_ * tiles_w_ * width;
    const TileShape shape{inputs_, width, 1, s_.c - (inputs_ - 1) * width, offsets_.data(), width, block};
    for (Index pair = 0; pair < parts_of(outputs_, 2); ++pair) {
      const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
      finished_product(shape, tiles, columns, rows_.data(), inputs + k * in_stride(),
                       filters + k * filter_stride() + 2 * pair * s_.c * width,
                       sums + k * out_stride() + 2 * pair * block, TileEnds<T>{});
    }
  }

  /// A' m A of a block of output channels.
  void transform_output(Index n, Index block, Index first, Index last, const T* sums, BlockedImages<T> y,
                        const Finish<T>& finish) const {
    const Index out_h = s_.oh(), out_w = s_.ow(), place = block * out_h * out_w * width;
    T* const image = y.data + n * y.sample + place;
    const T* const residual = finish.residual ? finish.residual + n * finish.residual_sample + place : nullptr;
    const T* const bias = finish.bias ? finish.bias + block * width : nullptr;
    const T* from = sums + block * group_ * tiles_w_ * width;
    const Index pitch = s_.dh * out_w * width, step = s_.dw * width;
    for (Index row = first; row < last; ++row) {
      const Index i = row_of(row), rows = std::min(M_, parts_of(out_h - i, s_.dh));
      for (Index column = 0; column < tiles_w_; ++column, from += width) {
        const Index j = column_of(column), at = (i * out_w + j) * width;
        output_(from, out_stride(), image + at, pitch, step, rows, parts_of(out_w - j, s_.dw), bias,
                residual ? residual + at : nullptr, finish);
      }
      for (Index r = 0; finish.activation && r < rows; ++r)
        finish.activation(image + i * out_w * width + r * pitch, out_w * width);
    }
  }

  const WinogradTile<T>& tile_;
  Index M_, N_, products_;
  ConvolutionShape s_;
  Index inputs_, outputs_, tiles_h_, tiles_w_;
  Index groups_ = 1, group_ = 1;  // of rows of tiles
  bool in_phases_ = false;
  std::vector<Index> offsets_, rows_;
  void (*output_)(const T*, Index, T*, Index, Index, Index, Index, const T*, const T*, const Finish<T>&);
};

}  // namespace lamina::kernels::inline LAMINA_ISA
