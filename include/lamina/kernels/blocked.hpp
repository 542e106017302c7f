#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/simd.hpp"

/// Channels in blocks: the channels of a block lie side by side at every pixel, one vector of L = simd::width lanes, so
/// that no image is too narrow for the vectors. A product of a pixel's channels with a filter then multiplies a
/// broadcast input channel with vectors of output channels. What Winograd's algorithm (winograd.hpp) and the direct
/// convolution (direct.hpp) share.
namespace lamina::kernels::inline LAMINA_ISA {

/// Blocks of channels that n channels make.
template <class T>
constexpr Index blocks_of(Index n) {
  return parts_of(n, simd::width<T>);
}

/// Channels in each of the blocks of a product's inputs, where lanes that hold none cost nothing: as equal as can be.
template <class T>
constexpr Index lanes_of(Index n) {
  return parts_of(n, blocks_of<T>(n));
}

/// A block from planes: to[(r * pitch + j) * L + l] = from[l * stride + r * columns + j] for r < rows, j < columns;
/// zero in the lanes l >= channels.
template <class T>
void interleave(const T* from, Index stride, Index channels, Index rows, Index columns, T* to, Index pitch) {
  constexpr Index width = simd::width<T>;
  using Pack = simd::Pack<T>;
  const Index pixels = rows * columns;
  Index column = 0;
  for (Index p = 0; p < pixels; p += width) {
    const Index count = std::min(width, pixels - p);
    simd::Registers<Pack, width> v;
    if (channels >= width && count == width)
      LAMINA_UNROLL(l, width) v[l] = Pack::load(from + l * stride + p);
    else  // without branches, for each of which there would be a transposition of its own
      LAMINA_UNROLL(l, width)
        v[l] = Pack::load(from + std::min<Index>(l, channels - 1) * stride + p, l < channels ? count : 0);
    simd::transpose(v);
    const auto advance = [&](Index by) {
      const bool ends = (column += by) == columns;
      to += (by + (ends ? pitch - columns : 0)) * width;
      column = ends ? 0 : column;
    };
    if (column + width <= columns) {
      LAMINA_UNROLL(i, width) v[i].store(to + i * width);
      advance(width);
    } else {
      LAMINA_UNROLL(i, width) {
        if (i >= count) continue;
        v[i].store(to);
        advance(1);
      }
    }
  }
}

/// A block of channels of an image of h x w pixels with zeros around: rows first_row .. first_row + rows - 1 and
/// columns -left .. columns - left - 1 (left may be negative), of which those outside the image are zero. The image has
/// planes, or is a block.
template <class T>
void interleave_padded(const T* image, Index channels, Index h, Index w, Index first_row, Index rows, Index left,
                       Index columns, T* to, bool blocked = false) {
  constexpr Index width = simd::width<T>;
  const Index above = std::clamp<Index>(-first_row, 0, rows), inside = std::clamp<Index>(h - first_row, above, rows);
  const Index begin = std::clamp<Index>(left, 0, columns), end = std::clamp<Index>(w + left, begin, columns);
  std::fill_n(to, above * columns * width, T(0));
  std::fill_n(to + inside * columns * width, (rows - inside) * columns * width, T(0));
  for (Index r = above; r < inside; ++r) {
    T* const row = to + r * columns * width;
    std::fill_n(row, begin * width, T(0));
    std::fill_n(row + end * width, (columns - end) * width, T(0));
  }
  const Index seen = end - begin;  // columns of the image that are wanted
  const T* const from = image + ((first_row + above) * w + std::max<Index>(0, -left)) * (blocked ? width : 1);
  T* const out = to + (above * columns + begin) * width;
  if (blocked)
    for (Index r = 0; r < inside - above; ++r)
      std::copy_n(from + r * w * width, seen * width, out + r * columns * width);
  else if (seen == w)
    interleave(from, h * w, channels, inside - above, w, out, columns);
  else
    for (Index r = 0; r < inside - above; ++r)
      interleave(from + r * w, h * w, channels, 1, seen, out + r * columns * width, columns);
}

/// A block back into planes: puts from[p * L + l], plus bias[l] unless that is null, to to[l * stride + p] for p <
/// pixels and l < channels.
template <class T>
void deinterleave(const T* from, Index pixels, T* to, Index stride, Index channels, const T* bias = nullptr) {
  constexpr Index width = simd::width<T>;
  using Pack = simd::Pack<T>;
  const Pack added = bias ? Pack::load(bias, std::min(width, channels)) : Pack(T(0));
  for (Index p = 0; p < pixels; p += width, from += width * width) {
    const Index count = std::min(width, pixels - p);
    simd::Registers<Pack, width> v;
    if (count == width)
      LAMINA_UNROLL(i, width) v[i] = Pack::load(from + i * width);
    else
      LAMINA_UNROLL(i, width) v[i] = i < count ? Pack::load(from + i * width) : Pack(T(0));
    if (bias)
      LAMINA_UNROLL(i, width) v[i] += added;
    simd::transpose(v);
    if (channels >= width && count == width)
      LAMINA_UNROLL(l, width) v[l].store(to + l * stride + p);
    else
      LAMINA_UNROLL(l, width) {
        if (l < channels) v[l].store(to + l * stride + p, count);
      }
  }
}

/// Adds bias[l] to lane l of a block's pixels, for l < channels.
template <class T>
void add_bias(T* block, Index pixels, Index channels, const T* bias) {
  const auto added = simd::Pack<T>::load(bias, std::min(simd::width<T>, channels));
  for (Index p = 0; p < pixels; ++p, block += simd::width<T>) (simd::Pack<T>::load(block) + added).store(block);
}

/// The sum of a block's pixels.
template <class T>
simd::Pack<T> sum_of_block(const T* block, Index pixels) {
  constexpr Index width = simd::width<T>;
  auto sums = simd::filled<4>(simd::Pack<T>(T(0)));
  Index p = 0;
  for (; p + 4 <= pixels; p += 4)
    LAMINA_UNROLL(i, 4) sums[i] += simd::Pack<T>::load(block + (p + i) * width);
  for (; p < pixels; ++p) sums[0] += simd::Pack<T>::load(block + p * width);
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

/// Rows of a register tile of blocked products: with two vectors each, as many as the registers hold.
inline constexpr Index block_rows = simd::vector_bytes == 64 ? 12 : 6;

/// c[i][j] (+)= the sum over d < depth and k < lanes of a[offsets[d] + i a_row + k] * b[(d lanes + k) Columns + j],
/// where b and c hold vectors: j < Columns of them, i < Rows. `Adjacent`: a_row is a vector's width. A constant
/// distance saves the instructions that make addresses, a tenth of a tall tile's time.
template <class T, int Rows, int Columns, bool Adjacent>
void block_tile(Index depth, Index lanes, const T* a, Index row_distance, const Index* offsets, const T* b, T* c,
                Index c_row, Index c_column, bool accumulate) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index a_row = Adjacent ? width : row_distance;
  simd::Registers<Pack, Rows * Columns> sums;
  LAMINA_UNROLL(i, Rows)
    LAMINA_UNROLL(j, Columns)
      sums[i * Columns + j] = accumulate ? Pack::load(c + i * c_row + j * c_column) : Pack(T(0));
  for (Index d = 0; d < depth; ++d) {
    const T* row = a + offsets[d];
    for (Index k = 0; k < lanes; ++k, ++row, b += Columns * width) {
      simd::Registers<Pack, Columns> right;
      LAMINA_UNROLL(j, Columns) right[j] = Pack::load(b + j * width);
      LAMINA_UNROLL(i, Rows) {
        const Pack factor(row[i * a_row]);
        LAMINA_UNROLL(j, Columns) sums[i * Columns + j] = multiply_add(factor, right[j], sums[i * Columns + j]);
      }
    }
  }
  LAMINA_UNROLL(i, Rows)
    LAMINA_UNROLL(j, Columns) sums[i * Columns + j].store(c + i * c_row + j * c_column);
}

/// A tile's function: one for each height and number of blocks.
template <class T>
using BlockTile = void (*)(Index, Index, const T*, Index, const Index*, const T*, T*, Index, Index, bool);

/// Heights of the tiles that exist: others are not worth compiling.
inline constexpr auto block_heights = [] {
  if constexpr (block_rows == 12)
    return std::array{1, 2, 4, 6, 7, 8, 10, 12};
  else
    return std::array{1, 2, 3, 4, 5, 6};
}();

/// The tile of the largest height up to `rows`, and that height.
template <class T>
std::pair<BlockTile<T>, Index> block_tile_for(Index rows, Index columns, bool adjacent) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    static constexpr BlockTile<T> tiles[2][2][sizeof...(I)] = {
        {{&block_tile<T, block_heights[I], 1, false>...}, {&block_tile<T, block_heights[I], 2, false>...}},
        {{&block_tile<T, block_heights[I], 1, true>...}, {&block_tile<T, block_heights[I], 2, true>...}}};
    std::size_t best = sizeof...(I) - 1;
    while (block_heights[best] > rows) --best;
    return std::pair(tiles[adjacent][columns - 1][best], static_cast<Index>(block_heights[best]));
  }
  (std::make_index_sequence<block_heights.size()>{});
}

/// The same for any number of rows, cut into tiles of nearly equal height.
template <class T>
void block_product(Index rows, Index columns, Index depth, Index lanes, const T* a, Index a_row, const Index* offsets,
                   const T* b, T* c, Index c_row, Index c_column, bool accumulate) {
  while (rows > 0) {
    // One row more than an equal share, so that an odd share finds its tile above and not below.
    const Index share = parts_of(rows, parts_of(rows, block_rows));
    const auto [tile, height] = block_tile_for<T>(std::min(rows, share + share % 2), columns, a_row == simd::width<T>);
    tile(depth, lanes, a, a_row, offsets, b, c, c_row, c_column, accumulate);
    a += height * a_row;
    c += height * c_row;
    rows -= height;
  }
}

/// Rows of a tile of block_outer.
template <class T>
inline constexpr int outer_rows = static_cast<int>(std::min<Index>(simd::vector_bytes == 64 ? 8 : 4, simd::width<T>));

/// A block's pixels as a factor of block_outer: lines of pixels a step apart, and the next block.
template <class T>
struct BlockLines {
  const T* data;  ///< the first pixel
  /// Distances from line to line, from pixel to pixel, and from block to block.
  /// @{
  Index line, step, block;
  /// @}
};

/// A long sum of outer products: c[i][j] (+)= the sum over `lines` lines of `count` pixels of a[i] * b[j], for
/// outer_rows channels i of a and Columns blocks j of b.
template <class T, int Columns>
void block_outer(Index lines, Index count, const BlockLines<T>& a, const BlockLines<T>& b, T* c, Index c_row,
                 bool accumulate) {
  using Pack = simd::Pack<T>;
  constexpr int rows = outer_rows<T>;
  constexpr Index width = simd::width<T>;
  auto sums = simd::filled<rows * Columns>(Pack(T(0)));
  const Index a_step = a.step, b_step = b.step, b_block = b.block;
  for (Index line = 0; line < lines; ++line) {
    const T* left = a.data + line * a.line;
    const T* right = b.data + line * b.line;
    for (Index k = 0; k < count; ++k, left += a_step, right += b_step) {
      simd::Registers<Pack, Columns> values;
      LAMINA_UNROLL(j, Columns) values[j] = Pack::load(right + j * b_block);
      LAMINA_UNROLL(i, rows) {
        const Pack factor(left[i]);
        LAMINA_UNROLL(j, Columns) sums[i * Columns + j] = multiply_add(factor, values[j], sums[i * Columns + j]);
      }
    }
  }
  // What was there comes last: sums of sums keep more digits than one long sum.
  LAMINA_UNROLL(i, rows) {
    LAMINA_UNROLL(j, Columns) {
      T* const to = c + i * c_row + j * width;
      (accumulate ? Pack::load(to) + sums[i * Columns + j] : sums[i * Columns + j]).store(to);
    }
  }
}

/// The same for the `lanes` channels of a block of a, and one or two blocks of b. Where many blocks meet, those of a
/// should run fastest: that reads a quarter as much as the other order.
template <class T>
void block_outers(Index lines, Index count, const BlockLines<T>& a, Index lanes, const BlockLines<T>& b, Index blocks,
                  T* c, Index c_row, bool accumulate) {
  const auto outer = blocks == 2 ? block_outer<T, 2> : block_outer<T, 1>;
  for (Index row = 0; row < lanes; row += outer_rows<T>)
    outer(lines, count, {a.data + row, a.line, a.step, a.block}, b, c + row * c_row, c_row, accumulate);
}

/// Work in groups, each prepared from `inputs` parts and then computed as `outputs` parts: prepare(group, input,
/// prepared, scratch), compute(group, output, prepared, scratch). Enough groups are shared out among the threads, each
/// with memory of its own that stays in its cache; few are done one after the other, by all threads.
template <class T, class Prepare, class Compute>
void in_groups(Index groups, Index inputs, Index outputs, Index prepared_size, Index scratch_size, Prepare prepare,
               Compute compute) {
  const Workers workers;
  if (workers.count() == 1 || groups >= 2 * workers.count()) {
    workers.parallel_for(0, groups, 1, Scratch<T>{scratch_size + prepared_size}, [&](Index group, Index, T* scratch) {
      T* const prepared = scratch + scratch_size;
      for (Index i = 0; i < inputs; ++i) prepare(group, i, prepared, scratch);
      for (Index i = 0; i < outputs; ++i) compute(group, i, prepared, scratch);
    });
    return;
  }
  Tensor<T> memory({prepared_size});
  T* const prepared = memory.data();
  for (Index group = 0; group < groups; ++group) {
    const Scratch<T> each{scratch_size};
    workers.parallel_for(0, inputs, 1, each, [&](Index i, Index, T* scratch) { prepare(group, i, prepared, scratch); });
    workers.parallel_for(0, outputs, 1, each,
                         [&](Index i, Index, T* scratch) { compute(group, i, prepared, scratch); });
  }
}

}  // namespace lamina::kernels::inline LAMINA_ISA
