#pragma once

#include <string>

#include "lamina/nn/graph.hpp"

namespace lamina::inline LAMINA_ABI {

/// A text as a quoted string of Graphviz's language.
inline std::string dot_quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? "\\n" : std::string(1, c);
  }
  return out + "\"";
}

/// A graph in Graphviz's language: a box for each layer with its path and name, an arrow for each value with its shape.
///
///   write(to_dot(record(net, {1, 3, 224, 224})), "net.dot");      $ dot -Tsvg net.dot
template <class Scalar>
std::string to_dot(const Graph<Scalar>& graph) {
  std::string out = "digraph {\n  node [shape=box];\n";
  std::vector<std::string> source(graph.shapes.size());  // of the edges
  const auto arrow = [&](Index edge, const std::string& to) {
    out += "  " + source[static_cast<std::size_t>(edge)] + " -> " + to +
           " [label=" + dot_quoted(graph.shape(edge).to_string()) + "];\n";
  };
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
    source[static_cast<std::size_t>(graph.inputs[i])] = text("input", i);
    out += text("  input", i, " [shape=ellipse];\n");
  }
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node<Scalar>& node = graph.nodes[i];
    const std::string id = text("n", i), name = node.layer->name();
    out += "  " + id + " [label=" + dot_quoted(node.path.empty() ? name : node.path + ": " + name) + "];\n";
    for (const Index edge : node.inputs) arrow(edge, id);
    for (const Index edge : node.outputs) source[static_cast<std::size_t>(edge)] = id;
  }
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    out += text("  output", i, " [shape=ellipse];\n");
    arrow(graph.outputs[i], text("output", i));
  }
  return out + "}\n";
}

}  // namespace lamina::inline LAMINA_ABI
