#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/random.hpp"
#include "lamina/incremental/form.hpp"
#include "lamina/nn/logistic_mixture.hpp"

/// Images drawn pixel by pixel from models such as pixelcnn() that give, for images [N, C, H, W] with values
/// k / (levels - 1), logits [N, C levels, H, W] of every value given those before it; or as PixelCNNPlusPlus, that give
/// parameters of mixtures of logistics for each pixel given those before it.
namespace lamina::inline LAMINA_ABI {

/// Options of sample and complete.
struct SampleOptions {
  Index levels = 256;       ///< values that a pixel can take
  Index mixtures = 0;       ///< logistics in a mixture, for models as PixelCNNPlusPlus; 0: the model gives logits
  double temperature = 1;   ///< divides the logits; towards 0 the likeliest value is taken
  Index top_k = 0;          ///< choose among the k likeliest values only, of equal ones the lowest first; 0: all
  std::uint64_t seed = 0;   ///< of the draws; a value depends on it, the image's number and the place alone
  Index given = 0;          ///< so many pixels, in raster order, are those of the images handed in
  Labels mask = {};         ///< [H, W], or empty: where it is not 0, pixels are those of the images, too
  bool incremental = true;  ///< false: a forward pass over all pixels for every value, to compare with
  std::function<void(Index done, Index pixels)> progress = {};  ///< called with the pixels that are done, and all
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

}  // namespace detail

/// Completes images [N, C, H, W] with values k / (levels - 1): the first options.given pixels and those of options.mask
/// stay, the others are drawn from the model in raster order, each given those before it. The same seed gives the same
/// images, for any number of threads and with or without the incremental form, which costs about one forward pass in
/// all where the other costs one for each value.
///
/// `condition`, if given, is what the model sees beside the images as K further input channels: [N, K], of the same
/// value everywhere (a class as one-hot), or a map [N, K, H, W]. Throws ValueError for levels below 2, a temperature
/// that is not positive, top_k outside [0, levels], or other than 0 with mixtures, or `given` outside the image;
/// ShapeError for other images than the model takes, a mask of another size, or logits of another number; StateError
/// for a model that is not causal (see Causality) or, for the incremental form, cannot be computed pixel by pixel;
/// NumericalError where logits have no softmax (NaN, infinity).
template <class Scalar>
Tensor<Scalar> complete(const Module<Scalar>& model, Tensor<Scalar> images, const SampleOptions& options,
                        const Tensor<std::type_identity_t<Scalar>>& condition = {}) {
  const Shape shape = images.shape();
  require<ShapeError>(shape.rank() == 4, "complete: expected images [N, C, H, W], got shape ", shape);
  const Index n = shape[0], colours = shape[1], columns = shape[3], pixels = shape[2] * columns;
  const Index levels = options.levels, extra = condition.empty() ? 0 : condition.dim(1);
  require(levels >= 2, "complete: expected at least 2 levels, got ", levels);
  require(options.temperature > 0, "complete: the temperature must be positive, got ", options.temperature);
  require(options.top_k >= 0 && options.top_k <= levels, "complete: top_k must be in [0, ", levels, "], got ",
          options.top_k);
  require(options.given >= 0 && options.given <= pixels, "complete: expected 0 to ", pixels, " given pixels, got ",
          options.given);
  const Shape size = shape.tail(2);
  require<ShapeError>(options.mask.empty() || options.mask.shape() == size, "complete: expected a mask ", size,
                      " for images ", shape, ", got shape ", options.mask.shape());
  const auto stays = [&](Index pixel) {
    return pixel < options.given || (!options.mask.empty() && options.mask.data()[pixel] != 0);
  };
  const bool map = condition.rank() == 4;
  require<ShapeError>(extra == 0 || ((condition.rank() == 2 || (map && condition.shape().tail(2) == shape.tail(2))) &&
                                     condition.dim(0) == n),
                      "complete: expected a condition [", n, ", K] or [", n, ", K, ", shape[2], ", ", columns,
                      "], got shape ", condition.shape());
  Tensor<Scalar> x = Tensor<Scalar>::zeros({n, colours + extra, shape[2], columns});
  const bool mixed = options.mixtures > 0;
  require(!mixed || options.top_k == 0, "complete: top_k chooses among logits, of mixtures there are none");
  const Index results = mixed ? logistic_mixture_parameters(colours, options.mixtures) : colours * levels;
  const Shape logits_shape = model.output_shape(x.shape()), expected{n, results, shape[2], columns};
  require<ShapeError>(logits_shape == expected, "complete: expected ", mixed ? "parameters " : "logits ", expected,
                      " for ", colours, " channels of ", mixed ? options.mixtures : levels,
                      mixed ? " mixtures" : " levels", ", the model gives ", logits_shape);
  for (Index i = 0; i < n; ++i) {
    for (Index c = 0; c < colours; ++c)
      for (Index p = 0; p < pixels; ++p)
        if (stays(p))
          x.data()[(i * (colours + extra) + c) * pixels + p] =
              std::as_const(images).data()[(i * colours + c) * pixels + p];
    for (Index k = 0; k < extra; ++k) {
      Scalar* const to = x.data() + (i * (colours + extra) + colours + k) * pixels;
      map ? std::copy_n(condition.data() + (i * extra + k) * pixels, pixels, to)
          : std::fill_n(to, pixels, condition.data()[i * extra + k]);
    }
  }

  const Given given = mixed ? Given::none : Given::colours;
  std::optional<Incremental<Scalar>> form;
  if (options.incremental)
    form.emplace(model, x, colours, given);
  else
    Causality<Scalar>(record(model, x.shape()), colours).check(given);
  const Random random(options.seed);
  std::vector<double> memory;
  for (Index pixel = 0; pixel < pixels; ++pixel) {
    const Pixel at{pixel / columns, pixel % columns};
    const auto here = [&] { return pixels_of(x, n, at, 1); };
    const auto results_for = [&](Index c) {
      return form ? form->step(here(), at, c) : pixels_of(model.infer(x), n, at, 1);
    };
    const auto set = [&](Index i, Index c, Index level) {
      require<NumericalError>(level >= 0, "complete: the model's logits are not finite for sample ", i, ", channel ", c,
                              " at row ", at.row, ", column ", at.column,
                              ": look for NaN in its weights, or a training run that diverged");
      x.data()[(i * (colours + extra) + c) * pixels + pixel] =
          static_cast<Scalar>(level) / static_cast<Scalar>(levels - 1);
    };
    const auto random_of = [&](Index place, Index i) {
      return random.split(static_cast<std::uint64_t>(place), static_cast<std::uint64_t>(i));
    };
    for (Index c = 0; c < colours && !stays(pixel) && !mixed; ++c) {
      const Tensor<Scalar> logits = results_for(c);
      for (Index i = 0; i < n; ++i)
        set(i, c,
            detail::draw(logits.data() + (i * colours + c) * levels, options,
                         random_of(pixel * colours + c, i).uniform(), memory));
    }
    if (mixed && !stays(pixel)) {
      const Tensor<Scalar> parameters = results_for(0);
      for (Index i = 0; i < n; ++i) {
        const auto level = draw_logistic_mixture(parameters.data() + i * results, colours, options.mixtures, levels,
                                                 options.temperature, random_of(pixel, i));
        for (Index c = 0; c < colours; ++c) set(i, c, level[static_cast<std::size_t>(c)]);
      }
    }
    if (form) form->step(here(), at, colours);
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

}  // namespace lamina::inline LAMINA_ABI
