#pragma once

#include <array>
#include <string>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/dense_block.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of densenet.
struct DenseNetOptions {
  Index in_channels = 3;        ///< of the images
  Index classes = 1000;         ///< K
  Form form = Form::published;  ///< torchvision's, or the listing of "Dive into Deep Learning"
  double width = 1;             ///< factor of the growth rate and of the first convolution's channels
  double dropout = 0;           ///< of what each layer adds
  bool same_padding = false;    ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
};

namespace detail {

/// The blocks' layers, the growth rate and the first convolution's channels.
struct DenseNetTable {
  Index depth;
  std::array<Index, 4> layers;
  Index growth, stem;
};
inline const DenseNetTable& densenet_table(Index depth) {
  static constexpr std::array<DenseNetTable, 5> table{{{21, {4, 4, 4, 4}, 32, 64},
                                                       {121, {6, 12, 24, 16}, 32, 64},
                                                       {169, {6, 12, 32, 32}, 32, 64},
                                                       {201, {6, 12, 48, 32}, 32, 64},
                                                       {161, {6, 12, 36, 24}, 48, 96}}};
  for (const DenseNetTable& row : table)
    if (row.depth == depth) return row;
  throw ValueError(text("densenet: expected depth 121, 169, 201 or 161, or the listing's 21, got ", depth));
}

}  // namespace detail

/// DenseNet (Huang, Liu, van der Maaten, Weinberger 2017, table 1) of depth 121, 169, 201 or 161: images
/// [N, in_channels, H, W] of at least 29 x 29 -> logits [N, classes].
///
///   conv0, norm0       7x7/2, 2k; pool 3x3/2
///   denseblock1        (1x1, 4k; 3x3, k) x 6
///   transition1        1x1 to half the channels, average 2x2/2, as behind blocks 2 and 3
///   denseblock2        x 12
///   denseblock3        x 24, 32, 48, 36
///   denseblock4        x 16, 32, 32, 24
///   norm5; classifier  global average, linear
///
/// with growth rate k = 32, or 48 for 161; norm and ReLU before every convolution but the first. Layers, names and
/// Kaiming-normal initial values are torchvision's: 7,978,856 parameters for 121. The listing of "Dive into Deep
/// Learning" is depth 21 with Form::listing: four layers in each block, 3x3 alone, convolutions with bias.
/// Throws ValueError for another depth or a width that leaves no channels.
template <class Scalar = float>
Sequential<Scalar> densenet(Index depth, const DenseNetOptions& options = {}) {
  const detail::DenseNetTable& table = detail::densenet_table(depth);
  const bool listing = options.form == Form::listing;
  const DenseBlockOptions block{.growth = detail::scaled("densenet", table.growth, options.width),
                                .bottleneck = listing ? 0 : 4,
                                .bias = listing,
                                .dropout = options.dropout};
  Index channels = detail::scaled("densenet", table.stem, options.width);
  Sequential<Scalar> features{
      {"conv0",
       Conv2d<Scalar>(options.in_channels, channels, 7,
                      {.stride = 2, .padding = detail::zeros_around(options.same_padding, 3), .bias = listing})},
      {"norm0", BatchNorm2d<Scalar>(channels)},
      {"relu0", ReLU<Scalar>()},
      {"pool0", MaxPool2d<Scalar>(3, {.stride = 2, .padding = detail::zeros_around(options.same_padding, 1)})}};
  for (std::size_t i = 0; i < 4; ++i) {
    const std::string number = std::to_string(i + 1);
    features.add("denseblock" + number, DenseBlock<Scalar>(channels, table.layers[i], block));
    channels += table.layers[i] * block.growth;
    if (i == 3) break;
    features.add("transition" + number,
                 Sequential<Scalar>{{"norm", BatchNorm2d<Scalar>(channels)},
                                    {"relu", ReLU<Scalar>()},
                                    {"conv", Conv2d<Scalar>(channels, channels / 2, 1, {.bias = listing})},
                                    {"pool", AvgPool2d<Scalar>(2)}});
    channels /= 2;
  }
  features.add("norm5", BatchNorm2d<Scalar>(channels));

  Linear<Scalar> classifier(channels, options.classes);
  if (!listing) classifier.bias.value.fill(0);
  Sequential<Scalar> net{{"features", std::move(features)},
                         {"", ReLU<Scalar>()},
                         {"", AdaptiveAvgPool2d<Scalar>(1)},
                         {"", Flatten<Scalar>()},
                         {"classifier", std::move(classifier)}};
  if (listing)
    detail::initialise_as_listing(net);
  else
    init::weights<Conv2d<Scalar>>(net, [](Tensor<Scalar>& weight) { init::kaiming_normal(weight); });
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
