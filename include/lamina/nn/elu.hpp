#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x where x > 0, alpha (e^x - 1) elsewhere (Clevert, Unterthiner and Hochreiter 2016). The derivative at 0 is
/// alpha.
template <class Scalar = float>
class ELU : public Elementwise<ELU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// -alpha is where the function ends on the left.
  explicit ELU(double alpha = 1) : alpha_(static_cast<Scalar>(alpha)) {}

  /// The output has the input's sign unless a negative alpha turns it around.
  Saved saved() const override { return alpha_ >= 0 ? Saved::output : Saved::input; }
  /// What Elementwise asks for.
  /// @{
  Pack value(Pack x) const { return select(x > Pack(0), x, simd::expm1(x) * alpha_); }
  Pack gradient(Pack kept, Pack dy) const {
    const Pack slope = alpha_ >= 0 ? kept + alpha_ : simd::exp(kept) * alpha_;
    return select(kept > Pack(0), dy, dy * slope);
  }
  /// @}
  Fields fields() const override { return Fields("ELU").argument("alpha", alpha_); }

  /// What it was made with.
  Scalar alpha() const { return alpha_; }

 private:
  Scalar alpha_;
};

}  // namespace lamina::inline LAMINA_ABI
