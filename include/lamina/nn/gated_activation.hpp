#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/halves.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

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
    return f.gradient(f.F::saved() == Saved::input ? x : y, dy);
  else
    return dy;
}
/// @}

/// f(a) and g(b).
template <class F, class G>
struct GatedFactors {
  const F* f;
  const G* g;
  template <class V>
  std::pair<V, V> operator()(V a, V b) const {
    return {gate_value(*f, a), gate_value(*g, b)};
  }
};
/// The gradients of a and b.
template <class F, class G>
struct GatedGradient {
  const F* f;
  const G* g;
  template <class V>
  std::pair<V, V> operator()(V a, V b, V dy) const {
    const V value = gate_value(*f, a), by = gate_value(*g, b);
    return {gate_gradient(*f, a, value, dy * by), gate_gradient(*g, b, by, dy * value)};
  }
};

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

  /// Along axis 1, of images whose halves fill their blocks.
  Blocks blocks(const Values<Scalar>& x) const override {
    return dim_ == 1 && fill_blocks<Scalar>(x[0].shape(), 2) ? Blocks::keeps : Blocks::no;
  }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const F& first() const { return f_; }
  const G& second() const { return g_; }
  /// @}

 protected:
  Gated(F f, G g, int dim) : f_(std::move(f)), g_(std::move(g)), dim_(dim) {}

 private:
  /// What lies before the axis, and the elements of y for each of these.
  std::pair<Index, Index> sizes(const Shape& y) const {
    const Index parts = y.product(0, axis_position(dim_, y, *this));
    return {parts, y.numel() == 0 ? 0 : y.numel() / parts};
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const auto [parts, half] = sizes(y.shape());
    Scalar* const kept = nullptr;
    kernels::gate(parts, half, GatedFactors<F, G>{&f_, &g_}, std::as_const(x).data(), kept, y.data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const auto [parts, half] = sizes(dy.shape());
    Tensor<Scalar> dx(x.shape());
    kernels::gate_backward(parts, half, GatedGradient<F, G>{&f_, &g_}, x.data(), std::as_const(dy).data(), dx.data());
    return dx;
  }

  F f_;
  G g_;
  int dim_;
};

}  // namespace detail

/// What GatedActivation shows of itself whatever its activations are, as to save_onnx.
template <class Scalar>
class ActivationPair {
 public:
  /// f, g, and the axis.
  /// @{
  virtual const Primitive<Scalar>& first_activation() const = 0;
  virtual const Primitive<Scalar>& second_activation() const = 0;
  virtual int axis() const = 0;
  /// @}

 protected:
  ~ActivationPair() = default;
};

/// A gate of any two activations, y = f(a) g(b): along an axis the first half of the entries is a, the second b.
///
///   GatedActivation(SiLU(), Identity())        a Llama's, whose gates come first
///   GatedActivation(Tanh(), Sigmoid(), 1)      PixelCNN's, of channels
///
/// Shapes: x [..., 2n, ...], y [..., n, ...]. F and G are elementwise activations of the same scalar type, or Identity.
/// Throws ShapeError for an axis that x does not have, or an odd extent.
template <class F, class G>
class GatedActivation : public detail::Gated<GatedActivation<F, G>, ScalarOf<F>, F, G>,
                        public ActivationPair<ScalarOf<F>> {
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

  const Primitive<ScalarOf<F>>& first_activation() const override { return this->first(); }
  const Primitive<ScalarOf<F>>& second_activation() const override { return this->second(); }
  int axis() const override { return this->dim(); }
};

}  // namespace lamina::inline LAMINA_ABI
