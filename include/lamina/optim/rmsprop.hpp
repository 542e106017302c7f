#pragma once

#include <concepts>
#include <tuple>
#include <type_traits>

#include "lamina/optim/optimizer.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of RMSprop; the defaults are PyTorch's.
struct RMSpropOptions {
  double lr = 1e-2;         ///< the learning rate
  double alpha = 0.99;      ///< decay of the running mean of g², in [0, 1)
  double eps = 1e-8;        ///< added to the root of the mean
  double weight_decay = 0;  ///< added to the gradient: g + weight_decay w
  double momentum = 0;      ///< of the steps, 0 for none
  bool centered = false;    ///< divide by the variance of the gradient in place of its mean square
};

namespace detail {

/// RMSprop's step on vectors; `moves` has momentum.
template <class T, bool moves, bool centered>
struct RMSpropStep {
  T lr, decay, momentum, alpha, rest_of_alpha, eps;
  bool decays;

  /// `more` are momentum_buffer and grad_avg, where they are.
  template <class V, class... More>
  void operator()(V& value, V& grad, V& square, More&... more) const {
    [[maybe_unused]] const auto states = std::tie(more...);
    if (decays) grad += V(decay) * value;
    square = V(alpha) * square + V(rest_of_alpha) * grad * grad;
    V spread = square;
    if constexpr (centered) {
      V& mean = std::get<sizeof...(more) - 1>(states);
      mean = V(alpha) * mean + V(rest_of_alpha) * grad;
      spread = square - mean * mean;
    }
    V by = grad / (sqrt(spread) + V(eps));
    if constexpr (moves) {
      V& buffer = std::get<0>(states);
      by = buffer = V(momentum) * buffer + by;
    }
    value -= V(lr) * by;
    grad = V(T(0));
  }
};

}  // namespace detail

/// RMSprop (Hinton 2012, lecture 6e of "Neural networks for machine learning"; centered: Graves 2013, equations 38-45):
///
///   g <- g + weight_decay x;  v <- alpha v + (1 - alpha) g^2;  a = sqrt(v) + eps,
///   centered  m <- alpha m + (1 - alpha) g,  a = sqrt(v - m^2) + eps;
///   x <- x - lr g / a,  with momentum  b <- momentum b + g / a,  x <- x - lr b
///
/// Throws ValueError for a negative option.
template <class Scalar = float>
class RMSprop : public Optimizer<Scalar> {
 public:
  /// Of all parameters by the same settings, or of groups with their own. Throws ValueError for no parameters or an
  /// option out of its range.
  /// @{
  explicit RMSprop(std::vector<NamedParameter<Scalar>> parameters, const RMSpropOptions& options = {})
      : RMSprop(RMSprop::one_group(std::move(parameters)), options) {}
  template <std::floating_point Rate>
  RMSprop(std::vector<NamedParameter<Scalar>> parameters, Rate lr)
      : RMSprop(std::move(parameters), RMSpropOptions{.lr = lr}) {}
  explicit RMSprop(std::vector<ParameterGroup<Scalar>> groups, const RMSpropOptions& options = {})
      : Optimizer<Scalar>("RMSprop", std::move(groups), options.lr, options.weight_decay, slots(options)),
        options_(options) {
    RMSprop::check("RMSprop", "alpha", options.alpha);
    RMSprop::check("RMSprop", "eps", options.eps);
    RMSprop::check("RMSprop", "momentum", options.momentum);
  }
  /// @}

  std::string name() const override { return "RMSprop"; }

 private:
  static std::vector<std::string> slots(const RMSpropOptions& options) {
    std::vector<std::string> names{"square_avg"};
    if (options.momentum != 0) names.push_back("momentum_buffer");
    if (options.centered) names.push_back("grad_avg");
    return names;
  }

  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, RMSprop::max_slots>& slots,
              const typename RMSprop::Step& step) const override {
    const auto number = [](double value) { return static_cast<Scalar>(value); };
    const auto run = [&](auto moves, auto centered, auto*... more) {
      const detail::RMSpropStep<Scalar, moves, centered> move{
          number(step.lr),        number(step.weight_decay),  number(options_.momentum),
          number(options_.alpha), number(1 - options_.alpha), number(options_.eps),
          step.weight_decay != 0};
      kernels::update(n, move, x, g, slots[0], more...);
    };
    constexpr std::true_type yes;
    constexpr std::false_type no;
    if (options_.momentum != 0 && options_.centered)
      run(yes, yes, slots[1], slots[2]);
    else if (options_.momentum != 0)
      run(yes, no, slots[1]);
    else if (options_.centered)
      run(no, yes, slots[1]);
    else
      run(no, no);
  }

  RMSpropOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
