#pragma once

#include "lamina/core/shape.hpp"
#include "lamina/kernels/simd.hpp"

/// What happens to results before they are stored. An epilogue is called as e(row, column, values, partial...) with a
/// vector of results of one row, beginning at a column, and returns what to store; `partial`, if given, is how many of
/// the lanes count, to be handed on to Pack::load. Any lambda of that form will do.
namespace lamina::kernels::inline LAMINA_ISA {

/// Stores the results as they are.
struct AsIs {
  /// The values.
  template <class V, class... Partial>
  V operator()(Index, Index, V values, Partial...) const {
    return values;
  }
};

/// values + bias[column].
template <class T>
struct ColumnBias {
  const T* bias;  ///< by column
  /// The values with their bias.
  template <class... Partial>
  simd::Pack<T> operator()(Index, Index column, simd::Pack<T> values, Partial... partial) const {
    return values + simd::Pack<T>::load(bias + column, partial...);
  }
};

/// f(values), an elementwise function such as an activation.
template <class F>
struct Activation {
  F f;  ///< called with a vector of results
  /// f of the values.
  template <class V, class... Partial>
  V operator()(Index, Index, V values, Partial...) const {
    return f(values);
  }
};
/// Takes the type of the function.
template <class F>
Activation(F) -> Activation<F>;

}  // namespace lamina::kernels::inline LAMINA_ISA
