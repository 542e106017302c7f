#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Hardsigmoid: ONNX's, of which PyTorch has the defaults. Keras has alpha = 0.2.
struct HardsigmoidOptions {
  double alpha = 1.0 / 6;  ///< the slope
  double beta = 0.5;       ///< the value at 0
};

/// y = min(max(alpha x + beta, 0), 1), elementwise: by default min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section
/// 5.2). The derivative is alpha where 0 < y < 1, else 0. Throws ValueError unless alpha is positive.
template <class Scalar = float>
class Hardsigmoid : public Elementwise<Hardsigmoid<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// Errors are said at the class.
  explicit Hardsigmoid(const HardsigmoidOptions& options = {})
      : options_(options),
        shift_(static_cast<Scalar>(options.beta / options.alpha)),
        end_(static_cast<Scalar>(1 / options.alpha)),
        slope_(static_cast<Scalar>(options.alpha)) {
    require(options.alpha > 0, "Hardsigmoid: alpha must be positive, got ", options.alpha);
  }

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::output; }
  Pack value(Pack x) const { return min(max(x + shift_, Scalar(0)), end_) * slope_; }
  Pack gradient(Pack y, Pack dy) const { return select(y > Pack(0), select(y < Pack(1), dy / end_, Pack(0)), Pack(0)); }
  /// @}
  Fields fields() const override {
    const HardsigmoidOptions usual;
    return Fields("Hardsigmoid").option("alpha", options_.alpha, usual.alpha).option("beta", options_.beta, usual.beta);
  }

  /// What it was made with.
  const HardsigmoidOptions& options() const { return options_; }

 private:
  HardsigmoidOptions options_;
  Scalar shift_, end_, slope_;
};

}  // namespace lamina::inline LAMINA_ABI
