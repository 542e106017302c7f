#pragma once

#include <limits>
#include <utility>

#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of sigmoid_focal_loss.
struct FocalLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  double alpha = 0.25;  ///< weight of the targets 1, 1 - alpha of the targets 0; negative: no weights
  double gamma = 2;     ///< how much easy elements count less
};

/// Focal loss (Lin, Goyal, Girshick, He and Dollar 2017): with p = sigmoid(x) and targets t in [0, 1], element by
/// element,
///
///   loss = a (1 - q)^gamma b,   q = p t + (1 - p) (1 - t),   a = alpha t + (1 - alpha) (1 - t),
///
/// where b is binary_cross_entropy_with_logits(x, t); as torchvision's sigmoid_focal_loss. The mean is over all
/// elements. Throws ValueError for a negative gamma or an alpha above 1, ShapeError unless both have the same shape,
/// not empty.
template <class Scalar>
Loss<Scalar> sigmoid_focal_loss(Tensor<Scalar> logits, const Tensor<Scalar>& targets,
                                const FocalLossOptions& options = {}) {
  using Pack = simd::Pack<Scalar>;
  require(options.gamma >= 0, "sigmoid_focal_loss: gamma must not be negative, got ", options.gamma);
  require(options.alpha <= 1, "sigmoid_focal_loss: alpha must be at most 1, got ", options.alpha);
  const auto gamma = static_cast<Scalar>(options.gamma), alpha = static_cast<Scalar>(options.alpha);
  return detail::elementwise_loss(
      "sigmoid_focal_loss", std::move(logits), targets, options.reduction, [=](Pack x, Pack t) {
        const Pack one(Scalar(1)), p = simd::sigmoid(x), rest = simd::sigmoid(-x), no = one - t;
        const Pack loss = max(x, Scalar(0)) - x * t + kernels::log1p_exp_minus_abs(x);
        const Pack miss = max(rest * t + p * no, std::numeric_limits<Scalar>::min());  // 1 - q
        const Pack power = gamma == 0 ? one : simd::exp(simd::log(miss) * gamma);
        const Pack weight = alpha < 0 ? one : t * alpha + no * (1 - alpha);
        const Pack slope = power * (p - t) - loss * (power / miss) * gamma * (t - no) * p * rest;
        return std::pair(weight * power * loss, weight * slope);
      });
}

}  // namespace lamina::inline LAMINA_ABI
