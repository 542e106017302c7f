#pragma once

#include "lamina/kernels/functions.hpp"
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
  static Pack value(Pack x) { return kernels::Relu6::value(x); }
  static Pack gradient(Pack y, Pack dy) { return kernels::Relu6::gradient(y, dy); }
  /// @}
  Activation activation() const override { return Activation::relu6; }
};

}  // namespace lamina::inline LAMINA_ABI
