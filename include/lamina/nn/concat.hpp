#pragma once

#include "lamina/nn/axis.hpp"
#include "lamina/nn/branches.hpp"

namespace lamina {

struct ConcatOptions {
  int dim = 1;  ///< the axis along which the results are joined; negative ones count from the end
};

/// The results of all branches one after the other along an axis, by default the channels: Inception modules (Szegedy
/// et al. 2015), dense connections (Huang et al. 2017).
///
///   Concat{Conv2d(192, 64, 1), Sequential{...}};        Concat<float>({Linear(8, 4), Identity()}, {.dim = -1});
///
/// The branches' shapes agree in every other axis; ShapeError otherwise. Children are named as in Sequential.
template <class Scalar = float>
class Concat : public Branches<Concat<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Concat";
  using Branches<Concat<Scalar>, Scalar>::Branches;
  Concat(std::initializer_list<Child<Scalar>> children, const ConcatOptions& options)
      : Branches<Concat<Scalar>, Scalar>(children), dim_(options.dim) {}
  Concat(std::initializer_list<Concat> children)  // one is copied with its axis, see Container
      : Branches<Concat<Scalar>, Scalar>(children), dim_(children.size() == 1 ? children.begin()->dim_ : 1) {}

  std::string name() const override {
    std::string out = Branches<Concat<Scalar>, Scalar>::name();
    if (dim_ != 1) out.insert(out.size() - 1, detail::text(", dim=", dim_));
    return out;
  }

 private:
  friend class Branches<Concat<Scalar>, Scalar>;

  Shape joined_shape(const std::vector<Shape>& shapes) const {
    const int axis = detail::axis_position(dim_, shapes[0], this->name());
    Index total = shapes[0][axis];
    for (std::size_t i = 1; i < shapes.size(); ++i) {
      if (shapes[i].rank() != shapes[0].rank() || shapes[i].with(axis, 1) != shapes[0].with(axis, 1))
        throw this->mismatch(shapes, 0, i, detail::text("branches may differ in axis ", axis, " only"));
      total += shapes[i][axis];
    }
    return shapes[0].with(axis, total);
  }

  template <class Branch>
  Tensor<Scalar> join(const std::vector<Shape>& shapes, Branch branch) const {
    Tensor<Scalar> y(joined_shape(shapes));
    const auto [outer, n, inner] = around(y.shape());
    Scalar* out = y.data();
    for (Index i = 0; i < this->size(); ++i) {
      const Tensor<Scalar> part = branch(i);
      const Index columns = part.dim(dim_) * inner;
      if (part.empty()) continue;
      kernels::copy_rows(outer, columns, part.data(), columns, out, n * inner);
      out += columns;
    }
    return y;
  }
  template <class Branch>
  Tensor<Scalar> join_saving(const std::vector<Shape>& shapes, Branch branch, Tape& tape) const {
    Tensor<Scalar> y = join(shapes, branch);
    tape.push(shapes);
    return y;
  }

  auto split(Tensor<Scalar> dy, Tape& tape) const {
    auto [shapes] = tape.template pop<std::vector<Shape>>();
    const auto around_axis = around(dy.shape());
    return [this, dy = std::as_const(dy), shapes = std::move(shapes), around_axis](Index i) {
      Tensor<Scalar> part(shapes[static_cast<std::size_t>(i)]);
      if (part.empty()) return part;
      Index before = 0;
      for (Index j = 0; j < i; ++j) before += shapes[static_cast<std::size_t>(j)][dim_];
      const auto [outer, n, inner] = around_axis;
      const Index columns = part.dim(dim_) * inner;
      kernels::copy_rows(outer, columns, dy.data() + before * inner, n * inner, part.data(), columns);
      return part;
    };
  }

  detail::AroundAxis around(const Shape& shape) const { return {shape, dim_, type_name}; }

  int dim_ = 1;
};

template <class M, class... Rest>
Concat(M, Rest...) -> Concat<detail::ScalarOf<M>>;

}  // namespace lamina
