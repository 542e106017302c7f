#pragma once

#include <vector>

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/run.hpp"

/// Direct convolution in blocks of channels: every output pixel's channels are summed in registers over the taps and
/// the input channels, without multiplying more than the definition does. For strides, large filters and wherever
/// Winograd's algorithm does not pay.
namespace lamina::kernels::inline LAMINA_ISA {

/// A sum over taps in one of two directions, y from x or dx from dy. Lines i are numbered so that line i reads rows
/// from i * in_step on of the padded input. A stride's transpose falls apart into lattices of outputs, in_step 1 and
/// out_step the stride, each of which sees its own taps; the forward sum is a single lattice.
///
/// Pointers are those of one group of channels.
template <class T>
class DirectConvolution {
  static constexpr Index width = simd::width<T>;

 public:
  /// y[m] = sum over c and taps of weight[m, c, tap] x[c]. The taps are all of the kernel's, or those of a list of a KW
  /// + b; the weight is [M, C, as many].
  /// @{
  static DirectConvolution forward(const ConvolutionShape& s) { return forward(s, all_taps(s)); }
  static DirectConvolution forward(const ConvolutionShape& s, const std::vector<Index>& taps) {
    DirectConvolution d(s.n, {s.c, s.group_c(), s.h, s.w, s.blocked_x},
                        {s.m, s.group_m(), s.oh(), s.ow(), s.blocked_y});
    d.taps_ = static_cast<Index>(taps.size());
    d.m_stride_ = s.group_c() * d.taps_;
    d.c_stride_ = d.taps_;
    d.in_step_h_ = s.sh;
    d.in_step_w_ = s.sw;
    d.top_ = s.top;
    d.left_ = s.left;
    d.lines_ = s.oh();
    d.reach_ = s.dh * (s.kh - 1) + 1;
    d.columns_ = (s.ow() - 1) * s.sw + s.dw * (s.kw - 1) + 1;
    Lattice all{0, 0, 0, s.oh(), 0, s.ow(), {}, {}};
    for (Index t = 0; t < d.taps_; ++t) {
      const Index tap = taps[static_cast<std::size_t>(t)];
      all.taps.push_back(t);
      all.offsets.push_back(tap / s.kw * s.dh * d.columns_ + tap % s.kw * s.dw);
    }
    d.lattices_.push_back(std::move(all));
    d.read_in_place();
    return d;
  }
  /// @}

  /// dx[c] = sum over m and taps of weight[m, c, tap] dy[m], for one phase of the stride after the other.
  /// @{
  static DirectConvolution backward_input(const ConvolutionShape& s) { return backward_input(s, all_taps(s)); }
  static DirectConvolution backward_input(const ConvolutionShape& s, const std::vector<Index>& taps) {
    DirectConvolution d(s.n, {s.m, s.group_m(), s.oh(), s.ow(), s.blocked_y},
                        {s.c, s.group_c(), s.h, s.w, s.blocked_x});
    d.taps_ = static_cast<Index>(taps.size());
    d.m_stride_ = d.taps_;
    d.c_stride_ = s.group_c() * d.taps_;
    d.out_step_h_ = s.sh;
    d.out_step_w_ = s.sw;
    d.shift_ = s.top;
    const StridePhases strides(s, taps);
    d.top_ = strides.up;
    d.left_ = strides.back;
    d.lines_ = strides.lines;
    d.reach_ = d.top_ + 1;
    d.columns_ = d.left_ + strides.columns;
    for (const auto& [p, q, met] : strides.phases) {
      Lattice lattice{p - s.top,
                      q - s.left,
                      parts_of(s.top - p, s.sh),
                      parts_of(s.h + s.top - p, s.sh),
                      parts_of(s.left - q, s.sw),
                      parts_of(s.w + s.left - q, s.sw),
                      {},
                      {}};
      for (const StridePhases::Tap& tap : met) {
        lattice.taps.push_back(tap.at);
        lattice.offsets.push_back((d.top_ - tap.up) * d.columns_ + d.left_ - tap.back);
      }
      d.lattices_.push_back(std::move(lattice));
    }
    d.read_in_place();
    return d;
  }
  /// @}

  /// Values that the filters of one group take.
  Index filters_size() const { return parts_of(outputs_, 2) * pair_size(2); }

  /// The weight [M, C, taps] in the order in which run() reads it.
  void pack_filters(const T* weight, T* filters) const {
    const bool adjacent = c_stride_ == taps_;  // one input channel's taps behind the other's
    const Index together = adjacent ? lanes_ : 1;
    const Scratch<T> scratch{together * taps_ * width};
    parallel_for(0, outputs_, 1, scratch, [&](Index block, Index, T* taps) {
      const Index columns = std::min<Index>(2, outputs_ - block / 2 * 2);
      const Index lanes = std::min(width, out_.channels - block * width);
      T* const to = filters + block / 2 * pair_size(2) + block % 2 * width;
      for (Index c = 0; c < inputs_ * lanes_; c += together) {
        const Index count = std::clamp<Index>(in_.channels - c, 0, together);
        const T* const from = weight + block * width * m_stride_ + c * c_stride_;
        for (Index i = 0; !adjacent && i < lanes * taps_; i += width) __builtin_prefetch(from + 8 * c_stride_ + i);
        if (m_stride_ == 1 && count * taps_ == 1)
          simd::Pack<T>::load(from, lanes).store(taps);
        else
          interleave(from, m_stride_, lanes, 1, count * taps_, taps, count * taps_);
        std::fill(taps + count * taps_ * width, taps + together * taps_ * width, T(0));
        for (Index i = 0; i < together; ++i) {
          const Index input = (c + i) / lanes_, lane = (c + i) % lanes_;
          T* part = to;
          for (const Lattice& lattice : lattices_) {
            const Index used = static_cast<Index>(lattice.taps.size());
            for (Index t = 0; t < used; ++t)
              simd::Pack<T>::load(taps + (i * taps_ + lattice.taps[static_cast<std::size_t>(t)]) * width)
                  .store(part + ((input * used + t) * lanes_ + lane) * columns * width);
            part += inputs_ * lanes_ * used * columns * width;
          }
        }
      }
    });
  }

  /// The sum, and a bias [M] unless that is null. `add`: plus what y holds, which must be in blocks.
  void run(const T* x, const T* filters, T* y, const T* bias, bool add = false) const {
    const Index band = lines_within(Index{384} << 10), bands = parts_of(lines_, band), rows = rows_of(band);
    const Index plane = in_place_ ? in_.plane() : rows * columns_ * width;
    const Index out_plane = out_.blocked ? out_.plane() : band * out_step_h_ * out_.w * width;
    // So many blocks of input channels at a time that their filters stay in the first-level cache.
    const Index together = std::clamp<Index>(filter_cache / (taps_ * lanes_ * 2 * width), 1, inputs_);
    std::vector<std::vector<Index>> offsets;
    for (const Lattice& lattice : lattices_) {
      offsets.emplace_back();
      for (Index block = 0; block < together; ++block)
        for (Index offset : lattice.offsets) offsets.back().push_back(block * plane + offset * width);
    }
    in_groups<T>(
        n_ * bands, in_place_ ? 0 : inputs_, parts_of(outputs_, 2), in_place_ ? 0 : inputs_ * plane,
        out_.blocked ? 0 : 2 * out_plane,
        [&](Index group, Index block, T* prepared, T*) {
          const Index first = group % bands * band, count = std::min(band, lines_ - first);
          interleave_padded(in_.at(x, group / bands, block * lanes_), std::min(lanes_, in_.channels - block * lanes_),
                            in_.h, in_.w, first * in_step_h_ - top_, rows_of(count), left_, columns_,
                            prepared + block * plane, in_.blocked);
        },
        [&](Index group, Index pair, const T* prepared, T* scratch) {
          const Index first = group % bands * band, last = std::min(lines_, first + band);
          const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
          const Index out_first = std::clamp<Index>(first * out_step_h_ - shift_, 0, out_.h);
          const Index out_last = std::clamp<Index>(last * out_step_h_ - shift_, 0, out_.h);
          if (in_place_) prepared = in_.at(x, group / bands, 0) + first * in_step_h_ * columns_ * width;
          // In blocks, the sums are made where they stay.
          if (out_.blocked) scratch = out_.at(y, group / bands, 2 * pair * width) + out_first * out_.w * width;
          for (Index block = 0; block < inputs_; block += together) {
            const Index blocks = std::min(together, inputs_ - block);
            const T* filter = filters + pair * pair_size(2);
            for (std::size_t i = 0; i < lattices_.size(); ++i) {
              const Lattice& lattice = lattices_[i];
              const Index taps = static_cast<Index>(lattice.taps.size());
              if (taps == 0 && (block > 0 || add)) continue;  // zeros already, or to be added
              for (Index line = std::max(first, lattice.line_begin); line < std::min(last, lattice.line_end); ++line) {
                const Index row = line * out_step_h_ + lattice.row - out_first;
                const Index column = lattice.column_begin * out_step_w_ + lattice.column;
                block_product(lattice.column_end - lattice.column_begin, columns, blocks * taps, lanes_,
                              prepared + block * plane +
                                  ((line - first) * in_step_h_ * columns_ + lattice.column_begin * in_step_w_) * width,
                              in_step_w_ * width, offsets[i].data(), filter + block * taps * lanes_ * columns * width,
                              scratch + (row * out_.w + column) * width, out_step_w_ * width, out_plane,
                              block > 0 || add);
              }
              filter += inputs_ * taps * lanes_ * columns * width;
            }
          }
          for (Index j = 0; j < columns; ++j) {
            const Index channel = (2 * pair + j) * width, pixels = (out_last - out_first) * out_.w;
            const T* const own_bias = bias ? bias + channel : nullptr;
            if (!out_.blocked)
              deinterleave(scratch + j * out_plane, pixels, out_.at(y, group / bands, channel) + out_first * out_.w,
                           out_.h * out_.w, out_.channels - channel, own_bias);
            else if (bias)
              add_bias(scratch + j * out_plane, pixels, out_.channels - channel, own_bias);
          }
        });
  }

  /// The same from the weight.
  void run_once(const T* x, const T* weight, T* y, const T* bias, bool add = false) const {
    Tensor<T> filters({filters_size()});
    T* const packed = filters.data();
    pack_filters(weight, packed);
    run(x, packed, y, bias, add);
  }

  /// Values that backward_weight() takes beside its operands, without what each thread has for itself.
  Index gradient_size() const {
    const WeightPlan p = weight_plan();
    return weight_turn(p) * p.unit + taps_ * p.sum_stride + outputs_ * width;
  }

  /// With forward()'s geometry: dweight[m, c, tap] += the sum over samples and outputs of dy[m] x[c] at the tap, and
  /// dbias[m] (unless null) += the sum of dy.
  void backward_weight(const T* x, const T* dy, T* dweight, T* dbias) const {
    const WeightPlan p = weight_plan();
    const Index units = n_ * p.bands, turn = weight_turn(p);
    Tensor<T> memory({gradient_size()});
    T* const prepared = memory.data();
    T* const sums = prepared + turn * p.unit;
    T* const dy_sums = sums + taps_ * p.sum_stride;
    std::fill_n(dy_sums, outputs_ * width, T(0));
    for (Index begin = 0; begin < units; begin += turn) {
      const Index end = std::min(units, begin + turn);
      parallel_for(0, inputs_ + outputs_, 1, [&](Index block, Index) {
        for (Index u = begin; u < end; ++u) {
          T* const unit = prepared + (u - begin) * p.unit;
          if (block < inputs_)
            prepare_input(p, u, block, x, unit);
          else
            prepare_gradient(p, u, block - inputs_, dy, unit, dbias ? dy_sums : nullptr);
        }
      });
      const Index tasks = taps_ * parts_of(p.flipped ? outputs_ : inputs_, 2) * (p.flipped ? inputs_ : outputs_);
      parallel_for(0, tasks, 1, [&](Index task, Index) { add_outers(p, task, begin, end, x, dy, prepared, sums); });
    }
    add_weight_sums(p, sums, dweight);
    if (dbias)
      for (Index m = 0; m < out_.channels; ++m) dbias[m] += dy_sums[m];
  }

 private:
  struct Image {
    Index stride, channels, h, w;  // channels from sample to sample; channels of a group
    bool blocked;

    Index plane() const { return h * w * width; }  // of a block
    /// Channel c of a sample, the first of its block.
    template <class U>
    U* at(U* images, Index sample, Index c) const {
      const Index channels_apart = blocked ? blocks_of<T>(stride) * width : stride;
      return images + (sample * channels_apart + c) * h * w;
    }
  };
  struct Lattice {
    Index row, column;           // of line 0's first output, perhaps outside
    Index line_begin, line_end;  // lines inside the output
    Index column_begin, column_end;
    std::vector<Index> taps, offsets;  // which, and the pixel of the padded input that they meet
  };

  DirectConvolution(Index n, const Image& in, const Image& out)
      : n_(n),
        in_(in),
        out_(out),
        inputs_(blocks_of<T>(in.channels)),
        lanes_(in.blocked ? width : lanes_of<T>(in.channels)),
        outputs_(blocks_of<T>(out.channels)) {}

  /// Whether the input's blocks can be read where they are: the pixels that one tap meets, none of them outside.
  void read_in_place() {
    in_place_ = in_.blocked && taps_ == 1 && top_ == 0 && left_ == 0 && rows_of(lines_) <= in_.h && columns_ <= in_.w;
    for (const Lattice& lattice : lattices_)
      for (const Index offset : lattice.offsets) in_place_ = in_place_ && offset == 0;
    if (in_place_) columns_ = in_.w;
  }

  static constexpr Index filter_cache = (Index{24} << 10) / static_cast<Index>(sizeof(T));

  Index pair_size(Index columns) const { return inputs_ * taps_ * lanes_ * columns * width; }
  /// Rows of the padded input that so many lines read.
  Index rows_of(Index lines) const { return (lines - 1) * in_step_h_ + reach_; }
  /// About as many lines as need so many bytes: all channels of what they read, two blocks of what they make. Somewhat
  /// fewer, where that makes the number of bands even: for one image, an odd one would leave a thread without work.
  Index lines_within(Index bytes) const {
    const Index row = (inputs_ * columns_ * in_step_h_ + 2 * out_.w * out_step_h_) * width;
    const Index most = std::clamp<Index>(bytes / (row * static_cast<Index>(sizeof(T))), 1, lines_);
    const auto longest_share = [&](Index band) { return parts_of(parts_of(lines_, band), 2) * band; };
    Index best = most;
    for (Index band = most - 1; 3 * band >= 2 * most && most < lines_; --band)
      if (longest_share(band) < longest_share(best)) best = band;
    return best;
  }

  /// How backward_weight cuts its work: a unit is a band of lines of a sample.
  struct WeightPlan {
    Index band, bands;            // lines in a unit, units of a sample
    Index plane, dy_plane, unit;  // values of a block of x and of dy, and of what is prepared of all blocks
    Index dy_begin;               // where dy's begin
    Index read;                   // values that a unit's sums read
    bool flipped;                 // the vectors of the sums hold output channels, else input channels
    Index sum_row, sum_stride;    // of a tap's sums
  };
  WeightPlan weight_plan() const {
    WeightPlan p;
    p.band = lines_within(Index{2} << 20);
    p.bands = parts_of(lines_, p.band);
    p.plane = in_place_ ? in_.plane() : rows_of(p.band) * columns_ * width;
    p.dy_plane = out_.blocked ? out_.plane() : p.band * out_.w * width;
    p.dy_begin = in_place_ ? 0 : inputs_ * p.plane;
    p.unit = p.dy_begin + (out_.blocked ? 0 : outputs_ * p.dy_plane);
    p.read = (inputs_ * rows_of(p.band) * columns_ + outputs_ * p.band * out_.w) * width;
    // The vectors hold the channels of the side that fills them better.
    p.flipped = 2 * in_.channels <= width && in_.channels < out_.channels;
    p.sum_row = (p.flipped ? outputs_ : inputs_) * width;
    const Index rows = p.flipped ? inputs_ * lanes_ : outputs_ * width;
    p.sum_stride = parts_of(rows, outer_rows<T>) * outer_rows<T> * p.sum_row;
    return p;
  }
  /// Units that are prepared before they are summed.
  Index weight_turn(const WeightPlan& p) const { return std::clamp<Index>((Index{1} << 20) / p.read, 1, n_ * p.bands); }
  Index lines_of(const WeightPlan& p, Index unit) const { return std::min(p.band, lines_ - unit % p.bands * p.band); }

  /// A block of x, or of dy, of a unit.
  void prepare_input(const WeightPlan& p, Index unit, Index block, const T* x, T* to) const {
    if (in_place_) return;
    interleave_padded(in_.at(x, unit / p.bands, block * lanes_), std::min(lanes_, in_.channels - block * lanes_), in_.h,
                      in_.w, unit % p.bands * p.band * in_step_h_ - top_, rows_of(lines_of(p, unit)), left_, columns_,
                      to + block * p.plane, in_.blocked);
  }
  void prepare_gradient(const WeightPlan& p, Index unit, Index block, const T* dy, T* to, T* sums) const {
    const Index pixels = lines_of(p, unit) * out_.w, first = unit % p.bands * p.band;
    const T* gradients = dy_of(p, unit, dy) + block * p.dy_plane;
    if (!out_.blocked) {
      to += p.dy_begin + block * p.dy_plane;
      interleave(out_.at(dy, unit / p.bands, block * width) + first * out_.w, out_.h * out_.w,
                 std::min(width, out_.channels - block * width), 1, pixels, to, pixels);
      gradients = to;
    }
    if (!sums) return;
    (simd::Pack<T>::load(sums + block * width) + sum_of_block(gradients, pixels)).store(sums + block * width);
  }

  /// Where a unit's lines of dy are, in blocks.
  const T* dy_of(const WeightPlan& p, Index unit, const T* dy) const {
    return out_.at(dy, unit / p.bands, 0) + unit % p.bands * p.band * out_.w * width;
  }

  /// What units begin..end-1 add to a tile of a tap's sums.
  void add_outers(const WeightPlan& p, Index task, Index begin, Index end, const T* x, const T* dy, const T* prepared,
                  T* sums) const {
    const Index rows = p.flipped ? inputs_ : outputs_, columns = p.flipped ? outputs_ : inputs_;
    const Index row = task % rows, pair = task / rows % parts_of(columns, 2), t = task / rows / parts_of(columns, 2);
    const Index pixel = lattices_.front().offsets[static_cast<std::size_t>(t)] * width;
    const Index lanes = p.flipped ? lanes_ : width, blocks = std::min<Index>(2, columns - 2 * pair);
    // Several small images, of which all pixels are read where they are, are lines of one sum.
    const bool whole = in_place_ && out_.blocked && p.bands == 1 && in_step_h_ == 1 && in_step_w_ == 1;
    const Index image = lines_ * out_.w, several = whole ? std::max<Index>(1, 512 / image) : 1;
    for (Index u = begin; u < end; u += several, prepared += p.unit) {
      const Index line = u % p.bands * p.band * in_step_h_;
      BlockLines<T> pixels{in_place_ ? in_.at(x, u / p.bands, 0) + line * in_.w * width : prepared + pixel,
                           whole ? inputs_ * p.plane : in_step_h_ * columns_ * width, in_step_w_ * width, p.plane};
      BlockLines<T> gradients{out_.blocked ? dy_of(p, u, dy) : prepared + p.dy_begin,
                              whole ? outputs_ * p.dy_plane : out_.w * width, width, p.dy_plane};
      BlockLines<T>& a = p.flipped ? pixels : gradients;
      BlockLines<T>& b = p.flipped ? gradients : pixels;
      a.data += row * a.block;
      b.data += 2 * pair * b.block;
      block_outers(whole ? std::min(several, end - u) : lines_of(p, u), whole ? image : out_.w, a, lanes, b, blocks,
                   sums + t * p.sum_stride + row * lanes * p.sum_row + 2 * pair * width, p.sum_row, u > 0);
    }
  }

  void add_weight_sums(const WeightPlan& p, const T* sums, T* dweight) const {
    parallel_for(0, out_.channels, grain_of(in_.channels * taps_), [&](Index first, Index last) {
      for (Index m = first; m < last; ++m) {
        if (taps_ == 1 && !p.flipped && lanes_ == width) {  // in the order of the weight
          T* const to = dweight + m * in_.channels;
          const T* const sum = sums + m * p.sum_row;
          map_run(in_.channels, to, [=](auto load) { return load(to) + load(sum); });
          continue;
        }
        for (Index c = 0; c < in_.channels; ++c) {
          const Index column = c / lanes_ * width + c % lanes_;
          const T* const sum = sums + (p.flipped ? c * p.sum_row + m : m * p.sum_row + column);
          T* const to = dweight + (m * in_.channels + c) * taps_;
          for (Index t = 0; t < taps_; ++t) to[t] += sum[t * p.sum_stride];
        }
      }
    });
  }

  Index n_;
  Image in_, out_;
  Index inputs_, lanes_;  // blocks of input channels, and how many they have
  Index outputs_;         // blocks of output channels
  Index m_stride_ = 0, c_stride_ = 0;
  Index in_step_h_ = 1, in_step_w_ = 1, out_step_h_ = 1, out_step_w_ = 1;
  Index shift_ = 0;  // padding above the output
  Index top_ = 0, left_ = 0, lines_ = 0, reach_ = 0, columns_ = 0, taps_ = 0;
  bool in_place_ = false;  // the input is read where it is
  std::vector<Lattice> lattices_;
};

}  // namespace lamina::kernels::inline LAMINA_ISA
