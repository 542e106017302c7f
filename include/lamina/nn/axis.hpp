#pragma once

#include <string>

#include "lamina/core/shape.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// The axis that `dim`, which may count from the end, means. Throws ShapeError naming the caller if there is none.
template <class Caller>
int axis_position(int dim, const Shape& shape, const Caller& caller) {
  const int position = dim < 0 ? dim + shape.rank() : dim;
  require<ShapeError>(position >= 0 && position < shape.rank(), caller, ": no axis ", dim, " in shape ", shape);
  return position;
}

/// A shape as [outer, n, inner] around one of its axes.
struct AroundAxis {
  Index outer, n, inner;

  template <class Caller>
  AroundAxis(const Shape& shape, int dim, const Caller& caller) {
    const int axis = axis_position(dim, shape, caller);
    outer = shape.product(0, axis);
    n = shape[axis];
    inner = shape.product(axis + 1, shape.rank());
  }
};

}  // namespace lamina::inline LAMINA_ABI::detail
