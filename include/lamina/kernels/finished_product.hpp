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
  std::uint16_t bits;

  /// The nearest one, ties to even; a NaN stays one.
  static BFloat16 from(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((word >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16)};
  }
  float value() const {
    const std::uint32_t word = std::uint32_t{bits} << 16;
    float result;
    std::memcpy(&result, &word, sizeof result);
    return result;
  }
};

/// A vector of weights, as T.
template <class T>
simd::Pack<T> load_weights(const T* p) {
  return simd::Pack<T>::load(p);
}
inline simd::Pack<float> load_weights(const BFloat16* p) {
  typedef std::uint16_t Narrow __attribute__((vector_size(simd::vector_bytes / 2)));
  typedef std::uint32_t Wide __attribute__((vector_size(simd::vector_bytes)));
  Narrow narrow;
  std::memcpy(&narrow, p, sizeof narrow);
  return (simd::Pack<float>::Native)(__builtin_convertvector(narrow, Wide) << 16);
}

/// The sums of a product: over d < depth and k < lanes (for the last `tail` of the d: tail_lanes) of
/// a[offsets[d] + i a_row + k] times the next weights, Columns vectors at a time.
struct TileShape {
  Index depth, lanes, tail, tail_lanes;
  const Index* offsets;
  Index a_row;            // from row to row of a
  Index c_row, c_column;  // of c and of the residual, from row to row and from vector to vector
};

/// Where a tile begins and ends: `from` holds sums to go on from, or is null; with finish null sums are stored as they
/// are. bias and residual are those of the tile.
template <class T>
struct TileEnds {
  const T* from = nullptr;
  const Finish<T>* finish = nullptr;
  const T* bias = nullptr;
  const T* residual = nullptr;
};

template <class T, class Weight, int Rows, int Columns>
void finished_tile(const TileShape& s, const T* a, const Weight* b, T* c, const TileEnds<T>& ends) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index a_row = s.a_row, c_row = s.c_row, c_column = s.c_column;
  std::array<Pack, Rows * Columns> sums;
  if (ends.from)
    simd::unroll<Rows>([&](auto i) {
      simd::unroll<Columns>([&](auto j) { sums[i * Columns + j] = Pack::load(ends.from + i * c_row + j * c_column); });
    });
  else
    sums.fill(Pack(T(0)));
  const auto add = [&](Index begin, Index end, Index lanes) __attribute__((always_inline)) {
    for (Index d = begin; d < end; ++d) {
      const T* row = a + s.offsets[d];
      for (Index k = 0; k < lanes; ++k, ++row, b += Columns * width) {
        std::array<Pack, Columns> right;
        simd::unroll<Columns>([&](auto j) { right[j] = load_weights(b + j * width); });
        simd::unroll<Rows>([&](auto i) {
          const Pack factor(row[i * a_row]);
          simd::unroll<Columns>(
              [&](auto j) { sums[i * Columns + j] = multiply_add(factor, right[j], sums[i * Columns + j]); });
        });
      }
    }
  };
  add(0, s.depth - s.tail, s.lanes);
  add(s.depth - s.tail, s.depth, s.tail_lanes);
  if (ends.finish) {
    simd::unroll<Columns>([&](auto j) {
      if (ends.bias) {
        const Pack bias = Pack::load(ends.bias + j * width);
        simd::unroll<Rows>([&](auto i) { sums[i * Columns + j] += bias; });
      }
      if (ends.residual)
        simd::unroll<Rows>(
            [&](auto i) { sums[i * Columns + j] += Pack::load(ends.residual + i * c_row + j * c_column); });
    });
    const Pack lowest(ends.finish->lowest), highest(ends.finish->highest);
    for (Pack& sum : sums) sum = min(max(sum, lowest), highest);
  }
  simd::unroll<Rows>([&](auto i) {
    simd::unroll<Columns>([&](auto j) { sums[i * Columns + j].store(c + i * c_row + j * c_column); });
  });
}

/// Rows of the tallest tile.
inline constexpr Index tallest_tile = simd::registers == 32 ? 12 : 6;

/// Any number of rows, cut into tiles whose heights differ by one at most; one or two columns of vectors.
template <class T, class Weight>
void finished_product(const TileShape& s, Index rows, Index columns, const T* a, const Weight* b, T* c,
                      TileEnds<T> ends) {
  using Tile = void (*)(const TileShape&, const T*, const Weight*, T*, const TileEnds<T>&);
  static constexpr auto tiles = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<Tile, sizeof...(I)>{&finished_tile<T, Weight, I / 2 + 1, I % 2 + 1>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(2 * tallest_tile)>{});
  for (Index parts = parts_of(rows, tallest_tile); parts > 0; --parts) {
    const Index height = parts_of(rows, parts);
    tiles[static_cast<std::size_t>(2 * height + columns - 3)](s, a, b, c, ends);
    rows -= height;
    a += height * s.a_row;
    c += height * s.c_row;
    if (ends.from) ends.from += height * s.c_row;
    if (ends.residual) ends.residual += height * s.c_row;
  }
}

}  // namespace lamina::kernels
