#pragma once

#include <vector>

#include "lamina/kernels/finished_product.hpp"
#include "lamina/kernels/gemm-inl.hpp"

/// Direct convolution from blocks of channels to blocks of channels, finished as it is stored: 1x1, strided, dilated,
/// the first layer of a network (whose images are planar), and wherever Winograd's algorithm does not pay.
namespace lamina::kernels::inline LAMINA_ISA {

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
        pointwise_(!planar && s.taps() == 1 && s.top == 0 && s.bottom <= 0 && s.left == 0 && s.right <= 0),
        strided_(pointwise_ && (s.sh > 1 || s.sw > 1 || s.bottom < 0 || s.right < 0)),
        prepares_(planar || changes || strided_ || s.top || s.left || s.bottom > 0 || s.right > 0),
        narrow_(planar && inputs_ == 1 && s.dw == 1),
        pixel_(narrow_ ? s.c : width) {
    // So many blocks of input channels at a time that their filters stay in the first-level cache.
    together_ = std::clamp<Index>((Index{20} << 10) / (s.taps() * width * 2 * width * bytes), 1, inputs_);
    together_ = parts_of(inputs_, parts_of(inputs_, together_));
    // Filters that do not fit the second-level cache should pass by rarely. Where the outputs are no more than the
    // inputs it is a band's outputs that stay there, as unfinished sums, and a part of the inputs after the other is
    // multiplied with all its filters; else it is a band's inputs.
    const Index all = detail::cache_bytes(), cache = all / 2, oh = s.oh(), ow = s.ow();
    sums_stay_ = inputs_ > together_ && s.m * s.c * s.taps() * bytes > all && outputs_ <= inputs_ * s.sh * s.sw;
    if (pointwise_) {
      const Index pixels = oh * ow;
      Index most = cache / ((sums_stay_ ? outputs_ : inputs_) * width * bytes);
      if (prepares_) most = std::min(most, parts_of(pixels, 2));  // what is changed on the way is not cut by outputs
      most = std::clamp<Index>(most, 9 * tallest_tile, 1024);
      band_ = parts_of(parts_of(pixels, parts_of(pixels, most)), tallest_tile) * tallest_tile;
      band_ = std::min(pixels, band_);
      bands_ = parts_of(pixels, band_);
      plane_ = prepares_ ? band_ * width : pixels * width;
      for (Index p = 0; p < band_; ++p) rows_.push_back(p * width);
    } else {
      columns_ = prepares_ ? (ow - 1) * s.sw + s.dw * (s.kw - 1) + 1 : s.w;
      const Index row = (sums_stay_ ? outputs_ * ow * width : inputs_ * columns_ * s.sh * pixel_) * bytes;
      band_ = parts_of(oh, parts_of(oh, std::clamp<Index>(std::min(cache / row, 1024 / ow), 1, oh)));
      bands_ = parts_of(oh, band_);
      plane_ = (prepares_ ? rows_of(band_) * columns_ : s.h * s.w) * pixel_;
      for (Index i = 0; i < band_; ++i)
        for (Index j = 0; j < ow; ++j) rows_.push_back((i * s.sh * columns_ + j * s.sw) * pixel_);
    }
    const Index pairs = parts_of(outputs_, 2);
    // Few bands are cut by output channels too, unless what each must prepare would outweigh it. A few pixels take as
    // long as six: reading the filters does.
    const Index work = std::max<Index>(6, parts_of(oh * ow, bands_)) * inputs_ * s.taps() * 2 * width;
    Index chunks = bands_ >= 8 ? 1 : std::min(pairs, parts_of(8, bands_));
    chunks = std::min(chunks, std::max<Index>(1, pairs * work / (Index{1} << 14)));
    if (prepares_) chunks = std::min(chunks, parts_of(pairs * s.taps(), 4));
    chunk_ = parts_of(pairs, chunks);
    chunks_ = parts_of(pairs, chunk_);
    for (Index block = 0; block < together_; ++block)
      for (Index a = 0; a < s.kh; ++a)
        for (Index b = 0; b < (narrow_ ? 1 : s.kw); ++b)
          offsets_.push_back(block * plane_ + (a * s.dh * columns_ + b * s.dw) * pixel_);
  }

  /// Values that pack_filters writes.
  Index filters_size() const { return outputs_ * width * s_.c * s_.taps(); }

  /// The weight [M, C, KH, KW] in the order in which run() reads it: for each pair of blocks of output channels, or of
  /// these and part of the inputs, the blocks of input channels, the taps, the input channels of the block.
  void pack_filters(const T* weight, T* filters) const {
    const Index c = s_.c, taps = s_.taps(), each = c * taps;
    parallel_for(0, outputs_, 1, Scratch<T>{width * taps * width}, [&](Index output, Index, T* rows) {
      const Index columns = columns_of(output / 2), lanes = std::min(width, s_.m - output * width);
      for (Index block = 0; block < inputs_; ++block) {
        const Index count = std::min(width, c - block * width);
        const T* const from = weight + output * width * each + block * width * taps;
        T* to = filters + filter_at(output / 2, block) + output % 2 * width;
        if (taps == 1) {
          interleave(from, each, lanes, count, 1, to, columns);
          continue;
        }
        interleave(from, each, lanes, 1, count * taps, rows, count * taps);
        for (Index t = 0; t < taps; ++t)
          for (Index i = 0; i < count; ++i, to += columns * width)
            simd::Pack<T>::load(rows + (i * taps + t) * width).store(to);
      }
    });
  }

  /// Units of work for n samples.
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
    const auto multiply = [&](Index pair, Index block) {
      const Index blocks = std::min(together_, inputs_ - block), place = 2 * pair * out_plane + first * line * width;
      const bool last_part = block + blocks == inputs_;
      T* const out = y.data + n * y.sample + place;
      shape.depth = taps_together / together_ * blocks;
      shape.tail = last_part && !narrow_ ? s_.taps() : 0;
      finished_product(shape, count, columns_of(pair), rows_.data(), from + block * plane_,
                       filters + filter_at(pair, block), out,
                       TileEnds<T>{block > 0 ? out : nullptr, finish.bias ? finish.bias + 2 * pair * width : nullptr,
                                   last_part ? &finish : nullptr,
                                   finish.residual ? finish.residual + n * finish.residual_sample + place : nullptr});
      if (last_part && finish.activation)
        for (Index j = 0; j < columns_of(pair); ++j) finish.activation(out + j * out_plane, count * width);
    };
    const Index begin = chunk * chunk_, end = std::min(parts_of(outputs_, 2), begin + chunk_);
    if (sums_stay_) {
      for (Index block = 0; block < inputs_; block += together_)
        for (Index pair = begin; pair < end; ++pair) multiply(pair, block);
    } else {
      for (Index pair = begin; pair < end; ++pair)
        for (Index block = 0; block < inputs_; block += together_) multiply(pair, block);
    }
  }

 private:
  /// Vectors in a pair.
  Index columns_of(Index pair) const { return std::min<Index>(2, outputs_ - 2 * pair); }
  /// Where a pair's filters of a block of input channels are.
  Index filter_at(Index pair, Index block) const {
    const Index part = sums_stay_ ? together_ : inputs_, first = block / part * part;
    const Index channels = std::min(part * width, s_.c - first * width);
    return (first * outputs_ * width + 2 * pair * channels + (block - first) * columns_of(pair) * width) * s_.taps() *
           width;
  }
  Index rows_of(Index lines) const { return (lines - 1) * s_.sh + s_.dh * (s_.kh - 1) + 1; }

  /// What a band reads, changed, with zeros around.
  void prepare(Index n, const T* image, const Intake<T>& intake, Index first, Index last, T* to) const {
    if (strided_) {
      for (Index block = 0; block < inputs_; ++block)
        for (Index p = first; p < last; ++p) {
          const Index i = p / s_.ow() * s_.sh, j = p % s_.ow() * s_.sw;
          const T* const pixel = image + (block * s_.h * s_.w + i * s_.w + j) * width;
          T* const out = to + block * plane_ + (p - first) * width;
          if (intake)
            change(intake, n, block, 1, pixel, out);
          else
            simd::Pack<T>::load(pixel).store(out);
        }
      return;
    }
    if (pointwise_) {
      for (Index block = 0; block < inputs_; ++block)
        change(intake, n, block, last - first, image + (block * s_.h * s_.w + first) * width, to + block * plane_);
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
        change(intake, n, block, end - begin, from, to + begin * width);
      else
        std::copy_n(from, (end - begin) * width, to + begin * width);
      std::fill_n(to + end * width, (columns_ - end) * width, T(0));
    }
  }

  ConvolutionShape s_;
  bool planar_;
  Index inputs_, outputs_;  // blocks of channels
  Index tail_lanes_;        // channels in the last block of inputs
  bool pointwise_, strided_, prepares_;
  bool narrow_;  // the planes of few channels become pixels of pixel_ = C values
  Index pixel_;
  Index columns_ = 0;  // of an input row
  Index bands_ = 1, band_ = 1, plane_ = 0;
  Index chunks_ = 1, chunk_ = 1;  // pairs of output blocks
  Index together_ = 1;            // blocks of input channels
  bool sums_stay_ = false;
  std::vector<Index> offsets_, rows_;  // of the taps, and of a band's pixels
};

}  // namespace lamina::kernels::inline LAMINA_ISA
