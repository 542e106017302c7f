#pragma once

#include <algorithm>
#include <vector>

#include "lamina/compile/program.hpp"
#include "lamina/kernels/convolution.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

/// Where a value's memory is: in that of `root`, whose samples lie `sample` values apart, from `offset` on.
struct Place {
  Index root;        ///< the value whose memory it is
  Index offset = 0;  ///< from its beginning
  Index sample = 0;  ///< from one sample to the next
};

/// Values that one sample takes.
template <class T>
Index sample_size(const ProgramValue& value) {
  const Shape& s = value.shape;
  if (!value.blocked) return s.rank() == 0 ? 1 : s.product(1, s.rank());
  const Index lanes = kernels::block_lanes<T>();
  return parts_of(s[1], lanes) * lanes * s[2] * s[3];
}

/// Of a value of a program.
template <class T>
Place place_of(const Program<T>& program, Index id) {
  Place place{id};
  while (program.value(place.root).whole >= 0) {
    const ProgramValue& value = program.value(place.root);
    if (value.blocked) place.offset += value.channel * value.shape[2] * value.shape[3];
    place.root = value.whole;
  }
  place.sample = sample_size<T>(program.value(place.root));
  return place;
}

/// Whether a step's results are the plan's own memory, in the arena: those of a layer are tensors, a view has none.
template <class Scalar>
bool makes_memory(const Step<Scalar>& step) {
  return step.kind != StepKind::layer && step.kind != StepKind::view;
}

/// Lets the parts of a concatenation in blocks be made in its memory, and takes out the concatenations that have then
/// nothing left to copy. A part that is in another concatenation already, twice in this one, or an input of the program
/// is still copied.
template <class Scalar>
void place_concats(Program<Scalar>& program) {
  const std::vector<Index> makers = program.makers();
  for (auto& step : program.steps) {
    if (step.kind != StepKind::concat) continue;
    const Index y = step.outputs[0];
    Index channel = 0;
    for (Index id : step.inputs) {
      ProgramValue& part = program.value(id);
      const Index maker = makers[static_cast<std::size_t>(id)];
      if (part.whole < 0 && maker >= 0 && makes_memory(program.steps[static_cast<std::size_t>(maker)])) {
        part.whole = y;
        part.channel = channel;
      }
      channel += part.shape[1];
    }
  }
  // Backwards: what concatenation i still copies.
  program.erase_steps([&](const auto& step) {
    if (step.kind != StepKind::concat) return false;
    Index channel = 0;
    for (Index id : step.inputs) {
      const ProgramValue& part = program.value(id);
      if (part.whole != step.outputs[0] || part.channel != channel) return false;
      channel += part.shape[1];
    }
    return true;
  });
}

/// Views share the memory of what they view; and what an elementwise step makes takes the place of its first input, if
/// that is the plan's own memory, nothing else lies in it and nobody reads it any more.
template <class Scalar>
void place_in_place(Program<Scalar>& program) {
  for (auto& step : program.steps)
    if (step.kind == StepKind::view) program.value(step.outputs[0]).whole = step.inputs[0];
  std::vector<Index> last(program.values.size(), -1);  // the step that reads each root's memory last
  const auto root = [&](Index id) { return static_cast<std::size_t>(place_of(program, id).root); };
  for (std::size_t i = 0; i < program.steps.size(); ++i)
    for (Index id : program.steps[i].reads()) last[root(id)] = static_cast<Index>(i);
  for (Index id : program.outputs) last[root(id)] = static_cast<Index>(program.steps.size());
  const std::vector<Index> makers = program.makers();
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const auto& step = program.steps[i];
    const bool elementwise = step.kind == StepKind::norm || step.kind == StepKind::activation ||
                             step.kind == StepKind::add || step.kind == StepKind::gate;
    if (!elementwise) continue;
    const Index x = step.inputs[0], maker = makers[static_cast<std::size_t>(x)];
    const bool own = maker >= 0 && makes_memory(program.steps[static_cast<std::size_t>(maker)]);
    const bool alone = std::none_of(program.values.begin(), program.values.end(),
                                    [&](const ProgramValue& value) { return value.whole == x; });
    ProgramValue& y = program.value(step.outputs[0]);
    if (!own || !alone || program.value(x).whole >= 0 || y.whole >= 0 || last[root(x)] != static_cast<Index>(i))
      continue;
    if (std::count(step.inputs.begin(), step.inputs.end(), x) != 1) continue;
    last[static_cast<std::size_t>(x)] = last[static_cast<std::size_t>(step.outputs[0])];
    y.whole = x;
  }
}

}  // namespace lamina::inline LAMINA_ABI::compiler
