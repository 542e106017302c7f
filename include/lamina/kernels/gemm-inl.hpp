#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#if __has_include(<unistd.h>)
#include <unistd.h>
#endif

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/simd.hpp"

/// Matrix products in register tiles.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {

/// The tile of results that stays in registers: rows times vectors.
inline constexpr Index kernel_rows = 6;
inline constexpr Index kernel_vectors = simd::registers == 32 ? 4 : 2;
template <class T>
inline constexpr Index kernel_columns = kernel_vectors* simd::width<T>;

/// to[i][j] = from[i][j] + sum over k of a[i][k] b[k][j] for a tile of Rows x Vectors; without `from`, from zeros.
template <class T, int Rows, int Vectors>
void kernel(Index depth, const T* a, Index a_row, Index a_depth, const T* b, Index b_depth, const T* from,
            Index from_row, T* to, Index to_row) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  simd::Registers<const T*, Rows> factors;
  simd::Registers<Pack, Rows * Vectors> sums;
  LAMINA_UNROLL(i, Rows) {
    factors[i] = a + i * a_row;
    LAMINA_UNROLL(v, Vectors) sums[i * Vectors + v] = from ? Pack::load(from + i * from_row + v * width) : Pack(T(0));
  }
  for (Index k = 0; k < depth; ++k, b += b_depth) {
    simd::Registers<Pack, Vectors> row;
    LAMINA_UNROLL(v, Vectors) row[v] = Pack::load(b + v * width);
    LAMINA_UNROLL(i, Rows) {
      const Pack factor(factors[i][k * a_depth]);
      LAMINA_UNROLL(v, Vectors) sums[i * Vectors + v] = multiply_add(factor, row[v], sums[i * Vectors + v]);
    }
  }
  LAMINA_UNROLL(i, Rows)
    LAMINA_UNROLL(v, Vectors) sums[i * Vectors + v].store(to + i * to_row + v * width);
}
/// Any tile up to kernel_rows x kernel_vectors: cut into those that are worth compiling.
template <class T>
void run_kernel(Index depth, Index rows, Index vectors, const MatrixView<const T>& a, const T* b, Index b_depth,
                const T* from, Index from_row, T* to, Index to_row) {
  static constexpr std::array heights{6, 4, 3, 2, 1};
  static constexpr std::array lengths{4, 2, 1};
  constexpr auto widest = static_cast<std::size_t>(kernel_vectors == 4 ? 0 : 1);
  constexpr auto kernels = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array{
        &kernel<T, heights[I / lengths.size()], std::min(lengths[I % lengths.size()], lengths[widest])>...};
  }
  (std::make_index_sequence<heights.size() * lengths.size()>{});
  for (Index i = 0; i < rows;) {
    std::size_t h = 0;
    while (heights[h] > rows - i) ++h;
    for (Index v = 0; v < vectors;) {
      std::size_t l = widest;
      while (lengths[l] > vectors - v) ++l;
      const Index column = v * simd::width<T>;
      kernels[h * lengths.size() + l](depth, a.at(i, 0), a.row_stride, a.column_stride, b + column, b_depth,
                                      from ? from + i * from_row + column : nullptr, from_row, to + i * to_row + column,
                                      to_row);
      v += lengths[l];
    }
    i += heights[h];
  }
}

/// The tile of dot products that stays in registers, and how far they run in one pass over several tiles.
inline constexpr Index dot_rows = 3, dot_columns = simd::registers == 32 ? 8 : 4;
inline constexpr Index dot_depth = 1024;

/// The sums of the lanes of v[0], v[1], ...: one vector after the other, each in as many lanes as there are sums left.
template <class T, Index Lanes = simd::width<T>, int N>
auto lane_sums(const simd::Registers<simd::Pack<T>, N>& v) {
  if constexpr (Lanes == 1) {
    return v;
  } else {
    simd::Registers<simd::Pack<T>, (N + 1) / 2> half;
    LAMINA_UNROLL(i, (N + 1) / 2) {
      const int first = 2 * i, second = std::min(first + 1, N - 1);
      half[i] = even(v[first], v[second]) + odd(v[first], v[second]);
    }
    return lane_sums<T, Lanes / 2>(half);
  }
}

/// to[i][j] (+)= sum over k of a[i][k] b[j][k], the elements along k contiguous. Writes whole vectors of `to`.
template <class T, int Rows, int Columns>
void dot_kernel(Index depth, const T* a, Index a_row, const T* b, Index b_row, bool add, T* to, Index to_row) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>, vectors = parts_of(Columns, width);
  simd::Registers<simd::Registers<Pack, Columns>, Rows> sums;
  LAMINA_UNROLL(i, Rows)
    LAMINA_UNROLL(j, Columns) sums[i][j] = Pack(T(0));
  const auto step = [&](Index k, auto... partial) __attribute__((always_inline)) {
    simd::Registers<Pack, Rows> left;
    LAMINA_UNROLL(i, Rows) left[i] = Pack::load(a + i * a_row + k, partial...);
    LAMINA_UNROLL(j, Columns) {
      const Pack right = Pack::load(b + j * b_row + k, partial...);
      LAMINA_UNROLL(i, Rows) sums[i][j] = multiply_add(left[i], right, sums[i][j]);
    }
  };
  Index k = 0;
  for (; k + width <= depth; k += width) step(k);
  if (k < depth) step(k, depth - k);
  LAMINA_UNROLL(i, Rows) {
    const auto totals = lane_sums<T>(sums[i]);
    LAMINA_UNROLL(v, vectors) {
      T* const out = to + i * to_row + v * width;
      (add ? Pack::load(out) + totals[v] : totals[v]).store(out);
    }
  }
}
template <class T>
using DotKernel = decltype(&dot_kernel<T, 1, 1>);
/// For dot_columns columns, or for one.
template <class T>
DotKernel<T> dot_kernel_for(Index rows, bool one) {
  return []<int... I>(Index n, std::integer_sequence<int, I...>) {
    static constexpr DotKernel<T> kernels[] = {&dot_kernel < T, I / 2 + 1,
                                               I % 2 == 0 ? static_cast<int>(dot_columns) : 1 > ...};
    return kernels[n];
  }
  ((rows - 1) * 2 + one, std::make_integer_sequence<int, static_cast<int>(dot_rows * 2)>{});
}

/// A matrix [rows, columns] as one with rows of `pitch`, which is a multiple of the vector width; zeros behind.
template <class T>
void pack(Index rows, Index columns, const Operand<T>& from, T* to, Index pitch) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  if (from.column_stride == 1) {
    for (Index i = 0; i < rows; ++i) {
      const T* const row = from.at(i, 0);
      T* const out = to + i * pitch;
      simd::for_each_vector<T>(0, columns,
                               [&](Index j, auto... partial) { Pack::load(row + j, partial...).store(out + j); });
    }
  } else if (from.row_stride == 1) {
    for (Index j = 0; j < pitch; j += width)
      for (Index i = 0; i < rows; i += width) {
        simd::Registers<Pack, width> square;
        const Index used = std::min(width, rows - i);
        if (j + width <= columns && used == width)
          LAMINA_UNROLL(l, width) square[l] = Pack::load(from.at(i, j + l));
        else
          for (Index l = 0; l < width; ++l)
            square[l] = j + l < columns ? Pack::load(from.at(i, j + l), used) : Pack(T(0));
        simd::transpose(square);
        for (Index l = 0; l < used; ++l) square[l].store(to + (i + l) * pitch + j);
      }
  } else {
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < pitch; ++j) to[i * pitch + j] = j < columns ? *from.at(i, j) : T(0);
  }
}

/// Bytes of a core's second-level cache.
inline Index cache_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const Index bytes = [] {
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return size > 0 ? static_cast<Index>(size) : Index{1} << 19;
  }();
  return bytes;
#else
  return Index{1} << 19;
#endif
}

/// c (+)= a b, times a factor, and then the bias of each column.
///
/// Which way is taken was measured against the others and against Eigen 3.4's product on Zen 4 with AVX-512. Where m or
/// n is small and the larger operand is contiguous along k, dot products along k read both operands as they are; a
/// n below the width of a vector makes them better than panels up to three quarters full. Where n is that small and a
/// is transposed, the transposed product has whole vectors. Everything else is tiles of c from rows of a and panels of
/// b, and ran faster than Eigen for every shape from 5 on, so that Eigen is never called.
template <class T>
struct MatrixProduct {
  static constexpr Index width = simd::width<T>, columns = kernel_columns<T>;
  /// Columns of a transposed a that are copied at a time.
  static constexpr Index strip = 8 * kernel_rows;
  /// From so many multiply-adds on it is worth while to call another thread.
  static constexpr Index work_for_thread = Index{1} << 18;
  static constexpr Index most_dots = 32;

  Index m, n, k;
  MatrixView<const T> a, b;
  MatrixView<T> c;
  Store store;
  const T* column_bias = nullptr;  ///< null: none
  const T* packed_b = nullptr;     ///< all of b in panels, if somebody made them before
  T factor = T(1);                 ///< of the results, before the bias

  void run() const {
    if (plain() && n == 1 && m > 1 && c.row_stride == 1 && !packed_b)  // a column in one piece is a row
      return MatrixProduct{1, m, k, b.transpose(), a.transpose(), {c.data, m, 1}, store}.run();
    if (packed_b)
      by_panels();
    else if (m * n * k <= 32)
      by_loops();
    else if (n >= m ? m <= most_dots && k >= 8 * m && b.row_stride == 1
                    : n <= most_dots && k >= 12 * n && a.column_stride == 1 && 4 * n < 3 * simd::whole_vectors<T>(n))
      by_dots();
    else if (n < width && k >= 32 && a.row_stride == 1)
      by_transpose();
    else
      by_panels();
  }

  /// Whether the results are sums and nothing more.
  bool plain() const { return !column_bias && factor == T(1); }

  /// Puts `rows` rows of results into c from (i, j) on, with factor and bias if these are the last. (Whole vectors of
  /// values are read.)
  void finish(const T* values, Index stride, Index i, Index rows, Index j, Index count, bool add,
              bool last = true) const {
    using Pack = simd::Pack<T>;
    const T* const bias = last && column_bias ? column_bias + j : nullptr;
    for (Index r = 0; r < rows; ++r) {
      const T* const from = values + r * stride;
      T* const to = c.at(i + r, j);
      simd::for_each_vector<T>(0, count, [&](Index l, auto... partial) {
        Pack value = Pack::load(from + l);
        if (add) value += Pack::load(to + l, partial...);
        if (last) value *= factor;
        if (bias) value += Pack::load(bias + l, partial...);
        value.store(to + l, partial...);
      });
    }
  }

  void by_loops() const {
    alignas(64) T results[whole_loops];
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < n; j += whole_loops) {
        const Index count = std::min(whole_loops, n - j);
        for (Index l = 0; l < count; ++l) {
          T sum(0);
          for (Index p = 0; p < k; ++p) sum += *a.at(i, p) * *b.at(p, j + l);
          results[l] = sum;
        }
        finish(results, whole_loops, i, 1, j, count, store == Store::add);
      }
  }
  static constexpr Index whole_loops = 32;

  /// How c is cut into blocks and what is copied for them.
  struct Plan {
    Index depth, rows, columns;  // of a block
    bool copy_a = false, pack_b = false;
    Index panels() const { return depth * parts_of(columns, MatrixProduct::columns) * MatrixProduct::columns; }
    Index scratch() const { return panels() + (copy_a ? depth * strip : 0); }
  };

  /// No sum depends on it: a tile goes on where the block before has left c.
  Plan plan(int threads) const {
    if (m * n * k <= Index{1} << 15) return {std::max<Index>(k, 1), m, n, false, !packed_b && b.column_stride != 1};
    const Index room = cache_bytes() / 2 / static_cast<Index>(sizeof(T));  // for the panels of b
    Plan p{k, m, n};
    if (!packed_b && b.column_stride == 1 && m < 48 && k * b.row_stride > 4 * room) {
      // b comes from memory, and it is the memory that takes the time: long runs of a few rows, as long as the rows of
      // c stay in the cache.
      p.depth = std::min<Index>(k, m <= 8 ? 8 : 16);
      p.columns = std::max<Index>(1024, 32768 / m);
    } else {
      const Index longest = n <= 2 * columns ? 1024 : 512;
      p.depth = k > longest ? parts_of(k, parts_of(k, longest)) : std::max<Index>(k, 1);
      p.columns = std::max(columns, room / p.depth / columns * columns);
      p.pack_b = !packed_b && (b.column_stride != 1 || (m >= 48 && p.depth * b.row_stride > Index{1} << 16));
    }
    p.columns = std::min(p.columns, n);
    // The columns of a lie so far apart that their lines push each other out of the cache.
    p.copy_a = a.row_stride == 1 && p.depth * a.column_stride > Index{1} << 14;
    const Index tasks = threads > 1 ? std::min<Index>(4 * threads, m * n * k / work_for_thread) : 1;
    if (tasks > 1) {
      p.rows = std::min(m, std::max(strip, parts_of(m, parts_of(tasks, parts_of(n, p.columns)))));
      const Index across = parts_of(tasks, parts_of(m, p.rows));
      p.columns = std::min(p.columns, parts_of(parts_of(n, across), columns) * columns);
    }
    return p;
  }

  void by_panels() const {
    const Workers workers;
    const Plan p = plan(workers.count());
    const Index column_blocks = parts_of(n, p.columns), tasks = parts_of(m, p.rows) * column_blocks;
    const auto run_block = [&](Index task, T* scratch) {
      const Index i = task / column_blocks * p.rows, j = task % column_blocks * p.columns;
      block(p, i, std::min(m, i + p.rows), j, std::min(n, j + p.columns), scratch);
    };
    const Index own = p.scratch();
    constexpr Index small = 2048;
    if (tasks == 1 && own <= small) {
      alignas(64) T scratch[small];
      return run_block(0, scratch);
    }
    workers.parallel_for(0, tasks, 1, Scratch<T>{own},
                         [&](Index task, Index, T* scratch) { run_block(task, scratch); });
  }

  /// Rows i0..i1-1 and columns j0..j1-1 of c.
  void block(const Plan& p, Index i0, Index i1, Index j0, Index j1, T* scratch) const {
    const Index rows = parts_of(i1 - i0, parts_of(i1 - i0, kernel_rows));
    T* const panels = scratch;
    T* const strips = scratch + p.panels();
    for (Index k0 = 0; k0 == 0 || k0 < k; k0 += p.depth) {
      const Index depth = std::min(p.depth, k - k0);
      const bool from_c = k0 > 0 || store == Store::add, last = k0 + depth == k;
      for (Index j = j0; j < j1 && !packed_b; j += columns) {
        const Index count = std::min(columns, j1 - j), pitch = simd::whole_vectors<T>(count);
        if (p.pack_b || count < pitch) pack(depth, count, b.from(k0, j), panels + (j - j0) * depth, pitch);
      }
      for (Index i = i0; i < i1;) {
        const Index end = p.copy_a ? std::min(i1, i + strip / rows * rows) : i1;
        MatrixView<const T> left = a.from(i, k0);
        if (p.copy_a) {
          for (Index l = 0; l < depth; ++l) std::copy_n(left.at(0, l), end - i, strips + l * strip);
          left = {strips, 1, strip};
        }
        for (; i < end; i += rows, left = left.from(rows, 0))
          for (Index j = j0; j < j1; j += columns) {
            const Index count = std::min(columns, j1 - j), pitch = simd::whole_vectors<T>(count);
            const bool packed = packed_b || p.pack_b || count < pitch;
            const T* const right = packed_b ? packed_b + j * k + k0 * pitch
                                   : packed ? panels + (j - j0) * depth
                                            : b.at(k0, j);
            tile(depth, std::min(rows, end - i), left, right, packed ? pitch : b.row_stride, i, j, count, from_c, last);
          }
      }
    }
  }

  /// The tile of c at (i, j): straight from the registers where nothing is left to do but to store whole vectors.
  void tile(Index depth, Index rows, const MatrixView<const T>& left, const T* right, Index right_row, Index i, Index j,
            Index count, bool from_c, bool last) const {
    const Index vectors = parts_of(count, width);
    T* const to = c.at(i, j);
    const bool whole = count == vectors * width;
    if (whole && (!last || plain())) {
      run_kernel<T>(depth, rows, vectors, left, right, right_row, from_c ? to : nullptr, c.row_stride, to,
                    c.row_stride);
      return;
    }
    alignas(64) T results[kernel_rows * columns];
    if (from_c && !whole) pack<T>(rows, count, {to, c.row_stride, 1}, results, columns);
    run_kernel<T>(depth, rows, vectors, left, right, right_row,
                  !from_c ? nullptr
                  : whole ? to
                          : results,
                  whole ? c.row_stride : columns, results, columns);
    finish(results, columns, i, rows, j, count, false, last);
  }

  /// Every result a dot product along k.
  void by_dots() const {
    constexpr Index group = 48, pitch = group + width;
    const bool wide = n >= m;
    const Index few = wide ? m : n, many = wide ? n : m;
    MatrixView<const T> left = wide ? a : b.transpose();
    const MatrixView<const T> right = wide ? b.transpose() : a;
    const Index rows = parts_of(few, parts_of(few, dot_rows)), depth = few == rows ? k : dot_depth;
    Tensor<T> copy;
    // Rows a multiple of 4 KB apart would push each other out of the cache.
    if (left.column_stride != 1 || (few > rows && left.row_stride * static_cast<Index>(sizeof(T)) % 4096 == 0)) {
      const Index copy_pitch = simd::whole_vectors<T>(k) + width;
      copy = Tensor<T>({few, copy_pitch});
      pack(few, k, left, copy.data(), copy_pitch);
      left = {std::as_const(copy).data(), copy_pitch, 1};
    }
    const Index grain = parts_of(work_for_thread, few * group * k);
    parallel_for(0, parts_of(many, group), grain, [&](Index first, Index end) {
      alignas(64) T results[most_dots * pitch];
      for (Index s0 = first * group; s0 < std::min(many, end * group); s0 += group) {
        const Index count = std::min(group, many - s0);
        for (Index s = 0; s < count;) {
          const bool one = s + dot_columns > count;
          for (Index k0 = 0; k0 < k; k0 += depth)
            for (Index f = 0; f < few; f += rows)
              dot_kernel_for<T>(std::min(rows, few - f), one)(std::min(depth, k - k0), left.at(f, k0), left.row_stride,
                                                              right.at(s0 + s, k0), right.row_stride, k0 > 0,
                                                              results + f * pitch + s, pitch);
          s += one ? 1 : dot_columns;
        }
        if (wide)
          finish(results, pitch, 0, m, s0, count, store == Store::add);
        else
          finish_transposed(results, pitch, s0, count);
      }
    });
  }

  /// The transposed product, then its transpose.
  void by_transpose() const {
    Tensor<T> products({n, m});
    T* const results = products.data();
    MatrixProduct{n, m, k, b.transpose(), a.transpose(), {results, m, 1}, Store::assign}.by_panels();
    parallel_for(0, m, Index{1} << 12,
                 [&](Index first, Index end) { finish_transposed(results + first, m, first, end - first); });
  }

  /// c's `rows` rows from i on, where column j's values are those from values[j * stride] on.
  void finish_transposed(const T* values, Index stride, Index i, Index rows) const {
    alignas(64) T row[most_dots + width];
    for (Index r = 0; r < rows; ++r) {
      for (Index j = 0; j < n; ++j) row[j] = values[j * stride + r];
      finish(row, 0, i + r, 1, 0, n, store == Store::add);
    }
  }
};

/// Into how many pieces the sum over k is cut: where c is small and k is long there is nothing else for threads to
/// share. The shape alone decides.
inline Index depth_pieces(Index m, Index n, Index k) {
  return std::max(m, n) > 128 || k < 4096 ? 1 : std::min<Index>(16, k / 1024);
}

template <class T>
void run_in_pieces(Index pieces, const MatrixProduct<T>& p) {
  const Index pitch = simd::whole_vectors<T>(p.n), size = p.m * pitch, length = parts_of(p.k, pieces);
  Tensor<T> partial({pieces, size});
  T* const sums = partial.data();
  parallel_for(0, pieces, 1, [&](Index piece, Index) {
    const Index k = piece * length;
    MatrixProduct<T>{
        p.m,          p.n, std::min(length, p.k - k), p.a.from(0, k), p.b.from(k, 0), {sums + piece * size, pitch, 1},
        Store::assign}
        .run();
  });
  for (Index piece = 1; piece < pieces; ++piece)
    for (Index i = 0; i < p.m; ++i)
      for (Index j = 0; j < p.n; ++j) sums[i * pitch + j] += sums[piece * size + i * pitch + j];
  p.finish(sums, pitch, 0, p.m, 0, p.n, p.store == Store::add);
}

}  // namespace detail

}  // namespace lamina::kernels::inline LAMINA_ISA

#ifndef LAMINA_DISPATCHED
namespace lamina::kernels::inline LAMINA_KERNELS {

template <class T>
void gemm(Index m, Index n, Index k, const Operand<T>& a, const Operand<T>& b, const MatrixView<T>& c, Store store,
          const std::type_identity_t<T>* column_bias) {
  if (m == 0 || n == 0) return;
  const Index pieces = detail::depth_pieces(m, n, k);
  const detail::MatrixProduct<T> product{m, n, k, a, b, c, store, column_bias};
  if (pieces == 1)
    product.run();
  else
    detail::run_in_pieces(pieces, product);
}

template <class T>
void gemm_in_order(Index m, Index n, Index k, const Operand<T>& a, const Operand<T>& b, T* c, Store store) {
  if (m > 0 && n > 0) detail::MatrixProduct<T>{m, n, k, a, b, {c, n, 1}, store}.by_panels();
}

template <class T>
PackedMatrix<T> pack_matrix(Index k, Index n, const Operand<T>& b) {
  constexpr Index columns = detail::kernel_columns<T>;
  PackedMatrix<T> packed{k, n, Tensor<T>({k * simd::whole_vectors<T>(n)})};
  T* const panels = packed.panels.data();
  parallel_for(0, parts_of(n, columns), parts_of(1 << 14, std::max<Index>(k, 1) * columns),
               [&](Index first, Index end) {
                 for (Index j = first * columns; j < std::min(n, end * columns); j += columns) {
                   const Index count = std::min(columns, n - j);
                   detail::pack(k, count, b.from(0, j), panels + j * k, simd::whole_vectors<T>(count));
                 }
               });
  return packed;
}

template <class T>
void gemm(Index m, const Operand<T>& a, const PackedMatrix<T>& b, const MatrixView<T>& c, Store store,
          const std::type_identity_t<T>* column_bias) {
  if (m == 0 || b.n == 0) return;
  detail::MatrixProduct<T>{m, b.n, b.k, a, {nullptr, 0, 1}, c, store, column_bias, b.panels.data()}.run();
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
