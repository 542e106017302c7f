#pragma once

#include <array>
#include <string>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/involution.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of rednet.
struct RedNetOptions {
  Index in_channels = 3;            ///< of the images
  Index classes = 1000;             ///< K
  double width = 1;                 ///< factor of all channels, which stay multiples of 16
  Index kernel_size = 7;            ///< of the involutions, but for the stem's
  Index group_channels = 16;        ///< that share a kernel
  BatchNormOptions norm = {};       ///< of all norms
  bool zero_init_residual = false;  ///< the last norm of a bottleneck starts at 0, so that it is its shortcut
  bool normal_fc = false;           ///< fc starts from N(0, 0.01²) and zeros, as in the authors' program
};

namespace detail {

/// How many bottlenecks the four stages of a RedNet have.
struct RedNetTable {
  Index depth;
  std::array<Index, 4> blocks;
};
inline const RedNetTable& rednet_table(Index depth) {
  static constexpr std::array<RedNetTable, 5> table{
      {{26, {1, 2, 4, 1}}, {38, {2, 3, 5, 2}}, {50, {3, 4, 6, 3}}, {101, {3, 4, 23, 3}}, {152, {3, 8, 36, 3}}}};
  for (const RedNetTable& row : table)
    if (row.depth == depth) return row;
  throw ValueError(text("rednet: expected depth 26, 38, 50, 101 or 152, got ", depth));
}

template <class Scalar>
Involution<Scalar> rednet_involution(Index channels, Index kernel, Index stride, const RedNetOptions& options) {
  require(options.group_channels >= 1 && channels % options.group_channels == 0,
          "rednet: group_channels = ", options.group_channels, " does not divide ", channels, " channels");
  return {channels, kernel, {.groups = channels / options.group_channels, .stride = stride, .norm = options.norm}};
}

}  // namespace detail

/// ResNet's bottleneck with an involution in place of the 3x3 convolution: relu(F(x) + shortcut(x)), F from `in` to
/// `channels` to 4 * channels.
template <class Scalar>
Sequential<Scalar> rednet_block(Index in, Index channels, Index stride, const RedNetOptions& options) {
  const Index out = 4 * channels;
  const auto norm = [&](Index c) { return BatchNorm2d<Scalar>(c, options.norm); };
  Sequential<Scalar> f{{"conv1", Conv2d<Scalar>(in, channels, 1, {.bias = false})},
                       {"bn1", norm(channels)},
                       {"", ReLU<Scalar>()},
                       {"conv2", detail::rednet_involution<Scalar>(channels, options.kernel_size, stride, options)},
                       {"bn2", norm(channels)},
                       {"", ReLU<Scalar>()},
                       {"conv3", Conv2d<Scalar>(channels, out, 1, {.bias = false})},
                       {"bn3", norm(out)}};
  if (options.zero_init_residual) f.template get<BatchNorm2d<Scalar>>(f.size() - 1).weight.value.fill(0);
  Child<Scalar> shortcut("", Identity<Scalar>());
  if (stride != 1 || in != out)
    shortcut = Child<Scalar>(
        "downsample", Sequential<Scalar>{Conv2d<Scalar>(in, out, 1, {.stride = stride, .bias = false}), norm(out)});
  return {{"", Sum<Scalar>{{"", std::move(f)}, std::move(shortcut)}}, {"", ReLU<Scalar>()}};
}

/// RedNet (Li et al. 2021, section 4.1) of depth 26, 38, 50, 101 or 152: ResNet whose bottlenecks have an involution,
/// 7x7 with 16 channels to a group and reduction 4, where ResNet has a 3x3 convolution; images [N, in_channels, H, W]
/// of any size -> logits [N, classes].
///
///   stem      3x3/2, 32; involution 3x3, 32; 3x3, 64; pool 3x3/2
///   layer1    (1x1, 64;  involution; 1x1, 256)     x 1, 2, 3, 3, 3
///   layer2    (1x1, 128; involution; 1x1, 512)     x 2, 3, 4, 4, 8
///   layer3    (1x1, 256; involution; 1x1, 1024)    x 4, 5, 6, 23, 36
///   layer4    (1x1, 512; involution; 1x1, 2048)    x 1, 2, 3, 3, 3
///   fc        global average, linear
///
/// Layers 2 to 4 halve the image in their first involution. Keys are those of the paper's program, less "backbone."
/// and "head.". Initial values: Kaiming-normal convolutions by what they feed, zero biases; see the options. Throws
/// ValueError for another depth, a width that leaves no channels, or group_channels that do not divide them.
template <class Scalar = float>
Sequential<Scalar> rednet(Index depth, const RedNetOptions& options = {}) {
  const detail::RedNetTable& table = detail::rednet_table(depth);
  const auto scaled = [&](Index channels) { return 16 * detail::scaled("rednet", channels / 16, options.width); };
  const Index half = scaled(32);
  Index in = scaled(64);
  const auto convolution = [&](Index from, Index to, Index stride) {
    return detail::conv_norm<Scalar>(from, to, 3, {.stride = stride, .norm = options.norm, .keys = {"conv", "bn", ""}},
                                     ReLU<Scalar>());
  };
  Sequential<Scalar> net{
      {"stem", Sequential<Scalar>{convolution(options.in_channels, half, 2),
                                  detail::rednet_involution<Scalar>(half, 3, 1, options),
                                  BatchNorm2d<Scalar>(half, options.norm), ReLU<Scalar>(), convolution(half, in, 1)}},
      {"maxpool", MaxPool2d<Scalar>(3, {.stride = 2, .padding = 1})}};
  for (Index stage = 0; stage < 4; ++stage) {
    const Index channels = scaled(Index{64} << stage);
    Sequential<Scalar> blocks;
    for (Index i = 0; i < table.blocks[static_cast<std::size_t>(stage)]; ++i, in = 4 * channels)
      blocks.add(rednet_block<Scalar>(in, channels, i == 0 && stage > 0 ? 2 : 1, options));
    net.add("layer" + std::to_string(stage + 1), std::move(blocks));
  }
  detail::initialise(
      net, [](Tensor<Scalar>& w) { init::kaiming_normal(w, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"}); },
      [](Tensor<Scalar>&) {});
  net.add("avgpool", AdaptiveAvgPool2d<Scalar>(1));
  net.add("", Flatten<Scalar>());
  Linear<Scalar> fc(in, options.classes);
  if (options.normal_fc) {
    init::normal(fc.weight.value, 0, 0.01);
    fc.bias.value.fill(0);
  }
  net.add("fc", std::move(fc));
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
