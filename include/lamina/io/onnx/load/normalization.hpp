#pragma once

#include "lamina/io/onnx/load/shape.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/instance_norm.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/negative_log_likelihood.hpp"
#include "lamina/nn/softmax.hpp"

/// Norms, softmax, losses, dropout.
namespace lamina::inline LAMINA_ABI::onnx {

/// An operator of ONNX, or a part of it, as layers.
/// @{
template <class Norm, class Scalar>
Term<Scalar> batch_norm(Importer<Scalar>& op, const Term<Scalar>& x, double eps, double momentum) {
  const Tensor<Scalar> weight = op.constant(1);
  Norm layer(weight.numel(), {.eps = eps, .momentum = 1 - momentum});
  layer.weight.value = weight;
  layer.bias.value = op.constant(2);
  layer.running_mean = op.constant(3);
  layer.running_var = op.constant(4);
  for (const Tensor<Scalar>* each : {&weight, &std::as_const(layer.bias.value), &std::as_const(layer.running_mean),
                                     &std::as_const(layer.running_var)})
    require(each->shape() == Shape{weight.numel()}, "expected weight, bias, mean and variance of shape [C], got ",
            each->shape());
  return op.apply(std::move(layer), {x}, op.in(1).key);
}

template <class Scalar>
void batch_normalization(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  const double eps = op.number("epsilon", 1e-5), momentum = op.number("momentum", 0.9);
  require(op.integer("training_mode", 0) == 0 && op.integer("is_test", 1) == 1, "training is not taken");
  require(op.integer("spatial", 1) == 1, "attribute 'spatial' = 0 is not taken");
  op.only_outputs(1);
  const Shape* const known = op.in(0).shape ? &op.shape(0) : nullptr;
  if (!known || known->rank() == 4) return op.result(batch_norm<BatchNorm2d<Scalar>>(op, op.in(0), eps, momentum));
  if (known->rank() < 4) return op.result(batch_norm<BatchNorm1d<Scalar>>(op, op.in(0), eps, momentum));
  const Shape shape = *known;
  const Term<Scalar> rows = op.apply(Reshape<Scalar>({shape[0], shape[1], -1}), {op.in(0)});
  const Term<Scalar> y = batch_norm<BatchNorm1d<Scalar>>(op, rows, eps, momentum);
  op.result(op.apply(Reshape<Scalar>({shape.begin(), shape.end()}), {y}));
}
/// @}

/// The mean, and 1 / sqrt(variance + eps), along axes, which stay with extent 1; and x without the mean.
template <class Scalar>
struct Moments {
  /// The mean, x without it, and one over the standard deviation.
  /// @{
  Term<Scalar> mean, centered, inverse;
  /// @}

  /// Over these axes of the node's first input.
  Moments(Importer<Scalar>& op, const std::vector<Index>& axes, double eps) {
    const Reduce<Scalar> average(Aggregate::mean, {axes, true});
    mean = op.apply(average, {op.in(0)});
    centered = op.apply(Combine<Scalar>(Operation::subtract), {op.in(0), mean});
    const Term<Scalar> variance = op.apply(average, {op.apply(Multiply<Scalar>(), {centered, centered})});
    const Term<Scalar> shifted =
        combined(op, Operation::add, variance, Term<Scalar>::of(Tensor<Scalar>::full({}, static_cast<Scalar>(eps))));
    inverse = op.apply(Map<Scalar>(Function::reciprocal), {op.apply(Map<Scalar>(Function::sqrt), {shifted})});
  }
};

/// The second and third outputs are the mean and 1 / sqrt(variance + eps).
template <class Scalar>
void layer_normalization(Importer<Scalar>& op) {
  const double eps = op.number("epsilon", 1e-5);
  require(op.integer("stash_type", 1) == 1, "stash_type must be 1");
  const Tensor<Scalar> weight = op.constant(1);
  Index axis = op.integer("axis", -1);
  if (op.in(0).shape || axis >= 0) {
    const Shape& shape = op.shape(0);
    if (axis < 0) axis += shape.rank();
    require(axis >= 0 && axis < shape.rank() && weight.shape() == shape.tail(static_cast<int>(axis)),
            "expected a weight of shape ", shape, " from axis ", axis, " on, got ", weight.shape());
  }
  LayerNorm<Scalar> layer(weight.shape(), {.eps = eps, .bias = op.has(2)});
  layer.weight.value = weight;
  if (op.has(2)) {
    layer.bias.value = op.constant(2);
    require(layer.bias.value.shape() == weight.shape(), "expected a bias of the weight's shape");
  }
  op.result(op.apply(std::move(layer), {op.in(0)}, op.in(1).key));
  if (op.outputs() == 1) return;
  std::vector<Index> axes;
  for (Index i = axis; i < op.rank(0); ++i) axes.push_back(i);
  const Moments<Scalar> moments(op, axes, eps);
  op.result(moments.mean);
  op.result(moments.inverse);
}

/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <class Scalar>
void instance_normalization(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  const double eps = op.number("epsilon", 1e-5);
  const Shape& shape = op.shape(0);
  if (shape.rank() == 4 && shape[2] * shape[3] > 1 && op.in(1).constant && op.in(2).constant &&
      op.shape(op.in(1)) == Shape{shape[1]} && op.shape(op.in(2)) == Shape{shape[1]}) {
    InstanceNorm2d<Scalar> layer(shape[1], {.eps = eps, .affine = true});
    layer.weight.value = op.constant(1);
    layer.bias.value = op.constant(2);
    return op.result(op.apply(std::move(layer), {op.in(0)}, op.in(1).key));
  }
  std::vector<Index> axes, behind;
  for (Index axis = 2; axis < op.rank(0); ++axis) {
    axes.push_back(axis);
    behind.push_back(axis - 1);
  }
  require(!axes.empty(), "expected images, got shape ", op.shape(0));
  const auto per_channel = [&](std::size_t i) { return op.apply(Unsqueeze<Scalar>(behind), {op.in(i)}); };
  const Moments<Scalar> moments(op, axes, eps);
  Term<Scalar> y = op.apply(Multiply<Scalar>(), {moments.centered, moments.inverse});
  y = combined(op, Operation::multiply, std::move(y), per_channel(1));
  op.result(combined(op, Operation::add, std::move(y), per_channel(2)));
}

/// For even sizes ONNX has one channel more behind, Lamina before.
template <class Scalar>
void local_response_norm(Importer<Scalar>& op) {
  const Index size = op.integer("size", 0);
  const LocalResponseNorm<Scalar> layer(
      size, {.alpha = op.number("alpha", 1e-4), .beta = op.number("beta", 0.75), .k = op.number("bias", 1)});
  if (size % 2 == 1) return op.result(op.apply(layer, {op.in(0)}));
  constexpr Index end = std::numeric_limits<Index>::min();
  const Slice<Scalar> reversed({{1, -1, end / 2, -1}});
  op.result(op.apply(reversed, {op.apply(layer, {op.apply(reversed, {op.in(0)})})}));
}

/// Until opset 12 over all axes from `axis` on together.
template <template <class> class Layer, class Scalar>
void softmax(Importer<Scalar>& op) {
  const bool together = op.opset() < 13;
  Index axis = op.integer("axis", together ? 1 : -1);
  if (!together || axis == -1 || (op.in(0).shape && axis == op.rank(0) - 1))
    return op.result(op.apply(Layer<Scalar>(static_cast<int>(axis)), {op.in(0)}));
  const Shape shape = op.shape(0);
  if (axis < 0) axis += shape.rank();
  require(axis >= 0 && axis <= shape.rank(), "axis ", axis, " is not there in shape ", shape);
  const int first = static_cast<int>(axis);
  const Term<Scalar> rows =
      op.apply(Reshape<Scalar>({shape.product(0, first), shape.product(first, shape.rank())}), {op.in(0)});
  op.result(op.apply(Reshape<Scalar>({shape.begin(), shape.end()}), {op.apply(Layer<Scalar>(1), {rows})}));
}

/// In inference it does nothing.
template <class Scalar>
void dropout(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  op.find("seed");
  const bool ratio_is_zero = op.opset() < 12 ? op.number("ratio", 0.5) == 0 : op.has(1) && op.number_of(1) == 0;
  const bool trains = op.opset() < 7 ? op.integer("is_test", 0) == 0 : op.has(2) && op.number_of(2) != 0;
  require(!trains || ratio_is_zero, "dropout in training is not taken");
  op.result(op.in(0));
  if (op.outputs() > 1) op.result(Tensor<std::int64_t>::ones(op.shape(0)), ElementType::boolean);
}

template <class Scalar>
NegativeLogLikelihood<Scalar> loss_layer(Importer<Scalar>& op) {
  const std::string reduction = op.word("reduction", "mean");
  // Without the attribute nothing is ignored; this number is no class.
  const Index ignore = op.integer("ignore_index", std::numeric_limits<std::int32_t>::min());
  return NegativeLogLikelihood<Scalar>({.reduction = reduction, .ignore_index = static_cast<std::int32_t>(ignore)});
}
template <class Scalar>
void loss_of(Importer<Scalar>& op, const Term<Scalar>& logarithms) {
  std::vector<Term<Scalar>> inputs{logarithms, op.in(1)};
  if (op.has(2)) inputs.push_back(op.in(2));
  op.result(op.apply(loss_layer(op), std::move(inputs)));
}
template <class Scalar>
void softmax_cross_entropy(Importer<Scalar>& op) {
  const Term<Scalar> logarithms = op.apply(LogSoftmax<Scalar>(1), {op.in(0)});
  loss_of(op, logarithms);
  if (op.outputs() > 1) op.result(logarithms);
}

template <class Scalar>
void add_norms(Operators<Scalar>& table) {
  table["BatchNormalization"] = {&batch_normalization<Scalar>};
  table["LayerNormalization"] = {&layer_normalization<Scalar>};
  table["InstanceNormalization"] = {&instance_normalization<Scalar>};
  table["LRN"] = {&local_response_norm<Scalar>};
  table["Softmax"] = {&softmax<Softmax, Scalar>};
  table["LogSoftmax"] = {&softmax<LogSoftmax, Scalar>};
  table["Dropout"] = {&dropout<Scalar>, true};
  table["NegativeLogLikelihoodLoss"] = {[](Importer<Scalar>& op) { loss_of(op, op.in(0)); }, true};
  table["SoftmaxCrossEntropyLoss"] = {&softmax_cross_entropy<Scalar>, true};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
