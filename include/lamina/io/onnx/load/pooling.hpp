#pragma once

#include <limits>

#include "lamina/io/onnx/load/convolution.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

/// How many windows there are along axis i of n.
inline Index windows(const Window& w, std::size_t i, Index n, bool ceil_mode) {
  const Index room = n + w.before[i] + w.behind[i] - w.reach(i);
  require(room >= 0, "the window is larger than the padded image");
  require(room <= most_entries, "more than ", most_entries, " pixels along an axis");
  return (ceil_mode ? parts_of(room, w.stride[i]) : room / w.stride[i]) + 1;
}

}  // namespace detail

/// Whether nn's pooling means the same: over images, padded by half of the kernel at most, with whole windows.
inline bool plain(const Window& w, bool ceil_mode) {
  bool result = w.axes() == 2 && !w.same() && !ceil_mode;
  for (std::size_t i = 0; i < w.axes(); ++i) result = result && std::max(w.before[i], w.behind[i]) <= w.kernel[i] / 2;
  return result;
}

/// The largest of windows along the last two axes of images, padded by what never wins.
template <class Scalar>
Term<Scalar> max_pool_images(Importer<Scalar>& op, Term<Scalar> x, const Window& w, bool ceil_mode) {
  if (plain(w, ceil_mode))
    return op.apply(MaxPool2d<Scalar>(w.pair(w.kernel), {w.pair(w.stride), w.padding(), w.pair(w.dilation)}), {x});
  const Shape& shape = op.shape(x);
  std::vector<Index> before(4, 0), behind(4, 0);
  for (std::size_t i = 0; i < 2; ++i) {
    const Index n = shape[static_cast<int>(i) + 2], out = detail::windows(w, i, n, ceil_mode);
    before[i + 2] = w.before[i];
    behind[i + 2] = std::max<Index>(0, (out - 1) * w.stride[i] + w.reach(i) - n - w.before[i]);
  }
  x = op.apply(Pad<Scalar>(before, behind, PadMode::constant, -std::numeric_limits<double>::infinity()), {x});
  return op.apply(MaxPool2d<Scalar>(w.pair(w.kernel), {w.pair(w.stride), 0, w.pair(w.dilation)}), {x});
}

/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <class Scalar>
void max_pool(Importer<Scalar>& op) {
  op.only_outputs(1);
  op.integer("storage_order", 0);
  const bool ceil_mode = op.integer("ceil_mode", 0) != 0;
  const auto kernel = op.integers("kernel_shape");
  require(kernel && kernel->size() >= 1 && kernel->size() <= 3, "windows of one to three axes are taken");
  Window w = window_of(op, kernel->size());
  if (w.same())
    for (std::size_t i = 0; i < w.axes(); ++i) w.pad_same(i, op.shape(0)[static_cast<int>(i) + 2]);
  w.automatic = "NOTSET";
  if (w.axes() <= 2) {
    const std::size_t axes = w.axes();
    if (axes == 1) w.unsqueeze();
    return op.result(from_images(op, max_pool_images(op, as_images(op, op.in(0), axes), w, ceil_mode), axes));
  }
  // Over planes, then over what is left along the depth.
  const Shape shape = op.shape(0);
  const auto part = [&](std::size_t first) {
    Window result = w;
    for (auto [to, from] : {std::pair(&result.kernel, &w.kernel),
                            {&result.stride, &w.stride},
                            {&result.dilation, &w.dilation},
                            {&result.before, &w.before},
                            {&result.behind, &w.behind}})
      *to = {(*from)[first], (*from)[first + 1]};
    return result;
  };
  const Term<Scalar> planes =
      op.apply(Reshape<Scalar>({shape[0], shape[1] * shape[2], shape[3], shape[4]}), {op.in(0)});
  const Term<Scalar> pooled = max_pool_images(op, planes, part(1), ceil_mode);
  const Shape y = op.shape(pooled);
  Window depth = part(0);
  depth.kernel[1] = depth.stride[1] = depth.dilation[1] = 1;
  depth.before[1] = depth.behind[1] = 0;
  const Term<Scalar> columns = op.apply(Reshape<Scalar>({shape[0], shape[1], shape[2], y[2] * y[3]}), {pooled});
  const Term<Scalar> both = max_pool_images(op, columns, depth, ceil_mode);
  op.result(op.apply(Reshape<Scalar>({shape[0], shape[1], op.shape(both)[2], y[2], y[3]}), {both}));
}

/// Averages along each axis in turn, of what a window sees: the count of a window is the product of its extents.
template <class Scalar>
void average_pool(Importer<Scalar>& op) {
  const bool ceil_mode = op.integer("ceil_mode", 0) != 0, count_pads = op.integer("count_include_pad", 0) != 0;
  const auto kernel = op.integers("kernel_shape");
  require(kernel && !kernel->empty(), "its kernel_shape is missing");
  Window w = window_of(op, kernel->size());
  if (w.same()) {
    require(static_cast<std::size_t>(op.rank(0)) == w.axes() + 2, "kernel_shape does not fit shape ", op.shape(0));
    for (std::size_t i = 0; i < w.axes(); ++i) w.pad_same(i, op.shape(0)[static_cast<int>(i) + 2]);
    w.automatic = "NOTSET";
  }
  if (plain(w, ceil_mode) && w.dilation == std::vector<Index>(2, 1)) {
    AvgPool2dOptions options{.stride = w.pair(w.stride), .padding = w.padding()};
    options.count_include_pad = count_pads;
    return op.result(op.apply(AvgPool2d<Scalar>(w.pair(w.kernel), options), {op.in(0)}));
  }
  const Shape shape = op.shape(0);
  require(static_cast<std::size_t>(shape.rank()) == w.axes() + 2, "kernel_shape does not fit shape ", shape);
  Term<Scalar> x = op.in(0);
  for (std::size_t i = 0; i < w.axes(); ++i) {
    const int axis = static_cast<int>(i) + 2;
    const Index n = shape[axis];
    std::vector<std::vector<MixTerm<Scalar>>> rows;
    for (Index o = 0; o < detail::windows(w, i, n, ceil_mode); ++o) {
      std::vector<MixTerm<Scalar>> row;
      Index count = 0;
      for (Index tap = 0; tap < w.kernel[i]; ++tap) {
        const Index place = o * w.stride[i] + tap * w.dilation[i] - w.before[i];
        if (place >= 0 && place < n) row.push_back({place, 0});
        if (count_pads ? place < n + w.behind[i] : place >= 0 && place < n) ++count;
      }
      for (auto& term : row) term.weight = Scalar(1) / static_cast<Scalar>(count);
      rows.push_back(std::move(row));
    }
    x = op.apply(Mix<Scalar>(axis, n, std::move(rows)), {std::move(x)});
  }
  op.result(std::move(x));
}

/// Over all axes behind the channels.
template <class Scalar>
void global_pool(Importer<Scalar>& op, Aggregate aggregate) {
  if (aggregate == Aggregate::mean && op.rank(0) == 4)
    return op.result(op.apply(AdaptiveAvgPool2d<Scalar>(1), {op.in(0)}));
  std::vector<Index> axes;
  for (Index axis = 2; axis < op.rank(0); ++axis) axes.push_back(axis);
  require(!axes.empty(), "expected images, got shape ", op.shape(0));
  op.result(op.apply(Reduce<Scalar>(aggregate, {axes, true}), {op.in(0)}));
}

template <class Scalar>
void add_pooling(Operators<Scalar>& table) {
  table["MaxPool"] = {&max_pool<Scalar>};
  table["AveragePool"] = {&average_pool<Scalar>};
  table["GlobalAveragePool"] = {[](Importer<Scalar>& op) { global_pool(op, Aggregate::mean); }};
  table["GlobalMaxPool"] = {[](Importer<Scalar>& op) { global_pool(op, Aggregate::max); }};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
