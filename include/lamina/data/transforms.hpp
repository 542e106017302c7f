#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/core/size2.hpp"

namespace lamina::inline LAMINA_ABI {

/// Changes one sample, drawing what it needs from the generator: images are [C, H, W]. A lambda, one of the transforms
/// below, or a Compose of them.
template <class Scalar = float>
using Transform = std::function<Tensor<Scalar>(Tensor<Scalar>, Random&)>;

namespace detail {

template <class Scalar>
void require_image(const char* who, const Tensor<Scalar>& image) {
  if (image.rank() != 3 || image.empty())
    throw ShapeError(text(who, ": expected an image [C, H, W], got shape ", image.shape()));
}

/// The window of h x w at (top, left) of an image, which may reach beyond it; `fill` lies outside.
template <class Scalar>
Tensor<Scalar> crop(const Tensor<Scalar>& image, Index top, Index left, Size2 size, Scalar fill) {
  const Index channels = image.dim(0), rows = image.dim(1), columns = image.dim(2);
  Tensor<Scalar> result = Tensor<Scalar>::full({channels, size.h, size.w}, fill);
  const Scalar* in = image.data();
  Scalar* out = result.data();
  const Index first = std::max<Index>(0, -left), last = std::min(size.w, columns - left);
  for (Index c = 0; c < channels; ++c)
    for (Index y = std::max<Index>(0, -top); y < std::min(size.h, rows - top) && first < last; ++y)
      std::copy_n(in + (c * rows + y + top) * columns + left + first, last - first,
                  out + (c * size.h + y) * size.w + first);
  return result;
}

/// How each output position of a resized axis is weighted together from the input: weights[i * width + k] is the
/// weight of input position first[i] + k.
template <class Scalar>
struct Taps {
  Index width;
  std::vector<Index> first;
  std::vector<Scalar> weights;
};

/// The weight of a pixel at a distance, in steps of the input or, shrinking, of the output: a triangle, or Keys' cubic
/// convolution with a = -1/2.
inline double resize_weight(double distance, bool bicubic) {
  const double x = std::abs(distance);
  if (!bicubic) return std::max(0.0, 1.0 - x);
  constexpr double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/// Pixel centres are at half-integers (align_corners = false). With antialias the weights reach as far as the output's
/// step, so that shrinking averages; growing is the same either way.
template <class Scalar>
Taps<Scalar> resize_taps(Index in, Index out, bool antialias, bool bicubic = false) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double step = antialias ? std::max(scale, 1.0) : 1.0, reach = bicubic ? 2 * step : step;
  Taps<Scalar> taps{2 * static_cast<Index>(std::ceil(reach)) + 1, {}, {}};
  std::vector<double> weights;
  for (Index i = 0; i < out; ++i) {
    double centre = scale * (static_cast<double>(i) + 0.5);
    // Without antialias, positions beyond the outermost centres take the outermost pixel.
    if (!antialias) centre = std::clamp(centre, 0.5, static_cast<double>(in) - 0.5);
    const Index first = std::max<Index>(0, static_cast<Index>(std::floor(centre - reach + 0.5)));
    const Index last = std::min(in, static_cast<Index>(std::floor(centre + reach + 0.5)));
    double sum = 0;
    weights.assign(static_cast<std::size_t>(taps.width), 0.0);
    for (Index j = first; j < last; ++j)
      sum += weights[static_cast<std::size_t>(j - first)] =
          resize_weight((static_cast<double>(j) + 0.5 - centre) / step, bicubic);
    taps.first.push_back(first);
    for (double weight : weights) taps.weights.push_back(static_cast<Scalar>(weight / sum));
  }
  return taps;
}

/// [C, H, W] -> [C, size.h, size.w]: along the rows, then along the columns.
template <class Scalar>
Tensor<Scalar> resize(const Tensor<Scalar>& image, Size2 size, bool antialias, bool bicubic = false) {
  const Index channels = image.dim(0), rows = image.dim(1), columns = image.dim(2);
  const Taps<Scalar> across = resize_taps<Scalar>(columns, size.w, antialias, bicubic);
  const Taps<Scalar> down = resize_taps<Scalar>(rows, size.h, antialias, bicubic);
  Tensor<Scalar> narrow({channels, rows, size.w});
  const Scalar* in = image.data();
  Scalar* middle = narrow.data();
  for (Index r = 0; r < channels * rows; ++r)
    for (Index x = 0; x < size.w; ++x) {
      const Index first = across.first[static_cast<std::size_t>(x)];
      const Scalar* weights = across.weights.data() + x * across.width;
      Scalar sum = 0;
      for (Index k = 0; k < std::min(across.width, columns - first); ++k)
        sum += weights[k] * in[r * columns + first + k];
      middle[r * size.w + x] = sum;
    }
  Tensor<Scalar> result = Tensor<Scalar>::zeros({channels, size.h, size.w});
  Scalar* out = result.data();
  for (Index c = 0; c < channels; ++c)
    for (Index y = 0; y < size.h; ++y) {
      const Index first = down.first[static_cast<std::size_t>(y)];
      Scalar* line = out + (c * size.h + y) * size.w;
      for (Index k = 0; k < std::min(down.width, rows - first); ++k) {
        const Scalar weight = down.weights[static_cast<std::size_t>(y * down.width + k)];
        const Scalar* source = middle + (c * rows + first + k) * size.w;
        for (Index x = 0; x < size.w; ++x) line[x] += weight * source[x];
      }
    }
  return result;
}

/// One direction of Pillow's resizing of bytes: lines of `in` values, a step apart, become lines of `out`. Weights have
/// 22 binary digits, results are rounded to bytes.
inline void resize_bytes(const std::uint8_t* from, Index lines, Index line, Index in, std::uint8_t* to, Index to_line,
                         Index out, Index step, bool bicubic) {
  constexpr int digits = 22;
  const Taps<double> taps = resize_taps<double>(in, out, true, bicubic);
  std::vector<std::int32_t> weights;
  for (const double weight : taps.weights)
    weights.push_back(static_cast<std::int32_t>(weight * (1 << digits) + (weight < 0 ? -0.5 : 0.5)));
  for (Index i = 0; i < out; ++i) {
    const Index first = taps.first[static_cast<std::size_t>(i)], count = std::min(taps.width, in - first);
    const std::int32_t* const weight = weights.data() + i * taps.width;
    for (Index l = 0; l < lines; ++l) {
      std::int32_t sum = 1 << (digits - 1);
      for (Index k = 0; k < count; ++k) sum += from[l * line + (first + k) * step] * weight[k];
      to[l * to_line + i * step] = static_cast<std::uint8_t>(std::clamp(sum >> digits, 0, 255));
    }
  }
}

/// [C, H, W] -> [C, size.h, size.w] as Pillow resizes images of bytes, of which the input's values are 255ths.
template <class Scalar>
Tensor<Scalar> resize_as_bytes(const Tensor<Scalar>& image, Size2 size, bool bicubic) {
  const Index channels = image.dim(0), rows = image.dim(1), columns = image.dim(2);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(image.numel()));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::uint8_t>(std::clamp<Scalar>(std::round(image.data()[i] * 255), 0, 255));
  if (size.w != columns) {
    std::vector<std::uint8_t> narrow(static_cast<std::size_t>(channels * rows * size.w));
    resize_bytes(bytes.data(), channels * rows, columns, columns, narrow.data(), size.w, size.w, 1, bicubic);
    bytes = std::move(narrow);
  }
  if (size.h != rows) {
    std::vector<std::uint8_t> low(static_cast<std::size_t>(channels * size.h * size.w));
    for (Index c = 0; c < channels; ++c)
      resize_bytes(bytes.data() + c * rows * size.w, size.w, 1, rows, low.data() + c * size.h * size.w, 1, size.h,
                   size.w, bicubic);
    bytes = std::move(low);
  }
  Tensor<Scalar> result({channels, size.h, size.w});
  Scalar* const out = result.data();
  for (std::size_t i = 0; i < bytes.size(); ++i) out[i] = static_cast<Scalar>(bytes[i]) / 255;
  return result;
}

}  // namespace detail

/// (x - mean) / std for each channel: `Normalize({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225})`.
class Normalize {
 public:
  /// One value for each channel. Throws ValueError unless there are equally many of both, and every std is positive.
  Normalize(std::vector<double> mean, std::vector<double> std) : mean_(std::move(mean)), std_(std::move(std)) {
    require(!mean_.empty() && mean_.size() == std_.size(), "Normalize: expected as many means as stds, got ",
            mean_.size(), " and ", std_.size());
    for (const double value : std_) require(value > 0, "Normalize: std must be positive, got ", value);
  }

  /// Throws ShapeError for an image with another number of channels.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image) const {
    detail::require_image("Normalize", image);
    const Index channels = image.dim(0), plane = image.numel() / channels;
    if (channels != static_cast<Index>(mean_.size()))
      throw ShapeError(text("Normalize: expected ", mean_.size(), " channels, got shape ", image.shape()));
    Tensor<Scalar> result = std::move(image);
    Scalar* x = result.data();
    for (Index c = 0; c < channels; ++c) {
      const auto mean = static_cast<Scalar>(mean_[static_cast<std::size_t>(c)]);
      const auto std = static_cast<Scalar>(std_[static_cast<std::size_t>(c)]);
      for (Index i = 0; i < plane; ++i, ++x) *x = (*x - mean) / std;
    }
    return result;
  }
  /// The same, as a loader's transform.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random&) const {
    return (*this)(std::move(image));
  }

 private:
  std::vector<double> mean_, std_;
};

/// Options of Resize.
struct ResizeOptions {
  bool antialias = true;  ///< average over all pixels when shrinking, as image programs do
  bool bicubic = false;   ///< cubic convolution with a = -1/2 in place of the triangle; with antialias only
  bool bytes = false;     ///< exactly as Pillow does with bytes: values in 255ths, rounded after each direction
};

/// Resampling as torchvision's (align_corners = false), bilinear unless said otherwise, to {h, w} or, given one number,
/// so that the shorter side becomes it and the aspect ratio is kept.
class Resize {
 public:
  /// The shorter side gets this length, the other keeps the ratio. Throws ValueError for one below 1.
  explicit Resize(Index shorter_side, const ResizeOptions& options = {})
      : size_(shorter_side), keep_ratio_(true), options_(options) {
    check();
  }
  /// To this height and width, whatever the ratio was. Throws ValueError for one below 1.
  explicit Resize(Size2 size, const ResizeOptions& options = {}) : size_(size), keep_ratio_(false), options_(options) {
    check();
  }

  /// The image [C, H, W], resized.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image) const {
    detail::require_image("Resize", image);
    const Index h = image.dim(1), w = image.dim(2);
    Size2 size = size_;
    if (keep_ratio_) size = h < w ? Size2(size.h, size.h * w / h) : Size2(size.w * h / w, size.w);
    if (size == Size2(h, w)) return image;
    if (options_.bytes) return detail::resize_as_bytes(image, size, options_.bicubic);
    return detail::resize(image, size, options_.antialias, options_.bicubic);
  }
  /// The same, as a loader's transform.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random&) const {
    return (*this)(std::move(image));
  }

 private:
  void check() const {
    require(size_.h >= 1 && size_.w >= 1, "Resize: the size must be at least 1, got ", size_);
    require(options_.antialias || (!options_.bicubic && !options_.bytes),
            "Resize: bicubic and bytes are there with antialias only");
  }

  Size2 size_;
  bool keep_ratio_;
  ResizeOptions options_;
};

/// The window of the given size in the middle; zeros beyond the image's edges, if it is smaller.
class CenterCrop {
 public:
  /// Throws ValueError for a size below 1.
  explicit CenterCrop(Size2 size) : size_(size) {
    require(size.h >= 1 && size.w >= 1, "CenterCrop: the size must be at least 1, got ", size);
  }

  /// The middle of the image [C, H, W].
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image) const {
    detail::require_image("CenterCrop", image);
    return detail::crop(image, offset(image.dim(1) - size_.h), offset(image.dim(2) - size_.w), size_, Scalar(0));
  }
  /// The same, as a loader's transform.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random&) const {
    return (*this)(std::move(image));
  }

 private:
  /// torchvision's: half of what is left, where a half pixel goes to the even side when cropping.
  static Index offset(Index rest) {
    if (rest < 0) return -(-rest / 2);
    return rest % 2 == 0 || (rest / 2) % 2 == 0 ? rest / 2 : rest / 2 + 1;
  }

  Size2 size_;
};

/// Options of RandomCrop.
struct RandomCropOptions {
  Index padding = 0;  ///< pixels added on every side first
  double fill = 0;    ///< their value
};

/// A window of the given size anywhere in the (padded) image, all places equally likely:
/// `RandomCrop(32, {.padding = 4})`.
class RandomCrop {
 public:
  /// Throws ValueError for a size below 1 or a negative padding.
  explicit RandomCrop(Size2 size, const RandomCropOptions& options = {}) : size_(size), options_(options) {
    require(size.h >= 1 && size.w >= 1, "RandomCrop: the size must be at least 1, got ", size);
    require(options.padding >= 0, "RandomCrop: padding must not be negative, got ", options.padding);
  }

  /// Throws ShapeError for a padded image that is smaller than the window.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_image("RandomCrop", image);
    const Index rows = image.dim(1) + 2 * options_.padding - size_.h;
    const Index columns = image.dim(2) + 2 * options_.padding - size_.w;
    if (rows < 0 || columns < 0)
      throw ShapeError(text("RandomCrop: a window of ", size_, " with padding ", options_.padding,
                            " does not fit into shape ", image.shape()));
    const Index top = random.below(rows + 1) - options_.padding;
    const Index left = random.below(columns + 1) - options_.padding;
    return detail::crop(image, top, left, size_, static_cast<Scalar>(options_.fill));
  }

 private:
  Size2 size_;
  RandomCropOptions options_;
};

/// Mirrors left and right with probability p.
class RandomHorizontalFlip {
 public:
  /// Throws ValueError unless the probability p is in [0, 1].
  explicit RandomHorizontalFlip(double p = 0.5) : p_(p) {
    require(p >= 0 && p <= 1, "RandomHorizontalFlip: expected a probability in [0, 1], got ", p);
  }

  /// The image [C, H, W], or its mirror image.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_image("RandomHorizontalFlip", image);
    if (random.uniform() >= p_) return image;
    const Index columns = image.dim(2);
    Tensor<Scalar> result = std::move(image);
    Scalar* end = result.data() + result.numel();
    for (Scalar* row = result.data(); row != end; row += columns) std::reverse(row, row + columns);
    return result;
  }

 private:
  double p_;
};

/// The principal components of the RGB values of ImageNet's training images, in the usual scaling for images in
/// [0, 1]. Column k of `eigenvectors` belongs to eigenvalue k.
struct LightingOptions {
  double standard_deviation = 0.1;  ///< of the factors of the principal components
  /// In the order of the columns below.
  std::array<double, 3> eigenvalues = {0.2175, 0.0188, 0.0045};
  /// A row each for R, G and B.
  std::array<std::array<double, 3>, 3> eigenvectors = {
      {{-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}}};
};

/// AlexNet's colour jitter (Krizhevsky, Sutskever, Hinton 2012, section 4.1): adds to every pixel
/// [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T, with a ~ N(0, standard_deviation^2) drawn once for each image.
class Lighting {
 public:
  /// Throws ValueError for a negative standard deviation.
  explicit Lighting(const LightingOptions& options = {}) : options_(options) {
    require(options.standard_deviation >= 0, "Lighting: standard_deviation must not be negative, got ",
            options.standard_deviation);
  }

  /// Throws ShapeError for an image that does not have three channels.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    detail::require_image("Lighting", image);
    if (image.dim(0) != 3) throw ShapeError(text("Lighting: expected 3 channels, got shape ", image.shape()));
    std::array<double, 3> amount;
    for (std::size_t k = 0; k < 3; ++k)
      amount[k] = options_.standard_deviation * random.normal() * options_.eigenvalues[k];
    const Index plane = image.numel() / 3;
    Tensor<Scalar> result = std::move(image);
    Scalar* x = result.data();
    for (std::size_t c = 0; c < 3; ++c) {
      const auto& row = options_.eigenvectors[c];
      const auto shift = static_cast<Scalar>(row[0] * amount[0] + row[1] * amount[1] + row[2] * amount[2]);
      for (Index i = 0; i < plane; ++i) *x++ += shift;
    }
    return result;
  }

 private:
  LightingOptions options_;
};

/// Transforms one after the other: `Compose{RandomCrop(32, {.padding = 4}), RandomHorizontalFlip()}`.
template <class... Transforms>
class Compose {
 public:
  /// The transforms in the order in which they are applied.
  explicit Compose(Transforms... transforms) : transforms_(std::move(transforms)...) {}

  /// The image [C, H, W] after all of them.
  template <class Scalar>
  Tensor<Scalar> operator()(Tensor<Scalar> image, Random& random) const {
    std::apply([&](const auto&... transform) { ((image = transform(std::move(image), random)), ...); }, transforms_);
    return image;
  }

 private:
  std::tuple<Transforms...> transforms_;
};

/// CLIP's preprocessing of an image [3, H, W] in [0, 1] to [3, side, side]: the shorter side resized by Pillow's
/// bicubic interpolation, the middle cut out, the mean and standard deviation of its training images.
inline auto clip_preprocessing(Index side) {
  return Compose{Resize(side, {.bicubic = true, .bytes = true}), CenterCrop(side),
                 Normalize({0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711})};
}

}  // namespace lamina::inline LAMINA_ABI
