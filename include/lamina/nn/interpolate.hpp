#pragma once

#include <array>
#include <concepts>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/choice.hpp"
#include "lamina/kernels/resize.hpp"
#include "lamina/kernels/resize_cubic.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI {

/// Pixel floor(i H / OH), a weighted mean of the four around the place, a weighted sum of the sixteen around it, or the
/// pixel that the place lies in, floor((i + 1/2) H / OH).
enum class InterpolateMode { nearest, bilinear, bicubic, nearest_exact };
/// PyTorch's.
template <>
struct Words<InterpolateMode> {
  static constexpr const char* what = "mode";                                            ///< in messages
  static constexpr std::array words{"nearest", "bilinear", "bicubic", "nearest-exact"};  ///< of each
};

/// Options of Interpolate.
struct InterpolateOptions {
  Choice<InterpolateMode> mode = InterpolateMode::nearest;  ///< how values between pixels are made
  /// Bilinear and bicubic: the centres of the corner pixels stay where they are, not their edges.
  bool align_corners = false;

  /// Whether values are mixed of several pixels.
  bool mixes() const { return mode == InterpolateMode::bilinear || mode == InterpolateMode::bicubic; }
};

/// The options after those of a module that interpolates.
inline Fields add_fields(Fields fields, const InterpolateOptions& options) {
  return fields.argument("mode", options.mode.word())
      .field("align_corners", options.align_corners, options.align_corners ? "align_corners" : "");
}
/// Throws ValueError, naming the caller, for align_corners where nothing is mixed.
template <class Caller>
void check_interpolation(const Caller& who, const InterpolateOptions& options) {
  require(options.mixes() || !options.align_corners, who, ": align_corners is for bilinear and bicubic interpolation");
}

/// Factors of height and width: `2` means {2, 2}.
struct ScaleFactor {
  double h;  ///< of the height
  double w;  ///< of the width

  /// The same both ways.
  template <class Number>
  requires requires(Number n) { static_cast<double>(n) + 0.5; }
  ScaleFactor(Number both) : h(static_cast<double>(both)), w(static_cast<double>(both)) {}
  /// Of the height and of the width.
  ScaleFactor(double height, double width) : h(height), w(width) {}

  /// Equal in both.
  friend bool operator==(const ScaleFactor&, const ScaleFactor&) = default;
  /// "2" or "(2, 0.5)".
  std::string to_string() const { return h == w ? text(h) : text("(", h, ", ", w, ")"); }
};

/// What images are resampled to: a size, or one by factors; with the latter pixels lie as far apart as they say, which
/// the rounded size need not.
class ImageScale {
 public:
  /// A size, or factors.
  /// @{
  explicit ImageScale(const Size2& size) : size_(size) {}
  explicit ImageScale(const ScaleFactor& factor) : factor_(factor) {}
  /// @}

  /// That of the result for images of this size: floor(H factor) by a factor.
  Size2 size(const Size2& image) const {
    if (size_) return *size_;
    return {static_cast<Index>(static_cast<double>(image.h) * factor_->h),
            static_cast<Index>(static_cast<double>(image.w) * factor_->w)};
  }
  /// Of images of this size, along the height and the width.
  /// @{
  kernels::ResizeRatio rows(const Size2& image) const {
    if (factor_) return {1, factor_->h};
    return {static_cast<double>(image.h), static_cast<double>(size_->h)};
  }
  kernels::ResizeRatio columns(const Size2& image) const {
    if (factor_) return {1, factor_->w};
    return {static_cast<double>(image.w), static_cast<double>(size_->w)};
  }
  /// @}
  /// Whether images of this size stay as they are.
  bool keeps(const Size2& image) const { return factor_ ? factor_->h == 1 && factor_->w == 1 : *size_ == image; }

  /// The factors, if there are any.
  const std::optional<ScaleFactor>& factor() const { return factor_; }

 private:
  std::optional<Size2> size_;
  std::optional<ScaleFactor> factor_;
};

namespace detail {

template <class Scalar>
std::vector<kernels::ResizeTap<Scalar>> taps(const InterpolateOptions& options, Index in, Index out,
                                             const kernels::ResizeRatio& ratio) {
  if (options.mode == InterpolateMode::nearest) return kernels::nearest_taps<Scalar>(in, out, ratio);
  if (options.mode == InterpolateMode::bilinear)
    return kernels::bilinear_taps<Scalar>(in, out, ratio, options.align_corners);
  std::vector<kernels::ResizeTap<Scalar>> result;  // nearest-exact
  for (Index i = 0; i < out; ++i) {
    const double at = (static_cast<double>(i) + 0.5) * ratio.from / ratio.to;
    const Index place = std::min(static_cast<Index>(std::min(at, static_cast<double>(in))), in - 1);
    result.push_back({place, place, Scalar(0)});
  }
  return result;
}

/// f(taps of the rows, taps of the columns) for images of this size and their results.
template <class Scalar, class F>
void with_taps(const InterpolateOptions& options, const ImageScale& scale, const Size2& image, const Size2& size, F f) {
  const kernels::ResizeRatio rows = scale.rows(image), columns = scale.columns(image);
  if (options.mode == InterpolateMode::bicubic)
    f(kernels::cubic_taps<Scalar>(image.h, size.h, rows, options.align_corners),
      kernels::cubic_taps<Scalar>(image.w, size.w, columns, options.align_corners));
  else
    f(taps<Scalar>(options, image.h, size.h, rows), taps<Scalar>(options, image.w, size.w, columns));
}

template <class Scalar>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, const ImageScale& scale, const InterpolateOptions& options) {
  const Size2 image(x.dim(2), x.dim(3)), size = scale.size(image);
  if (scale.keeps(image)) return x;
  Tensor<Scalar> y({x.dim(0), x.dim(1), size.h, size.w});
  if (!y.empty())
    with_taps<Scalar>(options, scale, image, size, [&](const auto& rows, const auto& columns) {
      kernels::resize(x.dim(0) * x.dim(1), image.h, image.w, rows, columns, x.data(), y.data());
    });
  return y;
}
template <class Scalar>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, const Size2& size, const InterpolateOptions& options) {
  return interpolate(x, ImageScale(size), options);
}

}  // namespace detail

/// The gradient of interpolate() for an input of this shape.
template <class Scalar>
Tensor<Scalar> interpolate_backward(Tensor<Scalar> dy, const Shape& input, const ImageScale& scale,
                                    const InterpolateOptions& options) {
  const Size2 image(input[2], input[3]);
  if (scale.keeps(image)) return dy;
  Tensor<Scalar> dx(input);
  if (!dx.empty())
    detail::with_taps<Scalar>(options, scale, image, {dy.dim(2), dy.dim(3)},
                              [&](const auto& rows, const auto& columns) {
                                kernels::resize_backward(input[0] * input[1], image.h, image.w, rows, columns,
                                                         std::as_const(dy).data(), dx.data());
                              });
  return dx;
}
/// The same for a result of dy's size.
template <class Scalar>
Tensor<Scalar> interpolate_backward(Tensor<Scalar> dy, const Shape& input, const InterpolateOptions& options) {
  const ImageScale scale(Size2(dy.dim(2), dy.dim(3)));
  return interpolate_backward(std::move(dy), input, scale, options);
}

/// Throws ShapeError, naming the caller, unless the shape is [N, C, H, W] with a pixel.
template <class Caller>
void check_interpolated(const Caller& who, const Shape& input) {
  require<ShapeError>(input.rank() == 4 && input[2] > 0 && input[3] > 0, who,
                      ": expected images [N, C, H, W], got shape ", input);
}

namespace detail {

/// Throws ValueError, naming the caller, unless the size, or the factors, are positive.
/// @{
template <class Caller>
void check_scale(const Caller& who, const Size2& size) {
  require(size.h >= 1 && size.w >= 1, who, ": the size must be at least 1, got ", size);
}
template <class Caller>
void check_scale(const Caller& who, const ScaleFactor& factor) {
  constexpr double most = 1 << 16;
  require(factor.h > 0 && factor.w > 0 && factor.h <= most && factor.w <= most, who,
          ": scale factors must be positive and at most ", most, ", got ", factor);
}
/// @}

}  // namespace detail

/// Images [N, C, H, W] resampled to the given height and width, as torch.nn.functional.interpolate does: `nearest`
/// takes pixel floor(i H / OH), `nearest-exact` floor((i + 1/2) H / OH), `bilinear` weighs the four neighbours and
/// `bicubic` sixteen (no antialiasing). The floor is that of the exact quotient; PyTorch takes floor(i s) with s = H /
/// OH rounded to float, which for 1.2 % of the pairs of sizes up to 128 is another pixel somewhere. Throws ValueError
/// for a size below 1 and for align_corners with a nearest pixel, ShapeError for another input.
template <class Scalar>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, Size2 size, const InterpolateOptions& options = {}) {
  check_interpolation("interpolate", options);
  detail::check_scale("interpolate", size);
  check_interpolated("interpolate", x.shape());
  return detail::interpolate(x, size, options);
}
/// By factors: to floor(H factor), where pixel i lies at i / factor (`nearest`), or (i + 1/2) / factor - 1/2, as
/// PyTorch's scale_factor (without recompute_scale_factor). Say interpolate(x, ScaleFactor(0.6)).
template <class Scalar, std::same_as<ScaleFactor> Factor>
Tensor<Scalar> interpolate(const Tensor<Scalar>& x, Factor factor, const InterpolateOptions& options = {}) {
  check_interpolation("interpolate", options);
  detail::check_scale("interpolate", factor);
  check_interpolated("interpolate", x.shape());
  return detail::interpolate(x, ImageScale(factor), options);
}

namespace detail {

/// What Interpolate and Upsample share: interpolate() as a layer.
template <class Derived, class Scalar>
class Resampling : public Layer<Derived, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    check_interpolated(*this, input);
    const Size2 size = scale_.size({input[2], input[3]});
    require<ShapeError>(size.h >= 1 && size.w >= 1, *this, ": leaves no pixel, got shape ", input);
    return {input[0], input[1], size.h, size.w};
  }
  Fields fields() const override {
    Fields fields(Derived::type_name);
    if (scale_.factor())
      fields.argument("scale_factor", scale_.factor()->to_string());
    else
      fields.argument("size", scale_.size(1));
    return add_fields(std::move(fields), options_);
  }

  /// What it was made with.
  /// @{
  const ImageScale& scale() const { return scale_; }
  const InterpolateOptions& options() const { return options_; }
  /// @}

 protected:
  template <class Scale>
  Resampling(const Scale& scale, const InterpolateOptions& options) : scale_(scale), options_(options) {
    check_interpolation(*this, options);
    check_scale(*this, scale);
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    this->output_shape(x.shape());
    return detail::interpolate(x, scale_, options_);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.template pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    return interpolate_backward(std::move(dy), shape, scale_, options_);
  }

  ImageScale scale_;
  InterpolateOptions options_;
};

}  // namespace detail

/// interpolate() as a layer: [N, C, H, W] -> [N, C, size.h, size.w], or to floor(H factor) by factors:
/// Interpolate({224, 224}), Interpolate(ScaleFactor(0.5), {.mode = "bicubic"}). Throws as interpolate(), and ShapeError
/// where factors leave no pixel.
template <class Scalar = float>
class Interpolate : public detail::Resampling<Interpolate<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Interpolate";  ///< its name in messages

  /// To a size.
  explicit Interpolate(Size2 size, const InterpolateOptions& options = {})
      : detail::Resampling<Interpolate<Scalar>, Scalar>(size, options) {}
  /// By factors.
  template <std::same_as<ScaleFactor> Factor>
  explicit Interpolate(Factor factor, const InterpolateOptions& options = {})
      : detail::Resampling<Interpolate<Scalar>, Scalar>(factor, options) {}
};

}  // namespace lamina::inline LAMINA_ABI
