#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/tensor/combine.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = a b: matrices a [..., m, k] and b [..., k, n] give [..., m, n]; the axes before are repeated as NumPy does.
/// Throws ShapeError for others.
template <class Scalar = float>
class MatMul : public JointLayer<MatMul<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes two values, got ", x.size());
    const Shape &a = x[0].shape(), &b = x[1].shape();
    require<ShapeError>(a.rank() >= 2 && b.rank() >= 2 && a[-1] == b[-2], *this,
                        ": expected matrices [..., m, k] and [..., k, n], got ", a, " and ", b);
    std::vector<Index> extents;
    const Shape outer = batch(a, b);
    extents.assign(outer.begin(), outer.end());
    extents.push_back(a[-2]);
    extents.push_back(b[-1]);
    return Shape(std::span<const Index>(extents));
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    return output_shapes(x)[0].numel() * x[0].shape()[-1];
  }

 private:
  static Shape outer(const Shape& matrices) {
    return Shape(std::span<const Index>(matrices.begin(), static_cast<std::size_t>(matrices.rank() - 2)));
  }
  Shape batch(const Shape& a, const Shape& b) const {
    return detail::joined_shape(*this,
                                std::array{Value<Scalar>::of_shape(outer(a)), Value<Scalar>::of_shape(outer(b))});
  }
  /// f(i, j, k) for each product: the matrix i of the result, of a and of b.
  template <class F>
  void for_each_product(const Shape& a, const Shape& b, F f) const {
    const Shape all = batch(a, b);
    detail::for_each_offset<2>(all, {detail::repeated_steps(all, outer(a)), detail::repeated_steps(all, outer(b))},
                               [&](Index i, const auto& at) { f(i, at[0], at[1]); });
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y(output_shapes(x)[0]);
    const Tensor<Scalar> a = std::move(x[0].tensor), b = std::move(x[1].tensor);
    const Index m = a.dim(-2), k = a.dim(-1), n = b.dim(-1);
    Scalar* const out = y.data();
    for_each_product(a.shape(), b.shape(), [&](Index to, Index left, Index right) {
      kernels::gemm(m, n, k, kernels::row_major(a.data() + left * m * k, k),
                    kernels::row_major(b.data() + right * k * n, n), out + to * m * n);
    });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  /// da = dy bᵀ and db = aᵀ dy, summed where they were repeated.
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [a, b] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const Index m = a.dim(-2), k = a.dim(-1), n = b.dim(-1);
    Tensor<Scalar> da = Tensor<Scalar>::zeros(a.shape()), db = Tensor<Scalar>::zeros(b.shape());
    const Scalar* const gradient = std::as_const(dy).data();
    Scalar *const to_a = da.data(), *const to_b = db.data();
    for_each_product(a.shape(), b.shape(), [&, &left_of = a, &right_of = b](Index i, Index left, Index right) {
      const Scalar* const g = gradient + i * m * n;
      kernels::gemm(m, k, n, kernels::row_major(g, n), kernels::transposed(right_of.data() + right * k * n, n),
                    to_a + left * m * k, kernels::Store::add);
      kernels::gemm(k, n, m, kernels::transposed(left_of.data() + left * m * k, k), kernels::row_major(g, n),
                    to_b + right * k * n, kernels::Store::add);
    });
    return {std::move(da), std::move(db)};
  }
};

}  // namespace lamina::inline LAMINA_ABI
