#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include "lamina/data/transforms.hpp"

/// Changes of an image's colours by a given amount: images [C, H, W] of 1 or 3 channels (RGB) with values in [0, 1], as
/// torchvision.transforms.functional computes them. ColorJitter and RandAugment draw the amounts. All throw ShapeError
/// for another shape.
namespace lamina::inline LAMINA_ABI {

namespace detail {

template <class Scalar>
void require_color(const char* who, const Tensor<Scalar>& image) {
  require_image(who, image);
  if (image.dim(0) != 1 && image.dim(0) != 3)
    throw ShapeError(text(who, ": expected 1 or 3 channels, got shape ", image.shape()));
}

template <class Scalar>
void require_factor(const char* who, const Tensor<Scalar>& image, double factor) {
  require_color(who, image);
  require(factor >= 0, who, ": the factor must not be negative, got ", factor);
}

template <class Scalar>
Scalar unit(Scalar x) {
  return std::clamp(x, Scalar(0), Scalar(1));
}

/// The luminance of a pixel of an image with planes of that many values.
template <class Scalar>
Scalar luminance(const Scalar* x, Index plane) {
  return Scalar(0.2989) * x[0] + Scalar(0.587) * x[plane] + Scalar(0.114) * x[2 * plane];
}

/// f(x) of every value.
template <class Scalar, class F>
Tensor<Scalar> each_value(Tensor<Scalar> image, F f) {
  Tensor<Scalar> result = std::move(image);
  std::transform(result.data(), result.data() + result.numel(), result.data(), f);
  return result;
}

/// f(x, plane) changes each pixel of an image of 3 channels, whose values are x[0], x[plane] and x[2 plane].
template <class Scalar, class F>
Tensor<Scalar> each_pixel(Tensor<Scalar> image, F f) {
  const Index plane = image.dim(1) * image.dim(2);
  Tensor<Scalar> result = std::move(image);
  for (Scalar *x = result.data(), *end = x + plane; x != end; ++x) f(x, plane);
  return result;
}

/// f(x, plane) changes each channel, whose values are x[0] to x[plane - 1].
template <class Scalar, class F>
Tensor<Scalar> each_channel(Tensor<Scalar> image, F f) {
  const Index plane = image.dim(1) * image.dim(2);
  Tensor<Scalar> result = std::move(image);
  for (Scalar *x = result.data(), *end = x + result.numel(); x != end; x += plane) f(x, plane);
  return result;
}

/// A value in [0, 1] as one of 256 levels.
template <class Scalar>
std::uint8_t level(Scalar x) {
  return static_cast<std::uint8_t>(x > 0 ? std::min(x, Scalar(1)) * 255 + Scalar(0.5) : Scalar(0));
}

}  // namespace detail

/// factor x, clamped to [0, 1]. Throws ValueError for a negative factor.
template <class Scalar>
Tensor<Scalar> adjust_brightness(Tensor<Scalar> image, double factor) {
  detail::require_factor("adjust_brightness", image, factor);
  return detail::each_value(std::move(image),
                            [f = static_cast<Scalar>(factor)](Scalar x) { return detail::unit(f * x); });
}

/// factor x + (1 - factor) m, clamped to [0, 1], with the image's mean luminance m. Throws ValueError for a negative
/// factor.
template <class Scalar>
Tensor<Scalar> adjust_contrast(Tensor<Scalar> image, double factor) {
  detail::require_factor("adjust_contrast", image, factor);
  const Index plane = image.dim(1) * image.dim(2);
  double sum = 0;
  for (const Scalar *x = std::as_const(image).data(), *end = x + plane; x != end; ++x)
    sum += static_cast<double>(image.dim(0) == 3 ? detail::luminance(x, plane) : *x);
  const auto f = static_cast<Scalar>(factor);
  const auto rest = static_cast<Scalar>((1 - factor) * sum / static_cast<double>(plane));
  return detail::each_value(std::move(image), [=](Scalar x) { return detail::unit(f * x + rest); });
}

/// factor x + (1 - factor) luminance, clamped to [0, 1]; of one channel the image. Throws ValueError for a negative
/// factor.
template <class Scalar>
Tensor<Scalar> adjust_saturation(Tensor<Scalar> image, double factor) {
  detail::require_factor("adjust_saturation", image, factor);
  if (image.dim(0) == 1) return image;
  const auto own = static_cast<Scalar>(factor), rest = static_cast<Scalar>(1 - factor);
  return detail::each_pixel(std::move(image), [=](Scalar* x, Index plane) {
    const Scalar grey = rest * detail::luminance(x, plane);
    for (Index c = 0; c < 3; ++c) x[c * plane] = detail::unit(own * x[c * plane] + grey);
  });
}

/// Turns the hue, in HSV, by a share of the circle from -0.5 to 0.5; of one channel the image. Throws ValueError for
/// another share.
template <class Scalar>
Tensor<Scalar> adjust_hue(Tensor<Scalar> image, double share) {
  detail::require_color("adjust_hue", image);
  require(share >= -0.5 && share <= 0.5, "adjust_hue: the share must be in [-0.5, 0.5], got ", share);
  if (image.dim(0) == 1) return image;
  return detail::each_pixel(std::move(image), [=](Scalar* x, Index plane) {
    Scalar &r = x[0], &g = x[plane], &b = x[2 * plane];
    const Scalar value = std::max({r, g, b}), range = value - std::min({r, g, b});
    if (range == 0) return;  // grey has no hue
    const Scalar sextant = value == r ? (g - b) / range : value == g ? 2 + (b - r) / range : 4 + (r - g) / range;
    Scalar hue = sextant / 6 + static_cast<Scalar>(share);
    hue = (hue - std::floor(hue)) * 6;  // in [0, 6]
    const auto i = static_cast<int>(hue);
    const Scalar part = hue - static_cast<Scalar>(i), saturation = range / value;
    const Scalar low = detail::unit(value * (1 - saturation)), falls = detail::unit(value * (1 - saturation * part));
    const Scalar rises = detail::unit(value * (1 - saturation * (1 - part)));
    switch (i % 6) {
      case 0:
        r = value, g = rises, b = low;
        break;
      case 1:
        r = falls, g = value, b = low;
        break;
      case 2:
        r = low, g = value, b = rises;
        break;
      case 3:
        r = low, g = falls, b = value;
        break;
      case 4:
        r = rises, g = low, b = value;
        break;
      default:
        r = value, g = low, b = falls;
    }
  });
}

/// factor x + (1 - factor) smooth, clamped to [0, 1]: smooth is the average over 3 x 3 pixels, the middle one counted
/// five times, and at the edges the image itself. Throws ValueError for a negative factor.
template <class Scalar>
Tensor<Scalar> adjust_sharpness(Tensor<Scalar> image, double factor) {
  detail::require_factor("adjust_sharpness", image, factor);
  const Index rows = image.dim(1), columns = image.dim(2);
  if (rows <= 2 || columns <= 2) return image;
  const auto own = static_cast<Scalar>(factor), rest = static_cast<Scalar>(1 - factor);
  Tensor<Scalar> result = image;
  Scalar* const out = result.data();
  for (Index c = 0; c < image.dim(0); ++c)
    for (Index y = 0; y < rows; ++y)
      for (Index x = 0; x < columns; ++x) {
        const Index at = (c * rows + y) * columns + x;
        const Scalar* const in = std::as_const(image).data() + at;
        Scalar smooth = *in;
        if (y > 0 && y < rows - 1 && x > 0 && x < columns - 1) {
          smooth = 4 * *in;
          for (Index dy = -1; dy <= 1; ++dy)
            for (Index dx = -1; dx <= 1; ++dx) smooth += in[dy * columns + dx];
          smooth /= 13;
        }
        out[at] = detail::unit(own * *in + rest * smooth);
      }
  return result;
}

/// Keeps the highest `bits` of the 8 with which a value is one of 256 levels. Throws ValueError for less than 0 or more
/// than 8.
template <class Scalar>
Tensor<Scalar> posterize(Tensor<Scalar> image, int bits) {
  detail::require_color("posterize", image);
  require(bits >= 0 && bits <= 8, "posterize: bits must be 0 to 8, got ", bits);
  return detail::each_value(std::move(image), [mask = 0xff << (8 - bits) & 0xff](Scalar x) {
    return static_cast<Scalar>(detail::level(x) & mask) / Scalar(255);
  });
}

/// 1 - x where x reaches the threshold.
template <class Scalar>
Tensor<Scalar> solarize(Tensor<Scalar> image, double threshold) {
  detail::require_color("solarize", image);
  return detail::each_value(std::move(image),
                            [t = static_cast<Scalar>(threshold)](Scalar x) { return x >= t ? 1 - x : x; });
}

/// Stretches each channel to [0, 1]; a channel of one value stays.
template <class Scalar>
Tensor<Scalar> autocontrast(Tensor<Scalar> image) {
  detail::require_color("autocontrast", image);
  return detail::each_channel(std::move(image), [](Scalar* x, Index plane) {
    const auto [least, greatest] = std::minmax_element(x, x + plane);
    const Scalar low = *least, range = *greatest - low;
    if (range > 0) std::transform(x, x + plane, x, [=](Scalar v) { return detail::unit((v - low) * (1 / range)); });
  });
}

/// Spreads the 256 levels of each channel so that all are about equally frequent, as Pillow does.
template <class Scalar>
Tensor<Scalar> equalize(Tensor<Scalar> image) {
  detail::require_color("equalize", image);
  return detail::each_channel(std::move(image), [](Scalar* x, Index plane) {
    std::array<Index, 256> count{};
    for (Index i = 0; i < plane; ++i) ++count[detail::level(x[i])];
    const auto highest = std::find_if(count.rbegin(), count.rend(), [](Index n) { return n > 0; });
    const Index step = (plane - *highest) / 255;
    std::array<Scalar, 256> to;
    Index below = 0;
    for (std::size_t i = 0; i < 256; ++i) {
      const Index spread = step == 0 ? static_cast<Index>(i) : std::min<Index>(255, (below + step / 2) / step);
      to[i] = static_cast<Scalar>(spread) / Scalar(255);
      below += count[i];
    }
    for (Index i = 0; i < plane; ++i) x[i] = to[detail::level(x[i])];
  });
}

}  // namespace lamina::inline LAMINA_ABI
