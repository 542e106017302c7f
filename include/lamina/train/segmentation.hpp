#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/avg_pool2d.hpp"
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

/// Options of sliding_window_logits.
struct SlidingWindowOptions {
  Size2 window = 512;  ///< what the net sees at once
  Size2 stride = 341;  ///< from one window to the next
};

/// The logits of images that are larger than a net should see at once: images [N, C, H, W] are cut into windows, every
/// `stride` pixels and a last one that ends with the image, and where windows overlap their logits are averaged. (An
/// image that is smaller than the window in a direction is seen whole in it.) The result is [N, K, H, W]. The windows
/// are those of mmsegmentation's slide_inference. Throws ValueError for a window or stride below 1 or a stride that
/// leaves pixels out, ShapeError for other images, and when the net gives logits of another size than its window.
template <class Scalar>
Tensor<Scalar> sliding_window_logits(const Module<Scalar>& net, const Tensor<Scalar>& images,
                                     const SlidingWindowOptions& options = {}) {
  constexpr const char* who = "sliding_window_logits";
  const auto [window, stride] = options;
  require(stride.h >= 1 && stride.w >= 1 && window.h >= stride.h && window.w >= stride.w, who,
          ": expected a stride of 1 up to the window's size, got windows of ", window, " every ", stride);
  check_interpolated(who, images.shape());
  const Index n = images.dim(0), c = images.dim(1), height = images.dim(2), width = images.dim(3);
  const Size2 size(std::min(window.h, height), std::min(window.w, width));
  const auto places = [](Index extent, Index seen, Index step) {
    std::vector<Index> result;
    for (Index at = 0; at + seen < extent; at += step) result.push_back(at);
    result.push_back(extent - seen);
    return result;
  };
  Tensor<Scalar> sum, input({n, c, size.h, size.w});
  std::vector<Scalar> counts(static_cast<std::size_t>(height * width));
  for (const Index top : places(height, size.h, stride.h))
    for (const Index left : places(width, size.w, stride.w)) {
      for (Index row = 0; row < n * c * size.h; ++row)
        std::copy_n(images.data() + (row / size.h * height + top + row % size.h) * width + left, size.w,
                    input.data() + row * size.w);
      const Tensor<Scalar> logits = net(input);
      require<ShapeError>(logits.rank() == 4 && logits.shape() == input.shape().with(1, logits.dim(1)), who,
                          ": expected logits [N, K, H, W] of windows ", input.shape(), ", got shape ", logits.shape());
      if (sum.empty()) sum = Tensor<Scalar>::zeros({n, logits.dim(1), height, width});
      Scalar* const to = sum.data();
      for (Index row = 0; row < n * logits.dim(1) * size.h; ++row)
        for (Index j = 0; j < size.w; ++j)
          to[(row / size.h * height + top + row % size.h) * width + left + j] += logits.data()[row * size.w + j];
      for (Index i = 0; i < size.h * size.w; ++i)
        counts[static_cast<std::size_t>((top + i / size.w) * width + left + i % size.w)] += 1;
    }
  Scalar* const to = sum.data();
  for (Index i = 0; i < sum.numel(); ++i) to[i] /= counts[static_cast<std::size_t>(i % (height * width))];
  return sum;
}

/// Weights of classes that are rare or small: the median of the classes' frequencies over the class's own, which is the
/// share of its pixels among those of the images in which it is (Eigen and Fergus 2015, section 4.3.2). A class that is
/// nowhere has weight 0. Pixels of the label ignore_index do not count. Throws ValueError for another label that is
/// none of 0 .. classes - 1.
template <class Scalar>
std::vector<double> median_frequency_weights(const Dataset<Scalar>& data, Index classes, std::int32_t ignore_index) {
  std::vector<double> of_class(static_cast<std::size_t>(classes)), around(of_class), found, result;
  for (Index i = 0; i < data.size(); ++i) {
    const Labels labels = data.get(i).target;
    std::vector<double> here(of_class.size());
    double all = 0;
    for (const std::int32_t label : labels.values()) {
      if (label == ignore_index) continue;
      require(label >= 0 && label < classes, "median_frequency_weights: ", label, " is none of ", classes,
              " classes in the labels of image ", i);
      ++here[static_cast<std::size_t>(label)], ++all;
    }
    for (std::size_t k = 0; k < here.size(); ++k)
      if (here[k] > 0) of_class[k] += here[k], around[k] += all;
  }
  for (std::size_t k = 0; k < of_class.size(); ++k)
    if (of_class[k] > 0) found.push_back(of_class[k] / around[k]);
  std::sort(found.begin(), found.end());
  const std::size_t n = found.size();
  const double median = n == 0 ? 0 : (found[n / 2] + found[(n - 1) / 2]) / 2;
  for (std::size_t k = 0; k < of_class.size(); ++k)
    result.push_back(of_class[k] > 0 ? median * around[k] / of_class[k] : 0);
  return result;
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

/// The mean over the classes that are there of the share of a class's pixels that are said to be of it: mean accuracy
/// (Long, Shelhamer and Darrell 2015, section 5).
inline double mean_class_accuracy(const ConfusionMatrix& confusion) {
  double sum = 0, classes = 0;
  for (Index k = 0; k < confusion.classes(); ++k) {
    Count count{static_cast<Index>(confusion.counts()(k, k)), 0};
    for (Index j = 0; j < confusion.classes(); ++j) count.total += confusion.counts()(k, j);
    if (count.total > 0) sum += count.fraction(), ++classes;
  }
  return sum / classes;
}

/// The mean of the classes' intersection over union, each as often as it has pixels: frequency-weighted IoU (the same).
/// NaN if there are no pixels.
inline double frequency_weighted_iou(const ConfusionMatrix& confusion) {
  double sum = 0, pixels = 0;
  for (Index k = 0; k < confusion.classes(); ++k) {
    double own = 0;
    for (Index j = 0; j < confusion.classes(); ++j) own += static_cast<double>(confusion.counts()(k, j));
    if (own > 0) sum += own * intersection_over_union(confusion, k), pixels += own;
  }
  return sum / pixels;
}

/// What a network whose features are `stride` pixels apart can reach with bilinear logits: the confusion of perfect
/// labels, averaged over windows of stride + 1 around pixels 0, stride, 2 stride, ... of the padded image and brought
/// back as HamNet's logits are (AtInputSize). Labels [H, W] that are not ignore_index must be classes.
template <class Scalar>
ConfusionMatrix perfect_labels(const Dataset<Scalar>& data, Index classes, std::int32_t ignore_index, Index stride) {
  const AtInputSize<float> net(
      {AvgPool2d<float>(stride + 1, {.stride = stride, .padding = stride / 2, .count_include_pad = false})},
      {.mode = InterpolateMode::bilinear, .align_corners = true}, stride);
  ConfusionMatrix confusion(classes);
  for (Index i = 0; i < data.size(); ++i) {
    const Labels labels = data.get(i).target;
    require<ShapeError>(labels.rank() == 2, "perfect_labels: expected labels [H, W], got shape ", labels.shape());
    const Index pixels = labels.numel();
    Tensor<float> perfect = Tensor<float>::zeros({1, classes, labels.dim(0), labels.dim(1)});
    float* const to = perfect.data();
    for (Index p = 0; p < pixels; ++p)
      if (const std::int32_t label = labels.data()[p]; label != ignore_index) {
        require(label >= 0 && label < classes, "perfect_labels: label ", label, " of sample ", i, " is not one of the ",
                classes, " classes");
        to[label * pixels + p] = 1;
      }
    add_pixels(confusion, labels, predicted_classes(net(std::move(perfect)))[0], ignore_index);
  }
  return confusion;
}

}  // namespace lamina::inline LAMINA_ABI
