#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/dense_block.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of densenet.
struct DenseNetOptions {
  Index in_channels = 3;             ///< of the images
  Index classes = 1000;              ///< K
  Form form = Form::published;       ///< torchvision's, or the listing of "Dive into Deep Learning"
  double width = 1;                  ///< factor of the growth rate and of the first convolution's channels
  double dropout = 0;                ///< of what each layer adds
  bool same_padding = false;         ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
  std::vector<Index> layers = {};    ///< of each dense block, where no depth says them
  std::optional<Index> growth = {};  ///< k (default: the depth's; 32 for layers)
  std::optional<Index> stem = {};    ///< channels of the first convolution (default: 2k)
  double theta = 0.5;                ///< the share of the channels that a transition keeps, in (0, 1]
  Index bottleneck = 4;              ///< of the 1x1 convolutions, in growth rates; 0: none
  bool small_stem = false;           ///< one 3x3 convolution of stride 1 before the blocks: for 32 x 32 pixels
};

namespace detail {

/// The blocks' layers and the growth rate.
struct DenseNetTable {
  Index depth;
  std::array<Index, 4> layers;
  Index growth;
};
inline const DenseNetTable& densenet_table(Index depth) {
  static constexpr std::array<DenseNetTable, 5> table{{{21, {4, 4, 4, 4}, 32},
                                                       {121, {6, 12, 24, 16}, 32},
                                                       {169, {6, 12, 32, 32}, 32},
                                                       {201, {6, 12, 48, 32}, 32},
                                                       {161, {6, 12, 36, 24}, 48}}};
  for (const DenseNetTable& row : table)
    if (row.depth == depth) return row;
  throw ValueError(text("densenet: expected depth 121, 169, 201 or 161, or the listing's 21, got ", depth));
}

/// floor(theta channels), but at least 1.
inline Index compressed(Index channels, double theta) {
  return std::max<Index>(1, static_cast<Index>(theta * static_cast<double>(channels)));
}

}  // namespace detail

/// DenseNet (Huang, Liu, van der Maaten, Weinberger 2017) of any layers: images [N, in_channels, H, W] -> logits
/// [N, classes].
///
///   conv0, norm0       7x7/2, 2k; pool 3x3/2; or 3x3 alone (small_stem)
///   denseblock1        (1x1, 4k; 3x3, k) x layers[0]
///   transition1        1x1 to theta times the channels, average 2x2/2, as behind each block but the last
///   denseblock2        x layers[1] and so on
///   norm5; classifier  global average, linear
///
/// with norm and ReLU before every convolution but the first. The paper's networks for CIFAR (table 2) are, for depth
/// 40 and k = 12, with 1.0 million parameters, and for depth 100 as "BC", with 0.8:
///
///   densenet({.classes = 10, .layers = {12, 12, 12}, .growth = 12, .stem = 16, .theta = 1, .bottleneck = 0,
///             .small_stem = true});
///   densenet({.classes = 10, .layers = {16, 16, 16}, .growth = 12, .small_stem = true});
///
/// Layers, names and Kaiming-normal initial values are torchvision's. Throws ValueError for no layers, a theta outside
/// (0, 1], sizes below 1, or a width that leaves no channels.
template <class Scalar = float>
Sequential<Scalar> densenet(const DenseNetOptions& options) {
  require(!options.layers.empty(), "densenet: no layers; give those of each dense block, or a depth");
  require(options.theta > 0 && options.theta <= 1, "densenet: theta must be in (0, 1], got ", options.theta);
  const bool listing = options.form == Form::listing;
  const Index growth = options.growth.value_or(32);
  const DenseBlockOptions block{.growth = detail::scaled("densenet", growth, options.width),
                                .bottleneck = options.bottleneck,
                                .bias = listing,
                                .dropout = options.dropout};
  Index channels = detail::scaled("densenet", options.stem.value_or(2 * growth), options.width);
  Sequential<Scalar> features;
  const Index kernel = options.small_stem ? 3 : 7;
  features.add("conv0", Conv2d<Scalar>(options.in_channels, channels, kernel,
                                       {.stride = options.small_stem ? 1 : 2,
                                        .padding = detail::zeros_around(options.same_padding, kernel / 2),
                                        .bias = listing}));
  if (!options.small_stem) {
    features.add("norm0", BatchNorm2d<Scalar>(channels));
    features.add("relu0", ReLU<Scalar>());
    features.add("pool0",
                 MaxPool2d<Scalar>(3, {.stride = 2, .padding = detail::zeros_around(options.same_padding, 1)}));
  }
  for (std::size_t i = 0; i < options.layers.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    features.add("denseblock" + number, DenseBlock<Scalar>(channels, options.layers[i], block));
    channels += options.layers[i] * block.growth;
    if (i + 1 == options.layers.size()) break;
    const Index kept = detail::compressed(channels, options.theta);
    features.add("transition" + number,
                 Sequential<Scalar>{{"norm", BatchNorm2d<Scalar>(channels)},
                                    {"relu", ReLU<Scalar>()},
                                    {"conv", Conv2d<Scalar>(channels, kept, 1, {.bias = listing})},
                                    {"pool", AvgPool2d<Scalar>(2)}});
    channels = kept;
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

/// DenseNet of depth 121, 169, 201 or 161 (table 1), for images of at least 29 x 29: dense blocks of 6, 12, 24, 16, or
/// 6, 12, 32, 32, or 6, 12, 48, 32, or 6, 12, 36, 24 layers, with growth rate 32, or 48 for 161. Layers, names and
/// initial values are torchvision's: 7,978,856 parameters for 121. The listing of "Dive into Deep Learning" is depth 21
/// with Form::listing: four layers in each block, 3x3 alone, convolutions with bias. Throws ValueError for another
/// depth, or layers beside it, and what the other form throws for.
template <class Scalar = float>
Sequential<Scalar> densenet(Index depth, const DenseNetOptions& options = {}) {
  const detail::DenseNetTable& table = detail::densenet_table(depth);
  require(options.layers.empty(), "densenet: depth ", depth, " says the layers; leave it out to choose them");
  DenseNetOptions all = options;
  all.layers.assign(table.layers.begin(), table.layers.end());
  if (!all.growth) all.growth = table.growth;
  if (options.form == Form::listing) all.bottleneck = 0;
  return densenet<Scalar>(all);
}

}  // namespace lamina::inline LAMINA_ABI
