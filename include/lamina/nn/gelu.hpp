#pragma once

#include <numbers>
#include <string_view>

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of GELU.
struct GELUOptions {
  std::string_view approximate = "none";  ///< "none" or "tanh"
};

/// y = x Phi(x), elementwise, with Phi the normal distribution function (Hendrycks and Gimpel 2016):
/// Phi(x) = (1 + erf(x / sqrt 2)) / 2, or with {.approximate = "tanh"}
/// Phi(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Throws ValueError for another word.
template <class Scalar = float>
class GELU : public Elementwise<GELU<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// Shapes, defaults and errors are said at the class.
  explicit GELU(const GELUOptions& options = {}) : tanh_(options.approximate == "tanh") {
    require(tanh_ || options.approximate == "none", "GELU: approximate must be \"none\" or \"tanh\", got \"",
            options.approximate, "\"");
  }

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  Pack value(Pack x) const { return x * (tanh_ ? approximate_distribution(x) : distribution(x, bell(x))); }
  Pack gradient(Pack x, Pack dy) const {
    if (tanh_) {  // tanh' = 1 - tanh^2 = 4 Phi (1 - Phi)
      const Pack phi = approximate_distribution(x);
      const Pack slope = Pack(2 * scale) * (Pack(1) + x * x * Scalar(3 * cubic));
      return dy * (phi + x * phi * (Pack(1) - phi) * slope);
    }
    const Pack e = bell(x);
    return dy * (distribution(x, e) + x * e * (scale / 2));
  }
  /// @}
  Fields fields() const override {
    return Fields("GELU").field("approximate", tanh_ ? "tanh" : "none", tanh_ ? "approximate=\"tanh\"" : "");
  }

  /// What it was made with.
  GELUOptions options() const { return {tanh_ ? "tanh" : "none"}; }

 private:
  /// sqrt(2 / pi)
  static constexpr Scalar scale = std::numbers::sqrt2_v<Scalar> * std::numbers::inv_sqrtpi_v<Scalar>;
  static constexpr Scalar cubic = Scalar(0.044715);

  static Pack approximate_distribution(Pack x) {
    return simd::sigmoid(Pack(2 * scale) * (x + x * x * x * cubic));  // (1 + tanh z) / 2 = sigmoid(2 z)
  }

  static Pack bell(Pack x) { return simd::exp(x * x * Scalar(-0.5)); }

  /// Phi(x), given bell(x). In single precision Abramowitz and Stegun 7.1.26, within 1e-7, since the exponential that
  /// it needs is the one of the derivative too.
  static Pack distribution(Pack x, Pack e) {
    if constexpr (sizeof(Scalar) == 4) {
      constexpr double half_root = std::numbers::sqrt2 / 2;
      const Pack t = Pack(1) / (Pack(1) + abs(x) * Scalar(0.3275911 * half_root));
      const Pack tail = e * t *
                        simd::polynomial(t, Scalar(1.061405429 / 2), Scalar(-1.453152027 / 2), Scalar(1.421413741 / 2),
                                         Scalar(-0.284496736 / 2), Scalar(0.254829592 / 2));
      return select(x < Pack(0), tail, Pack(1) - tail);
    } else {
      return simd::erf(x * (std::numbers::sqrt2_v<Scalar> / 2)) * Scalar(0.5) + Scalar(0.5);
    }
  }

  bool tanh_;
};

}  // namespace lamina::inline LAMINA_ABI
