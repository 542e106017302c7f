#pragma once

#include <string>

#include "lamina/core/shape.hpp"

namespace lamina::detail {

/// The axis that `dim`, which may count from the end, means. Throws ShapeError naming the caller if there is none.
inline int axis_position(int dim, const Shape& shape, const std::string& caller) {
  const int position = dim < 0 ? dim + shape.rank() : dim;
  require<ShapeError>(position >= 0 && position < shape.rank(), caller, ": no axis ", dim, " in shape ", shape);
  return position;
}

/// A shape as [outer, n, inner] around one of its axes.
struct AroundAxis {
  Index outer, n, inner;

  AroundAxis(const Shape& shape, int dim, const std::string& caller) {
    const int axis = axis_position(dim, shape, caller);
    outer = shape.product(0, axis);
    n = shape[axis];
    inner = shape.product(axis + 1, shape.rank());
  }
};

}  // namespace lamina::detail
