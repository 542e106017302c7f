#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = min(max(x + 3, 0), 6) / 6, elementwise (Howard et al. 2019, section 5.2). The derivative is 1/6 for
/// -3 < x < 3, else 0.
template <class Scalar = float>
class Hardsigmoid : public Elementwise<Hardsigmoid<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return min(max(x + Scalar(3), Scalar(0)), Scalar(6)) * Scalar(1.0 / 6); }
  static Pack gradient(Pack y, Pack dy) {
    return select(y > Pack(0), select(y < Pack(1), dy / Scalar(6), Pack(0)), Pack(0));
  }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
