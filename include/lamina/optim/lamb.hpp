#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <vector>

#include "lamina/optim/lars.hpp"
#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of LAMB.
struct LAMBOptions {
  double lr = 1e-3;                            ///< the learning rate
  std::array<double, 2> betas = {0.9, 0.999};  ///< decay of the running means of g and g², each in [0, 1)
  double eps = 1e-6;                           ///< added to the root of the second moment
  double weight_decay = 0.01;                  ///< added to Adam's direction
  bool adapts_undecayed = false;  ///< also parameters without weight decay, as biases and norms' are, take such steps
};

namespace detail {

/// Adam's direction in the gradient's place, on vectors; and the step along it.
template <class T>
struct LAMBDirection {
  T beta1, rest1, beta2, rest2, correction1, correction2, eps, decay;

  template <class V>
  void operator()(V& value, V& grad, V& mean, V& square) const {
    mean = V(beta1) * mean + V(rest1) * grad;
    square = V(beta2) * square + V(rest2) * grad * grad;
    grad = mean / V(correction1) / (sqrt(square / V(correction2)) + V(eps)) + V(decay) * value;
  }
};
template <class T>
struct LAMBStep {
  T rate;

  template <class V>
  void operator()(V& value, V& direction) const {
    value -= V(rate) * direction;
    direction = V(T(0));
  }
};

}  // namespace detail

/// Layer-wise adaptive moments for large batches (You et al. 2020, "Large batch optimization for deep learning:
/// training BERT in 76 minutes", algorithm 2, with phi(z) = z): Adam whose step is, in each parameter, of a size by the
/// size of the weights. With t the number of the update,
///
///   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
///   r = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay x;  x <- x - lr |x| / |r| r
///
/// with Euclidean norms over a parameter; |x| / |r| is taken for 1 where a norm is 0, and, unless adapts_undecayed, for
/// parameters of a group without weight decay (biases and norms, see decay_groups), which take Adam's step. Throws
/// ValueError for a negative option or a beta outside [0, 1).
template <class Scalar = float>
class LAMB : public Optimizer<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit LAMB(std::vector<NamedParameter<Scalar>> parameters, const LAMBOptions& options = {})
      : LAMB(LAMB::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  LAMB(std::vector<NamedParameter<Scalar>> parameters, Rate lr) : LAMB(std::move(parameters), LAMBOptions{.lr = lr}) {}
  explicit LAMB(std::vector<ParameterGroup<Scalar>> groups, const LAMBOptions& options = {})
      : Optimizer<Scalar>("LAMB", std::move(groups), options.lr, options.weight_decay, {"exp_avg", "exp_avg_sq"}),
        options_(options) {
    LAMB::check_fraction("LAMB", "betas[0]", options.betas[0]);
    LAMB::check_fraction("LAMB", "betas[1]", options.betas[1]);
    LAMB::check("LAMB", "eps", options.eps);
  }
  /// @}

  std::string name() const override { return "LAMB"; }

 private:
  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, LAMB::max_slots>& slots,
              const typename LAMB::Step& step) const override {
    const auto number = [](double value) { return static_cast<Scalar>(value); };
    const auto [beta1, beta2] = options_.betas;
    const auto t = static_cast<double>(step.number);
    const detail::LAMBDirection<Scalar> turn{number(beta1),
                                             number(1 - beta1),
                                             number(beta2),
                                             number(1 - beta2),
                                             number(1 - std::pow(beta1, t)),
                                             number(1 - std::pow(beta2, t)),
                                             number(options_.eps),
                                             number(step.weight_decay)};
    kernels::update(n, turn, x, g, slots[0], slots[1]);
    double ratio = 1;
    if (options_.adapts_undecayed || step.weight_decay != 0) {
      const double weight = detail::norm_of<Scalar>(n, x), direction = detail::norm_of<Scalar>(n, g);
      if (weight > 0 && direction > 0) ratio = weight / direction;
    }
    kernels::update(n, detail::LAMBStep<Scalar>{number(step.lr * ratio)}, x, g);
  }

  LAMBOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
