#pragma once

#include <limits>
#include <numbers>
#include <optional>

#include "lamina/io/onnx/load/importer.hpp"
#include "lamina/nn/add.hpp"
#include "lamina/nn/elu.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"
#include "lamina/nn/leaky_relu.hpp"
#include "lamina/nn/multiply.hpp"
#include "lamina/nn/prelu.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/selu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/softplus.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/nn/tensor/combine.hpp"
#include "lamina/nn/tensor/map.hpp"

/// Operators of elements: functions of one number, arithmetic with broadcasting, comparisons.
namespace lamina::inline LAMINA_ABI::onnx {

/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <Function function, class Scalar>
void map_operator(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  op.result(op.apply(Map<Scalar>(function), {op.in(0)}));
}
template <template <class> class Layer, class Scalar>
void layer_operator(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  op.result(op.apply(Layer<Scalar>(), {op.in(0)}));
}
/// A function with constants that are attributes.
template <class Scalar>
void map_with(Importer<Scalar>& op, Function function, double a, double b = 0) {
  op.find("consumed_inputs");
  op.result(op.apply(Map<Scalar>(function, a, b), {op.in(0)}));
}

template <class Scalar>
void hard_sigmoid(Importer<Scalar>& op) {
  const double alpha = op.number("alpha", 0.2), beta = op.number("beta", 0.5);
  const HardsigmoidOptions usual;
  if (std::abs(alpha - usual.alpha) < 1e-7 && beta == usual.beta)  // as a float
    op.result(op.apply(Hardsigmoid<Scalar>(), {op.in(0)}));
  else if (alpha > 0)
    op.result(op.apply(Hardsigmoid<Scalar>({.alpha = alpha, .beta = beta}), {op.in(0)}));
  else
    op.result(op.apply(Map<Scalar>(Function::hard_sigmoid, alpha, beta), {op.in(0)}));
}

/// Before opset 7 a second operand was only repeated if the node says so, its axes beginning at `axis`.
template <class Scalar>
Term<Scalar> legacy_operand(Importer<Scalar>& op) {
  Term<Scalar> b = op.in(1);
  if (op.opset() >= 7) return b;
  op.find("consumed_inputs");
  const bool broadcast = op.integer("broadcast", 0) != 0;
  const Index axis = op.integer("axis", std::numeric_limits<Index>::max());
  if (!broadcast || axis == std::numeric_limits<Index>::max()) return b;
  std::vector<Index> behind;
  for (Index i = (axis < 0 ? axis + op.rank(0) : axis) + op.rank(1); i < op.rank(0); ++i)
    behind.push_back(op.rank(1) + static_cast<Index>(behind.size()));
  return behind.empty() ? b : op.apply(Unsqueeze<Scalar>(behind), {b});
}

/// The same with axes of extent 1 in front, so that it has this rank.
template <class Scalar>
Term<Scalar> of_rank(Importer<Scalar>& op, Term<Scalar> term, int rank) {
  std::vector<Index> axes;
  for (int axis = 0; axis < rank - op.shape(term).rank(); ++axis) axes.push_back(axis);
  return axes.empty() ? term : op.apply(Unsqueeze<Scalar>(axes), {std::move(term)});
}

template <class Scalar>
Term<Scalar> combined(Importer<Scalar>& op, Operation operation, Term<Scalar> a, Term<Scalar> b) {
  const bool fast = operation == Operation::add || operation == Operation::multiply;
  if (!fast || !a.shape || !b.shape) return op.apply(Combine<Scalar>(operation), {std::move(a), std::move(b)});
  const int rank = std::max(a.shape->rank(), b.shape->rank());
  const Term<Scalar> left = of_rank(op, std::move(a), rank), right = of_rank(op, std::move(b), rank);
  return operation == Operation::add ? op.apply(Add<Scalar>(), {left, right})
                                     : op.apply(Multiply<Scalar>(), {left, right});
}

template <Operation operation, class Scalar>
void combine_operator(Importer<Scalar>& op) {
  op.result(combined(op, operation, op.in(0), legacy_operand(op)));
}
template <Operation operation, class Scalar>
void compare_operator(Importer<Scalar>& op) {
  op.result(combined(op, operation, op.in(0), legacy_operand(op)), ElementType::boolean);
}
template <class Scalar>
void divide(Importer<Scalar>& op) {
  const bool whole = is_integral(op.type(0));
  op.result(combined(op, whole ? Operation::divide_whole : Operation::divide, op.in(0), legacy_operand(op)));
}
template <class Scalar>
void modulo(Importer<Scalar>& op) {
  const bool fmod = op.integer("fmod", 0) != 0;
  op.result(combined(op, fmod ? Operation::fmod : Operation::remainder, op.in(0), op.in(1)));
}

/// Of one operand or more, from left to right; the mean divides by their number.
template <Operation operation, bool mean = false, class Scalar>
void combine_all(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  Term<Scalar> total = op.in(0);
  for (std::size_t i = 1; i < op.inputs(); ++i) total = combined(op, operation, std::move(total), op.in(i));
  if (mean) {
    const Tensor<Scalar> share = Tensor<Scalar>::full({}, Scalar(1) / static_cast<Scalar>(op.inputs()));
    total = combined(op, Operation::multiply, std::move(total), Term<Scalar>::of(share));
  }
  op.result(std::move(total));
}

/// The slopes of a PRelu if they are one for all, [1], or one for each channel, [C]: the layer of that name has them.
template <class Scalar>
std::optional<Tensor<Scalar>> channel_slopes(Importer<Scalar>& op, const Term<Scalar>& slope) {
  if (!slope.constant || !op.in(0).shape) return std::nullopt;
  const Shape &x = op.shape(0), &s = *slope.shape;
  const bool one = s.numel() == 1 && s.rank() <= x.rank();
  const bool channels = x.rank() >= 2 && s.rank() == x.rank() - 1 && s[0] == x[1] && s.numel() == x[1];
  if (!one && !channels) return std::nullopt;
  return Tensor<Scalar>(*slope.constant).reshape({s.numel()});
}

template <class Scalar>
void prelu(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  Term<Scalar> slope = op.in(1);
  if (op.opset() < 7 && op.rank(1) == 1 && op.rank(0) > 2) {  // a slope for each channel
    std::vector<Index> behind;
    for (Index axis = 1; axis < op.rank(0) - 1; ++axis) behind.push_back(axis);
    slope = op.apply(Unsqueeze<Scalar>(behind), {slope});
  }
  const auto slopes = channel_slopes(op, slope);
  if (!slopes) return op.result(op.apply(Combine<Scalar>(Operation::prelu), {op.in(0), slope}));
  PReLU<Scalar> layer({.num_parameters = slopes->numel()});
  layer.weight.value = *slopes;
  op.result(op.apply(std::move(layer), {op.in(0)}, slope.key));
}

template <class Scalar>
void clip(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double low = -infinity, high = infinity;
  Term<Scalar> x = op.in(0);
  if (op.opset() < 11) {
    low = op.number("min", -infinity);
    high = op.number("max", infinity);
  } else {
    const auto bound = [&](std::size_t i, double& constant, Operation operation) {
      if (!op.has(i)) return;
      if (op.in(i).constant)
        constant = op.number_of(i);
      else
        x = op.apply(Combine<Scalar>(operation), {x, op.in(i)});
    };
    bound(1, low, Operation::maximum);
    bound(2, high, Operation::minimum);
  }
  if (low == 0 && high == 6)
    x = op.apply(ReLU6<Scalar>(), {x});
  else if (low != -infinity || high != infinity)
    x = op.apply(Map<Scalar>(Function::clamp, low, high), {x});
  op.result(x);
}

/// As C's conversion does; to booleans whether it is not 0. Nothing is rounded to a narrower float.
template <class Scalar>
void cast(Importer<Scalar>& op) {
  const auto to = static_cast<ElementType>(op.integer("to", 0));
  const ElementType from = op.type(0);
  const bool wide = to == ElementType::float32 || to == ElementType::float64;
  require(from == to || wide || is_integral(to), "a conversion to ", to_text(to), " is not taken");
  if (to == ElementType::boolean && from != to) {
    const Term<Scalar> zero = op.apply(Map<Scalar>(Function::logical_not), {op.in(0)});
    return op.result(op.apply(Map<Scalar>(Function::logical_not), {zero}), to);
  }
  if (is_integral(to) && !is_integral(from))
    return op.result(op.apply(Map<Scalar>(Function::truncate), {op.in(0)}), to);
  require(!is_integral(to) || from == to || to == ElementType::int64 || to == ElementType::int32 ||
              from == ElementType::boolean,
          "a conversion from ", to_text(from), " to ", to_text(to), " is not taken");
  op.result(op.in(0), to);
}

template <class Scalar>
void where(Importer<Scalar>& op) {
  op.result(op.apply(Where<Scalar>(), {op.in(0), op.in(1), op.in(2)}), op.type(1));
}

template <class Scalar>
void add_elementwise(Operators<Scalar>& table) {
  using F = Function;
  using O = Operation;
  const auto map = [&]<F f>(const char* name) { table[name] = {&map_operator<f, Scalar>}; };
  map.template operator()<F::abs>("Abs");
  map.template operator()<F::neg>("Neg");
  map.template operator()<F::reciprocal>("Reciprocal");
  map.template operator()<F::sqrt>("Sqrt");
  map.template operator()<F::exp>("Exp");
  map.template operator()<F::log>("Log");
  map.template operator()<F::erf>("Erf");
  map.template operator()<F::sin>("Sin");
  map.template operator()<F::cos>("Cos");
  map.template operator()<F::tan>("Tan");
  map.template operator()<F::asin>("Asin");
  map.template operator()<F::acos>("Acos");
  map.template operator()<F::atan>("Atan");
  map.template operator()<F::sinh>("Sinh");
  map.template operator()<F::cosh>("Cosh");
  map.template operator()<F::asinh>("Asinh");
  map.template operator()<F::acosh>("Acosh");
  map.template operator()<F::atanh>("Atanh");
  map.template operator()<F::sign>("Sign");
  map.template operator()<F::floor>("Floor");
  map.template operator()<F::ceil>("Ceil");
  map.template operator()<F::round>("Round");
  map.template operator()<F::softsign>("Softsign");
  table["Not"] = {&map_operator<F::logical_not, Scalar>, true};
  table["Relu"] = {&layer_operator<ReLU, Scalar>};
  table["Sigmoid"] = {&layer_operator<Sigmoid, Scalar>};
  table["Tanh"] = {&layer_operator<Tanh, Scalar>};
  table["HardSwish"] = {&layer_operator<Hardswish, Scalar>};
  table["HardSigmoid"] = {&hard_sigmoid<Scalar>};
  table["LeakyRelu"] = {[](Importer<Scalar>& op) {
    op.find("consumed_inputs");
    op.result(op.apply(LeakyReLU<Scalar>(op.number("alpha", 0.01)), {op.in(0)}));
  }};
  table["Softplus"] = {&layer_operator<Softplus, Scalar>};
  table["Elu"] = {[](Importer<Scalar>& op) {
    op.find("consumed_inputs");
    op.result(op.apply(ELU<Scalar>(op.number("alpha", 1)), {op.in(0)}));
  }};
  table["Celu"] = {[](Importer<Scalar>& op) { map_with(op, F::celu, op.number("alpha", 1)); }};
  table["Selu"] = {[](Importer<Scalar>& op) {
    const bool old = op.opset() < 6;
    const double alpha = op.number("alpha", old ? 1.6732 : 1.67326319217681884765625);
    const double gamma = op.number("gamma", old ? 1.0507 : 1.05070102214813232421875);
    if (std::abs(alpha - SELU<Scalar>::alpha) < 1e-6 && std::abs(gamma - SELU<Scalar>::scale) < 1e-6)
      op.result(op.apply(SELU<Scalar>(), {op.in(0)}));
    else
      map_with(op, F::selu, alpha, gamma);
  }};
  table["ThresholdedRelu"] = {[](Importer<Scalar>& op) { map_with(op, F::threshold, op.number("alpha", 1)); }};
  table["Shrink"] = {
      [](Importer<Scalar>& op) { map_with(op, F::shrink, op.number("lambd", 0.5), op.number("bias", 0)); }};

  table["Add"] = {&combine_operator<O::add, Scalar>};
  table["Sub"] = {&combine_operator<O::subtract, Scalar>};
  table["Mul"] = {&combine_operator<O::multiply, Scalar>};
  table["Div"] = {&divide<Scalar>};
  table["Pow"] = {&combine_operator<O::power, Scalar>};
  table["Mod"] = {&modulo<Scalar>};
  table["PRelu"] = {&prelu<Scalar>};
  table["Sum"] = {&combine_all<O::add, false, Scalar>};
  table["Mean"] = {&combine_all<O::add, true, Scalar>};
  table["Max"] = {&combine_all<O::maximum, false, Scalar>, true};
  table["Min"] = {&combine_all<O::minimum, false, Scalar>, true};
  table["Clip"] = {&clip<Scalar>, true};
  table["Equal"] = {&compare_operator<O::equal, Scalar>, true};
  table["Less"] = {&compare_operator<O::less, Scalar>, true};
  table["LessOrEqual"] = {&compare_operator<O::less_or_equal, Scalar>, true};
  table["Greater"] = {&compare_operator<O::greater, Scalar>, true};
  table["GreaterOrEqual"] = {&compare_operator<O::greater_or_equal, Scalar>, true};
  table["And"] = {&compare_operator<O::logical_and, Scalar>, true};
  table["Or"] = {&compare_operator<O::logical_or, Scalar>, true};
  table["Xor"] = {&compare_operator<O::logical_xor, Scalar>, true};
  table["Where"] = {&where<Scalar>, true};
  table["Cast"] = {&cast<Scalar>, true};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
