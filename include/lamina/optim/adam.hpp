#pragma once

#include <concepts>

#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Adam; the defaults are the paper's.
struct AdamOptions {
  double lr = 1e-3;                            ///< the learning rate
  std::array<double, 2> betas = {0.9, 0.999};  ///< decay of the running means of g and g², each in [0, 1)
  double eps = 1e-8;                           ///< added to the root of the second moment
  double weight_decay = 0;                     ///< added to the gradient: g + weight_decay w
  bool amsgrad = false;                        ///< divide by the largest second moment so far (Reddi et al. 2018)
};

/// Options of AdamW; the defaults are PyTorch's.
struct AdamWOptions {
  double lr = 1e-3;                            ///< the learning rate
  std::array<double, 2> betas = {0.9, 0.999};  ///< decay of the running means of g and g², each in [0, 1)
  double eps = 1e-8;                           ///< added to the root of the second moment
  double weight_decay = 1e-2;                  ///< takes lr weight_decay w off each weight, beside the gradient's step
  bool amsgrad = false;                        ///< divide by the largest second moment so far (Reddi et al. 2018)
};

namespace detail {

/// Their step, on vectors: with the two moments, or (amsgrad) the largest second one too.
template <class T>
struct AdamStep {
  T beta1, rest1, beta2, rest2, rate, correction, eps;
  T shrink, decay;  // of the value
  bool adds_decay;  // to the gradient

  template <class V>
  void operator()(V& value, V& grad, V& mean, V& square) const {
    moments(value, grad, mean, square);
    value -= V(rate) * mean / (sqrt(square) / V(correction) + V(eps));
  }
  template <class V>
  void operator()(V& value, V& grad, V& mean, V& square, V& largest) const {
    moments(value, grad, mean, square);
    largest = max(square, largest);
    value -= V(rate) * mean / (sqrt(largest) / V(correction) + V(eps));
  }

 private:
  template <class V>
  void moments(V& value, V& grad, V& mean, V& square) const {
    value *= V(shrink);
    if (adds_decay) grad += V(decay) * value;
    mean = V(beta1) * mean + V(rest1) * grad;
    square = V(beta2) * square + V(rest2) * grad * grad;
    grad = V(T(0));
  }
};

/// What Adam and AdamW share; they differ in how weights decay.
template <class Scalar>
class AdamBase : public Optimizer<Scalar> {
 protected:
  AdamBase(const std::string& who, std::vector<ParameterGroup<Scalar>> groups, const AdamOptions& options,
           bool decoupled)
      : Optimizer<Scalar>(who, std::move(groups), options.lr, options.weight_decay,
                          options.amsgrad ? std::vector<std::string>{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                                          : std::vector<std::string>{"exp_avg", "exp_avg_sq"}),
        options_(options),
        decoupled_(decoupled) {
    AdamBase::check_fraction(who, "betas[0]", options.betas[0]);
    AdamBase::check_fraction(who, "betas[1]", options.betas[1]);
    AdamBase::check(who, "eps", options.eps);
  }

 private:
  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, AdamBase::max_slots>& slots,
              const typename AdamBase::Step& step) const override {
    const auto number = [](double value) { return static_cast<Scalar>(value); };
    const auto [beta1, beta2] = options_.betas;
    const auto t = static_cast<double>(step.number);
    const AdamStep<Scalar> move{number(beta1),
                                number(1 - beta1),
                                number(beta2),
                                number(1 - beta2),
                                number(step.lr / (1 - std::pow(beta1, t))),
                                number(std::sqrt(1 - std::pow(beta2, t))),
                                number(options_.eps),
                                number(decoupled_ ? 1 - step.lr * step.weight_decay : 1),
                                number(step.weight_decay),
                                !decoupled_ && step.weight_decay != 0};
    if (options_.amsgrad)
      kernels::update(n, move, x, g, slots[0], slots[1], slots[2]);
    else
      kernels::update(n, move, x, g, slots[0], slots[1]);
  }

  AdamOptions options_;
  bool decoupled_;
};

}  // namespace detail

/// Adam (Kingma and Ba 2015, algorithm 1). With t the number of the update,
///
///   g <- g + weight_decay x;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
///   x <- x - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
///
/// With amsgrad (Reddi et al. 2018) the largest v so far takes v's place. Throws ValueError for a negative option or a
/// beta outside [0, 1).
template <class Scalar = float>
class Adam : public detail::AdamBase<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit Adam(std::vector<NamedParameter<Scalar>> parameters, const AdamOptions& options = {})
      : Adam(Adam::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  Adam(std::vector<NamedParameter<Scalar>> parameters, Rate lr) : Adam(std::move(parameters), AdamOptions{.lr = lr}) {}
  explicit Adam(std::vector<ParameterGroup<Scalar>> groups, const AdamOptions& options = {})
      : detail::AdamBase<Scalar>("Adam", std::move(groups), options, false) {}
  /// @}

  std::string name() const override { return "Adam"; }
};

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): x <- x - lr weight_decay x, then Adam's
/// step without decay in the gradient. Throws as Adam does.
template <class Scalar = float>
class AdamW : public detail::AdamBase<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit AdamW(std::vector<NamedParameter<Scalar>> parameters, const AdamWOptions& options = {})
      : AdamW(AdamW::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  AdamW(std::vector<NamedParameter<Scalar>> parameters, Rate lr)
      : AdamW(std::move(parameters), AdamWOptions{.lr = lr}) {}
  explicit AdamW(std::vector<ParameterGroup<Scalar>> groups, const AdamWOptions& options = {})
      : detail::AdamBase<Scalar>("AdamW", std::move(groups),
                                 {options.lr, options.betas, options.eps, options.weight_decay, options.amsgrad},
                                 true) {}
  /// @}

  std::string name() const override { return "AdamW"; }
};

}  // namespace lamina::inline LAMINA_ABI
