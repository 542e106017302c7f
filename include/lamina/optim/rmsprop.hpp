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
  using Pack = simd::Pack<Scalar>;

  static std::vector<std::string> slots(const RMSpropOptions& options) {
    std::vector<std::string> names{"square_avg"};
    if (options.momentum != 0) names.push_back("momentum_buffer");
    if (options.centered) names.push_back("grad_avg");
    return names;
  }

  void update(Index n, Scalar* x, Scalar* g, const std::array<Scalar*, RMSprop::max_slots>& slots,
              const typename RMSprop::Step& step) const override {
    const auto pack = [](double value) { return Pack(static_cast<Scalar>(value)); };
    const Pack lr = pack(step.lr), decay = pack(step.weight_decay), momentum = pack(options_.momentum);
    const Pack alpha = pack(options_.alpha), rest_of_alpha = pack(1 - options_.alpha), eps = pack(options_.eps);
    const bool decays = step.weight_decay != 0;
    // `more` are momentum_buffer and grad_avg, where they are.
    const auto run = [&](auto moves, auto centered, auto*... more) {
      kernels::update(
          n,
          [=](Pack& value, Pack& grad, Pack& square, auto&... rest) {
            [[maybe_unused]] const auto states = std::tie(rest...);
            if (decays) grad += decay * value;
            square = alpha * square + rest_of_alpha * grad * grad;
            Pack spread = square;
            if constexpr (centered) {
              Pack& mean = std::get<sizeof...(rest) - 1>(states);
              mean = alpha * mean + rest_of_alpha * grad;
              spread = square - mean * mean;
            }
            Pack by = grad / (sqrt(spread) + eps);
            if constexpr (moves) {
              Pack& buffer = std::get<0>(states);
              by = buffer = momentum * buffer + by;
            }
            value -= lr * by;
            grad = Pack(Scalar(0));
          },
          x, g, slots[0], more...);
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
