#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Functions of two numbers. Comparisons and logic give 1 or 0, and have a derivative of zero.
enum class Operation {
  add,
  subtract,
  multiply,
  divide,
  divide_whole,  ///< the quotient without its fraction, as integers divide
  power,
  maximum,
  minimum,
  remainder,  ///< with the sign of the divisor
  fmod,       ///< with the sign of the dividend
  prelu,      ///< a, for a < 0 a b
  equal,
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  logical_and,
  logical_or,
  logical_xor
};

namespace detail {

/// An operation's name, definition and derivatives; null: zero.
template <class Scalar>
struct OperationRow {
  using F = Scalar (*)(Scalar a, Scalar b);
  const char* name;
  F value, by_a = nullptr, by_b = nullptr;
};

template <class Scalar>
const OperationRow<Scalar>& row_of(Operation operation) {
  using S = Scalar;
  constexpr auto one = [](S, S) { return S(1); };
  static const std::array<OperationRow<S>, 19> rows{{
      {"add", [](S a, S b) { return a + b; }, one, one},
      {"subtract", [](S a, S b) { return a - b; }, one, [](S, S) { return S(-1); }},
      {"multiply", [](S a, S b) { return a * b; }, [](S, S b) { return b; }, [](S a, S) { return a; }},
      {"divide", [](S a, S b) { return a / b; }, [](S, S b) { return 1 / b; }, [](S a, S b) { return -a / (b * b); }},
      {"divide_whole", [](S a, S b) { return std::trunc(a / b); }},
      {"power", [](S a, S b) { return std::pow(a, b); }, [](S a, S b) { return b * std::pow(a, b - 1); },
       [](S a, S b) { return a > 0 ? std::pow(a, b) * std::log(a) : S(0); }},
      {"maximum", [](S a, S b) { return a > b || a != a ? a : b; }, [](S a, S b) { return S(a >= b); },
       [](S a, S b) { return S(a < b); }},
      {"minimum", [](S a, S b) { return a < b || a != a ? a : b; }, [](S a, S b) { return S(a <= b); },
       [](S a, S b) { return S(a > b); }},
      {"remainder",
       [](S a, S b) {
         const S rest = std::fmod(a, b);
         return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
       },
       one, [](S a, S b) { return -std::floor(a / b); }},
      {"fmod", [](S a, S b) { return std::fmod(a, b); }, one, [](S a, S b) { return -std::trunc(a / b); }},
      {"prelu", [](S a, S b) { return a < 0 ? a * b : a; }, [](S a, S b) { return a < 0 ? b : S(1); },
       [](S a, S) { return a < 0 ? a : S(0); }},
      {"equal", [](S a, S b) { return S(a == b); }},
      {"less", [](S a, S b) { return S(a < b); }},
      {"less_or_equal", [](S a, S b) { return S(a <= b); }},
      {"greater", [](S a, S b) { return S(a > b); }},
      {"greater_or_equal", [](S a, S b) { return S(a >= b); }},
      {"logical_and", [](S a, S b) { return S(a != 0 && b != 0); }},
      {"logical_or", [](S a, S b) { return S(a != 0 || b != 0); }},
      {"logical_xor", [](S a, S b) { return S((a != 0) != (b != 0)); }},
  }};
  return rows[static_cast<std::size_t>(operation)];
}

/// The shape of values that are repeated as NumPy's: from the last axis on, each has the same extent or 1, and missing
/// axes count as 1. Throws ShapeError, naming the caller, where they differ.
template <class Caller, class V>
Shape joined_shape(const Caller& caller, const V& values) {
  int rank = 0;
  for (std::size_t i = 0; i < values.size(); ++i) rank = std::max(rank, values[i].shape().rank());
  std::vector<Index> extents(static_cast<std::size_t>(rank), 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Shape& shape = values[i].shape();
    for (int axis = -shape.rank(); axis < 0; ++axis) {
      Index& extent = extents[static_cast<std::size_t>(rank + axis)];
      if (extent == 1) extent = shape[axis];
      require<ShapeError>(shape[axis] == 1 || shape[axis] == extent, caller,
                          ": expected shapes that agree where neither is 1, got ", values[0].shape(), " and ", shape);
    }
  }
  return Shape(std::span<const Index>(extents));
}

/// Where elements of repeated tensors lie: a tensor's step along each axis of the joined shape, 0 where it is repeated.
inline std::vector<Index> repeated_steps(const Shape& joined, const Shape& shape) {
  std::vector<Index> steps(static_cast<std::size_t>(joined.rank()), 0);
  Index step = 1;
  for (int axis = -1; axis >= -shape.rank(); --axis) {
    if (shape[axis] != 1) steps[static_cast<std::size_t>(joined.rank() + axis)] = step;
    step *= shape[axis];
  }
  return steps;
}

/// f(i, offsets) for all elements i of a shape in order, with an offset for each of K rows of steps.
template <std::size_t K, class F>
void for_each_offset(const Shape& shape, const std::array<std::vector<Index>, K>& steps, F f) {
  const int rank = shape.rank();
  std::array<Index, Shape::max_rank> at{};
  std::array<Index, K> offsets{};
  const Index n = shape.numel();
  for (Index i = 0; i < n; ++i) {
    f(i, offsets);
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      for (std::size_t k = 0; k < K; ++k) offsets[k] += steps[k][a];
      if (++at[a] < shape[axis]) break;
      for (std::size_t k = 0; k < K; ++k) offsets[k] -= steps[k][a] * at[a];
      at[a] = 0;
    }
  }
}

}  // namespace detail

/// y = f(a, b), elementwise, each repeated as NumPy does: axes are compared from the last one on, and one of extent 1,
/// or that is missing, is repeated. Throws ShapeError for shapes that differ in another way. (Add and Multiply are
/// faster, and want equal ranks.)
template <class Scalar = float>
class Combine : public JointLayer<Combine<Scalar>, Scalar> {
 public:
  /// See Operation.
  explicit Combine(Operation operation) : operation_(operation) {}

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes two values, got ", x.size());
    return detail::joined_shape(*this, x);
  }
  Fields fields() const override { return Fields("Combine").argument("operation", row().name); }

  /// What it was made with.
  Operation operation() const { return operation_; }

 private:
  const detail::OperationRow<Scalar>& row() const { return detail::row_of<Scalar>(operation_); }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Tensor<Scalar> a = std::move(x[0].tensor), b = std::move(x[1].tensor);
    Tensor<Scalar> y(detail::joined_shape(*this, std::array{Value<Scalar>(a), Value<Scalar>(b)}));
    const Scalar *const left = a.data(), *const right = b.data();
    Scalar* const out = y.data();
    const auto f = row().value;
    if (a.shape() == b.shape())
      for (Index i = 0; i < y.numel(); ++i) out[i] = f(left[i], right[i]);
    else
      detail::for_each_offset<2>(
          y.shape(), {detail::repeated_steps(y.shape(), a.shape()), detail::repeated_steps(y.shape(), b.shape())},
          [&](Index i, const auto& at) { out[i] = f(left[at[0]], right[at[1]]); });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [a, b] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    Tensor<Scalar> da = Tensor<Scalar>::zeros(a.shape()), db = Tensor<Scalar>::zeros(b.shape());
    const Scalar *const left = a.data(), *const right = b.data(), *const gradient = std::as_const(dy).data();
    Scalar *const to_a = da.data(), *const to_b = db.data();
    const auto by_a = row().by_a, by_b = row().by_b;
    detail::for_each_offset<2>(
        dy.shape(), {detail::repeated_steps(dy.shape(), a.shape()), detail::repeated_steps(dy.shape(), b.shape())},
        [&](Index i, const auto& at) {
          if (by_a) to_a[at[0]] += gradient[i] * by_a(left[at[0]], right[at[1]]);
          if (by_b) to_b[at[1]] += gradient[i] * by_b(left[at[0]], right[at[1]]);
        });
    return {std::move(da), std::move(db)};
  }

  Operation operation_;
};

/// y = a where the condition is not zero, else b, elementwise, each repeated as by Combine. Takes condition, a and b.
/// There is no gradient for the condition.
template <class Scalar = float>
class Where : public JointLayer<Where<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes a condition and two values, got ", x.size());
    return detail::joined_shape(*this, x);
  }

 private:
  using Steps = std::array<std::vector<Index>, 3>;

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y(output_shapes(x)[0]);
    Steps steps;
    std::array<const Scalar*, 3> in;
    for (std::size_t i = 0; i < 3; ++i) {
      steps[i] = detail::repeated_steps(y.shape(), x[i].shape());
      in[i] = std::as_const(x)[i].tensor.data();
    }
    Scalar* const out = y.data();
    detail::for_each_offset<3>(
        y.shape(), steps, [&](Index i, const auto& at) { out[i] = in[0][at[0]] != 0 ? in[1][at[1]] : in[2][at[2]]; });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].shape(), x[2].shape());
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [condition, a, b] = tape.template pop<Tensor<Scalar>, Shape, Shape>();
    Tensor<Scalar> da = Tensor<Scalar>::zeros(a), db = Tensor<Scalar>::zeros(b);
    const Scalar *const chosen = condition.data(), *const gradient = std::as_const(dy).data();
    Scalar *const to_a = da.data(), *const to_b = db.data();
    const Shape& y = dy.shape();
    detail::for_each_offset<3>(
        y,
        Steps{detail::repeated_steps(y, condition.shape()), detail::repeated_steps(y, a), detail::repeated_steps(y, b)},
        [&](Index i, const auto& at) { (chosen[at[0]] != 0 ? to_a[at[1]] : to_b[at[2]]) += gradient[i]; });
    return {Tensor<Scalar>::zeros(condition.shape()), std::move(da), std::move(db)};
  }
};

}  // namespace lamina::inline LAMINA_ABI
