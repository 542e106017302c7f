#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = s x where x > 0, s alpha (e^x - 1) elsewhere, with s = 1.0507 and alpha = 1.6733 such that mean 0 and variance 1
/// are kept from layer to layer (Klambauer, Unterthiner, Mayr and Hochreiter 2017). The derivative at 0 is s alpha.
template <class Scalar = float>
class SELU : public Elementwise<SELU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  static constexpr double alpha = 1.6732632423543772848170429916717;  ///< the paper's, and s
  static constexpr double scale = 1.0507009873554804934193349852946;  ///< s

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return select(x > Pack(0), x * Scalar(scale), simd::expm1(x) * bound); }
  static Pack gradient(Pack y, Pack dy) { return dy * select(y > Pack(0), Pack(Scalar(scale)), y + bound); }
  /// @}

 private:
  static constexpr Scalar bound = Scalar(scale * alpha);
};

}  // namespace lamina::inline LAMINA_ABI
