#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/context/context.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

/// What HamNet has between squeeze and align.
enum class Context {
  none,              ///< the features as they are
  nmf,               ///< a Hamburger around non-negative matrix factorisation
  vq,                ///< around vector quantisation
  cd,                ///< around concept decomposition
  self_attention,    ///< of every pixel to all
  dual_attention,    ///< DANet's
  double_attention,  ///< A²-Net's
  adaptive_pyramid,  ///< APCNet's
  dynamic_pyramid,   ///< DMNet's
  co_occurrence      ///< CFNet's
};
/// The Hamburgers of Geng et al. 2021 and of their program.
enum class HamburgerVersion { v1, v2, v2_plus };

/// Options of HamNet; the listing's names in brackets.
struct HamNetOptions {
  Index classes = 21;  ///< K
  Index depth = 50;    ///< of the ResNet
  ResNetOptions backbone{.output_stride = 8,
                         .multi_grid = {1, 2, 4},
                         .deep_stem = true,
                         .norm = {.momentum = 3e-4}};  ///< [STRIDE, BN_MOM]
  /// A MobileNet V2 in place of the ResNet; its classes and dropout are not used.
  std::optional<MobileNetV2Options> mobilenet_v2{};
  Index channels = 512;                             ///< [CHANNELS] of the context
  Index aligned = 256;                              ///< of the features that are classified
  Context context = Context::nmf;                   ///< between squeeze and align
  HamburgerVersion version = HamburgerVersion::v1;  ///< [VERSION]
  /// For the contexts nmf, vq and cd. `context` goes before its kind, and the momentum of backbone.norm before its
  /// norm_momentum.
  HamburgerOptions hamburger{};
  double dropout = 0.1;  ///< before the classifier
};

namespace detail {

template <class Scalar>
Sequential<Scalar> hamburger(HamburgerVersion version, Index channels, const HamburgerOptions& options) {
  if (version == HamburgerVersion::v1) return hamburger_v1<Scalar>(channels, options);
  if (version == HamburgerVersion::v2) return hamburger_v2<Scalar>(channels, options);
  return hamburger_v2_plus<Scalar>(channels, options);
}

template <class Scalar>
Child<Scalar> context_module(const HamNetOptions& options) {
  const double momentum = options.backbone.norm.momentum.value_or(0.1);
  switch (options.context) {
    case Context::none:
      return {"", Identity<Scalar>()};
    case Context::self_attention:
      return {"context", self_attention<Scalar>(options.channels, momentum)};
    case Context::dual_attention:
      return {"context", dual_attention<Scalar>(options.channels, momentum)};
    case Context::double_attention:
      return {"context", double_attention<Scalar>(options.channels, momentum)};
    case Context::adaptive_pyramid:
      return {"context", adaptive_pyramid<Scalar>(options.channels, {.norm_momentum = momentum})};
    case Context::dynamic_pyramid:
      return {"context", dynamic_pyramid<Scalar>(options.channels, {.norm_momentum = momentum})};
    case Context::co_occurrence:
      return {"context", CoOccurrence<Scalar>(options.channels, {.norm_momentum = momentum})};
    default:
      HamburgerOptions ham = options.hamburger;
      ham.norm_momentum = momentum;
      ham.kind = options.context == Context::nmf  ? HamKind::nmf
                 : options.context == Context::vq ? HamKind::vq
                                                  : HamKind::cd;
      return {"hamburger", hamburger<Scalar>(options.version, options.channels, ham)};
  }
}

}  // namespace detail

/// HamNet's head on a backbone of one's own, images [N, C, H, W] -> features [N, width, ceil(H / S), ceil(W / S)] with
/// S = output_stride, under the key backbone; see below.
template <class Scalar>
AtInputSize<Scalar> hamnet(Sequential<Scalar> backbone, Index width, Index output_stride,
                           const HamNetOptions& options = {}) {
  const detail::ConvNormOptions conv_norm{.norm = options.backbone.norm, .keys = {"conv", "bn", "act"}};
  const auto conv_bn_relu = [&](Index in, Index out) {
    return detail::conv_norm<Scalar>(in, out, 3, conv_norm, ReLU<Scalar>());
  };
  Child<Scalar> context = detail::context_module<Scalar>(options);
  const bool pyramid = options.context == Context::adaptive_pyramid || options.context == Context::dynamic_pyramid;
  const Index seen = pyramid ? context.module->output_shape({1, options.channels, 1, 1})[1] : options.channels;
  return AtInputSize<Scalar>({{"backbone", std::move(backbone)},
                              {"squeeze", conv_bn_relu(width, options.channels)},
                              std::move(context),
                              {"align", conv_bn_relu(seen, options.aligned)},
                              {"fc", Sequential<Scalar>{Dropout2d<Scalar>(options.dropout),
                                                        Conv2d<Scalar>(options.aligned, options.classes, 1)}}},
                             {.mode = InterpolateMode::bilinear, .align_corners = true}, output_stride);
}

/// HamNet (Geng et al. 2021, section 3.4; the listing of their code) for semantic segmentation: images [N, 3, H, W] ->
/// logits [N, classes, H, W].
///
///   backbone     ResNet, dilated to an output stride of 8 or 16, with a deep stem and a multi-grid of 1, 2, 4
///   squeeze      3x3, channels, BatchNorm, ReLU
///   hamburger    or another context, or none
///   align        3x3, aligned, BatchNorm, ReLU
///   fc           Dropout2d, 1x1, classes
///   bilinear to H x W with align_corners
///
/// Images whose sides are not k S + 1, where S is the output stride, are padded to the next such size, see AtInputSize;
/// the recipe trains with crops of such a size. Keys of the state are the listing's; with a MobileNet V2 those of the
/// backbone are torchvision's, backbone.features.0.0.weight and so on, as deeplab_v3's. Errors are those of the parts.
template <class Scalar = float>
AtInputSize<Scalar> hamnet(const HamNetOptions& options = {}) {
  if (options.mobilenet_v2) {
    auto [features, width] = detail::mobilenet_v2_features<Scalar>(*options.mobilenet_v2);
    detail::initialise_for_relu(features);
    Sequential<Scalar> backbone;
    backbone.add("features", std::move(features));
    return hamnet<Scalar>(std::move(backbone), width, options.mobilenet_v2->output_stride, options);
  }
  auto [features, width] = detail::resnet_features<Scalar>(options.depth, options.backbone);
  Sequential<Scalar> backbone;  // by number, as in the listing
  for (Index i = 0; i < features.size(); ++i) backbone.add(Child<Scalar>(features[i].clone()));
  return hamnet<Scalar>(std::move(backbone), width, options.backbone.output_stride, options);
}

/// Options of pixel_cross_entropy.
struct PixelCrossEntropyOptions {
  std::int32_t ignore_index = 255;  ///< pixels with this label have no loss and no gradient
  bool over_all = true;  ///< average over all pixels, as the listing does, or over those that are not ignored
  std::vector<double> weight = {};  ///< of each class's pixels; ones if not given. See median_frequency_weights
};

/// The average cross entropy of pixels: logits [N, K, H, W], labels [N, H, W]. With weights each pixel's counts as its
/// label's says; of the pixels that are not ignored it is then the weighted average, as in PyTorch. Throws ShapeError
/// for images and labels that differ in number or size, or weights of another number than K, ValueError for a label
/// that is no class, naming it and its place.
template <class Scalar>
Loss<Scalar> pixel_cross_entropy(Tensor<Scalar> logits, const Labels& labels,
                                 const PixelCrossEntropyOptions& options = {}) {
  CrossEntropyOptions<Scalar> entropy;
  entropy.ignore_index = options.ignore_index;
  if (options.over_all) entropy.reduction = Reduction::sum;
  if (const auto classes = static_cast<Index>(options.weight.size()))
    entropy.weight = Tensor<double>({classes}, options.weight).template cast<Scalar>();
  Loss<Scalar> loss = cross_entropy(std::move(logits), labels, entropy);
  if (!options.over_all) return loss;
  const double share = 1 / static_cast<double>(labels.numel());
  loss.value *= share;
  loss.grad *= static_cast<Scalar>(share);
  return loss;
}

}  // namespace lamina::inline LAMINA_ABI
