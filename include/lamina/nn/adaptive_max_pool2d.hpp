#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "lamina/nn/adaptive_avg_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// The largest of the regions of AdaptiveAvgPool2d: AdaptiveMaxPool2d(1) is the global maximum.
///
///   y[n, c, i, j] = max of x[n, c, a, b] over floor(i H / OH) <= a < ceil((i + 1) H / OH), and b alike
///
/// Shapes and errors as AdaptiveAvgPool2d's. Of equal values the first takes the gradient; a NaN is its region's
/// maximum.
template <class Scalar = float>
class AdaptiveMaxPool2d : public Layer<AdaptiveMaxPool2d<Scalar>, Scalar> {
 public:
  /// Throws ValueError unless each size is at least 1, or -1 to keep the input's.
  explicit AdaptiveMaxPool2d(Size2 output_size) : size_(output_size) { detail::check_output_size(*this, size_); }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override { return detail::adaptive_shape(*this, input, size_); }
  Fields fields() const override { return Fields("AdaptiveMaxPool2d").argument("output_size", size_); }

  /// What it was made with.
  const Size2& output_size() const { return size_; }
  /// What each row, or column, of the result sees.
  /// @{
  std::vector<kernels::Span> row_spans(Index h) const { return detail::adaptive_spans(h, size_.h); }
  std::vector<kernels::Span> column_spans(Index w) const { return detail::adaptive_spans(w, size_.w); }
  /// @}

 private:
  Tensor<Scalar> pool(const Tensor<Scalar>& x, std::int32_t* places) const {
    Tensor<Scalar> y(output_shape(x.shape()));
    if (y.empty()) return y;
    kernels::max_of_spans(x.dim(0) * x.dim(1), x.dim(2), x.dim(3), row_spans(x.dim(2)), column_spans(x.dim(3)),
                          x.data(), y.data(), places);
    return y;
  }
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return pool(x, nullptr); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Labels places(output_shape(x.shape()));
    Tensor<Scalar> y = pool(x, places.data());
    tape.push(x.shape(), std::move(places));
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape, places] = tape.template pop<Shape, Labels>();
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    const Index planes = shape[0] * shape[1], from = shape[2] * shape[3];
    const Index to = planes == 0 ? 0 : places.numel() / planes;
    const Scalar* const gradient = std::as_const(dy).data();
    const std::int32_t* const place = places.data();
    Scalar* const out = dx.data();
    for (Index i = 0; i < planes * to; ++i) out[i / to * from + place[i]] += gradient[i];
    return dx;
  }

  Size2 size_;
};

}  // namespace lamina::inline LAMINA_ABI
