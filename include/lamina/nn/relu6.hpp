#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = min(max(x, 0), 6), elementwise (Howard et al. 2017). The derivative at 0 and 6 is 0; NaN stays NaN.
template <class Scalar = float>
class ReLU6 : public Elementwise<ReLU6<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return min(max(x, Scalar(0)), Scalar(6)); }
  static Pack gradient(Pack y, Pack dy) { return select(y <= Pack(0), Pack(0), select(y >= Pack(6), Pack(0), dy)); }
  /// @}
  Activation activation() const override { return Activation::relu6; }
};

}  // namespace lamina::inline LAMINA_ABI
