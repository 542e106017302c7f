#pragma once

#include "lamina/optim/optimizer.hpp"

namespace lamina {

struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  bool centered = false;
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
  explicit RMSprop(std::vector<NamedParameter<Scalar>> parameters, const RMSpropOptions& options = {})
      : RMSprop(RMSprop::one_group(std::move(parameters)), options) {}
  explicit RMSprop(std::vector<ParameterGroup<Scalar>> groups, const RMSpropOptions& options = {})
      : Optimizer<Scalar>("RMSprop", std::move(groups), options.lr, options.weight_decay, slots(options)),
        options_(options) {
    RMSprop::check("RMSprop", "alpha", options.alpha);
    RMSprop::check("RMSprop", "eps", options.eps);
    RMSprop::check("RMSprop", "momentum", options.momentum);
  }

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
    const Pack alpha = pack(options_.alpha), rest = pack(1 - options_.alpha), eps = pack(options_.eps);
    const bool decays = step.weight_decay != 0;
    const auto plain = [=](const Pack& value, Pack& grad, Pack& square) {
      if (decays) grad += decay * value;
      square = alpha * square + rest * grad * grad;
      return square;
    };
    const auto centred = [=](const Pack& value, Pack& grad, Pack& square, Pack& mean) {
      plain(value, grad, square);
      mean = alpha * mean + rest * grad;
      return square - mean * mean;
    };
    const auto move = [=](Pack& value, Pack& grad, Pack spread) {
      value -= lr * (grad / (sqrt(spread) + eps));
      grad = Pack(Scalar(0));
    };
    const auto move_by = [=](Pack& value, Pack& grad, Pack spread, Pack& buffer) {
      buffer = momentum * buffer + grad / (sqrt(spread) + eps);
      value -= lr * buffer;
      grad = Pack(Scalar(0));
    };
    Scalar* v = slots[0];
    if (options_.momentum == 0 && !options_.centered)
      kernels::update(
          n, [=](Pack& value, Pack& grad, Pack& square) { move(value, grad, plain(value, grad, square)); }, x, g, v);
    else if (options_.momentum == 0)
      kernels::update(
          n,
          [=](Pack& value, Pack& grad, Pack& square, Pack& mean) {
            move(value, grad, centred(value, grad, square, mean));
          },
          x, g, v, slots[1]);
    else if (!options_.centered)
      kernels::update(
          n,
          [=](Pack& value, Pack& grad, Pack& square, Pack& buffer) {
            move_by(value, grad, plain(value, grad, square), buffer);
          },
          x, g, v, slots[1]);
    else
      kernels::update(
          n,
          [=](Pack& value, Pack& grad, Pack& square, Pack& buffer, Pack& mean) {
            move_by(value, grad, centred(value, grad, square, mean), buffer);
          },
          x, g, v, slots[1], slots[2]);
  }

  RMSpropOptions options_;
};

}  // namespace lamina
