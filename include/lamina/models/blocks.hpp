#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/sum.hpp"

/// What several models share.
namespace lamina::inline LAMINA_ABI {

/// Which of its two forms a network takes.
enum class Form {
  published,  ///< for ImageNet, with torchvision's layers, names and initial values
  listing     ///< of "Dive into Deep Learning", for Fashion-MNIST: its layers, Xavier-uniform weights, the same names
};

namespace detail {

/// A number of channels times a width multiplier, to the nearest whole number. Throws ValueError if that is zero.
inline Index scaled(const char* network, Index channels, double width) {
  const double product = std::round(static_cast<double>(channels) * width);
  require(product >= 1, network, ": width ", width, " leaves none of ", channels, " channels");
  return static_cast<Index>(product);
}

/// A number of channels times a width multiplier as the MobileNets round it: to the nearest multiple of 8 that is not
/// more than a tenth below, at least 8. Throws ValueError unless the width is positive.
inline Index multiple_of_8(const char* network, Index channels, double width) {
  require(width > 0, network, ": width must be positive, got ", width);
  const double product = static_cast<double>(channels) * width;
  const Index nearest = std::max<Index>(8, static_cast<Index>(product + 4) / 8 * 8);
  return static_cast<double>(nearest) < 0.9 * product ? nearest + 8 : nearest;
}

/// Zeros around an image: TensorFlow's SAME, or so many on each side.
inline Padding zeros_around(bool same, Index each) { return same ? Padding("same") : Padding(each); }

/// Convolution without bias, batch normalisation, activation if there is one: torchvision's Conv2dNormActivation. The
/// padding keeps the image's size at stride 1.
struct ConvNormOptions {
  Index stride = 1;
  Index dilation = 1;
  Index groups = 1;
  BatchNormOptions norm = {};
  bool same_padding = false;                          ///< TensorFlow's, where the stride is not 1
  std::array<const char*, 3> keys = {"0", "1", "2"};  ///< of the children
};
template <class Scalar>
Sequential<Scalar> conv_norm(Index in, Index out, Index kernel, const ConvNormOptions& options) {
  const Conv2dOptions convolution{.stride = options.stride,
                                  .padding = zeros_around(options.same_padding, kernel / 2 * options.dilation),
                                  .dilation = options.dilation,
                                  .groups = options.groups,
                                  .bias = false};
  return {{options.keys[0], Conv2d<Scalar>(in, out, kernel, convolution)},
          {options.keys[1], BatchNorm2d<Scalar>(out, options.norm)}};
}
template <class Scalar, class Activation>
Sequential<Scalar> conv_norm(Index in, Index out, Index kernel, const ConvNormOptions& options, Activation activation) {
  Sequential<Scalar> result = conv_norm<Scalar>(in, out, kernel, options);
  result.add(options.keys[2], std::move(activation));
  return result;
}

/// x times a gate for each channel, gate(fc2(relu(fc1(mean of x over its pixels)))) (Hu, Shen, Sun 2018).
template <class Scalar, class Gate>
Product<Scalar> squeeze_excitation(Index channels, Index squeezed, Gate gate) {
  return {{"", Identity<Scalar>()},
          {"", Sequential<Scalar>{{"", AdaptiveAvgPool2d<Scalar>(1)},
                                  {"fc1", Conv2d<Scalar>(channels, squeezed, 1)},
                                  {"", ReLU<Scalar>()},
                                  {"fc2", Conv2d<Scalar>(squeezed, channels, 1)},
                                  {"", std::move(gate)}}}};
}

/// F(x), or F(x) + x, where F's children are those of `name`.
template <class Scalar>
Sequential<Scalar> residual_if(bool residual, const char* name, Sequential<Scalar> f) {
  if (!residual) return {{name, std::move(f)}};
  return {{"", Sum<Scalar>{{name, std::move(f)}, {"", Identity<Scalar>()}}}};
}

/// Sets the weights of all convolutions and linear layers, and their biases to zero.
template <class Scalar, class Convolution, class Dense>
void initialise(Module<Scalar>& net, Convolution convolution_weight, Dense linear_weight) {
  const auto zero = [](Parameter<Scalar>& bias) {
    if (!bias.value.empty()) bias.value.fill(0);
  };
  for_each<Conv2d<Scalar>>(net, [&](Conv2d<Scalar>& layer) {
    convolution_weight(layer.weight.value);
    zero(layer.bias);
  });
  for_each<Linear<Scalar>>(net, [&](Linear<Scalar>& layer) {
    linear_weight(layer.weight.value);
    zero(layer.bias);
  });
}

/// Kaiming-normal convolutions by what they feed, N(0, 0.01^2) for the linear layers, zero biases: torchvision's VGG
/// and MobileNets.
template <class Scalar>
void initialise_for_relu(Module<Scalar>& net) {
  initialise(
      net, [](Tensor<Scalar>& w) { init::kaiming_normal(w, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"}); },
      [](Tensor<Scalar>& w) { init::normal(w, 0, 0.01); });
}

/// Xavier-uniform weights; biases stay as they were: the listings.
template <class Scalar>
void initialise_as_listing(Module<Scalar>& net) {
  init::weights<Conv2d<Scalar>, Linear<Scalar>>(net, [](Tensor<Scalar>& w) { init::xavier_uniform(w); });
}

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
