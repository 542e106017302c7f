#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>

#include "lamina/core/error.hpp"

namespace lamina {

/// Signed, as Eigen's: extents, positions and counts.
using Index = std::ptrdiff_t;

/// The number of parts when n is cut into parts of `size`, the last one perhaps smaller; none for n <= 0.
constexpr Index parts_of(Index n, Index size) { return n > 0 ? (n - 1) / size + 1 : 0; }

/// Counts one more; a counter that came from a file may be at its maximum, and stays there.
template <std::signed_integral I>
constexpr void count_up(I& counter) {
  if (counter < std::numeric_limits<I>::max()) ++counter;
}

/// The extents of a tensor, outermost first; rank 0 (a scalar) to 6. Images are [N, C, H, W].
class Shape {
 public:
  static constexpr int max_rank = 6;  ///< the largest number of dimensions

  /// Rank 0: the shape of a scalar, one element.
  Shape() = default;

  /// Throws ShapeError for more than max_rank extents, a negative extent, or more elements than Index can count.
  /// @{
  Shape(std::initializer_list<Index> extents) : Shape(std::span<const Index>(extents.begin(), extents.size())) {}

  explicit Shape(std::span<const Index> extents) {
    require<ShapeError>(extents.size() <= max_rank, "Shape: at most ", max_rank, " dimensions, got ", extents.size());
    for (Index extent : extents) extents_[static_cast<std::size_t>(rank_++)] = extent;
    Index count = 1;
    for (Index extent : extents) {
      require<ShapeError>(extent >= 0, "Shape: extents must not be negative, got ", *this);
      require<ShapeError>(extent == 0 || count <= std::numeric_limits<Index>::max() / 64 / extent, "Shape: ", *this,
                          " has more elements than can be addressed");
      count *= extent;
    }
  }
  /// @}

  /// The number of dimensions.
  int rank() const { return rank_; }

  /// Extent of an axis; negative axes count from the end. Throws ShapeError for an axis that does not exist.
  Index operator[](int axis) const { return extents_[position(axis)]; }

  /// The number of elements: the product of the extents, 1 for rank 0.
  Index numel() const { return product(0, rank_); }

  /// Product of the extents of axes first..last-1: `shape.product(2, 4)` is H*W of an image batch.
  Index product(int first, int last) const {
    Index count = 1;
    for (int axis = first; axis < last; ++axis) count *= (*this)[axis];
    return count;
  }

  /// This shape with one extent replaced.
  Shape with(int axis, Index extent) const {
    std::array<Index, max_rank> extents = extents_;
    extents[position(axis)] = extent;
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank_)));
  }

  /// The extents from an axis on: `shape.tail(1)` is one sample's shape.
  Shape tail(int axis) const {
    Shape result;
    for (; axis < rank_; ++axis) result.extents_[static_cast<std::size_t>(result.rank_++)] = (*this)[axis];
    return result;
  }

  /// This shape under a new outermost extent: `sample.batch(8)`.
  Shape batch(Index extent) const {
    std::array<Index, max_rank + 1> extents{extent};
    std::copy(begin(), end(), extents.begin() + 1);
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank_) + 1));
  }

  /// The extents, outermost first.
  /// @{
  const Index* begin() const { return extents_.data(); }
  const Index* end() const { return extents_.data() + rank_; }
  /// @}

  /// The same rank and the same extents.
  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

  /// As PyTorch prints it: "[8, 4, 224, 224]".
  std::string to_string() const {
    std::string out = "[";
    for (int axis = 0; axis < rank_; ++axis) out += text(axis ? ", " : "", (*this)[axis]);
    return out + "]";
  }

 private:
  std::size_t position(int axis) const {
    const int position = axis < 0 ? axis + rank_ : axis;
    if (position < 0 || position >= rank_) throw ShapeError(text("Shape: no axis ", axis, " in ", to_string()));
    return static_cast<std::size_t>(position);
  }

  std::array<Index, max_rank> extents_{};
  int rank_ = 0;
};

}  // namespace lamina
