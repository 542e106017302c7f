#pragma once

#include "lamina/nn/elementwise.hpp"

namespace lamina::inline LAMINA_ABI {

/// y = x tanh(log(1 + e^x)), elementwise (Misra 2019).
template <class Scalar = float>
class Mish : public Elementwise<Mish<Scalar>, Scalar> {
 public:
  using Pack = simd::Pack<Scalar>;  ///< a few elements at once

  /// What Elementwise asks for.
  /// @{
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return x * Bend(x).tanh; }
  static Pack gradient(Pack x, Pack dy) {
    const Bend bend(x);
    return dy * (bend.tanh + x * bend.rest * (Pack(2) - bend.rest) * bend.sigmoid);
  }
  /// @}

 private:
  /// With v = 1 + e^x: tanh(log v) = (v^2 - 1) / (v^2 + 1), what it lacks to 1, and the derivative of log v. By u =
  /// e^-|x|, which does not overflow.
  struct Bend {
    Pack tanh, rest, sigmoid;

    explicit Bend(Pack x) {
      const Pack u = simd::exp(-abs(x)), u2 = u * u;
      const auto negative = x < Pack(0);
      const Pack high = select(negative, u2 + u * Scalar(2), u * Scalar(2) + Scalar(1));  // times u^2 for x >= 0
      const Pack low = select(negative, Pack(2), u2 * Scalar(2));
      tanh = high / (high + low);
      rest = low / (high + low);
      sigmoid = select(negative, u, Pack(1)) / (u + Scalar(1));
    }
  };
};

}  // namespace lamina::inline LAMINA_ABI
