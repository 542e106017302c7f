#pragma once

#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "lamina/io/onnx/save/activation.hpp"
#include "lamina/io/onnx/save/attention.hpp"
#include "lamina/io/onnx/save/convolution.hpp"
#include "lamina/io/onnx/save/hamburger.hpp"
#include "lamina/io/onnx/save/normalization.hpp"
#include "lamina/io/onnx/save/pooling.hpp"
#include "lamina/io/onnx/save/shape.hpp"
#include "lamina/io/onnx/save/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of save_onnx.
struct SaveOnnxOptions {
  std::vector<std::string> inputs = {};   ///< names; empty: "x", or "x0", "x1", ...
  std::vector<std::string> outputs = {};  ///< names; empty: "y", or "y0", "y1", ...
  std::string name = "lamina";            ///< of the graph
};

namespace onnx {

/// Versions of ONNX's operators and of its format that are written.
/// @{
inline constexpr std::int64_t written_opset = 17, written_ir_version = 8;
/// @}

namespace detail {

/// What writes a layer: the overload of exported() for its type.
template <class Scalar>
typename Exporter<Scalar>::Emit emitter(const Primitive<Scalar>& layer) {
  using Table = std::unordered_map<std::type_index, typename Exporter<Scalar>::Emit>;
  static const Table table =
      []<template <class> class... Layers>() {
        return Table{{typeid(Layers<Scalar>), [](Exporter<Scalar>& to, const Primitive<Scalar>& one) {
                        return exported(to, static_cast<const Layers<Scalar>&>(one));
                      }}...};
      }.template
      operator()<ReLU, ReLU6, LeakyReLU, PReLU, ELU, SELU, Softplus, Mish, Hardtanh, Sigmoid, Tanh, Hardsigmoid,
                 Hardswish, SiLU, GELU, QuickGELU, GLU, SwiGLU, GEGLU, Softmax, LogSoftmax,  // activation
                 Conv1d, Conv2d, MaskedConv2d, Involve, Linear, Embedding,                   // convolution
                 MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, AdaptiveMaxPool2d,                 // pooling
                 BatchNorm1d, BatchNorm2d, LayerNorm, GroupNorm, InstanceNorm2d, RMSNorm,
                 LocalResponseNorm,  // normalization
                 Identity, Dropout, Dropout2d, DropPath, Add, Multiply, Scale, Cat, Stack, Narrow, Flatten, Gate,
                 Interpolate, Upsample, PixelShuffle, Unflatten, ConstantPad2d, ZeroPad2d, ReflectionPad2d,
                 ReplicationPad2d, PadToAligned, BackToImages,  // shape
                 ScaledDotProductAttention, QueryAttention, LearnedPositions, ImageTokens, FirstToken, LargestToken,
                 PixelAttention, ChannelAttention, GatherDistribute, NMF, VQ, CD,  // attention, hamburger
                 Constant, ConvTranspose2d, Map, Combine, Where, MatMul, Reshape, Unsqueeze, Squeeze, Permute, Slice,
                 Pad, IndexSelect, Tile, Gather, Mix, Reduce, Mean, NegativeLogLikelihood>();  // tensor
  const auto found = table.find(typeid(layer));
  if (found != table.end()) return found->second;
  if (!dynamic_cast<const ActivationPair<Scalar>*>(&layer)) return nullptr;
  return [](Exporter<Scalar>& to, const Primitive<Scalar>& one) {
    return exported(to, dynamic_cast<const ActivationPair<Scalar>&>(one));
  };
}

inline std::vector<std::string> names(const char* what, std::vector<std::string> given, const char* letter,
                                      std::size_t count) {
  require(given.empty() || given.size() == count, "save_onnx: ", given.size(), " names for ", count, " ", what);
  for (std::size_t i = given.size(); i < count; ++i) given.push_back(count == 1 ? letter : text(letter, i));
  return given;
}

}  // namespace detail
}  // namespace onnx

/// Writes what a model infers, for inputs of certain shapes, as an ONNX file: opset 17, IR version 8, float32 whatever
/// the scalar type. The weights are named by their state_dict keys, the nodes by the paths of the layers; ids are
/// int64. What a layer computes with operators of its own (a ham, an involution, attention) is a subgraph of standard
/// ones, a ham's random bases are a constant. Dropout is left out.
///
///   save_onnx("resnet18.onnx", net, {1, 3, 224, 224});
///   save_onnx("clip.onnx", clip, {Value<>::of_shape({2, 3, 224, 224}), Value<>::of_shape({2, 32})});
///
/// Throws ShapeError if the model does not take the shapes, ValueError naming the path of a layer that ONNX cannot say
/// (of your own, or on packed sequences) or for a wrong number of names, FileError when the file cannot be written or
/// would reach 2 GB. A file is written whole or not at all.
template <class Scalar>
void save_onnx(const std::string& path, const Module<Scalar>& net, Values<Scalar> inputs,
               const SaveOnnxOptions& options = {}) {
  const Graph<Scalar> graph = record(net, std::move(inputs));
  onnx::Exporter<Scalar> exporter(&onnx::detail::emitter<Scalar>);
  onnx::ModelMessage model{.ir_version = onnx::written_ir_version,
                           .opsets = {{"", onnx::written_opset}},
                           .producer = "lamina",
                           .producer_version = ""};
  model.graph =
      exporter.finish(graph, options.name, onnx::detail::names("inputs", options.inputs, "x", graph.inputs.size()),
                      onnx::detail::names("outputs", options.outputs, "y", graph.outputs.size()));
  onnx::write_model(path, model);
}
/// For one input of this shape.
template <class Scalar>
void save_onnx(const std::string& path, const Module<Scalar>& net, const Shape& input,
               const SaveOnnxOptions& options = {}) {
  save_onnx(path, net, Values<Scalar>(Value<Scalar>::of_shape(input)), options);
}

}  // namespace lamina::inline LAMINA_ABI
