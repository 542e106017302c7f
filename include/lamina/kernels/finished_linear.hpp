#pragma once

#include <array>
#include <vector>

#include "lamina/kernels/finished_product.hpp"

/// y = x weightᵀ + bias for rows in memory, finished as it is stored.
namespace lamina::kernels::inline LAMINA_ISA {

/// Cut into units of a band of rows and some pairs of vectors of outputs.
template <class T>
class FinishedLinear {
  static constexpr Index width = simd::width<T>;
  /// Of the inputs, so many at a time that a pair's weights stay in the first-level cache, and a band of rows of them
  /// in the second-level cache.
  static constexpr Index deepest = 512, tallest = 16 * tallest_tile;
  /// Inputs between two looks at what is to be asked for from memory.
  static constexpr Index step = 16;
  /// Pairs that a single row is multiplied by together.
  static constexpr int streams = 4;

 public:
  /// For a weight [out, in].
  FinishedLinear(Index in, Index out) : in_(in), out_(out), pairs_(parts_of(out, 2 * width)) {
    // A unit's weights: enough to be worth a meeting of threads.
    chunk_ = std::clamp<Index>((Index{1} << 16) / (in * 2 * width), std::min<Index>(streams, pairs_), pairs_);
    chunks_ = parts_of(pairs_, chunk_);
  }

  /// Values that pack_filters writes.
  Index filters_size() const { return pairs_ * in_ * 2 * width; }

  /// The weight [out, in] by pairs of vectors, zeros in lanes beyond the last output.
  void pack_filters(const T* weight, T* filters) const {
    parallel_for(0, 2 * pairs_, 1, [&](Index block, Index) {
      T* const to = filters + block / 2 * in_ * 2 * width + block % 2 * width;
      const Index lanes = std::clamp<Index>(out_ - block * width, 0, width);
      interleave(weight + (lanes > 0 ? block * width * in_ : 0), in_, lanes, in_, 1, to, 2);
    });
  }

  /// Bands of rows that are done together.
  Index bands(Index rows) const { return parts_of(rows, tallest); }
  /// Units of work for so many rows.
  Index units(Index rows) const { return bands(rows) * chunks_; }
  /// For a pair of vectors of which the row holds a part only.
  Index scratch() const { return out_ % (2 * width) == 0 ? 0 : tallest * 2 * width; }

  /// One unit: x [rows, in], y [rows, out]; weights of type T, or BFloat16 for float.
  template <class Weight>
  void run(Index unit, Index rows, const T* x, const Weight* filters, T* y, const Finish<T>& finish, T* scratch) const {
    const Index chunk = unit % chunks_, band = unit / chunks_, all = bands(rows);
    const Index height = parts_of(rows, all), first = std::min(rows, band * height);
    const Index count = std::min(rows, first + height) - first;
    if (count <= 0) return;
    Index begin = chunk * chunk_;
    const Index start = begin, end = std::min(pairs_, begin + chunk_);
    const Index depth = parts_of(in_, parts_of(in_, deepest));
    std::array<Index, static_cast<std::size_t>(parts_of(deepest, step))> offsets;
    for (std::size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<Index>(i) * step;
    std::array<Index, static_cast<std::size_t>(tallest)> rows_of_x;
    for (Index i = 0; i < count; ++i) rows_of_x[static_cast<std::size_t>(i)] = i * in_;
    x += first * in_;
    y += first * out_;
    const T* const residual = finish.residual ? finish.residual + first * out_ : nullptr;
    if (count == 1)
      for (; begin + streams <= std::min(end, out_ / (2 * width)); begin += streams) {
        const Index column = begin * 2 * width;
        finished_row<T, Weight, streams>(
            in_, x, filters + column * in_, 2 * width * in_, y + column,
            {nullptr, finish.bias ? finish.bias + column : nullptr, &finish, residual ? residual + column : nullptr});
      }
    for (Index k = 0; k < in_ && begin < end; k += depth) {
      const bool last = k + depth >= in_;
      const Index inputs = std::min(depth, in_ - k);
      TileShape shape{parts_of(inputs, step), step, inputs % step > 0, inputs % step, offsets.data(), out_, width};
      for (Index pair = begin; pair < end; ++pair) {
        const Index column = pair * 2 * width, whole = (out_ - column) / width;
        const Weight* const filter = filters + (pair * in_ + k) * 2 * width;
        const T* const bias = finish.bias ? finish.bias + column : nullptr;
        // Pairs come before depths; behind the last of both is the next unit.
        const Weight* const next = pair + 1 < end ? filter + in_ * 2 * width
                                   : last         ? filters + end * in_ * 2 * width
                                                  : filters + (begin * in_ + k + depth) * 2 * width;
        if (whole >= 2) {
          finished_product(shape, count, 2, rows_of_x.data(), x + k, filter, y + column,
                           TileEnds<T>{k > 0 ? y + column : nullptr, bias, last ? &finish : nullptr,
                                       residual ? residual + column : nullptr, next});
        } else {
          shape.c_row = 2 * width;
          finished_product(shape, count, 2, rows_of_x.data(), x + k, filter, scratch,
                           TileEnds<T>{k > 0 ? scratch : nullptr, bias, nullptr, nullptr, next});
          shape.c_row = out_;
          if (last) put_part(count, column, scratch, finish, residual, y);
        }
      }
    }
    if (!finish.activation) return;
    const Index column = start * 2 * width, length = std::min(out_, end * 2 * width) - column;
    for (Index i = 0; i < count; ++i) finish.activation(y + i * out_ + column, length);
  }

 private:
  /// The outputs from a column on that are less than two vectors.
  void put_part(Index rows, Index column, const T* sums, const Finish<T>& finish, const T* residual, T* y) const {
    using Pack = simd::Pack<T>;
    for (Index i = 0; i < rows; ++i)
      for (Index j = column; j < out_; j += width) {
        const Index lanes = std::min(width, out_ - j);
        Pack v = Pack::load(sums + i * 2 * width + (j - column));
        if (residual) v += Pack::load(residual + i * out_ + j, lanes);
        clamped(finish, v).store(y + i * out_ + j, lanes);
      }
  }

  Index in_, out_, pairs_, chunk_, chunks_ = 1;
};

}  // namespace lamina::kernels::inline LAMINA_ISA
