#pragma once

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of nin.
struct NinOptions {
  Index in_channels = 1;  ///< of the images
  Index classes = 10;     ///< K
  double width = 1;       ///< factor of the channels
  Index head = 0;         ///< channels inside the last block; 0: as many as classes
  double dropout = 0.5;   ///< before the last block
};

/// Network in network (Lin, Chen, Yan 2014): images [N, in_channels, H, W], made for 224 x 224, at least 67 x 67 ->
/// logits [N, classes].
///
///   block 11x11/4, 96    pool 3x3/2    a block is a convolution and two 1x1 convolutions, each with ReLU
///   block 5x5, 256       pool
///   block 3x3, 384       pool, dropout
///   block 3x3, classes   global average
///
/// As in "Dive into Deep Learning", whose names and Xavier-uniform weights it has: 1,992,166 parameters for one channel
/// and ten classes. The authors' network for ImageNet is {.in_channels = 3, .classes = 1000, .head = 1024}.
template <class Scalar = float>
Sequential<Scalar> nin(const NinOptions& options = {}) {
  const auto block = [](Index in, Index mid, Index out, Index kernel, const Conv2dOptions& convolution) {
    return Sequential<Scalar>{Conv2d<Scalar>(in, mid, kernel, convolution),
                              ReLU<Scalar>(),
                              Conv2d<Scalar>(mid, mid, 1),
                              ReLU<Scalar>(),
                              Conv2d<Scalar>(mid, out, 1),
                              ReLU<Scalar>()};
  };
  const auto maps = [&](Index channels) { return detail::scaled("nin", channels, options.width); };
  const Index a = maps(96), b = maps(256), c = maps(384), head = options.head ? options.head : options.classes;
  const MaxPool2d<Scalar> pool(3, {.stride = 2});
  Sequential<Scalar> net{block(options.in_channels, a, a, 11, {.stride = 4}),
                         pool,
                         block(a, b, b, 5, {.padding = 2}),
                         pool,
                         block(b, c, c, 3, {.padding = 1}),
                         pool,
                         Dropout<Scalar>(options.dropout),
                         block(c, head, options.classes, 3, {.padding = 1}),
                         AdaptiveAvgPool2d<Scalar>(1),
                         Flatten<Scalar>()};
  detail::initialise_as_listing(net);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
