#pragma once

#include <algorithm>
#include <vector>

#include "lamina/data/dataset.hpp"
#include "lamina/data/transforms.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of SegmentationAugment.
struct SegmentationAugmentOptions {
  std::vector<double> scales = {0.5, 0.75, 1, 1.25, 1.5, 1.75, 2};  ///< one of these, equally likely
  double fill = 0;                                                  ///< of pixels beyond the image
  std::int32_t ignore_index = 255;                                  ///< and their label
  bool flip = true;                                                 ///< left and right, half of the time
};

/// The augmentation of Geng et al. 2021, appendix E.1, of an image [C, H, W] and its labels [H, W] together: a random
/// scale (bilinear; labels take the nearest; sizes are rounded down), padding below and to the right where that is
/// smaller than the crop, a random window of the crop's size, a random mirror image. For HamNet the crop's sides should
/// be k S + 1, where S is its output stride, see aligned_size. Used as LoaderOptions::augment.
class SegmentationAugment {
 public:
  /// Throws ValueError for a size below 1, no scales, or one that is not positive.
  explicit SegmentationAugment(Size2 crop, const SegmentationAugmentOptions& options = {})
      : crop_(crop), options_(options) {
    require(crop.h >= 1 && crop.w >= 1, "SegmentationAugment: the crop must be at least 1, got ", crop);
    require(!options_.scales.empty(), "SegmentationAugment: there are no scales");
    for (const double scale : options_.scales)
      require(scale > 0, "SegmentationAugment: a scale must be positive, got ", scale);
  }

  /// Throws ShapeError unless the labels have the image's size.
  template <class Scalar>
  Example<Scalar> operator()(Example<Scalar> example, Random& random) const {
    detail::require_image("SegmentationAugment", example.input);
    const Shape size{example.input.dim(1), example.input.dim(2)};
    require<ShapeError>(example.target.shape() == size, "SegmentationAugment: expected labels of shape ", size,
                        ", got shape ", example.target.shape());
    const double scale =
        options_.scales[static_cast<std::size_t>(random.below(static_cast<Index>(options_.scales.size())))];
    const auto scaled = [scale](Index side) {
      return std::max<Index>(1, static_cast<Index>(scale * static_cast<double>(side)));
    };
    const Index h = scaled(size[0]), w = scaled(size[1]);
    const Index top = random.below(std::max<Index>(0, h - crop_.h) + 1);
    const Index left = random.below(std::max<Index>(0, w - crop_.w) + 1);
    const bool mirror = random.uniform() < 0.5 && options_.flip;

    Tensor<Scalar> image = scale == 1 ? std::move(example.input) : detail::resize(example.input, {h, w}, true);
    image = detail::crop(image, top, left, crop_, static_cast<Scalar>(options_.fill));
    Labels labels = Labels::full({crop_.h, crop_.w}, options_.ignore_index);
    for (Index i = 0; i < std::min(crop_.h, h - top); ++i)
      for (Index j = 0; j < std::min(crop_.w, w - left); ++j)
        labels(i, j) = std::as_const(example.target)((i + top) * size[0] / h, (j + left) * size[1] / w);
    if (mirror) {
      reverse_rows(image, crop_.w);
      reverse_rows(labels, crop_.w);
    }
    return {std::move(image), std::move(labels)};
  }

 private:
  template <class T>
  static void reverse_rows(Tensor<T>& x, Index columns) {
    T* const data = x.data();
    for (Index at = 0; at < x.numel(); at += columns) std::reverse(data + at, data + at + columns);
  }

  Size2 crop_;
  SegmentationAugmentOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
