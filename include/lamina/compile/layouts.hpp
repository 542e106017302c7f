#pragma once

#include <map>
#include <vector>

#include "lamina/compile/program.hpp"
#include "lamina/kernels/planned.hpp"
#include "lamina/nn/cat.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

/// Which kernel makes a convolution's result. Blocks are used where they are well filled; Winograd's F(2x2) where one
/// image has so few tiles that F(4x4)'s larger filters take the time (512 -> 512, 7 x 7: 2.0 ms against 2.7).
template <class T>
Method method_for(const kernels::ConvolutionShape& s) {
  const Index width = kernels::block_lanes<T>();
  if (s.depthwise())
    return kernels::is_blocked_depthwise(s) && kernels::fills_vectors<T>(s.c) ? Method::depthwise : Method::planar;
  if (s.groups > 1 && (s.group_c() % width != 0 || s.group_m() % width != 0)) return Method::planar;
  if (!kernels::fills_vectors<T>(s.group_m())) return Method::planar;
  switch (kernels::forward_method<T>(s)) {
    case kernels::ConvolutionMethod::winograd_5:
      return Method::winograd_5;
    case kernels::ConvolutionMethod::winograd_4: {
      return kernels::winograd_tiles(s, 4) <= 4 && s.group_c() * s.group_m() > Index{1} << 16 ? Method::winograd_2
                                                                                              : Method::winograd_4;
    }
    default:
      return Method::direct;
  }
}

/// Whether a convolution reads planes: the first layer's few channels are laid out as it copies them into its bands.
template <class T>
bool reads_planes(const Step<T>& step) {
  return step.method == Method::planar ||
         (step.method == Method::direct && step.shape.groups == 1 && step.shape.c < kernels::block_lanes<T>());
}

/// Chooses each value's layout. Convolutions make blocks, pooling, sums, gates and elementwise steps keep what they are
/// given, and where two do not fit a conversion stands between them, one for all who need it. Other layers, and the
/// program's inputs and results, are row-major; pooling and the like that stay so run as their layers do.
template <class Scalar>
void choose_layouts(Program<Scalar>& program) {
  std::vector<Step<Scalar>> steps;
  std::map<std::pair<Index, bool>, Index> converted;
  const auto as = [&](Index id, bool blocked) {
    if (program.value(id).blocked == blocked) return id;
    const auto [place, is_new] = converted.try_emplace({id, blocked}, -1);
    if (is_new) {
      place->second = program.add_value(program.value(id).shape);
      program.value(place->second).blocked = blocked;
      steps.push_back({blocked ? StepKind::to_blocked : StepKind::to_planar, {id}, {place->second}, {}});
    }
    return place->second;
  };
  for (Step<Scalar>& step : program.steps) {
    bool in = false, out = false;
    switch (step.kind) {
      case StepKind::convolution:
        step.method = method_for<Scalar>(step.shape);
        in = !reads_planes(step);
        out = step.method != Method::planar;
        break;
      case StepKind::norm:
      case StepKind::activation:
      case StepKind::add:
      case StepKind::gate:
      case StepKind::max_pool:
      case StepKind::average_pool:
        in = out = program.value(step.inputs[0]).blocked;
        break;
      case StepKind::concat:
        // Where the parts begin in whole vectors.
        in = true;
        for (std::size_t i = 0; i < step.inputs.size(); ++i) {
          const ProgramValue& value = program.value(step.inputs[i]);
          in = in && value.blocked &&
               (i + 1 == step.inputs.size() || value.shape[1] % kernels::block_lanes<Scalar>() == 0);
        }
        out = in;
        break;
      default:
        break;
    }
    for (Index& id : step.inputs) id = as(id, in);
    for (Index id : step.outputs) program.value(id).blocked = out;
    const bool native = out || step.kind == StepKind::convolution || step.kind == StepKind::linear ||
                        step.kind == StepKind::activation || step.kind == StepKind::add || step.kind == StepKind::view;
    if (!native) {
      if (!step.layer) step.layer = std::make_shared<const Cat<Scalar>>(1);  // of a dense block
      step.kind = StepKind::layer;
    }
    steps.push_back(std::move(step));
  }
  for (Index& id : program.outputs) id = as(id, false);
  program.steps = std::move(steps);
}

}  // namespace lamina::inline LAMINA_ABI::compiler
