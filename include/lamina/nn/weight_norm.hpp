#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/reparameterized.hpp"

namespace lamina::inline LAMINA_ABI {

/// Weight normalisation of a convolution (Salimans and Kingma 2016): the layer's weight is
///
///   weight[m] = weight_g[m] weight_v[m] / |weight_v[m]|
///
/// where [m] is what makes result channel m, so that length and direction are learned apart. `Conv` is Conv2d or
/// ConvTranspose2d with one group.
///
/// Keys as torch.nn.utils.weight_norm's: "weight_g" [M, 1, 1, 1] ([1, M, 1, 1] for a transposed convolution),
/// "weight_v" of the weight's shape, "bias". Starts with the layer's own weight; initialize_weight_norm() makes that
/// depend on data. For inference without it, see plain_weights. Throws ValueError for groups.
template <class Conv>
class WeightNorm : public detail::Reparameterized<WeightNorm<Conv>, Conv> {
  using Scalar = ScalarOf<Conv>;
  using Base = detail::Reparameterized<WeightNorm<Conv>, Conv>;
  using Base::inner_;
  friend Base;

 public:
  Parameter<Scalar> weight_g;  ///< lengths
  Parameter<Scalar> weight_v;  ///< directions

  /// Around a convolution. `gain` is the standard deviation of its results after initialize_weight_norm().
  explicit WeightNorm(Conv conv, double gain = 1) : Base(std::move(conv)), gain_(gain) {
    require(inner_.options().groups == 1, *this, ": expected one group, got ", inner_.options().groups);
    const Shape shape = inner_.weight.value.shape();
    weight_v = inner_.weight.value;
    weight_g = Tensor<Scalar>(axis == 0 ? Shape{shape[0], 1, 1, 1} : Shape{1, shape[1], 1, 1});
    const Tensor<Scalar> lengths = norms();
    std::copy_n(lengths.data(), lengths.numel(), weight_g.value.data());
  }

  Members<Scalar> members() override {
    Members<Scalar> result = this->other_members();
    result.insert(result.begin(), {{"weight_g", &weight_g}, {"weight_v", &weight_v}});
    return result;
  }
  Fields fields() const override { return Fields("WeightNorm").argument("of", inner_.name()); }

  /// The convolution around which it is. Its weight says nothing, see plain.
  const Conv& convolution() const { return inner_; }

  /// Draws directions from N(0, 0.05²) and sets lengths and biases such that the results for x have mean 0 and standard
  /// deviation `gain` in every channel (Salimans and Kingma 2016, section 3).
  void initialize(const Tensor<Scalar>& x, Random& random = default_random()) {
    weight_v.value = random.normal<Scalar>(weight_v.value.shape(), 0, Scalar(0.05));
    weight_g.value.fill(1);
    if (inner_.options().bias) inner_.bias.value.fill(0);
    const Tensor<Scalar> y = this->plain().infer(x);
    const Index samples = y.dim(0), channels = y.dim(1), pixels = y.dim(2) * y.dim(3);
    for (Index m = 0; m < channels; ++m) {
      double sum = 0, squares = 0;
      for (Index n = 0; n < samples; ++n)
        for (Index i = 0; i < pixels; ++i) {
          const auto value = static_cast<double>(y.data()[(n * channels + m) * pixels + i]);
          sum += value;
          squares += value * value;
        }
      const double count = static_cast<double>(samples * pixels), mean = sum / count;
      const double scale = gain_ / std::sqrt(squares / count - mean * mean + 1e-10);
      weight_g.value.data()[m] = static_cast<Scalar>(scale);
      if (inner_.options().bias) inner_.bias.value.data()[m] = static_cast<Scalar>(-mean * scale);
    }
  }

 private:
  static constexpr int axis = std::is_same_v<Conv, ConvTranspose2d<Scalar>> ? 1 : 0;  // of the result's channels

  /// f(result channel, place in the weight) for every element.
  template <class F>
  void each(F f) const {
    const Shape& shape = weight_v.value.shape();
    const Index channels = shape[axis], inner = shape.product(axis + 1, 4);
    for (Index i = 0; i < shape.numel(); ++i) f(i / inner % channels, i);
  }
  /// |weight_v[m]|
  Tensor<Scalar> norms() const {
    std::vector<double> sums(static_cast<std::size_t>(weight_v.value.shape()[axis]));
    const Scalar* const v = weight_v.value.data();
    each([&](Index m, Index i) {
      sums[static_cast<std::size_t>(m)] += static_cast<double>(v[i]) * static_cast<double>(v[i]);
    });
    Tensor<Scalar> result({static_cast<Index>(sums.size())});
    for (Index m = 0; m < result.numel(); ++m)
      result.data()[m] = static_cast<Scalar>(std::sqrt(sums[static_cast<std::size_t>(m)]));
    return result;
  }
  Tensor<Scalar> normalized() const {
    const Tensor<Scalar> lengths = norms();
    Tensor<Scalar> result(weight_v.value.shape());
    const Scalar *const v = weight_v.value.data(), *const g = weight_g.value.data();
    Scalar* const out = result.data();
    each([&](Index m, Index i) { out[i] = v[i] * (g[m] / lengths.data()[m]); });
    return result;
  }

  struct Factors {};
  Factors factors(bool) const { return {}; }
  Factors infer_factors() const { return {}; }
  Tensor<Scalar> weight(Factors) const { return normalized(); }
  bool learns() const { return weight_g.requires_grad || weight_v.requires_grad; }

  /// From the gradient of the weight, with u = v / |v|: dg = dw . u, dv = g / |v| (dw - u dg).
  void hand_on(const Tensor<Scalar>& dw, Factors) {
    const Tensor<Scalar> lengths = norms();
    std::vector<double> along(static_cast<std::size_t>(lengths.numel()));
    const Scalar *const v = weight_v.value.data(), *const d = dw.data(), *const length = lengths.data();
    each([&](Index m, Index i) {
      along[static_cast<std::size_t>(m)] += static_cast<double>(d[i]) * static_cast<double>(v[i] / length[m]);
    });
    const auto dg = [&](Index m) { return static_cast<Scalar>(along[static_cast<std::size_t>(m)]); };
    if (weight_g.requires_grad)
      for (Index m = 0; m < lengths.numel(); ++m) weight_g.gradient().data()[m] += dg(m);
    if (!weight_v.requires_grad) return;
    const Scalar* const g = weight_g.value.data();
    Scalar* const out = weight_v.gradient().data();
    each([&](Index m, Index i) { out[i] += g[m] / length[m] * (d[i] - v[i] / length[m] * dg(m)); });
  }

  double gain_;
};

/// The convolution that a node computes, weight-normalised or not, for its sizes and options; null if it is none.
template <class Conv>
const Conv* convolution_of(const Node<ScalarOf<Conv>>& node) {
  if (const auto* normalized = node.template as<WeightNorm<Conv>>()) return &normalized->convolution();
  return node.template as<Conv>();
}
/// The same with its weight. Throws ValueError if the node is no convolution.
template <class Conv>
Conv plain_convolution_of(const Node<ScalarOf<Conv>>& node) {
  if (const auto* normalized = node.template as<WeightNorm<Conv>>()) return normalized->plain();
  const auto* conv = node.template as<Conv>();
  require(conv, *node.layer, " is no convolution");
  return *conv;
}

/// Data-dependent initial values of all weight-normalised layers of a model, in the order of its flow: each makes of x,
/// a batch of training images, results of mean 0 and standard deviation 1 (or its gain). Nothing is dropped. Directions
/// are drawn from default_random().
template <class Scalar>
void initialize_weight_norm(Module<Scalar>& net, const Tensor<Scalar>& x) {
  const Graph<Scalar> graph = record(net, x.shape());
  std::vector<Value<Scalar>> values(graph.shapes.size());
  values[static_cast<std::size_t>(graph.inputs[0])] = x;
  const auto initialize = [&](auto* layer, const Value<Scalar>& input) {
    using L = std::remove_const_t<std::remove_pointer_t<decltype(layer)>>;
    if (layer) const_cast<L*>(layer)->initialize(input.tensor);  // a layer of net
  };
  for (const Node<Scalar>& node : graph.nodes) {
    Values<Scalar> inputs;
    for (const Index edge : node.inputs) inputs.push_back(values[static_cast<std::size_t>(edge)]);
    initialize(node.template as<WeightNorm<Conv2d<Scalar>>>(), inputs[0]);
    initialize(node.template as<WeightNorm<ConvTranspose2d<Scalar>>>(), inputs[0]);
    Values<Scalar> results = node.layer->infer_values(std::move(inputs), Activation::none);
    for (std::size_t i = 0; i < node.outputs.size(); ++i)
      values[static_cast<std::size_t>(node.outputs[i])] = std::move(results[i]);
  }
}

}  // namespace lamina::inline LAMINA_ABI
