#pragma once

#include "lamina/nn/dropout.hpp"

namespace lamina::inline LAMINA_ABI {

/// Stochastic depth (Huang, Sun, Liu, Sedra and Weinberger 2016): in training each sample is 0 with probability p and
/// x / (1 - p) otherwise, so that the branch behind which it stands is left out for some samples; inference is the
/// identity. As torchvision's StochasticDepth(p, "row"), timm's DropPath(p).
///
/// Shapes: x and y [N, ...]; ShapeError for rank 0. Throws ValueError unless p is in [0, 1].
///
///   Sum<float>{Identity<float>(), Sequential<float>{block, DropPath<float>(0.1)}}
template <class Scalar = float>
class DropPath : public detail::DropoutLayer<DropPath<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "DropPath";  ///< its name in messages
  /// Throws ValueError unless the probability p is in [0, 1].
  explicit DropPath(double p) : detail::DropoutLayer<DropPath<Scalar>, Scalar>(p) {}

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 1, *this, ": expected [N, ...], got shape ", input);
    return input;
  }

 private:
  friend class detail::DropoutLayer<DropPath<Scalar>, Scalar>;
  static Shape noise_shape(const Shape& input) {
    Shape shape = input;
    for (int axis = 1; axis < input.rank(); ++axis) shape = shape.with(axis, 1);
    return shape;
  }
};

}  // namespace lamina::inline LAMINA_ABI
