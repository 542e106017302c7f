#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// Numbers of learned values of a model.
struct ParameterCount {
  Index total = 0;      ///< with those that are frozen
  Index trainable = 0;  ///< without them
};
/// Of a module and all below it.
template <class Scalar>
ParameterCount count_parameters(const Module<Scalar>& module) {
  ParameterCount count;
  auto add = [&](const std::string&, const Module<Scalar>&, const Member<Scalar>& member) {
    if (auto* const* parameter = std::get_if<Parameter<Scalar>*>(&member.part)) {
      count.total += (*parameter)->value.numel();
      if ((*parameter)->requires_grad) count.trainable += (*parameter)->value.numel();
    }
  };
  detail::for_each_member(module, "", add);
  return count;
}

namespace detail {

/// Bytes in units of 10^6, as torchinfo counts megabytes.
inline std::string megabytes(Index bytes) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.2f", static_cast<double>(bytes) / 1e6);
  return buffer;
}

}  // namespace detail

/// A table of a model for an input of this shape: for each module its name (none if it adds nothing to the keys), the
/// layer, the shape of its result, its own parameters and multiply-adds; then the totals, with megabytes (10^6 bytes)
/// of input, results and parameters. The children of a nameless Sequential stand in its place. Throws ShapeError if the
/// model does not take the shape.
template <class Scalar>
std::string summary(const Module<Scalar>& module, const Shape& input) {
  const Graph<Scalar> graph = record(module, input);

  std::vector<std::vector<std::string>> rows{{"Name", "Layer", "Output shape", "Parameters", "Multiply-adds"}};
  Index result_values = 0;
  std::vector<std::string> paths;     // of the modules around a scope, the scope's last
  std::vector<std::size_t> indented;  // and how far their children are
  for (const Scope<Scalar>& scope : graph.scopes) {
    const bool container = scope.node < 0;
    const auto depth = static_cast<std::size_t>(scope.depth);
    paths.resize(depth);
    indented.resize(depth);
    const bool nameless = depth > 0 && scope.path == paths.back();
    const std::size_t indent = depth > 0 ? indented.back() : 0;
    const bool hidden = nameless && container && scope.module->template as<Sequential<Scalar>>();
    paths.push_back(scope.path);
    indented.push_back(hidden ? indent : indent + 2);
    if (hidden) continue;
    const Fields fields = scope.module->fields();
    const Index parameters = container ? 0 : count_parameters(*scope.module).total;
    const Index multiply_adds = container ? 0 : graph.nodes[static_cast<std::size_t>(scope.node)].multiply_adds;
    if (!container) result_values += scope.output.numel();
    rows.push_back({std::string(indent, ' ') + (nameless ? "" : scope.path),
                    container ? fields.type() : fields.to_string(), scope.output.to_string(),
                    parameters ? with_commas(parameters) : "-", multiply_adds ? with_commas(multiply_adds) : "-"});
  }

  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::size_t total_width = 0;
  for (std::size_t width : widths) total_width += width + 2;
  const std::string rule = std::string(total_width - 2, '-') + "\n";
  std::string out = rule;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - row[c].size(), ' ');
      line += (c >= 3 ? space + row[c] : row[c] + space) + "  ";  // numbers to the right
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    if (&row == &rows[0]) out += rule;
  }
  const ParameterCount count = count_parameters(module);
  constexpr Index bytes = sizeof(Scalar);
  out += rule;
  out += text("Parameters: ", with_commas(count.total), " (", with_commas(count.trainable),
              " trainable)\nMultiply-adds: ", with_commas(graph.multiply_adds()), "\nMegabytes: input ",
              detail::megabytes(input.numel() * bytes), ", results ", detail::megabytes(result_values * bytes),
              ", parameters ", detail::megabytes(count.total * bytes), "\n");
  return out + rule;
}

}  // namespace lamina::inline LAMINA_ABI
