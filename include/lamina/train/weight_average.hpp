#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <variant>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// Moves the average of a model's weights: average = decay average + (1 - decay) weights (Polyak and Juditsky 1992).
/// What is not learned, such as running statistics, is the model's of now. An empty average begins as the weights.
template <class Scalar>
void move_average(StateDict<Scalar>& average, Module<Scalar>& net, double decay) {
  require(decay >= 0 && decay < 1, "move_average: decay must be in [0, 1), got ", decay);
  StateDict<Scalar> now = state_dict(std::as_const(net));
  if (average.empty()) {
    average = std::move(now);
    return;
  }
  const auto learned = parameters(net);
  std::size_t next = 0;  // of them: both are in the order of enumeration
  const auto keep = static_cast<Scalar>(decay), take = static_cast<Scalar>(1 - decay);
  for (std::size_t i = 0; i < now.size(); ++i) {
    const bool is_parameter = next < learned.size() && learned[next].name == now[i].first;
    const bool moves = is_parameter && learned[next].parameter->requires_grad;
    next += is_parameter;
    if (!moves) {
      average[i].second = std::move(now[i].second);
      continue;
    }
    auto& to = std::get<Tensor<Scalar>>(average[i].second);
    Scalar* const out = to.data();  // which may be a copy: what it was made of may be gone now
    kernels::map(to.numel(), out, kernels::Blended<Scalar>{keep, take}, static_cast<const Scalar*>(out),
                 std::as_const(std::get<Tensor<Scalar>>(now[i].second)).data());
  }
}

/// The decay for the average's move after a step (from 0), so that the first weights are soon forgotten:
///     min(decay, (1 + step) / (10 + step))
/// (TensorFlow's ExponentialMovingAverage with num_updates). Without, they still have decay^step of the average: with
/// 0.9995, a fifth after 3,000 steps.
constexpr double warm_up_decay(double decay, Index step) {
  return std::min(decay, static_cast<double>(1 + step) / static_cast<double>(10 + step));
}

}  // namespace lamina::inline LAMINA_ABI
