#pragma once

#include <utility>

#include "lamina/nn/branches.hpp"
#include "lamina/nn/multiply.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = f_0(x) * ... * f_n(x), elementwise: gates. A branch is repeated along the axes where its result has extent 1 and
/// another's has not, so squeeze-and-excitation (Hu et al. 2018) is Product{Identity(), Sequential{...}} with a second
/// branch that ends in shape [N, C, 1, 1]. All branches give the same rank and in each axis the same extent or 1;
/// ShapeError otherwise. Children are named as in Sequential.
template <class Scalar = float>
class Product : public Branches<Product<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Product";  ///< its name in messages
  using Branches<Product<Scalar>, Scalar>::Branches;

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    typename Product::Results results(*this, run, std::move(x));
    Value<Scalar> y = results.take();
    while (!results.done()) {
      Value<Scalar> next = results.take();
      const auto& shapes = results.shapes();
      for (std::size_t i = 0; i + 1 < shapes.size(); ++i)
        if (!kernels::broadcasts(shapes[i], shapes.back()))
          this->mismatch(shapes, i, shapes.size() - 1, "branches must give shapes that agree where neither is 1");
      y = run(multiply_, std::move(y), std::move(next));
    }
    return y;
  }

 private:
  Multiply<Scalar> multiply_;
};

/// Takes the scalar type of the first child.
template <class M, class... Rest>
Product(M, Rest...) -> Product<ScalarOf<M>>;

}  // namespace lamina::inline LAMINA_ABI
