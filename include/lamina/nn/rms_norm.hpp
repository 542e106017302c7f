#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of RMSNorm.
struct RMSNormOptions {
  std::optional<double> eps = std::nullopt;  ///< added to the mean of the squares; none: the scalar type's epsilon
  bool elementwise_affine = true;            ///< learn weight
};

/// Root mean square normalisation (Zhang and Sennrich 2019) over the last axes of the input, those of normalized_shape:
///
///   y = x / sqrt(mean of x^2 + eps) * weight
///
/// with the mean of each sample over those axes, and a weight for each of their elements.
/// Shapes: x and y [..., normalized_shape], weight normalized_shape; it starts as ones. Throws ValueError for an empty
/// normalized_shape or a negative eps, ShapeError when the input's last axes differ.
template <class Scalar = float>
class RMSNorm : public Layer<RMSNorm<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< empty with {.elementwise_affine = false}

  /// Shapes, defaults and errors are said at the class.
  explicit RMSNorm(Index features, const RMSNormOptions& options = {}) : RMSNorm(Shape{features}, options) {}
  /// Shapes, defaults and errors are said at the class.
  explicit RMSNorm(const Shape& normalized_shape, const RMSNormOptions& options = {})
      : normalized_(normalized_shape), options_(options) {
    require(normalized_.rank() >= 1 && normalized_.numel() >= 1, *this, ": normalized_shape must not be empty, got ",
            normalized_);
    require(eps() >= 0, *this, ": eps must not be negative, got ", eps());
    if (options_.elementwise_affine) weight = Tensor<Scalar>::ones(normalized_);
  }

  Shape output_shape(const Shape& input) const override {
    const int outer = input.rank() - normalized_.rank();
    require<ShapeError>(outer >= 0 && input.tail(outer) == normalized_, *this, ": expected last axes ", normalized_,
                        ", got shape ", input);
    return input;
  }
  Members<Scalar> members() override {
    if (options_.elementwise_affine) return {{"weight", &weight}};
    return {};
  }
  Fields fields() const override {
    return Fields("RMSNorm")
        .field("normalized_shape", normalized_, normalized_.rank() == 1 ? text(normalized_[0]) : text(normalized_))
        .option("eps", options_.eps, std::nullopt)
        .option("elementwise_affine", options_.elementwise_affine, true);
  }

  /// What it was made with.
  /// @{
  const Shape& normalized_shape() const { return normalized_; }
  const RMSNormOptions& options() const { return options_; }
  /// @}
  /// What is added to the mean of the squares.
  double eps() const { return options_.eps.value_or(static_cast<double>(std::numeric_limits<Scalar>::epsilon())); }

 private:
  const Scalar* factors() const { return options_.elementwise_affine ? weight.value.data() : nullptr; }
  void normalize(const Shape& shape, const Scalar* x, Scalar* y, Scalar* mean, Scalar* inverse) const {
    const Index n = normalized_.numel();
    kernels::normalize_rows<false>(shape.numel() / n, n, static_cast<Scalar>(eps()), x, factors(),
                                   static_cast<const Scalar*>(nullptr), y, mean, inverse);
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
    const auto [x, moments] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx;
    if (input_grad == InputGrad::compute) dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(x.shape());
    const bool learns = options_.elementwise_affine && weight.requires_grad;
    kernels::normalize_rows_backward<false>(
        moments.dim(1), normalized_.numel(), x.data(), gradient, std::as_const(*this).factors(), moments.data(),
        moments.data() + moments.dim(1), input_grad == InputGrad::compute ? dx.data() : nullptr,
        learns ? weight.gradient().data() : nullptr, static_cast<Scalar*>(nullptr));
    return dx;
  }

  Shape normalized_;
  RMSNormOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
