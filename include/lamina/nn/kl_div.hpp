#pragma once

#include <utility>

#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// kl_div's loss and its derivative.
struct Divergence {
  bool by_log;  // the targets are logarithms
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    const V p = by_log ? simd::exp(target) : target, logarithm = by_log ? target : simd::log(target);
    return {select(p == V(0), V(0), p * (logarithm - x)), -p};
  }
};

}  // namespace detail

/// Options of kl_div.
struct KlDivOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  bool batchmean = false;   ///< with the mean: divide by N, as the definition does, not by all elements
  bool log_target = false;  ///< the targets are logarithms, too
};

/// Kullback-Leibler divergence of distributions q, given as logarithms x = log q (as from LogSoftmax), from targets p,
/// element by element:
///
///   loss = p (log p - x), 0 where p = 0;   with log_target e^t (t - x) for t = log p
///
/// Shapes: x and target [N, ...]. The mean is over all elements, as in PyTorch, or over N with batchmean. Throws
/// ShapeError unless both have the same shape, not empty.
template <class Scalar>
Loss<Scalar> kl_div(Tensor<Scalar> x, const Tensor<Scalar>& target, const KlDivOptions& options = {}) {
  const double size = x.rank() > 0 ? static_cast<double>(x.numel()) / static_cast<double>(x.dim(0)) : 1;
  Loss<Scalar> loss = detail::elementwise_loss("kl_div", std::move(x), target, options.reduction,
                                               detail::Divergence{options.log_target});
  if (options.batchmean && options.reduction == Reduction::mean) {
    loss.value *= size;
    loss.grad *= static_cast<Scalar>(size);
  }
  return loss;
}

}  // namespace lamina::inline LAMINA_ABI
