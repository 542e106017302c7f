#pragma once

#include <array>
#include <limits>
#include <utility>

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/mean.hpp"
#include "lamina/nn/negative_log_likelihood.hpp"
#include "lamina/nn/tensor/combine.hpp"
#include "lamina/nn/tensor/constant.hpp"
#include "lamina/nn/tensor/map.hpp"
#include "lamina/nn/tensor/matmul.hpp"
#include "lamina/nn/tensor/reduce.hpp"
#include "lamina/nn/tensor/reshape.hpp"
#include "lamina/nn/tensor/select.hpp"

/// The layers that models read from files are made of, beside those of networks.
namespace lamina::inline LAMINA_ABI::onnx {

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Constant<Scalar>& layer) {
  if (!layer.key().empty()) return to.parameter(layer.key(), layer.value.value);
  return to.constant(layer.value.value.template cast<float>());
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ConvTranspose2d<Scalar>& layer) {
  const ConvTranspose2dOptions& o = layer.options();
  std::vector<std::string> inputs{to.in(), to.parameter("weight", layer.weight.value)};
  if (o.bias) inputs.push_back(to.parameter("bias", layer.bias.value));
  return to.add("ConvTranspose", std::move(inputs),
                {attribute("kernel_shape", pair(layer.kernel_size())), attribute("strides", pair(o.stride)),
                 attribute("pads", {o.padding.top, o.padding.left, o.padding.bottom, o.padding.right}),
                 attribute("output_padding", pair(o.output_padding)), attribute("dilations", pair(o.dilation)),
                 attribute("group", std::int64_t{o.groups})});
}

namespace detail {

template <class Scalar>
std::string cast(Exporter<Scalar>& to, const std::string& x, ElementType type) {
  return to.add("Cast", {x}, {attribute("to", static_cast<int>(type))});
}
template <class Scalar>
std::string truncated(Exporter<Scalar>& to, const std::string& x) {
  return to.add("Mul", {to.add("Sign", {x}), to.add("Floor", {to.add("Abs", {x})})});
}

}  // namespace detail

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Map<Scalar>& layer) {
  const std::string& x = to.in();
  const auto a = static_cast<double>(layer.a()), b = static_cast<double>(layer.b());
  const auto bound = [&](double value) {
    return std::abs(value) <= std::numeric_limits<double>::max() ? to.constant(value) : "";
  };
  switch (layer.function()) {
    case Function::truncate:
      return detail::truncated(to, x);
    case Function::logical_not:
      return detail::cast(to, to.add("Not", {detail::cast(to, x, ElementType::boolean)}), ElementType::float32);
    case Function::selu:
      return to.add("Selu", {x}, {attribute("alpha", a), attribute("gamma", b)});
    case Function::celu:
      return to.add("Celu", {x}, {attribute("alpha", a)});
    case Function::threshold:
      return to.add("ThresholdedRelu", {x}, {attribute("alpha", a)});
    case Function::hard_sigmoid:
      return to.add("HardSigmoid", {x}, {attribute("alpha", a), attribute("beta", b)});
    case Function::clamp:
      return to.add("Clip", {x, bound(a), bound(b)});
    case Function::shrink:
      return to.add("Shrink", {x}, {attribute("lambd", a), attribute("bias", b)});
    default: {
      static constexpr std::array names{"Abs",   "Neg",   "Reciprocal", "Sqrt",    "Exp",  "Log",   "Erf",
                                        "Sin",   "Cos",   "Tan",        "Asin",    "Acos", "Atan",  "Sinh",
                                        "Cosh",  "Asinh", "Acosh",      "Atanh",   "Sign", "Floor", "Ceil",
                                        "Round", "",      "",           "Softsign"};
      return to.add(names[static_cast<std::size_t>(layer.function())], {x});
    }
  }
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Combine<Scalar>& layer) {
  const std::string &a = to.in(0), &b = to.in(1);
  const Operation operation = layer.operation();
  const auto logic = [&](const char* op, const std::string& left, const std::string& right) {
    return detail::cast(to, to.add(op, {left, right}), ElementType::float32);
  };
  switch (operation) {
    case Operation::divide_whole:
      return detail::truncated(to, to.add("Div", {a, b}));
    case Operation::remainder:
      return to.add("Sub", {a, to.add("Mul", {b, to.add("Floor", {to.add("Div", {a, b})})})});
    case Operation::fmod:
      return to.add("Mod", {a, b}, {attribute("fmod", 1)});
    case Operation::prelu: {
      const std::string zero = to.constant(0.0);
      return to.add("Add", {to.add("Max", {a, zero}), to.add("Mul", {to.add("Min", {a, zero}), b})});
    }
    case Operation::logical_and:
    case Operation::logical_or:
    case Operation::logical_xor: {
      const char* const op = operation == Operation::logical_and  ? "And"
                             : operation == Operation::logical_or ? "Or"
                                                                  : "Xor";
      return logic(op, detail::cast(to, a, ElementType::boolean), detail::cast(to, b, ElementType::boolean));
    }
    default:
      break;
  }
  static constexpr std::array names{"Add", "Sub", "Mul", "Div",   "",     "Pow",         "Max",     "Min",
                                    "",    "",    "",    "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"};
  const char* const op = names[static_cast<std::size_t>(operation)];
  return operation >= Operation::equal ? logic(op, a, b) : to.add(op, {a, b});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Where<Scalar>&) {
  return to.add("Where", {detail::cast(to, to.in(0), ElementType::boolean), to.in(1), to.in(2)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const MatMul<Scalar>&) {
  return to.add("MatMul", {to.in(0), to.in(1)});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Reshape<Scalar>&) {
  return to.reshape(to.in(), extents(to.output_shape()));
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Unsqueeze<Scalar>&) {
  return to.reshape(to.in(), extents(to.output_shape()));
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Squeeze<Scalar>&) {
  return to.reshape(to.in(), extents(to.output_shape()));
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Permute<Scalar>& layer) {
  if (layer.axes().empty()) return to.add("Transpose", {to.in()});
  return to.transpose(to.in(), {layer.axes().begin(), layer.axes().end()});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Slice<Scalar>& layer) {
  Integers first, last, axes, steps;
  for (const SliceRange& range : layer.ranges()) {
    first.push_back(range.first);
    last.push_back(range.last);
    axes.push_back(range.axis);
    steps.push_back(range.step);
  }
  return to.add("Slice", {to.in(), to.constant(first), to.constant(last), to.constant(axes), to.constant(steps)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Pad<Scalar>& layer) {
  static constexpr std::array modes{"constant", "reflect", "edge"};
  Integers pads(layer.before().begin(), layer.before().end());
  pads.insert(pads.end(), layer.behind().begin(), layer.behind().end());
  return to.add("Pad", {to.in(), to.constant(pads), to.constant(static_cast<double>(layer.value()))},
                {attribute("mode", modes[static_cast<std::size_t>(layer.mode())])});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const IndexSelect<Scalar>& layer) {
  const Integers indices(layer.indices().begin(), layer.indices().end());
  return to.add("Gather", {to.in(), to.constant(indices)}, {attribute("axis", layer.dim())});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Tile<Scalar>& layer) {
  return to.add("Tile", {to.in(), to.constant(Integers(layer.repeats().begin(), layer.repeats().end()))});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Gather<Scalar>& layer) {
  return to.add("Gather", {to.in(0), to.ids(1)}, {attribute("axis", layer.dim())});
}

/// A product with the matrix of the weights, along the axis put last.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Mix<Scalar>& layer) {
  const Shape& shape = to.shape();
  const int axis = layer.dim() < 0 ? layer.dim() + shape.rank() : layer.dim();
  Tensor<float> matrix = Tensor<float>::zeros({shape[axis], static_cast<Index>(layer.terms().size())});
  for (std::size_t o = 0; o < layer.terms().size(); ++o)
    for (const auto& term : layer.terms()[o]) matrix(term.entry, o) += static_cast<float>(term.weight);
  Integers swapped;
  for (int i = 0; i < shape.rank(); ++i) swapped.push_back(i);
  std::swap(swapped[static_cast<std::size_t>(axis)], swapped.back());
  return to.transpose(to.add("MatMul", {to.transpose(to.in(), swapped), to.constant(matrix)}), swapped);
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Reduce<Scalar>& layer) {
  static constexpr std::array names{"ReduceSum", "ReduceMean", "ReduceMax",       "ReduceMin",    "ReduceProd",
                                    "ReduceL1",  "ReduceL2",   "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"};
  Integers axes(layer.options().axes.begin(), layer.options().axes.end());
  for (int axis = 0; layer.options().axes.empty() && axis < to.shape().rank(); ++axis) axes.push_back(axis);
  if (layer.aggregate() == Aggregate::sum) return to.sum(to.in(), axes, layer.options().keep);
  return to.add(names[static_cast<std::size_t>(layer.aggregate())], {to.in()},
                {attribute("axes", axes), attribute("keepdims", layer.options().keep ? 1 : 0)});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Mean<Scalar>& layer) {
  return to.add("ReduceMean", {to.in()},
                {attribute("axes", Integers{layer.dim()}), attribute("keepdims", layer.options().keepdim ? 1 : 0)});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const NegativeLogLikelihood<Scalar>& layer) {
  const NegativeLogLikelihoodOptions& o = layer.options();
  std::vector<std::string> inputs{to.in(0), to.ids(1)};
  if (to.inputs() > 2) inputs.push_back(to.in(2));
  return to.add("NegativeLogLikelihoodLoss", std::move(inputs),
                {attribute("reduction", o.reduction.word()), attribute("ignore_index", std::int64_t{o.ignore_index})});
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
