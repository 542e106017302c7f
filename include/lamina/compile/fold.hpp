#pragma once

#include "lamina/compile/program.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

namespace detail {

/// y = (weight x + bias) scale + shift as one product: row m of the weight times scale[m].
template <class Scalar>
void fold_behind(Step<Scalar>& product, const Step<Scalar>& norm) {
  const Index outputs = product.weight.dim(0), each = product.weight.numel() / outputs;
  Scalar *const weight = product.weight.data(), *const bias = product.bias.data();
  for (Index m = 0; m < outputs; ++m) {
    const double scale = static_cast<double>(norm.weight.data()[m]), shift = static_cast<double>(norm.bias.data()[m]);
    for (Index i = 0; i < each; ++i)
      weight[m * each + i] = static_cast<Scalar>(static_cast<double>(weight[m * each + i]) * scale);
    bias[m] = static_cast<Scalar>(static_cast<double>(bias[m]) * scale + shift);
  }
}

/// y = weight (x scale + shift) + bias as one product.
template <class Scalar>
void fold_before(const Step<Scalar>& norm, Step<Scalar>& product) {
  const Index outputs = product.weight.dim(0), inputs = product.weight.dim(1);
  const Index taps = product.weight.numel() / (outputs * inputs);
  const Index groups = product.kind == StepKind::convolution ? product.shape.groups : 1;
  Scalar *const weight = product.weight.data(), *const bias = product.bias.data();
  for (Index m = 0; m < outputs; ++m) {
    double sum = static_cast<double>(bias[m]);
    for (Index c = 0; c < inputs; ++c) {
      const Index channel = m / (outputs / groups) * inputs + c;
      for (Index t = 0; t < taps; ++t) {
        Scalar& w = weight[(m * inputs + c) * taps + t];
        sum += static_cast<double>(w) * static_cast<double>(norm.bias.data()[channel]);
        w = static_cast<Scalar>(static_cast<double>(w) * static_cast<double>(norm.weight.data()[channel]));
      }
    }
    bias[m] = static_cast<Scalar>(sum);
  }
}

/// Whether a step's product takes a norm of its results (behind it), or of its input (before it): zeros of padding are
/// not normalised.
template <class Scalar>
bool takes_norm(const Step<Scalar>& step, const Program<Scalar>& program, bool before) {
  if (step.kind == StepKind::linear) return program.value(step.inputs[0]).shape.rank() == 2;
  const auto& s = step.shape;
  return step.kind == StepKind::convolution && !(before && (s.top > 0 || s.left > 0 || s.bottom > 0 || s.right > 0));
}

}  // namespace detail

/// Folds each normalisation into the convolution or linear layer before it, if nothing else sees that one's result, or
/// else into the one behind it.
template <class Scalar>
void fold(Program<Scalar>& program) {
  for (std::size_t i = 0; i < program.steps.size();) {
    Step<Scalar>& norm = program.steps[i];
    const std::vector<Index> uses = program.uses(), makers = program.makers();
    const auto used_once = [&](Index value) { return uses[static_cast<std::size_t>(value)] == 1; };
    const auto fold_into = [&](Step<Scalar>& product) {
      take_layers(product, norm);
      program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(i));
    };
    ++i;
    if (norm.kind != StepKind::norm) continue;
    --i;
    const Index x = norm.inputs[0], y = norm.outputs[0], maker = makers[static_cast<std::size_t>(x)];
    if (maker >= 0 && used_once(x)) {
      Step<Scalar>& product = program.steps[static_cast<std::size_t>(maker)];
      if (detail::takes_norm(product, program, false)) {
        detail::fold_behind(product, norm);
        product.outputs[0] = y;
        fold_into(product);
        continue;
      }
    }
    if (used_once(y)) {
      const auto user = std::find_if(program.steps.begin(), program.steps.end(),
                                     [&](const auto& step) { return !step.inputs.empty() && step.inputs[0] == y; });
      if (user != program.steps.end() && detail::takes_norm(*user, program, true)) {
        detail::fold_before(norm, *user);
        user->inputs[0] = x;
        fold_into(*user);
        continue;
      }
    }
    ++i;
  }
}

}  // namespace lamina::inline LAMINA_ABI::compiler
