#pragma once

#include <array>
#include <vector>

#include "lamina/kernels/finished_product.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/winograd.hpp"

/// Winograd's convolution (winograd.hpp) from blocks of channels to blocks of channels, finished as it is stored.
namespace lamina::kernels {

/// A' m A of one tile of a block of channels with everything that a Finish does in registers; rows and columns of the
/// M x M outputs lie within the image.
template <class T, int M, int R>
void finished_winograd_output(const T* products, Index stride, T* pixels, Index pitch, Index rows, Index columns,
                              const T* bias, const T* residual, const Finish<T>& finish) {
  using Pack = simd::Pack<T>;
  constexpr int N = M + R - 1;
  constexpr Index width = simd::width<T>;
  const Pack term = bias ? Pack::load(bias) : Pack(T(0));
  transform_tile<T, N, M>(
      WinogradTransform<T, M, R>::output, [&](int i, int j) { return Pack::load(products + (i * N + j) * stride); },
      [&](int i, int j, Pack v) {
        if (i >= rows || j >= columns) return;
        const Index at = i * pitch + j * width;
        v += term;
        if (residual) v += Pack::load(residual + at);
        finish.clamp(v).store(pixels + at);
      });
}

/// F(M x M, R x R), stride and dilation 1, cut into units. Where there are many tiles, a unit takes a group of their
/// rows from inputs to outputs, within its thread's cache. Where there are few, the filters are what takes the time:
/// then one phase of units transforms the inputs, a block of channels each, and a second one multiplies and transforms
/// back, a pair of output blocks each; between them the products' inputs lie in memory of `shared()` values.
template <class T>
class BlockedWinograd {
  static constexpr Index width = simd::width<T>;

 public:
  BlockedWinograd(const WinogradTile<T>& tile, const ConvolutionShape& s)
      : tile_(tile),
        M_(tile.outputs),
        N_(tile.size),
        products_(tile.size * tile.size),
        s_(s),
        inputs_(blocks_of<T>(s.c)),
        outputs_(blocks_of<T>(s.m)),
        tiles_h_(parts_of(s.oh(), tile.outputs)),
        tiles_w_(parts_of(s.ow(), tile.outputs)) {
    const Index each = products_ * (inputs_ + 2) * width * static_cast<Index>(sizeof(T));
    const Index tiles = std::clamp<Index>(detail::cache_bytes() * 3 / 4 / each, 24, 96);
    groups_ = parts_of(tiles_h_, std::clamp<Index>((tiles + tiles_w_ / 2) / tiles_w_, 1, tiles_h_));
    group_ = parts_of(tiles_h_, groups_);
    groups_ = parts_of(tiles_h_, group_);
    two_phases_ = groups_ < 4;
    if (two_phases_) groups_ = 1, group_ = tiles_h_;
    for (Index block = 0; block < inputs_; ++block) offsets_.push_back(block * group_ * tiles_w_ * width);
    output_ = tile.taps == 5   ? &finished_winograd_output<T, 2, 5>
              : tile.size == 4 ? &finished_winograd_output<T, 2, 3>
                               : &finished_winograd_output<T, 4, 3>;
  }

  Index filters_size() const { return parts_of(outputs_, 2) * products_ * filter_stride(2); }

  /// G g G' of the weight [M, C, R, R].
  void pack_filters(const T* weight, T* filters) const {
    const Index taps = s_.taps(), m_stride = s_.c * taps;
    std::array<T, static_cast<std::size_t>(25 * width)> one;
    for (Index block = 0; block < outputs_; ++block) {
      const Index columns = std::min<Index>(2, outputs_ - block / 2 * 2), stride = filter_stride(columns);
      T* const to = filters + block / 2 * products_ * filter_stride(2) + block % 2 * width;
      for (Index c = 0; c < s_.c; ++c) {
        interleave(weight + block * width * m_stride + c * taps, m_stride, std::min(width, s_.m - block * width), 1,
                   taps, one.data(), taps);
        tile_.filter(one.data(), false, to + c * columns * width, stride);
      }
    }
  }

  Index phases() const { return two_phases_ ? 2 : 1; }
  Index units(Index n, Index phase) const {
    if (!two_phases_) return n * groups_;
    return n * (phase == 0 ? inputs_ : parts_of(outputs_, 2));
  }
  /// Values of memory that lies between the phases, for n samples.
  Index shared(Index n) const { return two_phases_ ? n * prepared_size() : 0; }
  Index scratch() const { return N_ * N_ * width + products_ * out_stride() + (two_phases_ ? 0 : prepared_size()); }

  void run(Index phase, Index unit, BlockedImages<const T> x, const T* filters, BlockedImages<T> y,
           const Finish<T>& finish, T* shared, T* scratch) const {
    if (two_phases_) {
      const Index parts = phase == 0 ? inputs_ : parts_of(outputs_, 2), n = unit / parts, part = unit % parts;
      T* const prepared = shared + n * prepared_size();
      if (phase == 0)
        transform_input(x.data + n * x.sample, part, 0, tiles_h_, prepared, scratch);
      else
        compute(n, part, 0, tiles_h_, prepared, filters, y, finish, scratch);
      return;
    }
    const Index n = unit / groups_, first = unit % groups_ * group_, last = std::min(tiles_h_, first + group_);
    T* const prepared = scratch + N_ * N_ * width + products_ * out_stride();
    for (Index block = 0; block < inputs_; ++block)
      transform_input(x.data + n * x.sample, block, first, last, prepared, scratch);
    for (Index pair = 0; pair < parts_of(outputs_, 2); ++pair)
      compute(n, pair, first, last, prepared, filters, y, finish, scratch);
  }

 private:
  // Distances between the N^2 parts, kept off powers of two, which would all fall into the same lines of a cache.
  Index filter_stride(Index columns) const { return (s_.c * columns + 1) * width; }
  Index in_stride() const { return (inputs_ * group_ * tiles_w_ + 1) * width; }
  Index out_stride() const { return (2 * group_ * tiles_w_ + 1) * width; }
  Index prepared_size() const { return products_ * in_stride(); }

  /// B' x B of a block of channels for rows first..last-1 of tiles.
  void transform_input(const T* image, Index block, Index first, Index last, T* prepared, T* scratch) const {
    T* to = prepared + block * group_ * tiles_w_ * width;
    image += block * s_.h * s_.w * width;
    for (Index row = first; row < last; ++row)
      for (Index column = 0; column < tiles_w_; ++column, to += width) {
        const Index i = row * M_ - s_.top, j = column * M_ - s_.left;
        if (i >= 0 && j >= 0 && i + N_ <= s_.h && j + N_ <= s_.w) {
          tile_.input(image + (i * s_.w + j) * width, s_.w * width, to, in_stride());
          continue;
        }
        const Index j_begin = std::max<Index>(0, j), j_end = std::min(s_.w, j + N_);
        std::fill_n(scratch, N_ * N_ * width, T(0));
        for (Index r = std::max<Index>(0, i); r < std::min(s_.h, i + N_) && j_begin < j_end; ++r)
          std::copy_n(image + (r * s_.w + j_begin) * width, (j_end - j_begin) * width,
                      scratch + ((r - i) * N_ + j_begin - j) * width);
        tile_.input(scratch, N_ * width, to, in_stride());
      }
  }

  /// The products of a pair of output blocks, and A' m A.
  void compute(Index n, Index pair, Index first, Index last, const T* prepared, const T* filters, BlockedImages<T> y,
               const Finish<T>& finish, T* scratch) const {
    T* const sums = scratch + N_ * N_ * width;
    const Index tiles = (last - first) * tiles_w_, block_stride = group_ * tiles_w_ * width;
    const Index columns = std::min<Index>(2, outputs_ - 2 * pair), out_h = s_.oh(), out_w = s_.ow();
    const T* const filter = filters + pair * products_ * filter_stride(2);
    const TileShape shape{inputs_, width, 1, s_.c - (inputs_ - 1) * width, offsets_.data(), width, width, block_stride};
    for (Index k = 0; k < products_; ++k)
      finished_product(shape, tiles, columns, prepared + k * in_stride(), filter + k * filter_stride(columns),
                       sums + k * out_stride(), TileEnds<T>{});
    for (Index j = 0; j < columns; ++j) {
      const Index block = 2 * pair + j, place = block * out_h * out_w * width;
      T* const image = y.data + n * y.sample + place;
      const T* const residual = finish.residual ? finish.residual + n * finish.residual_sample + place : nullptr;
      const T* const bias = finish.bias ? finish.bias + block * width : nullptr;
      const T* from = sums + j * block_stride;
      for (Index row = first; row < last; ++row)
        for (Index column = 0; column < tiles_w_; ++column, from += width) {
          const Index at = (row * out_w + column) * M_ * width;
          output_(from, out_stride(), image + at, out_w * width, out_h - row * M_, out_w - column * M_, bias,
                  residual ? residual + at : nullptr, finish);
        }
      if (finish.activation) {
        const Index begin = first * M_, end = std::min(out_h, last * M_);
        finish.activation(image + begin * out_w * width, (end - begin) * out_w * width);
      }
    }
  }

  const WinogradTile<T>& tile_;
  Index M_, N_, products_;
  ConvolutionShape s_;
  Index inputs_, outputs_, tiles_h_, tiles_w_;
  Index groups_ = 1, group_ = 1;  // of rows of tiles
  bool two_phases_ = false;
  std::vector<Index> offsets_;
  void (*output_)(const T*, Index, T*, Index, Index, Index, const T*, const T*, const Finish<T>&);
};

}  // namespace lamina::kernels
