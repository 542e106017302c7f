#pragma once

#include <cmath>
#include <utility>

#include "lamina/nn/context/adaptive_pyramid.hpp"
#include "lamina/nn/context/attention.hpp"
#include "lamina/nn/context/co_occurrence.hpp"
#include "lamina/nn/context/dynamic_filters.hpp"
#include "lamina/nn/hamburger/hamburger.hpp"

/// Modules that give every pixel the context of the whole image, [N, channels, H, W] -> the same shape, or more
/// channels: those with which Geng et al. 2021, table 3, compare the Hamburger. For 512 channels of 128 x 128 pixels,
/// M = 1024² and multiply-adds with nothing left out:
///
///   Hamburger, NMF    0.50 M    17.6 G       dual attention     4.82 M    246 G
///   self-attention    1.00 M     292 G       double attention   1.00 M   25.8 G
///   APC (adaptive_pyramid)      1.77 M   17.6 G       DM (dynamic_pyramid)   3.01 M   35.1 G
///   ACF (CoOccurrence)          0.75 M   79.5 G
///
/// (The paper has 79.5 G for dual attention, the number of ACF; its convolutions alone are 82.7 G. And 1.01 M for
/// double attention, 2.03 M for APC: its authors' program has 1.77 M, and 2.02 M if its global_info saw all channels of
/// x.) Biases that cannot change the result, because a softmax or a norm takes them away again, are left out.
namespace lamina::inline LAMINA_ABI {

namespace detail {
/// relu(x + BatchNorm(W attention(lower(x)))), as a Hamburger whose ham is an attention.
template <class Scalar, class Attention>
Sequential<Scalar> attention_burger(Index channels, Index inner, Concat<Scalar> lower, Attention attention,
                                    double momentum) {
  HamburgerOptions options;
  options.norm_momentum = momentum;
  const HamburgerParts<Scalar> part(channels, options);
  return part.burger({{"", std::move(lower)},
                      {"", std::move(attention)},
                      {"out", Sequential<Scalar>{part.convolution(inner, channels, false), part.norm(channels)}}},
                     {"shortcut", Identity<Scalar>()});
}
template <class Scalar>
Child<Scalar> projection(const char* key, Index in, Index out, bool bias) {
  return {key, HamburgerParts<Scalar>::convolution(in, out, bias)};
}
}  // namespace detail

/// Self-attention (Vaswani et al. 2017; the non-local block of Wang et al. 2018) between 1x1 convolutions: y = relu(x +
/// BatchNorm(W_o V softmax(QᵀK / sqrt(channels))ᵀ)), where Q, K and V have as many channels as x.
template <class Scalar = float>
Sequential<Scalar> self_attention(Index channels, double norm_momentum = 0.1) {
  using detail::projection;
  return detail::attention_burger<Scalar>(
      channels, channels,
      {projection<Scalar>("query", channels, channels, true), projection<Scalar>("key", channels, channels, false),
       projection<Scalar>("value", channels, channels, false)},
      PixelAttention<Scalar>(channels, 1 / std::sqrt(static_cast<double>(channels))), norm_momentum);
}

/// A²-Net's double attention (Chen et al. 2018) between 1x1 convolutions, inside the same frame as self_attention. All
/// have as many channels as x.
template <class Scalar = float>
Sequential<Scalar> double_attention(Index channels, double norm_momentum = 0.1) {
  using detail::projection;
  return detail::attention_burger<Scalar>(channels, channels,
                                          {projection<Scalar>("features", channels, channels, false),
                                           projection<Scalar>("gather", channels, channels, false),
                                           projection<Scalar>("distribute", channels, channels, true)},
                                          GatherDistribute<Scalar>(channels), norm_momentum);
}

/// DANet's dual attention (Fu et al. 2019, figure 2): y = f_p(x + gamma_p P(x)) + f_c(x + gamma_c C(x)), where P is
/// attention between pixels with keys of channels / 8, C attention between channels, f a 3x3 convolution with BatchNorm
/// and ReLU, and the learned gammas start at 0.
template <class Scalar = float>
Sum<Scalar> dual_attention(Index channels, double norm_momentum = 0.1) {
  using detail::projection;
  require(channels >= 8, "dual_attention: expected at least 8 channels, got ", channels);
  const Index keys = channels / 8;
  const auto branch = [&](const char* key, Sequential<Scalar> attention) -> Child<Scalar> {
    attention.add("", Scale<Scalar>(0, "gamma"));
    Conv2d<Scalar> convolution(channels, channels, 3, {.padding = 1, .bias = false});
    init::kaiming_normal(convolution.weight.value, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"});
    return {key, Sequential<Scalar>{{"attention", Sum<Scalar>{{"", std::move(attention)}, {"", Identity<Scalar>()}}},
                                    {"conv", std::move(convolution)},
                                    {"bn", BatchNorm2d<Scalar>(channels, {.momentum = norm_momentum})},
                                    {"act", ReLU<Scalar>()}}};
  };
  return {branch("position", {{"", Concat<Scalar>{projection<Scalar>("query", channels, keys, true),
                                                  projection<Scalar>("key", channels, keys, false),
                                                  projection<Scalar>("value", channels, channels, true)}},
                              {"", PixelAttention<Scalar>(keys)}}),
          branch("channel", {{"", ChannelAttention<Scalar>()}})};
}

}  // namespace lamina::inline LAMINA_ABI
