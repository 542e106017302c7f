#pragma once

#include <cmath>
#include <vector>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/kernels/update.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// The Euclidean norm of all gradients together, as if they were one vector; frozen parameters do not count. The sums
/// are taken over fixed pieces in a fixed order: the same bits for any number of threads.
template <class Scalar>
double grad_norm(const std::vector<NamedParameter<Scalar>>& parameters) {
  constexpr Index grain = kernels::stream_grain / 4;
  std::vector<double> partial;
  for (const auto& [name, parameter, owner] : parameters) {
    if (!parameter->requires_grad) continue;
    const Tensor<Scalar>& grad = parameter->grad;
    const Scalar* g = grad.data();
    const std::size_t begin = partial.size();
    partial.resize(begin + static_cast<std::size_t>((grad.numel() + grain - 1) / grain));
    parallel_for(0, grad.numel(), grain, [&](Index first, Index last) {
      partial[begin + static_cast<std::size_t>(first / grain)] =
          static_cast<double>(kernels::sum_of_squares(g + first, last - first));
    });
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
