#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// f(place of a, place of b, place of y, lanes...) for all packs of n elements of y, which come in equal parts, each of
/// a row of a and a row of b.
template <class Scalar, class F>
void for_each_gate(Index parts, Index n, F f) {
  if (n == 0) return;
  const Index half = n / parts;
  parallel_for(0, parts, kernels::stream_grain / half, [&](Index first, Index last) {
    for (Index part = first; part < last; ++part) {
      const Index y = part * half, a = 2 * y, b = a + half;
      simd::for_each_vector<Scalar>(0, half, [&](Index i, auto... lanes) { f(a + i, b + i, y + i, lanes...); });
    }
  });
}

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

  /// What it was made with.
  Index groups() const { return groups_; }

 private:
  using Pack = simd::Pack<Scalar>;

  /// f(place of a, place of b, place of y, lanes...) for all packs of elements.
  template <class F>
  void each(const Shape& output, F f) const {
    detail::for_each_gate<Scalar>(output[0] * groups_, output.numel(), f);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    each(y.shape(), [=](Index a, Index b, Index to, auto... lanes) {
      (simd::tanh(Pack::load(in + a, lanes...)) * simd::sigmoid(Pack::load(in + b, lanes...)))
          .store(out + to, lanes...);
    });
    return y;
  }

  /// Saves tanh(a) and sigmoid(b), in x's storage if nobody else holds it.
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> factors = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    Scalar *const out = y.data(), *const kept = factors.data();
    each(y.shape(), [=](Index a, Index b, Index to, auto... lanes) {
      const Pack value = simd::tanh(Pack::load(in + a, lanes...)), gate = simd::sigmoid(Pack::load(in + b, lanes...));
      value.store(kept + a, lanes...);
      gate.store(kept + b, lanes...);
      (value * gate).store(out + to, lanes...);
    });
    tape.push(std::move(factors));
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    auto [factors] = tape.pop<Tensor<Scalar>>();
    const Scalar *const kept = std::as_const(factors).data(), *const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx(factors.shape());
    Scalar* const out = dx.data();
    each(dy.shape(), [=](Index a, Index b, Index from, auto... lanes) {
      const Pack value = Pack::load(kept + a, lanes...), gate = Pack::load(kept + b, lanes...);
      const Pack g = Pack::load(gradient + from, lanes...) * gate;
      (g * (Pack(1) - value * value)).store(out + a, lanes...);
      (g * value * (Pack(1) - gate)).store(out + b, lanes...);
    });
    return dx;
  }

  Index groups_;
};

}  // namespace lamina::inline LAMINA_ABI
