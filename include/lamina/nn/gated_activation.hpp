#pragma once

#include <string>
#include <utility>

#include "lamina/nn/axis.hpp"
#include "lamina/nn/gate.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// One of the two activations of a gate, on packs; Identity is none.
/// @{
template <class F, class Pack>
Pack gate_value(const F& f, Pack x) {
  if constexpr (requires { f.value(x); })
    return f.value(x);
  else
    return x;
}
/// dy f'(x), given x and y = f(x).
template <class F, class Pack>
Pack gate_gradient(const F& f, Pack x, Pack y, Pack dy) {
  if constexpr (requires { f.gradient(x, dy); })
    return f.gradient(f.saved() == Saved::input ? x : y, dy);
  else
    return dy;
}
/// @}

/// What y = f(a) g(b) is whatever the functions are: along an axis the first half of the entries is a, the second b.
template <class Derived, class Scalar, class F, class G>
class Gated : public Layer<Derived, Scalar> {
 public:
  Shape output_shape(const Shape& input) const override {
    const int axis = axis_position(dim_, input, *this);
    require<ShapeError>(input[axis] % 2 == 0, *this, ": expected an even extent in axis ", axis, ", got shape ", input);
    return input.with(axis, input[axis] / 2);
  }
  Fields fields() const override { return Fields(Derived::type_name).field("dim", dim_, dim_ == -1 ? "" : text(dim_)); }
  /// Along the channels of images.
  Locality locality() const override { return dim_ == 1 || dim_ == -3 ? Locality::pixel : Locality::image; }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const F& first() const { return f_; }
  const G& second() const { return g_; }
  /// @}

 protected:
  Gated(F f, G g, int dim) : f_(std::move(f)), g_(std::move(g)), dim_(dim) {}

 private:
  using Pack = simd::Pack<Scalar>;

  /// What lies before the axis.
  Index parts(const Shape& shape) const { return shape.product(0, axis_position(dim_, shape, *this)); }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    for_each_gate<Scalar>(parts(y.shape()), y.numel(),
                          [in, out, &f = f_, &g = g_](Index a, Index b, Index to, auto... lanes) {
                            const Pack left = Pack::load(in + a, lanes...), right = Pack::load(in + b, lanes...);
                            (gate_value(f, left) * gate_value(g, right)).store(out + to, lanes...);
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
    for_each_gate<Scalar>(parts(dy.shape()), dy.numel(),
                          [in, gradient, out, &f = f_, &g = g_](Index a, Index b, Index from, auto... lanes) {
                            const Pack left = Pack::load(in + a, lanes...), right = Pack::load(in + b, lanes...);
                            const Pack value = gate_value(f, left), gate = gate_value(g, right);
                            const Pack d = Pack::load(gradient + from, lanes...);
                            gate_gradient(f, left, value, d * gate).store(out + a, lanes...);
                            gate_gradient(g, right, gate, d * value).store(out + b, lanes...);
                          });
    return dx;
  }

  F f_;
  G g_;
  int dim_;
};

}  // namespace detail

/// A gate of any two activations, y = f(a) g(b): along an axis the first half of the entries is a, the second b.
///
///   GatedActivation(SiLU(), Identity())        a Llama's, whose gates come first
///   GatedActivation(Tanh(), Sigmoid(), 1)      PixelCNN's, of channels
///
/// Shapes: x [..., 2n, ...], y [..., n, ...]. F and G are elementwise activations of the same scalar type, or Identity.
/// Throws ShapeError for an axis that x does not have, or an odd extent.
template <class F, class G>
class GatedActivation : public detail::Gated<GatedActivation<F, G>, ScalarOf<F>, F, G> {
 public:
  static constexpr const char* type_name = "GatedActivation";  ///< its name in messages

  /// Along axis dim; negative ones count from the end.
  explicit GatedActivation(F f, G g, int dim = -1)
      : detail::Gated<GatedActivation, ScalarOf<F>, F, G>(std::move(f), std::move(g), dim) {}

  Fields fields() const override {
    return Fields(type_name)
        .argument("first", this->first().name())
        .argument("second", this->second().name())
        .field("dim", this->dim(), this->dim() == -1 ? "" : text("dim=", this->dim()));
  }
};

}  // namespace lamina::inline LAMINA_ABI
