#pragma once

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/conv1d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/involution.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/masked_conv2d.hpp"

/// Layers with weights: convolutions, linear maps, embeddings.
namespace lamina::inline LAMINA_ABI::onnx {

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Conv2d<Scalar>& layer) {
  const Conv2dOptions& o = layer.options();
  const Padding p = layer.padding({to.shape()[2], to.shape()[3]});
  std::vector<std::string> inputs{to.in(), to.parameter("weight", layer.weight.value)};
  if (o.bias) inputs.push_back(to.parameter("bias", layer.bias.value));
  return to.add("Conv", std::move(inputs),
                {attribute("kernel_shape", pair(layer.kernel_size())), attribute("strides", pair(o.stride)),
                 attribute("pads", {p.top, p.left, p.bottom, p.right}), attribute("dilations", pair(o.dilation)),
                 attribute("group", std::int64_t{o.groups})});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Conv1d<Scalar>& layer) {
  const Conv1dOptions& o = layer.options();
  const Padding p = layer.padding(to.shape()[2]);
  std::vector<std::string> inputs{to.in(), to.parameter("weight", layer.weight.value)};
  if (o.bias) inputs.push_back(to.parameter("bias", layer.bias.value));
  return to.add("Conv", std::move(inputs),
                {attribute("kernel_shape", Integers{layer.kernel_size()}), attribute("strides", Integers{o.stride}),
                 attribute("pads", Integers{p.left, p.right}), attribute("dilations", Integers{o.dilation}),
                 attribute("group", std::int64_t{o.groups})});
}

/// A convolution whose weight has the mask multiplied in.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const MaskedConv2d<Scalar>& layer) {
  const Size2& kernel = layer.kernel_size();
  std::vector<std::string> inputs{to.in(), to.parameter("conv.weight", layer.masked_weight())};
  if (layer.options().bias) inputs.push_back(to.parameter("conv.bias", layer.bias.value));
  return to.add("Conv", std::move(inputs),
                {attribute("kernel_shape", pair(kernel)),
                 attribute("pads", {kernel.h / 2, kernel.w / 2, kernel.h / 2, kernel.w / 2})});
}

/// Pixels under the taps [N, G, C / G, K OH K OW] times kernels [N, G, 1, K OH K OW], summed over the taps. With
/// groups_innermost, [N, C / G, G, ...] and [N, 1, G, ...].
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Involve<Scalar>& layer) {
  const kernels::InvolutionShape s = layer.sizes(to.shape());
  const Index k = s.kernel, oh = s.oh(), ow = s.ow(), pixels = k * oh * k * ow, each = s.group_c();
  const auto positions = [&](Index out) {
    Integers result;
    for (Index tap = 0; tap < k; ++tap)
      for (Index o = 0; o < out; ++o) result.push_back(o * s.stride + tap * s.dilation);
    return to.constant(result);
  };
  const auto behind = [&](Index in, Index out, Index before) {
    return std::max<Index>(0, (out - 1) * s.stride + (k - 1) * s.dilation + 1 - in - before);
  };
  std::string x = to.pad(to.in(0), Padding(s.top(), behind(s.h, oh, s.top()), s.left(), behind(s.w, ow, s.left())));
  x = to.add("Gather", {x, positions(oh)}, {attribute("axis", 2)});
  x = to.add("Gather", {x, positions(ow)}, {attribute("axis", 3)});
  std::string kernels;
  if (s.groups_innermost) {
    x = to.reshape(x, {s.n, each, s.groups, pixels});
    kernels = to.transpose(to.reshape(to.in(1), {s.n, k, k, s.groups, oh, ow}), {0, 3, 1, 4, 2, 5});
    kernels = to.reshape(kernels, {s.n, 1, s.groups, pixels});
  } else {
    x = to.reshape(x, {s.n, s.groups, each, pixels});
    kernels = to.transpose(to.reshape(to.in(1), {s.n * s.groups, k, k, oh, ow}), {0, 1, 3, 2, 4});
    kernels = to.reshape(kernels, {s.n, s.groups, 1, pixels});
  }
  const std::string products = to.reshape(to.add("Mul", {x, kernels}), {s.n * s.c, k, oh, k, ow});
  return to.reshape(to.sum(products, {1, 3}, false), {s.n, s.c, oh, ow});
}

/// Gemm for [N, in], MatMul for other ranks.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Linear<Scalar>& layer) {
  const std::string weight = to.parameter("weight", layer.weight.value);
  const bool has_bias = !layer.bias.value.empty();
  if (to.shape().rank() == 2) {
    std::vector<std::string> inputs{to.in(), weight};
    if (has_bias) inputs.push_back(to.parameter("bias", layer.bias.value));
    return to.add("Gemm", std::move(inputs), {attribute("transB", 1)});
  }
  const std::string y = to.add("MatMul", {to.in(), to.transpose(weight, {1, 0})});
  return has_bias ? to.add("Add", {y, to.parameter("bias", layer.bias.value)}) : y;
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Embedding<Scalar>& layer) {
  return to.add("Gather", {to.parameter("weight", layer.weight.value), to.ids()}, {attribute("axis", 0)});
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
