#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/run.hpp"

/// Normalisation over channels (batch norm) and over rows (layer norm).
namespace lamina::kernels {

/// A tensor [samples, channels, length]: images with length = H * W, features with length = 1.
struct ChannelShape {
  /// The sizes of the tensor.
  /// @{
  Index samples, channels, length;
  /// @}
  bool blocked = false;  ///< the channels lie in blocks (blocked.hpp): [samples, blocks, length, L]

  Index count() const { return samples * length; }  ///< values of one channel
};

/// Neighbouring channels of a tensor [samples, channels, length]: the first one in the first sample, and the distance
/// of samples.
template <class T>
struct Channels {
  T* first;      ///< in the first sample
  Index stride;  ///< values from one sample to the next
};

/// Some of the channels of a tensor, in a tensor of their own, with the gradient for it; or all of them.
template <class T>
struct ChannelPart {
  Index channels;             ///< how many
  const T* x;                 ///< [samples, channels, length]
  T* dx = nullptr;            ///< as large; null if it is not wanted
  const T* sum = nullptr;     ///< as large: what dx is added to; may be dx itself. Null: nothing
  double* moments = nullptr;  ///< where mean and biased variance of each channel are kept, [channels, 2]; or null
  bool known = false;         ///< whether they are there already
};
/// All parts of a tensor, in order.
template <class T>
using ChannelParts = std::vector<ChannelPart<T>>;

/// What batch norm applies to its result: nothing, max(x, 0), or min(max(x, 0), 6).
enum class Clamp { none, relu, relu6 };

/// How batch norm maps a value: y = clamp((x - mean) * scale + shift), where each pointer has one value for each
/// channel.
template <class T>
struct ChannelMap {
  /// One value for each channel.
  /// @{
  const T *mean, *scale, *shift;
  /// @}
  Clamp clamp = Clamp::none;  ///< what is applied
};

inline namespace LAMINA_ISA {

namespace detail {

/// f(the functions of a clamp).
template <class F>
void with_clamp(Clamp clamp, F f) {
  if (clamp == Clamp::relu)
    f(Relu());
  else if (clamp == Clamp::relu6)
    f(Relu6());
  else
    f(Unclamped());
}

/// Some neighbouring channels: what is worked on at once, so that a second pass finds in the cache what the first has
/// read, and small enough for two of them to fit there. It has slots, each a channel, or for length = 1 a vector of
/// channels, a lane for each.
template <class T>
class ChannelBlock {
  static constexpr Index width = simd::width<T>;
  static constexpr std::size_t max_slots = 8;

 public:
  using Pack = simd::Pack<T>;
  using Parameters = std::array<Pack, max_slots>;
  using Values = std::array<double, max_slots* static_cast<std::size_t>(width)>;

  /// f(block) for all channels, in parallel. A block is of one part.
  template <class F>
  static void for_each(const ChannelShape& s, const ChannelParts<T>& parts, F f) {
    constexpr auto slots = static_cast<Index>(max_slots);
    const Index size = s.length == 1 ? slots * width : std::clamp<Index>(256 / std::max<Index>(1, s.length), 1, slots);
    std::vector<ChannelBlock> blocks;
    Index before = 0;
    for (const auto& part : parts) {
      for (Index i = 0; i < part.channels; i += size)
        blocks.push_back(ChannelBlock(s, before + i, std::min(size, part.channels - i), part, i));
      before += part.channels;
    }
    parallel_for(0, static_cast<Index>(blocks.size()), (1 << 15) / std::max<Index>(1, size * s.count()),
                 [&](Index first, Index last) {
                   for (Index i = first; i < last; ++i) f(blocks[static_cast<std::size_t>(i)]);
                 });
  }

  /// This block in a tensor of all channels; in the part's; and in the gradient for that.
  template <class U>
  Channels<U> of(U* all) const {
    return {all + first_ * s_.length, s_.channels * s_.length};
  }
  Channels<const T> x() const { return in_part(part_.x); }
  Channels<T> dx() const { return in_part(part_.dx); }
  Channels<const T> sum() const { return in_part(part_.sum); }
  bool wants_dx() const { return part_.dx; }
  bool adds() const { return part_.sum; }
  const ChannelPart<T>& part() const { return part_; }
  Index first_in_part() const { return first_in_part_; }

  Index first() const { return first_; }
  std::size_t channels() const { return static_cast<std::size_t>(channels_); }

  /// What p, which has one value for each channel of the block, or of all channels, holds for each slot.
  Parameters own(const T* p) const {
    Parameters result;
    for (Index k = 0; k < slots(); ++k)
      result[static_cast<std::size_t>(k)] = features() ? Pack::load(p + k * width, lanes(k)) : Pack(p[k]);
    return result;
  }
  Parameters parameters(const T* p) const { return own(p + first_); }

  /// Some values of every channel: n neighbours from `offset` on, in samples begin..end-1.
  struct Piece {
    Index begin, end, offset, n;
    double count() const { return static_cast<double>((end - begin) * n); }
  };
  /// f(piece) for pieces so small that single precision is enough for a sum over one.
  template <class F>
  void for_each_piece(F f) const {
    constexpr Index size = 4096;
    const Index samples = std::clamp<Index>(size / s_.length, 1, 256);
    for (Index begin = 0; begin < s_.samples; begin += samples)
      for (Index offset = 0; offset < s_.length; offset += size)
        f(Piece{begin, std::min(s_.samples, begin + samples), offset, std::min(size, s_.length - offset)});
  }

  /// The sums over a piece of f(slot)(load), N vectors, for every channel; load(x) is the vector of the channels x at
  /// the present position.
  template <std::size_t N, class F>
  std::array<Values, N> sums(const Piece& piece, F f) const {
    std::array<std::array<Pack, N>, max_slots> totals;
    for (auto& total : totals) total.fill(Pack(T(0)));
    for (Index i = piece.begin; i < piece.end; ++i)
      for (Index k = 0; k < slots(); ++k) {
        const auto at = [i, from = start(k) + piece.offset](const auto& x) { return x.first + i * x.stride + from; };
        const auto terms = f(static_cast<std::size_t>(k));
        auto& total = totals[static_cast<std::size_t>(k)];
        if (!features())
          add<T, N>(total, sum_run<N, T>(piece.n,
                                         [&](auto load) { return terms([&](const auto& x) { return load(at(x)); }); }));
        else if (lanes(k) == width)
          add<T, N>(total, terms([&](const auto& x) { return Pack::load(at(x)); }));
        else
          add<T, N>(total, terms([&](const auto& x) { return Pack::load(at(x), lanes(k)); }));
      }
    std::array<Values, N> result;
    for (std::size_t n = 0; n < N; ++n)
      for (std::size_t c = 0; c < channels(); ++c)
        result[n][c] = static_cast<double>(features() ? totals[c / std::size_t(width)][n][static_cast<Index>(c) % width]
                                                      : simd::sum(totals[c][n]));
    return result;
  }

  /// y = f(slot)(load) for all values; y may be one of the tensors. From the last sample to the first: what was read
  /// last is still in the cache, even where not all is.
  template <class F>
  void map(const Channels<T>& y, F f) const {
    for (Index i = s_.samples; i-- > 0;)
      for (Index k = 0; k < slots(); ++k) {
        const auto at = [i, from = start(k)](const auto& x) { return x.first + i * x.stride + from; };
        const auto value = f(static_cast<std::size_t>(k));
        if (!features())
          map_run(s_.length, at(y), [&](auto load) { return value([&](const auto& x) { return load(at(x)); }); });
        else if (lanes(k) == width)
          value([&](const auto& x) { return Pack::load(at(x)); }).store(at(y));
        else
          value([&](const auto& x) { return Pack::load(at(x), lanes(k)); }).store(at(y), lanes(k));
      }
  }

 private:
  ChannelBlock(const ChannelShape& s, Index first, Index channels, const ChannelPart<T>& part, Index first_in_part)
      : s_(s), first_(first), channels_(channels), part_(part), first_in_part_(first_in_part) {}

  bool features() const { return s_.length == 1; }
  Index slots() const { return features() ? (channels_ + width - 1) / width : channels_; }
  Index lanes(Index slot) const { return std::min(width, channels_ - slot * width); }
  Index start(Index slot) const { return slot * (features() ? width : s_.length); }
  template <class U>
  Channels<U> in_part(U* p) const {
    return {p + first_in_part_ * s_.length, part_.channels * s_.length};
  }

  ChannelShape s_;
  Index first_, channels_;
  ChannelPart<T> part_;
  Index first_in_part_;
};

/// Calls f(c, mean, biased variance) for every channel of a block. Reads x once: each piece is summed around the mean
/// of those before it (the first around its own, read from the cache), and joined to them (Chan, Golub, LeVeque 1979).
/// What a piece's distance to that center costs in precision is at most its share in the variance: as good as two
/// passes.
template <class T, class F>
void moments_of(const ChannelBlock<T>& block, F f) {
  const Channels<const T> x = block.x();
  typename ChannelBlock<T>::Values mean, squares;  // squares: the sum of (x - mean)^2
  std::array<T, std::tuple_size_v<decltype(mean)>> centers;
  double count = 0;
  block.for_each_piece([&](const auto& piece) {
    const double n = piece.count();
    if (count == 0) {
      mean =
          block.template sums<1>(piece, [x](std::size_t) { return [x](auto load) { return std::array{load(x)}; }; })[0];
      for (std::size_t c = 0; c < block.channels(); ++c) {
        mean[c] /= n;
        squares[c] = 0;
      }
    }
    count += n;
    for (std::size_t c = 0; c < block.channels(); ++c) centers[c] = static_cast<T>(mean[c]);
    const auto sums = block.template sums<2>(piece, [&, all = block.own(centers.data())](std::size_t k) {
      return [x, center = all[k]](auto load) {
        const auto d = load(x) - center;
        return std::array{d, d * d};
      };
    });
    for (std::size_t c = 0; c < block.channels(); ++c) {
      const double rest = sums[0][c] / n;
      const double delta = static_cast<double>(centers[c]) + rest - mean[c];
      squares[c] += sums[1][c] - sums[0][c] * rest + delta * delta * n * (count - n) / count;
      mean[c] += delta * n / count;
    }
  });
  // Not std::max, which would turn a NaN into 0.
  for (std::size_t c = 0; c < block.channels(); ++c)
    f(block.first() + static_cast<Index>(c), mean[c], squares[c] < 0 ? 0 : squares[c] / count);
}

/// f(c, mean, biased variance) for every channel of a block: as the part knows them, or as they are.
template <class Block, class F>
void known_moments(const Block& block, const F& f) {
  double* const kept = block.part().moments ? block.part().moments + 2 * block.first_in_part() : nullptr;
  if (kept && block.part().known) {
    for (Index c = 0; c < static_cast<Index>(block.channels()); ++c) f(block.first() + c, kept[2 * c], kept[2 * c + 1]);
    return;
  }
  moments_of(block, [&](Index c, double mean, double variance) {
    if (kept) {
      kept[2 * (c - block.first())] = mean;
      kept[2 * (c - block.first()) + 1] = variance;
    }
    f(c, mean, variance);
  });
}

/// A ChannelMap's values for a channel, or for a vector of channels.
template <class T, class F>
struct Normalization {
  simd::Pack<T> mean, scale, shift;

  /// By the same instructions, so with the same bits, in forward and backward.
  simd::Pack<T> value(simd::Pack<T> x) const { return F::value(simd::multiply_add(x - mean, scale, shift)); }
  simd::Pack<T> gradient(simd::Pack<T> x, simd::Pack<T> dy) const { return F::gradient(value(x), dy); }
};

/// The same for each slot of a block: (slot) -> Normalization.
template <class F, class T>
auto normalizations(const ChannelBlock<T>& block, const ChannelMap<T>& map) {
  return [mean = block.parameters(map.mean), scale = block.parameters(map.scale),
          shift = block.parameters(map.shift)](std::size_t k) {
    return Normalization<T, F>{mean[k], scale[k], shift[k]};
  };
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y = f(p, x...) for vectors of values, with p the channel's of `parameter` [channels]; y may be one of the x.
template <class T, class F, class... In>
void map_channels(const ChannelShape& s, T* y, const T* parameter, F f, const In*... x) {
  detail::ChannelBlock<T>::for_each(s, {{s.channels, y}}, [&](const detail::ChannelBlock<T>& block) {
    block.map(block.of(y), [&, p = block.parameters(parameter)](std::size_t k) {
      return [&, own = p[k]](auto load) { return f(own, load(block.of(x))...); };
    });
  });
}

/// Adds to sums[c], for every channel c, the sum of f(x, dy) over its values.
template <class T, class F>
void channel_sums(const ChannelShape& s, const T* x, const T* dy, F f, T* sums) {
  if (s.count() == 0) return;
  detail::ChannelBlock<T>::for_each(s, {{s.channels, x}}, [&](const detail::ChannelBlock<T>& block) {
    typename detail::ChannelBlock<T>::Values totals;
    std::fill_n(totals.begin(), block.channels(), 0.0);
    block.for_each_piece([&](const auto& piece) {
      const auto part = block.template sums<1>(piece, [&](std::size_t) {
        return [&](auto load) { return std::array{f(load(block.of(x)), load(block.of(dy)))}; };
      });
      for (std::size_t c = 0; c < block.channels(); ++c) totals[c] += part[0][c];
    });
    T* const to = sums + block.first();
    for (std::size_t c = 0; c < block.channels(); ++c) to[c] += static_cast<T>(totals[c]);
  });
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {

template <class F, class T>
void normalize_blocks(const ChannelShape& s, const T* x, const ChannelMap<T>& map, T* y, Index y_stride) {
  constexpr Index width = simd::width<T>;
  const Index blocks = parts_of(s.channels, width), run = s.length * width;
  parallel_for(0, s.samples * blocks, (1 << 15) / std::max<Index>(1, run), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const Index c = i % blocks * width;
      const auto at = [&](const T* p) { return simd::Pack<T>::load(p + c, std::min(width, s.channels - c)); };
      const Normalization<T, F> n{at(map.mean), at(map.scale), at(map.shift)};
      const T* const from = x + i * run;
      T* const to = y + i / blocks * y_stride + i % blocks * run;
      for (Index p = 0; p < run; p += width) n.value(simd::Pack<T>::load(from + p)).store(to + p);
    }
  });
}

template <class F, class T>
void normalize_channels(const ChannelShape& s, const T* x, const ChannelMap<T>& map, T* y, Index y_stride) {
  if (s.blocked) return normalize_blocks<F>(s, x, map, y, y_stride);
  const bool features = s.length == 1;
  const Index run = features ? s.channels : s.length, runs = features ? 1 : s.channels;  // of a sample
  parallel_for(0, s.samples * runs, (1 << 15) / std::max<Index>(1, run), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const Index c = i % runs;
      const T* const in = x + i * run;
      T* const out = y + i / runs * y_stride + c * run;
      const auto at = [&](auto parameter) {
        return Normalization<T, F>{parameter(map.mean), parameter(map.scale), parameter(map.shift)};
      };
      if (features)
        map_run(run, out, [&](auto load) { return at(load).value(load(in)); });
      else
        map_run(run, out,
                [in, n = at([c](const T* p) { return simd::Pack<T>(p[c]); })](auto load) { return n.value(load(in)); });
    }
  });
}

template <class F, class T, class Moments>
void batch_norm(const ChannelShape& s, const ChannelParts<T>& x, const ChannelMap<T>& map, const Moments& moments,
                T* y) {
  ChannelBlock<T>::for_each(s, x, [&](const ChannelBlock<T>& block) {
    if (moments) known_moments(block, moments);
    if (!y) return;
    block.map(block.of(y), [x = block.x(), slots = normalizations<F>(block, map)](std::size_t k) {
      return [x, n = slots(k)](auto load) { return n.value(load(x)); };
    });
  });
}

template <class F, class T, class Sums>
void batch_norm_backward(const ChannelShape& s, const ChannelParts<T>& parts, const T* gradient,
                         const ChannelMap<T>& map, const Sums& sums, const T* slope, const T* offset) {
  using Block = ChannelBlock<T>;
  Block::for_each(s, parts, [&](const Block& block) {
    const auto slots = normalizations<F>(block, map);
    const Channels<const T> x = block.x(), dy = block.of(gradient);
    if (sums) {
      std::array<typename Block::Values, 2> totals;
      for (auto& total : totals) std::fill_n(total.begin(), block.channels(), 0.0);
      block.for_each_piece([&](const auto& piece) {
        const auto part = block.template sums<2>(piece, [&](std::size_t k) {
          return [x, dy, n = slots(k)](auto load) {
            const auto v = load(x), g = n.gradient(v, load(dy));
            return std::array{g, rounded(g * (v - n.mean))};  // or some loops would fuse it with the sum, and some not
          };
        });
        for (std::size_t n = 0; n < 2; ++n)
          for (std::size_t c = 0; c < block.channels(); ++c) totals[n][c] += part[n][c];
      });
      for (std::size_t c = 0; c < block.channels(); ++c)
        sums(block.first() + static_cast<Index>(c), totals[0][c], totals[1][c]);
    }
    if (!block.wants_dx()) return;
    const auto write = [&](auto add) {
      block.map(block.dx(), [&, slopes = block.parameters(slope), offsets = block.parameters(offset)](std::size_t k) {
        return [x, dy, add, n = slots(k), tilt = slopes[k], rest = offsets[k]](auto load) {
          const auto v = load(x), g = n.gradient(v, load(dy));
          return add(load, multiply_add(g, n.scale, -multiply_add(v - n.mean, tilt, rest)));
        };
      });
    };
    if (block.adds())
      write([before = block.sum()](auto load, auto own) { return load(before) + own; });
    else
      write([](auto, auto own) { return own; });
  });
}

/// One vector of channels of images in blocks: what is worked on at once.
template <class T>
class VectorBlock {
  static constexpr Index width = simd::width<T>;

 public:
  using Pack = simd::Pack<T>;
  using Values = std::array<double, static_cast<std::size_t>(width)>;

  /// f(block) for all blocks of all parts, in parallel.
  template <class F>
  static void for_each(const ChannelShape& s, const ChannelParts<T>& parts, F f) {
    std::vector<VectorBlock> blocks;
    Index all = 0, channel = 0;
    for (const auto& part : parts) {
      const Index own = parts_of(part.channels, width);
      for (Index i = 0; i < own; ++i)
        blocks.push_back(
            VectorBlock(s, part, i, own, all + i, channel + i * width, std::min(width, part.channels - i * width)));
      all += own;
      channel += part.channels;
    }
    for (VectorBlock& block : blocks) block.all_ = all;
    parallel_for(0, all, (1 << 15) / std::max<Index>(1, width * s.count()), [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) f(blocks[static_cast<std::size_t>(i)]);
    });
  }

  Index first() const { return first_; }
  Index channels() const { return lanes_; }
  bool wants_dx() const { return part_.dx; }
  bool adds() const { return part_.sum; }
  const ChannelPart<T>& part() const { return part_; }
  Index first_in_part() const { return in_part_ * width; }
  /// The block's pixels of a sample: of x, of its gradient, and in a tensor of all parts.
  /// @{
  const T* x(Index sample) const { return part_.x + (sample * own_ + in_part_) * size(); }
  T* dx(Index sample) const { return part_.dx + (sample * own_ + in_part_) * size(); }
  const T* sum(Index sample) const { return part_.sum + (sample * own_ + in_part_) * size(); }
  template <class U>
  U* of(U* all, Index sample) const {
    return all + (sample * all_ + in_all_) * size();
  }
  /// @}
  /// What p has for each channel, zero behind the last.
  Pack parameter(const T* p) const { return Pack::load(p + first_, lanes_); }

  /// f(first sample, end, offset, n, count) for pieces so small that single precision is enough for a sum over one: n
  /// pixels from `offset` on, of some samples.
  template <class F>
  void for_each_piece(F f) const {
    constexpr Index size = 2048;
    const Index samples = std::clamp<Index>(size / s_.length, 1, 256);
    for (Index begin = 0; begin < s_.samples; begin += samples)
      for (Index offset = 0; offset < s_.length; offset += size) {
        const Index end = std::min(s_.samples, begin + samples), n = std::min(size, s_.length - offset);
        f(begin, end, offset, n);
      }
  }

  /// The N sums over a piece of f(sample)(place in its block), for every lane.
  template <std::size_t N, class F>
  static std::array<Pack, N> sums(Index begin, Index end, Index offset, Index n, F f) {
    constexpr int together = 4;
    simd::Registers<std::array<Pack, N>, together> totals;
    LAMINA_UNROLL(k, together) totals[k].fill(Pack(T(0)));
    for (Index i = begin; i < end; ++i) {
      const auto terms = f(i);
      Index p = offset;
      for (; p + together <= offset + n; p += together)
        LAMINA_UNROLL(k, together) add<T, N>(totals[k], terms((p + k) * width));
      for (; p < offset + n; ++p) add<T, N>(totals[0], terms(p * width));
    }
    for (int k = 1; k < together; ++k) add<T, N>(totals[0], totals[k]);
    return totals[0];
  }

  /// y(sample)[p] = f(sample)(place of p) for all pixels, from the last sample to the first: what was read last is
  /// still in the cache.
  template <class Out, class F>
  void map(Out y, F f) const {
    for (Index i = s_.samples; i-- > 0;) {
      T* const to = y(i);
      const auto value = f(i);
      for (Index p = 0; p < size(); p += width) value(p).store(to + p);
    }
  }

 private:
  VectorBlock(const ChannelShape& s, const ChannelPart<T>& part, Index in_part, Index own, Index in_all, Index first,
              Index lanes)
      : s_(s), part_(part), in_part_(in_part), own_(own), in_all_(in_all), first_(first), lanes_(lanes) {}

  Index size() const { return s_.length * width; }

  ChannelShape s_;
  ChannelPart<T> part_;
  Index in_part_, own_;  // the block's number in its part, and how many there are
  Index in_all_, all_ = 0;
  Index first_, lanes_;
};

/// moments_of images in blocks.
template <class T, class F>
void moments_of(const VectorBlock<T>& block, F f) {
  using Pack = simd::Pack<T>;
  constexpr auto width = static_cast<std::size_t>(simd::width<T>);
  typename VectorBlock<T>::Values mean{}, squares{};
  double count = 0;
  block.for_each_piece([&](Index begin, Index end, Index offset, Index length) {
    const double n = static_cast<double>((end - begin) * length);
    const auto sums_around = [&](Pack center) {
      return VectorBlock<T>::template sums<2>(begin, end, offset, length, [&](Index i) {
        return [x = block.x(i), center](Index at) {
          const Pack d = Pack::load(x + at) - center;
          return std::array{d, d * d};
        };
      });
    };
    std::array<T, width> centers;
    if (count == 0) {
      const auto sum = VectorBlock<T>::template sums<1>(begin, end, offset, length, [&](Index i) {
        return [x = block.x(i)](Index at) { return std::array{Pack::load(x + at)}; };
      })[0];
      for (std::size_t l = 0; l < width; ++l) mean[l] = static_cast<double>(sum[static_cast<Index>(l)]) / n;
    }
    for (std::size_t l = 0; l < width; ++l) centers[l] = static_cast<T>(mean[l]);
    const auto sums = sums_around(Pack::load(centers.data()));
    count += n;
    for (std::size_t l = 0; l < width; ++l) {
      const double sum = static_cast<double>(sums[0][static_cast<Index>(l)]), rest = sum / n;
      const double delta = static_cast<double>(centers[l]) + rest - mean[l];
      squares[l] +=
          static_cast<double>(sums[1][static_cast<Index>(l)]) - sum * rest + delta * delta * n * (count - n) / count;
      mean[l] += delta * n / count;
    }
  });
  // Not std::max, which would turn a NaN into 0.
  for (Index l = 0; l < block.channels(); ++l) {
    const double square = squares[static_cast<std::size_t>(l)];
    f(block.first() + l, mean[static_cast<std::size_t>(l)], square < 0 ? 0 : square / count);
  }
}

/// A ChannelMap's values for a block.
template <class F, class T>
Normalization<T, F> normalization(const VectorBlock<T>& block, const ChannelMap<T>& map) {
  return {block.parameter(map.mean), block.parameter(map.scale), block.parameter(map.shift)};
}

template <class F, class T, class Moments>
void blocked_batch_norm(const ChannelShape& s, const ChannelParts<T>& x, const ChannelMap<T>& map,
                        const Moments& moments, T* y) {
  VectorBlock<T>::for_each(s, x, [&](const VectorBlock<T>& block) {
    if (moments) known_moments(block, moments);
    if (!y) return;
    block.map([&](Index i) { return block.of(y, i); },
              [&, n = normalization<F>(block, map)](Index i) {
                return [n, from = block.x(i)](Index at) { return n.value(simd::Pack<T>::load(from + at)); };
              });
  });
}

template <class F, class T, class Sums>
void blocked_batch_norm_backward(const ChannelShape& s, const ChannelParts<T>& parts, const T* gradient,
                                 const ChannelMap<T>& map, const Sums& sums, const T* slope, const T* offset) {
  using Block = VectorBlock<T>;
  using Pack = simd::Pack<T>;
  Block::for_each(s, parts, [&](const Block& block) {
    const auto n = normalization<F>(block, map);
    std::array<typename Block::Values, 2> totals{};
    if (sums)
      block.for_each_piece([&](Index begin, Index end, Index from, Index length) {
        const auto part = Block::template sums<2>(begin, end, from, length, [&](Index i) {
          return [n, x = block.x(i), dy = block.of(gradient, i)](Index at) {
            const Pack v = Pack::load(x + at), g = n.gradient(v, Pack::load(dy + at));
            return std::array{g, rounded(g * (v - n.mean))};
          };
        });
        for (std::size_t k = 0; k < 2; ++k)
          for (std::size_t l = 0; l < totals[k].size(); ++l)
            totals[k][l] += static_cast<double>(part[k][static_cast<Index>(l)]);
      });
    for (Index l = 0; sums && l < block.channels(); ++l)
      sums(block.first() + l, totals[0][static_cast<std::size_t>(l)], totals[1][static_cast<std::size_t>(l)]);
    if (!block.wants_dx()) return;
    const auto write = [&](auto add) {
      block.map([&](Index i) { return block.dx(i); },
                [&, tilt = block.parameter(slope), rest = block.parameter(offset)](Index i) {
                  return [n, tilt, rest, x = block.x(i), dy = block.of(gradient, i), add = add(i)](Index at) {
                    const Pack v = Pack::load(x + at), g = n.gradient(v, Pack::load(dy + at));
                    return add(at, multiply_add(g, n.scale, -multiply_add(v - n.mean, tilt, rest)));
                  };
                });
    };
    if (block.adds())
      write([&](Index i) {
        return [before = block.sum(i)](Index at, Pack own) { return Pack::load(before + at) + own; };
      });
    else
      write([](Index) { return [](Index, Pack own) { return own; }; });
  });
}

}  // namespace detail

namespace detail {

/// The mean of some values, as rounded and what that misses, and their biased variance.
template <class T>
struct RowMoments {
  T center, rest, variance;
};
template <class T>
RowMoments<T> row_moments(Index n, const T* row) {
  const auto count = static_cast<T>(n);
  const T center = simd::sum(sum_run<1, T>(n, [=](auto load) { return std::array{load(row)}; })[0]) / count;
  const auto sums = sum_run<2, T>(n, [=](auto load) {
    const auto d = load(row) - simd::Pack<T>(center);
    return std::array{d, d * d};
  });
  const T rest = simd::sum(sums[0]) / count;
  const T variance = simd::sum(sums[1]) / count - rest * rest;
  return {center, rest, variance < T(0) ? T(0) : variance};
}
/// As if their mean were 0.
template <class T>
RowMoments<T> row_square(Index n, const T* row) {
  const auto square = [=](auto load) { return std::array{load(row) * load(row)}; };
  return {T(0), T(0), simd::sum(sum_run<1, T>(n, square)[0]) / static_cast<T>(n)};
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y = map(x), sample by sample; the samples of y lie y_stride apart. y may be x.
template <class T>
void normalize_channels(const ChannelShape& s, const T* x, const ChannelMap<T>& map, T* y, Index y_stride) {
  detail::with_clamp(map.clamp, [&]<class F>(F) { detail::normalize_channels<F>(s, x, map, y, y_stride); });
}

/// moments(c, mean, biased variance) for every channel c of x, as in a two-pass computation; then y = map(x), where
/// moments has written the map's values for c. A channel is read from memory once, if it fits into the cache. Channels
/// run in parallel; y may be x. With a null y the moments are all, with an empty `moments` the map is. What the parts
/// know of their moments is taken from there.
template <class T>
void batch_norm(const ChannelShape& s, const ChannelParts<T>& x, const ChannelMap<T>& map,
                const std::function<void(Index, double, double)>& moments, T* y) {
  detail::with_clamp(map.clamp, [&]<class F>(F) {
    s.blocked ? detail::blocked_batch_norm<F>(s, x, map, moments, y) : detail::batch_norm<F>(s, x, map, moments, y);
  });
}

/// The backward of batch_norm, with g = dy f'(...): sums(c, sum g, sum g (x - mean)) for every channel c, then, into
/// those parts' dx that are not null, dx = g * scale - (x - mean) * slope - offset, where sums has written slope and
/// offset [channels] for c, plus the part's `sum`. dx may be dy, if there is one part, or x. Empty `sums`: slope and
/// offset are there already.
template <class T>
void batch_norm_backward(const ChannelShape& s, const ChannelParts<T>& parts, const T* gradient,
                         const ChannelMap<T>& map, const std::function<void(Index, double, double)>& sums,
                         const T* slope, const T* offset) {
  detail::with_clamp(map.clamp, [&]<class F>(F) {
    s.blocked ? detail::blocked_batch_norm_backward<F>(s, parts, gradient, map, sums, slope, offset)
              : detail::batch_norm_backward<F>(s, parts, gradient, map, sums, slope, offset);
  });
}

/// Every row of x [rows, n] to mean 0 and variance 1, then weight * . + bias (each [n], or null for 1 and 0); y may
/// be x. With `mean` and `inverse_deviation` [rows], they get each row's moments. Not `centered`: the mean is taken for
/// 0.
template <bool centered = true, class T>
void normalize_rows(Index rows, Index n, T epsilon, const T* x, const T* weight, const T* bias, T* y, T* mean,
                    T* inverse_deviation) {
  parallel_for(0, rows, std::max<Index>(1, (1 << 14) / n), [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const T* const row = x + r * n;
      const auto [center, rest, variance] = centered ? detail::row_moments(n, row) : detail::row_square(n, row);
      const T factor = T(1) / std::sqrt(variance + epsilon);
      map_run(n, y + r * n, [=, high = center, low = rest](auto load) {
        auto v = (load(row) - simd::Pack<T>(high) - simd::Pack<T>(low)) * simd::Pack<T>(factor);
        if (weight) v *= load(weight);
        if (bias) v += load(bias);
        return v;
      });
      if (mean) {
        mean[r] = center + rest;
        inverse_deviation[r] = factor;
      }
    }
  });
}

/// The backward of normalize_rows: dx (unless null; may be dy) and, added, weight_grad and bias_grad (unless null).
template <bool centered = true, class T>
void normalize_rows_backward(Index rows, Index n, const T* x, const T* dy, const T* weight, const T* mean,
                             const T* inverse_deviation, T* dx, T* weight_grad, T* bias_grad) {
  // Parameter gradients are summed in pieces of rows, and the pieces in order.
  const Index grain = std::max<Index>({1, (1 << 14) / n, (rows + 63) / 64});
  const Index pieces = (rows + grain - 1) / grain;
  Tensor<T> parts(Shape{weight_grad || bias_grad ? pieces : 0, 2, n});
  T* const all_parts = parts.data();
  parallel_for(0, rows, grain, [&](Index first, Index last) {
    T* const weight_part = all_parts + first / grain * 2 * n;
    T* const bias_part = weight_part + n;
    if (all_parts) std::fill_n(weight_part, 2 * n, T(0));
    for (Index r = first; r < last; ++r) {
      const T* const row = x + r * n;
      const T* const grad = dy + r * n;
      const simd::Pack<T> center(mean[r]), factor(inverse_deviation[r]);
      const auto normalized = [&](auto load) { return (load(row) - center) * factor; };
      if (weight_grad)
        map_run(n, weight_part, [&](auto load) { return load(weight_part) + load(grad) * normalized(load); });
      if (bias_grad) map_run(n, bias_part, [&](auto load) { return load(bias_part) + load(grad); });
      if (!dx) continue;
      const auto scaled = [&](auto load) { return weight ? load(grad) * load(weight) : load(grad); };
      const auto sums = sum_run<2, T>(n, [&](auto load) {
        const auto g = scaled(load);
        return std::array{g, g * normalized(load)};
      });
      const simd::Pack<T> offset(centered ? simd::sum(sums[0]) / static_cast<T>(n) : T(0));
      const simd::Pack<T> slope(simd::sum(sums[1]) / static_cast<T>(n));
      map_run(n, dx + r * n, [&](auto load) { return (scaled(load) - offset - normalized(load) * slope) * factor; });
    }
  });
  for (Index piece = 0; piece < pieces && all_parts; ++piece) {
    const T* const part = all_parts + piece * 2 * n;
    if (weight_grad) map_run(n, weight_grad, [&](auto load) { return load(weight_grad) + load(part); });
    if (bias_grad) map_run(n, bias_grad, [&](auto load) { return load(bias_grad) + load(part + n); });
  }
}

/// The same over groups of neighbouring channels of x [samples, channels, length], each group of a sample for itself:
/// to mean 0 and variance 1, then weight * . + bias, which have a value for each channel or are null. With `mean` and
/// `inverse_deviation` [samples, groups], they get the groups' moments.
template <class T>
void normalize_groups(const ChannelShape& s, Index groups, T epsilon, const T* x, const T* weight, const T* bias, T* y,
                      T* mean, T* inverse_deviation) {
  const Index channels = s.channels / groups, n = channels * s.length;
  if (s.samples * n == 0) return;
  const Index runs = weight || bias ? channels : 1, length = n / runs;
  parallel_for(0, s.samples * groups, std::max<Index>(1, (1 << 14) / n), [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const auto [center, rest, variance] = detail::row_moments(n, x + r * n);
      const T factor = T(1) / std::sqrt(variance + epsilon);
      for (Index k = 0; k < runs; ++k) {
        const Index c = r % groups * channels + k;
        const simd::Pack<T> scale(weight ? weight[c] * factor : factor), shift(bias ? bias[c] : T(0));
        const simd::Pack<T> high(center), low(rest);
        map_run(length, y + r * n + k * length, [=, in = x + r * n + k * length](auto load) {
          return multiply_add(load(in) - high - low, scale, shift);
        });
      }
      if (mean) {
        mean[r] = center + rest;
        inverse_deviation[r] = factor;
      }
    }
  });
}

/// The backward of normalize_groups: dx (unless null; may be dy) and, added, weight_grad and bias_grad (unless null).
/// `own`: the moments are those of x, and not numbers that came from elsewhere.
template <class T>
void normalize_groups_backward(const ChannelShape& s, Index groups, const T* x, const T* dy, const T* weight,
                               const T* mean, const T* inverse_deviation, bool own, T* dx, T* weight_grad,
                               T* bias_grad) {
  const Index channels = s.channels / groups, n = channels * s.length;
  if (s.samples * n == 0) return;
  Tensor<T> parts(Shape{s.samples, s.channels, 2});  // of every sample's channel: the sums of dy, and of dy normalized
  T* const all_parts = parts.data();
  parallel_for(0, s.samples * groups, std::max<Index>(1, (1 << 14) / n), [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const simd::Pack<T> center(mean[r]), factor(inverse_deviation[r]);
      const auto scale_of = [&](Index k) { return weight ? weight[r % groups * channels + k] : T(1); };
      double offset = 0, slope = 0;
      for (Index k = 0; k < channels; ++k) {
        const T *const in = x + r * n + k * s.length, *const gradient = dy + r * n + k * s.length;
        const auto sums = sum_run<2, T>(s.length, [=](auto load) {
          const auto g = load(gradient);
          return std::array{g, g * ((load(in) - center) * factor)};
        });
        T* const part = all_parts + (r * channels + k) * 2;
        for (std::size_t i = 0; i < 2; ++i) part[i] = simd::sum(sums[i]);
        offset += static_cast<double>(scale_of(k)) * static_cast<double>(part[0]);
        slope += static_cast<double>(scale_of(k)) * static_cast<double>(part[1]);
      }
      if (!dx) continue;
      const double share = own ? 1 / static_cast<double>(n) : 0;
      const simd::Pack<T> shift(static_cast<T>(offset * share)), tilt(static_cast<T>(slope * share));
      for (Index k = 0; k < channels; ++k) {
        const T *const in = x + r * n + k * s.length, *const gradient = dy + r * n + k * s.length;
        map_run(s.length, dx + r * n + k * s.length, [=, scale = simd::Pack<T>(scale_of(k))](auto load) {
          return (load(gradient) * scale - shift - (load(in) - center) * factor * tilt) * factor;
        });
      }
    }
  });
  for (Index i = 0; i < s.samples; ++i)
    for (Index c = 0; c < s.channels; ++c) {
      const T* const part = all_parts + (i * s.channels + c) * 2;
      if (bias_grad) bias_grad[c] += part[0];
      if (weight_grad) weight_grad[c] += part[1];
    }
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
