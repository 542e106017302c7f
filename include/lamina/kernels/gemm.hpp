#pragma once

#include <type_traits>

#include "lamina/core/tensor.hpp"

/// Matrix products. Results do not depend on the number of threads: the sum over k runs in one fixed order.
namespace lamina::kernels {

/// A matrix in memory: element (i, j) at data[i * row_stride + j * column_stride].
template <class T>
struct MatrixView {
  T* data;  ///< element (0, 0)
  /// Distances of neighbours in memory.
  /// @{
  Index row_stride, column_stride;
  /// @}

  /// The address of element (i, j).
  T* at(Index i, Index j) const { return data + i * row_stride + j * column_stride; }
  /// The part from row i and column j on.
  MatrixView from(Index i, Index j) const { return {at(i, j), row_stride, column_stride}; }
  /// Rows and columns change places.
  MatrixView transpose() const { return {data, column_stride, row_stride}; }
  /// The same to read.
  operator MatrixView<const T>() const requires(!std::is_const_v<T>) { return {data, row_stride, column_stride}; }
};
/// An operand of a product, which does not take part in deducing T.
template <class T>
using Operand = MatrixView<const std::type_identity_t<T>>;
/// How a product is added to what is there.
enum class Store { assign, add };

/// The right operand [k, n] of many products, once and for all in the panels that they read. (The left operand is read
/// as it is; nothing is gained by packing it.)
template <class T>
struct PackedMatrix {
  /// Rows and columns.
  /// @{
  Index k = 0, n = 0;
  /// @}
  Tensor<T> panels = {};  ///< as the products read it
};

inline namespace LAMINA_KERNELS {

/// Rows lie one behind the other.
template <class T>
MatrixView<T> row_major(T* data, Index columns) {
  return {data, columns, 1};
}
/// The transpose of a matrix whose rows lie one behind the other.
template <class T>
MatrixView<const T> transposed(const T* data, Index columns) {
  return {data, 1, columns};
}

/// c = a b or, with Store::add, c + a b; plus column_bias[j], unless null, in every row. a is [m, k], b is [k, n], c is
/// [m, n]. a and b may have any strides, so that a transpose costs no copy; c's columns must be contiguous, and c must
/// not overlap a or b. Every sum runs in one order for any number of threads.
template <class T>
void gemm(Index m, Index n, Index k, const Operand<T>& a, const Operand<T>& b, const MatrixView<T>& c,
          Store store = Store::assign, const std::type_identity_t<T>* column_bias = nullptr);

/// As gemm, with every sum in the order of k from what is in c (or zero) on, whatever the sizes: the bits of a result
/// do not depend on m and n.
template <class T>
void gemm_in_order(Index m, Index n, Index k, const Operand<T>& a, const Operand<T>& b, T* c, Store store);

/// Copies b [k, n] into panels.
template <class T>
PackedMatrix<T> pack_matrix(Index k, Index n, const Operand<T>& b);

/// gemm with a packed b.
template <class T>
void gemm(Index m, const Operand<T>& a, const PackedMatrix<T>& b, const MatrixView<T>& c, Store store = Store::assign,
          const std::type_identity_t<T>* column_bias = nullptr);

/// A product whose c has rows of n.
template <class T>
void gemm(Index m, Index n, Index k, const Operand<T>& a, const Operand<T>& b, T* c, Store store = Store::assign,
          const std::type_identity_t<T>* column_bias = nullptr) {
  gemm(m, n, k, a, b, MatrixView<T>{c, n, 1}, store, column_bias);
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels

#ifndef LAMINA_DISPATCHED
#include "lamina/kernels/gemm-inl.hpp"
#endif
