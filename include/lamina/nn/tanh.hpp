#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = tanh(x), elementwise; dy/dx = 1 - y^2.
template <class Scalar = float>
class Tanh : public Elementwise<Tanh<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return simd::tanh(x); }
  static Pack gradient(Pack y, Pack dy) { return dy * (Pack(1) - y * y); }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
