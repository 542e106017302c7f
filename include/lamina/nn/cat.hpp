#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Values one after the other along an axis, as torch.cat; negative axes count from the end. Throws ShapeError for
/// shapes that differ in another axis.
template <class Scalar = float>
class Cat : public JointLayer<Cat<Scalar>, Scalar> {
 public:
  /// Along an axis; negative ones count from the end.
  explicit Cat(int dim = 1) : dim_(dim) {}

  /// What it was made with.
  int dim() const { return dim_; }

  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(!x.empty(), *this, ": takes at least one value");
    const Shape& first = x[0].shape();
    const int axis = detail::axis_position(dim_, first, Cat::type_name);
    Index total = first[axis];
    for (std::size_t i = 1; i < x.size(); ++i) {
      require<ShapeError>(fit(first, x[i].shape()), *this, ": shapes may differ in axis ", axis, " only, got ", first,
                          " and ", x[i].shape());
      total += x[i].shape()[axis];
    }
    return first.with(axis, total);
  }
  Fields fields() const override { return Fields("Cat").argument("dim", dim_); }
  /// Along the channels it is computed only where its parts cannot be taken.
  Joins joins() const override { return dim_ == 1 ? Joins::only : Joins::no; }
  /// Along the channels, where each part fills its blocks.
  Blocks blocks(const Values<Scalar>& x) const override {
    return dim_ == 1 && detail::fill_blocks(x) ? Blocks::keeps : Blocks::no;
  }

  /// Whether two shapes differ along the axis at most.
  bool fit(const Shape& a, const Shape& b) const {
    const int axis = detail::axis_position(dim_, a, type_name);
    return a.rank() == b.rank() && a.with(axis, 1) == b.with(axis, 1);
  }

 private:
  static constexpr const char* type_name = "Cat";

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Shape shape = output_shapes(x)[0];
    Tensor<Scalar> y(x[0].blocked() ? detail::blocked_shape<Scalar>(shape) : shape);
    const auto [outer, n, inner] = around(y.shape());
    Scalar* out = y.data();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Tensor<Scalar> part = std::move(x[i].tensor);
      if (part.empty()) continue;
      const Index columns = part.dim(dim_) * inner;
      kernels::copy_rows(outer, columns, part.data(), columns, out, n * inner);
      out += columns;
    }
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    std::vector<Shape> shapes;
    for (std::size_t i = 0; i < x.size(); ++i) shapes.push_back(x[i].tensor.shape());
    tape.push(std::move(shapes));
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>& needs) override {
    const auto [shapes] = tape.template pop<std::vector<Shape>>();
    const auto [outer, n, inner] = around(dy.shape());
    const Scalar* from = std::as_const(dy).data();
    Few<Tensor<Scalar>> parts;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const Index columns = shapes[i][dim_] * inner;
      Tensor<Scalar> part;
      if (needs[i] == InputGrad::compute) {
        part = Tensor<Scalar>(shapes[i]);
        if (!part.empty()) kernels::copy_rows(outer, columns, from, n * inner, part.data(), columns);
      }
      parts.push_back(std::move(part));
      from += columns;
    }
    return parts;
  }

  detail::AroundAxis around(const Shape& shape) const { return {shape, dim_, type_name}; }

  int dim_;
};

/// Tensors one behind the other along an axis, as torch.concat: concat({a, b}, 1). In a model: Concat, or Cat. Throws
/// ValueError for no tensor, ShapeError for shapes that differ in another axis.
/// @{
template <class T>
Tensor<T> concat(std::span<const Tensor<T>> tensors, int axis = 0) {
  require(!tensors.empty(), "concat: takes at least one tensor");
  const Shape& first = tensors[0].shape();
  const int position = detail::axis_position(axis, first, "concat");
  Index total = 0;
  for (const Tensor<T>& tensor : tensors) {
    const Shape& shape = tensor.shape();
    require<ShapeError>(shape.rank() == first.rank() && shape.with(position, 1) == first.with(position, 1),
                        "concat: shapes may differ in axis ", position, " only, got ", first, " and ", shape);
    total += shape[position];
  }
  Tensor<T> result(first.with(position, total));
  const detail::AroundAxis around(result.shape(), position, "concat");
  T* to = result.data();
  for (const Tensor<T>& tensor : tensors) {
    const Index piece = tensor.dim(position) * around.inner;
    for (Index i = 0; i < around.outer; ++i)
      std::copy_n(tensor.data() + i * piece, piece, to + i * around.n * around.inner);
    to += piece;
  }
  return result;
}
template <class T>
Tensor<T> concat(const std::vector<Tensor<T>>& tensors, int axis = 0) {
  return concat(std::span<const Tensor<T>>(tensors), axis);
}
template <class T>
Tensor<T> concat(std::initializer_list<Tensor<T>> tensors, int axis = 0) {
  return concat(std::span<const Tensor<T>>(tensors.begin(), tensors.size()), axis);
}
/// @}

}  // namespace lamina::inline LAMINA_ABI
