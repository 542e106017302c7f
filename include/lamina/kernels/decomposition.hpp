#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/gemm-inl.hpp"
#include "lamina/kernels/run.hpp"

/// Low-rank decompositions X = bases coefficientsᵀ of matrices X [d, n] by alternating updates, where a step costs one
/// read of X.
///
/// Of the two factors, coefficients [n, R] and bases [d, R], the one with more rows is the long one. A sweep goes over
/// X in blocks along the long side; the block's product with the short factor, the update of the long factor's rows and
/// what these add to the short factor's next update are done while the block is in the cache. The products of a factor
/// with itself come as R x R matrices; nothing of the size n x n exists. Sums over blocks are cut into pieces that
/// depend on the shape alone, and added in order.
namespace lamina::kernels {

/// The matrices of a decomposition: `items` of them in memory as [items][rows][columns], where X's columns (the n
/// vectors of length d) are memory's columns, or its rows if `transposed`. A factor's rows are padded with zeros to
/// `pitch`, whole vectors.
struct DecompositionShape {
  /// Matrices; length and number of their vectors; R; values from one row of a factor to the next.
  /// @{
  Index items, d, n, rank, pitch;
  /// @}
  bool transposed;  ///< whether X's columns are memory's rows

  /// Values of an X.
  Index size() const { return d * n; }
  /// The same for another number of items.
  DecompositionShape of_items(Index count) const {
    DecompositionShape result = *this;
    result.items = count;
    return result;
  }
  /// Element (i, j) of X in its item, j counting the vectors.
  template <class T>
  MatrixView<T> view(T* x, Index item) const {
    return transposed ? MatrixView<T>{x + item * size(), 1, d} : MatrixView<T>{x + item * size(), n, 1};
  }
};

/// Both factors, [items, n, pitch] and [items, d, pitch].
template <class T>
struct Factors {
  /// C, and D.
  /// @{
  Tensor<T> coefficients, bases;
  /// @}
};

/// Rows of a factor that an update works on.
template <class T>
struct FactorRows {
  /// The item, its first row, and how many.
  /// @{
  Index item, first, count;
  /// @}
  const T* products;  ///< [count, pitch]: X or Xᵀ times the other factor
  T* scratch;         ///< as large
  T* sums;            ///< what the updated factor's rows are to be added to
};

inline namespace LAMINA_KERNELS {

/// Values from one row of a factor to the next: whole vectors.
template <class T>
Index factor_pitch(Index rank) {
  return simd::whole_vectors<T>(rank);
}

/// to [rows, pitch] = a b or, with `add`, to + a b, where a is [rows, depth] and b [depth, pitch].
template <class T>
void thin_product(Index rows, Index depth, const Operand<T>& a, const T* b, Index pitch, T* to, bool add) {
  constexpr Index depth_block = 128;  // rows of b that stay in the first-level cache for all rows of a
  constexpr Index columns = detail::kernel_columns<T>;
  for (Index k = 0; k == 0 || k < depth; k += depth_block)
    for (Index j = 0; j < pitch; j += columns) {
      const Index vectors = std::min(columns, pitch - j) / simd::width<T>;
      for (Index i = 0; i < rows; i += detail::kernel_rows) {
        T* const out = to + i * pitch + j;
        detail::run_kernel<T>(std::min(depth_block, depth - k), std::min(detail::kernel_rows, rows - i), vectors,
                              a.from(i, k), b + k * pitch + j, pitch, add || k > 0 ? out : nullptr, pitch, out, pitch);
      }
    }
}

/// gram [R, pitch] += factorᵀ factor for a factor's rows.
template <class T>
void add_gram(Index rows, Index rank, const T* factor, Index pitch, T* gram) {
  thin_product(rank, rows, {factor, 1, pitch}, factor, pitch, gram, true);
}

/// factor = factor products / (denominators + epsilon) for n values, whole vectors.
template <class T>
void multiply_and_divide(Index n, const T* products, const T* denominators, T epsilon, T* factor) {
  using Pack = simd::Pack<T>;
  for (Index i = 0; i < n; i += simd::width<T>)
    (Pack::load(factor + i) * Pack::load(products + i) / (Pack::load(denominators + i) + Pack(epsilon)))
        .store(factor + i);
}
/// The same, rounded elsewhere: first the quotients factor / (denominators + epsilon), which go to `ratios` unless that
/// is null.
template <class T>
void divide_and_multiply(Index n, const T* products, const T* denominators, T epsilon, T* factor, T* ratios) {
  using Pack = simd::Pack<T>;
  for (Index i = 0; i < n; i += simd::width<T>) {
    const Pack quotient = Pack::load(factor + i) / (Pack::load(denominators + i) + Pack(epsilon));
    if (ratios) quotient.store(ratios + i);
    (quotient * Pack::load(products + i)).store(factor + i);
  }
}

/// to[i, j] = x[i, j] (row[i] column(j)) with column(j) = factor / max(sqrt(squares[j]), epsilon), for rows of whole
/// vectors.
template <class T>
void scale_to_cosines(Index rows, Index pitch, const T* x, const T* row, const T* squares, T epsilon, T factor, T* to) {
  using Pack = simd::Pack<T>;
  for (Index j = 0; j < pitch; j += simd::width<T>) {
    const Pack column = Pack(T(1)) / max(sqrt(Pack::load(squares + j)), epsilon) * factor;
    for (Index i = 0; i < rows; ++i) (Pack::load(x + i * pitch + j) * (column * row[i])).store(to + i * pitch + j);
  }
}
/// to[i, j] = x[i, j] / (sums[j] + epsilon), by way of the reciprocal.
template <class T>
void divide_columns(Index rows, Index pitch, const T* x, const T* sums, T epsilon, T* to) {
  using Pack = simd::Pack<T>;
  for (Index j = 0; j < pitch; j += simd::width<T>) {
    const Pack share = Pack(T(1)) / (Pack::load(sums + j) + Pack(epsilon));
    for (Index i = 0; i < rows; ++i) (Pack::load(x + i * pitch + j) * share).store(to + i * pitch + j);
  }
}
/// Adds to sums[j] the sum of x[i, j], or of its square, over the rows.
template <class T>
void add_columns(Index rows, Index pitch, const T* x, bool squared, T* sums) {
  using Pack = simd::Pack<T>;
  for (Index j = 0; j < pitch; j += simd::width<T>) {
    Pack sum = Pack::load(sums + j);
    for (Index i = 0; i < rows; ++i) {
      const Pack value = Pack::load(x + i * pitch + j);
      sum += squared ? value * value : value;
    }
    sum.store(sums + j);
  }
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

/// totals[item] = the sum over pieces of what f(item, piece, sums, scratch) adds to zeros, `size` values each.
template <class T, class F>
void sum_of_pieces(Index items, Index pieces, Index size, T* totals, Scratch<T> each, F f) {
  Tensor<T> memory({pieces > 1 ? items * pieces : 0, size});
  T* const partial = pieces > 1 ? memory.data() : totals;
  parallel_for(0, items * pieces, 1, each, [&](Index task, Index, T* scratch) {
    T* const sums = partial + task * size;
    std::fill_n(sums, size, T(0));
    f(task / pieces, task % pieces, sums, scratch);
  });
  if (pieces == 1 || size == 0) return;
  parallel_for(0, items * size / simd::width<T>, 1 << 8, [&](Index first, Index last) {
    for (Index i = first * simd::width<T>; i < last * simd::width<T>; i += simd::width<T>) {
      const T* const from = partial + i / size * pieces * size + i % size;
      simd::Pack<T> total = simd::Pack<T>::load(from);
      for (Index piece = 1; piece < pieces; ++piece) total += simd::Pack<T>::load(from + piece * size);
      total.store(totals + i);
    }
  });
}

/// Matrices [length, depth] that are multiplied with factors again and again, in blocks of rows that lie together.
template <class T>
class SweptMatrix {
 public:
  static constexpr Index block = 8 * detail::kernel_rows;  ///< rows that lie together

  /// Element (i, k) of an item at first.at(i, k), the items `stride` apart; the memory must outlive this.
  SweptMatrix(Index items, Index length, Index depth, const MatrixView<const T>& first, Index stride)
      : items_(items), length_(length), depth_(depth), blocks_(parts_of(length, block)), memory_(first) {
    block_size_ = block * memory_.row_stride;
    stride_ = stride;
    if (memory_.column_stride == 1) return;
    // The rows of a block are far apart, and a line of the cache holds a piece of each: into blocks [depth][block].
    constexpr Index together = 8;
    stride_ = blocks_ * depth * block;
    copy_ = Tensor<T>({items, stride_});
    T* const to = copy_.data();
    const Index groups = parts_of(blocks_, together);
    parallel_for(0, items * groups, 1, [&](Index task, Index) {
      const Index item = task / groups, begin = task % groups * together, end = std::min(blocks_, begin + together);
      const T* const from = first.data + item * stride;
      for (Index k = 0; k < depth; ++k)
        for (Index b = begin; b < end; ++b)
          std::copy_n(from + k * first.column_stride + b * block, std::min(block, length - b * block),
                      to + item * stride_ + (b * depth + k) * block);
    });
    memory_ = {std::as_const(copy_).data(), 1, block};
    block_size_ = depth * block;
  }

  /// For every block of rows, update(FactorRows) with the products block · other (other is [items, depth, pitch]; null:
  /// no products), which returns the updated rows [count, pitch] of the long factor. With sums, their products with the
  /// block go to sums [items, depth + statistic, pitch], and the last rows are what update adds to FactorRows::sums.
  template <class Update>
  void sweep(Index pitch, const T* other, T* sums, Index statistic, Update update) const {
    const Index size = sums ? (depth_ + statistic) * pitch : 0;
    const Index pieces = std::min<Index>(16, parts_of(blocks_, 4));  // of an item, whatever their number: same bits
    const Scratch<T> each{2 * block * pitch};
    sum_of_pieces(items_, pieces, size, sums, each, [&](Index item, Index piece, T* totals, T* products) {
      for (Index b = blocks_ * piece / pieces; b < blocks_ * (piece + 1) / pieces; ++b) {
        const Index count = std::min(block, length_ - b * block);
        const MatrixView<const T> rows{memory_.data + item * stride_ + b * block_size_, memory_.row_stride,
                                       memory_.column_stride};
        if (other) thin_product(count, depth_, rows, other + item * depth_ * pitch, pitch, products, false);
        const T* const factor = update(FactorRows<T>{item, b * block, count, products, products + block * pitch,
                                                     sums ? totals + depth_ * pitch : nullptr});
        if (sums) thin_product(depth_, count, rows.transpose(), factor, pitch, totals, true);
      }
    });
  }

 private:
  Index items_, length_, depth_, blocks_;
  MatrixView<const T> memory_;  // of the first block
  Index block_size_, stride_;
  Tensor<T> copy_;
};

/// Updates the rows of the short factor [items, length, pitch], whose products are known: those of an item `stride`
/// apart from the next one's. Null: no products.
template <class T, class Update>
void update_rows(Index items, Index length, Index pitch, const T* products, Index stride, T* sums, Index statistic,
                 Update update) {
  constexpr Index block = SweptMatrix<T>::block;
  const Index blocks = parts_of(length, block), pieces = std::min<Index>(16, blocks);
  const Scratch<T> each{block * pitch};
  sum_of_pieces(items, pieces, statistic * pitch, sums, each, [&](Index item, Index piece, T* totals, T* scratch) {
    for (Index b = blocks * piece / pieces; b < blocks * (piece + 1) / pieces; ++b)
      update(FactorRows<T>{item, b * block, std::min(block, length - b * block),
                           products ? products + item * stride + b * block * pitch : nullptr, scratch, totals});
  });
}

/// How decompose() computes a factor. It works on rows of it, where they lie, given their products with X and the other
/// factor's statistic: `statistic` rows of `pitch` values, to which every row of that factor has added its share.
template <class A, class T>
concept DecompositionAlgorithm = requires(A& algorithm, const FactorRows<T>& rows, Index i, bool first, const T* other,
                                          T* factor, const T* from, T* sums, const Tensor<T>& bases) {
  { algorithm.statistic } -> std::convertible_to<Index>;
  algorithm.update_coefficients(i, rows, other, factor);      // in step i = 0, 1, ...
  algorithm.finish_coefficients(first, rows, other, factor);  // the last ones; first: no step went before
  algorithm.update_bases(rows, other, factor);
  algorithm.add_statistic_of_coefficients(i, from, sums);  // of i rows
  algorithm.add_statistic_of_bases(i, from, sums);
  algorithm.prepare(bases);  // before the last coefficients
};

/// Runs the alternation from the bases in `factors` and leaves its result there:
///
///   repeat `steps` times: coefficients from Xᵀ bases, then bases from X coefficients; last, coefficients once more.
///
/// record(factors) is called after every step; it must copy what it keeps.
template <class T, DecompositionAlgorithm<T> Algorithm, class Record>
void decompose(const DecompositionShape& s, const T* x, Index steps, Algorithm& algorithm, Factors<T>& factors,
               Record record) {
  const Index pitch = s.pitch, statistic = algorithm.statistic;
  const bool long_coefficients = s.n >= s.d;
  const Index length = std::max(s.n, s.d), depth = std::min(s.n, s.d), stride = (depth + statistic) * pitch;
  const auto first = s.view(x, 0);
  const SweptMatrix<T> matrix(s.items, length, depth, long_coefficients ? first.transpose() : first, s.size());
  T *const coefficients = factors.coefficients.data(), *const bases = factors.bases.data();
  Tensor<T> of_long({s.items, depth + statistic, pitch});  // X times the long factor, then that factor's statistic
  Tensor<T> of_short({s.items, statistic, pitch});
  T *const long_sums = of_long.data(), *const short_sums = of_short.data();
  const auto of_coefficients = [=](Index item) -> const T* {
    return long_coefficients ? long_sums + item * stride + depth * pitch : short_sums + item * statistic * pitch;
  };
  const auto of_bases = [=](Index item) -> const T* {
    return long_coefficients ? short_sums + item * statistic * pitch : long_sums + item * stride + depth * pitch;
  };

  const auto coefficient_rows = [&](const FactorRows<T>& rows, Index step) {
    T* const to = coefficients + (rows.item * s.n + rows.first) * pitch;
    if (step < steps)
      algorithm.update_coefficients(step, rows, of_bases(rows.item), to);
    else
      algorithm.finish_coefficients(step == 0, rows, of_bases(rows.item), to);
    if (rows.sums) algorithm.add_statistic_of_coefficients(rows.count, to, rows.sums);
    return to;
  };
  const auto base_rows = [&](const FactorRows<T>& rows, bool update = true) {
    T* const to = bases + (rows.item * s.d + rows.first) * pitch;
    if (update) algorithm.update_bases(rows, of_coefficients(rows.item), to);
    if (rows.sums) algorithm.add_statistic_of_bases(rows.count, to, rows.sums);
    return to;
  };
  const auto update_short = [&](T* sums, auto update) {
    update_rows<T>(s.items, depth, pitch, long_sums, stride, sums, sums ? statistic : 0, update);
  };

  if (long_coefficients) {
    update_short(short_sums, [&](const auto& rows) { base_rows(rows, false); });
    for (Index step = 0; step < steps; ++step) {
      matrix.sweep(pitch, bases, long_sums, statistic, [&](const auto& rows) { return coefficient_rows(rows, step); });
      update_short(short_sums, base_rows);
      record(factors);
    }
    algorithm.prepare(factors.bases);
    matrix.sweep(pitch, bases, nullptr, 0, [&](const auto& rows) { return coefficient_rows(rows, steps); });
  } else {
    matrix.sweep(pitch, nullptr, long_sums, statistic, [&](const auto& rows) { return base_rows(rows, false); });
    for (Index step = 0; step < steps; ++step) {
      update_short(short_sums, [&](const auto& rows) { coefficient_rows(rows, step); });
      matrix.sweep(pitch, coefficients, long_sums, statistic, [&](const auto& rows) { return base_rows(rows); });
      record(factors);
    }
    algorithm.prepare(factors.bases);
    update_short(nullptr, [&](const auto& rows) { coefficient_rows(rows, steps); });
  }
}

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// x_i = e^x_i / sum e^x over the first `rank` of each row's values, in place, zeros behind them.
template <class T>
void softmax_rows(Index rows, Index rank, T* x, Index pitch) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  for (Index i = 0; i < rows; ++i, x += pitch) {
    Pack largest(-std::numeric_limits<T>::infinity()), sum(T(0));
    const auto each = [&](auto f) {
      Index j = 0;
      for (; j + width <= rank; j += width) f(Pack::load(x + j), j, width);
      if (j < rank) f(Pack::load(x + j, rank - j, -std::numeric_limits<T>::infinity()), j, rank - j);
    };
    each([&](Pack v, Index, Index) { largest = max(largest, v); });
    largest = Pack(simd::max(largest));
    each([&](Pack v, Index j, Index count) {
      Pack power = simd::exp(v - largest);
      if (count < width) power = select(simd::lanes<T>() < static_cast<simd::detail::IntegerOf<T>>(count), power, T(0));
      power.store(x + j);
      sum += power;
    });
    const Pack factor = Pack(T(1) / simd::sum(sum));
    for (Index j = 0; j < pitch; j += width) (Pack::load(x + j) * factor).store(x + j);
  }
}

/// norms [items, n]: the Euclidean norms of X's n vectors.
template <class T>
Tensor<T> vector_norms(const DecompositionShape& s, const T* x) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  Tensor<T> result({s.items, s.n});
  T* const norms = result.data();
  if (s.transposed) {
    parallel_for(0, s.items * s.n, std::max<Index>(1, stream_grain / s.d), [&](Index first, Index last) {
      for (Index j = first; j < last; ++j) {
        const auto squares = sum_run<1, T>(s.d, [from = x + j * s.d](auto load) {
          const Pack v = load(from);
          return std::array{v * v};
        });
        norms[j] = std::sqrt(simd::sum(squares[0]));
      }
    });
  } else {
    constexpr Index stretch = 8 * width;
    const Index stretches = parts_of(s.n, stretch);
    parallel_for(0, s.items * stretches, std::max<Index>(1, stream_grain / (s.d * stretch)),
                 [&](Index begin, Index end) {
                   for (Index task = begin; task < end; ++task) {
                     const Index item = task / stretches, first = task % stretches * stretch,
                                 count = std::min(stretch, s.n - first);
                     T squares[stretch] = {};
                     for (Index i = 0; i < s.d; ++i) {
                       const T* const from = x + item * s.size() + i * s.n + first;
                       simd::for_each_vector<T>(0, count, [&](Index j, auto... partial) {
                         const Pack v = Pack::load(from + j, partial...);
                         multiply_add(v, v, Pack::load(squares + j)).store(squares + j);
                       });
                     }
                     for (Index j = 0; j < count; ++j) norms[item * s.n + first + j] = std::sqrt(squares[j]);
                   }
                 });
  }
  return result;
}

/// Whether a value is negative.
template <class T>
bool any_negative(Index n, const T* x) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  const Index pieces = parts_of(n, stream_grain);
  Tensor<T> memory({pieces});
  T* const smallest = memory.data();
  parallel_for(0, n, stream_grain, [&](Index first, Index last) {
    Pack low(T(0)), low2(T(0));
    Index i = first;
    for (; i + 2 * width <= last; i += 2 * width) {
      low = min(low, Pack::load(x + i));
      low2 = min(low2, Pack::load(x + i + width));
    }
    simd::for_each_vector<T>(i, last, [&](Index l, auto... partial) { low = min(low, Pack::load(x + l, partial...)); });
    smallest[first / stream_grain] = -simd::max(-min(low, low2));
  });
  return std::any_of(smallest, smallest + pieces, [](T value) { return value < 0; });
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

/// The inverse of a symmetric positive definite matrix a [n, n], by Cholesky's factorisation a = L Lᵀ, whose L replaces
/// a's lower triangle. NaN where a is not finite.
inline void invert_positive_definite(Index n, double* a, double* inverse) {
  for (Index j = 0; j < n; ++j) {
    for (Index k = 0; k < j; ++k)
      for (Index i = j; i < n; ++i) a[i * n + j] -= a[i * n + k] * a[j * n + k];
    const double root = std::sqrt(a[j * n + j]);
    for (Index i = j; i < n; ++i) a[i * n + j] /= root;
  }
  for (Index j = 0; j < n; ++j) {  // L Lᵀ z = e_j
    double* const z = inverse + j * n;
    for (Index i = 0; i < n; ++i) {
      double sum = i == j ? 1 : 0;
      for (Index k = j; k < i; ++k) sum -= a[i * n + k] * z[k];
      z[i] = i < j ? 0 : sum / a[i * n + i];
    }
    for (Index i = n; i-- > 0;) {
      for (Index k = i + 1; k < n; ++k) z[i] -= a[k * n + i] * z[k];
      z[i] /= a[i * n + i];
    }
  }
}

}  // namespace LAMINA_ISA

}  // namespace lamina::kernels
