#pragma once

#include <string>

#include "lamina/nn/gated_activation.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/silu.hpp"

/// Gated linear units: along an axis the first half of the entries is a, the second b; see GatedActivation for others.
/// Shapes: x [..., 2n, ...], y [..., n, ...]. Each throws ShapeError for an axis that x does not have, or an odd
/// extent.
namespace lamina::inline LAMINA_ABI {

/// The gated linear unit y = a sigmoid(b) (Dauphin, Fan, Auli and Grangier 2017).
template <class Scalar = float>
class GLU : public detail::Gated<GLU<Scalar>, Scalar, Identity<Scalar>, Sigmoid<Scalar>> {
 public:
  static constexpr const char* type_name = "GLU";  ///< its name in messages

  /// Along axis dim; negative ones count from the end.
  explicit GLU(int dim = -1)
      : detail::Gated<GLU, Scalar, Identity<Scalar>, Sigmoid<Scalar>>(Identity<Scalar>(), Sigmoid<Scalar>(), dim) {}
};

/// y = a SiLU(b) (Shazeer 2020). Where the gates come first, as in a Llama:
/// GatedActivation(SiLU(), Identity()).
template <class Scalar = float>
class SwiGLU : public detail::Gated<SwiGLU<Scalar>, Scalar, Identity<Scalar>, SiLU<Scalar>> {
 public:
  static constexpr const char* type_name = "SwiGLU";  ///< its name in messages

  /// Along axis dim; negative ones count from the end.
  explicit SwiGLU(int dim = -1)
      : detail::Gated<SwiGLU, Scalar, Identity<Scalar>, SiLU<Scalar>>(Identity<Scalar>(), SiLU<Scalar>(), dim) {}
};

/// y = a GELU(b) (Shazeer 2020).
template <class Scalar = float>
class GEGLU : public detail::Gated<GEGLU<Scalar>, Scalar, Identity<Scalar>, GELU<Scalar>> {
 public:
  static constexpr const char* type_name = "GEGLU";  ///< its name in messages

  /// Along axis dim; negative ones count from the end.
  explicit GEGLU(int dim = -1, const GELUOptions& options = {})
      : detail::Gated<GEGLU, Scalar, Identity<Scalar>, GELU<Scalar>>(Identity<Scalar>(), GELU<Scalar>(options), dim) {}

  Fields fields() const override {
    const std::string approximate(this->second().options().approximate);
    return Fields(type_name)
        .field("dim", this->dim(), this->dim() == -1 ? "" : text(this->dim()))
        .option("approximate", approximate, "none");
  }
};

}  // namespace lamina::inline LAMINA_ABI
