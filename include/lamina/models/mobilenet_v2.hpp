#pragma once

#include <algorithm>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/relu6.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of mobilenet_v2.
struct MobileNetV2Options {
  Index in_channels = 3;      ///< of the images
  Index classes = 1000;       ///< K
  double width = 1;           ///< factor of the channels, which are rounded to multiples of 8
  double dropout = 0.2;       ///< before the classifier
  bool same_padding = false;  ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
};

/// MobileNet V2 (Sandler et al. 2018, table 2): images [N, in_channels, H, W] of any size -> logits [N, classes].
///
///   3x3/2 convolution, 32
///   bottleneck    expansion   channels   repeats   stride
///                     1           16         1        1
///                     6           24         2        2
///                     6           32         3        2
///                     6           64         4        2
///                     6           96         3        1
///                     6          160         3        2
///                     6          320         1        1
///   1x1 convolution, 1280 (not narrowed below that); global average, dropout, linear
///
/// A bottleneck is 1x1 to expansion times the channels, depthwise 3x3, 1x1 without activation, and the identity beside
/// it where the shapes allow; activations are ReLU6. Layers, names and initial values are torchvision's: 3,504,872
/// parameters.
template <class Scalar = float>
Sequential<Scalar> mobilenet_v2(const MobileNetV2Options& options = {}) {
  using Relu6 = ReLU6<Scalar>;
  const auto maps = [](Index channels, double width) { return detail::multiple_of_8("mobilenet_v2", channels, width); };
  const auto bottleneck = [&](Index in, Index out, Index stride, Index expansion) {
    const Index inside = in * expansion;
    Sequential<Scalar> conv;
    if (expansion != 1) conv.add(detail::conv_norm<Scalar>(in, inside, 1, {}, Relu6()));
    conv.add(detail::conv_norm<Scalar>(
        inside, inside, 3, {.stride = stride, .groups = inside, .same_padding = options.same_padding}, Relu6()));
    conv.add(Conv2d<Scalar>(inside, out, 1, {.bias = false}));
    conv.add(BatchNorm2d<Scalar>(out));
    return detail::residual_if<Scalar>(stride == 1 && in == out, "conv", std::move(conv));
  };
  struct Row {
    Index expansion, channels, repeats, stride;
  };

  Index in = maps(32, options.width);
  Sequential<Scalar> features;
  features.add(detail::conv_norm<Scalar>(options.in_channels, in, 3,
                                         {.stride = 2, .same_padding = options.same_padding}, Relu6()));
  for (const Row& row : {Row{1, 16, 1, 1}, Row{6, 24, 2, 2}, Row{6, 32, 3, 2}, Row{6, 64, 4, 2}, Row{6, 96, 3, 1},
                         Row{6, 160, 3, 2}, Row{6, 320, 1, 1}}) {
    const Index out = maps(row.channels, options.width);
    for (Index i = 0; i < row.repeats; ++i) {
      features.add(bottleneck(in, out, i == 0 ? row.stride : 1, row.expansion));
      in = out;
    }
  }
  const Index last = maps(1280, std::max(1.0, options.width));
  features.add(detail::conv_norm<Scalar>(in, last, 1, {}, Relu6()));

  Sequential<Scalar> net{
      {"features", std::move(features)},
      {"", AdaptiveAvgPool2d<Scalar>(1)},
      {"", Flatten<Scalar>()},
      {"classifier", Sequential<Scalar>{Dropout<Scalar>(options.dropout), Linear<Scalar>(last, options.classes)}}};
  detail::initialise_for_relu(net);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
