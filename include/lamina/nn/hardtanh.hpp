#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = min(max(x, min_val), max_val), elementwise. The derivative at both bounds is 0; NaN stays NaN. Throws ValueError
/// unless min_val < max_val.
template <class Scalar = float>
class Hardtanh : public Elementwise<Hardtanh<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// Shapes, defaults and errors are said at the class.
  explicit Hardtanh(double min_val = -1, double max_val = 1)
      : min_(static_cast<Scalar>(min_val)), max_(static_cast<Scalar>(max_val)) {
    require(min_ < max_, *this, ": min_val must be below max_val");
  }

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  Pack value(Pack x) const { return min(max(x, min_), max_); }
  Pack gradient(Pack y, Pack dy) const {
    return select(y <= Pack(min_), Pack(0), select(y >= Pack(max_), Pack(0), dy));
  }
  /// @}
  Fields fields() const override { return Fields("Hardtanh").argument("min_val", min_).argument("max_val", max_); }

  /// What it was made with.
  /// @{
  Scalar min_val() const { return min_; }
  Scalar max_val() const { return max_; }
  /// @}

 private:
  Scalar min_, max_;
};

}  // namespace lamina::inline LAMINA_ABI
