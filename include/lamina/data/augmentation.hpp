#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/data/color.hpp"

/// Random changes of images [C, H, W], by torchvision's distributions: transforms for a loader, which runs them in its
/// threads.
///
///   DataLoader train(photographs, {.batch_size = 64, .shuffle = true, .workers = 2,
///                                  .transform = Compose(RandomResizedCrop(224), RandomHorizontalFlip(), RandAugment(),
///                                                       Normalize(mean, std), RandomErasing())});
namespace lamina::inline LAMINA_ABI {

/// A part of an image.
struct ImageWindow {
  Index top;   ///< its first row
  Index left;  ///< its first column
  Size2 size;  ///< its height and width

  /// Equal in all.
  friend bool operator==(const ImageWindow&, const ImageWindow&) = default;
};

namespace detail {

/// A range of positive numbers of a transform's options.
inline void check_range(const char* who, const char* what, const std::array<double, 2>& range) {
  require(range[0] > 0 && range[0] <= range[1] && is_finite(range[1]), who, ": ", what,
          " must be two numbers above 0, the smaller first, got ", range[0], " and ", range[1]);
}

/// The height and width of a window: its area a share of the image's, uniform in `scale`; its ratio, whose logarithm is
/// uniform in `ratio`'s, width to height.
inline Size2 draw_window(Index rows, Index columns, const std::array<double, 2>& scale,
                         const std::array<double, 2>& ratio, Random& random) {
  const auto between = [&](double low, double high) { return low + (high - low) * random.uniform(); };
  const double area = static_cast<double>(rows * columns) * between(scale[0], scale[1]);
  const double aspect = std::exp(between(std::log(ratio[0]), std::log(ratio[1])));
  return {static_cast<Index>(std::nearbyint(std::sqrt(area / aspect))),
          static_cast<Index>(std::nearbyint(std::sqrt(area * aspect)))};
}

}  // namespace detail

/// Options of RandomResizedCrop.
struct RandomResizedCropOptions {
  std::array<double, 2> scale = {0.08, 1};           ///< of the window's share of the image's area
  std::array<double, 2> ratio = {3.0 / 4, 4.0 / 3};  ///< of its width to its height
  bool antialias = true;                             ///< average over all pixels when shrinking, see Resize
};

/// A window of random size, shape and place, resized (Szegedy et al. 2015): its share of the area is uniform in
/// `scale`, the logarithm of its ratio in `ratio`'s. What does not fit into the image is drawn again; after ten times
/// it is the largest window in the middle whose ratio is allowed.
class RandomResizedCrop {
 public:
  /// Throws ValueError for a size below 1, or ranges that are none of positive numbers.
  explicit RandomResizedCrop(Size2 size, const RandomResizedCropOptions& options = {})
      : size_(size), options_(options) {
    require(size.h >= 1 && size.w >= 1, "RandomResizedCrop: the size must be at least 1, got ", size);
    detail::check_range("RandomResizedCrop", "scale", options.scale);
    detail::check_range("RandomResizedCrop", "ratio", options.ratio);
  }

  /// The image's window, resized.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_image("RandomResizedCrop", image);
    const ImageWindow from = window(image.dim(1), image.dim(2), random);
    const Tensor<Scalar> part = detail::crop(image, from.top, from.left, from.size, Scalar(0));
    return from.size == size_ ? part : detail::resize(part, size_, options_.antialias);
  }

  /// A window of an image of that many rows and columns.
  ImageWindow window(Index rows, Index columns, Random& random) const {
    for (int attempt = 0; attempt < 10; ++attempt) {
      const Size2 size = detail::draw_window(rows, columns, options_.scale, options_.ratio, random);
      if (size.h < 1 || size.h > rows || size.w < 1 || size.w > columns) continue;
      const Index top = random.below(rows - size.h + 1), left = random.below(columns - size.w + 1);
      return {top, left, size};
    }
    const auto h = static_cast<double>(rows), w = static_cast<double>(columns);
    const auto rounded = [](double extent) { return std::max<Index>(1, static_cast<Index>(std::nearbyint(extent))); };
    Size2 size(rows, columns);
    if (w / h < options_.ratio[0])
      size.h = rounded(w / options_.ratio[0]);
    else if (w / h > options_.ratio[1])
      size.w = rounded(h * options_.ratio[1]);
    return {(rows - size.h) / 2, (columns - size.w) / 2, size};
  }

 private:
  Size2 size_;
  RandomResizedCropOptions options_;
};

/// Options of ColorJitter.
struct ColorJitterOptions {
  double brightness = 0;  ///< the factor is uniform in [max(0, 1 - brightness), 1 + brightness]
  double contrast = 0;    ///< likewise
  double saturation = 0;  ///< likewise
  double hue = 0;         ///< the share of the circle is uniform in [-hue, hue], hue at most 0.5
};

/// Changes brightness, contrast, saturation and hue by random amounts, in random order; 0 leaves one alone. Images have
/// 1 or 3 channels with values in [0, 1]: it comes before Normalize.
class ColorJitter {
 public:
  /// Throws ValueError for a negative option, or a hue above 0.5.
  explicit ColorJitter(const ColorJitterOptions& options) : options_(options) {
    for (const double amount : {options.brightness, options.contrast, options.saturation, options.hue})
      require(amount >= 0 && is_finite(amount), "ColorJitter: amounts must not be negative, got ", amount);
    require(options.hue <= 0.5, "ColorJitter: hue must be at most 0.5, got ", options.hue);
  }

  /// The image in other colours.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_color("ColorJitter", image);
    const auto factor = [&](double amount) {
      const double low = std::max(0.0, 1 - amount);
      return low + (1 + amount - low) * random.uniform();
    };
    for (const Index what : random.permutation(4))
      if (what == 0 && options_.brightness > 0)
        image = adjust_brightness(std::move(image), factor(options_.brightness));
      else if (what == 1 && options_.contrast > 0)
        image = adjust_contrast(std::move(image), factor(options_.contrast));
      else if (what == 2 && options_.saturation > 0)
        image = adjust_saturation(std::move(image), factor(options_.saturation));
      else if (what == 3 && options_.hue > 0)
        image = adjust_hue(std::move(image), options_.hue * (2 * random.uniform() - 1));
    return image;
  }

 private:
  ColorJitterOptions options_;
};

/// Options of RandomErasing.
struct RandomErasingOptions {
  double p = 0.5;                              ///< the probability that anything is erased
  std::array<double, 2> scale = {0.02, 0.33};  ///< of the window's share of the image's area
  std::array<double, 2> ratio = {0.3, 3.3};    ///< of its height to its width
  /// What the window becomes: one value, or one for each channel; none: values from N(0, 1).
  std::vector<double> value = {0};
};

/// Erases a window of random size, shape and place (Zhong et al. 2020): its share of the area is uniform in `scale`,
/// the logarithm of its ratio in `ratio`'s. What does not fit into the image is drawn again; after ten times nothing is
/// erased. It comes after Normalize.
class RandomErasing {
 public:
  /// Throws ValueError unless p is in [0, 1] and the ranges are of positive numbers, scale's not above 1.
  explicit RandomErasing(RandomErasingOptions options = {}) : options_(std::move(options)) {
    require(options_.p >= 0 && options_.p <= 1, "RandomErasing: expected a probability in [0, 1], got ", options_.p);
    detail::check_range("RandomErasing", "scale", options_.scale);
    detail::check_range("RandomErasing", "ratio", options_.ratio);
    require(options_.scale[1] <= 1, "RandomErasing: scale must be at most 1, got ", options_.scale[1]);
  }

  /// The image [C, H, W], perhaps with a window erased. Throws ShapeError for another number of channels than values.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_image("RandomErasing", image);
    const auto values = static_cast<Index>(options_.value.size());
    if (values > 1 && values != image.dim(0))
      throw ShapeError(text("RandomErasing: expected ", values, " channels, got shape ", image.shape()));
    if (random.uniform() >= options_.p) return image;
    const auto window = this->window(image.dim(1), image.dim(2), random);
    return window ? erased(std::move(image), *window, random) : image;
  }

  /// A window of an image of that many rows and columns; none if none fits.
  std::optional<ImageWindow> window(Index rows, Index columns, Random& random) const {
    for (int attempt = 0; attempt < 10; ++attempt) {
      const Size2 turned = detail::draw_window(rows, columns, options_.scale, options_.ratio, random);
      const Size2 size(turned.w, turned.h);  // the ratio is of the height to the width here
      if (size.h >= rows || size.w >= columns) continue;
      const Index top = random.below(rows - size.h + 1), left = random.below(columns - size.w + 1);
      return ImageWindow{top, left, size};
    }
    return {};
  }

 private:
  template <class Scalar>
  Tensor<Scalar> erased(Tensor<Scalar> image, const ImageWindow& at, Random& random) const {
    const Index channels = image.dim(0), rows = image.dim(1), columns = image.dim(2);
    const Tensor<Scalar> noise =
        options_.value.empty() ? random.normal<Scalar>({channels, at.size.h, at.size.w}) : Tensor<Scalar>();
    Tensor<Scalar> result = std::move(image);
    for (Index c = 0; c < channels; ++c)
      for (Index y = 0; y < at.size.h; ++y) {
        Scalar* const row = result.data() + (c * rows + at.top + y) * columns + at.left;
        if (options_.value.empty())
          std::copy_n(noise.data() + (c * at.size.h + y) * at.size.w, at.size.w, row);
        else
          std::fill_n(row, at.size.w,
                      static_cast<Scalar>(options_.value[options_.value.size() > 1 ? static_cast<std::size_t>(c) : 0]));
      }
    return result;
  }

  RandomErasingOptions options_;
};

/// Where the points of a changed image come from, both measured from the middle: x = a x' + b y' + c,
/// y = d x' + e y' + f, x to the right and y down.
struct AffineMap {
  double a = 1;  ///< of x', in x
  double b = 0;  ///< of y', in x
  double c = 0;  ///< the shift of x
  double d = 0;  ///< of x', in y
  double e = 1;  ///< of y', in y
  double f = 0;  ///< the shift of y
};

/// Each pixel of the result is the one of the image that is nearest to where its centre comes from; `fill` lies
/// outside. The image is [C, H, W]; throws ShapeError for another.
template <class Scalar>
Tensor<Scalar> affine(const Tensor<Scalar>& image, const AffineMap& map, double fill = 0) {
  detail::require_image("affine", image);
  const Index channels = image.dim(0), rows = image.dim(1), columns = image.dim(2);
  auto result = Tensor<Scalar>::full(image.shape(), static_cast<Scalar>(fill));
  Scalar* const out = result.data();
  const double middle_x = static_cast<double>(columns) / 2 - 0.5, middle_y = static_cast<double>(rows) / 2 - 0.5;
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) {
      const double x = static_cast<double>(j) - middle_x, y = static_cast<double>(i) - middle_y;
      const double from_x = std::nearbyint(map.a * x + map.b * y + map.c + middle_x);
      const double from_y = std::nearbyint(map.d * x + map.e * y + map.f + middle_y);
      if (from_x < 0 || from_x >= static_cast<double>(columns) || from_y < 0 || from_y >= static_cast<double>(rows))
        continue;
      const Index from = static_cast<Index>(from_y) * columns + static_cast<Index>(from_x);
      for (Index c = 0; c < channels; ++c) out[(c * rows + i) * columns + j] = image.data()[c * rows * columns + from];
    }
  return result;
}

/// What RandAugment may do.
enum class Augmentation {
  identity,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
  rotate,
  brightness,
  color,
  contrast,
  sharpness,
  posterize,
  solarize,
  autocontrast,
  equalize
};

/// Does one, by an amount: of shear_x and shear_y the displacement for each pixel below the top or right of the left
/// edge, of translations whole pixels, of rotate degrees against the clock, of brightness to sharpness the factor less
/// 1, of posterize the bits, of solarize the threshold; the others have none. What comes from outside is `fill`. Images
/// have 1 or 3 channels with values in [0, 1]; throws ShapeError for others.
template <class Scalar>
Tensor<Scalar> augment(Tensor<Scalar> image, Augmentation what, double amount, double fill = 0) {
  detail::require_color("augment", image);
  const double angle = amount * std::numbers::pi / 180;
  switch (what) {
    case Augmentation::identity:
      return image;
    case Augmentation::shear_x:
      return affine(image, {.b = amount, .c = amount * static_cast<double>(image.dim(1)) / 2}, fill);
    case Augmentation::shear_y:
      return affine(image, {.d = amount, .f = amount * static_cast<double>(image.dim(2)) / 2}, fill);
    case Augmentation::translate_x:
      return affine(image, {.c = -std::trunc(amount)}, fill);
    case Augmentation::translate_y:
      return affine(image, {.f = -std::trunc(amount)}, fill);
    case Augmentation::rotate:
      return affine(image, {.a = std::cos(angle), .b = -std::sin(angle), .d = std::sin(angle), .e = std::cos(angle)},
                    fill);
    case Augmentation::brightness:
      return adjust_brightness(std::move(image), 1 + amount);
    case Augmentation::color:
      return adjust_saturation(std::move(image), 1 + amount);
    case Augmentation::contrast:
      return adjust_contrast(std::move(image), 1 + amount);
    case Augmentation::sharpness:
      return adjust_sharpness(std::move(image), 1 + amount);
    case Augmentation::posterize:
      return posterize(std::move(image), static_cast<int>(amount));
    case Augmentation::solarize:
      return solarize(std::move(image), amount);
    case Augmentation::autocontrast:
      return autocontrast(std::move(image));
    case Augmentation::equalize:
      return equalize(std::move(image));
  }
  fail<ValueError>("augment: there is no augmentation ", static_cast<int>(what));
}

/// Options of RandAugment.
struct RandAugmentOptions {
  Index num_ops = 2;              ///< how many augmentations, one after the other
  Index magnitude = 9;            ///< how strong, in [0, num_magnitude_bins)
  Index num_magnitude_bins = 31;  ///< steps from no change to the strongest
  double fill = 0;                ///< what comes from outside the image
};

/// Some of the fourteen augmentations, each equally likely, of one strength, with either sign where there are two
/// (Cubuk et al. 2020; torchvision's list and amounts). Images have 1 or 3 channels with values in [0, 1]: it comes
/// before Normalize.
class RandAugment {
 public:
  /// Throws ValueError for a negative number of augmentations, fewer than 2 bins, or a magnitude that is not below
  /// them.
  explicit RandAugment(const RandAugmentOptions& options = {}) : options_(options) {
    require(options.num_ops >= 0, "RandAugment: num_ops must not be negative, got ", options.num_ops);
    require(options.num_magnitude_bins >= 2, "RandAugment: num_magnitude_bins must be at least 2, got ",
            options.num_magnitude_bins);
    require(options.magnitude >= 0 && options.magnitude < options.num_magnitude_bins,
            "RandAugment: magnitude must be in [0, ", options.num_magnitude_bins, "), got ", options.magnitude);
  }

  /// The image, augmented.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_color("RandAugment", image);
    for (Index i = 0; i < options_.num_ops; ++i) {
      const auto what = static_cast<Augmentation>(random.below(14));
      double amount = this->amount(what, image.dim(1), image.dim(2));
      const bool two_signs = what >= Augmentation::shear_x && what <= Augmentation::sharpness;
      if (two_signs && random.below(2) == 1) amount = -amount;
      image = augment(std::move(image), what, amount, options_.fill);
    }
    return image;
  }

  /// The amount of an augmentation of an image of that many rows and columns, without its sign; see augment.
  double amount(Augmentation what, Index rows, Index columns) const {
    const double share = static_cast<double>(options_.magnitude) / static_cast<double>(options_.num_magnitude_bins - 1);
    switch (what) {
      case Augmentation::shear_x:
      case Augmentation::shear_y:
        return 0.3 * share;
      case Augmentation::translate_x:
        return 150.0 / 331 * static_cast<double>(columns) * share;
      case Augmentation::translate_y:
        return 150.0 / 331 * static_cast<double>(rows) * share;
      case Augmentation::rotate:
        return 30 * share;
      case Augmentation::brightness:
      case Augmentation::color:
      case Augmentation::contrast:
      case Augmentation::sharpness:
        return 0.9 * share;
      case Augmentation::posterize:
        return 8 - std::nearbyint(4 * share);
      case Augmentation::solarize:
        return 1 - share;
      default:
        return 0;
    }
  }

 private:
  RandAugmentOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
