#pragma once

#include <utility>

#include "lamina/nn/losses.hpp"

/// Losses of differences that outliers do not dominate.
namespace lamina::inline LAMINA_ABI {

/// Options of smooth_l1_loss.
struct SmoothL1LossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  double beta = 1;                                ///< where the parabola ends; 0: the absolute error, L1
};

/// Options of huber_loss.
struct HuberLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  double delta = 1;                               ///< where the parabola ends
};

namespace detail {

/// bent_loss's loss and its derivative.
template <class T>
struct BentError {
  T end, height, bend;
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    const V d = x - target, size = abs(d);
    const auto inside = size < V(end);
    const V sign = select(d < V(0), V(-1), select(d > V(0), V(1), d));  // of 0 and NaN themselves
    return {select(inside, d * d * V(bend / 2), (size - V(end / 2)) * V(height)),
            select(inside, d * V(bend), sign * V(height))};
  }
};

/// d^2 / (2 width) where |d| < width, |d| - width / 2 elsewhere, times `scale`, for d = x - target.
template <class Scalar>
Loss<Scalar> bent_loss(const char* function, Tensor<Scalar> x, const Tensor<Scalar>& target, Reduction reduction,
                       double width, double scale) {
  const auto end = static_cast<Scalar>(width), height = static_cast<Scalar>(scale);
  const Scalar bend = width > 0 ? static_cast<Scalar>(scale / width) : Scalar(0);
  return elementwise_loss(function, std::move(x), target, reduction, BentError<Scalar>{end, height, bend});
}

}  // namespace detail

/// With d = x - target, for each element (Girshick 2015, equation 3, with beta):
///
///   loss = d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere
///
/// The mean is over all elements. Throws ValueError for a negative beta, ShapeError unless both have the same shape,
/// not empty.
template <class Scalar>
Loss<Scalar> smooth_l1_loss(Tensor<Scalar> x, const Tensor<Scalar>& target, const SmoothL1LossOptions& options = {}) {
  require(options.beta >= 0, "smooth_l1_loss: beta must not be negative, got ", options.beta);
  return detail::bent_loss("smooth_l1_loss", std::move(x), target, options.reduction, options.beta, 1);
}

/// With d = x - target, for each element (Huber 1964):
///
///   loss = d^2 / 2 where |d| < delta, delta (|d| - delta / 2) elsewhere
///
/// The mean is over all elements. Throws ValueError unless delta is positive, ShapeError unless both have the same
/// shape, not empty.
template <class Scalar>
Loss<Scalar> huber_loss(Tensor<Scalar> x, const Tensor<Scalar>& target, const HuberLossOptions& options = {}) {
  require(options.delta > 0, "huber_loss: delta must be positive, got ", options.delta);
  return detail::bent_loss("huber_loss", std::move(x), target, options.reduction, options.delta, options.delta);
}

}  // namespace lamina::inline LAMINA_ABI
