#pragma once

#include "lamina/models/blocks.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/relu6.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of mobilenet.
struct MobileNetOptions {
  Index in_channels = 3;      ///< of the images
  Index classes = 1000;       ///< K
  double width = 1;           ///< alpha, the factor of all channels: 1, 0.75, 0.5, 0.25 in the paper
  bool same_padding = false;  ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
  bool relu6 = false;         ///< ReLU6 in place of ReLU, as TensorFlow's weights were trained
};

/// MobileNet, "V1" (Howard et al. 2017, table 1): images [N, in_channels, H, W] of any size -> logits [N, classes].
///
///   3x3/2 convolution, 32
///   separable 64, /2 128, 128, /2 256, 256, /2 512, 5 x 512, /2 1024, 1024
///   global average, linear
///
/// A separable convolution is a 3x3 depthwise convolution and a 1x1 convolution (section 3.1); normalisation and ReLU
/// follow both. 4,231,976 parameters; 3,206,410 for the listing, {.in_channels = 1, .classes = 10}, whose names it has.
/// The paper's resolution multiplier rho is the size of the images: 224, 192, 160 or 128. Initial values as MobileNet
/// V2's in torchvision.
template <class Scalar = float>
Sequential<Scalar> mobilenet(const MobileNetOptions& options = {}) {
  const auto maps = [&](Index channels) { return detail::scaled("mobilenet", channels, options.width); };
  const Padding zeros = detail::zeros_around(options.same_padding, 1);
  const auto activation = [&] {
    return options.relu6 ? Child<Scalar>("", ReLU6<Scalar>()) : Child<Scalar>("", ReLU<Scalar>());
  };
  const auto separable = [&](Index in, Index out, Index stride) {
    return Sequential<Scalar>{
        {"depthwise", Conv2d<Scalar>(in, in, 3, {.stride = stride, .padding = zeros, .groups = in, .bias = false})},
        {"bn1", BatchNorm2d<Scalar>(in)},
        activation(),
        {"pointwise", Conv2d<Scalar>(in, out, 1, {.bias = false})},
        {"bn2", BatchNorm2d<Scalar>(out)},
        activation()};
  };
  struct Layer {
    Index out, stride;
  };
  Sequential<Scalar> layers;
  Index in = maps(32);
  for (const Layer& layer :
       {Layer{64, 1}, Layer{128, 2}, Layer{128, 1}, Layer{256, 2}, Layer{256, 1}, Layer{512, 2}, Layer{512, 1},
        Layer{512, 1}, Layer{512, 1}, Layer{512, 1}, Layer{512, 1}, Layer{1024, 2}, Layer{1024, 1}}) {
    layers.add(separable(in, maps(layer.out), layer.stride));
    in = maps(layer.out);
  }
  Sequential<Scalar> net{
      {"conv1", Conv2d<Scalar>(options.in_channels, maps(32), 3, {.stride = 2, .padding = zeros, .bias = false})},
      {"bn1", BatchNorm2d<Scalar>(maps(32))},
      activation(),
      {"layers", std::move(layers)},
      {"avgpool", AdaptiveAvgPool2d<Scalar>(1)},
      {"", Flatten<Scalar>()},
      {"fc", Linear<Scalar>(in, options.classes)}};
  detail::initialise_for_relu(net);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
