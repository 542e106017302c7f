#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/finish.hpp"

/// The register tile of planned inference: rows (pixels) times two vectors of output channels, finished as it is
/// stored. The same tile serves pointwise, direct and Winograd convolutions and linear layers.
namespace lamina::kernels {

/// The upper half of a float: 8 bits of fraction. Storage of weights only; arithmetic is in float.
struct BFloat16 {
  std::uint16_t bits;  ///< sign, exponent and 7 bits of fraction

  /// The nearest one, ties to even; a NaN stays one.
  static BFloat16 from(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((word >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16)};
  }
  /// As a float, exactly.
  float value() const {
    const std::uint32_t word = std::uint32_t{bits} << 16;
    float result;
    std::memcpy(&result, &word, sizeof result);
    return result;
  }
};

}  // namespace lamina::kernels

namespace lamina::kernels::inline LAMINA_ISA {

/// A vector of weights, as T.
template <class T>
simd::Pack<T> load_weights(const T* p) {
  return simd::Pack<T>::load(p);
}
/// Widened to float.
inline simd::Pack<float> load_weights(const BFloat16* p) {
  typedef std::uint16_t Narrow __attribute__((vector_size(simd::vector_bytes / 2)));
  typedef std::uint32_t Wide __attribute__((vector_size(simd::vector_bytes)));
  Narrow narrow;
  std::memcpy(&narrow, p, sizeof narrow);
  return (simd::Pack<float>::Native)(__builtin_convertvector(narrow, Wide) << 16);
}

/// The sums of a product: row i of c is the sum over d < depth and k < lanes (for the last `tail` of the d: tail_lanes)
/// of a[rows[i] + offsets[d] + k] times the next weights, Columns vectors at a time.
struct TileShape {
  /// See above.
  /// @{
  Index depth, lanes, tail, tail_lanes;
  /// @}
  const Index* offsets;  ///< of a, one for each d
  /// Of c and of the residual, from row to row and from vector to vector.
  /// @{
  Index c_row, c_column;
  /// @}
};

/// Where a product begins and ends: `from` holds sums to go on from; without it they begin with the bias, if there is
/// one. With finish null sums are stored as they are.
template <class T>
struct TileEnds {
  const T* from = nullptr;            ///< sums to go on from, or null
  const T* bias = nullptr;            ///< or null
  const Finish<T>* finish = nullptr;  ///< or null
  const T* residual = nullptr;        ///< of these rows, or null
  const void* next = nullptr;         ///< the weights of the product behind this one; null: they lie behind these
};

/// Bytes that come from memory together.
inline constexpr Index memory_line = 64;

/// `tiles` tiles, one below the other. On the way `share` lines of memory from `next` on are asked for at each d.
template <class T, class Weight, int Rows, int Columns>
void finished_tiles(const TileShape& s, Index tiles, const Index* rows, const T* a, const Weight* weights, T* c,
                    const TileEnds<T>& ends, const char* next, Index share) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index c_row = s.c_row, c_column = s.c_column;
  const T* from = ends.from;
  const T* residual = ends.residual;
  for (; tiles > 0; --tiles, rows += Rows, c += Rows * c_row) {
    simd::Registers<const T*, Rows> left;
    LAMINA_UNROLL(i, Rows) left[i] = a + rows[i];
    simd::Registers<Pack, Rows * Columns> sums;
    if (from) {
      LAMINA_UNROLL(i, Rows)
        LAMINA_UNROLL(j, Columns) sums[i * Columns + j] = Pack::load(from + i * c_row + j * c_column);
      from += Rows * c_row;
    } else {
      LAMINA_UNROLL(j, Columns) {
        const Pack first = ends.bias ? Pack::load(ends.bias + j * width) : Pack(T(0));
        LAMINA_UNROLL(i, Rows) sums[i * Columns + j] = first;
      }
    }
    const Weight* b = weights;
    // The next tile's rows, which lie in as many places as there are offsets, are asked for one tile ahead.
    const T* const ahead = tiles > 1 ? a + rows[Rows] : a + rows[0];
    const auto add = [&](Index begin, Index end, Index lanes) __attribute__((always_inline)) {
      for (Index d = begin; d < end; ++d) {
        if constexpr (Rows > 2)
          for (Index i = 0; i < Rows * width; i += memory_line / static_cast<Index>(sizeof(T)))
            __builtin_prefetch(ahead + s.offsets[d] + i);
        for (Index i = 0; i < share; ++i, next += memory_line) __builtin_prefetch(next, 0, 2);
        for (Index k = s.offsets[d], last = k + lanes; k < last; ++k, b += Columns * width) {
          // A single row waits for memory: its weights are asked for well before.
          if constexpr (Rows == 1) __builtin_prefetch(b + 32 * Columns * width);
          simd::Registers<Pack, Columns> right;
          LAMINA_UNROLL(j, Columns) right[j] = load_weights(b + j * width);
          LAMINA_UNROLL(i, Rows) {
            const Pack factor(left[i][k]);
            LAMINA_UNROLL(j, Columns) sums[i * Columns + j] = multiply_add(factor, right[j], sums[i * Columns + j]);
          }
        }
      }
    };
    add(0, s.depth - s.tail, s.lanes);
    if (s.tail > 0) add(s.depth - s.tail, s.depth, s.tail_lanes);
    if (ends.finish) {
      if (residual) {
        LAMINA_UNROLL(i, Rows)
          LAMINA_UNROLL(j, Columns) sums[i * Columns + j] += Pack::load(residual + i * c_row + j * c_column);
        residual += Rows * c_row;
      }
      const Pack lowest(ends.finish->lowest), highest(ends.finish->highest);
      LAMINA_UNROLL(i, Rows * Columns) sums[i] = min(max(sums[i], lowest), highest);
    }
    LAMINA_UNROLL(i, Rows)
      LAMINA_UNROLL(j, Columns) sums[i * Columns + j].store(c + i * c_row + j * c_column);
  }
}

/// One row for Streams pairs of vectors of outputs, whose weights lie `apart` from each other: it is memory that takes
/// the time, and several places are read faster together than one after the other (27 against 17 GB/s on one core). The
/// sums are those of finished_tiles, in its order.
template <class T, class Weight, int Streams>
void finished_row(Index depth, const T* a, const Weight* weights, Index apart, T* c, const TileEnds<T>& ends) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  simd::Registers<Pack, 2 * Streams> sums;
  LAMINA_UNROLL(i, 2 * Streams) sums[i] = ends.bias ? Pack::load(ends.bias + i * width) : Pack(T(0));
  for (Index k = 0; k < depth; ++k, weights += 2 * width) {
    const Pack factor(a[k]);
    LAMINA_UNROLL(i, 2 * Streams)
      sums[i] = multiply_add(factor, load_weights(weights + i / 2 * apart + i % 2 * width), sums[i]);
  }
  const Pack lowest(ends.finish->lowest), highest(ends.finish->highest);
  LAMINA_UNROLL(i, 2 * Streams) {
    if (ends.residual) sums[i] += Pack::load(ends.residual + i * width);
    min(max(sums[i], lowest), highest).store(c + i * width);
  }
}

/// Rows of the tallest tile.
inline constexpr Index tallest_tile = simd::registers == 32 ? 12 : 6;

/// Any number of rows, cut into tiles whose heights differ by one at most; one or two columns of vectors. Row i of a
/// begins at a + rows[i]. On the way the weights of the next product are asked for: most products are of few rows, and
/// it is memory that they would wait for.
template <class T, class Weight>
void finished_product(const TileShape& s, Index count, Index columns, const Index* rows, const T* a, const Weight* b,
                      T* c, TileEnds<T> ends) {
  using Tiles = void (*)(const TileShape&, Index, const Index*, const T*, const Weight*, T*, const TileEnds<T>&,
                         const char*, Index);
  static constexpr auto kernels = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<Tiles, sizeof...(I)>{&finished_tiles<T, Weight, I / 2 + 1, I % 2 + 1>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(2 * tallest_tile)>{});
  const Index parts = parts_of(count, tallest_tile), low = parts > 0 ? count / parts : 0;
  const Index high_tiles = count - low * parts;
  const Index depth = (s.depth - s.tail) * s.lanes + s.tail * s.tail_lanes,
              row_bytes = columns * simd::width<T> * static_cast<Index>(sizeof(Weight));
  const char* next = static_cast<const char*>(ends.next ? ends.next : b + depth * columns * simd::width<T>);
  const Index share = low >= 2 && parts < 16 ? parts_of(s.lanes * row_bytes, parts * memory_line) : 0;
  for (const Index height : {low + 1, low}) {
    const Index tiles = height > low ? high_tiles : parts - high_tiles, done = tiles * height;
    if (done == 0) continue;
    kernels[static_cast<std::size_t>(2 * height + columns - 3)](s, tiles, rows, a, b, c, ends, next, share);
    next += tiles * s.depth * share * memory_line;
    rows += done;
    c += done * s.c_row;
    if (ends.from) ends.from += done * s.c_row;
    if (ends.residual) ends.residual += done * s.c_row;
  }
}

}  // namespace lamina::kernels::inline LAMINA_ISA
