#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/nn/interpolate.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/train/metrics.hpp"

/// Semantic segmentation: testing at several sizes, and the measures.
namespace lamina::inline LAMINA_ABI {

/// What is averaged over the sizes of an image.
enum class MultiScaleAverage {
  logits,        ///< as in the authors' test program
  probabilities  ///< their softmax
};

/// Options of multi_scale_probabilities.
struct MultiScaleOptions {
  std::vector<double> scales = {0.5, 0.75, 1, 1.25, 1.5, 1.75};  ///< factors of the images' sides
  bool flip = true;                                              ///< left and right, too
  MultiScaleAverage average = MultiScaleAverage::logits;         ///< of logits or of probabilities
};

/// The probabilities of the classes from sizes of the images and their mirror images: images [N, C, H, W] are resized
/// (bilinear, with align_corners) to floor(scale H) x floor(scale W) and the net's logits back to H x W. The result
/// [N, K, H, W] is the softmax of the average logits (whose largest is that of the sum, which the authors' program
/// takes), or the average softmax. HamNet pads and cuts what it gets, see AtInputSize. Throws ValueError without
/// scales, or for one that is not positive.
template <class Scalar>
Tensor<Scalar> multi_scale_probabilities(const Module<Scalar>& net, const Tensor<Scalar>& images,
                                         const MultiScaleOptions& options = {}) {
  constexpr const char* who = "multi_scale_probabilities";
  require(!options.scales.empty(), who, ": there are no scales");
  check_interpolated(who, images.shape());
  const InterpolateOptions bilinear{.mode = InterpolateMode::bilinear, .align_corners = true};
  const Size2 size(images.dim(2), images.dim(3));
  const auto mirrored = [](Tensor<Scalar> x) {
    Scalar* const data = x.data();
    for (Index at = 0; at < x.numel(); at += x.dim(3)) std::reverse(data + at, data + at + x.dim(3));
    return x;
  };
  const bool of_logits = options.average == MultiScaleAverage::logits;
  Tensor<Scalar> sum;
  for (const double scale : options.scales) {
    require(scale > 0, who, ": a scale must be positive, got ", scale);
    const auto scaled = [scale](Index side) {
      return std::max<Index>(1, static_cast<Index>(scale * static_cast<double>(side)));
    };
    const Tensor<Scalar> input = interpolate(images, {scaled(size.h), scaled(size.w)}, bilinear);
    for (const bool flip : {false, true}) {
      if (flip && !options.flip) break;
      Tensor<Scalar> logits = net(flip ? mirrored(input) : input);
      if (flip) logits = mirrored(std::move(logits));
      Tensor<Scalar> term = interpolate(logits, size, bilinear);
      if (!of_logits) term = softmax(std::move(term), 1);
      sum = sum.empty() ? std::move(term) : std::move(sum) + term;
    }
  }
  sum *= Scalar(1) / static_cast<Scalar>(options.scales.size() * (options.flip ? 2 : 1));
  return of_logits ? softmax(std::move(sum), 1) : sum;
}

/// Adds the pixels whose label is not ignore_index. Errors are ConfusionMatrix::add's.
inline void add_pixels(ConfusionMatrix& confusion, const Labels& labels, const Labels& predicted,
                       std::int32_t ignore_index) {
  require<ShapeError>(labels.shape() == predicted.shape(), "add_pixels: labels of shape ", labels.shape(),
                      ", predictions of shape ", predicted.shape());
  std::vector<std::int32_t> kept, found;
  for (Index i = 0; i < labels.numel(); ++i)
    if (labels.data()[i] != ignore_index) {
      kept.push_back(labels.data()[i]);
      found.push_back(predicted.data()[i]);
    }
  const Shape shape{static_cast<Index>(kept.size())};
  confusion.add(Labels(shape, kept), Labels(shape, found));
}

/// Intersection over union of a class: the pixels rightly said to be of it over those that are, or are said to be. NaN
/// if there are none.
inline double intersection_over_union(const ConfusionMatrix& confusion, Index label) {
  const auto right = static_cast<Index>(confusion.counts()(label, label));
  Count count{right, -right};
  for (Index j = 0; j < confusion.classes(); ++j)
    count.total += confusion.counts()(label, j) + confusion.counts()(j, label);
  return count.fraction();
}

/// Its mean over the classes that are there.
inline double mean_intersection_over_union(const ConfusionMatrix& confusion) {
  double sum = 0, classes = 0;
  for (Index k = 0; k < confusion.classes(); ++k)
    if (const double value = intersection_over_union(confusion, k); !is_nan(value)) sum += value, ++classes;
  return sum / classes;
}

}  // namespace lamina::inline LAMINA_ABI
