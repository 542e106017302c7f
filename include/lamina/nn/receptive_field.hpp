#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "lamina/kernels/resize.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/max_pool2d.hpp"

/// How far a network sees.
namespace lamina::inline LAMINA_ABI {

/// Rows or columns first .. last of an image; none where last < first.
struct SeenRange {
  Index first = 0;  ///< the first
  Index last = -1;  ///< the last

  /// Whether there is none.
  bool empty() const { return last < first; }
  /// What both have, and what is between them.
  SeenRange operator|(const SeenRange& other) const {
    if (empty() || other.empty()) return empty() ? other : *this;
    return {std::min(first, other.first), std::max(last, other.last)};
  }
};

/// What each row and each column of a model's result may depend on, as rows and columns of its image.
struct ReceptiveField {
  std::vector<SeenRange> rows;     ///< of the image, for each row of the result
  std::vector<SeenRange> columns;  ///< likewise

  /// How far the farthest pixel that a pixel of the result depends on lies from it, along the rows or the columns, for
  /// a result of the image's size.
  Index reach() const {
    Index farthest = 0;
    for (const auto* axis : {&rows, &columns})
      for (std::size_t i = 0; i < axis->size(); ++i) {
        const auto at = static_cast<Index>(i);
        if (const SeenRange& seen = (*axis)[i]; !seen.empty())
          farthest = std::max({farthest, at - seen.first, seen.last - at});
      }
    return farthest;
  }
};

namespace detail {

/// Along one axis: what places of an edge depend on.
using SeenAxis = std::vector<SeenRange>;

/// For `out` windows that begin at `step` i - before and have `size` taps, `spacing` apart.
inline SeenAxis seen_in_windows(const SeenAxis& in, Index out, Index size, Index step, Index before, Index spacing) {
  SeenAxis result(static_cast<std::size_t>(out));
  const auto extent = static_cast<Index>(in.size());
  for (Index o = 0; o < out; ++o)
    for (Index tap = 0; tap < size; ++tap)
      if (const Index at = o * step - before + tap * spacing; at >= 0 && at < extent)
        result[static_cast<std::size_t>(o)] = result[static_cast<std::size_t>(o)] | in[static_cast<std::size_t>(at)];
  return result;
}
inline SeenAxis seen_when_resized(const SeenAxis& in, Index out, Index kept, const InterpolateOptions& options) {
  const auto extent = static_cast<Index>(in.size());
  const kernels::ResizeRatio ratio{static_cast<double>(extent), static_cast<double>(out)};
  const auto taps = options.mode == InterpolateMode::bilinear
                        ? kernels::bilinear_taps<double>(extent, out, ratio, options.align_corners)
                        : kernels::nearest_taps<double>(extent, out, ratio);
  SeenAxis result;
  for (Index i = 0; i < kept; ++i) {
    const auto& tap = taps[static_cast<std::size_t>(i)];
    const SeenRange& low = in[static_cast<std::size_t>(tap.low)];
    result.push_back(tap.weight == 0 ? low : low | in[static_cast<std::size_t>(tap.high)]);
  }
  return result;
}
inline SeenAxis seen_in_spans(const SeenAxis& in, const std::vector<kernels::Span>& spans) {
  SeenAxis result;
  for (const kernels::Span& span : spans) {
    SeenRange all;
    for (Index at = span.first; at < span.last; ++at) all = all | in[static_cast<std::size_t>(at)];
    result.push_back(all);
  }
  return result;
}
/// Place by place, with inputs of extent 1 repeated.
inline SeenAxis seen_together(const std::vector<const SeenAxis*>& inputs, Index out) {
  SeenAxis result(static_cast<std::size_t>(out));
  for (const SeenAxis* in : inputs)
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = result[i] | (*in)[in->size() == 1 ? 0 : i];
  return result;
}
/// Anything for everybody.
inline SeenAxis seen_everywhere(const std::vector<const SeenAxis*>& inputs, Index out) {
  SeenRange all;
  for (const SeenAxis* in : inputs)
    for (const SeenRange& range : *in) all = all | range;
  return SeenAxis(static_cast<std::size_t>(out), all);
}

/// One axis of a node's result (of rows: the rows), from that axis of its inputs.
template <class Scalar>
SeenAxis seen_by(const Node<Scalar>& node, const Graph<Scalar>& graph, const std::vector<const SeenAxis*>& inputs,
                 bool rows) {
  const Shape &in = graph.shape(node.inputs[0]), &y = graph.shape(node.outputs[0]);
  const int axis = rows ? 2 : 3;
  const Index out = y.rank() == 4 ? y[axis] : 1;
  const auto pick = [rows](const Size2& size) { return rows ? size.h : size.w; };
  const auto windows = [&](const auto& layer, const Size2& dilation) {
    const Padding padding = layer.padding({in[2], in[3]});
    return seen_in_windows(*inputs[0], out, pick(layer.kernel_size()), pick(layer.options().stride),
                           rows ? padding.top : padding.left, pick(dilation));
  };
  if (y.rank() == 4 && in.rank() == 4) {
    if (const auto* conv = node.template as<Conv2d<Scalar>>()) return windows(*conv, conv->options().dilation);
    if (const auto* pool = node.template as<MaxPool2d<Scalar>>()) return windows(*pool, pool->options().dilation);
    if (const auto* pool = node.template as<AvgPool2d<Scalar>>()) return windows(*pool, 1);
    if (const auto* pool = node.template as<AdaptiveAvgPool2d<Scalar>>())
      return seen_in_spans(*inputs[0], rows ? pool->row_spans(in[2]) : pool->column_spans(in[3]));
    if (node.template as<PadToAligned<Scalar>>()) return seen_in_windows(*inputs[0], out, 1, 1, 0, 1);
    if (const auto* resize = node.template as<Interpolate<Scalar>>())
      return seen_when_resized(*inputs[0], out, out, resize->options());
    if (const auto* back = node.template as<BackToImages<Scalar>>())
      return seen_when_resized(*inputs[0], pick(aligned_size({y[2], y[3]}, back->stride())), out, back->options());
    const bool joins = node.template as<Cat<Scalar>>() != nullptr && in[axis] == out;
    if (joins || node.layer->locality() != Locality::image) return seen_together(inputs, out);
  }
  return seen_everywhere(inputs, out);
}

}  // namespace detail

/// What a model for images [N, C, H, W] sees: record(model, images) made the graph. Convolutions, pools, resizing and
/// what works element by element are followed place by place; any other layer is taken to see everything that its
/// inputs depend on. Batch normalisation counts as in inference. Throws ShapeError for other images.
template <class Scalar>
ReceptiveField receptive_field(const Graph<Scalar>& graph) {
  const Shape& images = graph.shape(graph.inputs[0]);
  require<ShapeError>(images.rank() == 4, "receptive_field: expected images [N, C, H, W], got shape ", images);
  ReceptiveField result;
  for (const bool rows : {true, false}) {
    std::vector<detail::SeenAxis> edges(graph.shapes.size(), detail::SeenAxis(1));
    auto& image = edges[static_cast<std::size_t>(graph.inputs[0])];
    image.clear();
    for (Index i = 0; i < images[rows ? 2 : 3]; ++i) image.push_back({i, i});
    for (const Node<Scalar>& node : graph.nodes) {
      std::vector<const detail::SeenAxis*> inputs;
      for (const Index edge : node.inputs) inputs.push_back(&edges[static_cast<std::size_t>(edge)]);
      if (inputs.empty()) continue;  // a constant
      const detail::SeenAxis seen = detail::seen_by(node, graph, inputs, rows);
      for (const Index edge : node.outputs) edges[static_cast<std::size_t>(edge)] = seen;
    }
    (rows ? result.rows : result.columns) = edges[static_cast<std::size_t>(graph.outputs[0])];
  }
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
