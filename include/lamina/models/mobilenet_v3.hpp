#pragma once

#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of mobilenet_v3_large and mobilenet_v3_small.
struct MobileNetV3Options {
  Index in_channels = 3;  ///< of the images
  Index classes = 1000;   ///< K
  double width = 1;       ///< factor of the channels, which are rounded to multiples of 8
  double dropout = 0.2;   ///< before the last layer
};

namespace detail {

/// A line of the paper's tables 1 and 2.
struct MobileNetV3Row {
  Index kernel, inside, out;
  bool squeeze;  ///< squeeze-and-excitation
  bool swish;    ///< hard swish, else ReLU
  Index stride;
};

template <class Scalar>
Sequential<Scalar> mobilenet_v3(const std::vector<MobileNetV3Row>& table, Index hidden,
                                const MobileNetV3Options& options) {
  using Swish = Hardswish<Scalar>;
  const BatchNormOptions norm{.eps = 0.001, .momentum = 0.01};
  const auto maps = [&](Index channels) { return multiple_of_8("mobilenet_v3", channels, options.width); };
  Index in = maps(16);
  Sequential<Scalar> features;
  features.add(conv_norm<Scalar>(options.in_channels, in, 3, {.stride = 2, .norm = norm}, Swish()));
  for (const MobileNetV3Row& row : table) {
    const Index inside = maps(row.inside), out = maps(row.out);
    Sequential<Scalar> block;
    const auto convolution = [&](Index from, Index kernel, const ConvNormOptions& settings) {
      if (row.swish)
        block.add(conv_norm<Scalar>(from, inside, kernel, settings, Swish()));
      else
        block.add(conv_norm<Scalar>(from, inside, kernel, settings, ReLU<Scalar>()));
    };
    if (inside != in) convolution(in, 1, {.norm = norm});
    convolution(inside, row.kernel, {.stride = row.stride, .groups = inside, .norm = norm});
    if (row.squeeze) {
      const Index squeezed = multiple_of_8("mobilenet_v3", inside / 4, 1);
      block.add(squeeze_excitation<Scalar>(inside, squeezed, Hardsigmoid<Scalar>()));
    }
    block.add(conv_norm<Scalar>(inside, out, 1, {.norm = norm}));
    features.add(residual_if<Scalar>(row.stride == 1 && in == out, "block", std::move(block)));
    in = out;
  }
  features.add(conv_norm<Scalar>(in, 6 * in, 1, {.norm = norm}, Swish()));

  const Index units = maps(hidden);
  Sequential<Scalar> net{
      {"features", std::move(features)},
      {"avgpool", AdaptiveAvgPool2d<Scalar>(1)},
      {"", Flatten<Scalar>()},
      {"classifier", Sequential<Scalar>{Linear<Scalar>(6 * in, units), Swish(), Dropout<Scalar>(options.dropout),
                                        Linear<Scalar>(units, options.classes)}}};
  initialise_for_relu(net);
  return net;
}

}  // namespace detail

/// MobileNet V3-Large (Howard et al. 2019, table 1): images [N, in_channels, H, W] of any size -> logits [N, classes].
///
/// A line is a bottleneck as in MobileNet V2: 1x1 to `inside` channels, depthwise, squeeze-and-excitation by a hard
/// sigmoid if it has it, 1x1 to `out` without activation. The activation is hard swish or ReLU. Layers, names, the
/// norms' eps and momentum and the initial values are torchvision's: 5,483,032 parameters.
template <class Scalar = float>
Sequential<Scalar> mobilenet_v3_large(const MobileNetV3Options& options = {}) {
  constexpr bool SE = true, HS = true, no = false;
  return detail::mobilenet_v3<Scalar>({{3, 16, 16, no, no, 1},
                                       {3, 64, 24, no, no, 2},
                                       {3, 72, 24, no, no, 1},
                                       {5, 72, 40, SE, no, 2},
                                       {5, 120, 40, SE, no, 1},
                                       {5, 120, 40, SE, no, 1},
                                       {3, 240, 80, no, HS, 2},
                                       {3, 200, 80, no, HS, 1},
                                       {3, 184, 80, no, HS, 1},
                                       {3, 184, 80, no, HS, 1},
                                       {3, 480, 112, SE, HS, 1},
                                       {3, 672, 112, SE, HS, 1},
                                       {5, 672, 160, SE, HS, 2},
                                       {5, 960, 160, SE, HS, 1},
                                       {5, 960, 160, SE, HS, 1}},
                                      1280, options);
}

/// MobileNet V3-Small (table 2): as mobilenet_v3_large, with 2,542,856 parameters.
template <class Scalar = float>
Sequential<Scalar> mobilenet_v3_small(const MobileNetV3Options& options = {}) {
  constexpr bool SE = true, HS = true, no = false;
  return detail::mobilenet_v3<Scalar>({{3, 16, 16, SE, no, 2},
                                       {3, 72, 24, no, no, 2},
                                       {3, 88, 24, no, no, 1},
                                       {5, 96, 40, SE, HS, 2},
                                       {5, 240, 40, SE, HS, 1},
                                       {5, 240, 40, SE, HS, 1},
                                       {5, 120, 48, SE, HS, 1},
                                       {5, 144, 48, SE, HS, 1},
                                       {5, 288, 96, SE, HS, 2},
                                       {5, 576, 96, SE, HS, 1},
                                       {5, 576, 96, SE, HS, 1}},
                                      1024, options);
}

}  // namespace lamina::inline LAMINA_ABI
