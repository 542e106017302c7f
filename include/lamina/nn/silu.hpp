#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x s with s = 1 / (1 + e^-x), elementwise (Elfwing, Uchibe and Doya 2017; "swish" of Ramachandran, Zoph and
/// Le 2017); dy/dx = s (1 + x (1 - s)).
template <class Scalar = float>
class SiLU : public Elementwise<SiLU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return x * simd::sigmoid(x); }
  static Pack gradient(Pack x, Pack dy) {
    const Pack s = simd::sigmoid(x);
    return dy * s * (Pack(1) + x * (Pack(1) - s));
  }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
