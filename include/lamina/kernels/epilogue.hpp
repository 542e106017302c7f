#pragma once

#include <tuple>

#include "lamina/core/shape.hpp"
#include "lamina/kernels/simd.hpp"

/// What happens to results before they are stored. An epilogue is called as e(row, column, values, partial...) with a
/// vector of results of one row, beginning at a column, and returns what to store; `partial`, if given, is how many of
/// the lanes count, to be handed on to Pack::load. Any lambda of that form will do.
namespace lamina::kernels {

/// Stores the results as they are.
struct AsIs {
  template <class V, class... Partial>
  V operator()(Index, Index, V values, Partial...) const {
    return values;
  }
};

/// values + bias[column].
template <class T>
struct ColumnBias {
  const T* bias;
  template <class... Partial>
  simd::Pack<T> operator()(Index, Index column, simd::Pack<T> values, Partial... partial) const {
    return values + simd::Pack<T>::load(bias + column, partial...);
  }
};

/// values + bias[row].
template <class T>
struct RowBias {
  const T* bias;
  template <class... Partial>
  simd::Pack<T> operator()(Index row, Index, simd::Pack<T> values, Partial...) const {
    return values + simd::Pack<T>(bias[row]);
  }
};

/// values * scale[row] + shift[row], a normalisation folded into the product before it.
template <class T>
struct RowScaleShift {
  const T* scale;
  const T* shift;
  template <class... Partial>
  simd::Pack<T> operator()(Index row, Index, simd::Pack<T> values, Partial...) const {
    return multiply_add(values, simd::Pack<T>(scale[row]), simd::Pack<T>(shift[row]));
  }
};

/// values + residual[row * row_stride + column].
template <class T>
struct AddResidual {
  const T* residual;
  Index row_stride;
  template <class... Partial>
  simd::Pack<T> operator()(Index row, Index column, simd::Pack<T> values, Partial... partial) const {
    return values + simd::Pack<T>::load(residual + row * row_stride + column, partial...);
  }
};

/// f(values), an elementwise function such as an activation.
template <class F>
struct Activation {
  F f;
  template <class V, class... Partial>
  V operator()(Index, Index, V values, Partial...) const {
    return f(values);
  }
};
template <class F>
Activation(F) -> Activation<F>;

/// The epilogues one after the other: Chain{ColumnBias{bias}, Activation{relu}}.
template <class... E>
struct Chain {
  std::tuple<E...> epilogues;
  explicit Chain(E... e) : epilogues(e...) {}
  template <class V, class... Partial>
  V operator()(Index row, Index column, V values, Partial... partial) const {
    std::apply([&](const E&... e) { ((values = e(row, column, values, partial...)), ...); }, epilogues);
    return values;
  }
};

}  // namespace lamina::kernels
