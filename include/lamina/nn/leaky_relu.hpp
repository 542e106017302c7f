#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x where x > 0, negative_slope * x elsewhere (Maas, Hannun and Ng 2013). The derivative at 0 is negative_slope.
template <class Scalar = float>
class LeakyReLU : public Elementwise<LeakyReLU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// The factor of negative elements.
  explicit LeakyReLU(double negative_slope = 0.01) : slope_(static_cast<Scalar>(negative_slope)) {}

  /// The output has the input's sign unless a negative slope turns it around.
  Saved saved() const override { return slope_ >= 0 ? Saved::output : Saved::input; }
  /// What Elementwise asks for.
  /// @{
  Pack value(Pack x) const { return select(x > Pack(0), x, x * slope_); }
  Pack gradient(Pack kept, Pack dy) const { return select(kept > Pack(0), dy, dy * slope_); }
  /// @}
  Fields fields() const override { return Fields("LeakyReLU").argument("negative_slope", slope_); }

  /// What it was made with.
  Scalar negative_slope() const { return slope_; }

 private:
  Scalar slope_;
};

}  // namespace lamina::inline LAMINA_ABI
