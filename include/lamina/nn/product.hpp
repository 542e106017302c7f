#pragma once

#include <algorithm>

#include "lamina/kernels/broadcast.hpp"
#include "lamina/nn/branches.hpp"

namespace lamina {

namespace detail {

/// a * b, both repeated along the axes where they have extent 1 and `space` has not, in the storage of a or b if it
/// fits and nobody else holds it.
template <class Scalar>
Tensor<Scalar> multiply(Tensor<Scalar> a, Tensor<Scalar> b, const Shape& space) {
  const auto reusable = [&](const Tensor<Scalar>& t) { return t.shape() == space && t.exclusive(); };
  if (!reusable(a)) std::swap(a, b);
  const Shape a_shape = a.shape();
  const Scalar* left = std::as_const(a).data();
  Tensor<Scalar> y = reusable(a) ? std::move(a) : Tensor<Scalar>(space);
  kernels::multiply(space, space, y.data(), a_shape, left, b.shape(), std::as_const(b).data());
  return y;
}

}  // namespace detail

/// y = f_0(x) * ... * f_n(x), elementwise: gates. A branch is repeated along the axes where its result has extent 1 and
/// another's has not, so squeeze-and-excitation (Hu et al. 2018) is Product{Identity(), Sequential{...}} with a second
/// branch that ends in shape [N, C, 1, 1]. All branches give the same rank and in each axis the same extent or 1;
/// ShapeError otherwise. Children are named as in Sequential.
template <class Scalar = float>
class Product : public Branches<Product<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Product";
  using Branches<Product<Scalar>, Scalar>::Branches;

 private:
  friend class Branches<Product<Scalar>, Scalar>;

  Shape joined_shape(const std::vector<Shape>& shapes) const {
    Shape joined = shapes[0];
    for (std::size_t i = 1; i < shapes.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j)
        if (!fit(shapes[i], shapes[j]))
          throw this->mismatch(shapes, j, i, "branches must give shapes that agree where neither is 1");
      for (int axis = 0; axis < joined.rank(); ++axis)
        if (joined[axis] == 1) joined = joined.with(axis, shapes[i][axis]);
    }
    return joined;
  }

  static bool fit(const Shape& a, const Shape& b) {
    if (a.rank() != b.rank()) return false;
    for (int axis = 0; axis < a.rank(); ++axis)
      if (a[axis] != b[axis] && a[axis] != 1 && b[axis] != 1) return false;
    return true;
  }

  template <class Branch>
  Tensor<Scalar> join(const std::vector<Shape>& shapes, Branch branch) const {
    const Shape space = joined_shape(shapes);
    Tensor<Scalar> y = branch(0);
    for (Index i = 1; i < this->size(); ++i) y = detail::multiply(std::move(y), branch(i), space);
    return y;
  }
  template <class Branch>
  Tensor<Scalar> join_saving(const std::vector<Shape>& shapes, Branch branch, Tape& tape) const {
    std::vector<Tensor<Scalar>> results;
    Tensor<Scalar> y = join(shapes, [&](Index i) { return results.emplace_back(branch(i)); });
    tape.push(std::move(results));
    return y;
  }

  auto split(Tensor<Scalar> gradient, Tape& tape) const {
    auto [saved] = tape.template pop<std::vector<Tensor<Scalar>>>();
    return [dy = std::move(gradient), results = std::move(saved)](Index branch) {
      Tensor<Scalar> g = dy;  // times the results of all other branches, summed where this one was repeated
      const auto self = static_cast<std::size_t>(branch);
      const std::size_t last = self + 1 == results.size() ? self - 1 : results.size() - 1;
      if (results.size() == 1) return g;
      for (std::size_t i = 0; i < last; ++i)
        if (i != self) g = detail::multiply(std::move(g), results[i], dy.shape());
      Tensor<Scalar> result(results[self].shape());
      kernels::multiply(dy.shape(), result.shape(), result.data(), dy.shape(), std::as_const(g).data(),
                        results[last].shape(), results[last].data());
      return result;
    };
  }
};

template <class M, class... Rest>
Product(M, Rest...) -> Product<detail::ScalarOf<M>>;

}  // namespace lamina
