#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

template <bool logarithm, class Scalar, class Caller>
Tensor<Scalar> softmax(Tensor<Scalar> x, int dim, const Caller& caller) {
  const AroundAxis axis(x.shape(), dim, caller);
  const Scalar* in = std::as_const(x).data();
  Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
  kernels::softmax<logarithm>(axis.outer, axis.n, axis.inner, in, y.data());
  return y;
}

/// What Softmax and LogSoftmax share; they keep y for backward.
template <class Derived, class Scalar, bool logarithm>
class SoftmaxLayer : public Layer<Derived, Scalar> {
 public:
  explicit SoftmaxLayer(int dim) : dim_(dim) {}

  Saved saved() const override { return Saved::output; }
  Shape output_shape(const Shape& input) const override {
    AroundAxis(input, dim_, *this);
    return input;
  }
  Fields fields() const override { return Fields(Derived::type_name).argument("dim", dim_); }

  int dim() const { return dim_; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return softmax<logarithm>(std::move(x), dim_, *this); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y = do_infer(std::move(x));
    tape.push(y);
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [y] = tape.pop<Tensor<Scalar>>();
    const AroundAxis axis(y.shape(), dim_, *this);
    const Scalar* grad = std::as_const(dy).data();
    Tensor<Scalar> dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(dy.shape());
    kernels::softmax_backward<logarithm>(axis.outer, axis.n, axis.inner, y.data(), grad, dx.data());
    return dx;
  }

  int dim_;
};

}  // namespace detail

/// y = e^x / sum e^x along an axis, which then sums to 1; `dim` may be negative. By default the last axis, the classes
/// of logits [N, K]: `softmax(net(images))`. Finite x never overflow; a NaN makes its line NaN. Throws ShapeError for
/// an axis that x does not have.
template <class Scalar>
Tensor<Scalar> softmax(Tensor<Scalar> x, int dim = -1) {
  return detail::softmax<false>(std::move(x), dim, "softmax");
}

/// log softmax(x, dim) = x - log sum e^x, computed without a loss of small probabilities.
template <class Scalar>
Tensor<Scalar> log_softmax(Tensor<Scalar> x, int dim = -1) {
  return detail::softmax<true>(std::move(x), dim, "log_softmax");
}

/// y = softmax(x, dim); by default axis 1, the classes of [N, K] and the channels of [N, C, H, W].
template <class Scalar = float>
class Softmax : public detail::SoftmaxLayer<Softmax<Scalar>, Scalar, false> {
 public:
  static constexpr const char* type_name = "Softmax";  ///< its name in messages
  /// Along an axis; negative ones count from the end.
  explicit Softmax(int dim = 1) : detail::SoftmaxLayer<Softmax<Scalar>, Scalar, false>(dim) {}
};

/// y = log_softmax(x, dim); by default axis 1, the classes of [N, K] and the channels of [N, C, H, W].
template <class Scalar = float>
class LogSoftmax : public detail::SoftmaxLayer<LogSoftmax<Scalar>, Scalar, true> {
 public:
  static constexpr const char* type_name = "LogSoftmax";  ///< its name in messages
  /// Along an axis; negative ones count from the end.
  explicit LogSoftmax(int dim = 1) : detail::SoftmaxLayer<LogSoftmax<Scalar>, Scalar, true>(dim) {}
};

}  // namespace lamina::inline LAMINA_ABI
