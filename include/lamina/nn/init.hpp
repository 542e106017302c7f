#pragma once

#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "lamina/core/choice.hpp"
#include "lamina/core/random.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// While one lives, layers that this thread makes start from zeros and draw nothing from default_random(), and the
/// functions of init that draw write zeros: for a model whose state is loaded next, as torch.nn.utils.skip_init.
///
///   const SkipInit skip;
///   auto net = resnet50();
///   load_state_dict(net, load_safetensors("resnet50.safetensors"));
class SkipInit {
 public:
  /// From here on.
  SkipInit() : before_(std::exchange(state(), true)) {}
  /// As it was.
  ~SkipInit() { state() = before_; }
  SkipInit(const SkipInit&) = delete;
  SkipInit& operator=(const SkipInit&) = delete;

  /// Whether one lives on this thread.
  static bool active() { return state(); }

 private:
  static bool& state() {
    thread_local bool skips = false;
    return skips;
  }

  bool before_;
};

}  // namespace lamina::inline LAMINA_ABI

/// Initialisers: they overwrite a tensor in place and draw from default_random() unless given a generator.
///
///   init::xavier_uniform(linear.weight.value);
///   init::weights<Conv2d<float>, Linear<float>>(net, [](auto& w) { init::xavier_uniform(w); });
namespace lamina::inline LAMINA_ABI::init {

/// How many inputs one output sees, and outputs one input reaches: of a weight [out, in, ...], in and out times the
/// product of the rest. Throws ShapeError below rank 2.
struct Fans {
  Index in;   ///< inputs that one output sees
  Index out;  ///< outputs that one input reaches
};
/// Throws ShapeError below rank 2.
inline Fans fans(const Shape& weight) {
  lamina::require<ShapeError>(weight.rank() >= 2, "init: a weight needs at least 2 dimensions, got shape ", weight);
  const Index taps = weight.product(2, weight.rank());
  return {weight[1] * taps, weight[0] * taps};
}

/// Every element is the value.
template <class Scalar>
void constant(Tensor<Scalar>& tensor, std::type_identity_t<Scalar> value) {
  tensor.fill(value);
}
/// Every element is 0.
template <class Scalar>
void zeros(Tensor<Scalar>& tensor) {
  tensor.fill(0);
}
/// A new tensor from U[low, high).
template <class Scalar>
Tensor<Scalar> uniform(const Shape& shape, double low = 0, double high = 1, Random& random = default_random()) {
  if (SkipInit::active()) return Tensor<Scalar>::zeros(shape);
  return random.uniform(shape, static_cast<Scalar>(low), static_cast<Scalar>(high));
}
/// A new tensor from N(mean, standard_deviation^2).
template <class Scalar>
Tensor<Scalar> normal(const Shape& shape, double mean = 0, double standard_deviation = 1,
                      Random& random = default_random()) {
  if (SkipInit::active()) return Tensor<Scalar>::zeros(shape);
  return random.normal(shape, static_cast<Scalar>(mean), static_cast<Scalar>(standard_deviation));
}
/// U[low, high).
template <class Scalar>
void uniform(Tensor<Scalar>& tensor, double low = 0, double high = 1, Random& random = default_random()) {
  tensor = uniform<Scalar>(tensor.shape(), low, high, random);
}
/// N(mean, standard_deviation^2).
template <class Scalar>
void normal(Tensor<Scalar>& tensor, double mean = 0, double standard_deviation = 1, Random& random = default_random()) {
  tensor = normal<Scalar>(tensor.shape(), mean, standard_deviation, random);
}

/// N(mean, standard_deviation^2) restricted to [low, high], by drawing again what falls outside. Throws ValueError for
/// an interval further than two standard deviations from the mean, where that would take for ever.
template <class Scalar>
void truncated_normal(Tensor<Scalar>& tensor, double mean = 0, double standard_deviation = 1, double low = -2,
                      double high = 2, Random& random = default_random()) {
  lamina::require(standard_deviation > 0 && low < high && low <= mean + 2 * standard_deviation &&
                      high >= mean - 2 * standard_deviation,
                  "init::truncated_normal: [", low, ", ", high, "] is empty or further than 2 standard ",
                  "deviations from the mean ", mean);
  normal(tensor, mean, standard_deviation, random);
  if (SkipInit::active()) return;
  Scalar* values = tensor.data();
  const auto outside = [&](Scalar x) { return !(static_cast<double>(x) >= low && static_cast<double>(x) <= high); };
  for (bool again = true; again;) {
    again = false;
    const Tensor<Scalar> other =
        random.normal(tensor.shape(), static_cast<Scalar>(mean), static_cast<Scalar>(standard_deviation));
    for (Index i = 0; i < tensor.numel(); ++i)
      if (outside(values[i])) {
        values[i] = other.data()[i];
        again = again || outside(values[i]);
      }
  }
}

/// U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16).
template <class Scalar>
void xavier_uniform(Tensor<Scalar>& weight, double gain = 1, Random& random = default_random()) {
  const auto [in, out] = fans(weight.shape());
  const double bound = gain * std::sqrt(6.0 / static_cast<double>(in + out));
  uniform(weight, -bound, bound, random);
}
/// N(0, s^2) with s = gain sqrt(2 / (fan_in + fan_out)).
template <class Scalar>
void xavier_normal(Tensor<Scalar>& weight, double gain = 1, Random& random = default_random()) {
  const auto [in, out] = fans(weight.shape());
  normal(weight, 0, gain * std::sqrt(2.0 / static_cast<double>(in + out)), random);
}

/// The factor by which a nonlinearity shrinks a signal's scale, inverted: "linear", "sigmoid" 1, "tanh" 5/3, "relu"
/// sqrt(2), "leaky_relu" sqrt(2 / (1 + slope^2)), "selu" 3/4, as torch.nn.init.calculate_gain. Throws ValueError for
/// another name.
inline double gain(std::string_view nonlinearity, double slope = 0.01) {
  if (nonlinearity == "linear" || nonlinearity == "sigmoid") return 1;
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + slope * slope));
  if (nonlinearity == "selu") return 0.75;
  throw ValueError(
      lamina::text("init::gain: expected linear, sigmoid, tanh, relu, leaky_relu or selu, got '", nonlinearity, "'"));
}

/// Whether values keep their variance in forward (fan_in) or gradients in backward (fan_out).
enum class FanMode { fan_in, fan_out };
}  // namespace lamina::inline LAMINA_ABI::init

namespace lamina::inline LAMINA_ABI {
/// PyTorch's.
template <>
struct Words<init::FanMode> {
  static constexpr const char* what = "mode";              ///< in messages
  static constexpr std::array words{"fan_in", "fan_out"};  ///< of each
};
}  // namespace lamina::inline LAMINA_ABI

namespace lamina::inline LAMINA_ABI::init {

/// Options of kaiming_uniform and kaiming_normal.
struct KaimingOptions {
  Choice<FanMode> mode = FanMode::fan_in;   ///< which of the fans
  const char* nonlinearity = "leaky_relu";  ///< what follows; see gain
  double a = 0;                             ///< the negative slope of leaky_relu
};

namespace detail {
inline double kaiming_deviation(const Shape& weight, const KaimingOptions& options) {
  const Fans fan = fans(weight);
  const Index count = options.mode == FanMode::fan_in ? fan.in : fan.out;
  return gain(options.nonlinearity, options.a) / std::sqrt(static_cast<double>(count));
}
}  // namespace detail

/// N(0, s^2) with s = gain / sqrt(fan) (He et al. 2015, equation 10).
template <class Scalar>
void kaiming_normal(Tensor<Scalar>& weight, const KaimingOptions& options = {}, Random& random = default_random()) {
  normal(weight, 0, detail::kaiming_deviation(weight.shape(), options), random);
}
/// U(-sqrt(3) s, sqrt(3) s) with the same s.
template <class Scalar>
void kaiming_uniform(Tensor<Scalar>& weight, const KaimingOptions& options = {}, Random& random = default_random()) {
  const double bound = std::sqrt(3.0) * detail::kaiming_deviation(weight.shape(), options);
  uniform(weight, -bound, bound, random);
}

/// A new tensor from U(-b, b), b = 1 / sqrt(fan_in): PyTorch's default for the weights and biases of its layers.
template <class Scalar>
Tensor<Scalar> uniform_fan_in(const Shape& shape, Index fan_in) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  return uniform<Scalar>(shape, -bound, bound);
}

/// initialise(weight) for every layer of the kinds Layers in a model.
template <class... Layers, class Scalar, class F>
void weights(Module<Scalar>& net, F initialise) {
  (for_each<Layers>(net, [&](Layers& layer) { initialise(layer.weight.value); }), ...);
}

}  // namespace lamina::inline LAMINA_ABI::init
