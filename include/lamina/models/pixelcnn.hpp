#pragma once

#include <string>

#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/masked_conv2d.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/sum.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of pixelcnn.
struct PixelCNNOptions {
  Index channels = 1;  ///< of the images; three are R, G, B, predicted in that order
  Index blocks = 15;   ///< residual blocks
  Index hidden = 128;  ///< h
  Index levels = 256;  ///< values that a pixel can take; 2 for binary images
  bool norm = true;    ///< batch normalisation behind the convolutions
};

namespace detail {

/// A 1x1 convolution within a pixel: any channel sees any, or with several colours those of its own and those before.
template <class Scalar>
Child<Scalar> pixel_convolution(const std::string& name, Index in, Index out, Index colours) {
  if (colours == 1) return {name, Conv2d<Scalar>(in, out, 1)};
  return {name, MaskedConv2d<Scalar>(Mask::B, in, out, 1, {.groups = colours})};
}

}  // namespace detail

/// PixelCNN (van den Oord, Kalchbrenner, Kavukcuoglu 2016, table 1): images [N, channels, H, W] with values in [0, 1]
/// -> logits [N, channels levels, H, W] of every pixel's value given the pixels before it in raster order, and the
/// colours before it at the pixel; colour by colour. See autoregressive.hpp.
///
///   conv1            7x7 mask A, 2h, norm
///   residual_blocks  x + F(x), F = (relu, 1x1 h, norm, relu, 3x3 mask B h, norm, relu, 1x1 2h, norm), `blocks` times
///   head             relu; 1x1 mask B h, relu, 1x1 mask B h, relu, 1x1 channels levels
///
/// 3,313,664 parameters by default, masked ones included. Keys are those of the usual PyTorch listing. Throws
/// ValueError for fewer than 1 block, channel or hidden unit, or 2 levels.
template <class Scalar = float>
Sequential<Scalar> pixelcnn(const PixelCNNOptions& options = {}) {
  const auto [colours, blocks, h, levels, norm] = options;
  require(blocks >= 1 && colours >= 1 && h >= colours,
          "pixelcnn: expected at least 1 block and channel and a hidden unit for each, got ", blocks, ", ", colours,
          " and ", h);
  require(levels >= 2, "pixelcnn: expected at least 2 levels, got ", levels);
  const MaskedConv2dOptions masked{.groups = colours};
  const auto add_norm = [wanted = norm](Sequential<Scalar>& net, const char* name, Index channels) {
    if (wanted) net.add(name, BatchNorm2d<Scalar>(channels));
  };

  Sequential<Scalar> net{{"conv1", MaskedConv2d<Scalar>(Mask::A, colours, 2 * h, 7, masked)}};
  add_norm(net, "bn1", 2 * h);
  Sequential<Scalar> residual_blocks;
  for (Index i = 0; i < blocks; ++i) {
    Sequential<Scalar> residual{{"", ReLU<Scalar>()}};
    residual.add(detail::pixel_convolution<Scalar>("conv1", 2 * h, h, colours));
    add_norm(residual, "bn1", h);
    residual.add("", ReLU<Scalar>());
    residual.add("conv2", MaskedConv2d<Scalar>(Mask::B, h, h, 3, masked));
    add_norm(residual, "bn2", h);
    residual.add("", ReLU<Scalar>());
    residual.add(detail::pixel_convolution<Scalar>("conv3", h, 2 * h, colours));
    add_norm(residual, "bn3", 2 * h);
    residual_blocks.add(Sum<Scalar>{{"", Identity<Scalar>()}, {"", std::move(residual)}});
  }
  net.add("residual_blocks", std::move(residual_blocks));
  net.add("", ReLU<Scalar>());
  Sequential<Scalar> head{MaskedConv2d<Scalar>(Mask::B, 2 * h, h, 1, masked), ReLU<Scalar>(),
                          MaskedConv2d<Scalar>(Mask::B, h, h, 1, masked), ReLU<Scalar>()};
  head.add(detail::pixel_convolution<Scalar>("4", h, colours * levels, colours));
  net.add("head", std::move(head));
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
