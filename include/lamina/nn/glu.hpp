#pragma once

#include <utility>

#include "lamina/nn/axis.hpp"
#include "lamina/nn/gate.hpp"

namespace lamina::inline LAMINA_ABI {

/// The gated linear unit y = a sigmoid(b) (Dauphin, Fan, Auli and Grangier 2017): along an axis the first half of the
/// entries is a, the second b.
///
/// Shapes: x [..., 2n, ...], y [..., n, ...]. Throws ShapeError for an axis that x does not have, or an odd extent.
template <class Scalar = float>
class GLU : public Layer<GLU<Scalar>, Scalar> {
 public:
  /// Along axis dim; negative ones count from the end.
  explicit GLU(int dim = -1) : dim_(dim) {}

  Shape output_shape(const Shape& input) const override {
    const int axis = detail::axis_position(dim_, input, *this);
    require<ShapeError>(input[axis] % 2 == 0, *this, ": expected an even extent in axis ", axis, ", got shape ", input);
    return input.with(axis, input[axis] / 2);
  }
  Fields fields() const override { return Fields("GLU").field("dim", dim_, dim_ == -1 ? "" : text(dim_)); }

  /// What it was made with.
  int dim() const { return dim_; }

 private:
  using Pack = simd::Pack<Scalar>;

  /// What lies before the axis.
  Index parts(const Shape& shape) const { return shape.product(0, detail::axis_position(dim_, shape, *this)); }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    detail::for_each_gate<Scalar>(parts(y.shape()), y.numel(), [=](Index a, Index b, Index to, auto... lanes) {
      (Pack::load(in + a, lanes...) * simd::sigmoid(Pack::load(in + b, lanes...))).store(out + to, lanes...);
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
    detail::for_each_gate<Scalar>(parts(dy.shape()), dy.numel(), [=](Index a, Index b, Index from, auto... lanes) {
      const Pack value = Pack::load(in + a, lanes...), gate = simd::sigmoid(Pack::load(in + b, lanes...));
      const Pack g = Pack::load(gradient + from, lanes...) * gate;
      g.store(out + a, lanes...);
      (g * value * (Pack(1) - gate)).store(out + b, lanes...);
    });
    return dx;
  }

  int dim_;
};

}  // namespace lamina::inline LAMINA_ABI
