#pragma once

#include "lamina/kernels/functions.hpp"
#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = max(x, 0), elementwise (Nair and Hinton 2010). The derivative at 0 is 0, as in PyTorch; NaN stays NaN.
template <class Scalar = float>
class ReLU : public Elementwise<ReLU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  static Pack value(Pack x) { return kernels::Relu::value(x); }
  static Pack gradient(Pack y, Pack dy) { return kernels::Relu::gradient(y, dy); }
  /// @}
  Activation activation() const override { return Activation::relu; }
};

}  // namespace lamina::inline LAMINA_ABI
