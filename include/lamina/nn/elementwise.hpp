#pragma once

#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/layout.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// An activation's functions for the passes: y = f(x) of vectors, or of what lies at y; and its gradient, or that plus
/// what came before.
/// @{
template <class Derived>
struct ValueOf {
  const Derived* f;
  template <class V>
  V operator()(V x) const {
    return f->value(x);
  }
};
template <class Derived, class Scalar>
struct ValueAt {
  const Derived* f;
  const Scalar* y;
  template <class Load>
  auto operator()(Load load) const {
    return f->value(load(y));
  }
};
template <class Derived>
struct GradientOf {
  const Derived* f;
  template <class V>
  V operator()(V dy, V saved) const {
    return f->gradient(saved, dy);
  }
  template <class V>
  V operator()(V before, V dy, V saved) const {
    return before + f->gradient(saved, dy);
  }
};
/// @}

}  // namespace detail

/// Base of an activation y = f(x), elementwise, for inputs of any shape. Derived gives, for vectors of elements,
///
///   Pack value(Pack x) const                      f(x)
///   Pack gradient(Pack saved, Pack dy) const      dy f'(x)
///   Saved saved() const override                  what `saved` is: x, or f(x) where f' can be had from it
///
/// The output is the better thing to keep: x may then be overwritten, and the next layer keeps the same storage.
template <class Derived, class Scalar>
class Elementwise : public Layer<Derived, Scalar> {
 public:
  /// Every element for itself.
  Locality locality() const override { return Locality::element; }
  /// As it finds them; blocks with lanes that hold no channel only if these stay zero.
  Blocks blocks(const Values<Scalar>& x) const override {
    const Shape& shape = x[0].shape();
    return detail::fill_blocks<Scalar>(shape) || (shape.rank() == 4 && keeps_zero()) ? Blocks::keeps : Blocks::no;
  }
  /// y = f(y), for Plans.
  bool apply(Scalar* y, Index n) const override {
    if (n > 0) kernels::map_run(n, y, detail::ValueAt<Derived, Scalar>{&self(), y});
    return true;
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }
  /// f(0) = 0, and the gradient is zero where dy is.
  bool keeps_zero() const {
    const simd::Pack<Scalar> zero(0), y = self().value(zero);
    return y[0] == 0 && self().gradient(self().saved() == Saved::input ? zero : y, zero)[0] == 0;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    return kernels::transform(std::move(x), detail::ValueOf<Derived>{&self()});
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    if (self().saved() == Saved::input) tape.push(x);
    Tensor<Scalar> y = do_infer(std::move(x));
    if (self().saved() == Saved::output) tape.push(y);
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [saved] = tape.pop<Tensor<Scalar>>();
    const detail::GradientOf<Derived> gradient{&self()};
    if (Tensor<Scalar> before = tape.template take_gradient<Scalar>(0); !before.empty())
      return kernels::transform(std::move(before), gradient, dy, saved);
    return kernels::transform(std::move(dy), gradient, saved);
  }
};

}  // namespace lamina::inline LAMINA_ABI
