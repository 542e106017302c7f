#pragma once

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/simd.hpp"

/// Matrix products in register tiles. Results do not depend on the number of threads: the sum over k runs in one
/// fixed order.
namespace lamina::kernels {

/// A tile is `rows` (at most) times two vectors of accumulators: as many as the registers hold.
template <class T>
inline constexpr Index max_tile_rows = simd::vector_bytes == 64 ? 12 : 6;
template <class T>
inline constexpr Index tile_columns = 2 * simd::width<T>;

/// Rows in each of the equal panels that `rows` rows are cut into; the last panel is filled up with zeros.
template <class T>
constexpr Index panel_rows(Index rows) {
  const Index panels = std::max<Index>(1, (rows + max_tile_rows<T> - 1) / max_tile_rows<T>);
  return std::max<Index>(1, (rows + panels - 1) / panels);
}

/// c[i][j] (+)= sum over k of a[k * Rows + i] * b[offsets[k] + j], for j < tile_columns.
template <class T, int Rows>
void tile(Index depth, const T* a, const T* b, const Index* offsets, T* c, Index row_stride, bool accumulate) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  std::array<Pack, Rows> left, right;
  simd::unroll<Rows>([&](auto i) {
    left[i] = accumulate ? Pack::load(c + i * row_stride) : Pack(T(0));
    right[i] = accumulate ? Pack::load(c + i * row_stride + width) : Pack(T(0));
  });
  for (Index k = 0; k < depth; ++k, a += Rows) {
    const T* row = b + offsets[k];
    const Pack b0 = Pack::load(row), b1 = Pack::load(row + width);
    simd::unroll<Rows>([&](auto i) {
      const Pack factor(a[i]);
      left[i] = multiply_add(factor, b0, left[i]);
      right[i] = multiply_add(factor, b1, right[i]);
    });
  }
  simd::unroll<Rows>([&](auto i) {
    left[i].store(c + i * row_stride);
    right[i].store(c + i * row_stride + width);
  });
}

template <class T>
using TileKernel = void (*)(Index, const T*, const T*, const Index*, T*, Index, bool);

/// The tile kernel for a number of rows, 1..max_tile_rows.
template <class T>
TileKernel<T> tile_kernel(Index rows) {
  return []<int... I>(Index n, std::integer_sequence<int, I...>) {
    static constexpr TileKernel<T> kernels[] = {&tile<T, I + 1>...};
    return kernels[n - 1];
  }
  (rows, std::make_integer_sequence<int, static_cast<int>(max_tile_rows<T>)>{});
}

/// A matrix in memory: element (i, j) at data[i * row_stride + j * column_stride].
template <class T>
struct MatrixView {
  T* data;
  Index row_stride, column_stride;
};
template <class T>
MatrixView<const T> row_major(const T* data, Index columns) {
  return {data, columns, 1};
}
template <class T>
MatrixView<const T> transposed(const T* data, Index columns) {
  return {data, 1, columns};
}

/// Rows first..first+count-1 of a (columns k_first.. for depth) as a panel [depth][rows], zeros in the rows beyond
/// count.
template <class T>
void pack_rows(MatrixView<const T> a, Index first, Index count, Index k_first, Index depth, Index rows, T* panel) {
  const T* const from = a.data + first * a.row_stride + k_first * a.column_stride;
  if (count < rows) std::fill_n(panel, depth * rows, T(0));
  if (a.row_stride == 1) {
    constexpr Index width = simd::width<T>;
    for (Index k = 0; k < depth; ++k) {
      const T* const in = from + k * a.column_stride;
      T* const out = panel + k * rows;
      Index i = 0;
      for (; i + width <= count; i += width) simd::Pack<T>::load(in + i).store(out + i);
      for (; i < count; ++i) out[i] = in[i];
    }
  } else {
    // Strips of k short enough that the panel's lines stay in the first-level cache while the rows are written.
    constexpr Index strip = 128;
    for (Index k0 = 0; k0 < depth; k0 += strip)
      for (Index i = 0; i < count; ++i)
        for (Index k = k0; k < std::min(depth, k0 + strip); ++k)
          panel[k * rows + i] = from[i * a.row_stride + k * a.column_stride];
  }
}

/// How a product is added to what is there.
enum class Store { assign, add };

/// c (+)= a b, where a is [m, k], b is [k, n] (both by strides, so transposes cost no copy) and c is [m, n] row-major
/// with rows of n. With `column_bias` the n values are added to every row.
template <class T>
void gemm(Index m, Index n, Index k, MatrixView<const T> a, MatrixView<const T> b, T* c, Store store = Store::assign,
          const T* column_bias = nullptr) {
  constexpr Index columns = tile_columns<T>;
  constexpr Index depth_block = 384;           // a panel of b: 384 x 32 floats is 48 KB
  constexpr Index column_block = 4 * columns;  // b's block stays in the second-level cache
  const Index rows = panel_rows<T>(m);
  const Index row_block = rows * std::max<Index>(1, 96 / rows);
  const Index row_blocks = (m + row_block - 1) / row_block, column_blocks = (n + column_block - 1) / column_block;
  const auto kernel = tile_kernel<T>(rows);
  std::array<Index, depth_block> offsets;
  for (Index i = 0; i < depth_block; ++i) offsets[static_cast<std::size_t>(i)] = i * columns;

  const Index depth_used = std::min(depth_block, k);
  const Index a_size = depth_used * row_block, b_size = depth_used * column_block, c_size = row_block * column_block;
  Tensor<T> scratch({num_threads(), a_size + b_size + c_size});
  T* const all_scratch = scratch.data();
  parallel_for(0, row_blocks * column_blocks, 1, [&](Index task, Index) {
    T* const a_panels = all_scratch + worker() * (a_size + b_size + c_size);
    T* const b_panels = a_panels + a_size;
    T* const c_tiles = b_panels + b_size;
    const Index i0 = task / column_blocks * row_block, i_count = std::min(row_block, m - i0);
    const Index j0 = task % column_blocks * column_block, j_count = std::min(column_block, n - j0);
    for (Index k0 = 0; k0 < std::max<Index>(k, 1); k0 += depth_block) {
      const Index depth = std::min(depth_block, k - k0);
      for (Index i = 0; i < i_count; i += rows)
        pack_rows(a, i0 + i, std::min(rows, i_count - i), k0, depth, rows, a_panels + i * depth);
      // Columns of b are rows of its transpose.
      for (Index j = 0; j < j_count; j += columns)
        pack_rows(MatrixView<const T>{b.data, b.column_stride, b.row_stride}, j0 + j, std::min(columns, j_count - j),
                  k0, depth, columns, b_panels + j * depth);
      for (Index j = 0; j < j_count; j += columns)
        for (Index i = 0; i < i_count; i += rows)
          kernel(depth, a_panels + i * depth, b_panels + j * depth, offsets.data(), c_tiles + i * column_block + j,
                 column_block, k0 > 0);
    }
    for (Index i = 0; i < i_count; ++i) {
      const T* const from = c_tiles + i * column_block;
      T* const to = c + (i0 + i) * n + j0;
      const T* const bias = column_bias ? column_bias + j0 : nullptr;
      const auto put = [&](Index j, auto... partial) {
        using Pack = simd::Pack<T>;
        Pack value = Pack::load(from + j);
        if (bias) value += Pack::load(bias + j, partial...);
        if (store == Store::add) value += Pack::load(to + j, partial...);
        value.store(to + j, partial...);
      };
      Index j = 0;
      for (; j + simd::width<T> <= j_count; j += simd::width<T>) put(j);
      if (j < j_count) put(j, j_count - j);
    }
  });
}

}  // namespace lamina::kernels
