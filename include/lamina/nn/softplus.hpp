#pragma once

#include "lamina/kernels/losses.hpp"
#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Softplus.
struct SoftplusOptions {
  double beta = 1;        ///< how sharp the bend is
  double threshold = 20;  ///< where beta x is above, y = x
};

/// y = log(1 + e^(beta x)) / beta, elementwise, a smooth ReLU (Dugas et al. 2001); x itself where beta x > threshold.
/// Throws ValueError for a beta of 0.
template <class Scalar = float>
class Softplus : public Elementwise<Softplus<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// Shapes, defaults and errors are said at the class.
  explicit Softplus(const SoftplusOptions& options = {})
      : options_(options),
        beta_(static_cast<Scalar>(options.beta)),
        threshold_(static_cast<Scalar>(options.threshold)) {
    require(beta_ != 0, *this, ": beta must not be 0");
  }

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  Pack value(Pack x) const {
    const Pack z = x * beta_;
    const Pack soft = max(z, Scalar(0)) + kernels::log1p_exp_minus_abs(z);
    return select(z > Pack(threshold_), x, soft * (1 / beta_));
  }
  Pack gradient(Pack x, Pack dy) const {
    const Pack z = x * beta_;
    return select(z > Pack(threshold_), dy, dy * simd::sigmoid(z));
  }
  /// @}
  Fields fields() const override {
    return Fields("Softplus").option("beta", options_.beta, 1).option("threshold", options_.threshold, 20);
  }

  /// What it was made with.
  const SoftplusOptions& options() const { return options_; }

 private:
  SoftplusOptions options_;
  Scalar beta_, threshold_;
};

}  // namespace lamina::inline LAMINA_ABI
