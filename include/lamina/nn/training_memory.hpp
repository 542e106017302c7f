#pragma once

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "lamina/nn/checkpoint.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/summary.hpp"

namespace lamina::inline LAMINA_ABI {

/// Bytes that a step of training needs at its fullest moment.
struct TrainingMemory {
  Index parameters = 0;   ///< of all of them
  Index gradients = 0;    ///< of the trainable parameters
  Index optimizer = 0;    ///< what the optimiser keeps for them
  Index activations = 0;  ///< what forward leaves on the tape, the input included
  Index peak = 0;         ///< the most at once of activations and of gradients on their way back
  /// All but the activations, which are in the peak.
  Index total() const { return parameters + gradients + optimizer + peak; }
};

namespace detail {

/// What a recorded forward leaves for its backward, and the way back.
template <class Scalar>
class TrainingEstimate {
 public:
  explicit TrainingEstimate(Graph<Scalar> graph) : graph_(std::move(graph)), makers_(graph_.shapes.size(), -1) {
    const auto count = static_cast<Index>(graph_.nodes.size());
    for (Index i = 0; i < count; ++i)
      for (Index edge : node(i).outputs) makers_[static_cast<std::size_t>(edge)] = i;
    kept_.resize(graph_.nodes.size());
    std::vector<Index> users(graph_.shapes.size(), 0);
    for (const auto& one : graph_.nodes)
      for (Index edge : one.inputs) ++users[static_cast<std::size_t>(edge)];
    for (Index i = 0; i < count; ++i) {
      const Saved saved = node(i).layer->saved();
      if (saved == Saved::input || saved == Saved::both)
        for (Index edge : node(i).inputs) keep(i, edge);
      const Node<Scalar>* const before = node(i).inputs.empty() ? nullptr : maker(node(i).inputs[0]);
      const bool applied = before && before->layer->applies(node(i).layer->activation()) &&
                           node(i).layer->activation() != Activation::none &&
                           users[static_cast<std::size_t>(node(i).inputs[0])] == 1;
      if ((saved == Saved::output && !applied) || saved == Saved::both)
        for (Index edge : node(i).outputs) keep(i, edge);
    }
    sweep();
  }

  Index activations() const { return activations_; }
  Index peak() const { return peak_; }

 private:
  const Node<Scalar>& node(Index i) const { return graph_.nodes[static_cast<std::size_t>(i)]; }
  const Node<Scalar>* maker(Index edge) const {
    const Index i = makers_[static_cast<std::size_t>(edge)];
    return i < 0 ? nullptr : &node(i);
  }
  Index bytes(Index edge) const { return graph_.shape(edge).numel() * Index{sizeof(Scalar)}; }

  /// Node i keeps an edge, unless an earlier one does: in its parts if it takes joins in parts, and not if a Checkpoint
  /// computes it again.
  void keep(Index i, Index edge) {
    const Node<Scalar>* const from = maker(edge);
    if (from && from->layer->joins() == Joins::only && node(i).layer->joins() == Joins::inputs) {
      for (Index part : from->inputs) keep(i, part);
      return;
    }
    if (from && from->template as<Checkpoint<Scalar>>()) return;
    if (!known_.insert(edge).second) return;
    kept_[static_cast<std::size_t>(i)].push_back(edge);
    activations_ += bytes(edge);
  }

  /// Backward, from the last node to the first.
  void sweep() {
    Index held = activations_, flowing = 0;
    std::vector<bool> live(graph_.shapes.size(), false);  // edges whose gradient is there
    const auto open = [&](Index edge) {
      if (!live[static_cast<std::size_t>(edge)]) live[static_cast<std::size_t>(edge)] = true, flowing += bytes(edge);
    };
    for (Index edge : graph_.outputs) open(edge);
    peak_ = held + flowing;
    for (auto i = static_cast<Index>(graph_.nodes.size()); i-- > 0;) {
      const auto begin = [&] {
        for (Index edge : node(i).inputs)
          if (maker(edge)) open(edge);
      };
      const auto end = [&] {
        for (Index edge : node(i).outputs)
          if (live[static_cast<std::size_t>(edge)])
            live[static_cast<std::size_t>(edge)] = false, flowing -= bytes(edge);
      };
      const bool in_place = node(i).layer->locality() == Locality::element;
      if (in_place) end();
      begin();
      peak_ = std::max(peak_, held + flowing + again(node(i)));
      end();
      for (Index edge : kept_[static_cast<std::size_t>(i)]) held -= bytes(edge);
    }
  }

  /// What a node needs beside gradients: scratch, and what a Checkpoint computes again.
  Index again(const Node<Scalar>& node) const {
    Index most = 0;
    if (!node.inputs.empty()) most = node.layer->scratch(graph_.shape(node.inputs[0])) * Index{sizeof(Scalar)};
    if (node.template as<Checkpoint<Scalar>>()) {
      Values<Scalar> inputs;
      for (Index edge : node.inputs) inputs.push_back(Value<Scalar>::of_shape(graph_.shape(edge), node.sequences));
      const auto* const* inside = std::get_if<Module<Scalar>*>(&members_of(*node.layer)[0].part);
      most = TrainingEstimate(record_training(**inside, std::move(inputs))).peak();
    }
    for (Index edge : node.inputs)
      if (const Node<Scalar>* from = maker(edge); from && from->template as<Checkpoint<Scalar>>()) most += bytes(edge);
    return most;
  }

  Graph<Scalar> graph_;
  std::vector<Index> makers_;             // of the edges: nodes, or -1
  std::vector<std::vector<Index>> kept_;  // edges, by the node that keeps them first
  std::set<Index> known_;
  Index activations_ = 0, peak_ = 0;
};

}  // namespace detail

/// An estimate of the memory that a step of training takes on inputs of this shape: nothing is computed. `moments` is
/// the number of values that the optimiser keeps for each parameter: 0 for SGD, 1 with momentum or for RMSprop, 2 for
/// Adam. Masks, moments of norms and threads' scratch are left out; for the published networks it is within a seventh
/// of what a step takes (tests/models). Throws ShapeError if the model does not take the shape.
template <class Scalar>
TrainingMemory training_memory(const Module<Scalar>& module, Values<Scalar> inputs, Index moments = 2) {
  const detail::TrainingEstimate<Scalar> estimate(record_training(module, std::move(inputs)));
  const ParameterCount count = count_parameters(module);
  constexpr Index bytes = sizeof(Scalar);
  return {count.total * bytes, count.trainable * bytes, count.trainable * moments * bytes, estimate.activations(),
          estimate.peak()};
}
/// For one input.
template <class Scalar>
TrainingMemory training_memory(const Module<Scalar>& module, const Shape& input, Index moments = 2) {
  return training_memory(module, Values<Scalar>(Value<Scalar>::of_shape(input)), moments);
}

}  // namespace lamina::inline LAMINA_ABI
