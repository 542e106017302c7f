#pragma once

#include <cmath>
#include <concepts>
#include <vector>

#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of LARS.
struct LARSOptions {
  double lr = 1e-3;               ///< the learning rate
  double momentum = 0.9;          ///< share of the last step that is kept, 0 for none
  double weight_decay = 0;        ///< added to the gradient: g + weight_decay w
  double trust = 1e-3;            ///< the paper's eta: a step's size by the weights', before lr
  bool adapts_undecayed = false;  ///< also parameters without weight decay, as biases and norms' are, take such steps
};

namespace detail {

/// The Euclidean norm, with the same bits for any number of threads.
template <class Scalar>
double norm_of(Index n, const Scalar* x) {
  std::vector<double> partial;
  kernels::append_squares(n, x, partial);
  double sum = 0;
  for (const double part : partial) sum += part;
  return std::sqrt(sum);
}

/// LARS's step, on vectors.
template <class T>
struct LARSStep {
  T rate, decay, momentum;
  bool decays;  // or 0 times an infinite value would be NaN

  template <class V>
  void operator()(V& value, V& grad) const {
    value -= V(rate) * (decays ? grad + V(decay) * value : grad);
    grad = V(T(0));
  }
  template <class V>
  void operator()(V& value, V& grad, V& buffer) const {
    buffer = V(momentum) * buffer + V(rate) * (decays ? grad + V(decay) * value : grad);
    value -= buffer;
    grad = V(T(0));
  }
};

}  // namespace detail

/// Layer-wise adaptive rates for large batches (You, Gitman and Ginsburg 2017, "Large batch training of convolutional
/// networks", algorithm 1): SGD whose step is, in each parameter, of a size by the size of the weights,
///
///   ratio = trust |x| / (|g| + weight_decay |x|);  v <- momentum v + lr ratio (g + weight_decay x);  x <- x - v
///
/// with Euclidean norms over a parameter; ratio is 1 where a norm is 0, and, unless adapts_undecayed, for parameters of
/// a group without weight decay (biases and norms, see decay_groups), which take the step of SGD. Throws ValueError for
/// a negative option.
template <class Scalar = float>
class LARS : public Optimizer<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit LARS(std::vector<NamedParameter<Scalar>> parameters, const LARSOptions& options = {})
      : LARS(LARS::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  LARS(std::vector<NamedParameter<Scalar>> parameters, Rate lr) : LARS(std::move(parameters), LARSOptions{.lr = lr}) {}
  explicit LARS(std::vector<ParameterGroup<Scalar>> groups, const LARSOptions& options = {})
      : Optimizer<Scalar>(
            "LARS", std::move(groups), options.lr, options.weight_decay,
            options.momentum != 0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{}),
        options_(options) {
    LARS::check("LARS", "momentum", options.momentum);
    LARS::check("LARS", "trust", options.trust);
  }
  /// @}

  std::string name() const override { return "LARS"; }

 private:
  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, LARS::max_slots>& slots,
              const typename LARS::Step& step) const override {
    double ratio = 1;
    if (options_.adapts_undecayed || step.weight_decay != 0) {
      const double weight = detail::norm_of<Scalar>(n, x), gradient = detail::norm_of<Scalar>(n, g);
      if (weight > 0 && gradient > 0) ratio = options_.trust * weight / (gradient + step.weight_decay * weight);
    }
    const detail::LARSStep<Scalar> move{static_cast<Scalar>(step.lr * ratio), static_cast<Scalar>(step.weight_decay),
                                        static_cast<Scalar>(options_.momentum), step.weight_decay != 0};
    if (options_.momentum == 0)
      kernels::update(n, move, x, g);
    else
      kernels::update(n, move, x, g, slots[0]);
  }

  LARSOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
