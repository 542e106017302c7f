#pragma once

#include <cmath>
#include <limits>

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/models/clip.hpp"
#include "lamina/nn/attention.hpp"
#include "lamina/nn/context/attention.hpp"
#include "lamina/nn/image_tokens.hpp"
#include "lamina/nn/largest_token.hpp"
#include "lamina/nn/positions.hpp"
#include "lamina/nn/query_attention.hpp"

/// Attention as products and a softmax, and what stands around it in transformers.
namespace lamina::inline LAMINA_ABI::onnx {

/// softmax(q kᵀ / sqrt(d)) v for [N, heads, L, d]; of the keys behind a query nothing where it is causal.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ScaledDotProductAttention<Scalar>& layer) {
  const Shape& shape = to.shape();
  const Index batch = shape.rank() == 3 ? shape[0] : 1, length = shape[-2], heads = layer.heads();
  const Index each = shape[-1] / heads;
  const auto part = [&](std::size_t i, const Integers& axes) {
    return to.transpose(to.reshape(to.in(i), {batch, length, heads, each}), axes);
  };
  const std::string queries =
      to.add("Mul", {part(0, {0, 2, 1, 3}), to.constant(1 / std::sqrt(static_cast<double>(each)))});
  std::string logits = to.add("MatMul", {queries, part(1, {0, 2, 3, 1})});
  if (layer.causal()) {
    Tensor<float> mask = Tensor<float>::zeros({length, length});
    for (Index i = 0; i < length; ++i)
      for (Index j = i + 1; j < length; ++j) mask(i, j) = -std::numeric_limits<float>::infinity();
    logits = to.add("Add", {logits, to.constant(mask)});
  }
  const std::string weights = to.add("Softmax", {logits}, {attribute("axis", -1)});
  const std::string y = to.transpose(to.add("MatMul", {weights, part(2, {0, 2, 1, 3})}), {0, 2, 1, 3});
  return to.reshape(y, extents(shape));
}

/// The same for one query of each sequence.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const QueryAttention<Scalar>& layer) {
  const Index batch = to.shape(1)[0], length = to.shape(1)[1], heads = layer.heads(), each = to.shape(1)[2] / heads;
  const auto part = [&](std::size_t i, const Integers& axes) {
    return to.transpose(to.reshape(to.in(i), {batch, length, heads, each}), axes);
  };
  const std::string query = to.add(
      "Mul", {to.reshape(to.in(), {batch, heads, 1, each}), to.constant(1 / std::sqrt(static_cast<double>(each)))});
  const std::string logits = to.add("MatMul", {query, part(1, {0, 2, 3, 1})});
  const std::string weights = to.add("Softmax", {logits}, {attribute("axis", -1)});
  return to.reshape(to.add("MatMul", {weights, part(2, {0, 2, 1, 3})}), extents(to.output_shape()));
}

/// [class or mean; pixels] + positions.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ImageTokens<Scalar>& layer) {
  const Shape& shape = to.shape();
  const Index batch = shape[0], channels = shape[1];
  const std::string pixels = to.transpose(to.reshape(to.in(), {batch, channels, shape[2] * shape[3]}), {0, 2, 1});
  const std::string first =
      layer.mean() ? to.add("ReduceMean", {pixels}, {attribute("axes", Integers{1}), attribute("keepdims", 1)})
                   : to.add("Expand",
                            {to.reshape(to.parameter("class_embedding", layer.class_embedding.value), {1, 1, channels}),
                             to.constant(Integers{batch, 1, channels})});
  return to.add("Add", {to.add("Concat", {first, pixels}, {attribute("axis", 1)}),
                        to.parameter("positional_embedding", layer.positional_embedding.value)});
}

/// The state at the first of the largest ids.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LargestToken<Scalar>&) {
  const std::string place = to.add("ArgMax", {to.ids(1)}, {attribute("axis", 1), attribute("keepdims", 1)});
  return to.add("GatherND", {to.in(), place}, {attribute("batch_dims", 1)});
}

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LearnedPositions<Scalar>& layer) {
  return to.add("Add", {to.in(), to.slice(to.parameter("weight", layer.weight.value), 0, 0, to.shape()[-2])});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const FirstToken<Scalar>&) {
  return to.reshape(to.slice(to.in(), 1, 0, 1), extents(to.output_shape()));
}
/// @}

namespace detail {

/// Channels first .. last - 1 of images as matrices [N, channels, H W].
template <class Scalar>
std::string pixel_matrix(Exporter<Scalar>& to, Index first, Index last) {
  const Shape& shape = to.shape();
  return to.slice(to.reshape(to.in(), {shape[0], shape[1], shape[2] * shape[3]}), 1, first, last);
}

}  // namespace detail

/// V softmax over j (scale Qᵀ K)ᵀ.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const PixelAttention<Scalar>& layer) {
  const Index keys = layer.keys();
  const std::string queries = to.transpose(detail::pixel_matrix(to, 0, keys), {0, 2, 1});
  const std::string products = to.add("MatMul", {queries, detail::pixel_matrix(to, keys, 2 * keys)});
  const std::string weights =
      to.add("Softmax", {to.add("Mul", {products, to.constant(layer.scale())})}, {attribute("axis", 2)});
  const std::string values = detail::pixel_matrix(to, 2 * keys, to.shape()[1]);
  return to.reshape(to.add("MatMul", {values, to.transpose(weights, {0, 2, 1})}), extents(to.output_shape()));
}

/// softmax over rows (-X Xᵀ) X.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ChannelAttention<Scalar>&) {
  const std::string x = detail::pixel_matrix(to, 0, to.shape()[1]);
  const std::string energy = to.add("Neg", {to.add("MatMul", {x, to.transpose(x, {0, 2, 1})})});
  const std::string weights = to.add("Softmax", {energy}, {attribute("axis", 2)});
  return to.reshape(to.add("MatMul", {weights, x}), extents(to.output_shape()));
}

/// [A softmax over pixels (B)ᵀ] softmax over channels (V).
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const GatherDistribute<Scalar>& layer) {
  const Index features = to.output_shape()[1], gathered = layer.gathered();
  const std::string gather =
      to.add("Softmax", {detail::pixel_matrix(to, features, features + gathered)}, {attribute("axis", 2)});
  const std::string distribute = to.add(
      "Softmax", {detail::pixel_matrix(to, features + gathered, features + 2 * gathered)}, {attribute("axis", 1)});
  const std::string found = to.add("MatMul", {detail::pixel_matrix(to, 0, features), to.transpose(gather, {0, 2, 1})});
  return to.reshape(to.add("MatMul", {found, distribute}), extents(to.output_shape()));
}

}  // namespace lamina::inline LAMINA_ABI::onnx
