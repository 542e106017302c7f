#pragma once

#include <optional>
#include <utility>

#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/hamburger/cd.hpp"
#include "lamina/nn/hamburger/nmf.hpp"
#include "lamina/nn/hamburger/vq.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/narrow.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/scale.hpp"
#include "lamina/nn/sum.hpp"

namespace lamina::inline LAMINA_ABI {

/// The matrix decomposition of a Hamburger: NMF, VQ or CD.
enum class HamKind { nmf, vq, cd };

/// Options of the Hamburgers; the listing's names in brackets.
struct HamburgerOptions {
  HamKind kind = HamKind::nmf;    ///< [HAM_TYPE]
  Index D = 512;                  ///< [MD_D] channels of the ham; in V2+ those of one head
  HamOptions ham{};               ///< its dimension may stay 0: C / heads and `pixels` are put in where it is needed
  Index pixels = 0;               ///< H * W, for hams in channel form that keep their bases
  double norm_momentum = 0.1;     ///< [BN_MOM] theirs is 3e-4, for sixty thousand steps; hamnet() puts it in
  bool dual = true;               ///< [DUAL] V2+: a spatial and a channel ham side by side
  std::optional<Index> cheese{};  ///< [CHEESE_FACTOR] V2+: the cheese makes C / factor channels; none: heads
  bool zero_ham = true;           ///< [ZERO_HAM] V2+: coef_ham starts at 0 instead of 1
};

namespace detail {

template <class Scalar>
class HamburgerParts {
 public:
  HamburgerParts(Index channels, const HamburgerOptions& options) : channels_(channels), options_(options) {}

  /// 1x1, N(0, 2 / out).
  static Conv2d<Scalar> convolution(Index in, Index out, bool bias) {
    Conv2d<Scalar> layer(in, out, 1, {.bias = bias});
    init::kaiming_normal(layer.weight.value, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"});
    return layer;
  }
  BatchNorm2d<Scalar> norm(Index n) const { return BatchNorm2d<Scalar>(n, {.momentum = options_.norm_momentum}); }

  Child<Scalar> lower_bread(Index out) const {
    auto layer = convolution(channels_, out, true);
    if (options_.kind == HamKind::nmf) return {"lower_bread", Sequential<Scalar>{std::move(layer), ReLU<Scalar>()}};
    return {"lower_bread", std::move(layer)};
  }
  /// A ham for so many channels.
  Child<Scalar> ham(const char* key, Index channels, bool spatial) const {
    HamOptions ham = options_.ham;
    ham.spatial = spatial;
    if (!ham.random_bases && ham.dimension == 0) ham.dimension = spatial ? channels / ham.heads : options_.pixels;
    if (options_.kind == HamKind::nmf) return {key, NMF<Scalar>(ham)};
    if (options_.kind == HamKind::vq) return {key, VQ<Scalar>(ham)};
    return {key, CD<Scalar>(ham)};
  }
  Child<Scalar> cheese(Index in, Index out) const {
    return {"cheese",
            Sequential<Scalar>{{"conv", convolution(in, out, false)}, {"bn", norm(out)}, {"act", ReLU<Scalar>()}}};
  }
  Child<Scalar> upper_bread(Index in) const { return {"upper_bread", convolution(in, channels_, false)}; }

  /// relu(body(x) + shortcut(x)).
  static Sequential<Scalar> burger(Sequential<Scalar> body, Child<Scalar> shortcut) {
    return {{"", Sum<Scalar>{{"", std::move(body)}, std::move(shortcut)}}, {"", ReLU<Scalar>()}};
  }

 private:
  Index channels_;
  const HamburgerOptions& options_;
};

}  // namespace detail

/// Hamburger (Geng et al. 2021, equation 6 and figure 1): y = relu(x + BatchNorm(W_u M(W_l x))), where M is the ham, a
/// matrix decomposition (NMF with a ReLU before it), and the breads W_l, W_u are 1x1 convolutions.
/// Shapes: x and y [N, channels, H, W]. Errors are those of the ham.
template <class Scalar = float>
Sequential<Scalar> hamburger_v1(Index channels, const HamburgerOptions& options = {}) {
  const detail::HamburgerParts<Scalar> part(channels, options);
  const Index c = options.D;
  return part.burger({part.lower_bread(c),
                      part.ham("ham", c, options.ham.spatial),
                      {"upper_bread", Sequential<Scalar>{part.convolution(c, channels, false), part.norm(channels)}}},
                     {"shortcut", Identity<Scalar>()});
}

/// The second version: cheese, a 1x1 convolution with BatchNorm and ReLU, between the ham and the upper bread, which
/// then has no norm.
template <class Scalar = float>
Sequential<Scalar> hamburger_v2(Index channels, const HamburgerOptions& options = {}) {
  const detail::HamburgerParts<Scalar> part(channels, options);
  const Index c = options.D;
  return part.burger(
      {part.lower_bread(c), part.ham("ham", c, options.ham.spatial), part.cheese(c, c), part.upper_bread(c)},
      {"shortcut", Identity<Scalar>()});
}

/// The third: y = relu(coef_ham f(x) + coef_shortcut x) with two learned numbers, f as in the second version but for
/// two hams, spatial and in channel form, each on half of the channels (if dual), and fewer channels behind the cheese.
/// The hams see heads * D channels each.
template <class Scalar = float>
Sequential<Scalar> hamburger_v2_plus(Index channels, const HamburgerOptions& options = {}) {
  const detail::HamburgerParts<Scalar> part(channels, options);
  const Index each = options.ham.heads * options.D, c = options.dual ? 2 * each : each;
  const Index factor = options.cheese.value_or(options.ham.heads) * (options.dual ? 2 : 1);
  const auto half = [&](Index start, Child<Scalar> ham) -> Child<Scalar> {
    return {"", Sequential<Scalar>{{"", Narrow<Scalar>(1, start, each)}, std::move(ham)}};
  };
  Sequential<Scalar> body{part.lower_bread(c)};
  if (options.dual)
    body.add({"", Concat<Scalar>{half(0, part.ham("ham_1", each, true)), half(each, part.ham("ham_2", each, false))}});
  else
    body.add(part.ham("ham", each, options.ham.spatial));
  body.add(part.cheese(c, c / factor));
  body.add(part.upper_bread(c / factor));
  body.add({"", Scale<Scalar>(options.zero_ham ? 0 : 1, "coef_ham")});
  return part.burger(std::move(body), {"", Scale<Scalar>(1, "coef_shortcut")});
}

}  // namespace lamina::inline LAMINA_ABI
