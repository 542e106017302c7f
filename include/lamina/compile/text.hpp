#pragma once

#include <string>
#include <vector>

#include "lamina/compile/place.hpp"
#include "lamina/nn/dot.hpp"
#include "lamina/nn/profile.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

/// What a step does, in words: "convolution (direct) + sum + relu".
template <class T>
std::string describe(const Step<T>& step) {
  static constexpr const char* methods[] = {"planes",     "direct",     "depthwise",
                                            "Winograd 2", "Winograd 4", "Winograd 2x5"};
  std::string out;
  if (step.intake_gate >= 0) out += "gate + ";
  if (!step.intake_scale.empty()) out += step.intake_relu ? "norm + relu + " : "norm + ";
  if (step.kind == StepKind::layer) return step.layer->name();
  out += name_of(step.kind);
  if (step.kind == StepKind::convolution) out += std::string(" (") + methods[static_cast<int>(step.method)] + ")";
  if (step.residual >= 0) out += " + sum";
  if (step.clamp == lamina::Activation::relu) out += " + relu";
  if (step.clamp == lamina::Activation::relu6) out += " + relu6";
  if (step.activation) out += " + " + step.activation->name();
  if (step.mean >= 0) out += " + mean";
  return out;
}

/// The layers of a step, for reports.
template <class T>
std::string layers_of(const Step<T>& step) {
  std::string out;
  for (const std::string& layer : step.layers) out += (out.empty() ? "" : ", ") + layer;
  return out;
}

/// Bytes of the values that a step reads and writes.
template <class T>
Index bytes_of(const Program<T>& program, const Step<T>& step) {
  Index values = 0;
  const auto add = [&](Index id) {
    const ProgramValue& value = program.value(id);
    values += sample_size<T>(value) * (value.shape.rank() > 0 ? value.shape[0] : 1);
  };
  for (Index id : step.reads()) add(id);
  for (Index id : step.writes()) add(id);
  return values * static_cast<Index>(sizeof(T));
}

/// The table of Plan::report.
template <class T>
std::string report_table(const Program<T>& program, const std::vector<double>& seconds) {
  std::vector<ProfileRow> rows;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const auto& step = program.steps[i];
    rows.push_back(
        {seconds[i], step.multiply_adds, bytes_of(program, step), describe(step) + "  [" + layers_of(step) + "]"});
  }
  return profile_table(rows);
}

/// The steps as boxes, the values as arrows, for Graphviz.
template <class T>
std::string to_dot(const Program<T>& program) {
  std::string out = "digraph plan {\n  node [shape=box];\n";
  const std::vector<Index> makers = program.makers();
  const auto edge = [&](Index id, const std::string& to, const char* style) {
    const Index maker = makers[static_cast<std::size_t>(id)];
    out += "  " + (maker < 0 ? "input" : "s" + std::to_string(maker)) + " -> " + to +
           " [label=" + dot_quoted(program.value(id).shape.to_string() + (program.value(id).blocked ? " blocks" : "")) +
           style + "];\n";
  };
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const auto& step = program.steps[i];
    const std::string name = "s" + std::to_string(i);
    std::string label = describe(step);
    for (const std::string& layer : step.layers) label += "\n" + layer;
    out += "  " + name + " [label=" + dot_quoted(label) + "];\n";
    for (Index id : step.inputs) edge(id, name, "");
    if (step.residual >= 0) edge(step.residual, name, ", style=dashed");
    if (step.intake_gate >= 0) edge(step.intake_gate, name, ", style=dotted");
  }
  for (Index id : program.outputs) edge(id, "output", "");
  return out + "}\n";
}

}  // namespace lamina::inline LAMINA_ABI::compiler
