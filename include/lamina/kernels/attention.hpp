#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "lamina/core/random.hpp"

/// Scaled dot-product attention (Vaswani et al. 2017, equation 1) of every head over every sequence of a packed batch:
///
///   y = dropout(softmax(q kᵀ / sqrt(size))) v
///
/// The probabilities exist for one block of queries at a time; backward computes them again.
namespace lamina::kernels {

/// q, k and v are [tokens, heads * size]; sequence i has the rows offsets[i]..offsets[i + 1]-1.
template <class T>
struct AttentionInput {
  std::span<const Index> offsets;  ///< of the sequences' rows
  /// Their number, and the columns of each.
  /// @{
  Index heads, size;
  /// @}
  /// Queries, keys and values.
  /// @{
  const T *q, *k, *v;
  /// @}
  bool causal = false;  ///< a token sees itself and those before it in its sequence, and the rest is not computed
  double dropout = 0;   ///< probability with which a weight is dropped; 0 in inference
  Random draws{};       ///< of the dropout; a probability's factor depends on this and its position alone

  /// Columns of q, k, v and y.
  Index columns() const { return heads * size; }
};

inline namespace LAMINA_KERNELS {

/// y [tokens, heads * size], on any number of threads.
template <class T>
void attention(const AttentionInput<T>& in, T* y);

/// From the gradient of y, those of q, k and v.
template <class T>
void attention_backward(const AttentionInput<T>& in, const T* dy, T* dq, T* dk, T* dv);

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels

#ifndef LAMINA_DISPATCHED
#include "lamina/kernels/attention-inl.hpp"
#endif
