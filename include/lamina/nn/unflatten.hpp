#pragma once

#include <utility>
#include <vector>

#include "lamina/nn/tensor/reshape.hpp"

namespace lamina::inline LAMINA_ABI {

/// One axis as several, without moving an element: Unflatten(1, {3, 4, 5}) makes [N, 3, 4, 5] of [N, 60]. One of the
/// sizes may be -1, whatever is left. Negative axes count from the end. Throws ValueError for other negative sizes or
/// none at all, ShapeError for an axis that the input does not have or whose extent is not the sizes' product.
template <class Scalar = float>
class Unflatten : public detail::Reshaping<Unflatten<Scalar>, Scalar> {
 public:
  /// Axis dim as these sizes.
  Unflatten(int dim, std::vector<Index> sizes) : dim_(dim), sizes_(std::move(sizes)) {
    require(!sizes_.empty(), *this, ": expected at least one size");
    Index unknown = 0;
    for (const Index size : sizes_) {
      require(size >= -1, *this, ": sizes must not be negative, but for one of -1");
      unknown += size == -1;
    }
    require(unknown <= 1, *this, ": at most one size can be -1");
  }

  Shape output_shape(const Shape& input) const override {
    const int axis = detail::axis_position(dim_, input, *this);
    Index known = 1;
    for (const Index size : sizes_) known *= size == -1 ? 1 : size;
    std::vector<Index> extents(input.begin(), input.begin() + axis);
    Index product = 1;
    for (const Index size : sizes_) {
      extents.push_back(size == -1 ? (known > 0 ? input[axis] / known : 0) : size);
      product *= extents.back();
    }
    require<ShapeError>(product == input[axis], *this, ": does not fit axis ", axis, " of shape ", input);
    extents.insert(extents.end(), input.begin() + axis + 1, input.end());
    return Shape(std::span<const Index>(extents));
  }
  Fields fields() const override {
    return Fields("Unflatten").argument("dim", dim_).argument("sizes", detail::list(sizes_));
  }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const std::vector<Index>& sizes() const { return sizes_; }
  /// @}

 private:
  int dim_;
  std::vector<Index> sizes_;
};

}  // namespace lamina::inline LAMINA_ABI
