#pragma once

#include <algorithm>
#include <utility>

#include "lamina/nn/losses.hpp"

/// The losses of adversarial networks with a margin (Lim and Ye 2017; Zhang et al. 2019, equation 4), for the scores
/// D(x) that a discriminator gives, high for what it holds to be real.
namespace lamina::inline LAMINA_ABI {

/// Options of the hinge losses.
struct HingeLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
};

namespace detail {
/// The loss of every score x: max(0, margin + sign x), or without a hinge sign x.
template <class Scalar>
Loss<Scalar> hinge_loss(const char* function, const Tensor<Scalar>& scores, Reduction reduction, double margin,
                        double sign, bool hinged) {
  require<ShapeError>(!scores.empty(), function, ": expected at least one score, got shape ", scores.shape());
  const double divisor = reduction == Reduction::mean ? static_cast<double>(scores.numel()) : 1;
  Tensor<Scalar> grad(scores.shape()), losses;
  if (reduction == Reduction::none) losses = Tensor<Scalar>(scores.shape());
  double total = 0;
  for (Index i = 0; i < scores.numel(); ++i) {
    const double lack = margin + sign * static_cast<double>(scores.data()[i]);
    const bool lies_inside = !hinged || !(lack <= 0);  // NaN stays NaN
    const double loss = lies_inside ? lack : 0;
    total += loss;
    grad.data()[i] = static_cast<Scalar>(lies_inside ? sign / divisor : 0);
    if (!losses.empty()) losses.data()[i] = static_cast<Scalar>(loss);
  }
  return {total / divisor, std::move(grad), std::move(losses)};
}
}  // namespace detail

/// The discriminator's loss for scores x of real samples: loss = max(0, 1 - x). Throws ShapeError for no scores.
template <class Scalar>
Loss<Scalar> real_hinge_loss(const Tensor<Scalar>& scores, const HingeLossOptions& options = {}) {
  return detail::hinge_loss("real_hinge_loss", scores, options.reduction, 1, -1, true);
}

/// The discriminator's loss for scores x of generated samples: loss = max(0, 1 + x). Throws ShapeError for no scores.
template <class Scalar>
Loss<Scalar> fake_hinge_loss(const Tensor<Scalar>& scores, const HingeLossOptions& options = {}) {
  return detail::hinge_loss("fake_hinge_loss", scores, options.reduction, 1, 1, true);
}

/// The generator's loss for the scores x of its samples: loss = -x. Throws ShapeError for no scores.
template <class Scalar>
Loss<Scalar> generator_hinge_loss(const Tensor<Scalar>& scores, const HingeLossOptions& options = {}) {
  return detail::hinge_loss("generator_hinge_loss", scores, options.reduction, 0, -1, false);
}

}  // namespace lamina::inline LAMINA_ABI
