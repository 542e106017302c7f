#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/packed_cache.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Linear.
struct LinearOptions {
  bool bias = true;  ///< whether a bias is added, which is learned
};

/// y = x weightᵀ + bias, on the last axis.
///
/// Shapes: x [..., in], weight [out, in], bias [out], y [..., out]. Weight and bias start from U(-b, b),
/// b = 1 / sqrt(in), drawn from default_random(). Throws ValueError for sizes below 1, ShapeError for another last
/// axis.
template <class Scalar = float>
class Linear : public Layer<Linear<Scalar>, Scalar> {
 public:
  /// [out, in]
  Parameter<Scalar> weight;
  Parameter<Scalar> bias;  ///< empty with {.bias = false}

  /// Shapes, defaults and errors are said at the class.
  Linear(Index in_features, Index out_features, const LinearOptions& options = {})
      : in_(in_features), out_(out_features), has_bias_(options.bias) {
    require(in_ >= 1 && out_ >= 1, *this, ": sizes must be at least 1");
    weight = init::uniform_fan_in<Scalar>({out_, in_}, in_);
    if (has_bias_) bias = init::uniform_fan_in<Scalar>({out_}, in_);
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 1 && input[-1] == in_, *this, ": expected ", in_,
                        " features in the last axis, got shape ", input);
    return input.with(-1, out_);
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"weight", &weight}};
    if (has_bias_) result.push_back({"bias", &bias});
    return result;
  }

  Fields fields() const override {
    return Fields("Linear").argument("in_features", in_).argument("out_features", out_).option("bias", has_bias_, true);
  }

  Index multiply_adds(const Shape& input) const override { return output_shape(input).numel() * in_; }

 private:
  using Packed = kernels::PackedMatrix<Scalar>;

  const Scalar* bias_data() const { return has_bias_ ? bias.value.data() : nullptr; }

  /// With the weight in panels, whose product goes the same way for any number of rows: a row's bits do not depend on
  /// the others.
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Packed packed = packed_.get(
        weight.value, [](const Packed&) { return true; },
        [&] { return kernels::pack_matrix<Scalar>(in_, out_, kernels::transposed(weight.value.data(), in_)); });
    Tensor<Scalar> y(output_shape(x.shape()));
    kernels::gemm(y.numel() / out_, kernels::row_major(std::as_const(x).data(), in_), packed,
                  kernels::MatrixView<Scalar>{y.data(), out_, 1}, kernels::Store::assign, bias_data());
    return y;
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    packed_.clear();
    tape.push(x);
    Tensor<Scalar> y(output_shape(x.shape()));
    kernels::gemm(y.numel() / out_, out_, in_, kernels::row_major(std::as_const(x).data(), in_),
                  kernels::transposed(weight.value.data(), in_), y.data(), kernels::Store::assign, bias_data());
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.pop<Tensor<Scalar>>();
    const Tensor<Scalar> gradient = std::move(dy);
    const Index rows = gradient.numel() / out_;
    if (weight.requires_grad)
      kernels::gemm(out_, in_, rows, kernels::transposed(gradient.data(), out_), kernels::row_major(x.data(), in_),
                    weight.gradient().data(), kernels::Store::add);
    if (has_bias_ && bias.requires_grad) {
      const Scalar one(1);  // the sums of the columns are a product with a row of ones
      kernels::gemm(1, out_, rows, {&one, 0, 0}, kernels::row_major(gradient.data(), out_), bias.gradient().data(),
                    kernels::Store::add);
    }
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(x.shape());
    kernels::gemm(rows, in_, out_, kernels::row_major(gradient.data(), out_),
                  kernels::row_major(std::as_const(weight).value.data(), in_), dx.data());
    return dx;
  }

  Index in_, out_;
  bool has_bias_;
  detail::PackedCache<Scalar, Packed> packed_;
};

}  // namespace lamina::inline LAMINA_ABI
