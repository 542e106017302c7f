#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of LayerNorm.
struct LayerNormOptions {
  double eps = 1e-5;               ///< added to the variance
  bool elementwise_affine = true;  ///< learn weight and, unless it is off, bias
  bool bias = true;                ///< whether a bias is added, which is learned
};

/// Layer normalisation (Ba, Kiros, Hinton 2016) over the last axes of the input, those of normalized_shape:
///
///   y = (x - mean) / sqrt(variance + eps) * weight + bias
///
/// with mean and (biased) variance of each sample over those axes, weight and bias for each of their elements.
/// Shapes: x and y [..., normalized_shape], weight and bias normalized_shape; they start as ones and zeros.
/// Throws ValueError for an empty normalized_shape or a negative eps, ShapeError when the input's last axes differ.
template <class Scalar = float>
class LayerNorm : public Layer<LayerNorm<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< empty with {.elementwise_affine = false}
  Parameter<Scalar> bias;    ///< likewise, and with {.bias = false}

  /// Shapes, defaults and errors are said at the class.
  explicit LayerNorm(Index features, const LayerNormOptions& options = {}) : LayerNorm(Shape{features}, options) {}
  /// Shapes, defaults and errors are said at the class.
  explicit LayerNorm(const Shape& normalized_shape, const LayerNormOptions& options = {})
      : normalized_(normalized_shape), options_(options) {
    require(normalized_.rank() >= 1 && normalized_.numel() >= 1, *this, ": normalized_shape must not be empty, got ",
            normalized_);
    require(options_.eps >= 0, *this, ": eps must not be negative, got ", options_.eps);
    if (has_weight()) weight = Tensor<Scalar>::ones(normalized_);
    if (has_bias()) bias = Tensor<Scalar>::zeros(normalized_);
  }

  Shape output_shape(const Shape& input) const override {
    const int outer = input.rank() - normalized_.rank();
    require<ShapeError>(outer >= 0 && input.tail(outer) == normalized_, *this, ": expected last axes ", normalized_,
                        ", got shape ", input);
    return input;
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    if (has_weight()) result.push_back({"weight", &weight});
    if (has_bias()) result.push_back({"bias", &bias});
    return result;
  }

  Fields fields() const override {
    return Fields("LayerNorm")
        .field("normalized_shape", normalized_, normalized_.rank() == 1 ? text(normalized_[0]) : text(normalized_))
        .option("eps", options_.eps, LayerNormOptions{}.eps)
        .option("elementwise_affine", options_.elementwise_affine, true)
        .option("bias", options_.bias, true);
  }

  Index multiply_adds(const Shape&) const override { return 0; }

  /// What it was made with.
  /// @{
  const Shape& normalized_shape() const { return normalized_; }
  const LayerNormOptions& options() const { return options_; }
  /// @}

 private:
  bool has_weight() const { return options_.elementwise_affine; }
  bool has_bias() const { return options_.elementwise_affine && options_.bias; }

  void normalize(const Shape& shape, const Scalar* x, Scalar* y, Scalar* mean, Scalar* inverse) const {
    const Index n = normalized_.numel();
    kernels::normalize_rows(shape.numel() / n, n, static_cast<Scalar>(options_.eps), x,
                            has_weight() ? weight.value.data() : nullptr, has_bias() ? bias.value.data() : nullptr, y,
                            mean, inverse);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    output_shape(x.shape());
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    normalize(y.shape(), in, y.data(), nullptr, nullptr);
    return y;
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y(output_shape(x.shape()));
    Tensor<Scalar> moments({2, y.numel() / normalized_.numel()});
    Scalar* const mean = moments.data();
    normalize(x.shape(), std::as_const(x).data(), y.data(), mean, mean + moments.dim(1));
    tape.push(std::move(x), std::move(moments));
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x, moments] = tape.pop<Tensor<Scalar>, Tensor<Scalar>>();
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx;
    if (input_grad == InputGrad::compute) dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(x.shape());
    kernels::normalize_rows_backward(moments.dim(1), normalized_.numel(), x.data(), gradient,
                                     has_weight() ? std::as_const(weight).value.data() : nullptr, moments.data(),
                                     moments.data() + moments.dim(1),
                                     input_grad == InputGrad::compute ? dx.data() : nullptr,
                                     has_weight() && weight.requires_grad ? weight.gradient().data() : nullptr,
                                     has_bias() && bias.requires_grad ? bias.gradient().data() : nullptr);
    return dx;
  }

  Shape normalized_;
  LayerNormOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
