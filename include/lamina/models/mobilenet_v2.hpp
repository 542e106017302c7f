#pragma once

#include <algorithm>
#include <utility>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/relu6.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of mobilenet_v2 and mobilenet_v2_features.
struct MobileNetV2Options {
  Index in_channels = 3;      ///< of the images
  Index classes = 1000;       ///< K
  double width = 1;           ///< factor of the channels, which are rounded to multiples of 8
  double dropout = 0.2;       ///< before the classifier
  bool same_padding = false;  ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
  bool small_images = false;  ///< for 32 x 32: stride 1 in the first convolution and in the rows of 24 channels
  Index output_stride = 32;   ///< of the last bottleneck: 8 and 16 dilate where 32 would stride
};

namespace detail {

/// What is before the last convolution, with initial values that are the layers' own, and its channels.
template <class Scalar>
std::pair<Sequential<Scalar>, Index> mobilenet_v2_features(const MobileNetV2Options& options) {
  using Relu6 = ReLU6<Scalar>;
  require(options.output_stride == 8 || options.output_stride == 16 || options.output_stride == 32,
          "mobilenet_v2: output_stride must be 8, 16 or 32, got ", options.output_stride);
  require(!options.small_images || options.output_stride == 32,
          "mobilenet_v2: with small_images output_stride must be 32, got ", options.output_stride);
  const auto maps = [](Index channels, double width) { return multiple_of_8("mobilenet_v2", channels, width); };
  const auto bottleneck = [&](Index in, Index out, Index stride, Index dilation, Index expansion) {
    const Index inside = in * expansion;
    Sequential<Scalar> conv;
    if (expansion != 1) conv.add(conv_norm<Scalar>(in, inside, 1, {}, Relu6()));
    conv.add(conv_norm<Scalar>(
        inside, inside, 3,
        {.stride = stride, .dilation = dilation, .groups = inside, .same_padding = options.same_padding}, Relu6()));
    conv.add(Conv2d<Scalar>(inside, out, 1, {.bias = false}));
    conv.add(BatchNorm2d<Scalar>(out));
    return residual_if<Scalar>(stride == 1 && in == out, "conv", std::move(conv));
  };
  struct Row {
    Index expansion, channels, repeats, stride;
  };

  const Index small = options.small_images ? 1 : 2;
  Index in = maps(32, options.width), reduction = 2, dilation = 1;
  Sequential<Scalar> features;
  features.add(
      conv_norm<Scalar>(options.in_channels, in, 3, {.stride = small, .same_padding = options.same_padding}, Relu6()));
  for (const Row& row : {Row{1, 16, 1, 1}, Row{6, 24, 2, small}, Row{6, 32, 3, 2}, Row{6, 64, 4, 2}, Row{6, 96, 3, 1},
                         Row{6, 160, 3, 2}, Row{6, 320, 1, 1}}) {
    const Index out = maps(row.channels, options.width);
    const bool dilates = row.stride > 1 && reduction == options.output_stride;
    const Index before = dilation, stride = dilates ? 1 : row.stride;
    if (dilates) dilation *= 2;
    reduction *= stride;
    for (Index i = 0; i < row.repeats; ++i) {
      features.add(bottleneck(in, out, i == 0 ? stride : 1, i == 0 ? before : dilation, row.expansion));
      in = out;
    }
  }
  return {std::move(features), in};
}

}  // namespace detail

/// The bottlenecks of MobileNet V2 with what is before them, for the models that build on them: images
/// [N, in_channels, H, W] -> [N, C, ceil(H / S), ceil(W / S)] with S = output_stride and C = 320 times width. See
/// mobilenet_v2 for the table and the errors.
template <class Scalar = float>
Sequential<Scalar> mobilenet_v2_features(const MobileNetV2Options& options = {}) {
  Sequential<Scalar> features = detail::mobilenet_v2_features<Scalar>(options).first;
  detail::initialise_for_relu(features);
  return features;
}

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
///
/// With output_stride 16 the rows of 160 and 320 channels have depthwise convolutions dilated by 2 in place of the
/// stride (section 6.3), with 8 those of 64 and 96 too, and then by 4; the first bottleneck of a row that lost its
/// stride keeps the dilation of the row before, as in TensorFlow's DeepLab. Throws ValueError for another
/// output_stride, one with small_images, or a width that is not positive.
template <class Scalar = float>
Sequential<Scalar> mobilenet_v2(const MobileNetV2Options& options = {}) {
  auto [features, channels] = detail::mobilenet_v2_features<Scalar>(options);
  const Index last = detail::multiple_of_8("mobilenet_v2", 1280, std::max(1.0, options.width));
  features.add(detail::conv_norm<Scalar>(channels, last, 1, {}, ReLU6<Scalar>()));
  Sequential<Scalar> net{
      {"features", std::move(features)},
      {"", AdaptiveAvgPool2d<Scalar>(1)},
      {"", Flatten<Scalar>()},
      {"classifier", Sequential<Scalar>{Dropout<Scalar>(options.dropout), Linear<Scalar>(last, options.classes)}}};
  detail::initialise_for_relu(net);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
