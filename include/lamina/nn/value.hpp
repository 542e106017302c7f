#pragma once

#include <any>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI {

/// A few values in order; usually one, which then takes no memory beside it.
template <class T>
class Few {
 public:
  Few() = default;
  /// One or more.
  template <std::convertible_to<T>... U>
  Few(T first, U&&... rest) : size_(1 + sizeof...(rest)), first_(std::move(first)) {
    rest_.reserve(sizeof...(rest));
    (rest_.push_back(std::forward<U>(rest)), ...);
  }

  /// How many there are.
  std::size_t size() const { return size_; }
  /// Whether there are none.
  bool empty() const { return size_ == 0; }
  /// Element i, which must be below size().
  /// @{
  T& operator[](std::size_t i) { return i == 0 ? first_ : rest_[i - 1]; }
  const T& operator[](std::size_t i) const { return i == 0 ? first_ : rest_[i - 1]; }
  /// @}

  /// Appends one.
  void push_back(T value) {
    if (size_++ == 0)
      first_ = std::move(value);
    else
      rest_.push_back(std::move(value));
  }

 private:
  std::size_t size_ = 0;
  T first_{};
  std::vector<T> rest_;
};

template <class Scalar>
class Primitive;
template <class Scalar>
class Flow;
template <class Scalar>
class Checkpoint;

namespace detail {
/// Computes a tensor again.
using Again = std::function<std::any()>;

template <class Scalar>
struct Pending;
template <class Scalar>
class Computing;
template <class Scalar>
class Training;
template <class Scalar>
class Recording;
}  // namespace detail

/// What goes from module to module in a flow: a tensor, with how its rows divide into sequences if it is a packed
/// batch. Where nothing is computed (output_shape, record) there is a shape alone. A copy is cheap.
template <class Scalar = float>
class Value {
 public:
  Value() = default;
  /// A tensor; or a matrix of Eigen's, [rows, columns]: a vector is a column, [N, 1], as a layer of one feature takes
  /// it.
  template <std::convertible_to<Tensor<Scalar>> T>
  Value(T&& values) : tensor(std::forward<T>(values)) {
    if constexpr (requires { values.derived(); }) tensor = std::move(tensor).reshape({values.rows(), values.cols()});
  }
  /// Rows [tokens, features] of sequences, one behind the other.
  Value(Tensor<Scalar> rows, Sequences division)
      : tensor(std::move(rows)), sequences(std::make_shared<const Sequences>(std::move(division))) {}
  /// Ids, as numbers.
  /// @{
  Value(const Labels& ids) : tensor(ids.cast<Scalar>()) {}
  Value(const PackedTokens& tokens) : Value(tokens.ids.template cast<Scalar>(), tokens.sequences) {}
  /// @}

  /// A value of which only the shape is known.
  static Value of_shape(const Shape& shape, std::shared_ptr<const Sequences> division = nullptr) {
    Value value;
    value.shape_ = shape;
    value.abstract_ = true;
    value.sequences = std::move(division);
    return value;
  }

  /// Of the tensor, or what it is known to be where values are shapes. Of images in blocks, [N, C, H, W].
  const Shape& shape() const { return abstract_ || blocked_ ? shape_ : tensor.shape(); }

  /// Whether the tensor has the channels of images in blocks (see Blocks): [N, ceil(C / L), H, W, L].
  bool blocked() const { return blocked_; }

  /// Of a layer's input: the values of which it is the join, if that has not been computed (see Joins); else null.
  const Few<Value>* parts() const;

  /// In training, what norms have found out of the channels of this value (mean and biased variance of each, [C, 2]),
  /// for the next norm of it: DenseNet has a dozen. Empty at first; null elsewhere.
  const std::shared_ptr<std::vector<double>>& moments() const { return moments_; }

  Tensor<Scalar> tensor;                            ///< a layer's input and result; not to be looked at in a flow
  std::shared_ptr<const Sequences> sequences = {};  ///< none: a dense batch

 private:
  friend class Flow<Scalar>;
  friend class detail::Computing<Scalar>;
  friend class detail::Training<Scalar>;
  friend class detail::Recording<Scalar>;
  friend class Checkpoint<Scalar>;

  Shape shape_;
  bool abstract_ = false, blocked_ = false;
  Index id_ = -1;  // of the runner; -1: nobody's result
  std::shared_ptr<detail::Pending<Scalar>> pending_;
  detail::Again again_;  // if it need not be saved
  std::shared_ptr<std::vector<double>> moments_;
};

/// The inputs, or results, of a module.
template <class Scalar = float>
using Values = Few<Value<Scalar>>;

}  // namespace lamina::inline LAMINA_ABI
