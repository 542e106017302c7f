#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x s with s = 1 / (1 + e^(-1.702 x)), elementwise: the GELU of OpenAI's CLIP (Hendrycks and Gimpel 2016, section
/// 2); dy/dx = s (1 + 1.702 x (1 - s)).
template <class Scalar = float>
class QuickGELU : public Elementwise<QuickGELU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  static constexpr Scalar factor = Scalar(1.702);  ///< of x in the exponent

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return x * simd::sigmoid(x * factor); }
  static Pack gradient(Pack x, Pack dy) {
    const Pack s = simd::sigmoid(x * factor);
    return dy * s * (Pack(1) + x * factor * (Pack(1) - s));
  }
  /// @}
};

}  // namespace lamina::inline LAMINA_ABI
