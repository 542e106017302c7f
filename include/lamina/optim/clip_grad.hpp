#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/update.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// The Euclidean norm of all gradients together, as if they were one vector; frozen parameters do not count. The sums
/// are taken over fixed pieces in a fixed order: the same bits for any number of threads.
template <class Scalar>
double grad_norm(const std::vector<NamedParameter<Scalar>>& parameters) {
  std::vector<double> partial;
  for (const auto& [name, parameter, owner] : parameters) {
    if (!parameter->requires_grad) continue;
    kernels::append_squares(parameter->grad.numel(), std::as_const(parameter->grad).data(), partial);
  }
  double total = 0;
  for (double value : partial) total += value;
  return std::sqrt(total);
}

/// Scales all gradients by max_norm / (norm + 1e-6) when that is below 1 (Pascanu, Mikolov, Bengio 2013, algorithm 1).
/// Returns the norm before; if that is NaN, so are the gradients afterwards. Throws ValueError unless max_norm > 0.
template <class Scalar>
double clip_grad_norm(const std::vector<NamedParameter<Scalar>>& parameters, double max_norm) {
  require(max_norm > 0, "clip_grad_norm: max_norm must be positive, got ", max_norm);
  const double norm = grad_norm(parameters);
  const double factor = max_norm / (norm + 1e-6);
  if (factor >= 1) return norm;
  for (const auto& [name, parameter, owner] : parameters)
    if (parameter->requires_grad && !parameter->grad.empty())
      kernels::update(parameter->grad.numel(), kernels::ScaleBy<Scalar>{static_cast<Scalar>(factor)},
                      parameter->grad.data());
  return norm;
}

}  // namespace lamina::inline LAMINA_ABI
