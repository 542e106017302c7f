#pragma once

#include <utility>

#include "lamina/nn/add.hpp"
#include "lamina/nn/branches.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = f_0(x) + ... + f_n(x): the residual connection (He et al. 2016) is Sum{F, Identity()}. All branches give the
/// same shape; ShapeError otherwise. Children are named as in Sequential.
template <class Scalar = float>
class Sum : public Branches<Sum<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Sum";  ///< its name in messages
  using Branches<Sum<Scalar>, Scalar>::Branches;

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    typename Sum::Results results(*this, run, std::move(x));
    Value<Scalar> y = results.take();
    while (!results.done()) {
      Value<Scalar> next = results.take();
      const auto& shapes = results.shapes();
      if (shapes.back() != shapes[0]) this->mismatch(shapes, 0, shapes.size() - 1, "branches must give the same shape");
      y = run(add_, std::move(y), std::move(next));
    }
    return y;
  }

 private:
  Add<Scalar> add_;
};

/// Takes the scalar type of the first child.
template <class M, class... Rest>
Sum(M, Rest...) -> Sum<ScalarOf<M>>;

}  // namespace lamina::inline LAMINA_ABI
