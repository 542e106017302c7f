#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "lamina/nn/branches.hpp"
#include "lamina/nn/cat.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Concat.
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
  static constexpr const char* type_name = "Concat";  ///< its name in messages
  using Branches<Concat<Scalar>, Scalar>::Branches;
  /// Shapes, defaults and errors are said at the class.
  Concat(std::initializer_list<Child<Scalar>> children, const ConcatOptions& options)
      : Branches<Concat<Scalar>, Scalar>(children), cat_(options.dim) {}
  /// A list of one is a copy of it, with its axis; see Container.
  Concat(std::initializer_list<Concat> children)  // one is copied with its axis, see Container
      : Branches<Concat<Scalar>, Scalar>(children), cat_(children.size() == 1 ? children.begin()->cat_.dim() : 1) {}

  Fields fields() const override { return Branches<Concat<Scalar>, Scalar>::fields().option("dim", cat_.dim(), 1); }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    typename Concat::Results results(*this, run, std::move(x));
    Values<Scalar> parts;
    while (!results.done()) {
      parts.push_back(results.take());
      const auto& shapes = results.shapes();
      const int axis = detail::axis_position(cat_.dim(), shapes[0], *this);
      if (!cat_.fit(shapes[0], shapes.back()))
        this->mismatch(shapes, 0, shapes.size() - 1, text("branches may differ in axis ", axis, " only"));
    }
    return std::move(run.all(cat_, std::move(parts))[0]);
  }

 private:
  Cat<Scalar> cat_;
};

/// Takes the scalar type of the first child.
template <class M, class... Rest>
Concat(M, Rest...) -> Concat<ScalarOf<M>>;

}  // namespace lamina::inline LAMINA_ABI
