#pragma once

#include <limits>
#include <utility>

#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// sigmoid_focal_loss' loss and its derivative.
template <class T>
struct Focal {
  T gamma, alpha;
  template <class V>
  std::pair<V, V> operator()(V x, V t) const {
    const V one(T(1)), p = simd::sigmoid(x), rest = simd::sigmoid(-x), no = one - t;
    const V loss = max(x, V(T(0))) - x * t + kernels::log1p_exp_minus_abs(x);
    const V miss = max(rest * t + p * no, V(std::numeric_limits<T>::min()));  // 1 - q
    const V power = gamma == 0 ? one : simd::exp(simd::log(miss) * V(gamma));
    const V weight = alpha < 0 ? one : t * V(alpha) + no * V(1 - alpha);
    const V slope = power * (p - t) - loss * (power / miss) * V(gamma) * (t - no) * p * rest;
    return {weight * power * loss, weight * slope};
  }
};

}  // namespace detail

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
  require(options.gamma >= 0, "sigmoid_focal_loss: gamma must not be negative, got ", options.gamma);
  require(options.alpha <= 1, "sigmoid_focal_loss: alpha must be at most 1, got ", options.alpha);
  const auto gamma = static_cast<Scalar>(options.gamma), alpha = static_cast<Scalar>(options.alpha);
  return detail::elementwise_loss("sigmoid_focal_loss", std::move(logits), targets, options.reduction,
                                  detail::Focal<Scalar>{gamma, alpha});
}

}  // namespace lamina::inline LAMINA_ABI
