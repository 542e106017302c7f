#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/halves.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// tanh(a) and sigmoid(b).
struct GateFactors {
  template <class V>
  std::pair<V, V> operator()(V a, V b) const {
    return {simd::tanh(a), simd::sigmoid(b)};
  }
};
/// The gradients of a and b, given these.
struct GateGradient {
  template <class V>
  std::pair<V, V> operator()(V value, V gate, V dy) const {
    const V slope = dy * gate;
    return {slope * (V(1) - value * value), slope * value * (V(1) - gate)};
  }
};

}  // namespace detail

/// Options of Gate.
struct GateOptions {
  Index groups = 1;  ///< of channels, each with values and gates of its own
};

/// The gated activation unit y = tanh(a) sigmoid(b), elementwise (van den Oord et al. 2016, "Conditional image
/// generation with PixelCNN decoders", equation 2): of the channels, or of each group of them, the first half is a,
/// the second b.
///
/// Shapes: x [N, 2C, ...], y [N, C, ...]. Throws ValueError for less than 1 group; ShapeError where the channels are no
/// multiple of 2 groups.
template <class Scalar = float>
class Gate : public Layer<Gate<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit Gate(const GateOptions& options = {}) : groups_(options.groups) {
    require(groups_ >= 1, *this, ": groups must be at least 1");
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 2 && input[1] % (2 * groups_) == 0, *this,
                        ": expected [N, channels, ...] with a multiple of ", 2 * groups_, " channels, got shape ",
                        input);
    return input.with(1, input[1] / 2);
  }
  Members<Scalar> members() override { return {}; }
  Fields fields() const override { return Fields("Gate").option("groups", groups_, 1); }
  Index multiply_adds(const Shape&) const override { return 0; }
  Locality locality() const override { return Locality::pixel; }
  /// Of images whose halves fill their blocks: these lie as planes do.
  Blocks blocks(const Values<Scalar>& x) const override {
    return detail::fill_blocks<Scalar>(x[0].shape(), 2 * groups_) ? Blocks::keeps : Blocks::no;
  }

  /// What it was made with.
  Index groups() const { return groups_; }

 private:
  /// Of a result: rows of values, and elements of each.
  /// @{
  Index parts(const Tensor<Scalar>& y) const { return y.dim(0) * groups_; }
  Index half(const Tensor<Scalar>& y) const { return y.empty() ? 0 : y.numel() / parts(y); }
  /// @}

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    Scalar* const kept = nullptr;
    kernels::gate(parts(y), half(y), detail::GateFactors(), std::as_const(x).data(), kept, y.data());
    return y;
  }

  /// Saves tanh(a) and sigmoid(b), in x's storage if nobody else holds it.
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> factors = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    kernels::gate(parts(y), half(y), detail::GateFactors(), in, factors.data(), y.data());
    tape.push(std::move(factors));
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [factors] = tape.pop<Tensor<Scalar>>();
    Tensor<Scalar> dx(factors.shape());
    kernels::gate_backward(parts(dy), half(dy), detail::GateGradient(), factors.data(), std::as_const(dy).data(),
                           dx.data());
    return dx;
  }

  Index groups_;
};

}  // namespace lamina::inline LAMINA_ABI
