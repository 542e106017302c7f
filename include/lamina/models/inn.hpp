#pragma once

#include <algorithm>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/involution.hpp"
#include "lamina/nn/max_pool2d.hpp"

/// The two small networks of the Keras example "Involutional neural networks" (Gosthipaty 2021), which compares them on
/// CIFAR-10. Weights are Glorot-uniform and biases zero, as Keras has them.
namespace lamina::inline LAMINA_ABI {

/// Options of inn and inn_counterpart.
struct InnOptions {
  Index in_channels = 3;  ///< of the images
  Index classes = 10;     ///< K
  Index side = 32;        ///< of the images
};

namespace detail {
/// Two linear layers on images reduced by 4 in height and width.
template <class Scalar>
Sequential<Scalar> with_inn_head(Sequential<Scalar> net, Index channels, const InnOptions& options) {
  const Index side = options.side / 4;
  require(side >= 1, "inn: images of at least 4 x 4 are expected, got side ", options.side);
  net.add("flatten", Flatten<Scalar>());
  net.add("dense", Linear<Scalar>(channels * side * side, 64));
  net.add("relu", ReLU<Scalar>());
  net.add("dense_1", Linear<Scalar>(64, options.classes));
  const auto glorot = [](Tensor<Scalar>& weight) { init::xavier_uniform(weight); };
  initialise(net, glorot, glorot);
  return net;
}
}  // namespace detail

/// The involutional network: images [N, in_channels, side, side] -> logits [N, classes]; 13,074 parameters for the
/// default options. Three 3x3 involutions of one group keep the channels of the image.
template <class Scalar = float>
Sequential<Scalar> inn(const InnOptions& options = {}) {
  const Involution<Scalar> involution(options.in_channels, 3,
                                      {.reduction = std::min<Index>(2, options.in_channels),
                                       .groups_innermost = true,
                                       .bias = true,
                                       .norm = {.eps = 1e-3, .momentum = 0.01}});
  // A copy has the same weights, but they are drawn anew below.
  return detail::with_inn_head(Sequential<Scalar>{{"inv_1", involution},
                                                  {"relu_1", ReLU<Scalar>()},
                                                  {"pool_1", MaxPool2d<Scalar>(2)},
                                                  {"inv_2", involution},
                                                  {"relu_2", ReLU<Scalar>()},
                                                  {"pool_2", MaxPool2d<Scalar>(2)},
                                                  {"inv_3", involution},
                                                  {"relu_3", ReLU<Scalar>()}},
                               options.in_channels, options);
}

/// The convolutional network that it is compared with; 319,178 parameters.
template <class Scalar = float>
Sequential<Scalar> inn_counterpart(const InnOptions& options = {}) {
  const auto convolution = [](Index in, Index out) { return Conv2d<Scalar>(in, out, 3, {.padding = 1}); };
  return detail::with_inn_head(Sequential<Scalar>{{"conv_1", convolution(options.in_channels, 32)},
                                                  {"relu_1", ReLU<Scalar>()},
                                                  {"pool_1", MaxPool2d<Scalar>(2)},
                                                  {"conv_2", convolution(32, 64)},
                                                  {"relu_2", ReLU<Scalar>()},
                                                  {"pool_2", MaxPool2d<Scalar>(2)},
                                                  {"conv_3", convolution(64, 64)},
                                                  {"relu_3", ReLU<Scalar>()}},
                               64, options);
}

}  // namespace lamina::inline LAMINA_ABI
