#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/core/shape.hpp"
#include "lamina/core/storage.hpp"

namespace lamina {

/// A dense array of up to six dimensions: contiguous, row-major, 64-byte aligned, a value.
///
/// Copies share storage until one of them is written (copy-on-write); moves hand it over. Every member that can write
/// (non-const data(), array(), matrix(), operator()) first makes this tensor the only owner, so a function that takes
/// its argument by value works in place exactly when nobody else holds the data. Reading one tensor from many threads
/// is safe; writing is safe when no other thread uses the same Tensor object.
///
/// A default-constructed tensor is empty: shape [0], no storage.
template <class Scalar = float>
class Tensor {
  static_assert(std::is_trivially_copyable_v<Scalar>);

 public:
  using value_type = Scalar;                                                              ///< the type of an element
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;                                  ///< a column, see array()
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;  ///< row-major, see matrix()

  Tensor() : shape_{0} {}

  /// Uninitialised elements.
  explicit Tensor(const Shape& shape) : shape_(shape) {
    if (const Index n = shape.numel()) storage_ = core_detail::Storage(static_cast<std::size_t>(n) * sizeof(Scalar));
    data_ = reinterpret_cast<Scalar*>(storage_.data());
  }

  /// The elements in row-major order. Throws ShapeError unless there are shape.numel() of them.
  /// @{
  Tensor(const Shape& shape, std::initializer_list<Scalar> values)
      : Tensor(shape, std::span<const Scalar>(values.begin(), values.size())) {}
  Tensor(const Shape& shape, std::span<const Scalar> values) : Tensor(shape) {
    require<ShapeError>(static_cast<Index>(values.size()) == numel(), "Tensor: shape ", shape, " needs ", numel(),
                        " values, got ", values.size());
    if (data_) std::memcpy(data_, values.data(), values.size_bytes());
  }
  Tensor(const Shape& shape, const std::vector<Scalar>& values) : Tensor(shape, std::span<const Scalar>(values)) {}
  /// @}

  /// A copy of an Eigen matrix or expression, shape [rows, cols] (a column vector gives [rows]).
  template <class Derived>
  Tensor(const Eigen::DenseBase<Derived>& matrix)
      : Tensor(Derived::ColsAtCompileTime == 1 ? Shape{matrix.rows()} : Shape{matrix.rows(), matrix.cols()}) {
    if constexpr (std::is_base_of_v<Eigen::ArrayBase<Derived>, Derived>)
      this->matrix(matrix.rows(), matrix.cols()).array() = matrix.derived();
    else
      this->matrix(matrix.rows(), matrix.cols()) = matrix.derived();
  }

  /// A tensor of one value: any, 0, or 1.
  /// @{
  static Tensor full(const Shape& shape, Scalar value) {
    Tensor result(shape);
    result.fill(value);
    return result;
  }
  static Tensor zeros(const Shape& shape) {
    Tensor result(shape);
    if (result.data_) std::memset(result.data_, 0, static_cast<std::size_t>(shape.numel()) * sizeof(Scalar));
    return result;
  }
  static Tensor ones(const Shape& shape) { return full(shape, Scalar(1)); }
  /// @}

  /// A tensor over memory that somebody else owns, without copying: after `auto t = Tensor<>::wrap(data, shape)`, what
  /// is written to t goes to that memory as long as no other tensor shares it. This holds for t alone: its copies and
  /// what it is moved or assigned to copy the elements before the first write, so no layer or function ever writes to
  /// memory that was handed to it. `keep_alive`, if given, is held until the last tensor over the memory is gone;
  /// without it the memory must outlive them all.
  static Tensor wrap(Scalar* data, const Shape& shape, std::shared_ptr<const void> keep_alive = nullptr) {
    return Tensor(data, false, shape, std::move(keep_alive));
  }
  /// The same over constant memory: the first write makes a copy.
  static Tensor wrap(const Scalar* data, const Shape& shape, std::shared_ptr<const void> keep_alive = nullptr) {
    return Tensor(const_cast<Scalar*>(data), true, shape, std::move(keep_alive));
  }

  /// The extents, outermost first.
  const Shape& shape() const { return shape_; }
  /// The number of dimensions.
  int rank() const { return shape_.rank(); }
  /// The extent of an axis; negative axes count from the end. Throws ShapeError for an axis that does not exist.
  Index dim(int axis) const { return shape_[axis]; }
  /// The number of elements, 1 for rank 0.
  Index numel() const { return shape_.numel(); }
  /// Whether there are no elements.
  bool empty() const { return numel() == 0; }

  /// The elements in row-major order. Access for writing detaches: shared storage is copied first.
  /// @{
  const Scalar* data() const { return data_; }
  Scalar* data() {
    detach();
    return data_;
  }
  /// @}
  /// The elements as a span; access for writing detaches.
  /// @{
  std::span<const Scalar> values() const { return {data_, static_cast<std::size_t>(numel())}; }
  std::span<Scalar> values() {
    detach();
    return {data_, static_cast<std::size_t>(numel())};
  }
  /// @}

  /// One element by its full index. Throws ShapeError for a wrong number of indices or one out of range.
  /// @{
  template <std::convertible_to<Index>... Indices>
  const Scalar& operator()(Indices... indices) const {
    return data_[offset({static_cast<Index>(indices)...})];
  }
  template <std::convertible_to<Index>... Indices>
  Scalar& operator()(Indices... indices) {
    detach();
    return data_[offset({static_cast<Index>(indices)...})];
  }
  /// @}

  /// The value of a tensor of one element.
  Scalar item() const {
    require<ShapeError>(numel() == 1, "Tensor::item: expected one element, got shape ", shape_);
    return *data_;
  }

  /// The same elements under another shape, sharing storage; one extent may be -1 and is computed.
  /// Throws ShapeError when the counts differ.
  /// @{
  Tensor reshape(std::initializer_list<Index> extents) const& { return Tensor(*this).reshape(extents); }
  Tensor reshape(std::initializer_list<Index> extents) && {
    constexpr Index largest = std::numeric_limits<Index>::max();
    std::vector<Index> sizes(extents);
    Index known = 1;
    Index* unknown = nullptr;
    for (Index& extent : sizes) {
      if (extent == -1 && !unknown)
        unknown = &extent;
      else if (extent >= 0)
        known = extent > 0 && known > largest / extent ? largest : known * extent;
    }
    if (unknown) *unknown = known > 0 ? numel() / known : 0;
    return std::move(*this).reshape(Shape(std::span<const Index>(sizes)));
  }
  Tensor reshape(const Shape& shape) const& { return Tensor(*this).reshape(shape); }
  Tensor reshape(const Shape& shape) && {
    require<ShapeError>(shape.numel() == numel(), "Tensor::reshape: cannot view ", shape_, " as ", shape);
    shape_ = shape;
    return std::move(*this);
  }
  /// @}

  /// Elements begin..end-1 along the first axis, sharing storage.
  Tensor slice(Index begin, Index end) const {
    require<ShapeError>(rank() > 0 && 0 <= begin && begin <= end && end <= shape_[0], "Tensor::slice: [", begin, ", ",
                        end, ") is not within the first axis of ", shape_);
    Tensor result = *this;
    result.shape_ = shape_.with(0, end - begin);
    result.data_ += begin * shape_.product(1, rank());
    return result;
  }

  /// One entry along the first axis, that axis removed, sharing storage: `images[3]` has shape [C, H, W].
  Tensor operator[](Index i) const {
    require<ShapeError>(rank() > 0 && 0 <= i && i < shape_[0], "Tensor: no entry ", i, " in ", shape_);
    Tensor result = slice(i, i + 1);
    result.shape_ = shape_.tail(1);
    return result;
  }

  /// Eigen views of the elements, without copying: all as one column; as row-major rows x cols.
  /// @{
  auto array() const { return Eigen::Map<const Array>(data_, numel()); }
  auto array() {
    detach();
    return Eigen::Map<Array>(data_, numel());
  }
  auto vector() const { return Eigen::Map<const Eigen::Matrix<Scalar, Eigen::Dynamic, 1>>(data_, numel()); }
  auto vector() {
    detach();
    return Eigen::Map<Eigen::Matrix<Scalar, Eigen::Dynamic, 1>>(data_, numel());
  }
  auto matrix(Index rows, Index cols) const {
    check_matrix(rows, cols);
    return Eigen::Map<const Matrix>(data_, rows, cols);
  }
  auto matrix(Index rows, Index cols) {
    check_matrix(rows, cols);
    detach();
    return Eigen::Map<Matrix>(data_, rows, cols);
  }
  /// @}
  /// A rank-2 tensor as its matrix.
  /// @{
  auto matrix() const { return matrix(dim(0), dim(1)); }
  auto matrix() { return matrix(dim(0), dim(1)); }
  /// @}

  /// Sets every element.
  void fill(Scalar value) { std::fill_n(data(), numel(), value); }

  /// The elements converted one by one. From floating point to integers, as static_cast where that is defined; what is
  /// too large or too small becomes the largest or smallest integer, and NaN 0.
  template <class Other>
  Tensor<Other> cast() const {
    if constexpr (std::is_same_v<Other, Scalar>) {
      return *this;
    } else {
      Tensor<Other> result(shape_);
      std::transform(data_, data_ + numel(), result.data(), &converted<Other>);
      return result;
    }
  }

  /// Whether both have the same storage, so that a write to one would detach it.
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_ && storage_.data(); }

  /// Whether the elements are in memory of Lamina's own; false for wrapped memory, to which others may write.
  bool owns_data() const { return storage_.owned(); }

  /// Whether nobody else holds the elements, other tensors or the owner of wrapped memory: what takes a tensor by value
  /// may then put its result there.
  bool exclusive() const { return storage_.exclusive(); }

  /// Same shape and the same bits.
  friend bool operator==(const Tensor& a, const Tensor& b) {
    return a.shape_ == b.shape_ &&
           (a.empty() || std::memcmp(a.data_, b.data_, static_cast<std::size_t>(a.numel()) * sizeof(Scalar)) == 0);
  }

 private:
  Tensor(Scalar* data, bool constant, const Shape& shape, std::shared_ptr<const void> keep_alive)
      : shape_(shape), storage_(data, constant, std::move(keep_alive)), data_(data) {}

  template <class Other>
  static Other converted(Scalar value) {
    using Limits = std::numeric_limits<Other>;
    if constexpr (std::is_floating_point_v<Scalar> && std::is_integral_v<Other> && !std::is_same_v<Other, bool>) {
      if (!(value == value)) return Other(0);
      // As powers of two, which Scalar holds exactly: max() + 1, and min() or 0.
      const Scalar beyond = std::ldexp(Scalar(1), Limits::digits), least = Limits::is_signed ? -beyond : Scalar(0);
      if (value >= beyond) return Limits::max();
      if (value <= least) return Limits::min();
    }
    return static_cast<Other>(value);
  }

  void detach() {
    if (storage_.writable()) return;
    Tensor copy(shape_);
    if (copy.data_) std::memcpy(copy.data_, data_, static_cast<std::size_t>(numel()) * sizeof(Scalar));
    *this = std::move(copy);
  }

  Index offset(std::initializer_list<Index> indices) const {
    bool valid = static_cast<int>(indices.size()) == rank();
    Index position = 0;
    int axis = 0;
    for (Index i : indices) {
      valid = valid && 0 <= i && i < shape_[axis];
      if (!valid) break;
      position = position * shape_[axis++] + i;
    }
    if (!valid)
      throw ShapeError(
          text("Tensor: no element ", Shape(std::span<const Index>(indices.begin(), indices.size())), " in ", shape_));
    return position;
  }

  void check_matrix(Index rows, Index cols) const {
    require<ShapeError>(
        rows >= 0 && cols >= 0 && (cols == 0 ? numel() == 0 : numel() % cols == 0 && rows == numel() / cols),
        "Tensor::matrix: cannot view ", shape_, " as ", rows, " x ", cols);
  }

  Shape shape_;
  core_detail::Storage storage_;
  Scalar* data_ = nullptr;
};

/// Deduces the scalar type of an Eigen expression.
template <class Derived>
Tensor(const Eigen::DenseBase<Derived>&) -> Tensor<typename Derived::Scalar>;

/// Class indices, token ids, per-pixel classes.
using Labels = Tensor<std::int32_t>;

}  // namespace lamina

// Arithmetic, which is computed in vectors of the instruction set: of all that is in core/, only this is another
// function in each of its units.
namespace lamina::core_detail::inline LAMINA_ISA {

/// y = f(y, x...) for every element y of a tensor: in vectors, what is left one by one.
template <class Scalar, class F, class... X>
Tensor<Scalar>& change(Tensor<Scalar>& tensor, F f, const X*... x) {
  typedef Scalar Vector __attribute__((vector_size(LAMINA_VECTOR_BYTES)));
  constexpr Index width = LAMINA_VECTOR_BYTES / static_cast<Index>(sizeof(Scalar));
  const Index n = tensor.numel();
  Scalar* const to = tensor.data();
  const auto at = [&](Index i, auto y) {
    const auto load = [&](const Scalar* from) {
      auto elements = y;
      std::memcpy(&elements, from + i, sizeof y);
      return elements;
    };
    y = load(to);
    f(y, load(x)...);
    std::memcpy(to + i, &y, sizeof y);
  };
  Index i = 0;
  for (; i + width <= n; i += width) at(i, Vector{});
  for (; i < n; ++i) at(i, Scalar{});
  return tensor;
}

template <class Scalar, class F>
Tensor<Scalar>& change(const char* operation, Tensor<Scalar>& a, const Tensor<Scalar>& b, F f) {
  require<ShapeError>(a.shape() == b.shape(), "Tensor ", operation, ": shapes ", a.shape(), " and ", b.shape(),
                      " differ");
  return change(a, f, b.data());
}

}  // namespace lamina::core_detail::inline LAMINA_ISA

namespace lamina::inline LAMINA_ISA {

/// Elementwise, in place; throws ShapeError unless the shapes are equal.
/// @{
template <class Scalar>
Tensor<Scalar>& operator+=(Tensor<Scalar>& a, const std::type_identity_t<Tensor<Scalar>>& b) {
  return core_detail::change("+=", a, b, [](auto& y, const auto& x) { y += x; });
}
template <class Scalar>
Tensor<Scalar>& operator-=(Tensor<Scalar>& a, const std::type_identity_t<Tensor<Scalar>>& b) {
  return core_detail::change("-=", a, b, [](auto& y, const auto& x) { y -= x; });
}
template <class Scalar>
Tensor<Scalar>& operator*=(Tensor<Scalar>& a, const std::type_identity_t<Tensor<Scalar>>& b) {
  return core_detail::change("*=", a, b, [](auto& y, const auto& x) { y *= x; });
}
template <class Scalar>
Tensor<Scalar>& operator/=(Tensor<Scalar>& a, const std::type_identity_t<Tensor<Scalar>>& b) {
  return core_detail::change("/=", a, b, [](auto& y, const auto& x) { y /= x; });
}
template <class Scalar>
Tensor<Scalar>& operator+=(Tensor<Scalar>& a, std::type_identity_t<Scalar> term) {
  return core_detail::change(a, [term](auto& y) { y += term; });
}
template <class Scalar>
Tensor<Scalar>& operator-=(Tensor<Scalar>& a, std::type_identity_t<Scalar> term) {
  return core_detail::change(a, [term](auto& y) { y -= term; });
}
template <class Scalar>
Tensor<Scalar>& operator*=(Tensor<Scalar>& a, std::type_identity_t<Scalar> factor) {
  return core_detail::change(a, [factor](auto& y) { y *= factor; });
}
template <class Scalar>
Tensor<Scalar>& operator/=(Tensor<Scalar>& a, std::type_identity_t<Scalar> divisor) {
  return core_detail::change(a, [divisor](auto& y) { y /= divisor; });
}
/// @}

// What is moved from a owns its memory: a itself may be a tensor that wraps somebody's.
/// Elementwise, in a's storage if nobody else holds it; throws ShapeError unless the shapes are equal.
/// @{
template <class Scalar>
Tensor<Scalar> operator+(Tensor<Scalar> a, const std::type_identity_t<Tensor<Scalar>>& b) {
  Tensor<Scalar> result = std::move(a);
  result += b;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator-(Tensor<Scalar> a, const std::type_identity_t<Tensor<Scalar>>& b) {
  Tensor<Scalar> result = std::move(a);
  result -= b;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator*(Tensor<Scalar> a, const std::type_identity_t<Tensor<Scalar>>& b) {
  Tensor<Scalar> result = std::move(a);
  result *= b;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator/(Tensor<Scalar> a, const std::type_identity_t<Tensor<Scalar>>& b) {
  Tensor<Scalar> result = std::move(a);
  result /= b;
  return result;
}
/// @}

/// With a number for each element, in a's storage if nobody else holds it.
/// @{
template <class Scalar>
Tensor<Scalar> operator+(Tensor<Scalar> a, std::type_identity_t<Scalar> term) {
  Tensor<Scalar> result = std::move(a);
  result += term;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator+(std::type_identity_t<Scalar> term, Tensor<Scalar> a) {
  return std::move(a) + term;
}
template <class Scalar>
Tensor<Scalar> operator-(Tensor<Scalar> a, std::type_identity_t<Scalar> term) {
  Tensor<Scalar> result = std::move(a);
  result -= term;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator-(std::type_identity_t<Scalar> from, Tensor<Scalar> a) {
  Tensor<Scalar> result = std::move(a);
  core_detail::change(result, [from](auto& y) { y = from - y; });
  return result;
}
template <class Scalar>
Tensor<Scalar> operator-(Tensor<Scalar> a) {
  Tensor<Scalar> result = std::move(a);
  core_detail::change(result, [](auto& y) { y = -y; });
  return result;
}
template <class Scalar>
Tensor<Scalar> operator*(Tensor<Scalar> a, std::type_identity_t<Scalar> factor) {
  Tensor<Scalar> result = std::move(a);
  result *= factor;
  return result;
}
template <class Scalar>
Tensor<Scalar> operator*(std::type_identity_t<Scalar> factor, Tensor<Scalar> a) {
  return std::move(a) * factor;
}
template <class Scalar>
Tensor<Scalar> operator/(Tensor<Scalar> a, std::type_identity_t<Scalar> divisor) {
  Tensor<Scalar> result = std::move(a);
  result /= divisor;
  return result;
}
/// @}

}  // namespace lamina::inline LAMINA_ISA
