#pragma once

#include <numbers>

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/elu.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/glu.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"
#include "lamina/nn/hardtanh.hpp"
#include "lamina/nn/leaky_relu.hpp"
#include "lamina/nn/mish.hpp"
#include "lamina/nn/prelu.hpp"
#include "lamina/nn/quick_gelu.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/selu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/silu.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/nn/softplus.hpp"
#include "lamina/nn/tanh.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

template <class Scalar>
std::string silu(Exporter<Scalar>& to, const std::string& x) {
  return to.add("Mul", {x, to.add("Sigmoid", {x})});
}

/// x (1 + erf(x / sqrt 2)) / 2, or x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
template <class Scalar>
std::string gelu(Exporter<Scalar>& to, const std::string& x, const GELU<Scalar>& layer) {
  const auto times = [&](const std::string& y, double factor) { return to.add("Mul", {y, to.constant(factor)}); };
  std::string bounded;
  if (layer.options().approximate == "none") {
    bounded = to.add("Erf", {times(x, std::numbers::sqrt2 / 2)});
  } else {
    const std::string cube = to.add("Mul", {to.add("Mul", {x, x}), x});
    bounded = to.add(
        "Tanh", {times(to.add("Add", {x, times(cube, 0.044715)}), std::numbers::sqrt2 * std::numbers::inv_sqrtpi)});
  }
  return times(to.add("Mul", {x, to.add("Add", {bounded, to.constant(1.0)})}), 0.5);
}

/// The first half of an axis times f(the second).
template <class Scalar, class F>
std::string gated(Exporter<Scalar>& to, int dim, F f) {
  const Index n = to.output_shape()[dim];
  const std::string gate = f(to.slice(to.in(), dim, n, 2 * n));
  return to.add("Mul", {to.slice(to.in(), dim, 0, n), gate});
}

}  // namespace detail

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ReLU<Scalar>&) {
  return to.add("Relu", {to.in()});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ReLU6<Scalar>&) {
  return to.add("Clip", {to.in(), to.constant(0.0), to.constant(6.0)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LeakyReLU<Scalar>& layer) {
  return to.add("LeakyRelu", {to.in()}, {attribute("alpha", static_cast<double>(layer.negative_slope()))});
}
/// One slope for all, or one for each channel as [C, 1, ...].
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const PReLU<Scalar>& layer) {
  std::string slope = to.parameter("weight", layer.weight.value);
  Integers per_channel(static_cast<std::size_t>(std::max(to.shape().rank() - 1, 1)), 1);
  per_channel[0] = layer.options().num_parameters;
  if (per_channel.size() > 1 && per_channel[0] > 1) slope = to.reshape(slope, per_channel);
  return to.add("PRelu", {to.in(), slope});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ELU<Scalar>& layer) {
  return to.add("Elu", {to.in()}, {attribute("alpha", static_cast<double>(layer.alpha()))});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const SELU<Scalar>&) {
  return to.add("Selu", {to.in()}, {attribute("alpha", SELU<Scalar>::alpha), attribute("gamma", SELU<Scalar>::scale)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Hardtanh<Scalar>& layer) {
  return to.add("Clip", {to.in(), to.constant(static_cast<double>(layer.min_val())),
                         to.constant(static_cast<double>(layer.max_val()))});
}
/// Softplus of beta x, over beta. Beyond the threshold ONNX's is x but for e^-threshold.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Softplus<Scalar>& layer) {
  const double beta = layer.options().beta;
  if (beta == 1) return to.add("Softplus", {to.in()});
  const std::string soft = to.add("Softplus", {to.add("Mul", {to.in(), to.constant(beta)})});
  return to.add("Div", {soft, to.constant(beta)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Mish<Scalar>&) {
  return to.add("Mul", {to.in(), to.add("Tanh", {to.add("Softplus", {to.in()})})});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const GLU<Scalar>& layer) {
  return detail::gated(to, layer.dim(), [&](const std::string& x) { return to.add("Sigmoid", {x}); });
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const SwiGLU<Scalar>& layer) {
  return detail::gated(to, layer.dim(), [&](const std::string& x) { return detail::silu(to, x); });
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const GEGLU<Scalar>& layer) {
  return detail::gated(to, layer.dim(), [&](const std::string& x) { return detail::gelu(to, x, layer.second()); });
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ActivationPair<Scalar>& layer) {
  const int axis = layer.axis();
  const Index n = to.output_shape()[axis];
  const std::string value = to.apply(layer.first_activation(), to.slice(to.in(), axis, 0, n));
  return to.add("Mul", {value, to.apply(layer.second_activation(), to.slice(to.in(), axis, n, 2 * n))});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Sigmoid<Scalar>&) {
  return to.add("Sigmoid", {to.in()});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Tanh<Scalar>&) {
  return to.add("Tanh", {to.in()});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Hardsigmoid<Scalar>& layer) {
  return to.add("HardSigmoid", {to.in()},
                {attribute("alpha", layer.options().alpha), attribute("beta", layer.options().beta)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Hardswish<Scalar>&) {
  return to.add("HardSwish", {to.in()});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const SiLU<Scalar>&) {
  return detail::silu(to, to.in());
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const QuickGELU<Scalar>&) {
  return to.add("Mul", {to.in(), to.add("Sigmoid", {to.add("Mul", {to.in(), to.constant(1.702)})})});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const GELU<Scalar>& layer) {
  return detail::gelu(to, to.in(), layer);
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Softmax<Scalar>& layer) {
  return to.add("Softmax", {to.in()}, {attribute("axis", layer.dim())});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const LogSoftmax<Scalar>& layer) {
  return to.add("LogSoftmax", {to.in()}, {attribute("axis", layer.dim())});
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
