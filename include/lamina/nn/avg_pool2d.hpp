#pragma once

#include <algorithm>
#include <concepts>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/pooling.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of AvgPool2d.
struct AvgPool2dOptions {
  Size2 stride = kernel_sized;              ///< of the window, by height and width
  Padding padding = 0;                      ///< zeros around the image, at most half of the kernel; or "same"
  bool ceil_mode = false;                   ///< also keep a last window that hangs over the edge
  bool count_include_pad = true;            ///< whether the zeros of the padding count in the divisor
  std::optional<Index> divisor_override{};  ///< divide by this in place of the window's size
};

/// y[n, c, i, j] = 1 / D * sum over a, b of x[n, c, i SH - PH + a, j SW - PW + b], in every window of kernel size
/// KH, KW; zeros outside the image.
///
/// D is KH KW, less what hangs over the padded image (ceil_mode) and, without count_include_pad, over the image itself;
/// or divisor_override. TensorFlow's SAME is {.padding = "same", .count_include_pad = false}. Shapes: x [N, C, H, W], y
/// [N, C, OH, OW] as for MaxPool2d. Throws ValueError for sizes below 1, a padding of more than half of the kernel or a
/// divisor of 0, ShapeError for an input that is not [N, C, H, W] or too small.
template <class Scalar = float>
class AvgPool2d : public detail::AveragePool<AvgPool2d<Scalar>, Scalar> {
 public:
  /// What PyTorch's order of arguments is told here.
  template <std::integral Stride, class Padding, class... Rest>
  AvgPool2d(Size2, Stride, const Padding&, const Rest&...) : AvgPool2d(1) {
    static_assert(sizeof(Scalar) == 0,
                  "the options of AvgPool2d have names: AvgPool2d(3, {.stride = 2, .padding = 1}) and the like");
  }
  /// Shapes, defaults and errors are said at the class.
  explicit AvgPool2d(Size2 kernel_size, const AvgPool2dOptions& options = {})
      : window_{kernel_size, options.stride == kernel_sized ? kernel_size : options.stride, options.padding, 1,
                options.ceil_mode},
        count_include_pad_(options.count_include_pad),
        divisor_override_(options.divisor_override) {
    window_.validate(*this);
    require(divisor_override_ != 0, *this, ": divisor_override must not be 0");
  }

  Shape output_shape(const Shape& input) const override { return window_.output_shape(*this, input); }
  Fields fields() const override {
    return window_.fields("AvgPool2d")
        .option("count_include_pad", count_include_pad_, true)
        .option("divisor_override", divisor_override_, std::nullopt);
  }

  /// What it was made with.
  const Size2& kernel_size() const { return window_.kernel; }
  /// With the stride that was chosen.
  AvgPool2dOptions options() const {
    return {window_.stride, window_.padding, window_.ceil_mode, count_include_pad_, divisor_override_};
  }

  /// The padding of an image of this size, in numbers.
  Padding padding(const Size2& image) const { return window_.around(image); }
  /// What each row, or column, of the result averages.
  /// @{
  std::vector<kernels::Span> row_spans(Index h) const override {
    return spans(window_.rows(h), window_.around({h, 1}).bottom, divisor_override_.value_or(0));
  }
  std::vector<kernels::Span> column_spans(Index w) const override {
    return spans(window_.columns(w), window_.around({1, w}).right, divisor_override_ ? 1 : 0);
  }
  /// @}

 private:
  /// The windows along one axis with zeros behind it; their divisors are `divisor`, or what they see if that is 0.
  std::vector<kernels::Span> spans(const kernels::WindowAxis& axis, Index behind, Index divisor) const {
    std::vector<kernels::Span> result;
    for (Index o = 0; o < axis.out; ++o) {
      const Index first = axis.start(o), padded_last = std::min(first + axis.kernel, axis.in + behind);
      kernels::Span span{std::max<Index>(first, 0), std::min(padded_last, axis.in), divisor};
      if (divisor == 0) span.divisor = count_include_pad_ ? padded_last - first : span.last - span.first;
      result.push_back(span);
    }
    return result;
  }

  detail::PoolWindow window_;
  bool count_include_pad_;
  std::optional<Index> divisor_override_;
};

}  // namespace lamina::inline LAMINA_ABI
