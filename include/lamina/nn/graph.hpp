#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// A layer in a Graph.
template <class Scalar = float>
struct Node {
  const Primitive<Scalar>* layer;  ///< of the model
  std::string path;                ///< as in state_dict keys; "" for the model itself, or a layer without a name
  std::vector<Index> inputs;       ///< edges that it reads
  std::vector<Index> outputs;      ///< edges that it makes
  Index multiply_adds;             ///< of infer, for this input
  std::shared_ptr<const Sequences> sequences;  ///< of its inputs, if they are packed

  /// The layer as the type that it is, or null: `if (const auto* conv = node.template as<Conv2d<float>>())`.
  template <class L>
  const L* as() const {
    return layer->template as<L>();
  }
};

/// A module around layers, or a layer: in the order of the flow, each before what it consists of.
template <class Scalar = float>
struct Scope {
  std::string path;              ///< as in state_dict keys
  int depth;                     ///< 0 for the model itself
  const Module<Scalar>* module;  ///< block or layer
  Shape input;                   ///< the first one
  Shape output;                  ///< the first one
  Index node;                    ///< of a layer; -1 for a block
};

/// The recorded flow of a model for inputs of certain shapes: layers in the order in which they run, and the values
/// between them, which are edges by number. It refers to the model, which must neither move nor change its structure
/// while the graph is used.
template <class Scalar = float>
struct Graph {
  std::vector<Node<Scalar>> nodes;    ///< in the order of the flow
  std::vector<Scope<Scalar>> scopes;  ///< each before what it consists of
  std::vector<Shape> shapes;          ///< of the edges
  std::vector<Index> inputs;          ///< edges that come into the model
  std::vector<Index> outputs;         ///< edges that are its results

  /// The shape of an edge.
  const Shape& shape(Index edge) const { return shapes[static_cast<std::size_t>(edge)]; }

  /// Of all layers together.
  Index multiply_adds() const {
    Index total = 0;
    for (const auto& node : nodes) total += node.multiply_adds;
    return total;
  }
};

namespace detail {

template <class Scalar>
class Recording final : public Flow<Scalar> {
 public:
  static Graph<Scalar> record(const Module<Scalar>& module, Values<Scalar> inputs, bool training = false) {
    Recording flow(module, training);
    flow.graph_.inputs = flow.edges(inputs);
    try {
      const Values<Scalar> results = flow.all(module, std::move(inputs));
      for (std::size_t i = 0; i < results.size(); ++i) flow.graph_.outputs.push_back(results[i].id_);
    } catch (Error& error) {
      locate(error, module, flow.failed());
      throw;
    }
    return std::move(flow.graph_);
  }

 private:
  Recording(const Module<Scalar>& root, bool training) : training_(training) { name(root, ""); }

  bool training() const override { return training_; }

  /// The paths of a module and all below.
  void name(const Module<Scalar>& module, const std::string& path) {
    paths_.emplace_back(&module, path);
    for (const auto& member : members_of(module))
      if (auto* const* child = std::get_if<Module<Scalar>*>(&member.part))
        name(**child, path + (path.empty() || member.name.empty() ? "" : ".") + member.name);
  }
  std::string path_of(const Module<Scalar>& module) const {
    for (const auto& [known, path] : paths_)
      if (known == &module) return path;
    return around_.empty() ? "" : graph_.scopes[around_.back()].path;
  }

  /// New edges for values.
  std::vector<Index> edges(Values<Scalar>& values) {
    std::vector<Index> result;
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i].id_ = static_cast<Index>(graph_.shapes.size());
      graph_.shapes.push_back(values[i].shape());
      result.push_back(values[i].id_);
    }
    return result;
  }

  void enter(const Module<Scalar>& block, const Values<Scalar>& inputs) override {
    graph_.scopes.push_back({path_of(block), static_cast<int>(around_.size()), &block, inputs[0].shape(), {}, -1});
    around_.push_back(graph_.scopes.size() - 1);
  }
  void leave(const Module<Scalar>&, const Values<Scalar>& results) override {
    graph_.scopes[around_.back()].output = results[0].shape();
    around_.pop_back();
  }

  Values<Scalar> layer(const Primitive<Scalar>& layer, Values<Scalar> inputs) override {
    Node<Scalar> node{&layer, path_of(layer), {}, {}, layer.multiply_adds_of(inputs), inputs[0].sequences};
    for (std::size_t i = 0; i < inputs.size(); ++i) node.inputs.push_back(inputs[i].id_);
    const Few<Shape> shapes = layer.output_shapes(inputs);
    Values<Scalar> results;
    for (std::size_t i = 0; i < shapes.size(); ++i)
      results.push_back(Value<Scalar>::of_shape(shapes[i], inputs[0].sequences));
    node.outputs = edges(results);
    graph_.scopes.push_back({node.path, static_cast<int>(around_.size()), &layer, inputs[0].shape(), shapes[0],
                             static_cast<Index>(graph_.nodes.size())});
    graph_.nodes.push_back(std::move(node));
    return results;
  }

  bool training_;
  Graph<Scalar> graph_;
  std::vector<std::pair<const Module<Scalar>*, std::string>> paths_;
  std::vector<std::size_t> around_;  // the scopes of the blocks that are running
};

}  // namespace detail

/// The graph of a model for an input of this shape, or for several. Nothing is computed. Throws ShapeError if the model
/// does not take them.
template <class Scalar>
Graph<Scalar> record(const Module<Scalar>& module, const Shape& input) {
  return detail::Recording<Scalar>::record(module, Value<Scalar>::of_shape(input));
}
/// The graph for several inputs.
template <class Scalar>
Graph<Scalar> record(const Module<Scalar>& module, Values<Scalar> inputs) {
  return detail::Recording<Scalar>::record(module, std::move(inputs));
}
/// As forward runs it: with auxiliary heads, and with each Checkpoint as one layer.
template <class Scalar>
Graph<Scalar> record_training(const Module<Scalar>& module, Values<Scalar> inputs) {
  return detail::Recording<Scalar>::record(module, std::move(inputs), true);
}

}  // namespace lamina::inline LAMINA_ABI
