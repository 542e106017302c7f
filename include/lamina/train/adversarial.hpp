#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/nn/hinge_loss.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/optim/optimizer.hpp"
#include "lamina/train/weight_average.hpp"

/// The two steps of adversarial training with the hinge losses (Zhang et al. 2019, section 3.1). A run is
///
///   for each step:
///     n times: make samples with generator.forward, discriminator_step(discriminator, optimizer_d, real, fake, tape)
///     generator_step(generator, discriminator, optimizer_g, {z, labels}, with_labels, tape)
///     move_average(average, generator, 0.999)
namespace lamina::inline LAMINA_ABI {

/// What a discriminator_step found.
struct DiscriminatorStep {
  double loss;        ///< of the real and of the generated samples, added
  double real_score;  ///< the mean of the scores of the real samples
  double fake_score;  ///< of the generated ones
};

namespace detail {
template <class Scalar>
double mean_of(const Tensor<Scalar>& x) {
  double sum = 0;
  for (Index i = 0; i < x.numel(); ++i) sum += static_cast<double>(x.data()[i]);
  return sum / static_cast<double>(x.numel());
}

/// While it lives, nothing of a module is learned.
template <class Scalar>
class Untrained {
 public:
  explicit Untrained(Module<Scalar>& module) {
    for (const auto& [name, parameter, owner] : parameters(module))
      if (parameter->requires_grad) learned_.push_back(parameter), parameter->requires_grad = false;
  }
  ~Untrained() {
    for (Parameter<Scalar>* parameter : learned_) parameter->requires_grad = true;
  }
  Untrained(const Untrained&) = delete;
  Untrained& operator=(const Untrained&) = delete;

 private:
  std::vector<Parameter<Scalar>*> learned_;
};

inline void require_finite(const char* function, double loss) {
  if (!is_finite(loss)) throw NumericalError(text(function, ": the loss is ", is_nan(loss) ? "nan" : text(loss)));
}
}  // namespace detail

/// One step of the discriminator: its scores of real samples are to be above 1, of generated ones below -1. `real` and
/// `fake` are what it takes, samples and perhaps labels; it gives a score [N, 1] for each. Throws NumericalError for a
/// loss that is not finite, before the optimiser's step.
template <class Scalar>
DiscriminatorStep discriminator_step(Module<Scalar>& discriminator, Optimizer<Scalar>& optimizer, Values<Scalar> real,
                                     Values<Scalar> fake, Tape& tape) {
  DiscriminatorStep result{};
  for (const bool is_real : {true, false}) {
    const Tensor<Scalar> scores =
        std::move(discriminator.forward(std::move(is_real ? real : fake), tape, InputGrad::skip)[0]);
    (is_real ? result.real_score : result.fake_score) = detail::mean_of(scores);
    auto [loss, grad] = is_real ? real_hinge_loss(scores) : fake_hinge_loss(scores);
    result.loss += loss;
    if (!is_finite(loss)) {
      discriminator.discard(tape);
      zero_grad(discriminator);
    }
    detail::require_finite("discriminator_step", loss);
    discriminator.backward(std::move(grad), tape, InputGrad::skip);
  }
  optimizer.step();
  return result;
}

/// One step of the generator: the scores of its samples are to be high. `input` is what it takes,
/// `with_labels(samples)` the Values that the discriminator takes for them; of the discriminator nothing is learned.
/// Returns the loss. Throws NumericalError for a loss that is not finite, before the optimiser's step.
template <class Scalar, class WithLabels>
double generator_step(Module<Scalar>& generator, Module<Scalar>& discriminator, Optimizer<Scalar>& optimizer,
                      Values<Scalar> input, WithLabels with_labels, Tape& tape) {
  const detail::Untrained<Scalar> untrained(discriminator);
  Tensor<Scalar> samples = std::move(generator.forward(std::move(input), tape, InputGrad::skip)[0]);
  const Values<Scalar> shown = with_labels(std::move(samples));
  auto [loss, grad] = generator_hinge_loss(discriminator.forward(shown, tape)[0]);
  if (!is_finite(loss)) {
    discriminator.discard(tape);
    generator.discard(tape);
  }
  detail::require_finite("generator_step", loss);
  generator.backward(discriminator.backward(std::move(grad), tape), tape, InputGrad::skip);
  optimizer.step();
  return loss;
}

}  // namespace lamina::inline LAMINA_ABI
