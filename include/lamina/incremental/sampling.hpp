#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/core/random.hpp"
#include "lamina/incremental/form.hpp"
#include "lamina/kernels/softmax.hpp"
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
  std::function<void(Index done, Index pixels)> progress = {};  ///< called with the pixels of each
                                                                ///< image that are done, and all; by one thread at a
                                                                ///< time, perhaps another than the caller's
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
  for (double& value : p) value = (value - largest) / options.temperature;
  kernels::softmax<false>(1, options.levels, 1, p.data(), p.data());
  double below = 0;
  Index last = 0;  // with some probability
  for (Index k = 0; k < options.levels; ++k) {
    const double share = p[static_cast<std::size_t>(k)];
    if (share == 0) continue;
    last = k;
    below += share;
    if (u < below) break;
  }
  return last;
}

/// complete(), whose options and sizes are checked first.
template <class Scalar>
class Completion {
 public:
  Completion(const Module<Scalar>& model, const Tensor<Scalar>& images, const SampleOptions& options,
             const Tensor<Scalar>& condition)
      : model_(model), images_(images), options_(options), condition_(condition) {
    const Shape& shape = images.shape();
    require<ShapeError>(shape.rank() == 4, "complete: expected images [N, C, H, W], got shape ", shape);
    n_ = shape[0], colours_ = shape[1], columns_ = shape[3], pixels_ = shape[2] * columns_;
    extra_ = condition.empty() ? 0 : condition.dim(1);
    const Index levels = options.levels;
    require(levels >= 2, "complete: expected at least 2 levels, got ", levels);
    require(options.temperature > 0, "complete: the temperature must be positive, got ", options.temperature);
    require(options.top_k >= 0 && options.top_k <= levels, "complete: top_k must be in [0, ", levels, "], got ",
            options.top_k);
    require(options.given >= 0 && options.given <= pixels_, "complete: expected 0 to ", pixels_, " given pixels, got ",
            options.given);
    const Shape size = shape.tail(2);
    require<ShapeError>(options.mask.empty() || options.mask.shape() == size, "complete: expected a mask ", size,
                        " for images ", shape, ", got shape ", options.mask.shape());
    map_ = condition.rank() == 4;
    require<ShapeError>(extra_ == 0 || ((condition.rank() == 2 || (map_ && condition.shape().tail(2) == size)) &&
                                        condition.dim(0) == n_),
                        "complete: expected a condition [", n_, ", K] or [", n_, ", K, ", shape[2], ", ", columns_,
                        "], got shape ", condition.shape());
    mixed_ = options.mixtures > 0;
    require(!mixed_ || options.top_k == 0, "complete: top_k chooses among logits, of mixtures there are none");
    results_ = mixed_ ? logistic_mixture_parameters(colours_, options.mixtures) : colours_ * levels;
    const Shape logits = model.output_shape(input_shape(n_)), expected{n_, results_, shape[2], columns_};
    require<ShapeError>(logits == expected, "complete: expected ", mixed_ ? "parameters " : "logits ", expected,
                        " for ", colours_, " channels of ", mixed_ ? options.mixtures : levels,
                        mixed_ ? " mixtures" : " levels", ", the model gives ", logits);
  }

  /// The images. Each thread draws some of them, with a form of its own: they know nothing of each other.
  Tensor<Scalar> operator()() {
    Tensor<Scalar> result(images_.shape());
    Scalar* const to = result.data();
    const Index parts = std::clamp<Index>(parts_of(n_, few), 1, options_.incremental ? num_threads() : 1);
    parallel_for(0, std::max<Index>(1, n_), parts_of(std::max<Index>(1, n_), parts), [&](Index first, Index last) {
      try {
        draw_some(first, std::min(last, n_), to);
      } catch (...) {
        stopped_ = true;
        throw;
      }
    });
    return result;
  }

 private:
  static constexpr Index few = 4;  // images, that a thread is worth a look at the weights of its own

  Shape input_shape(Index n) const { return images_.shape().with(0, n).with(1, colours_ + extra_); }
  bool stays(Index pixel) const {
    return pixel < options_.given || (!options_.mask.empty() && options_.mask.data()[pixel] != 0);
  }

  /// What the model sees of some images before any pixel is drawn.
  Tensor<Scalar> inputs(Index first, Index last) const {
    Tensor<Scalar> x = Tensor<Scalar>::zeros(input_shape(last - first));
    Scalar* to = x.data();
    for (Index i = first; i < last; ++i) {
      for (Index c = 0; c < colours_; ++c, to += pixels_)
        for (Index p = 0; p < pixels_; ++p)
          if (stays(p)) to[p] = images_.data()[(i * colours_ + c) * pixels_ + p];
      for (Index k = i * extra_; k < (i + 1) * extra_; ++k, to += pixels_)
        map_ ? std::copy_n(condition_.data() + k * pixels_, pixels_, to)
             : std::fill_n(to, pixels_, condition_.data()[k]);
    }
    return x;
  }

  /// Draws images first..last-1, and puts them where all of them go.
  void draw_some(Index first, Index last, Scalar* all) {
    const Index n = last - first;
    Tensor<Scalar> x = inputs(first, last);
    const Given given = mixed_ ? Given::none : Given::colours;
    std::optional<Incremental<Scalar>> form;
    if (options_.incremental)
      form.emplace(model_, x, colours_, given);
    else
      Causality<Scalar>(record(model_, x.shape()), colours_).check(given);
    if (n == 0) return;
    const Random random(options_.seed);
    std::vector<double> memory;
    for (Index pixel = 0; pixel < pixels_ && !stopped_; ++pixel) {
      const Pixel at{pixel / columns_, pixel % columns_};
      const auto here = [&] { return pixels_of(x, n, at, 1); };
      const auto results_for = [&](Index c) {
        return form ? form->step(here(), at, c) : pixels_of(model_.infer(x), n, at, 1);
      };
      const auto set = [&](Index i, Index c, Index level) {
        require<NumericalError>(level >= 0, "complete: the model's logits are not finite for sample ", first + i,
                                ", channel ", c, " at row ", at.row, ", column ", at.column,
                                ": look for NaN in its weights, or a training run that diverged");
        x.data()[(i * (colours_ + extra_) + c) * pixels_ + pixel] =
            static_cast<Scalar>(level) / static_cast<Scalar>(options_.levels - 1);
      };
      const auto random_of = [&](Index place, Index i) {
        return random.split(static_cast<std::uint64_t>(place), static_cast<std::uint64_t>(first + i));
      };
      for (Index c = 0; c < colours_ && !stays(pixel) && !mixed_; ++c) {
        const Tensor<Scalar> logits = results_for(c);
        for (Index i = 0; i < n; ++i)
          set(i, c,
              draw(logits.data() + (i * colours_ + c) * options_.levels, options_,
                   random_of(pixel * colours_ + c, i).uniform(), memory));
      }
      if (mixed_ && !stays(pixel)) {
        const Tensor<Scalar> parameters = results_for(0);
        for (Index i = 0; i < n; ++i) {
          const auto level = draw_logistic_mixture(parameters.data() + i * results_, colours_, options_.mixtures,
                                                   options_.levels, options_.temperature, random_of(pixel, i));
          for (Index c = 0; c < colours_; ++c) set(i, c, level[static_cast<std::size_t>(c)]);
        }
      }
      if (form) form->step(here(), at, colours_);
      if (options_.progress) tell(n);
    }
    for (Index i = 0; i < n; ++i)
      std::copy_n(std::as_const(x).data() + i * (colours_ + extra_) * pixels_, colours_ * pixels_,
                  all + (first + i) * colours_ * pixels_);
  }

  /// One pixel more of so many images.
  void tell(Index n) {
    const std::lock_guard lock(telling_);
    const Index before = done_ / n_;
    done_ += n;
    if (done_ / n_ > before) options_.progress(done_ / n_, pixels_);
  }

  const Module<Scalar>& model_;
  const Tensor<Scalar>& images_;
  const SampleOptions& options_;
  const Tensor<Scalar>& condition_;
  Index n_ = 0, colours_ = 0, columns_ = 0, pixels_ = 0, extra_ = 0, results_ = 0;
  bool map_ = false, mixed_ = false;
  std::atomic<bool> stopped_{false};  // one part failed, the others may stop
  std::mutex telling_ = {};
  Index done_ = 0;  // pixels, of all images together
};

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
Tensor<Scalar> complete(const Module<Scalar>& model, const Tensor<Scalar>& images, const SampleOptions& options,
                        const Tensor<std::type_identity_t<Scalar>>& condition = {}) {
  return detail::Completion<Scalar>(model, images, options, condition)();
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
