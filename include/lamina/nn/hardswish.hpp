#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x min(max(x + 3, 0), 6) / 6, elementwise (Howard et al. 2019, section 5.2). The derivative is 0 for x < -3,
/// x / 3 + 1/2 for -3 <= x <= 3, else 1.
template <class Scalar = float>
class Hardswish : public Elementwise<Hardswish<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return x * min(max(x + Scalar(3), Scalar(0)), Scalar(6)) * Scalar(1.0 / 6); }
  static Pack gradient(Pack x, Pack dy) {
    const Pack inner = dy * (x / Scalar(3) + Scalar(0.5));
    return select(x < Pack(-3), Pack(0), select(x > Pack(3), dy, inner));
  }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
