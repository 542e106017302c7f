#pragma once

#include <algorithm>
#include <utility>

#include "lamina/compile/layouts.hpp"
#include "lamina/compile/program.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

namespace detail {

/// The position of the only step that reads a value, as its first input; -1 if there are others or the value is a
/// result.
template <class Scalar>
Index only_user(const Program<Scalar>& program, Index value) {
  Index user = -1;
  for (std::size_t i = 0; i < program.steps.size(); ++i)
    for (Index id : program.steps[i].reads())
      if (id == value) {
        if (user >= 0) return -1;
        user = static_cast<Index>(i);
      }
  for (Index id : program.outputs)
    if (id == value) return -1;
  return user;
}

template <class Scalar>
void erase_step(Program<Scalar>& program, Index position) {
  program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(position));
}

inline bool is_product(StepKind kind) { return kind == StepKind::convolution || kind == StepKind::linear; }

/// Whether a window's average of a constant is that constant everywhere.
inline bool plain_average(const std::vector<std::vector<kernels::Span>>& spans) {
  for (const auto& axis : spans)
    for (const kernels::Span& span : axis)
      if (span.last - span.first != span.divisor) return false;
  return true;
}

}  // namespace detail

/// avg_pool(conv1x1(x)) = conv1x1(avg_pool(x)), with a part of the multiplications: the transitions of a DenseNet.
template <class Scalar>
void pool_first(Program<Scalar>& program) {
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    Step<Scalar>& conv = program.steps[i];
    const auto& s = conv.shape;
    const bool pointwise = conv.kind == StepKind::convolution && conv.method == Method::direct && s.taps() == 1 &&
                           s.sh == 1 && s.sw == 1 && s.top == 0 && s.left == 0 && s.bottom == 0 && s.right == 0;
    if (!pointwise || conv.finished() || !program.value(conv.inputs[0]).blocked) continue;
    const Index user = detail::only_user(program, conv.outputs[0]);
    if (user < 0) continue;
    Step<Scalar>& pool = program.steps[static_cast<std::size_t>(user)];
    if (pool.kind != StepKind::average_pool || !detail::plain_average(pool.spans)) continue;
    const Shape y = program.value(pool.outputs[0]).shape;
    if (y[2] * y[3] >= s.oh() * s.ow()) continue;
    // The value between them is the pooled input now.
    const Index between = conv.outputs[0];
    program.value(between).shape = y.with(1, s.c);
    conv.multiply_adds = conv.multiply_adds / (s.oh() * s.ow()) * (y[2] * y[3]);
    conv.shape.h = y[2];
    conv.shape.w = y[3];
    std::swap(conv.inputs, pool.inputs);
    std::swap(conv.outputs, pool.outputs);
    std::swap(conv, pool);
  }
}

/// Residual sums and activations into the store of the step before them.
template <class Scalar>
void fuse_finish(Program<Scalar>& program) {
  for (Index i = 0; i < static_cast<Index>(program.steps.size());) {
    Step<Scalar>& step = program.steps[static_cast<std::size_t>(i)];
    const bool stores = detail::is_product(step.kind) || step.kind == StepKind::norm || step.kind == StepKind::add;
    const Index user = stores && !step.activated() ? detail::only_user(program, step.outputs[0]) : -1;
    if (user < 0) {
      ++i;
      continue;
    }
    Step<Scalar>& next = program.steps[static_cast<std::size_t>(user)];
    const bool same = program.value(step.outputs[0]).blocked == program.value(next.outputs[0]).blocked;
    if (next.kind == StepKind::activation && same) {
      step.clamp = next.clamp;
      step.activation = next.activation;
      step.outputs = next.outputs;
      take_layers(step, next);
      detail::erase_step(program, user);
      continue;
    }
    // A sum is taken over by the later of the products that it adds, which moves to its place.
    if (next.kind == StepKind::add && !next.finished() && detail::is_product(step.kind) && step.residual < 0 && same) {
      const Index other = next.inputs[next.inputs[0] == step.outputs[0] ? 1 : 0];
      const Index maker = program.makers()[static_cast<std::size_t>(other)];
      const bool later = maker > i && detail::is_product(program.steps[static_cast<std::size_t>(maker)].kind) &&
                         !program.steps[static_cast<std::size_t>(maker)].finished() &&
                         detail::only_user(program, other) == user;
      if (other != step.outputs[0] && !later) {
        Step<Scalar> sum = std::move(step);
        sum.residual = other;
        sum.outputs = next.outputs;
        take_layers(sum, next);
        next = std::move(sum);
        detail::erase_step(program, i);
        continue;
      }
    }
    ++i;
  }
}

/// Normalisations that could not be folded, and gates, into the reading of the step behind them.
template <class Scalar>
void fuse_intake(Program<Scalar>& program) {
  for (Index i = 0; i < static_cast<Index>(program.steps.size());) {
    Step<Scalar>& step = program.steps[static_cast<std::size_t>(i)];
    const bool norm =
        step.kind == StepKind::norm && step.residual < 0 && !step.activation && step.clamp != lamina::Activation::relu6;
    const bool gate = step.kind == StepKind::gate && !step.finished();
    const Index user = norm || gate ? detail::only_user(program, step.outputs[0]) : -1;
    if (user < 0 || !program.value(step.outputs[0]).blocked) {
      ++i;
      continue;
    }
    Step<Scalar>& next = program.steps[static_cast<std::size_t>(user)];
    const bool convolves = next.kind == StepKind::convolution && next.method == Method::direct &&
                           next.shape.groups == 1 && !reads_planes(next);
    const bool pools = next.kind == StepKind::average_pool && norm;
    if (next.inputs[0] != step.outputs[0] || next.changes_input() || !(convolves || pools)) {
      ++i;
      continue;
    }
    if (norm) {
      next.intake_scale = step.weight;
      next.intake_shift = step.bias;
      next.intake_relu = step.clamp == lamina::Activation::relu;
    } else {
      next.intake_gate = step.inputs[1];
    }
    next.inputs[0] = step.inputs[0];
    take_layers(next, step);
    detail::erase_step(program, i);
  }
}

/// The average over all pixels, for squeeze-and-excitation, into the depthwise convolution that makes them.
template <class Scalar>
void fuse_mean(Program<Scalar>& program) {
  for (Index i = 0; i < static_cast<Index>(program.steps.size()); ++i) {
    Step<Scalar>& pool = program.steps[static_cast<std::size_t>(i)];
    if (pool.kind != StepKind::average_pool || pool.changes_input() || !detail::plain_average(pool.spans)) continue;
    if (pool.spans[0].size() != 1 || pool.spans[1].size() != 1) continue;
    const Index maker = program.makers()[static_cast<std::size_t>(pool.inputs[0])];
    if (maker < 0) continue;
    Step<Scalar>& step = program.steps[static_cast<std::size_t>(maker)];
    const Shape x = program.value(pool.inputs[0]).shape;
    const bool whole = pool.spans[0][0].last == x[2] && pool.spans[1][0].last == x[3];
    if (step.kind != StepKind::convolution || step.method != Method::depthwise || step.mean >= 0 || !whole) continue;
    step.mean = pool.outputs[0];
    take_layers(step, pool);
    detail::erase_step(program, i--);
  }
}

/// All of these, where the layouts are chosen.
template <class Scalar>
void fuse(Program<Scalar>& program) {
  pool_first(program);
  fuse_finish(program);
  fuse_intake(program);
  fuse_mean(program);
}

}  // namespace lamina::inline LAMINA_ABI::compiler
