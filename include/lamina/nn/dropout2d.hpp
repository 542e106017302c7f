#pragma once

#include "lamina/nn/dropout.hpp"

namespace lamina::inline LAMINA_ABI {

/// Dropout of whole channels: in training each image's channel is 0 with probability p and x / (1 - p) otherwise
/// (Tompson et al. 2015, "SpatialDropout"). Shape [N, C, H, W]; ShapeError otherwise. Throws ValueError unless p is in
/// [0, 1].
template <class Scalar = float>
class Dropout2d : public detail::DropoutLayer<Dropout2d<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Dropout2d";  ///< its name in messages
  /// Throws ValueError unless the probability p is in [0, 1].
  explicit Dropout2d(double p = 0.5) : detail::DropoutLayer<Dropout2d<Scalar>, Scalar>(p) {}

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4, *this, ": expected [N, C, H, W], got shape ", input);
    return input;
  }

 private:
  friend class detail::DropoutLayer<Dropout2d<Scalar>, Scalar>;
  static Shape noise_shape(const Shape& input) { return {input[0], input[1], 1, 1}; }
};

}  // namespace lamina::inline LAMINA_ABI
