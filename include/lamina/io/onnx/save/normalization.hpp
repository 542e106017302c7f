#pragma once

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/group_norm.hpp"
#include "lamina/nn/instance_norm.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/rms_norm.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

/// (x - mean) / sqrt(variance + eps) * weight + bias with the moments of the batch.
template <class Scalar, class Norm>
std::string batch_moments(Exporter<Scalar>& to, const Norm& layer) {
  const int rank = to.shape().rank();
  Integers axes{0}, per_channel{to.shape()[1]};
  for (int axis = 2; axis < rank; ++axis) {
    axes.push_back(axis);
    per_channel.push_back(1);
  }
  const auto mean = [&](const std::string& x) {
    return to.add("ReduceMean", {x}, {attribute("axes", axes), attribute("keepdims", 1)});
  };
  const std::string centered = to.add("Sub", {to.in(), mean(to.in())});
  const std::string variance = mean(to.add("Mul", {centered, centered}));
  const std::string deviation = to.add("Sqrt", {to.add("Add", {variance, to.constant(layer.options().eps)})});
  const std::string y = to.add("Div", {centered, deviation});
  if (!layer.options().affine) return y;
  const std::string weight = to.reshape(to.parameter("weight", layer.weight.value), per_channel);
  const std::string bias = to.reshape(to.parameter("bias", layer.bias.value), per_channel);
  return to.add("Add", {to.add("Mul", {y, weight}), bias});
}

template <class Scalar, class Norm>
std::string batch_norm(Exporter<Scalar>& to, const Norm& layer) {
  const BatchNormOptions& o = layer.options();
  if (!o.track_running_stats) return batch_moments(to, layer);
  const Shape channels{to.shape()[1]};
  const std::string weight =
      o.affine ? to.parameter("weight", layer.weight.value) : to.constant(Tensor<float>::ones(channels));
  const std::string bias =
      o.affine ? to.parameter("bias", layer.bias.value) : to.constant(Tensor<float>::zeros(channels));
  return to.add("BatchNormalization",
                {to.in(), weight, bias, to.parameter("running_mean", layer.running_mean),
                 to.parameter("running_var", layer.running_var)},
                {attribute("epsilon", o.eps)});
}

}  // namespace detail

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const BatchNorm1d<Scalar>& layer) {
  return detail::batch_norm(to, layer);
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const BatchNorm2d<Scalar>& layer) {
  return detail::batch_norm(to, layer);
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LayerNorm<Scalar>& layer) {
  const Shape& normalized = layer.normalized_shape();
  std::vector<std::string> inputs{to.in(), layer.options().elementwise_affine
                                               ? to.parameter("weight", layer.weight.value)
                                               : to.constant(Tensor<float>::ones(normalized))};
  if (!layer.bias.value.empty()) inputs.push_back(to.parameter("bias", layer.bias.value));
  return to.add("LayerNormalization", std::move(inputs),
                {attribute("axis", -normalized.rank()), attribute("epsilon", layer.options().eps)});
}
/// @}

/// @{
/// Groups of channels are instances of a few channels; weight and bias come behind.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const GroupNorm<Scalar>& layer) {
  const Shape& shape = to.shape();
  const Index groups = layer.num_groups();
  const std::string x = to.reshape(to.in(), {shape[0], groups, shape.numel() / std::max<Index>(1, shape[0] * groups)});
  const std::string ones = to.constant(Tensor<float>::ones({groups}));
  const std::string zeros = to.constant(Tensor<float>::zeros({groups}));
  const std::string y = to.reshape(
      to.add("InstanceNormalization", {x, ones, zeros}, {attribute("epsilon", layer.options().eps)}), extents(shape));
  if (!layer.options().affine) return y;
  Integers per_channel{shape[1]};
  for (int axis = 2; axis < shape.rank(); ++axis) per_channel.push_back(1);
  const std::string weight = to.reshape(to.parameter("weight", layer.weight.value), per_channel);
  const std::string bias = to.reshape(to.parameter("bias", layer.bias.value), per_channel);
  return to.add("Add", {to.add("Mul", {y, weight}), bias});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const InstanceNorm2d<Scalar>& layer) {
  const InstanceNormOptions& o = layer.options();
  const Shape channels{to.shape()[1]};
  std::vector<std::string> inputs{
      to.in(), o.affine ? to.parameter("weight", layer.weight.value) : to.constant(Tensor<float>::ones(channels)),
      o.affine ? to.parameter("bias", layer.bias.value) : to.constant(Tensor<float>::zeros(channels))};
  if (!o.track_running_stats) return to.add("InstanceNormalization", std::move(inputs), {attribute("epsilon", o.eps)});
  inputs.push_back(to.parameter("running_mean", layer.running_mean));
  inputs.push_back(to.parameter("running_var", layer.running_var));
  return to.add("BatchNormalization", std::move(inputs), {attribute("epsilon", o.eps)});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const RMSNorm<Scalar>& layer) {
  Integers axes;
  for (int axis = 0; axis < layer.normalized_shape().rank(); ++axis) axes.push_back(-1 - axis);
  const std::string square =
      to.add("ReduceMean", {to.add("Mul", {to.in(), to.in()})}, {attribute("axes", axes), attribute("keepdims", 1)});
  const std::string y = to.add("Div", {to.in(), to.add("Sqrt", {to.add("Add", {square, to.constant(layer.eps())})})});
  if (!layer.options().elementwise_affine) return y;
  return to.add("Mul", {y, to.parameter("weight", layer.weight.value)});
}
/// @}

/// LRN, which knows odd sizes and images alone; otherwise the squares are averaged over the channels as an image.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LocalResponseNorm<Scalar>& layer) {
  const LocalResponseNormOptions& o = layer.options();
  const Shape& shape = to.shape();
  const Index size = layer.size();
  if (size % 2 == 1 && shape.rank() == 4)
    return to.add("LRN", {to.in()},
                  {attribute("size", std::int64_t{size}), attribute("alpha", o.alpha), attribute("beta", o.beta),
                   attribute("bias", o.k)});
  const Index pixels = shape.product(2, shape.rank());
  const std::string squares = to.reshape(to.add("Mul", {to.in(), to.in()}), {shape[0], 1, shape[1], pixels});
  const std::string padded = to.pad(squares, Padding(size / 2, (size - 1) / 2, 0, 0));
  const std::string mean =
      to.reshape(to.add("AveragePool", {padded}, {attribute("kernel_shape", {size, 1}), attribute("strides", {1, 1})}),
                 extents(shape));
  const std::string base = to.add("Add", {to.add("Mul", {mean, to.constant(o.alpha)}), to.constant(o.k)});
  return to.add("Div", {to.in(), to.add("Pow", {base, to.constant(o.beta)})});
}

}  // namespace lamina::inline LAMINA_ABI::onnx
