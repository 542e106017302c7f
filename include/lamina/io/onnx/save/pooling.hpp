#pragma once

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/adaptive_max_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

/// How far the last window along an axis hangs over the padded image.
inline Index overhang(Index in, Index out, Index kernel, Index stride, Index padding, Index dilation = 1) {
  return std::max<Index>(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - in - padding);
}

}  // namespace detail

/// A last window that hangs over the edge (ceil_mode) gets padding of its own, since ONNX says less clearly where it
/// is; padding as wide as the kernel, which ONNX's does not allow, is a node before.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const MaxPool2d<Scalar>& layer) {
  const MaxPool2dOptions o = layer.options();
  const Size2& k = layer.kernel_size();
  const Shape &in = to.shape(), &out = to.output_shape();
  const Padding p = layer.padding({in[2], in[3]});
  const Index below = p.bottom + detail::overhang(in[2], out[2], k.h, o.stride.h, p.top + p.bottom, o.dilation.h);
  const Index right = p.right + detail::overhang(in[3], out[3], k.w, o.stride.w, p.left + p.right, o.dilation.w);
  std::string x = to.in();
  Integers pads{p.top, p.left, below, right};
  if (below >= k.h || right >= k.w) {
    x = to.pad(x, Padding(p.top, below, p.left, right), -std::numeric_limits<double>::infinity());
    pads = {0, 0, 0, 0};
  }
  return to.add("MaxPool", {x},
                {attribute("kernel_shape", pair(k)), attribute("strides", pair(o.stride)), attribute("pads", pads),
                 attribute("dilations", pair(o.dilation))});
}

/// What hangs over the edge never counts, the padding does or does not; a divisor of one's own is a factor behind.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const AvgPool2d<Scalar>& layer) {
  const AvgPool2dOptions o = layer.options();
  const Size2& k = layer.kernel_size();
  const Shape &in = to.shape(), &out = to.output_shape();
  const Padding p = layer.padding({in[2], in[3]});
  const Index below = detail::overhang(in[2], out[2], k.h, o.stride.h, p.top + p.bottom);
  const Index right = detail::overhang(in[3], out[3], k.w, o.stride.w, p.left + p.right);
  std::string x = to.in();
  const auto average = [&](Integers pads, bool count_pads) {
    return to.add("AveragePool", {x},
                  {attribute("kernel_shape", pair(k)), attribute("strides", pair(o.stride)), attribute("pads", pads),
                   attribute("count_include_pad", count_pads ? 1 : 0)});
  };
  const bool padded = p != Padding(0), hangs = below > 0 || right > 0;
  if (o.divisor_override) {
    if (padded || hangs) x = to.pad(x, Padding(p.top, p.bottom + below, p.left, p.right + right));
    const double factor = static_cast<double>(k.h * k.w) / static_cast<double>(*o.divisor_override);
    return to.add("Mul", {average({0, 0, 0, 0}, false), to.constant(factor)});
  }
  if (o.count_include_pad) {
    if (!hangs) return average({p.top, p.left, p.bottom, p.right}, true);
    if (padded) x = to.pad(x, p);
    return average({0, 0, below, right}, false);
  }
  return average({p.top, p.left, p.bottom + below, p.right + right}, false);
}

/// A global or a plain pooling where the regions are equal; otherwise the largest of each region of rows, then of
/// columns.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const AdaptiveMaxPool2d<Scalar>& layer) {
  const Shape &in = to.shape(), &out = to.output_shape();
  if (in == out) return to.in();
  if (out[2] == 1 && out[3] == 1) return to.add("GlobalMaxPool", {to.in()});
  if (in[2] % out[2] == 0 && in[3] % out[3] == 0) {
    const Integers window{in[2] / out[2], in[3] / out[3]};
    return to.add("MaxPool", {to.in()}, {attribute("kernel_shape", window), attribute("strides", window)});
  }
  std::string x = to.in();
  for (const int axis : {2, 3}) {
    std::vector<std::string> regions;
    for (const kernels::Span& span : axis == 2 ? layer.row_spans(in[2]) : layer.column_spans(in[3]))
      regions.push_back(to.add("ReduceMax", {to.slice(x, axis, span.first, span.last)},
                               {attribute("axes", Integers{axis}), attribute("keepdims", 1)}));
    x = to.add("Concat", std::move(regions), {attribute("axis", axis)});
  }
  return x;
}

/// A global or a plain average pooling where the regions are equal; otherwise a product with the matrices of averages
/// along each axis.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const AdaptiveAvgPool2d<Scalar>&) {
  const Shape &in = to.shape(), &out = to.output_shape();
  if (in == out) return to.in();
  if (out[2] == 1 && out[3] == 1) return to.add("GlobalAveragePool", {to.in()});
  if (in[2] % out[2] == 0 && in[3] % out[3] == 0) {
    const Integers window{in[2] / out[2], in[3] / out[3]};
    return to.add("AveragePool", {to.in()}, {attribute("kernel_shape", window), attribute("strides", window)});
  }
  const auto averages = [](Index n, Index regions) {  // [regions, n]
    Tensor<float> result = Tensor<float>::zeros({regions, n});
    for (Index i = 0; i < regions; ++i) {
      const Index first = i * n / regions, last = ((i + 1) * n + regions - 1) / regions;
      for (Index j = first; j < last; ++j) result(i, j) = 1 / static_cast<float>(last - first);
    }
    return result;
  };
  const std::string columns = to.transpose(to.constant(averages(in[3], out[3])), {1, 0});
  return to.add("MatMul", {to.constant(averages(in[2], out[2])), to.add("MatMul", {to.in(), columns})});
}

}  // namespace lamina::inline LAMINA_ABI::onnx
