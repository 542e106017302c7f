#pragma once

#include <utility>

#include "lamina/kernels/halves.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/elu.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// elu(x) and elu(-x).
template <class Scalar>
struct EluPair {
  const ELU<Scalar>* elu;
  template <class V>
  std::pair<V, V> operator()(V x) const {
    return {elu->value(x), elu->value(V(0) - x)};
  }
};
/// The gradient of x by those of the pair.
struct EluPairGradient {
  template <class V>
  V operator()(V up, V down, V x) const {
    const V slope = simd::exp(V(0) - simd::abs(x));
    return select(x > V(0), up - down * slope, up * slope - down);
  }
};

}  // namespace detail

/// y = (elu(x), elu(-x)), one behind the other in the channels (Salimans et al. 2017, after the concatenated ReLU of
/// Shang et al. 2016): nothing of x is lost, and no unit dies.
///
/// Shapes: x [N, C, ...], y [N, 2C, ...]. Throws ShapeError for an input without channels.
template <class Scalar = float>
class ConcatELU : public Layer<ConcatELU<Scalar>, Scalar> {
 public:
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 2, *this, ": expected [N, channels, ...], got shape ", input);
    return input.with(1, 2 * input[1]);
  }
  Fields fields() const override { return Fields("ConcatELU"); }
  Locality locality() const override { return Locality::pixel; }
  /// Of images that fill their blocks.
  Blocks blocks(const Values<Scalar>& x) const override {
    return detail::fill_blocks<Scalar>(x[0].shape()) ? Blocks::keeps : Blocks::no;
  }

 private:
  static Index half(const Tensor<Scalar>& x) { return x.empty() ? 0 : x.numel() / x.dim(0); }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const ELU<Scalar> elu;
    kernels::split(x.dim(0), half(x), detail::EluPair<Scalar>{&elu}, std::as_const(x).data(), y.data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    Tensor<Scalar> dx(x.shape());
    kernels::split_backward(x.dim(0), half(x), detail::EluPairGradient(), std::as_const(dy).data(), x.data(),
                            dx.data());
    return dx;
  }
};

}  // namespace lamina::inline LAMINA_ABI
