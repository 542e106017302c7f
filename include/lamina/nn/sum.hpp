#pragma once

#include "lamina/nn/branches.hpp"

namespace lamina {

/// y = f_0(x) + ... + f_n(x): the residual connection (He et al. 2016) is Sum{F, Identity()}. All branches give the
/// same shape; ShapeError otherwise. Children are named as in Sequential.
template <class Scalar = float>
class Sum : public Branches<Sum<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Sum";
  using Branches<Sum<Scalar>, Scalar>::Branches;

 private:
  friend class Branches<Sum<Scalar>, Scalar>;

  Shape joined_shape(const std::vector<Shape>& shapes) const {
    for (std::size_t i = 1; i < shapes.size(); ++i)
      if (shapes[i] != shapes[0]) throw this->mismatch(shapes, 0, i, "branches must give the same shape");
    return shapes[0];
  }

  template <class Branch>
  Tensor<Scalar> join(const std::vector<Shape>& shapes, Branch branch) const {
    joined_shape(shapes);
    Tensor<Scalar> y = branch(0);
    for (Index i = 1; i < this->size(); ++i) y = detail::add(std::move(y), branch(i));
    return y;
  }
  template <class Branch>
  Tensor<Scalar> join_saving(const std::vector<Shape>& shapes, Branch branch, Tape&) const {
    return join(shapes, branch);
  }
  auto split(Tensor<Scalar> dy, Tape&) const {
    return [dy = std::move(dy)](Index i) mutable { return i == 0 ? std::move(dy) : dy; };
  }
};

template <class M, class... Rest>
Sum(M, Rest...) -> Sum<detail::ScalarOf<M>>;

}  // namespace lamina
