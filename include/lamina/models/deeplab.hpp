#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/models/blocks.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/cat.hpp"

namespace lamina::inline LAMINA_ABI {

/// The atrous spatial pyramid pooling of DeepLab v3 (Chen et al. 2017, section 3.3): y = project of
///
///   [pool(mean of x over its pixels), aspp0(x), aspp1(x), ...]
///
/// along the channels, where pool and aspp0 are 1x1 convolutions, aspp1, ... 3x3 convolutions with a dilation each, all
/// to `channels`, and project 1x1, each with batch normalisation and ReLU; the mean's result is that of all pixels.
/// Shapes: x [N, C, H, W], y [N, channels, H, W]. Errors are those of the parts.
template <class Scalar = float>
class PyramidPooling : public Block<PyramidPooling<Scalar>, Scalar> {
 public:
  Sequential<Scalar> pool;                  ///< of the mean
  std::vector<Sequential<Scalar>> pyramid;  ///< aspp0, aspp1, ...
  Sequential<Scalar> project;               ///< of all together

  /// `dilations` are those of aspp1, ...
  PyramidPooling(Index in_channels, Index channels, const std::vector<Index>& dilations = {})
      : pool(conv(in_channels, channels, 1)), channels_(channels) {
    pyramid.push_back(conv(in_channels, channels, 1));
    for (const Index dilation : dilations) pyramid.push_back(conv(in_channels, channels, 3, dilation));
    project = conv(static_cast<Index>(1 + pyramid.size()) * channels, channels, 1);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Values<Scalar> parts{run(everywhere_, run(pool, run(mean_, x)), x)};
    for (const auto& branch : pyramid) parts.push_back(run(branch, x));
    return run(project, std::move(run.all(cat_, std::move(parts))[0]));
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"pool", pool}};
    for (std::size_t i = 0; i < pyramid.size(); ++i) result.push_back({"aspp" + std::to_string(i), pyramid[i]});
    result.push_back({"project", project});
    return result;
  }
  Fields fields() const override { return Fields("PyramidPooling").argument("channels", channels_); }

 private:
  static Sequential<Scalar> conv(Index in, Index out, Index kernel, Index dilation = 1) {
    return detail::conv_norm<Scalar>(in, out, kernel, {.dilation = dilation}, ReLU<Scalar>());
  }

  Index channels_;
  AdaptiveAvgPool2d<Scalar> mean_{1};
  BackToImages<Scalar> everywhere_;
  Cat<Scalar> cat_;
};

/// Options of deeplab_v3.
struct DeepLabV3Options {
  Index classes = 21;                                ///< K; the default is Pascal VOC's, with the background
  MobileNetV2Options backbone{.output_stride = 16};  ///< its classes and dropout are not used
  Index channels = 256;                              ///< of the head
  /// Of the head's 3x3 convolutions; the mobile form has none, the paper's for output stride 16 has {6, 12, 18}.
  std::vector<Index> dilations = {};
  double dropout = 0.1;  ///< before the classifier
};

/// DeepLab v3 (Chen et al. 2017) on MobileNet V2 (Sandler et al. 2018, section 6.3) for semantic segmentation: images
/// [N, in_channels, H, W] -> logits [N, classes, H, W].
///
///   backbone.features   mobilenet_v2_features, dilated to an output stride of 16
///   head                PyramidPooling
///   classifier          1x1, with bias
///   bilinear to H x W with align_corners
///
/// Images whose sides are not k S + 1, where S is the output stride, are padded with zeros to the next such size, see
/// AtInputSize: there the convolutions pad as TensorFlow's do. 2,113,557 parameters by default. Keys of the state are
/// torchvision's for the backbone. Errors are those of the parts.
template <class Scalar = float>
AtInputSize<Scalar> deeplab_v3(const DeepLabV3Options& options = {}) {
  auto [features, width] = detail::mobilenet_v2_features<Scalar>(options.backbone);
  PyramidPooling<Scalar> head(width, options.channels, options.dilations);
  head.project.add(Dropout<Scalar>(options.dropout));
  Sequential<Scalar> net{{"backbone", Sequential<Scalar>{{"features", std::move(features)}}},
                         {"head", std::move(head)},
                         {"classifier", Conv2d<Scalar>(options.channels, options.classes, 1)}};
  detail::initialise_for_relu(net);
  return AtInputSize<Scalar>(std::move(net), {.mode = InterpolateMode::bilinear, .align_corners = true},
                             options.backbone.output_stride);
}

}  // namespace lamina::inline LAMINA_ABI
