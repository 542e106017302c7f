#pragma once

#include <utility>

#include "lamina/nn/elu.hpp"
#include "lamina/nn/gate.hpp"

namespace lamina::inline LAMINA_ABI {

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

 private:
  using Pack = simd::Pack<Scalar>;

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    detail::for_each_gate<Scalar>(x.dim(0), x.numel(), [=](Index plus, Index minus, Index from, auto... lanes) {
      const ELU<Scalar> elu;
      const Pack value = Pack::load(in + from, lanes...);
      elu.value(value).store(out + plus, lanes...);
      elu.value(Pack(0) - value).store(out + minus, lanes...);
    });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const Scalar *const in = x.data(), *const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx(x.shape());
    Scalar* const out = dx.data();
    detail::for_each_gate<Scalar>(x.dim(0), x.numel(), [=](Index plus, Index minus, Index to, auto... lanes) {
      const Pack value = Pack::load(in + to, lanes...), slope = simd::exp(Pack(0) - simd::abs(value));
      const Pack up = Pack::load(gradient + plus, lanes...), down = Pack::load(gradient + minus, lanes...);
      select(value > Pack(0), up - down * slope, up * slope - down).store(out + to, lanes...);
    });
    return dx;
  }
};

}  // namespace lamina::inline LAMINA_ABI
