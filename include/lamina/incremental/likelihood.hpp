#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "lamina/nn/losses.hpp"

/// The likelihood of images by models such as pixelcnn() that give, for images [N, C, H, W] with values
/// k / (levels - 1), logits [N, C levels, H, W] of every value given those before it.
namespace lamina::inline LAMINA_ABI {

/// The levels 0 .. levels - 1 of images [N, C, H, W] with values in [0, 1]: the targets [N, C, H, W] of a model. Throws
/// ValueError for fewer than 2 levels or a value that is none of k / (levels - 1), naming it.
template <class Scalar>
Labels pixel_levels(const Tensor<Scalar>& images, Index levels) {
  require(levels >= 2, "pixel_levels: expected at least 2 levels, got ", levels);
  const auto scale = static_cast<double>(levels - 1);
  Labels result(images.shape());
  std::int32_t* const out = result.data();
  for (Index i = 0; i < images.numel(); ++i) {
    const double value = static_cast<double>(images.data()[i]) * scale, level = std::round(value);
    require(level >= 0 && level <= scale && std::abs(value - level) < 1e-3, "pixel_levels: ", images.data()[i],
            " at position ", i, " is none of ", levels, " levels from 0 to 1; quantize() makes it one");
    out[i] = static_cast<std::int32_t>(level);
  }
  return result;
}

/// Images with values in [0, 1] rounded to the nearest of `levels` values k / (levels - 1).
template <class Scalar>
Tensor<Scalar> quantize(Tensor<Scalar> images, Index levels) {
  require(levels >= 2, "quantize: expected at least 2 levels, got ", levels);
  const auto scale = static_cast<Scalar>(levels - 1);
  Tensor<Scalar> result = std::move(images);
  for (Scalar& value : result.values()) value = std::round(std::clamp(value, Scalar(0), Scalar(1)) * scale) / scale;
  return result;
}

/// The negative log-likelihood of a batch and its gradient with respect to the logits [N, C levels, H, W], in nats for
/// an image: the sum over all C H W values, averaged over the batch. `targets` are pixel_levels(images). Throws as
/// cross_entropy does.
template <class Scalar>
Loss<Scalar> pixel_loss(Tensor<Scalar> logits, const Labels& targets) {
  const Shape shape = logits.shape(), pixels = targets.shape();
  require<ShapeError>(shape.rank() == 4 && pixels.rank() == 4 && shape[0] == pixels[0] && shape[1] % pixels[1] == 0 &&
                          shape.tail(2) == pixels.tail(2),
                      "pixel_loss: expected logits [N, C levels, H, W] for targets ", pixels, ", got shape ", shape);
  auto [value, grad] =
      cross_entropy(std::move(logits).reshape({shape[0] * pixels[1], shape[1] / pixels[1], shape[2], shape[3]}),
                    targets.reshape({pixels[0] * pixels[1], pixels[2], pixels[3]}), {.reduction = Reduction::sum});
  const double samples = static_cast<double>(shape[0]);
  grad *= static_cast<Scalar>(1 / samples);
  return {value / samples, std::move(grad).reshape(shape)};
}

/// Nats for an image of so many values as bits per dimension.
inline double bits_per_dimension(double nats, Index values) {
  return nats / (static_cast<double>(values) * std::numbers::ln2);
}

}  // namespace lamina::inline LAMINA_ABI
