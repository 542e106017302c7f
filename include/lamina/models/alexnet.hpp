#pragma once

#include <array>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// The forms of AlexNet; what they have in common is in alexnet().
enum class AlexNetForm {
  one_tower,   ///< torchvision's: Krizhevsky 2014, one tower, narrower, dropout before the hidden layers
  two_towers,  ///< Krizhevsky, Sutskever, Hinton 2012: local response normalisation; convolutions 2, 4, 5 in two groups
  listing      ///< "Dive into Deep Learning": the paper's channels without groups and normalisation
};

/// Options of alexnet.
struct AlexNetOptions {
  Index in_channels = 3;                      ///< of the images
  Index classes = 1000;                       ///< K
  AlexNetForm form = AlexNetForm::one_tower;  ///< which of the published forms
  double width = 1;                           ///< factor of the convolutions' channels
  Index hidden = 4096;                        ///< units in each of the two hidden layers
  double dropout = 0.5;                       ///< of the hidden layers
};

/// AlexNet: images [N, in_channels, H, W], made for 224 x 224, at least 63 x 63 -> logits [N, classes].
///
///            one_tower   two_towers   listing
///   11x11/4      64          96          96       pool; two_towers: normalise, pool
///   5x5         192         256/2       256       pool; two_towers: normalise, pool
///   3x3         384         384         384
///   3x3         256         384/2       384
///   3x3         256         256/2       256       pool
///   average to  6 x 6       6 x 6       5 x 5     nothing changes for 224 x 224
///   linear      hidden, hidden, classes           dropout at both hidden layers
///   parameters  61,100,840  60,965,224  46,764,746 (the listing for one channel and ten classes)
///
/// ReLU behind every layer but the last; pools are 3x3/2. Initial values: one_tower PyTorch's defaults; two_towers
/// N(0, 0.01^2), biases 1 in convolutions 2, 4, 5 and the hidden layers, else 0 (section 5); the listing
/// Xavier-uniform.
template <class Scalar = float>
Sequential<Scalar> alexnet(const AlexNetOptions& options = {}) {
  const bool one_tower = options.form == AlexNetForm::one_tower, paper = options.form == AlexNetForm::two_towers;
  const bool listing = options.form == AlexNetForm::listing;
  const Index towers = paper ? 2 : 1;
  std::array<Index, 5> maps = one_tower ? std::array<Index, 5>{64, 192, 384, 256, 256}  //
                                        : std::array<Index, 5>{96, 256, 384, 384, 256};
  for (Index& channels : maps) channels = detail::scaled("alexnet", channels, options.width);

  Sequential<Scalar> features;
  const auto convolution = [&](Index in, Index out, Index kernel, const Conv2dOptions& settings) {
    Conv2d<Scalar> layer(in, out, kernel, settings);
    if (paper) layer.bias.value.fill(settings.groups == 2 ? 1 : 0);
    features.add(std::move(layer));
    features.add(ReLU<Scalar>());
  };
  const auto normalise = [&] {
    if (paper) features.add(LocalResponseNorm<Scalar>(5, {.alpha = 5e-4, .beta = 0.75, .k = 2}));
  };
  const auto pool = [&] { features.add(MaxPool2d<Scalar>(3, {.stride = 2})); };
  convolution(options.in_channels, maps[0], 11, {.stride = 4, .padding = listing ? 1 : 2});
  normalise();
  pool();
  convolution(maps[0], maps[1], 5, {.padding = 2, .groups = towers});
  normalise();
  pool();
  convolution(maps[1], maps[2], 3, {.padding = 1});
  convolution(maps[2], maps[3], 3, {.padding = 1, .groups = towers});
  convolution(maps[3], maps[4], 3, {.padding = 1, .groups = towers});
  pool();

  const Index side = listing ? 5 : 6, units = options.hidden;
  Sequential<Scalar> classifier;
  const auto linear = [&](Index in, Index out, Scalar bias) {
    Linear<Scalar> layer(in, out);
    if (paper) layer.bias.value.fill(bias);
    classifier.add(std::move(layer));
  };
  const auto hidden = [&](Index in) {
    if (one_tower) classifier.add(Dropout<Scalar>(options.dropout));
    linear(in, units, 1);
    classifier.add(ReLU<Scalar>());
    if (!one_tower) classifier.add(Dropout<Scalar>(options.dropout));
  };
  hidden(maps[4] * side * side);
  hidden(units);
  linear(units, options.classes, 0);

  Sequential<Scalar> net{{"features", std::move(features)},
                         {"avgpool", AdaptiveAvgPool2d<Scalar>(side)},
                         {"", Flatten<Scalar>()},
                         {"classifier", std::move(classifier)}};
  if (listing) detail::initialise_as_listing(net);
  if (paper) init::weights<Conv2d<Scalar>, Linear<Scalar>>(net, [](Tensor<Scalar>& w) { init::normal(w, 0, 0.01); });
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
