#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/losses.hpp"
#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// `value` where x is above 0, `value` times the slope elsewhere; of x itself, PReLU.
struct Bent {
  template <class V>
  V operator()(V slope, V x, V value) const {
    return select(x > V(0), value, value * slope);
  }
  template <class V>
  V operator()(V slope, V x) const {
    return (*this)(slope, x, x);
  }
};
/// PReLU with one slope for all.
template <class T>
struct BentBy {
  T slope;
  template <class V>
  V operator()(V x) const {
    return Bent()(V(slope), x);
  }
};
/// What a value adds to the slope's gradient.
struct BentTerm {
  template <class V>
  V operator()(V x, V dy) const {
    return select(x > V(0), V(0), x * dy);
  }
};
/// That, and the value's own gradient, with one slope for all.
template <class T>
struct BentGradients {
  T slope;
  template <class V>
  std::pair<V, V> operator()(V x, V dy) const {
    return {BentTerm()(x, dy), Bent()(V(slope), x, dy)};
  }
};

}  // namespace detail

/// Options of PReLU.
struct PReLUOptions {
  Index num_parameters = 1;  ///< one slope for all, or one for each channel
  double init = 0.25;        ///< what they start from
};

/// y = x where x > 0, weight x elsewhere, with learned slopes (He, Zhang, Ren and Sun 2015). The derivative at 0 is the
/// slope.
///
/// Shapes: x of any shape with one slope, [N, C, ...] with C of them; y as x; weight [num_parameters]. Throws
/// ValueError for less than 1 parameter, ShapeError where their number is not that of the channels.
template <class Scalar = float>
class PReLU : public Layer<PReLU<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [num_parameters]

  /// Shapes, defaults and errors are said at the class.
  explicit PReLU(const PReLUOptions& options = {}) : options_(options) {
    require(options_.num_parameters >= 1, *this, ": num_parameters must be at least 1");
    weight = Tensor<Scalar>::full({options_.num_parameters}, static_cast<Scalar>(options_.init));
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(single() || (input.rank() >= 2 && input[1] == options_.num_parameters), *this,
                        ": expected [N, ", options_.num_parameters, ", ...], got shape ", input);
    return input;
  }
  Members<Scalar> members() override { return {{"weight", &weight}}; }
  Fields fields() const override {
    return Fields("PReLU").option("num_parameters", options_.num_parameters, 1).option("init", options_.init, 0.25);
  }
  Locality locality() const override { return Locality::element; }

  /// What it was made with.
  const PReLUOptions& options() const { return options_; }

 private:
  bool single() const { return options_.num_parameters == 1; }
  kernels::ChannelShape sizes(const Shape& x) const { return {x[0], x[1], x.product(2, x.rank())}; }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = output_shape(x.shape());
    if (single()) return kernels::transform(std::move(x), detail::BentBy<Scalar>{weight.value.item()});
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(shape);
    kernels::map_channels(sizes(shape), y.data(), weight.value.data(), detail::Bent(), in);
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  /// dweight is the sum of x dy where x is not above 0.
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const Scalar *const in = x.data(), *const gradient = std::as_const(dy).data();
    const Scalar* const slope = std::as_const(weight).value.data();
    Tensor<Scalar> dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(x.shape());
    Scalar* const grad = weight.requires_grad ? weight.gradient().data() : nullptr;
    if (single()) {
      const double sum =
          kernels::sum_with_gradient(x.numel(), dx.data(), detail::BentGradients<Scalar>{*slope}, in, gradient);
      if (grad) *grad += static_cast<Scalar>(sum);
    } else {
      if (grad) kernels::channel_sums(sizes(x.shape()), in, gradient, detail::BentTerm(), grad);
      kernels::map_channels(sizes(x.shape()), dx.data(), slope, detail::Bent(), in, gradient);
    }
    return input_grad == InputGrad::skip ? Tensor<Scalar>() : dx;
  }

  PReLUOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
