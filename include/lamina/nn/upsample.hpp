#pragma once

#include "lamina/nn/interpolate.hpp"

namespace lamina::inline LAMINA_ABI {

/// Images [N, C, H, W] resampled by factors, [N, C, floor(H factor), floor(W factor)]: Upsample(2), Upsample({2, 1.5},
/// {.mode = "bilinear"}). As torch.nn.Upsample(scale_factor=...); see interpolate() for the rule and the
/// errors.
template <class Scalar = float>
class Upsample : public detail::Resampling<Upsample<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Upsample";  ///< its name in messages

  /// By factors of height and width.
  explicit Upsample(const ScaleFactor& scale_factor, const InterpolateOptions& options = {})
      : detail::Resampling<Upsample<Scalar>, Scalar>(scale_factor, options) {}
};

}  // namespace lamina::inline LAMINA_ABI
