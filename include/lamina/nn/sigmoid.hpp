#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = 1 / (1 + e^-x), elementwise; dy/dx = y (1 - y).
template <class Scalar = float>
class Sigmoid : public Elementwise<Sigmoid<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return simd::sigmoid(x); }
  static Pack gradient(Pack y, Pack dy) { return dy * (Pack(1) - y) * y; }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
