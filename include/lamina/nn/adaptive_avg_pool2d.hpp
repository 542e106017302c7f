#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/pooling.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Throws ValueError, naming the layer, unless each size is at least 1, or -1 to keep the input's.
template <class Scalar>
void check_output_size(const Module<Scalar>& layer, const Size2& size) {
  require((size.h >= 1 || size.h == -1) && (size.w >= 1 || size.w == -1), layer,
          ": output_size must be at least 1, or -1 to keep the input's, got ", size);
}
template <class Scalar>
Shape adaptive_shape(const Module<Scalar>& layer, const Shape& input, const Size2& size) {
  require_images(layer, input);
  return {input[0], input[1], size.h == -1 ? input[2] : size.h, size.w == -1 ? input[3] : size.w};
}
/// `out` regions that cover an axis, or as many as it has places for -1.
inline std::vector<kernels::Span> adaptive_spans(Index in, Index out) {
  if (out == -1) out = in;
  std::vector<kernels::Span> result;
  for (Index o = 0; o < out; ++o) {
    const Index first = o * in / out, last = ((o + 1) * in + out - 1) / out;
    result.push_back({first, last, last - first});
  }
  return result;
}

}  // namespace detail

/// Averages the image over OH x OW regions that cover it, whatever its size; AdaptiveAvgPool2d(1) is the global
/// average.
///
///   y[n, c, i, j] = mean of x[n, c, a, b] over floor(i H / OH) <= a < ceil((i + 1) H / OH), and b alike
///
/// Shapes: x [N, C, H, W], y [N, C, OH, OW]; an output size of -1 keeps the input's along that axis (PyTorch's None).
/// Throws ValueError for an output size that is neither positive nor -1, ShapeError for an input that is not
/// [N, C, H, W].
template <class Scalar = float>
class AdaptiveAvgPool2d : public detail::AveragePool<AdaptiveAvgPool2d<Scalar>, Scalar> {
 public:
  /// Throws ValueError unless each size is at least 1, or -1 to keep the input's.
  explicit AdaptiveAvgPool2d(Size2 output_size) : size_(output_size) { detail::check_output_size(*this, size_); }

  Shape output_shape(const Shape& input) const override { return detail::adaptive_shape(*this, input, size_); }
  Fields fields() const override { return Fields("AdaptiveAvgPool2d").argument("output_size", size_); }

  /// What it was made with.
  const Size2& output_size() const { return size_; }

  /// What each row, or column, of the result averages.
  /// @{
  std::vector<kernels::Span> row_spans(Index h) const override { return detail::adaptive_spans(h, size_.h); }
  std::vector<kernels::Span> column_spans(Index w) const override { return detail::adaptive_spans(w, size_.w); }
  /// @}

 private:
  Size2 size_;
};

}  // namespace lamina::inline LAMINA_ABI
