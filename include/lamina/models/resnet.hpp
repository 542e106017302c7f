#pragma once

#include <array>
#include <string>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/tensor/select.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of resnet.
struct ResNetOptions {
  Index in_channels = 3;                     ///< of the images
  Index classes = 1000;                      ///< K
  Form form = Form::published;               ///< torchvision's, or the listing of "Dive into Deep Learning"
  double width = 1;                          ///< factor of all channels
  Index output_stride = 32;                  ///< of the last features: 8 and 16 dilate where 32 would stride
  std::array<Index, 3> multi_grid{1, 1, 1};  ///< factors of the dilations of the last stage's blocks (DeepLab v3)
  bool deep_stem = false;                    ///< three 3x3 convolutions in place of the 7x7 one, the last twice as wide
  bool small_stem = false;                   ///< one 3x3 convolution of stride 1, no pooling: for 32 x 32 pixels
  BatchNormOptions norm = {};                ///< of all norms
  bool same_padding = false;  ///< TensorFlow's SAME zeros, for its weights: at stride 2 none above but one below
};

namespace detail {

/// How many blocks the four stages of a ResNet have, and whether they are bottlenecks.
struct ResNetTable {
  Index depth;
  bool bottleneck;
  std::array<Index, 4> blocks;
};
inline const ResNetTable& resnet_table(Index depth) {
  static constexpr std::array<ResNetTable, 5> table{{{18, false, {2, 2, 2, 2}},
                                                     {34, false, {3, 4, 6, 3}},
                                                     {50, true, {3, 4, 6, 3}},
                                                     {101, true, {3, 4, 23, 3}},
                                                     {152, true, {3, 8, 36, 3}}}};
  for (const ResNetTable& row : table)
    if (row.depth == depth) return row;
  throw ValueError(text("resnet: expected depth 18, 34, 50, 101 or 152, got ", depth));
}

}  // namespace detail

/// relu(F(x) + shortcut(x)) (figure 5): F is 3x3, 3x3, or as a bottleneck 1x1, 3x3, 1x1 to four times the channels,
/// with the stride in the 3x3 (torchvision's "v1.5"). Where shapes differ the shortcut is a 1x1 convolution, without
/// norm behind it in the listing, or without parameters every second pixel, and zeros for the channels that x lacks
/// (section 4.1, option A).
struct ResidualBlock {
  bool bottleneck;           ///< three convolutions in place of two
  Index in;                  ///< channels of the input
  Index channels;            ///< channels of the 3x3 convolutions
  Index stride;              ///< of the first or, in a bottleneck, the second convolution
  Index dilation;            ///< of the 3x3 convolutions
  bool zero_padded = false;  ///< the shortcut without parameters; not for fewer channels

  /// Channels of the result.
  Index out() const { return bottleneck ? 4 * channels : channels; }
};

/// The block as a module.
template <class Scalar>
Sequential<Scalar> residual_block(const ResidualBlock& b, const ResNetOptions& options) {
  const bool bias = options.form == Form::listing;
  Sequential<Scalar> residual;
  Index convolutions = 0, in = b.in;
  const auto convolution = [&](Index out, Index kernel, Index stride, Index dilation) {
    if (convolutions > 0) residual.add("", ReLU<Scalar>());
    const std::string number = std::to_string(++convolutions);
    residual.add("conv" + number,
                 Conv2d<Scalar>(in, out, kernel,
                                {.stride = stride,
                                 .padding = detail::zeros_around(options.same_padding, kernel / 2 * dilation),
                                 .dilation = dilation,
                                 .bias = bias}));
    residual.add("bn" + number, BatchNorm2d<Scalar>(out, options.norm));
    in = out;
  };
  if (b.bottleneck) {
    convolution(b.channels, 1, 1, 1);
    convolution(b.channels, 3, b.stride, b.dilation);
    convolution(b.out(), 1, 1, 1);
  } else {
    convolution(b.channels, 3, b.stride, b.dilation);
    convolution(b.channels, 3, 1, b.dilation);
  }

  Child<Scalar> shortcut("", Identity<Scalar>());
  if (b.zero_padded) {
    Sequential<Scalar> identity;
    if (b.stride != 1) identity.add(AvgPool2d<Scalar>(1, {.stride = b.stride}));
    if (b.in != b.out()) identity.add(Pad<Scalar>({0, 0, 0, 0}, {0, b.out() - b.in, 0, 0}));
    if (identity.size() > 0) shortcut = Child<Scalar>("", std::move(identity));
  } else if (b.stride != 1 || b.in != b.out()) {
    Sequential<Scalar> projection{Conv2d<Scalar>(b.in, b.out(), 1, {.stride = b.stride, .bias = bias})};
    if (options.form == Form::published) projection.add(BatchNorm2d<Scalar>(b.out(), options.norm));
    shortcut = Child<Scalar>("downsample", std::move(projection));
  }
  return {{"", Sum<Scalar>{{"", std::move(residual)}, std::move(shortcut)}}, {"", ReLU<Scalar>()}};
}

namespace detail {

/// Kaiming-normal convolutions by what they feed.
template <class Scalar>
void initialise_resnet(Module<Scalar>& net) {
  init::weights<Conv2d<Scalar>>(net, [](Tensor<Scalar>& weight) {
    init::kaiming_normal(weight, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"});
  });
}

/// "conv1" and "bn1".
template <class Scalar>
Index add_resnet_stem(Sequential<Scalar>& net, const ResNetOptions& options) {
  const Index channels = scaled("resnet", 64, options.width);
  if (!options.deep_stem) {
    const Index kernel = options.small_stem ? 3 : 7;
    net.add("conv1", Conv2d<Scalar>(options.in_channels, channels, kernel,
                                    {.stride = options.small_stem ? 1 : 2,
                                     .padding = zeros_around(options.same_padding, kernel / 2),
                                     .bias = options.form == Form::listing}));
    net.add("bn1", BatchNorm2d<Scalar>(channels, options.norm));
    return channels;
  }
  net.add("conv1", Sequential<Scalar>{
                       Conv2d<Scalar>(options.in_channels, channels, 3,
                                      {.stride = 2, .padding = zeros_around(options.same_padding, 1), .bias = false}),
                       BatchNorm2d<Scalar>(channels, options.norm), ReLU<Scalar>(),
                       Conv2d<Scalar>(channels, channels, 3, {.padding = 1, .bias = false}),
                       BatchNorm2d<Scalar>(channels, options.norm), ReLU<Scalar>(),
                       Conv2d<Scalar>(channels, 2 * channels, 3, {.padding = 1, .bias = false})});
  net.add("bn1", BatchNorm2d<Scalar>(2 * channels, options.norm));
  return 2 * channels;
}

/// A ResNet without its head, and the channels of its features.
template <class Scalar>
std::pair<Sequential<Scalar>, Index> resnet_features(Index depth, const ResNetOptions& options) {
  const ResNetTable& table = resnet_table(depth);
  require(options.output_stride == 8 || options.output_stride == 16 || options.output_stride == 32,
          "resnet: output_stride must be 8, 16 or 32, got ", options.output_stride);
  require(!options.small_stem || (!options.deep_stem && options.output_stride == 32),
          "resnet: small_stem goes neither with deep_stem nor with an output_stride");
  Sequential<Scalar> net;
  Index in = add_resnet_stem(net, options);
  net.add("", ReLU<Scalar>());
  if (!options.small_stem)
    net.add("maxpool", MaxPool2d<Scalar>(3, {.stride = 2, .padding = zeros_around(options.same_padding, 1)}));

  Index reduction = 4, dilation = 1;
  for (Index stage = 0; stage < 4; ++stage) {
    const bool reduces = stage > 0, dilates = reduces && reduction == options.output_stride;
    const Index before = dilation;  // the first block of a dilated stage still has the dilation of the stage before
    if (dilates) dilation *= 2;
    if (reduces && !dilates) reduction *= 2;
    Sequential<Scalar> blocks;
    for (Index i = 0; i < table.blocks[static_cast<std::size_t>(stage)]; ++i) {
      const bool first = i == 0, last_stage = stage == 3;
      const ResidualBlock block{
          .bottleneck = table.bottleneck,
          .in = in,
          .channels = scaled("resnet", Index{64} << stage, options.width),
          .stride = first && reduces && !dilates ? 2 : 1,
          .dilation = (first ? before : dilation) * (last_stage ? options.multi_grid[static_cast<std::size_t>(i)] : 1)};
      blocks.add(residual_block<Scalar>(block, options));
      in = block.out();
    }
    net.add("layer" + std::to_string(stage + 1), std::move(blocks));
  }
  if (options.form == Form::listing)
    initialise_as_listing(net);
  else
    initialise_resnet(net);
  return {std::move(net), in};
}

}  // namespace detail

/// The features of a ResNet, everything before the global average, for the models that build on them: images
/// [N, in_channels, H, W] -> [N, C, ceil(H / S), ceil(W / S)] with S = output_stride and C = 512 or, from depth 50 on,
/// 2048, times width. See resnet() for the options and errors.
template <class Scalar = float>
Sequential<Scalar> resnet_features(Index depth, const ResNetOptions& options = {}) {
  return detail::resnet_features<Scalar>(depth, options).first;
}

/// ResNet (He, Zhang, Ren, Sun 2016, table 1) of depth 18, 34, 50, 101 or 152: images [N, in_channels, H, W] of any
/// size -> logits [N, classes].
///
///   layer     18, 34                             50, 101, 152
///   conv1     7x7/2, 64, norm; pool 3x3/2
///   layer1    (3x3, 64; 3x3, 64)     x 2, 3      (1x1, 64; 3x3, 64; 1x1, 256)      x 3, 3, 3
///   layer2    (3x3, 128; 3x3, 128)   x 2, 4      (1x1, 128; 3x3, 128; 1x1, 512)    x 4, 4, 8
///   layer3    (3x3, 256; 3x3, 256)   x 2, 6      (1x1, 256; 3x3, 256; 1x1, 1024)   x 6, 23, 36
///   layer4    (3x3, 512; 3x3, 512)   x 2, 3      (1x1, 512; 3x3, 512; 1x1, 2048)   x 3, 3, 3
///   fc        global average, linear
///   parameters 11,689,512 21,797,672             25,557,032 44,549,160 60,192,808
///
/// It is torchvision's: layers 2 to 4 halve the image in the first 3x3 of a bottleneck, "v1.5". The listing of "Dive
/// into Deep Learning" has convolutions with bias and shortcuts without normalisation. For segmentation,
/// output_stride 16 dilates layer4 by 2 instead of striding, 8 also layer3, by 2 and 4 (Yu and Koltun 2016; the first
/// block of a stage has the dilation of the stage before, as in torchvision), times multi_grid in layer4 (Chen et al.
/// 2017). For images as small as CIFAR's small_stem leaves out what would reduce them before layer1.
///
/// Initial values: Kaiming-normal convolutions by what they feed. Throws ValueError for another depth or output_stride,
/// for small_stem with deep_stem or an output_stride, or a width that leaves no channels.
template <class Scalar = float>
Sequential<Scalar> resnet(Index depth, const ResNetOptions& options = {}) {
  auto [net, channels] = detail::resnet_features<Scalar>(depth, options);
  net.add("avgpool", AdaptiveAvgPool2d<Scalar>(1));
  net.add("", Flatten<Scalar>());
  Linear<Scalar> fc(channels, options.classes);
  if (options.form == Form::listing) init::xavier_uniform(fc.weight.value);
  net.add("fc", std::move(fc));
  return std::move(net);
}

/// Options of resnet_cifar.
struct ResNetCifarOptions {
  Index in_channels = 3;       ///< of the images
  Index classes = 10;          ///< K
  double width = 1;            ///< factor of all channels
  bool projections = false;    ///< 1x1 convolutions where a shortcut changes shape (option B), not zeros (A)
  BatchNormOptions norm = {};  ///< of all norms
};

/// The ResNet for CIFAR (He, Zhang, Ren, Sun 2016, section 4.2) of depth 6 n + 2, as 20, 32, 44, 56 and 110: images
/// [N, in_channels, H, W], made for 32 x 32 -> logits [N, classes].
///
///   conv1     3x3, 16, norm
///   layer1    (3x3, 16; 3x3, 16) x n
///   layer2    (3x3, 32; 3x3, 32) x n, the first with stride 2
///   layer3    (3x3, 64; 3x3, 64) x n, the first with stride 2
///   fc        global average, linear
///   parameters of depth 20, 32, 44, 56, 110: 269,722 464,154 658,586 853,018 1,727,962
///
/// Shortcuts have no parameters, see ResidualBlock. Names and initial values are those of resnet(). Throws ValueError
/// for another depth or a width that leaves no channels.
template <class Scalar = float>
Sequential<Scalar> resnet_cifar(Index depth, const ResNetCifarOptions& options = {}) {
  require(depth >= 8 && depth % 6 == 2, "resnet_cifar: expected a depth of 6 n + 2, as 20, 32, 44, 56 or 110, got ",
          depth);
  Index in = detail::scaled("resnet_cifar", 16, options.width);
  Sequential<Scalar> net{{"conv1", Conv2d<Scalar>(options.in_channels, in, 3, {.padding = 1, .bias = false})},
                         {"bn1", BatchNorm2d<Scalar>(in, options.norm)},
                         {"", ReLU<Scalar>()}};
  for (Index stage = 0; stage < 3; ++stage) {
    Sequential<Scalar> blocks;
    for (Index i = 0; i < (depth - 2) / 6; ++i) {
      const ResidualBlock block{.bottleneck = false,
                                .in = in,
                                .channels = detail::scaled("resnet_cifar", Index{16} << stage, options.width),
                                .stride = stage > 0 && i == 0 ? 2 : 1,
                                .dilation = 1,
                                .zero_padded = !options.projections};
      blocks.add(residual_block<Scalar>(block, {.norm = options.norm}));
      in = block.out();
    }
    net.add("layer" + std::to_string(stage + 1), std::move(blocks));
  }
  detail::initialise_resnet(net);
  net.add("avgpool", AdaptiveAvgPool2d<Scalar>(1));
  net.add("", Flatten<Scalar>());
  net.add("fc", Linear<Scalar>(in, options.classes));
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
