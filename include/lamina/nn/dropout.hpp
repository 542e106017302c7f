#pragma once

#include <optional>
#include <string>
#include <utility>

#include "lamina/kernels/broadcast.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// What Dropout and Dropout2d share: y = x * noise with noise 0 with probability p, else 1 / (1 - p), drawn from the
/// tape's generator and repeated along the axes where Derived's noise_shape has extent 1. The tape keeps the
/// generator as it was, from which backward draws the same noise again. Nothing is drawn for p = 0, or frozen.
template <class Derived, class Scalar>
class DropoutLayer : public Layer<Derived, Scalar> {
 public:
  explicit DropoutLayer(double p) : p_(p) { require(p >= 0 && p <= 1, *this, ": p must be in [0, 1], got ", p); }
  Saved saved() const override { return Saved::nothing; }
  Fields fields() const override { return Fields(Derived::type_name).argument("p", p_); }
  Locality locality() const override { return Locality::element; }
  /// Of images that fill their blocks.
  Blocks blocks(const Values<Scalar>& x) const override {
    return fill_blocks<Scalar>(x[0].shape()) ? Blocks::keeps : Blocks::no;
  }

 private:
  /// Of x as it is in planes. (A tensor of five axes whose last is as long as a vector is taken for blocks, even if
  /// it is none: its noise is noise as well.)
  static Shape planes_of(const Shape& x) {
    return x.rank() == 5 && x[4] == kernels::block_lanes<Scalar>() ? images_shape(x, x[1] * x[4]) : x;
  }
  /// The noise for x: the same draws whether it lies in planes or in blocks.
  static Tensor<Scalar> uniform_for(const Shape& x, Random& random) {
    const Shape planes = planes_of(x);
    Tensor<Scalar> uniform = random.uniform<Scalar>(Derived::noise_shape(planes));
    return planes == x ? uniform : to_blocks(uniform);
  }
  Tensor<Scalar> drop(Tensor<Scalar> x, Random& random) const {
    const kernels::DropoutNoise<Scalar> noise{static_cast<Scalar>(p_), static_cast<Scalar>(p_ < 1 ? 1 / (1 - p_) : 0)};
    Tensor<Scalar> uniform = uniform_for(x.shape(), random);
    const Shape shape = uniform.shape();
    if (shape == x.shape()) return kernels::transform(std::move(x), kernels::Dropped<Scalar>{noise}, uniform);
    uniform = kernels::transform(std::move(uniform), noise);
    const Shape space = x.shape();
    const Scalar* in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(space);
    kernels::multiply(space, space, y.data(), space, in, shape, std::as_const(uniform).data());
    return y;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    this->output_shape(x.shape());
    return x;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    this->output_shape(planes_of(x.shape()));
    if (p_ == 0) return x;
    const bool drops = !this->frozen();
    tape.push(drops ? std::optional(tape.random()) : std::nullopt);
    return drops ? drop(std::move(x), tape.random()) : x;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    if (p_ == 0) return dy;
    auto [random] = tape.pop<std::optional<Random>>();
    return random ? drop(std::move(dy), *random) : dy;
  }

  double p_;
};

}  // namespace detail

/// In training each element is 0 with probability p and x / (1 - p) otherwise, so that its mean stays x; inference is
/// the identity (Hinton et al. 2012; Srivastava et al. 2014). The units dropped depend on the tape's seed and the
/// position of the draw alone. Throws ValueError unless p is in [0, 1].
template <class Scalar = float>
class Dropout : public detail::DropoutLayer<Dropout<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "Dropout";  ///< its name in messages
  /// Throws ValueError unless the probability p is in [0, 1].
  explicit Dropout(double p = 0.5) : detail::DropoutLayer<Dropout<Scalar>, Scalar>(p) {}

 private:
  friend class detail::DropoutLayer<Dropout<Scalar>, Scalar>;
  static Shape noise_shape(const Shape& input) { return input; }
};

}  // namespace lamina::inline LAMINA_ABI
