#pragma once

#include <vector>

#include "lamina/kernels/finished_product.hpp"
#include "lamina/kernels/gemm.hpp"

/// Direct convolution from blocks of channels to blocks of channels, finished as it is stored: 1x1, strided, dilated,
/// the first layer of a network (whose images are planar), and wherever Winograd's algorithm does not pay.
namespace lamina::kernels {

/// A convolution cut into units that any thread may do in any order; nothing here depends on their number. A unit is a
/// band of a sample's rows (of its pixels, for 1x1) and some pairs of blocks of output channels.
template <class T>
class BlockedConvolution {
  static constexpr Index width = simd::width<T>;
  static constexpr Index bytes = static_cast<Index>(sizeof(T));

 public:
  /// s describes one group; s.n is not looked at. planar: the input is [N, C, H, W]. changes: it is changed as it is
  /// read.
  BlockedConvolution(const ConvolutionShape& s, bool planar, bool changes)
      : s_(s),
        planar_(planar),
        inputs_(blocks_of<T>(s.c)),
        outputs_(blocks_of<T>(s.m)),
        tail_lanes_(s.c - (inputs_ - 1) * width),
        pointwise_(!planar && s.taps() == 1 && s.sh == 1 && s.sw == 1 && s.top == 0 && s.bottom == 0 && s.left == 0 &&
                   s.right == 0),
        prepares_(planar || changes || s.top || s.left || s.bottom > 0 || s.right > 0),
        narrow_(planar && inputs_ == 1 && s.dw == 1),
        pixel_(narrow_ ? s.c : width) {
    // Of a band's pixels the inputs stay in the second-level cache while all filters pass by.
    const Index cache = detail::cache_bytes() / 2, oh = s.oh(), ow = s.ow();
    if (pointwise_) {
      const Index pixels = oh * ow;
      const Index most = std::clamp<Index>(cache / (inputs_ * width * bytes), 8 * tallest_tile, 1024);
      band_ = parts_of(parts_of(pixels, parts_of(pixels, most)), tallest_tile) * tallest_tile;
      band_ = std::min(pixels, band_);
      bands_ = parts_of(pixels, band_);
      plane_ = prepares_ ? band_ * width : pixels * width;
      for (Index p = 0; p < band_; ++p) rows_.push_back(p * width);
    } else {
      columns_ = prepares_ ? (ow - 1) * s.sw + s.dw * (s.kw - 1) + 1 : s.w;
      const Index row = inputs_ * columns_ * s.sh * pixel_ * bytes;
      band_ = parts_of(oh, parts_of(oh, std::clamp<Index>(std::min(cache / row, 1024 / ow), 1, oh)));
      bands_ = parts_of(oh, band_);
      plane_ = (prepares_ ? rows_of(band_) * columns_ : s.h * s.w) * pixel_;
      for (Index i = 0; i < band_; ++i)
        for (Index j = 0; j < ow; ++j) rows_.push_back((i * s.sh * columns_ + j * s.sw) * pixel_);
    }
    const Index pairs = parts_of(outputs_, 2);
    // Few bands are cut by output channels too, unless what each must prepare would outweigh it.
    const Index work = parts_of(oh * ow, bands_) * inputs_ * s.taps() * 2 * width;
    Index chunks = bands_ >= 8 ? 1 : std::min(pairs, parts_of(8, bands_));
    chunks = std::min(chunks, std::max<Index>(1, pairs * work / (Index{1} << 14)));
    if (prepares_) chunks = std::min(chunks, parts_of(pairs * s.taps(), 4));
    chunk_ = parts_of(pairs, chunks);
    chunks_ = parts_of(pairs, chunk_);
    // So many blocks of input channels at a time that their filters stay in the first-level cache.
    together_ = std::clamp<Index>((Index{20} << 10) / (s.taps() * width * 2 * width * bytes), 1, inputs_);
    together_ = parts_of(inputs_, parts_of(inputs_, together_));
    for (Index block = 0; block < together_; ++block)
      for (Index a = 0; a < s.kh; ++a)
        for (Index b = 0; b < (narrow_ ? 1 : s.kw); ++b)
          offsets_.push_back(block * plane_ + (a * s.dh * columns_ + b * s.dw) * pixel_);
  }

  Index filters_size() const { return outputs_ * width * s_.c * s_.taps(); }

  /// The weight [M, C, KH, KW] in the order in which run() reads it: pairs of blocks of output channels; for each the
  /// blocks of input channels, the taps, the input channels of the block.
  void pack_filters(const T* weight, T* filters) const {
    const Index c = s_.c, taps = s_.taps(), each = c * taps;
    parallel_for(0, outputs_, 1, Scratch<T>{taps == 1 ? 0 : each * width}, [&](Index output, Index, T* rows) {
      const Index columns = std::min<Index>(2, outputs_ - output / 2 * 2),
                  lanes = std::min(width, s_.m - output * width);
      const T* const from = weight + output * width * each;
      T* to = filters + output / 2 * 2 * width * each + output % 2 * width;
      if (taps == 1) return interleave(from, each, lanes, c, 1, to, columns);
      interleave(from, each, lanes, 1, each, rows, each);
      for (Index block = 0; block < inputs_; ++block)
        for (Index t = 0; t < taps; ++t)
          for (Index i = block * width; i < std::min(c, (block + 1) * width); ++i, to += columns * width)
            simd::Pack<T>::load(rows + (i * taps + t) * width).store(to);
    });
  }

  Index units(Index n) const { return n * bands_ * chunks_; }
  /// Values of memory that a thread needs.
  Index scratch() const { return prepares_ ? inputs_ * plane_ : 0; }

  /// x: planar images, s.c channels of samples x.sample apart; or blocks.
  void run(Index unit, BlockedImages<const T> x, const Intake<T>& intake, const T* filters, BlockedImages<T> y,
           const Finish<T>& finish, T* scratch) const {
    const Index chunk = unit % chunks_, band = unit / chunks_ % bands_, n = unit / chunks_ / bands_;
    const Index line = pointwise_ ? 1 : s_.ow(), pixels = s_.oh() * s_.ow();  // a band's lines are pixels, for 1x1
    const Index first = band * band_, last = std::min(pixels / line, first + band_), count = (last - first) * line;
    const T* const image = x.data + n * x.sample;
    const T* from = scratch;
    if (prepares_)
      prepare(n, image, intake, first, last, scratch);
    else
      from = image + first * (pointwise_ ? 1 : s_.sh * columns_) * width;

    const Index out_plane = pixels * width, taps_together = together_ * (narrow_ ? s_.kh : s_.taps());
    TileShape shape{taps_together, narrow_ ? s_.kw * s_.c : width, 0, tail_lanes_, offsets_.data(), width, out_plane};
    for (Index pair = chunk * chunk_; pair < std::min(parts_of(outputs_, 2), (chunk + 1) * chunk_); ++pair) {
      const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
      const T* filter = filters + 2 * pair * width * s_.c * s_.taps();
      const Index place = 2 * pair * out_plane + first * line * width;
      T* const out = y.data + n * y.sample + place;
      TileEnds<T> ends{nullptr, finish.bias ? finish.bias + 2 * pair * width : nullptr, nullptr,
                       finish.residual ? finish.residual + n * finish.residual_sample + place : nullptr};
      for (Index block = 0; block < inputs_; block += together_) {
        const Index blocks = std::min(together_, inputs_ - block);
        if (block > 0) ends.from = out;
        if (block + blocks == inputs_) {
          ends.finish = &finish;
          shape.depth = taps_together / together_ * blocks;
          shape.tail = narrow_ ? 0 : s_.taps();
        } else {
          shape.depth = taps_together;
          shape.tail = 0;
        }
        finished_product(shape, count, columns, rows_.data(), from + block * plane_, filter, out, ends);
        filter += blocks * width * s_.taps() * columns * width;
      }
      if (finish.activation)
        for (Index j = 0; j < columns; ++j) finish.activation(out + j * out_plane, count * width);
    }
  }

 private:
  Index rows_of(Index lines) const { return (lines - 1) * s_.sh + s_.dh * (s_.kh - 1) + 1; }

  /// What a band reads, changed, with zeros around.
  void prepare(Index n, const T* image, const Intake<T>& intake, Index first, Index last, T* to) const {
    if (pointwise_) {
      for (Index block = 0; block < inputs_; ++block)
        intake(n, block, last - first, image + (block * s_.h * s_.w + first) * width, to + block * plane_);
      return;
    }
    const Index top = first * s_.sh - s_.top, rows = rows_of(last - first);
    if (narrow_) return copy_narrow(image, top, rows, to);
    for (Index block = 0; block < inputs_; ++block, to += plane_)
      if (planar_)
        interleave_padded(image + block * width * s_.h * s_.w, std::min(width, s_.c - block * width), s_.h, s_.w, top,
                          rows, s_.left, columns_, to);
      else
        copy_padded(n, block, image + block * s_.h * s_.w * width, intake, top, rows, to);
  }

  /// Few channels, side by side at every pixel without a gap: a row of taps is then one run.
  void copy_narrow(const T* image, Index top, Index rows, T* to) const {
    const Index begin = std::min(s_.left, columns_), end = std::clamp<Index>(s_.w + s_.left, begin, columns_);
    const Index c = s_.c, plane = s_.h * s_.w;
    for (Index r = 0; r < rows; ++r, to += columns_ * c) {
      const bool inside = top + r >= 0 && top + r < s_.h;
      std::fill_n(to, (inside ? begin : columns_) * c, T(0));
      if (!inside) continue;
      const T* const from = image + (top + r) * s_.w;
      T* const out = to + begin * c;
      for (Index l = 0; l < c; ++l)
        for (Index j = 0; j < end - begin; ++j) out[j * c + l] = from[l * plane + j];
      std::fill_n(to + end * c, (columns_ - end) * c, T(0));
    }
  }

  void copy_padded(Index n, Index block, const T* image, const Intake<T>& intake, Index top, Index rows, T* to) const {
    const Index begin = std::min(s_.left, columns_), end = std::clamp<Index>(s_.w + s_.left, begin, columns_);
    for (Index r = 0; r < rows; ++r, to += columns_ * width) {
      if (top + r < 0 || top + r >= s_.h) {
        std::fill_n(to, columns_ * width, T(0));
        continue;
      }
      std::fill_n(to, begin * width, T(0));
      const T* const from = image + (top + r) * s_.w * width;
      if (intake)
        intake(n, block, end - begin, from, to + begin * width);
      else
        std::copy_n(from, (end - begin) * width, to + begin * width);
      std::fill_n(to + end * width, (columns_ - end) * width, T(0));
    }
  }

  ConvolutionShape s_;
  bool planar_;
  Index inputs_, outputs_;  // blocks of channels
  Index tail_lanes_;        // channels in the last block of inputs
  bool pointwise_, prepares_;
  bool narrow_;  // the planes of few channels become pixels of pixel_ = C values
  Index pixel_;
  Index columns_ = 0;  // of an input row
  Index bands_ = 1, band_ = 1, plane_ = 0;
  Index chunks_ = 1, chunk_ = 1;       // pairs of output blocks
  Index together_ = 1;                 // blocks of input channels
  std::vector<Index> offsets_, rows_;  // of the taps, and of a band's pixels
};

}  // namespace lamina::kernels
