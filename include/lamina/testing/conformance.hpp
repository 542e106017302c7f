#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <ostream>
#include <string>

#include "lamina/kernels/reduce.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/state.hpp"

/// The conformance suite: what every layer must satisfy, whatever it computes.
///
///   CHECK(conforms(Conv2d<double>(3, 8, 3, {.stride = 2}), {2, 3, 9, 7}));
///
/// 1. gradients against central differences, for the input and every parameter, each entry within
///    tolerance * (1 + |numeric|);
/// 2. gradients accumulate; two forwards on one tape, then their backwards in reverse, give the sum;
/// 3. infer leaves the layer as it was and, unless training differs, equals forward;
/// 4. output_shape tells the truth; a clone is equal and independent; the state_dict round-trips;
/// 5. with InputGrad::skip the parameter gradients stay the same and no dx comes back;
/// 6. infer gives a sample the same bits alone and anywhere in a batch; a batch may be empty, in training, too;
/// 7. the recorded graph, run layer by layer, gives infer's bits, and its shapes are true.
namespace lamina::inline LAMINA_ABI::testing {

/// What is known of a layer that is checked.
struct ConformanceOptions {
  std::uint64_t seed = 1;         ///< of the input, the gradients and the layer's draws
  double tolerance = 1e-6;        ///< largest error of a gradient, relative where it is above 1
  double step = 1e-5;             ///< of the central differences
  bool training_differs = false;  ///< dropout, batch normalisation
  bool batched = true;            ///< of two axes or more, the first is that of the samples
  double scale = 1;               ///< standard deviation of the input
  double offset = 0;              ///< mean of the input
};

/// Converts to true if the layer conforms, and prints why it does not.
struct Conformance {
  std::string failure;  ///< why it does not conform; empty if it does
  /// Whether it conforms.
  explicit operator bool() const { return failure.empty(); }
  /// "conforms", or why it does not.
  friend std::ostream& operator<<(std::ostream& out, const Conformance& c) {
    return out << (c.failure.empty() ? "conforms" : c.failure);
  }
};

/// The largest entry of |a - b| / (1 + |b|), and where.
struct Worst {
  double error = 0;  ///< its size
  Index at = 0;      ///< its position, row-major
};
/// Of tensors of the same shape.
template <class Scalar>
Worst worst_difference(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  Worst worst;
  for (Index i = 0; i < a.numel(); ++i) {
    const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
    const double error = std::abs(x - y) / (1 + std::abs(y));
    if (!(error <= worst.error)) worst = {error, i};
  }
  return worst;
}

/// What a model's recorded graph gives, run layer by layer as it stands, without any fusion.
template <class Scalar>
Tensor<Scalar> run_graph(const Graph<Scalar>& graph, const Value<Scalar>& input) {
  std::vector<Value<Scalar>> edges(graph.shapes.size());
  edges[static_cast<std::size_t>(graph.inputs[0])] = input;
  for (const Node<Scalar>& node : graph.nodes) {
    Values<Scalar> in;
    for (const Index edge : node.inputs) in.push_back(edges[static_cast<std::size_t>(edge)]);
    in[0].sequences = node.sequences;
    const Values<Scalar> out = node.layer->infer_values(std::move(in), Activation::none);
    for (std::size_t i = 0; i < out.size(); ++i) edges[static_cast<std::size_t>(node.outputs[i])] = out[i];
  }
  return edges[static_cast<std::size_t>(graph.outputs[0])].tensor;
}

namespace detail {

/// The loss of the gradient check: the inner product of a training forward with a fixed direction.
inline double loss(const Module<double>& layer, const Tensor<double>& x, const Tensor<double>& direction,
                   const Random& random) {
  const auto copy = layer.clone();  // forward may move running statistics
  Tape tape(random);
  const Tensor<double> products = copy->forward(x, tape) * direction;
  return kernels::vector_sum(products.data(), products.numel());
}

/// Compares an analytic gradient with central differences of f, which sees `value` changed entry by entry.
template <class F>
std::string compare(const std::string& what, const Tensor<double>& gradient, Tensor<double>& value,
                    const ConformanceOptions& options, F f) {
  if (gradient.shape() != value.shape())
    return text("gradient of ", what, " has shape ", gradient.shape(), ", expected ", value.shape());
  Tensor<double> numeric(value.shape());
  for (Index i = 0; i < value.numel(); ++i) {
    const double before = value.data()[i];
    value.data()[i] = before + options.step;
    const double above = f();
    value.data()[i] = before - options.step;
    const double below = f();
    value.data()[i] = before;
    numeric.data()[i] = (above - below) / (2 * options.step);
  }
  const Worst worst = worst_difference(gradient, numeric);
  if (worst.error <= options.tolerance) return "";
  return text("gradient of ", what, ", entry ", worst.at, " of ", value.shape(), ": backward gives ",
              gradient.data()[worst.at], ", differences give ", numeric.data()[worst.at], " (error ", worst.error, ")");
}

/// `count` random samples, of which those at every second place are the same, whatever the count.
template <class Scalar>
Tensor<Scalar> among_others(const Shape& sample, Index count, const ConformanceOptions& options) {
  Tensor<Scalar> batch =
      Random(options.seed + 1)
          .normal<Scalar>(sample.batch(count), static_cast<Scalar>(options.offset), static_cast<Scalar>(options.scale));
  Scalar* const data = batch.data();
  for (Index b = 2; b < count; b += 2) std::copy_n(data, sample.numel(), data + b * sample.numel());
  return batch;
}
/// Why what was computed among_others is not, bit for bit, what was computed for the first sample alone; or "".
template <class Scalar>
std::string differs_in_batch(const Tensor<Scalar>& alone, const Tensor<Scalar>& batch) {
  for (Index b = 0; b < batch.dim(0); b += 2)
    if (!(batch[b] == alone[0])) {
      const Worst worst = worst_difference(batch[b], alone[0]);
      return text("infer of a sample differs between alone and place ", b, " of ", batch.dim(0), " (error ",
                  worst.error, ")");
    }
  return "";
}
}  // namespace detail

/// Why a sample's bits depend on its batch, or an empty batch is not computed; or "".
template <class Scalar>
std::string check_batches(const Module<Scalar>& original, const Shape& sample, const ConformanceOptions& options) {
  const auto layer = original.clone();
  const Tensor<Scalar> alone = layer->infer(detail::among_others<Scalar>(sample, 1, options));
  for (const Index count : {2, 5, 17})
    if (auto reason =
            detail::differs_in_batch(alone, layer->infer(detail::among_others<Scalar>(sample, count, options)));
        !reason.empty())
      return reason;
  const Shape empty = sample.batch(0);
  const Tensor<Scalar> nothing = layer->infer(Tensor<Scalar>(empty));
  if (nothing.shape() != layer->output_shape(empty) || nothing.numel() != 0)
    return text("infer of an empty batch ", empty, " gives ", nothing.shape());
  try {
    Tape tape;
    Tensor<Scalar> y = layer->forward(Tensor<Scalar>(empty), tape);
    const Tensor<Scalar> dx = layer->backward(std::move(y), tape);
    if (dx.shape() != empty) return text("backward of an empty batch ", empty, " gives ", dx.shape());
  } catch (const ShapeError&) {  // batch normalisation has nothing to average
    if (!options.training_differs) throw;
  }
  return "";
}

/// A parameter's gradient, zeros if none was computed.
inline Tensor<double> gradient_of(const Parameter<double>& parameter) {
  return parameter.grad.empty() ? Tensor<double>::zeros(parameter.value.shape()) : parameter.grad;
}

/// See conforms.
template <std::same_as<double> Scalar>
Conformance check_layer(const Module<Scalar>& original, const Shape& shape, const ConformanceOptions& options) {
  const auto fail = [&](const std::string& reason) {
    return Conformance{text(original.name(), " on ", shape, ", seed ", options.seed, ": ", reason)};
  };
  Random random(options.seed);
  const Tensor<double> x = random.normal<double>(shape, options.offset, options.scale);
  const Random draws = random.split(1);
  const auto layer = original.clone();
  const Tensor<double> x_before = Tensor<double>(x.shape(), x.values());

  // Shapes and inference.
  const auto before = state_dict(*layer);
  const Tensor<double> inferred = layer->infer(x);
  if (inferred.shape() != layer->output_shape(shape))
    return fail(text("output_shape says ", layer->output_shape(shape), ", infer gives ", inferred.shape()));
  if (state_dict(*layer) != before) return fail("infer changed the state");
  if (!(layer->infer(x) == inferred)) return fail("infer twice gives different results");
  if (!(layer->fields() == original.fields())) return fail(text("a copy has other options: ", *layer));
  const Graph<double> graph = record(*layer, shape);
  if (graph.shape(graph.outputs[0]) != inferred.shape()) return fail("the graph has another shape");
  if (!(run_graph(graph, Value<double>(x)) == inferred)) return fail("the graph gives other bits than infer");

  Tape tape(draws);
  const Tensor<double> y = layer->forward(x, tape);
  if (y.shape() != inferred.shape()) return fail(text("forward gives ", y.shape(), ", infer ", inferred.shape()));
  if (!options.training_differs && worst_difference(inferred, y).error > 1e-12)
    return fail("infer differs from forward");
  if (!(x == x_before)) return fail("the caller's input was written to");

  // Gradients.
  const Tensor<double> dy = random.normal<double>(y.shape());
  const Tensor<double> dy_before = Tensor<double>(dy.shape(), dy.values());
  const Tensor<double> y_before = Tensor<double>(y.shape(), y.values());
  const Tensor<double> dx = layer->backward(dy, tape);
  if (!tape.empty()) return fail("the tape is not empty after backward");
  if (!(dy == dy_before) || !(y == y_before) || !(x == x_before)) return fail("backward wrote to what it was given");
  // Memory that somebody else owns.
  std::vector<double> xs(x.values().begin(), x.values().end()), dys(dy.values().begin(), dy.values().end());
  const auto guest = original.clone();
  Tape guest_tape(draws);
  if (!(guest->infer(Tensor<double>::wrap(xs.data(), shape)) == inferred))
    return fail("infer differs on wrapped memory");
  guest->forward(Tensor<double>::wrap(xs.data(), shape), guest_tape);
  if (!(guest->backward(Tensor<double>::wrap(dys.data(), dy.shape()), guest_tape) == dx))
    return fail("backward differs on wrapped memory");
  if (!std::ranges::equal(xs, x.values()) || !std::ranges::equal(dys, dy.values()))
    return fail("memory that somebody else owns was written to");

  const auto fresh = original.clone();
  Tensor<double> probe = x;
  if (auto reason =
          detail::compare("the input", dx, probe, options, [&] { return detail::loss(*fresh, probe, dy, draws); });
      !reason.empty())
    return fail(reason);
  auto analytic = parameters(*layer);
  auto probed = parameters(*fresh);
  for (std::size_t i = 0; i < analytic.size(); ++i)
    if (auto reason = detail::compare(analytic[i].name, gradient_of(*analytic[i].parameter), probed[i].parameter->value,
                                      options, [&] { return detail::loss(*fresh, x, dy, draws); });
        !reason.empty())
      return fail(reason);

  // Two forwards, then two backwards; accumulation; a skipped input gradient; frozen parameters.
  const auto twice = original.clone();
  const Tensor<double> x2 = random.normal<double>(shape, options.offset, options.scale);
  Tape both(draws);
  twice->forward(x, both);
  const Random second_draws = both.random();
  twice->forward(x2, both);
  const Tensor<double> dx2 = twice->backward(dy, both);
  const Tensor<double> dx1 = twice->backward(dy, both);
  if (worst_difference(dx1, dx).error > 1e-12) return fail("a second forward before backward changes the first's dx");
  const auto other = original.clone();
  Tape separate(second_draws);
  other->forward(x2, separate);
  if (!other->backward(dy, separate, InputGrad::skip).empty()) return fail("InputGrad::skip returned a gradient");
  auto summed = parameters(*twice);
  auto second = parameters(*other);
  for (std::size_t i = 0; i < analytic.size(); ++i) {
    Tensor<double> expected = gradient_of(*analytic[i].parameter);
    expected += gradient_of(*second[i].parameter);
    if (worst_difference(gradient_of(*summed[i].parameter), expected).error > 1e-12)
      return fail(text("gradients of ", analytic[i].name, " do not accumulate (or InputGrad::skip changes them)"));
  }
  const auto frozen = original.clone();
  set_requires_grad(*frozen, false);
  Tape frozen_tape(draws);
  frozen->forward(x, frozen_tape);
  if (worst_difference(frozen->backward(dy, frozen_tape), dx).error > 1e-12) return fail("freezing changes dx");
  for (auto& [name, parameter, owner] : parameters(*frozen))
    if (!parameter->grad.empty()) return fail(text("a gradient was computed for the frozen ", name));

  // Copies and state.
  const auto copy = layer->clone();
  if (state_dict(*copy) != state_dict(*layer)) return fail("a copy is not equal");
  const auto kept = state_dict(*copy);
  for (auto& [name, parameter, owner] : parameters(*layer))
    parameter->value += Tensor<double>::ones(parameter->value.shape());
  if (state_dict(*copy) != kept) return fail("a copy is not independent");
  load_state_dict(*layer, kept);
  if (state_dict(*layer) != kept) return fail("state_dict does not round-trip");
  if (!(layer->infer(x) == copy->infer(x))) return fail("the same state infers differently");
  if (worst_difference(original.infer(x), inferred).error != 0)
    return fail("a training step on a copy changed the original");
  if (options.batched && shape.rank() > 1)
    if (auto reason = check_batches<double>(original, shape.tail(1), options); !reason.empty()) return fail(reason);
  return {};
}

#ifdef LAMINA_COMPILED
extern template Conformance check_layer(const Module<double>&, const Shape&, const ConformanceOptions&);
#endif

}  // namespace lamina::inline LAMINA_ABI::testing

namespace lamina::inline LAMINA_ABI {
using testing::ConformanceOptions;

/// See lamina::testing.
inline testing::Conformance conforms(const Module<double>& layer, const Shape& shape,
                                     const ConformanceOptions& options = {}) {
  return testing::check_layer(layer, shape, options);
}
}  // namespace lamina::inline LAMINA_ABI
