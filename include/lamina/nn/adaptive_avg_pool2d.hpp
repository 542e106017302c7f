#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/pooling.hpp"

namespace lamina {

/// Averages the image over OH x OW regions that cover it, whatever its size; AdaptiveAvgPool2d(1) is the global
/// average.
///
///   y[n, c, i, j] = mean of x[n, c, a, b] over floor(i H / OH) <= a < ceil((i + 1) H / OH), and b alike
///
/// Shapes: x [N, C, H, W], y [N, C, OH, OW]; an output size of -1 keeps the input's along that axis (PyTorch's None).
/// Throws ValueError for an output size that is neither positive nor -1, ShapeError for an input that is not
/// [N, C, H, W].
template <class Scalar = float>
class AdaptiveAvgPool2d : public Layer<AdaptiveAvgPool2d<Scalar>, Scalar> {
 public:
  explicit AdaptiveAvgPool2d(Size2 output_size) : size_(output_size) {
    detail::require((size_.h >= 1 || size_.h == -1) && (size_.w >= 1 || size_.w == -1), name(),
                    ": output_size must be at least 1, or -1 to keep the input's, got ", size_);
  }

  Shape output_shape(const Shape& input) const override {
    detail::require_images(*this, input);
    return {input[0], input[1], size_.h == -1 ? input[2] : size_.h, size_.w == -1 ? input[3] : size_.w};
  }
  Members<Scalar> members() override { return {}; }
  std::string name() const override { return detail::text("AdaptiveAvgPool2d(", size_, ")"); }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    if (y.empty()) return y;
    kernels::avg_pool(x.dim(0) * x.dim(1), x.dim(2), x.dim(3), spans(x.dim(2), y.dim(2)), spans(x.dim(3), y.dim(3)),
                      std::as_const(x).data(), y.data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(shape);
    if (dx.empty()) return dx;
    kernels::avg_pool_backward(shape[0] * shape[1], shape[2], shape[3], spans(shape[2], dy.dim(2)),
                               spans(shape[3], dy.dim(3)), std::as_const(dy).data(), dx.data());
    return dx;
  }

  static std::vector<kernels::Span> spans(Index in, Index out) {
    std::vector<kernels::Span> result;
    for (Index o = 0; o < out; ++o) {
      const Index first = o * in / out, last = ((o + 1) * in + out - 1) / out;
      result.push_back({first, last, last - first});
    }
    return result;
  }

  Size2 size_;
};

}  // namespace lamina
