#pragma once

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/incremental/causality.hpp"
#include "lamina/incremental/convolution.hpp"

namespace lamina::inline LAMINA_ABI {

/// The pixels of x [N, C, H, W] from `at` on in a row, as [N count, C, 1, 1] for a number of samples; x is repeated
/// along the axes where it has extent 1.
template <class Scalar>
Tensor<Scalar> pixels_of(const Tensor<Scalar>& x, Index samples, Pixel at, Index count) {
  const Index channels = x.dim(1), columns = x.dim(3), plane = x.dim(2) * columns;
  const Index row = x.dim(2) == 1 ? 0 : at.row;
  Tensor<Scalar> result({samples * count, channels, 1, 1});
  Scalar* to = result.data();
  for (Index i = 0; i < samples * count; ++i) {
    const Index sample = x.dim(0) == 1 ? 0 : i / count, column = columns == 1 ? 0 : at.column + i % count;
    const Scalar* from = x.data() + sample * channels * plane + row * columns + column;
    if (plane == 1)
      to = std::copy_n(from, channels, to);
    else
      for (Index c = 0; c < channels; ++c, from += plane) *to++ = *from;
  }
  return result;
}

/// A causal model in the course of a scan over images, in raster order and at each pixel colour by colour
/// (Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models"): each layer keeps what it
/// still needs of the pixels before, and computes the new one only. What depends on the rows above alone is computed a
/// row at once, what is known from the start once. All results have the bits that infer gives at that pixel.
///
///   Incremental form(model, images, colours);
///   for every pixel in raster order
///     for (Index c = 0; c < colours; ++c) ... form.step(x, at, c)     // x has the colours before c; choose colour c
///     form.step(x, at, colours);                                      // all of x is known
template <class Scalar = float>
class Incremental {
 public:
  /// For images [N, C, H, W] of which the channels behind the first `colours` are known from the start, as they are in
  /// `images`. The model must neither move nor change while the form is used. Throws StateError naming the layer if the
  /// model is not causal (see Causality) or cannot be computed pixel by pixel.
  Incremental(const Module<Scalar>& model, const Tensor<Scalar>& images, Index colours)
      : graph_(record(model, images.shape())),
        images_(images.shape()),
        colours_(colours),
        edges_(graph_.shapes.size()),
        known_(colours) {
    const Causality<Scalar> causality(graph_, colours);
    causality.check();
    const auto needed = needed_for({graph_.outputs[0]}, [&](Index edge) { return !known(causality, edge); });
    Edge& input = at(graph_.inputs[0]);
    input.pace = Pace::pixel;
    input.colours = colours;
    for (const Node<Scalar>& node : graph_.nodes)
      if (needed_of(node, needed) && !known(causality, node.outputs[0])) steps_.push_back(step_of(node, causality));
    hand_over();
    compute_known(images, causality, needed);
  }

  /// The logits [N, M, 1, 1] at a pixel for the input x [N, C, 1, 1] there, of which the first `known` colours count:
  /// those of the colours up to `known` are right. Throws StateError unless pixels come in raster order, each with more
  /// and at last all of its colours; one step with all of them is enough. ShapeError for another x.
  Tensor<Scalar> step(Tensor<Scalar> x, Pixel pixel, Index known) {
    const bool begins = known_ == colours_;
    const Index place = begins ? place_ + 1 : place_;
    require<StateError>(images_[3] > 0 && pixel == Pixel{place / images_[3], place % images_[3]} &&
                            pixel.row < images_[2] && known <= colours_ && known >= 0 && (begins || known > known_),
                        "Incremental: expected ", begins ? "the next" : "more colours of the same", " pixel, got ",
                        known, " colours at (", pixel.row, ", ", pixel.column, ")");
    const Shape expected{images_[0], images_[1], 1, 1};
    require<ShapeError>(x.shape() == expected, "Incremental: expected a pixel ", expected, ", got shape ", x.shape());
    const Index before = begins ? -1 : known_;
    if (begins && pixel.column == 0) compute_row(pixel.row);
    place_ = place;
    known_ = known;
    at(graph_.inputs[0]).value = std::move(x);
    // What does not see the colours that are new has been computed.
    for (Step& step : steps_) {
      const Edge& from = at(step.node->inputs[0]);
      if (auto* ring = std::get_if<Ring>(&step.form); ring && from.pace == Pace::pixel && from.colours > before)
        ring->keep(from.value, pixel);
      if (step.pace == Pace::pixel && at(step.node->outputs[0]).colours > before) compute(step, pixel, 1);
    }
    return value(graph_.outputs[0], pixel, 1);
  }

 private:
  using Ring = detail::MaskedRing<Scalar>;
  using Convolution = detail::PixelConvolution<Scalar>;

  /// When a value is computed.
  enum class Pace { once, row, pixel };

  struct Edge {
    Pace pace = Pace::once;
    Index colours = 0;     // of the pixel itself that it depends on
    Tensor<Scalar> value;  // [N, ...]; of a row [N columns, C, 1, 1]; of a pixel [N, C, 1, 1]
  };
  /// A layer in the scan; without a form of its own, it runs on pixels as if they were images.
  struct Step {
    const Node<Scalar>* node;
    Pace pace;
    std::variant<std::monostate, Ring, Convolution> form = {};
    std::vector<char> takes = std::vector<char>(node->inputs.size());  // inputs in whose storage it may work
  };

  Edge& at(Index edge) { return edges_[static_cast<std::size_t>(edge)]; }

  static bool known(const Causality<Scalar>& causality, Index edge) {
    return causality.all_of(edge).reach == Reach::nothing;
  }

  /// The edges that these ones are made from, as far as through(edge).
  template <class F>
  std::vector<char> needed_for(const std::vector<Index>& wanted, F through) const {
    std::vector<char> needed(edges_.size());
    for (const Index edge : wanted) needed[static_cast<std::size_t>(edge)] = true;
    for (auto node = graph_.nodes.rbegin(); node != graph_.nodes.rend(); ++node)
      if (needed_of(*node, needed) && through(node->outputs[0]))
        for (const Index edge : node->inputs) needed[static_cast<std::size_t>(edge)] = true;
    return needed;
  }
  static bool needed_of(const Node<Scalar>& node, const std::vector<char>& needed) {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](Index edge) { return needed[static_cast<std::size_t>(edge)]; });
  }

  /// Decides when a node is computed, and how. Throws StateError if it cannot be.
  Step step_of(const Node<Scalar>& node, const Causality<Scalar>& causality) {
    const auto check = [&](bool valid) {
      require<StateError>(valid, node.path, node.path.empty() ? "" : ": ", *node.layer,
                          " has no incremental form: it cannot be computed pixel by pixel");
    };
    const Index output = node.outputs[0];
    const Dependence all = causality.all_of(output);
    check(node.outputs.size() == 1 && all.reach <= Reach::before && causality.is_image(output));
    bool own_row = false, right = false;
    for (Index c = 0; c < graph_.shape(output)[1]; ++c)
      for (const Source& source : causality.sources(node, output, c)) {
        own_row |= source.direction != Direction::above;
        right |= source.direction == Direction::right;
      }
    Pace latest = Pace::once;
    for (const Index edge : node.inputs) latest = std::max(latest, at(edge).pace);
    const bool by_row = all.reach == Reach::above && (latest == Pace::row || !own_row);
    check(by_row || !right);
    Step step{&node, by_row ? Pace::row : Pace::pixel};
    at(output).pace = step.pace;
    at(output).colours = all.colours;
    if (const auto* masked = node.template as<MaskedConv2d<Scalar>>()) {
      step.form.template emplace<Ring>(*masked, images_);
    } else if (const auto* conv = node.template as<Conv2d<Scalar>>()) {
      check(Convolution::takes(*conv));
      // Depthwise, a pixel's sums begin with the bias, as no product's do; there the layer itself runs.
      if (!conv->sizes(graph_.shape(node.inputs[0])).depthwise()) step.form.template emplace<Convolution>(*conv);
    } else if (node.layer->locality() == Locality::image) {
      const auto* cat = node.template as<Cat<Scalar>>();
      const auto* narrow = node.template as<Narrow<Scalar>>();
      check((cat && causality.is_channel_axis(cat->dim())) || (narrow && causality.is_channel_axis(narrow->dim())));
    }
    return step;
  }

  /// Lets the last reader of a pixel's value have it, if the value is new whenever somebody reads it.
  void hand_over() {
    std::vector<std::pair<Step*, std::size_t>> last(edges_.size());
    std::vector<Index> colours(edges_.size());
    for (Step& step : steps_)
      for (std::size_t i = 0; i < step.takes.size(); ++i) {
        const auto edge = static_cast<std::size_t>(step.node->inputs[i]);
        last[edge] = {&step, i};
        colours[edge] = std::max(colours[edge], at(step.node->outputs[0]).colours);
      }
    for (std::size_t edge = 0; edge < edges_.size(); ++edge)
      if (const auto [step, i] = last[edge]; step && step->pace == Pace::pixel && edges_[edge].pace == Pace::pixel &&
                                             edges_[edge].colours >= colours[edge] &&
                                             static_cast<Index>(edge) != graph_.outputs[0])
        step->takes[i] = true;
  }

  /// Computes what depends on nothing that is not known, from whole images, and keeps what the steps read.
  void compute_known(const Tensor<Scalar>& images, const Causality<Scalar>& causality,
                     const std::vector<char>& needed) {
    std::vector<Index> wanted;
    for (std::size_t i = 0; i < needed.size(); ++i)
      if (needed[i] && known(causality, static_cast<Index>(i))) wanted.push_back(static_cast<Index>(i));
    const auto made = needed_for(wanted, [](Index) { return true; });
    std::vector<Value<Scalar>> values(edges_.size());
    const auto value_of = [&](Index edge) -> Value<Scalar>& { return values[static_cast<std::size_t>(edge)]; };
    value_of(graph_.inputs[0]) = images;
    for (const Node<Scalar>& node : graph_.nodes) {
      if (!needed_of(node, made)) continue;
      Values<Scalar> inputs;
      for (const Index edge : node.inputs) inputs.push_back(value_of(edge));
      Values<Scalar> results = node.layer->infer_values(std::move(inputs), Activation::none);
      for (std::size_t i = 0; i < node.outputs.size(); ++i) value_of(node.outputs[i]) = std::move(results[i]);
    }
    for (const Index edge : wanted) at(edge).value = std::move(value_of(edge).tensor);
  }

  /// Everything that is computed a row at once, when the rows above are known.
  void compute_row(Index row) {
    for (Step& step : steps_) {
      if (step.pace != Pace::row) continue;
      const Edge& from = at(step.node->inputs[0]);
      if (auto* ring = std::get_if<Ring>(&step.form); ring && from.pace == Pace::row) ring->keep(from.value, {row, 0});
      compute(step, {row, 0}, images_[3]);
    }
  }

  /// The result of a step at `count` pixels: 1, or all of a row.
  void compute(const Step& step, Pixel from, Index count) {
    Values<Scalar> inputs;
    for (std::size_t i = 0; i < step.takes.size(); ++i) {
      const Index edge = step.node->inputs[i];
      inputs.push_back(step.takes[i] ? std::move(at(edge).value) : value(edge, from, count));
    }
    Tensor<Scalar>& result = at(step.node->outputs[0]).value;
    result = {};
    if (const auto* ring = std::get_if<Ring>(&step.form))
      result = ring->run(inputs[0].tensor, from, count);
    else if (const auto* convolution = std::get_if<Convolution>(&step.form))
      result = convolution->run(inputs[0].tensor);
    else
      result = std::move(step.node->layer->infer_values(std::move(inputs), Activation::none)[0].tensor);
  }

  /// What an edge holds at pixels, [N count, C, 1, 1].
  Tensor<Scalar> value(Index edge, Pixel from, Index count) {
    const Edge& of = at(edge);
    if (of.pace == Pace::once) return pixels_of(of.value, images_[0], from, count);
    if (of.pace == Pace::pixel || count > 1 || images_[3] == 1) return of.value;
    const Index samples = images_[0], columns = images_[3], channels = of.value.dim(1);
    Tensor<Scalar> result({samples, channels, 1, 1});
    kernels::copy_rows(samples, channels, of.value.data() + from.column * channels, columns * channels, result.data(),
                       channels);
    return result;
  }

  Graph<Scalar> graph_;
  Shape images_;
  Index colours_;
  std::vector<Edge> edges_;
  std::vector<Step> steps_;
  Index place_ = -1, known_;  // the last pixel, and how many of its colours have been given
};

}  // namespace lamina::inline LAMINA_ABI
