#pragma once

#include <algorithm>
#include <compare>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lamina/nn/cat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/gate.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/masked_conv2d.hpp"
#include "lamina/nn/narrow.hpp"
#include "lamina/nn/shift2d.hpp"
#include "lamina/nn/weight_norm.hpp"

namespace lamina::inline LAMINA_ABI {

/// How far a value at a pixel looks, in raster order; each includes those before it.
enum class Reach {
  nothing,  ///< what is known from the start
  above,    ///< the rows above
  before,   ///< the pixels before it, and of the pixel itself the first colours
  row,      ///< all of its row
  image     ///< anything
};

/// What a value at a pixel may depend on. Of two, one includes the other, so that their union is the greater.
struct Dependence {
  Reach reach = Reach::nothing;  ///< which pixels
  Index colours = 0;             ///< with Reach::before: so many colours of the pixel itself

  /// By the reach, then by the colours.
  friend auto operator<=>(const Dependence&, const Dependence&) = default;
};

/// Where a layer looks for a result, seen from the pixel of the result.
enum class Direction { above, left, here, right, anywhere };

/// What a layer reads for a channel of its result: channels first .. first + count - 1 of an input.
struct Source {
  std::size_t input;    ///< which of the layer's inputs
  Index first;          ///< the first channel
  Index count;          ///< how many
  Direction direction;  ///< of the pixels that are read
};

/// What of a pixel a model is given when it tells what a colour of it may be.
enum class Given {
  colours,  ///< the colours before it: results come colour by colour
  none      ///< nothing: one result is about all colours
};

namespace detail {

/// What a value depends on that is `there` at the pixels of a direction.
inline Dependence seen_from(Direction direction, const Dependence& there) {
  if (there.reach == Reach::nothing || direction == Direction::here) return there;
  if (direction == Direction::anywhere || there.reach == Reach::image) return {Reach::image};
  if (direction == Direction::above || there.reach == Reach::above) return {Reach::above};
  if (direction == Direction::left && there.reach == Reach::before) return {Reach::before};
  return {Reach::row};
}

inline Direction direction_of(Index row, Index column) {
  if (row > 0) return Direction::anywhere;
  if (row < 0) return Direction::above;
  return column < 0 ? Direction::left : column > 0 ? Direction::right : Direction::here;
}

inline Index channels_of(const Shape& shape) { return shape.rank() < 2 ? 1 : shape[1]; }

/// The numbers a KW + b of a kernel's taps.
inline std::vector<Index> taps_of(const Size2& kernel) {
  std::vector<Index> taps(static_cast<std::size_t>(kernel.h * kernel.w));
  std::iota(taps.begin(), taps.end(), Index{0});
  return taps;
}

/// Channels of the first input, through taps f(tap) = direction; each direction once.
template <class Taps, class F>
std::vector<Source> through_taps(const Taps& taps, Index first, Index count, F direction) {
  std::vector<Source> result;
  for (const Index tap : taps) {
    const Direction to = direction(tap);
    if (std::none_of(result.begin(), result.end(), [&](const Source& s) { return s.direction == to; }))
      result.push_back({0, first, count, to});
  }
  return result;
}

template <class Scalar>
std::vector<Source> sources_of(const MaskedConv2d<Scalar>& conv, Index channel) {
  const Size2 kernel = conv.kernel_size();
  auto result = through_taps(conv.open_taps(), 0, conv.in_channels(), [&](Index tap) {
    return direction_of(tap / kernel.w - kernel.h / 2, tap % kernel.w - kernel.w / 2);
  });
  conv.for_each_group([&](Index first, Index rows, Index seen) {
    if (channel >= first && channel < first + rows) result.push_back({0, 0, seen, Direction::here});
  });
  return result;
}

/// Of a convolution whose result has its input's size, divided by the stride.
template <class Scalar>
std::vector<Source> sources_of(const Conv2d<Scalar>& conv, Index channel) {
  const auto& options = conv.options();
  const Index count = conv.in_channels() / options.groups, group = channel / (conv.out_channels() / options.groups);
  const Size2 kernel = conv.kernel_size();
  return through_taps(taps_of(kernel), group * count, count, [&](Index tap) {
    return direction_of(tap / kernel.w * options.dilation.h - options.padding.top,
                        tap % kernel.w * options.dilation.w - options.padding.left);
  });
}

/// Of a transposed convolution whose result has its input's size times the stride.
template <class Scalar>
std::vector<Source> sources_of(const ConvTranspose2d<Scalar>& conv, Index channel) {
  const auto& options = conv.options();
  const Index count = conv.in_channels() / options.groups, group = channel / (conv.out_channels() / options.groups);
  const Size2 kernel = conv.kernel_size();
  return through_taps(taps_of(kernel), group * count, count, [&](Index tap) {
    return direction_of(options.padding.top - tap / kernel.w * options.dilation.h,
                        options.padding.left - tap % kernel.w * options.dilation.w);
  });
}

}  // namespace detail

/// What the values of a model for images [N, C, H, W] depend on, edge by edge and channel by channel. The first
/// `colours` channels are the image, whose pixels come in raster order, each colour by colour; further channels are
/// known from the start. A value of a map that is s times smaller, [N, C, H / s, W / s], stands at the first of its s x
/// s pixels: what it depends on is seen from there.
template <class Scalar = float>
class Causality {
 public:
  /// Of the graph that record(model, images) made, which must live longer. Throws ShapeError for other shapes than
  /// [N, C, H, W], ValueError for fewer than 1 colour or more than there are channels.
  Causality(const Graph<Scalar>& graph, Index colours) : graph_(graph), colours_(colours), edges_(graph.shapes.size()) {
    const Shape& images = graph.shape(graph.inputs[0]);
    require<ShapeError>(images.rank() == 4, "Causality: expected images [N, C, H, W], got shape ", images);
    require(colours >= 1 && colours <= images[1], "Causality: expected 1 to ", images[1], " colours, got ", colours);
    auto& input = at(graph.inputs[0]);
    for (Index c = 0; c < images[1]; ++c)
      input.push_back(c < colours ? Dependence{Reach::before, c + 1} : Dependence{});
    for (const Node<Scalar>& node : graph.nodes)
      for (const Index edge : node.outputs)
        for (Index c = 0; c < detail::channels_of(graph.shape(edge)); ++c) {
          Dependence all;
          for (const Source& source : sources(node, edge, c))
            for (Index i = 0; i < source.count; ++i) all = std::max(all, seen(node, source, source.first + i));
          at(edge).push_back(all);
        }
  }

  /// What each channel of an edge depends on (a tensor of rank 1 has one).
  const std::vector<Dependence>& of(Index edge) const { return edges_[static_cast<std::size_t>(edge)]; }
  /// What an edge depends on.
  Dependence all_of(Index edge) const {
    const auto& channels = of(edge);
    return channels.empty() ? Dependence{} : *std::max_element(channels.begin(), channels.end());
  }

  /// How many times smaller than the images an edge is in height and width; 0 if it is no such map.
  Index scale(Index edge) const {
    const Shape &images = graph_.shape(graph_.inputs[0]), &shape = graph_.shape(edge);
    if (shape.rank() != 4 || shape[0] != images[0]) return 0;
    if (shape[2] == images[2] && shape[3] == images[3]) return 1;
    const bool divides = shape[2] > 0 && shape[3] > 0 && images[2] % shape[2] == 0 && images[3] % shape[3] == 0;
    return divides && images[2] / shape[2] == images[3] / shape[3] ? images[2] / shape[2] : 0;
  }
  /// Whether an edge has a value for every pixel.
  bool is_image(Index edge) const { return scale(edge) == 1; }

  /// What a node reads for a channel of one of its results.
  std::vector<Source> sources(const Node<Scalar>& node, Index edge, Index channel) const {
    std::vector<Source> result;
    const auto input_shape = [&](std::size_t i) -> const Shape& { return graph_.shape(node.inputs[i]); };
    const Index to = scale(edge), from = scale(node.inputs[0]);
    if (to > 0 && from > 0) {
      if (const auto* conv = convolution_of<Conv2d<Scalar>>(node);
          conv && Size2(to) == times(conv->options().stride, from))
        return detail::sources_of(*conv, channel);
      if (const auto* conv = convolution_of<ConvTranspose2d<Scalar>>(node);
          conv && Size2(from) == times(conv->options().stride, to))
        return detail::sources_of(*conv, channel);
    }
    if (to > 0 && to == from) {
      const Index channels = graph_.shape(edge)[1];
      if (const auto* conv = node.template as<MaskedConv2d<Scalar>>()) return detail::sources_of(*conv, channel);
      if (const auto* shift = node.template as<Shift2d<Scalar>>())
        return {{0, channel, 1, detail::direction_of(-shift->options().down, -shift->options().right)}};
      if (const auto* gate = node.template as<Gate<Scalar>>()) {
        const Index half = channels / gate->groups(), first = channel + channel / half * half;
        return {{0, first, 1, Direction::here}, {0, first + half, 1, Direction::here}};
      }
      if (const auto* narrow = node.template as<Narrow<Scalar>>(); narrow && is_channel_axis(narrow->dim()))
        return {{0, narrow->start() + channel, 1, Direction::here}};
      if (const auto* cat = node.template as<Cat<Scalar>>(); cat && is_channel_axis(cat->dim())) {
        std::size_t i = 0;
        for (; channel >= input_shape(i)[1]; ++i) channel -= input_shape(i)[1];
        return {{i, channel, 1, Direction::here}};
      }
    }
    const Locality locality = to > 0 ? node.layer->locality() : Locality::image;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Index channels = detail::channels_of(input_shape(i));
      if (scale(node.inputs[i]) != to || locality == Locality::image)
        result.push_back({i, 0, channels, Direction::anywhere});
      else if (locality == Locality::pixel || channels == 1)
        result.push_back({i, 0, channels, Direction::here});
      else
        result.push_back({i, channel, 1, Direction::here});
    }
    return result;
  }
  /// Whether an axis of [N, C, H, W] is that of the channels.
  static bool is_channel_axis(int dim) { return dim == 1 || dim == -3; }

  /// Throws StateError naming the layer that leaks, unless the logits [N, colours levels, H, W] that the model gives
  /// for colour c of a pixel depend on nothing but the pixels before it, and the colours before c at the pixel itself.
  /// With Given::none that is nothing of the pixel itself for any of its results. ShapeError for a result of another
  /// form.
  void check(Given given = Given::colours) const {
    const Index output = graph_.outputs[0], groups = given == Given::colours ? colours_ : 1;
    const Shape& shape = graph_.shape(output);
    require<ShapeError>(is_image(output) && shape[1] % groups == 0, model(), ": expected ",
                        given == Given::colours ? text("logits [N, ", colours_, " levels, H, W]") : "[N, M, H, W]",
                        " for images ", graph_.shape(graph_.inputs[0]), ", got shape ", shape);
    const Index levels = shape[1] / groups;
    for (Index channel = 0; channel < shape[1]; ++channel) {
      const Dependence allowed{Reach::before, channel / levels}, found = of(output)[static_cast<std::size_t>(channel)];
      if (found > allowed) fail(channel / levels, found, culprit(output, channel, allowed));
    }
  }

 private:
  std::vector<Dependence>& at(Index edge) { return edges_[static_cast<std::size_t>(edge)]; }
  static Size2 times(const Size2& stride, Index scale) { return {stride.h * scale, stride.w * scale}; }
  std::string model() const { return graph_.scopes.front().module->name(); }

  Dependence dependence(const Node<Scalar>& node, const Source& source, Index channel) const {
    return of(node.inputs[source.input])[static_cast<std::size_t>(channel)];
  }
  Dependence seen(const Node<Scalar>& node, const Source& source, Index channel) const {
    return detail::seen_from(source.direction, dependence(node, source, channel));
  }

  /// The layer that lets a channel of an edge see more than is allowed: going up from there, the first that looks
  /// beyond what it is given, brings together what colours may see and what they may not, or looks at the image. Null
  /// if the edge is the image.
  const Node<Scalar>* culprit(Index edge, Index channel, const Dependence& allowed) const {
    const Dependence most{Reach::before, colours_ - 1};  // that any colour may see
    while (true) {
      const Node<Scalar>* node = maker(edge);
      if (!node) return nullptr;
      bool mixes = false;
      Dependence worst;
      std::pair<Index, Index> from;
      for (const Source& source : sources(*node, edge, channel))
        for (Index i = source.first; i < source.first + source.count; ++i) {
          const Dependence found = seen(*node, source, i);
          mixes |= found.reach == Reach::before && found <= allowed;
          if (found <= worst) continue;
          worst = found;
          from = {node->inputs[source.input], i};
        }
      std::tie(edge, channel) = from;
      const Dependence given = of(edge)[static_cast<std::size_t>(channel)];
      if (given <= allowed || (mixes && given <= most) || !maker(edge)) return node;
    }
  }
  const Node<Scalar>* maker(Index edge) const {
    for (const Node<Scalar>& node : graph_.nodes)
      if (std::find(node.outputs.begin(), node.outputs.end(), edge) != node.outputs.end()) return &node;
    return nullptr;
  }

  [[noreturn]] void fail(Index colour, const Dependence& found, const Node<Scalar>* through) const {
    std::string of_what =
        colours_ == 1 ? "the logits depend on " : text("the logits of colour ", colour, " depend on ");
    of_what += found.reach == Reach::image ? "pixels that come later"
               : found.reach == Reach::row ? "pixels that come later in the row"
               : colours_ == 1             ? "the pixel that is to be predicted"
                                           : text("colour ", found.colours - 1, " of the same pixel");
    if (through) of_what += text(" through ", through->path, through->path.empty() ? "" : ": ", through->layer->name());
    lamina::fail<StateError>(model(), " is not causal: ", of_what);
  }

  const Graph<Scalar>& graph_;
  Index colours_;
  std::vector<std::vector<Dependence>> edges_;
};

}  // namespace lamina::inline LAMINA_ABI
