#pragma once

#include <concepts>

#include "lamina/core/numbers.hpp"
#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of SGD; the defaults are PyTorch's.
struct SGDOptions {
  double lr = 1e-3;         ///< the learning rate
  double momentum = 0;      ///< share of the last step that is kept, 0 for none
  double dampening = 0;     ///< share of the gradient that momentum leaves out
  double weight_decay = 0;  ///< added to the gradient: g + weight_decay w
  bool nesterov = false;    ///< Nesterov's momentum, which needs momentum > 0 and no dampening
};

namespace detail {

/// SGD's step, without momentum and with it, on vectors.
template <class T>
struct SGDStep {
  T lr, decay, momentum;
  T keep, take;  // of the buffer and the gradient
  bool decays;   // or 0 times an infinite value would be NaN
  bool nesterov;

  template <class V>
  void operator()(V& value, V& grad) const {
    value -= V(lr) * (decays ? grad + V(decay) * value : grad);
    grad = V(T(0));
  }
  template <class V>
  void operator()(V& value, V& grad, V& buffer) const {
    const V slope = decays ? grad + V(decay) * value : grad;
    buffer = V(keep) * buffer + V(take) * slope;
    value -= V(lr) * (nesterov ? slope + V(momentum) * buffer : buffer);
    grad = V(T(0));
  }
};

}  // namespace detail

/// Stochastic gradient descent with momentum (Sutskever et al. 2013; PyTorch's form, where lr scales the momentum too):
///
///   g <- g + weight_decay x;  b <- momentum b + (1 - dampening) g  (b = g at first);
///   x <- x - lr b,  with Nesterov's momentum  x <- x - lr (g + momentum b)
///
/// Throws ValueError for a negative option, and for nesterov without momentum or with dampening.
template <class Scalar = float>
class SGD : public Optimizer<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit SGD(std::vector<NamedParameter<Scalar>> parameters, const SGDOptions& options = {})
      : SGD(SGD::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  SGD(std::vector<NamedParameter<Scalar>> parameters, Rate lr) : SGD(std::move(parameters), SGDOptions{.lr = lr}) {}
  explicit SGD(std::vector<ParameterGroup<Scalar>> groups, const SGDOptions& options = {})
      : Optimizer<Scalar>(
            "SGD", std::move(groups), options.lr, options.weight_decay,
            options.momentum != 0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{}),
        options_(options) {
    SGD::check("SGD", "momentum", options.momentum);
    require(is_finite(options.dampening), "SGD: dampening must be finite, got ", options.dampening);
    require(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
            "SGD: nesterov needs momentum > 0 and dampening 0, got momentum ", options.momentum, ", dampening ",
            options.dampening);
  }
  /// @}

  std::string name() const override { return "SGD"; }

 private:
  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, SGD::max_slots>& slots,
              const typename SGD::Step& step) const override {
    const auto number = [](double value) { return static_cast<Scalar>(value); };
    const bool first = step.number == 1;
    const detail::SGDStep<Scalar> move{number(step.lr),
                                       number(step.weight_decay),
                                       number(options_.momentum),
                                       number(first ? 0 : options_.momentum),
                                       number(first ? 1 : 1 - options_.dampening),
                                       step.weight_decay != 0,
                                       options_.nesterov};
    if (options_.momentum == 0)
      kernels::update(n, move, x, g);
    else
      kernels::update(n, move, x, g, slots[0]);
  }

  SGDOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
