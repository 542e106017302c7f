#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/denormals.hpp"
#include "lamina/incremental/causality.hpp"
#include "lamina/incremental/convolution.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/state.hpp"

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

namespace detail {

/// The batch normalisation of channels first .. first + count - 1.
template <class Scalar>
BatchNorm2d<Scalar> channels_of(const BatchNorm2d<Scalar>& norm, Index first, Index count) {
  BatchNorm2d<Scalar> result(count, norm.options());
  if (norm.options().affine) {
    result.weight.value = norm.weight.value.slice(first, first + count);
    result.bias.value = norm.bias.value.slice(first, first + count);
  }
  if (norm.options().track_running_stats) {
    result.running_mean = norm.running_mean.slice(first, first + count);
    result.running_var = norm.running_var.slice(first, first + count);
  }
  return result;
}

}  // namespace detail

/// A causal model in the course of a scan over images, in raster order and at each pixel colour by colour
/// (Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models"): each layer keeps what it
/// still needs of the pixels before, and computes the new one only; at each colour, the channels that see it and none
/// behind it. What depends on the rows above alone is computed a row at once, what is known from the start once. All
/// results have the bits that infer gives at that pixel.
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
  Incremental(const Module<Scalar>& model, const Tensor<Scalar>& images, Index colours, Given given = Given::colours)
      : graph_(record(model, images.shape())),
        images_(images.shape()),
        colours_(colours),
        edges_(graph_.shapes.size()),
        known_(colours) {
    const Causality<Scalar> causality(graph_, colours);
    causality.check(given);
    for (std::size_t i = 0; i < edges_.size(); ++i)
      edges_[i].scale = std::max<Index>(1, causality.scale(static_cast<Index>(i)));
    const auto needed = needed_for({graph_.outputs[0]}, [&](Index edge) { return !known(causality, edge); });
    Edge& input = at(graph_.inputs[0]);
    input.pace = Pace::pixel;
    input.colours = colours;
    input.changes.assign(static_cast<std::size_t>(colours + 1), true);
    for (const Node<Scalar>& node : graph_.nodes)
      if (needed_of(node, needed) && !known(causality, node.outputs[0])) steps_.push_back(step_of(node, causality));
    link_parts();
    hand_over();
    compute_known(images, causality, needed);
  }

  /// The logits [N, M, 1, 1] at a pixel for the input x [N, C, 1, 1] there, of which the first `known` colours count:
  /// those of the colours up to `known` are right. Throws StateError unless pixels come in raster order, each with more
  /// and at last all of its colours; one step with all of them is enough. ShapeError for another x.
  Tensor<Scalar> step(Tensor<Scalar> x, Pixel pixel, Index known) {
    const FlushDenormals flush;
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
    if (begins && known == colours_)
      compute_pixel(pixel);
    else
      for (Index colour = before + 1; colour <= known; ++colour) compute_colour(pixel, colour);
    return value(graph_.outputs[0], pixel, 1);
  }

 private:
  using Ring = detail::ConvolutionRing<Scalar>;
  using Convolution = detail::PixelConvolution<Scalar>;
  using Transposed = detail::TransposedRows<Scalar>;
  using PixelBefore = detail::PixelBefore<Scalar>;
  /// The row before, which is late, or zeros.
  struct RowBefore {};

  /// When a value is computed: a row at once, when the rows above are known or (late) when it is known itself.
  enum class Pace { once, row, pixel, late };

  /// Channels first .. first + count - 1.
  struct Range {
    Index first, count;
    friend bool operator==(const Range&, const Range&) = default;
  };
  /// Neighbouring channels of a result that depend on as many colours of their pixel.
  struct Part {
    Index colours;
    Range channels;
    std::shared_ptr<const Primitive<Scalar>> layer = {};  // that computes them alone, if the step has no form
    std::vector<Range> inputs = {};                       // the channels that it reads
    std::vector<char> fresh = {};                         // inputs that are just what Edge::fresh is then
  };

  struct Edge {
    Pace pace = Pace::once;
    Index scale = 1;                 // how many times smaller than the images it is
    Index colours = 0;               // of the pixel itself that it depends on
    std::vector<Part> parts = {};    // if it can be computed by these: a few
    bool gathered = false;           // whether anybody reads its parts together
    Tensor<Scalar> value = {};       // [N, ...]; of a row [N columns, C, 1, 1]; of a pixel [N, C, 1, 1]
    Tensor<Scalar> fresh = {};       // the part that was computed last
    std::vector<char> changes = {};  // with how many known colours something of it changes
  };
  /// A layer in the scan; without a form of its own, it runs on pixels as if they were images.
  struct Step {
    const Node<Scalar>* node;
    Pace pace;
    std::variant<std::monostate, Ring, Convolution, Transposed, PixelBefore, RowBefore> form = {};
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
    const Edge& from = at(node.inputs[0]);
    const Shape& source = graph_.shape(node.inputs[0]);
    const auto* conv = convolution_of<Conv2d<Scalar>>(node);
    const bool late = all.reach == Reach::row && conv && from.pace == Pace::pixel && Ring::takes(*conv, source) &&
                      from.scale == 1 && at(output).scale == 1;
    check(node.outputs.size() == 1 && (late || all.reach <= Reach::before) && causality.scale(output) > 0);
    bool own_row = false, right = false;
    for (Index c = 0; c < graph_.shape(output)[1]; ++c)
      for (const Source& read : causality.sources(node, output, c)) {
        own_row |= read.direction != Direction::above;
        right |= read.direction == Direction::right;
      }
    Pace latest = Pace::once;
    for (const Index edge : node.inputs) latest = std::max(latest, at(edge).pace);
    const bool by_row = all.reach == Reach::above && (latest == Pace::row || !own_row);
    check(by_row || late || !right);
    Step step{&node, late ? Pace::late : by_row ? Pace::row : Pace::pixel};
    at(output).pace = step.pace;
    at(output).colours = all.colours;
    at(output).changes.resize(static_cast<std::size_t>(colours_ + 1));
    for (const Dependence& channel : causality.of(output))
      at(output).changes[static_cast<std::size_t>(channel.colours)] = true;
    set_form(step, causality, check);
    if (step.pace == Pace::pixel) at(output).parts = parts_of(step, causality.of(output));
    return step;
  }

  /// How a step is computed; check(whether it can be).
  template <class Check>
  void set_form(Step& step, const Causality<Scalar>& causality, Check check) {
    const Node<Scalar>& node = *step.node;
    const Edge& from = at(node.inputs[0]);
    const Shape& source = graph_.shape(node.inputs[0]);
    if (const auto* masked = node.template as<MaskedConv2d<Scalar>>()) {
      step.form.template emplace<Ring>(*masked, source);
    } else if (const auto* conv = convolution_of<Conv2d<Scalar>>(node); conv && !Convolution::takes(*conv)) {
      check(Ring::takes(*conv, source));
      step.form.template emplace<Ring>(plain_convolution_of<Conv2d<Scalar>>(node), source);
    } else if (conv) {
      // Depthwise, a pixel's sums begin with the bias, as no product's do; there the layer itself runs.
      if (!conv->sizes(source).depthwise())
        step.form.template emplace<Convolution>(plain_convolution_of<Conv2d<Scalar>>(node));
    } else if (const auto* transposed = convolution_of<ConvTranspose2d<Scalar>>(node)) {
      check(Transposed::takes(*transposed, step.pace == Pace::row));
      step.form.template emplace<Transposed>(plain_convolution_of<ConvTranspose2d<Scalar>>(node),
                                             graph_.shape(node.outputs[0]));
    } else if (const auto* shift = node.template as<Shift2d<Scalar>>()) {
      const auto [down, aside] = shift->options();
      if (down == 1 && aside == 0 && from.pace == Pace::late)
        step.form.template emplace<RowBefore>();
      else if (down == 0 && aside == 1 && from.pace == Pace::pixel)
        step.form.template emplace<PixelBefore>();
      else
        check(false);
    } else if (node.layer->locality() == Locality::image) {
      const auto* cat = node.template as<Cat<Scalar>>();
      const auto* narrow = node.template as<Narrow<Scalar>>();
      check((cat && causality.is_channel_axis(cat->dim())) || (narrow && causality.is_channel_axis(narrow->dim())));
    }
  }

  /// The parts of a step's result, or none if there is but one or they cannot be computed alone.
  std::vector<Part> parts_of(const Step& step, const std::vector<Dependence>& channels) const {
    std::vector<Part> parts;
    for (std::size_t c = 0; c < channels.size(); ++c) {
      if (c == 0 || channels[c].colours != channels[c - 1].colours)
        parts.push_back({channels[c].colours, {static_cast<Index>(c), 0}});
      ++parts.back().channels.count;
    }
    const bool alone = std::all_of(parts.begin(), parts.end(), [&](Part& part) { return split(step, part); });
    return parts.size() > 1 && alone ? parts : std::vector<Part>();
  }

  /// Makes what computes a part alone; false if nothing does. (All of a group of a convolution sees the same.)
  bool split(const Step& step, Part& part) const {
    if (!std::holds_alternative<std::monostate>(step.form))
      return std::holds_alternative<Ring>(step.form) || std::holds_alternative<Convolution>(step.form);
    const Node<Scalar>& node = *step.node;
    const auto [first, count] = part.channels;
    if (const auto* gate = node.template as<Gate<Scalar>>()) {
      const Index half = graph_.shape(node.outputs[0])[1] / gate->groups();
      if (first % half != 0 || count % half != 0) return false;
      part.layer = std::make_shared<Gate<Scalar>>(GateOptions{.groups = count / half});
      part.inputs = {{2 * first, 2 * count}};
      return true;
    }
    if (const auto* norm = node.template as<BatchNorm2d<Scalar>>())
      part.layer = std::make_shared<BatchNorm2d<Scalar>>(detail::channels_of(*norm, first, count));
    else if (node.layer->locality() == Locality::element && members_of(*node.layer).empty())
      part.layer = {std::shared_ptr<void>(), node.layer};  // the layer itself, which somebody else owns
    for (const Index edge : node.inputs) {
      const bool repeated = graph_.shape(edge)[1] == 1;
      part.inputs.push_back(repeated ? Range{0, 1} : part.channels);
    }
    return part.layer != nullptr;
  }

  /// Whether an edge has just computed these channels when `colours` are known.
  static bool has_part(const Edge& edge, Index colours, const Range& channels) {
    return std::any_of(edge.parts.begin(), edge.parts.end(),
                       [&](const Part& part) { return part.colours == colours && part.channels == channels; });
  }

  /// Finds who reads the parts of an edge as they are computed, and who together.
  void link_parts() {
    at(graph_.outputs[0]).gathered = true;
    for (Step& step : steps_) {
      auto& parts = at(step.node->outputs[0]).parts;
      for (std::size_t i = 0; i < step.node->inputs.size(); ++i) {
        Edge& from = at(step.node->inputs[i]);
        from.gathered |= parts.empty() || !std::holds_alternative<std::monostate>(step.form);
        for (Part& part : parts) {
          part.fresh.push_back(!part.inputs.empty() && has_part(from, part.colours, part.inputs[i]));
          from.gathered |= !part.fresh.back();
        }
      }
    }
  }

  /// Lets the last reader of a pixel's value have it, if the value is new whenever somebody reads it.
  void hand_over() {
    std::vector<std::pair<Step*, std::size_t>> last(edges_.size());
    std::vector<char> stale(edges_.size());
    for (Step& step : steps_)
      for (std::size_t i = 0; i < step.takes.size(); ++i) {
        const auto edge = static_cast<std::size_t>(step.node->inputs[i]);
        last[edge] = {&step, i};
        const auto &reads = at(step.node->outputs[0]).changes, &changes = edges_[edge].changes;
        for (std::size_t k = 0; k < std::min(reads.size(), changes.size()); ++k) stale[edge] |= reads[k] && !changes[k];
      }
    for (std::size_t edge = 0; edge < edges_.size(); ++edge)
      if (const auto [step, i] = last[edge]; step && step->pace == Pace::pixel && edges_[edge].pace == Pace::pixel &&
                                             !stale[edge] && static_cast<Index>(edge) != graph_.outputs[0] &&
                                             static_cast<Index>(edge) != graph_.inputs[0])  // it is given once
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

  /// Whether a map has a value at a pixel; its place there; how many there are in a row.
  /// @{
  static bool stands_at(const Edge& edge, Pixel pixel) {
    return pixel.row % edge.scale == 0 && pixel.column % edge.scale == 0;
  }
  static Pixel place_in(const Edge& edge, Pixel pixel) { return {pixel.row / edge.scale, pixel.column / edge.scale}; }
  Index columns_of(const Edge& edge) const { return images_[3] / edge.scale; }
  /// @}

  /// Everything that is computed a row at once, when the rows above are known.
  void compute_row(Index row) {
    for (Step& step : steps_) {
      const Pixel first{row, 0};
      const Edge &from = at(step.node->inputs[0]), &to = at(step.node->outputs[0]);
      if (step.pace == Pace::late && row > 0) compute(step, {row - 1, 0}, columns_of(to));
      if (step.pace != Pace::row) continue;
      if (from.pace == Pace::row && stands_at(from, first)) {
        if (auto* ring = std::get_if<Ring>(&step.form)) ring->keep(from.value, place_in(from, first));
        if (auto* rows = std::get_if<Transposed>(&step.form)) rows->keep(from.value, 0, columns_of(from));
      }
      if (stands_at(to, first)) compute(step, first, columns_of(to));
    }
  }

  /// Everything at a pixel of which all colours are known.
  void compute_pixel(Pixel pixel) {
    for (Step& step : steps_) {
      keep(step, pixel);
      if (step.pace == Pace::pixel && stands_at(at(step.node->outputs[0]), pixel)) compute(step, pixel, 1);
    }
  }

  /// What sees so many colours of a pixel: what sees fewer has been computed.
  void compute_colour(Pixel pixel, Index colour) {
    for (Step& step : steps_) {
      if (at(step.node->inputs[0]).colours == colour) keep(step, pixel);
      const Edge& to = at(step.node->outputs[0]);
      if (step.pace != Pace::pixel || !stands_at(to, pixel)) continue;
      if (auto* ring = std::get_if<Ring>(&step.form); ring && colour == 0 && !to.parts.empty())
        ring->begin(place_in(at(step.node->inputs[0]), pixel));
      if (!to.changes[static_cast<std::size_t>(colour)]) continue;
      if (to.parts.empty()) compute(step, pixel, 1, Among::colours);
      for (const Part& part : to.parts)
        if (part.colours == colour) compute(step, pixel, part);
    }
  }

  /// Lets a step keep its input at a pixel, of which everything is known.
  void keep(Step& step, Pixel pixel) {
    const Edge& from = at(step.node->inputs[0]);
    if (from.pace != Pace::pixel || !stands_at(from, pixel)) return;
    const Pixel place = place_in(from, pixel);
    if (auto* ring = std::get_if<Ring>(&step.form)) ring->keep(from.value, place);
    if (auto* rows = std::get_if<Transposed>(&step.form)) rows->keep(from.value, place.column, 1);
    if (auto* before = std::get_if<PixelBefore>(&step.form)) before->keep(from.value, place);
  }

  /// Whether parts of a pixel are computed, which then must stay.
  enum class Among { pixels, colours };

  /// The result of a step at `count` pixels: 1, or all of a row.
  void compute(const Step& step, Pixel from, Index count, Among among = Among::pixels) {
    const auto& inputs = step.node->inputs;
    Edge& to = at(step.node->outputs[0]);
    if (const auto* ring = std::get_if<Ring>(&step.form)) {
      to.value = ring->run(at(inputs[0]).value, place_in(at(inputs[0]), from), count);
    } else if (const auto* rows = std::get_if<Transposed>(&step.form)) {
      to.value = rows->run(place_in(to, from), count);
    } else if (const auto* before = std::get_if<PixelBefore>(&step.form)) {
      to.value = before->run({images_[0], channels_of(step), 1, 1}, place_in(to, from));
    } else if (std::holds_alternative<RowBefore>(step.form)) {
      to.value =
          from.row > 0 ? at(inputs[0]).value : Tensor<Scalar>::zeros({images_[0] * count, channels_of(step), 1, 1});
    } else if (const auto* convolution = std::get_if<Convolution>(&step.form)) {
      to.value = convolution->run(value(inputs[0], from, count));
    } else {
      Values<Scalar> values;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const bool take = step.takes[i] && (among == Among::pixels || at(inputs[i]).parts.empty());
        values.push_back(take ? std::exchange(at(inputs[i]).value, {}) : value(inputs[i], from, count));
      }
      to.value = {};
      to.value = std::move(step.node->layer->infer_values(std::move(values), Activation::none)[0].tensor);
    }
  }
  Index channels_of(const Step& step) const { return graph_.shape(step.node->outputs[0])[1]; }

  /// A part of the result of a step at a pixel.
  void compute(const Step& step, Pixel pixel, const Part& part) {
    const auto& inputs = step.node->inputs;
    const auto [first, count] = part.channels;
    Edge& to = at(step.node->outputs[0]);
    if (const auto* ring = std::get_if<Ring>(&step.form)) {
      to.fresh = ring->part(at(inputs[0]).value, first, count);
    } else if (const auto* convolution = std::get_if<Convolution>(&step.form)) {
      to.fresh = convolution->part(at(inputs[0]).value, first, count);
    } else {
      Values<Scalar> values;
      for (std::size_t i = 0; i < inputs.size(); ++i)
        if (Edge& from = at(inputs[i]); !part.fresh[i])
          values.push_back(channels(value(inputs[i], pixel, 1), part.inputs[i]));
        else
          values.push_back(step.takes[i] ? std::move(from.fresh) : from.fresh);
      to.fresh = std::move(part.layer->infer_values(std::move(values), Activation::none)[0].tensor);
    }
    if (!to.gathered) return;
    const Index samples = images_[0], all = channels_of(step);
    if (to.value.empty()) to.value = Tensor<Scalar>::zeros({samples, all, 1, 1});
    kernels::copy_rows(samples, count, std::as_const(to.fresh).data(), count, to.value.data() + first, all);
  }

  /// Some channels of x [N, C, 1, 1].
  static Tensor<Scalar> channels(Tensor<Scalar> x, const Range& range) {
    if (range.count == x.dim(1)) return x;
    Tensor<Scalar> result({x.dim(0), range.count, 1, 1});
    kernels::copy_rows(x.dim(0), range.count, std::as_const(x).data() + range.first, x.dim(1), result.data(),
                       range.count);
    return result;
  }

  /// What an edge holds at pixels, [N count, C, 1, 1].
  Tensor<Scalar> value(Index edge, Pixel from, Index count) {
    const Edge& of = at(edge);
    const Pixel place = place_in(of, from);
    if (of.pace == Pace::once) return pixels_of(of.value, images_[0], place, count);
    const Index samples = images_[0], columns = columns_of(of), channels = graph_.shape(edge)[1];
    if (of.pace == Pace::pixel || count == columns) return of.value;
    Tensor<Scalar> result({samples, channels, 1, 1});
    kernels::copy_rows(samples, channels, of.value.data() + place.column * channels, columns * channels, result.data(),
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
