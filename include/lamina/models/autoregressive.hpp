#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/module.hpp"

/// Images pixel by pixel: likelihood and sampling for models such as pixelcnn() that give, for images [N, C, H, W] with
/// values k / (levels - 1), logits [N, C levels, H, W] of every value given those before it.
namespace lamina {

/// The levels 0 .. levels - 1 of images [N, C, H, W] with values in [0, 1]: the targets [N, C, H, W] of a model. Throws
/// ValueError for fewer than 2 levels or a value that is none of k / (levels - 1), naming it.
template <class Scalar>
Labels pixel_levels(const Tensor<Scalar>& images, Index levels) {
  detail::require(levels >= 2, "pixel_levels: expected at least 2 levels, got ", levels);
  const auto scale = static_cast<double>(levels - 1);
  Labels result(images.shape());
  std::int32_t* const out = result.data();
  for (Index i = 0; i < images.numel(); ++i) {
    const double value = static_cast<double>(images.data()[i]) * scale, level = std::round(value);
    detail::require(level >= 0 && level <= scale && std::abs(value - level) < 1e-3, "pixel_levels: ", images.data()[i],
                    " at position ", i, " is none of ", levels, " levels from 0 to 1; quantize() makes it one");
    out[i] = static_cast<std::int32_t>(level);
  }
  return result;
}

/// Images with values in [0, 1] rounded to the nearest of `levels` values k / (levels - 1).
template <class Scalar>
Tensor<Scalar> quantize(Tensor<Scalar> images, Index levels) {
  detail::require(levels >= 2, "quantize: expected at least 2 levels, got ", levels);
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
  detail::require<ShapeError>(shape.rank() == 4 && pixels.rank() == 4 && shape[0] == pixels[0] &&
                                  shape[1] % pixels[1] == 0 && shape.tail(2) == pixels.tail(2),
                              "pixel_loss: expected logits [N, C levels, H, W] for targets ", pixels, ", got shape ",
                              shape);
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

struct SampleOptions {
  Index levels = 256;
  double temperature = 1;  ///< divides the logits; towards 0 the likeliest value is taken
  Index top_k = 0;         ///< choose among the k likeliest values only, of equal ones the lowest first; 0: all
  std::uint64_t seed = 0;
  Index given = 0;          ///< so many pixels, in raster order, are those of the images handed in
  bool incremental = true;  ///< false: a forward pass over all pixels for every value, to compare with
  std::function<void(Index done, Index pixels)> progress = {};
};

namespace detail {

/// An index drawn with probability softmax(logits / temperature), among the top_k largest, by the inverse of the
/// distribution function at u; -1 if the logits have no softmax: one is NaN, or the largest is infinite.
template <class Scalar>
Index draw(const Scalar* logits, const SampleOptions& options, double u, std::vector<double>& p) {
  p.assign(logits, logits + options.levels);
  const double largest = *std::max_element(p.begin(), p.end());
  if (!is_finite(largest) || std::any_of(p.begin(), p.end(), [](double x) { return is_nan(x); })) return -1;
  if (options.top_k > 0 && options.top_k < options.levels) {
    std::vector<double> sorted = p;
    std::nth_element(sorted.begin(), sorted.begin() + options.top_k - 1, sorted.end(), std::greater<>());
    const double least = sorted[static_cast<std::size_t>(options.top_k - 1)];
    Index equal = options.top_k - std::count_if(p.begin(), p.end(), [least](double x) { return x > least; });
    for (double& value : p)
      if (value < least || (value == least && equal-- <= 0)) value = -std::numeric_limits<double>::infinity();
  }
  double sum = 0;
  for (double& value : p) sum += value = std::exp((value - largest) / options.temperature);
  double below = 0;
  Index last = 0;  // with some probability
  for (Index k = 0; k < options.levels; ++k) {
    const double share = p[static_cast<std::size_t>(k)];
    if (share == 0) continue;
    last = k;
    below += share;
    if (u * sum < below) break;
  }
  return last;
}

/// What of the images x [N, C, H, W] lies at a pixel, as [N, C, 1, 1].
template <class Scalar>
Tensor<Scalar> pixel_of(const Tensor<Scalar>& x, Pixel at) {
  const Index n = x.dim(0) * x.dim(1), plane = x.dim(2) * x.dim(3);
  Tensor<Scalar> result({x.dim(0), x.dim(1), 1, 1});
  Scalar* const out = result.data();
  for (Index i = 0; i < n; ++i) out[i] = x.data()[i * plane + at.row * x.dim(3) + at.column];
  return result;
}

}  // namespace detail

/// The incremental form of a model for images [N, C, H, W]. Throws StateError naming the layer if one has no such form,
/// or lets a pixel see itself.
template <class Scalar>
std::unique_ptr<Incremental<Scalar>> incremental_model(const Module<Scalar>& model, const Shape& images) {
  Scan scan{images[0], images[2], images[3]};
  auto form = model.incremental(scan);
  detail::require<StateError>(form != nullptr, model.name(), " has no incremental form");
  detail::require<StateError>(!scan.sees_pixel, model.name(), " is not causal: ", scan.through,
                              " passes on the pixel that is to be predicted; the first layer must be a MaskedConv2d of "
                              "type A");
  return form;
}

/// Completes images [N, C, H, W] with values k / (levels - 1): the first options.given pixels stay, the others are
/// drawn from the model in raster order. The same seed gives the same images, for any number of threads and with or
/// without the incremental form, which costs about one forward pass in all where the other costs one for each value.
///
/// `condition` [N, K], if given, is what the model sees beside the images, as K further input channels of the same
/// value everywhere (a class as one-hot). Throws ValueError for levels below 2, a temperature that is not positive,
/// top_k outside [0, levels] or `given` outside the image; ShapeError for other images than the model takes, or logits
/// of another number; StateError for a model that is not causal (see incremental_model); NumericalError where logits
/// have no softmax (NaN, infinity).
template <class Scalar>
Tensor<Scalar> complete(const Module<Scalar>& model, Tensor<Scalar> images, const SampleOptions& options,
                        const Tensor<std::type_identity_t<Scalar>>& condition = {}) {
  const Shape shape = images.shape();
  detail::require<ShapeError>(shape.rank() == 4, "complete: expected images [N, C, H, W], got shape ", shape);
  const Index n = shape[0], colours = shape[1], columns = shape[3], pixels = shape[2] * columns;
  const Index levels = options.levels, extra = condition.empty() ? 0 : condition.dim(1);
  detail::require(levels >= 2, "complete: expected at least 2 levels, got ", levels);
  detail::require(options.temperature > 0, "complete: the temperature must be positive, got ", options.temperature);
  detail::require(options.top_k >= 0 && options.top_k <= levels, "complete: top_k must be in [0, ", levels, "], got ",
                  options.top_k);
  detail::require(options.given >= 0 && options.given <= pixels, "complete: expected 0 to ", pixels,
                  " given pixels, got ", options.given);
  detail::require<ShapeError>(extra == 0 || (condition.rank() == 2 && condition.dim(0) == n),
                              "complete: expected a condition [", n, ", K], got shape ", condition.shape());
  Tensor<Scalar> x = Tensor<Scalar>::zeros({n, colours + extra, shape[2], columns});
  const Shape logits_shape = model.output_shape(x.shape()), expected{n, colours * levels, shape[2], columns};
  detail::require<ShapeError>(logits_shape == expected, "complete: expected logits ", expected, " for ", colours,
                              " channels of ", levels, " levels, the model gives ", logits_shape);
  for (Index i = 0; i < n; ++i) {
    for (Index c = 0; c < colours; ++c)
      std::copy_n(std::as_const(images).data() + (i * colours + c) * pixels, options.given,
                  x.data() + (i * (colours + extra) + c) * pixels);
    for (Index k = 0; k < extra; ++k)
      std::fill_n(x.data() + (i * (colours + extra) + colours + k) * pixels, pixels, condition.data()[i * extra + k]);
  }

  const auto form = incremental_model(model, x.shape());
  const Random random(options.seed);
  std::vector<double> memory;
  for (Index pixel = 0; pixel < pixels; ++pixel) {
    const Pixel at{pixel / columns, pixel % columns};
    const bool given = pixel < options.given;
    for (Index c = 0; c < colours; ++c) {
      if (given && (c > 0 || !options.incremental)) continue;
      // A given pixel is known as a whole: one step, for what the layers keep.
      const Tensor<Scalar> logits =
          options.incremental ? form->step(detail::pixel_of(x, at), at) : detail::pixel_of(model.infer(x), at);
      for (Index i = 0; i < n && !given; ++i) {
        const double u =
            random.split(static_cast<std::uint64_t>(pixel * colours + c), static_cast<std::uint64_t>(i)).uniform();
        const Index level = detail::draw(logits.data() + (i * colours + c) * levels, options, u, memory);
        detail::require<NumericalError>(level >= 0, "complete: the model's logits are not finite for sample ", i,
                                        ", channel ", c, " at row ", at.row, ", column ", at.column,
                                        ": look for NaN in its weights, or a training run that diverged");
        x.data()[(i * (colours + extra) + c) * pixels + pixel] =
            static_cast<Scalar>(level) / static_cast<Scalar>(levels - 1);
      }
    }
    if (options.incremental) form->settle(detail::pixel_of(x, at), at);
    if (options.progress) options.progress(pixel + 1, pixels);
  }
  for (Index i = 0; i < n; ++i)
    std::copy_n(std::as_const(x).data() + i * (colours + extra) * pixels, colours * pixels,
                images.data() + i * colours * pixels);
  return images;
}

/// Images of a shape [N, C, H, W] drawn from a model: complete() with nothing given.
template <class Scalar>
Tensor<Scalar> sample(const Module<Scalar>& model, const Shape& images, const SampleOptions& options,
                      const Tensor<std::type_identity_t<Scalar>>& condition = {}) {
  SampleOptions all = options;
  all.given = 0;
  return complete(model, Tensor<Scalar>::zeros(images), all, condition);
}

}  // namespace lamina
