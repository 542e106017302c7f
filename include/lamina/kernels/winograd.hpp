#pragma once

#include <array>
#include <vector>

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/run.hpp"

/// Winograd's convolution, stride and dilation 1: F(M x M, R x R) makes M x M outputs from N x N inputs, N = M + R - 1,
/// with N^2 multiplications for each pair of channels in place of M^2 R^2. (Winograd 1980; Lavin and Gray, "Fast
/// Algorithms for Convolutional Neural Networks", 2016.)
///
/// With x a tile, g a filter and y the outputs: y = A' [(G g G') . (B' x B)] A, summed over the channels between the
/// transforms, so that the products are N^2 matrix products. The matrices come from evaluating polynomials at N - 1
/// points and infinity (Toom-Cook): for N = 4 at 0, 1, -1; for N = 6 at 0, +-sqrt(1/2), +-sqrt(2), whose rounding error
/// is about half of that of the usual 0, +-1, +-2 (compare Barabasz et al., "Error Analysis and Improving the Accuracy
/// of Winograd Convolution", 2020). The gradient of the weight is the transposed algorithm with respect to g.
///
/// An infinite input makes the outputs of its tile NaN where the direct sum may be infinite.
namespace lamina::kernels::inline LAMINA_ISA {

/// The transforms of F(M, R) in one dimension, on vectors of independent values.
template <class T, int M, int R>
struct WinogradTransform {
  static constexpr int N = M + R - 1;  ///< side of a tile of inputs
  static_assert(N == 4 || N == 6);
  using Pack = simd::Pack<T>;  ///< independent values
  /// Values along one dimension.
  template <int Size>
  using Values = simd::Registers<Pack, Size>;

  static constexpr int pairs = N / 2 - 1;  ///< of points that differ in their sign
  /// The points of pair i are +-point(i, 1); their powers; and N_i, the derivative of prod (x - point) there.
  static constexpr T point(int i, int power) {
    const T square = N == 4 ? T(1) : i == 0 ? T(0.5) : T(2);
    T value = power % 2 == 0 || N == 4 ? T(1) : i == 0 ? T(0.70710678118654752440) : T(1.41421356237309504880);
    for (int k = 1; k < power; k += 2) value *= square;
    return value;
  }
  /// 1 / N_i.
  static constexpr T scale(int i) { return T(1) / (N == 4 ? T(2) : i == 0 ? T(-1.5) : T(6)); }

  /// B' d.
  [[gnu::always_inline]] static Values<N> input(const Values<N>& d) {
    if constexpr (N == 4) {
      return {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]};
    } else {
      const Pack even0 = multiply_add(d[2], T(-2), d[4]), odd0 = multiply_add(d[1], T(-2), d[3]);
      const Pack even1 = multiply_add(d[2], T(-0.5), d[4]), odd1 = multiply_add(d[1], T(-0.5), d[3]);
      return {multiply_add(d[2], T(-2.5), d[0] + d[4]), multiply_add(odd0, point(0, 1), even0),
              multiply_add(odd0, -point(0, 1), even0),  multiply_add(odd1, point(1, 1), even1),
              multiply_add(odd1, -point(1, 1), even1),  multiply_add(d[3], T(-2.5), d[1] + d[5])};
    }
  }

  /// G g.
  [[gnu::always_inline]] static Values<N> filter(const Values<R>& g) {
    Values<N> u = evaluate(g);
    LAMINA_UNROLL(i, pairs) {
      u[2 * i + 1] *= Pack(scale(i));
      u[2 * i + 2] *= Pack(scale(i));
    }
    return u;
  }
  /// G' u.
  [[gnu::always_inline]] static Values<R> filter_transposed(Values<N> u) {
    LAMINA_UNROLL(i, pairs) {
      u[2 * i + 1] *= Pack(scale(i));
      u[2 * i + 2] *= Pack(scale(i));
    }
    return collect<R>(u);
  }

  /// A' m.
  [[gnu::always_inline]] static Values<M> output(const Values<N>& m) { return collect<M>(m); }
  /// A y.
  [[gnu::always_inline]] static Values<N> output_transposed(const Values<M>& y) { return evaluate(y); }

 private:
  /// The polynomial with these coefficients at all points; at infinity, the leading one.
  template <int Size>
  [[gnu::always_inline]] static Values<N> evaluate(const Values<Size>& c) {
    Values<N> result;
    result[0] = c[0];
    result[N - 1] = c[Size - 1];
    LAMINA_UNROLL(i, pairs) {
      Pack even = c[0], odd = c[1] * Pack(point(i, 1));
      LAMINA_UNROLL(k, Size - 2) {
        Pack& sum = k % 2 == 0 ? even : odd;
        sum = multiply_add(c[k + 2], point(i, k + 2), sum);
      }
      result[2 * i + 1] = even + odd;
      result[2 * i + 2] = even - odd;
    }
    return result;
  }
  /// Its transpose.
  template <int Size>
  [[gnu::always_inline]] static Values<Size> collect(const Values<N>& v) {
    Values<Size> result;
    result[0] = v[0];
    LAMINA_UNROLL(k, Size - 1) result[k + 1] = k + 2 == Size ? v[N - 1] : Pack(T(0));
    LAMINA_UNROLL(i, pairs) {
      const Pack even = v[2 * i + 1] + v[2 * i + 2], odd = v[2 * i + 1] - v[2 * i + 2];
      LAMINA_UNROLL(k, Size) result[k] = multiply_add(k % 2 == 0 ? even : odd, point(i, k), result[k]);
    }
    return result;
  }
};

/// In two dimensions: f on the columns of the In x In values load(i, j), then on the rows; store(i, j, value).
template <class T, int In, int Out, class F, class Load, class Store>
[[gnu::always_inline]] inline void transform_tile(F f, Load load, Store store) {
  using Pack = simd::Pack<T>;
  simd::Registers<Pack, In * Out> half;
  LAMINA_UNROLL(j, In) {
    simd::Registers<Pack, In> column;
    LAMINA_UNROLL(i, In) column[i] = load(i, j);
    const simd::Registers<Pack, Out> result = f(column);
    LAMINA_UNROLL(i, Out) half[i * In + j] = result[i];
  }
  LAMINA_UNROLL(i, Out) {
    simd::Registers<Pack, In> row;
    LAMINA_UNROLL(j, In) row[j] = half[i * In + j];
    const simd::Registers<Pack, Out> result = f(row);
    LAMINA_UNROLL(j, Out) store(i, j, result[j]);
  }
}

/// The tiles of F(M x M, R x R): each transforms one tile of one block of channels. Pixels lie as in blocked.hpp,
/// `pitch` values from row to row; the N^2 products of a tile lie `stride` values apart.
template <class T>
struct WinogradTile {
  /// M, R and N.
  /// @{
  Index outputs, taps, size;  // M, R, N
  /// @}
  void (*input)(const T* pixels, Index pitch, T* products, Index stride);  ///< B' x B
  /// A' m A, of which the first `rows` rows and `columns` columns are stored.
  void (*output)(const T* products, Index stride, T* pixels, Index pitch, Index rows, Index columns);
  void (*gradient)(const T* pixels, Index pitch, T* products, Index stride);  ///< A dy A'
  void (*filter)(const T* taps, bool rotated, T* products, Index stride);  ///< G g G', g turned by half a turn or not
  void (*filter_gradient)(const T* products, Index stride, T* taps);       ///< G' u G
};

/// The transforms of a tile: what WinogradTile points to.
/// @{
template <class T, int N>
[[gnu::flatten]] void winograd_input(const T* pixels, Index pitch, T* products, Index stride) {
  using Pack = simd::Pack<T>;
  transform_tile<T, N, N>(
      WinogradTransform<T, N - 2, 3>::input,  // depends on N only
      [&](int i, int j) { return Pack::load(pixels + i * pitch + j * simd::width<T>); },
      [&](int i, int j, Pack v) { v.store(products + (i * N + j) * stride); });
}
template <class T, int M, int R>
[[gnu::flatten]] void winograd_output(const T* products, Index stride, T* pixels, Index pitch, Index rows,
                                      Index columns) {
  using Pack = simd::Pack<T>;
  using Transform = WinogradTransform<T, M, R>;
  transform_tile<T, Transform::N, M>(
      Transform::output, [&](int i, int j) { return Pack::load(products + (i * Transform::N + j) * stride); },
      [&](int i, int j, Pack v) {
        if (i < rows && j < columns) v.store(pixels + i * pitch + j * simd::width<T>);
      });
}
template <class T, int M, int R>
[[gnu::flatten]] void winograd_gradient(const T* pixels, Index pitch, T* products, Index stride) {
  using Pack = simd::Pack<T>;
  using Transform = WinogradTransform<T, M, R>;
  transform_tile<T, M, Transform::N>(
      Transform::output_transposed, [&](int i, int j) { return Pack::load(pixels + i * pitch + j * simd::width<T>); },
      [&](int i, int j, Pack v) { v.store(products + (i * Transform::N + j) * stride); });
}
template <class T, int M, int R>
[[gnu::flatten]] void winograd_filter(const T* taps, bool rotated, T* products, Index stride) {
  using Pack = simd::Pack<T>;
  using Transform = WinogradTransform<T, M, R>;
  const Index step = rotated ? -simd::width<T> : simd::width<T>;
  if (rotated) taps += (R * R - 1) * simd::width<T>;
  transform_tile<T, R, Transform::N>(
      Transform::filter, [&](int i, int j) { return Pack::load(taps + (i * R + j) * step); },
      [&](int i, int j, Pack v) { v.store(products + (i * Transform::N + j) * stride); });
}
template <class T, int M, int R>
[[gnu::flatten]] void winograd_filter_gradient(const T* products, Index stride, T* taps) {
  using Pack = simd::Pack<T>;
  using Transform = WinogradTransform<T, M, R>;
  transform_tile<T, Transform::N, R>(
      Transform::filter_transposed,
      [&](int i, int j) { return Pack::load(products + (i * Transform::N + j) * stride); },
      [&](int i, int j, Pack v) { v.store(taps + (i * R + j) * simd::width<T>); });
}
/// @}

/// The transforms of F(M x M, R x R).
template <class T, int M, int R>
const WinogradTile<T>& winograd_tile() {
  static constexpr WinogradTile<T> tile{M,
                                        R,
                                        M + R - 1,
                                        &winograd_input<T, M + R - 1>,
                                        &winograd_output<T, M, R>,
                                        &winograd_gradient<T, M, R>,
                                        &winograd_filter<T, M, R>,
                                        &winograd_filter_gradient<T, M, R>};
  return tile;
}

/// F(M x M, R x R) for a stride-1 convolution of some images; all pointers are those of one group of channels, whose
/// samples lie s.c (s.m) channels apart.
template <class T>
class Winograd {
  static constexpr Index width = simd::width<T>;

 public:
  /// y from x: output channel m, input channel c and tap t have their weight at m * c's taps + c * taps + t.
  static Winograd forward(const WinogradTile<T>& tile, const ConvolutionShape& s) {
    return Winograd(tile, s, s.group_c() * s.taps(), s.taps(), false);
  }
  /// dx from dy: the same with C and M exchanged and the filters turned by half a turn.
  static Winograd backward_input(const WinogradTile<T>& tile, const ConvolutionShape& s) {
    return Winograd(tile, transposed(s), s.taps(), s.group_c() * s.taps(), true);
  }

  /// Values that the transformed filters of one group take.
  Index filters_size() const { return parts_of(outputs_, 2) * products_ * filter_stride(2); }

  /// G g G' for all filters of a group.
  void pack_filters(const T* weight, T* filters) const {
    parallel_for(0, outputs_, 1, Scratch<T>{lanes_ * s_.taps() * width}, [&](Index block, Index, T* taps) {
      const Index columns = std::min<Index>(2, outputs_ - block / 2 * 2);
      transform_filters(weight, block, 0, inputs_, filters + block / 2 * products_ * filter_stride(2), columns,
                        filter_stride(columns), taps);
    });
  }

  /// y = x * filters, and a bias [M] unless that is null.
  void run(const T* x, const T* filters, T* y, const T* bias) const {
    if (reads_filters_once()) return run_by_products(x, filters, y, bias);
    const Index tile_rows = rows_in_group(), tiles = tile_rows * tiles_w_;
    const Index in_stride = stride(inputs_, tiles), out_stride = stride(2, tiles);
    const std::vector<Index> offsets = input_offsets(tiles);
    const Index all_rows = s_.n * tiles_h_;
    in_groups<T>(
        parts_of(all_rows, tile_rows), inputs_, parts_of(outputs_, 2), products_ * in_stride,
        std::max(input_scratch(tile_rows), products_ * out_stride + output_scratch()),
        [&](Index group, Index block, T* prepared, T* scratch) {
          const Index first = group * tile_rows, last = std::min(all_rows, first + tile_rows);
          transform_input(x, block, first, last, prepared + block * tiles * width, in_stride, scratch);
        },
        [&](Index group, Index pair, const T* prepared, T* scratch) {
          const Index first = group * tile_rows, last = std::min(all_rows, first + tile_rows);
          const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
          for (Index k = 0; k < products_; ++k)
            multiply(k, pair, tiles_w_ * (last - first), tiles, prepared, in_stride, offsets, filters,
                     scratch + k * out_stride);
          for (Index j = 0; j < columns; ++j)
            transform_output(scratch + j * tiles * width, out_stride, 2 * pair + j, first, last,
                             scratch + products_ * out_stride, y, bias);
        });
  }

  /// Values that run_once() takes beside x and y, without what each thread has for itself.
  Index once_size() const {
    const Index tiles = s_.n * tiles_h_ * tiles_w_, in = products_ * stride(inputs_, tiles);
    if (transforms_where_used()) return in;
    return filters_size() + (reads_filters_once() ? in + products_ * stride(outputs_, tiles) : 0);
  }

  /// The same from the weight, whose transforms are made where they are needed if that is but once: what is made for
  /// some input channels and a pair of output blocks stays in the cache.
  void run_once(const T* x, const T* weight, T* y, const T* bias) const {
    const Index rows = s_.n * tiles_h_, tiles = rows * tiles_w_;
    if (!transforms_where_used()) {
      Tensor<T> filters({filters_size()});
      T* const packed = filters.data();
      pack_filters(weight, packed);
      return run(x, packed, y, bias);
    }
    const Index pairs = parts_of(outputs_, 2), in_stride = stride(inputs_, tiles), out_stride = stride(2, tiles);
    const std::vector<Index> offsets = input_offsets(tiles);
    Tensor<T> memory({products_ * in_stride});
    T* const prepared = memory.data();
    const Workers workers;
    transform_all(workers, x, prepared, in_stride);
    const Index together = std::clamp<Index>(cached / (products_ * lanes_ * 2 * width), 1, inputs_);
    const Index filter = (together * lanes_ * 2 + 1) * width;
    const Index turn = std::clamp<Index>(2 * cached / (products_ * out_stride), 1, parts_of(pairs, workers.count()));
    const Index fixed = products_ * filter + std::max(lanes_ * s_.taps() * width, output_scratch());
    workers.parallel_for(
        0, pairs, turn, Scratch<T>{fixed + turn * products_ * out_stride}, [&](Index begin, Index end, T* scratch) {
          T* const taps = scratch + products_ * filter;
          T* const sums = scratch + fixed;
          for (Index first = 0; first < inputs_; first += together)
            for (Index pair = begin; pair < end; ++pair) {
              const Index last = std::min(inputs_, first + together);
              const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
              for (Index block = 2 * pair; block < 2 * pair + columns; ++block)
                transform_filters(weight, block, first, last, scratch, columns, filter, taps);
              for (Index k = 0; k < products_; ++k)
                block_product(tiles, columns, last - first, lanes_, prepared + k * in_stride + first * tiles * width,
                              width, offsets.data(), scratch + k * filter,
                              sums + ((pair - begin) * products_ + k) * out_stride, width, tiles * width, first > 0);
            }
          for (Index block = 2 * begin; block < std::min(outputs_, 2 * end); ++block)
            transform_output(sums + (block / 2 - begin) * products_ * out_stride + block % 2 * tiles * width,
                             out_stride, block, 0, rows, taps, y, bias);
        });
  }

  /// Values that backward_weight() takes beside its operands, without what each thread has for itself.
  Index gradient_size() const {
    const WeightPlan p = weight_plan();
    return products_ * (p.x_stride + p.dy_stride + p.sum_stride) + outputs_ * width;
  }

  /// With forward()'s geometry: dweight[m, c, t] += the gradient with respect to the filters; dbias[m] (unless null) +=
  /// the sum of dy.
  void backward_weight(const T* x, const T* dy, T* dweight, T* dbias) const {
    const WeightPlan p = weight_plan();
    const bool at_once = p.at_once;
    const Index turn = p.turn, x_stride = p.x_stride, dy_stride = p.dy_stride, sum_stride = p.sum_stride;
    const Index all_rows = s_.n * tiles_h_, tiles = turn * tiles_w_, sum_row = inputs_ * width;
    const Index part_stride = (2 * width + 1) * width;
    const Index scratch_size = std::max({input_scratch(turn), M_ * M_ * tiles_w_ * width, products_ * part_stride});
    const Scratch<T> each{scratch_size};
    Tensor<T> memory({gradient_size()});
    T* const pixels = memory.data();
    T* const gradients = pixels + products_ * x_stride;
    T* const sums = gradients + products_ * dy_stride;
    T* const dy_sums = sums + products_ * sum_stride;
    std::fill_n(dy_sums, outputs_ * width, T(0));
    for (Index first = 0; first < all_rows; first += turn) {
      const Index last = std::min(all_rows, first + turn), count = (last - first) * tiles_w_;
      parallel_for(0, inputs_ + outputs_, 1, each, [&](Index block, Index, T* scratch) {
        if (block < inputs_)
          transform_input(x, block, first, last, pixels + block * tiles * width, x_stride, scratch);
        else
          transform_gradient(dy, block - inputs_, first, last, gradients + (block - inputs_) * tiles * width, dy_stride,
                             scratch, dy_sums + (block - inputs_) * width);
      });
      const Index pairs = parts_of(inputs_, 2);
      const auto sum_products = [&](Index k, Index block, Index pair, T* to, Index to_row) {
        block_outers<T>(1, count, {gradients + k * dy_stride + block * tiles * width, 0, width, 0}, width,
                        {pixels + k * x_stride + 2 * pair * tiles * width, 0, width, tiles * width},
                        std::min<Index>(2, inputs_ - 2 * pair), to, to_row, first > 0);
      };
      if (at_once) {
        parallel_for(0, pairs * outputs_, 1, each, [&](Index task, Index, T* part) {
          const Index pair = task / outputs_, block = task % outputs_;
          for (Index k = 0; k < products_; ++k) sum_products(k, block, pair, part + k * part_stride, 2 * width);
          for (Index m = 0; m < std::min(width, s_.group_m() - block * width); ++m)
            for (Index c = 2 * pair; c < std::min(inputs_, 2 * pair + 2); ++c)
              add_filter_gradient(part + (2 * m + c % 2) * width, part_stride, block * width + m, c, dweight);
        });
      } else {
        parallel_for(0, products_, 1, [&](Index k, Index) {
          for (Index pair = 0; pair < pairs; ++pair)
            for (Index block = 0; block < outputs_; ++block)
              sum_products(k, block, pair, sums + k * sum_stride + block * width * sum_row + 2 * pair * width, sum_row);
        });
      }
    }
    if (!at_once)
      parallel_for(0, s_.group_m(), grain_of(s_.group_c() * products_), [&](Index first, Index last) {
        for (Index m = first; m < last; ++m)
          for (Index block = 0; block < inputs_; ++block)
            add_filter_gradient(sums + m * sum_row + block * width, sum_stride, m, block, dweight);
      });
    if (dbias)
      for (Index m = 0; m < s_.group_m(); ++m) dbias[m] += dy_sums[m];
  }

 private:
  using Pack = simd::Pack<T>;

  Winograd(const WinogradTile<T>& tile, const ConvolutionShape& s, Index m_stride, Index c_stride, bool rotated)
      : tile_(tile),
        M_(tile.outputs),
        R_(tile.taps),
        products_(tile.size * tile.size),
        s_(s),
        inputs_(blocks_of<T>(s.group_c())),
        lanes_(s.blocked_x ? width : lanes_of<T>(s.group_c())),
        outputs_(blocks_of<T>(s.group_m())),
        tiles_h_(parts_of(s.oh(), tile.outputs)),
        tiles_w_(parts_of(s.ow(), tile.outputs)),
        m_stride_(m_stride),
        c_stride_(c_stride),
        rotated_(rotated) {}

  /// How backward_weight() goes about: rows of tiles in a turn, and the distances between the N^2 parts of what is
  /// transformed and of the sums. With few tiles the sums are larger than what is summed: each part is then carried
  /// through to the end, at once.
  struct WeightPlan {
    Index turn;
    bool at_once;
    Index x_stride, dy_stride, sum_stride;
  };
  WeightPlan weight_plan() const {
    const Index all_rows = s_.n * tiles_h_;
    const Index turn = std::clamp<Index>(transformed_tiles / tiles_w_, 1, all_rows), tiles = turn * tiles_w_;
    const bool at_once = turn == all_rows && tiles <= few_tiles;
    return {turn, at_once, stride(inputs_, tiles), stride(outputs_, tiles),
            at_once ? 0 : (outputs_ * inputs_ * width + 1) * width};
  }

  /// Whether the transforms of the filters take so many times the memory of those of all tiles.
  bool filters_outweigh(Index times) const {
    return times * s_.n * tiles_h_ * tiles_w_ * (inputs_ + outputs_) <= inputs_ * outputs_ * width;
  }
  /// They should then be read once;
  bool reads_filters_once() const { return filters_outweigh(1); }
  /// and run_once() makes them where it needs them.
  bool transforms_where_used() const { return filters_outweigh(4); }
  /// run() with each of the N^2 products for all tiles and channels before the next.
  void run_by_products(const T* x, const T* filters, T* y, const T* bias) const {
    const Index rows = s_.n * tiles_h_, tiles = rows * tiles_w_, pairs = parts_of(outputs_, 2);
    const Index in_stride = stride(inputs_, tiles), out_stride = stride(outputs_, tiles);
    const std::vector<Index> offsets = input_offsets(tiles);
    Tensor<T> memory({products_ * (in_stride + out_stride)});
    T* const prepared = memory.data();
    T* const sums = prepared + products_ * in_stride;
    const Workers workers;
    transform_all(workers, x, prepared, in_stride);
    workers.parallel_for(0, products_, 1, [&](Index k, Index) {
      for (Index pair = 0; pair < pairs; ++pair)
        multiply(k, pair, tiles, tiles, prepared, in_stride, offsets, filters,
                 sums + k * out_stride + 2 * pair * tiles * width);
    });
    workers.parallel_for(0, outputs_, 1, Scratch<T>{output_scratch()}, [&](Index block, Index, T* scratch) {
      transform_output(sums + block * tiles * width, out_stride, block, 0, rows, scratch, y, bias);
    });
  }
  /// The inputs of all tiles.
  void transform_all(const Workers& workers, const T* x, T* prepared, Index in_stride) const {
    const Index rows = s_.n * tiles_h_, plane = rows * tiles_w_ * width;
    workers.parallel_for(0, inputs_, 1, Scratch<T>{input_scratch(rows)}, [&](Index block, Index, T* scratch) {
      transform_input(x, block, 0, rows, prepared + block * plane, in_stride, scratch);
    });
  }
  /// G g G' of the filters from input blocks first..last-1 to an output block, of which `to` has `columns` side by
  /// side.
  void transform_filters(const T* weight, Index block, Index first, Index last, T* to, Index columns, Index stride,
                         T* taps) const {
    // A block of input channels is sorted at once, where they lie one behind the other.
    const Index together = c_stride_ == s_.taps() ? lanes_ : 1, size = s_.taps() * width;
    const Index lanes = std::min(width, s_.group_m() - block * width);
    to += block % 2 * width;
    for (Index c = first * lanes_; c < last * lanes_; c += together) {
      const Index count = std::clamp<Index>(s_.group_c() - c, 0, together);
      const T* const from = weight + block * width * m_stride_ + c * c_stride_;
      for (Index i = 0; together == 1 && i < lanes * s_.taps(); i += width)
        __builtin_prefetch(from + 4 * c_stride_ + i);
      interleave(from, m_stride_, lanes, 1, count * s_.taps(), taps, count * s_.taps());
      std::fill(taps + count * size, taps + together * size, T(0));
      for (Index i = 0; i < together; ++i, to += columns * width) tile_.filter(taps + i * size, rotated_, to, stride);
    }
  }
  /// Product k of a pair of output blocks, for `count` tiles of memory for `tiles`.
  void multiply(Index k, Index pair, Index count, Index tiles, const T* prepared, Index in_stride,
                const std::vector<Index>& offsets, const T* filters, T* sums) const {
    const Index columns = std::min<Index>(2, outputs_ - 2 * pair);
    block_product(count, columns, inputs_, lanes_, prepared + k * in_stride, width, offsets.data(),
                  filters + pair * products_ * filter_stride(2) + k * filter_stride(columns), sums, width,
                  tiles * width, false);
  }
  /// Where the blocks of transformed inputs begin.
  std::vector<Index> input_offsets(Index tiles) const {
    std::vector<Index> offsets;
    for (Index block = 0; block < inputs_; ++block) offsets.push_back(block * tiles * width);
    return offsets;
  }

  /// Distances between the N^2 parts, kept off powers of two, which would all fall into the same lines of a cache.
  Index filter_stride(Index columns) const { return (inputs_ * lanes_ * columns + 1) * width; }
  static Index stride(Index blocks, Index tiles) { return (blocks * tiles + 1) * width; }

  /// Rows of tiles done together: so many that the filters are read rarely, so few that what they make stays in the
  /// second-level cache.
  Index rows_in_group() const {
    constexpr Index cache = Index{768} << 10;
    const Index each = products_ * (inputs_ + 2) * width * static_cast<Index>(sizeof(T));
    const Index tiles = std::clamp<Index>(cache / each, 24, 96);
    return std::clamp<Index>((tiles + tiles_w_ / 2) / tiles_w_, 1, s_.n * tiles_h_);
  }
  /// Tiles transformed before their products_ are summed, for the gradient of the weight.
  static constexpr Index transformed_tiles = 512, few_tiles = 128;
  /// Values that stay in the second-level cache beside others.
  static constexpr Index cached = (Index{320} << 10) / static_cast<Index>(sizeof(T));

  Index input_scratch(Index tile_rows) const {
    return (std::min(tile_rows, tiles_h_) * M_ + R_ - 1) * (tiles_w_ * M_ + R_ - 1) * width;
  }

  /// Channel c of image n of x, or of y, the first of its block.
  /// @{
  const T* x_at(const T* x, Index n, Index c) const {
    return x + (n * (s_.blocked_x ? inputs_ * width : s_.c) + c) * s_.h * s_.w;
  }
  template <class U>
  U* y_at(U* y, Index n, Index m) const {
    return y + (n * (s_.blocked_y ? outputs_ * width : s_.m) + m) * s_.oh() * s_.ow();
  }
  /// @}

  Index output_scratch() const { return M_ * s_.ow() * width; }

  /// f(sample, first, last) for the tile rows of each image among rows first..last-1 of all images.
  template <class F>
  void for_images(Index first, Index last, F f) const {
    while (first < last) {
      const Index n = first / tiles_h_, end = std::min(last, (n + 1) * tiles_h_);
      f(n, first - n * tiles_h_, end - n * tiles_h_);
      first = end;
    }
  }

  /// B' x B of one block of channels: product k of tile t at to[k * stride + t * L].
  void transform_input(const T* x, Index block, Index first, Index last, T* to, Index stride, T* scratch) const {
    const Index columns = tiles_w_ * M_ + R_ - 1;
    if (s_.blocked_x) return transform_blocks(x, block, first, last, to, stride, scratch);
    for_images(first, last, [&](Index n, Index begin, Index end) {
      interleave_padded(x_at(x, n, block * lanes_), std::min(lanes_, s_.group_c() - block * lanes_), s_.h, s_.w,
                        begin * M_ - s_.top, (end - begin) * M_ + R_ - 1, s_.left, columns, scratch);
      for (Index row = 0; row < end - begin; ++row)
        for (Index tile = 0; tile < tiles_w_; ++tile, to += width) {
          const T* const from = scratch + (row * M_ * columns + tile * M_) * width;
          tile_.input(from, columns * width, to, stride);
        }
    });
  }

  /// The same of x in blocks: tiles that lie inside the image are read where they are.
  void transform_blocks(const T* x, Index block, Index first, Index last, T* to, Index stride, T* scratch) const {
    const Index size = M_ + R_ - 1;
    for_images(first, last, [&](Index n, Index begin, Index end) {
      const T* const image = x_at(x, n, block * width);
      for (Index row = begin; row < end; ++row)
        for (Index tile = 0; tile < tiles_w_; ++tile, to += width) {
          const Index top = row * M_ - s_.top, left = tile * M_ - s_.left;
          if (top >= 0 && left >= 0 && top + size <= s_.h && left + size <= s_.w) {
            tile_.input(image + (top * s_.w + left) * width, s_.w * width, to, stride);
          } else {
            interleave_padded(image, width, s_.h, s_.w, top, size, -left, size, scratch, true);
            tile_.input(scratch, size * width, to, stride);
          }
        }
    });
  }

  /// A' m A of one block of channels, into y.
  void transform_output(const T* from, Index stride, Index block, Index first, Index last, T* scratch, T* y,
                        const T* bias) const {
    const Index out_h = s_.oh(), out_w = s_.ow(), channels = s_.group_m() - block * width;
    const T* const own_bias = bias ? bias + block * width : nullptr;
    for_images(first, last, [&](Index n, Index begin, Index end) {
      T* const image = y_at(y, n, block * width);
      for (Index row = begin; row < end; ++row) {
        const Index rows = std::min<Index>(M_, out_h - row * M_);
        T* const made = s_.blocked_y ? image + row * M_ * out_w * width : scratch;
        for (Index tile = 0; tile < tiles_w_; ++tile, from += width) {
          const Index columns = std::min<Index>(M_, out_w - tile * M_);
          tile_.output(from, stride, made + tile * M_ * width, out_w * width, rows, columns);
        }
        if (!s_.blocked_y)
          deinterleave(scratch, rows * out_w, image + row * M_ * out_w, out_h * out_w, channels, own_bias);
        else if (bias)
          add_bias(made, rows * out_w, channels, own_bias);
      }
    });
  }

  /// A dy A' of one block of channels, like transform_input; adds the sums of dy to sum.
  void transform_gradient(const T* dy, Index block, Index first, Index last, T* to, Index stride, T* scratch,
                          T* sum) const {
    const Index out_h = s_.oh(), out_w = s_.ow(), columns = tiles_w_ * M_;
    for_images(first, last, [&](Index n, Index begin, Index end) {
      Pack total(T(0));
      for (Index row = begin; row < end; ++row) {
        const T* const image = y_at(dy, n, block * width);
        const T* pixels = scratch;
        if (s_.blocked_y && (row + 1) * M_ <= out_h && columns == out_w)
          pixels = image + row * M_ * out_w * width;
        else
          interleave_padded(image, std::min(width, s_.group_m() - block * width), out_h, out_w, row * M_, M_, 0,
                            columns, scratch, s_.blocked_y);
        total += sum_of_block(pixels, M_ * columns);
        for (Index tile = 0; tile < tiles_w_; ++tile, to += width)
          tile_.gradient(pixels + tile * M_ * width, columns * width, to, stride);
      }
      (Pack::load(sum) + total).store(sum);
    });
  }

  /// dweight += G' sums G for output channel m and a block of input channels.
  void add_filter_gradient(const T* sums, Index stride, Index m, Index block, T* dweight) const {
    std::array<T, static_cast<std::size_t>(25 * width)> taps, rows;  // of at most 5 x 5 taps
    tile_.filter_gradient(sums, stride, taps.data());
    const Index count = std::min(lanes_, s_.group_c() - block * lanes_);
    deinterleave(taps.data(), R_ * R_, rows.data(), R_ * R_, count);
    T* const to = dweight + (m * s_.group_c() + block * lanes_) * R_ * R_;
    map_run(count * R_ * R_, to, [&](auto load) { return load(to) + load(rows.data()); });
  }

  const WinogradTile<T>& tile_;
  Index M_, R_, products_;
  ConvolutionShape s_;
  Index inputs_, lanes_;  // blocks of input channels, and how many they have
  Index outputs_;         // blocks of output channels
  Index tiles_h_, tiles_w_;
  Index m_stride_, c_stride_;  // of the weight
  bool rotated_;
};

}  // namespace lamina::kernels::inline LAMINA_ISA
