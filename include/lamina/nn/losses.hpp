#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "lamina/core/choice.hpp"
#include "lamina/kernels/losses.hpp"

/// Loss functions. Each returns its value and the gradient with respect to its first argument, which it takes by value
/// and reuses for the gradient:  auto [loss, grad] = cross_entropy(net.forward(x, tape), labels);
namespace lamina::inline LAMINA_ABI {

/// What a loss function gives. Binds to two names, `auto [loss, grad] = ...`.
template <class Scalar = float>
struct Loss {
  double value;                ///< the loss
  Tensor<Scalar> grad;         ///< d(value)/d(first argument), of its shape
  Tensor<Scalar> losses = {};  ///< with Reduction::none, of each element, sample or place, whose sum is the value

  /// The value or the gradient, for `auto [loss, grad]`.
  /// @{
  template <std::size_t I>
  auto& get() & {
    return pick<I>(*this);
  }
  template <std::size_t I>
  const auto& get() const& {
    return pick<I>(*this);
  }
  template <std::size_t I>
  auto&& get() && {
    return std::move(pick<I>(*this));
  }
  template <std::size_t I>
  const auto&& get() const&& {
    return std::move(pick<I>(*this));
  }
  /// @}

 private:
  template <std::size_t I, class Self>
  static auto& pick(Self& self) {
    if constexpr (I == 0)
      return self.value;
    else
      return self.grad;
  }
};

/// How the losses of all elements become one number: their average (what is divided by is said at each loss), or sum;
/// or none, where each stays for itself in Loss::losses, and value and gradient are those of their sum: with weights of
/// yours, the gradient is what it is times them.
enum class Reduction { mean, sum, none };
/// PyTorch's.
template <>
struct Words<Reduction> {
  static constexpr const char* what = "reduction";           ///< in messages
  static constexpr std::array words{"mean", "sum", "none"};  ///< of each
};

/// Options of cross_entropy.
template <class Scalar = float>
struct CrossEntropyOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  std::int32_t ignore_index = -100;               ///< samples with this label have no loss and no gradient
  double label_smoothing = 0;                     ///< share of the target that is spread over all classes
  Tensor<Scalar> weight = {};                     ///< [K], for each class; ones if not given
};

/// Options of nll_loss.
template <class Scalar = float>
struct NllLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  std::int32_t ignore_index = -100;               ///< samples with this label have no loss and no gradient
  Tensor<Scalar> weight = {};                     ///< [K], for each class; ones if not given
};

/// Options of mse_loss.
struct MseLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
};

/// Options of binary_cross_entropy_with_logits.
template <class Scalar = float>
struct BinaryCrossEntropyOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  Tensor<Scalar> weight = {};      ///< factor of each element's loss; broadcast to the shape of the logits
  Tensor<Scalar> pos_weight = {};  ///< factor of the positive targets' share; broadcast to the shape of the logits
};

/// Logits as [outer, classes, inner]: [K], [N, K] or [N, K, d1, ...].
struct ClassShape {
  Index outer;    ///< the samples
  Index classes;  ///< K
  Index inner;    ///< the places of a sample
  Shape labels;   ///< [], [N] or [N, d1, ...]
};

/// Throws ShapeError below rank 1.
inline ClassShape class_shape(const char* function, const Shape& logits) {
  require<ShapeError>(logits.rank() >= 1, function, ": expected logits [N, K, ...] or [K], got shape ", logits);
  ClassShape s{1, logits[0], 1, {}};
  if (logits.rank() > 1) {
    s = {logits[0], logits[1], logits.product(2, logits.rank()), {}};
    s.labels = logits.tail(2).batch(s.outer);
  }
  require<ShapeError>(logits.numel() > 0, function, ": expected at least one sample and class, got shape ", logits);
  return s;
}

namespace detail {

/// The sum of the labels' class weights (null for ones), without the ignored. Throws if there is a foreign label.
template <class Scalar>
double label_weight(const char* function, const ClassShape& s, const Labels& labels, std::int32_t ignore_index,
                    const Scalar* weight) {
  require<ShapeError>(labels.shape() == s.labels, function, ": expected labels of shape ", s.labels, ", got shape ",
                      labels.shape());
  double total = 0;
  const std::int32_t* const values = labels.data();
  for (Index i = 0; i < labels.numel(); ++i) {
    if (values[i] == ignore_index) continue;
    if (values[i] < 0 || values[i] >= s.classes) {
      std::vector<Index> position;
      Index rest = i;
      for (int axis = labels.rank() - 1; axis >= 0; --axis) {
        position.insert(position.begin(), rest % labels.dim(axis));
        rest /= labels.dim(axis);
      }
      throw ValueError(text(function, ": label ", values[i], " at position ", Shape(std::span<const Index>(position)),
                            " is not one of the ", s.classes, " classes 0 to ", s.classes - 1));
    }
    total += weight ? static_cast<double>(weight[values[i]]) : 1.0;
  }
  return total;
}

/// The class weights' memory, or null if there are none.
template <class Scalar>
const Scalar* class_weight(const char* function, const Tensor<Scalar>& weight, Index classes) {
  if (weight.empty()) return nullptr;
  require<ShapeError>(weight.shape() == Shape{classes}, function, ": expected a weight of shape ", Shape{classes},
                      ", got shape ", weight.shape());
  return weight.data();
}

/// The tensor repeated along axes of extent 1, and leading ones, to the given shape.
template <class Scalar>
Tensor<Scalar> broadcast(const char* function, const char* what, const Tensor<Scalar>& tensor, const Shape& shape) {
  if (tensor.shape() == shape) return tensor;
  const int missing = shape.rank() - tensor.rank();
  bool fits = missing >= 0;
  std::array<Index, Shape::max_rank> strides{};  // 0 where the tensor is repeated
  Index stride = 1;
  for (int axis = tensor.rank() - 1; axis >= 0 && fits; --axis) {
    const Index extent = tensor.dim(axis);
    fits = extent == 1 || extent == shape[axis + missing];
    if (extent != 1) strides[static_cast<std::size_t>(axis + missing)] = stride;
    stride *= extent;
  }
  require<ShapeError>(fits, function, ": cannot broadcast ", what, " of shape ", tensor.shape(), " to ", shape);
  Tensor<Scalar> result(shape);
  Scalar* out = result.data();
  for (Index i = 0; i < shape.numel(); ++i) {
    Index from = 0, rest = i;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      from += rest % shape[axis] * strides[static_cast<std::size_t>(axis)];
      rest /= shape[axis];
    }
    out[i] = tensor.data()[from];
  }
  return result;
}

/// The tensor to write the gradient to: x itself if nobody else holds it, else a new one. x stays readable.
template <class Scalar>
Tensor<Scalar> reuse(Tensor<Scalar>&& x) {
  return x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
}

/// The cross entropy of each sample and place, of this shape.
template <class Scalar>
Tensor<Scalar> cross_entropies(const kernels::CrossEntropyTargets<Scalar>& t, const Shape& shape,
                               const Scalar* logits) {
  Tensor<Scalar> result = Tensor<Scalar>::zeros(shape);
  const auto smoothing = static_cast<double>(t.smoothing), spread = smoothing / static_cast<double>(t.classes);
  std::vector<double> x(static_cast<std::size_t>(t.classes));
  for (Index i = 0; i < t.outer * t.inner; ++i) {
    if (t.labels && t.labels[i] == t.ignore_index) continue;
    const Index first = i / t.inner * t.classes * t.inner + i % t.inner;
    for (Index k = 0; k < t.classes; ++k)
      x[static_cast<std::size_t>(k)] = static_cast<double>(logits[first + k * t.inner]);
    const double most = *std::max_element(x.begin(), x.end());
    double sum = 0, loss = 0;
    for (const double value : x) sum += std::exp(value - most);
    for (Index k = 0; k < t.classes; ++k) {
      const double target = t.labels ? (t.labels[i] == k ? 1 : 0) : static_cast<double>(t.targets[first + k * t.inner]);
      const double share = (1 - smoothing) * target + spread;
      if (share != 0)
        loss -= (t.weight ? static_cast<double>(t.weight[k]) : 1) * share *
                (x[static_cast<std::size_t>(k)] - most - std::log(sum));
    }
    result.data()[i] = static_cast<Scalar>(loss);
  }
  return result;
}

inline void check_smoothing(double label_smoothing) {
  require(label_smoothing >= 0 && label_smoothing <= 1, "cross_entropy: label_smoothing must be in [0, 1], got ",
          label_smoothing);
}

}  // namespace detail

/// Cross entropy between softmax(logits) and classes. With w = weight, e = label_smoothing, y a sample's label:
///
///   loss = - (1 - e) w[y] log p[y] - e / K * sum over k of w[k] log p[k],   p = softmax(logits) over the K classes
///
/// Shapes: logits [N, K], [N, K, d1, ...] (a class for each pixel) or [K]; labels [N], [N, d1, ...] or []. The mean
/// divides the sum over samples and pixels by the sum of w[y] over those that are not ignored; if all are, it is NaN
/// and the gradient 0, as in PyTorch. Throws ValueError for a label that is no class, naming it and its position, and a
/// smoothing outside [0, 1]; ShapeError for labels or weights that do not fit, or an empty batch.
template <class Scalar>
Loss<Scalar> cross_entropy(Tensor<Scalar> logits, const Labels& labels,
                           const CrossEntropyOptions<Scalar>& options = {}) {
  constexpr const char* function = "cross_entropy";
  detail::check_smoothing(options.label_smoothing);
  const ClassShape s = class_shape(function, logits.shape());
  const Scalar* const weight = detail::class_weight(function, options.weight, s.classes);
  const double total = detail::label_weight(function, s, labels, options.ignore_index, weight);
  const double divisor = options.reduction == Reduction::mean ? total : 1;
  const kernels::CrossEntropyTargets<Scalar> targets{s.outer,
                                                     s.classes,
                                                     s.inner,
                                                     labels.data(),
                                                     options.ignore_index,
                                                     nullptr,
                                                     weight,
                                                     static_cast<Scalar>(options.label_smoothing)};
  const Scalar* const x = std::as_const(logits).data();
  Tensor<Scalar> losses;
  if (options.reduction == Reduction::none) losses = detail::cross_entropies(targets, s.labels, x);
  Tensor<Scalar> grad = detail::reuse(std::move(logits));
  const double sum = kernels::cross_entropy(targets, static_cast<Scalar>(1 / divisor), x, grad.data());
  return {sum / divisor, std::move(grad), std::move(losses)};
}

/// Cross entropy between softmax(logits) and distributions t of the logits' shape:
///
///   loss = - sum over k of w[k] ((1 - e) t[k] + e / K) log p[k]
///
/// The mean divides by the number of samples and pixels, whatever the weights. There is no ignore_index: it must be
/// left negative.
template <class Scalar>
Loss<Scalar> cross_entropy(Tensor<Scalar> logits, const Tensor<Scalar>& targets,
                           const CrossEntropyOptions<Scalar>& options = {}) {
  constexpr const char* function = "cross_entropy";
  detail::check_smoothing(options.label_smoothing);
  require(options.ignore_index < 0, "cross_entropy: ignore_index is for class labels, got ", options.ignore_index,
          " with target distributions");
  const ClassShape s = class_shape(function, logits.shape());
  require<ShapeError>(targets.shape() == logits.shape(), "cross_entropy: expected targets of shape ", logits.shape(),
                      ", got shape ", targets.shape());
  const Scalar* const weight = detail::class_weight(function, options.weight, s.classes);
  const double divisor = options.reduction == Reduction::mean ? static_cast<double>(s.outer * s.inner) : 1;
  const kernels::CrossEntropyTargets<Scalar> terms{
      s.outer, s.classes, s.inner, nullptr, 0, targets.data(), weight, static_cast<Scalar>(options.label_smoothing)};
  const Scalar* const x = std::as_const(logits).data();
  Tensor<Scalar> losses;
  if (options.reduction == Reduction::none) losses = detail::cross_entropies(terms, s.labels, x);
  Tensor<Scalar> grad = detail::reuse(std::move(logits));
  const double sum = kernels::cross_entropy(terms, static_cast<Scalar>(1 / divisor), x, grad.data());
  return {sum / divisor, std::move(grad), std::move(losses)};
}

/// cross_entropy with its options, of labels or distributions, as fit and evaluate take a loss:
///
///   fit(net, optimizer, train, {.epochs = 10, .loss = CrossEntropyLoss({.label_smoothing = 0.1})});
template <class Scalar = float>
class CrossEntropyLoss {
 public:
  /// Throws ValueError for a label_smoothing outside [0, 1].
  explicit CrossEntropyLoss(CrossEntropyOptions<Scalar> options = {}) : options_(std::move(options)) {
    detail::check_smoothing(options_.label_smoothing);
  }

  /// The loss of a batch and its gradient.
  template <class Targets>
  Loss<Scalar> operator()(Tensor<Scalar> logits, const Targets& targets) const {
    return cross_entropy(std::move(logits), targets, options_);
  }

 private:
  CrossEntropyOptions<Scalar> options_;
};

/// Negative log likelihood of classes given log probabilities, as from LogSoftmax: loss = - w[y] x[y].
/// Shapes, mean and errors as for cross_entropy with labels.
template <class Scalar>
Loss<Scalar> nll_loss(Tensor<Scalar> log_probabilities, const Labels& labels,
                      const NllLossOptions<Scalar>& options = {}) {
  constexpr const char* function = "nll_loss";
  const ClassShape s = class_shape(function, log_probabilities.shape());
  const Scalar* const weight = detail::class_weight(function, options.weight, s.classes);
  const double total = detail::label_weight(function, s, labels, options.ignore_index, weight);
  const double divisor = options.reduction == Reduction::mean ? total : 1;
  auto grad = Tensor<Scalar>::zeros(log_probabilities.shape());
  const Scalar* const x = std::as_const(log_probabilities).data();
  Scalar* const dx = grad.data();
  Tensor<Scalar> losses;
  if (options.reduction == Reduction::none) losses = Tensor<Scalar>::zeros(s.labels);
  double sum = 0;
  for (Index i = 0; i < labels.numel(); ++i) {
    const std::int32_t label = labels.data()[i];
    if (label == options.ignore_index) continue;
    const Index at = (i / s.inner * s.classes + label) * s.inner + i % s.inner;
    const double factor = weight ? static_cast<double>(weight[label]) : 1.0;
    const double loss = -factor * static_cast<double>(x[at]);
    if (!losses.empty()) losses.data()[i] = static_cast<Scalar>(loss);
    sum += loss;
    dx[at] = static_cast<Scalar>(-factor / divisor);
  }
  return {sum / divisor, std::move(grad), std::move(losses)};
}

namespace detail {

/// Of a loss of elements, a pair of the loss and its derivative: the first alone.
template <class F>
struct LossOnly {
  F f;
  template <class... V>
  auto operator()(const V&... packs) const {
    return f(packs...).first;
  }
};
/// And the pair with a share of the derivative.
template <class T, class F>
struct WithShare {
  F f;
  T share;
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    const auto [loss, slope] = f(x, target);
    return {loss, slope * V(share)};
  }
};

/// (x - t)^2 and its derivative.
struct SquaredError {
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    const V difference = x - target;
    return {difference * difference, difference * V(2)};
  }
};
/// binary_cross_entropy_with_logits' loss, and its derivative times a factor.
template <class T>
struct BinaryCrossEntropy {
  T factor;
  template <class V>
  std::pair<V, V> operator()(V x, V target, V weight, V positive) const {
    const V zero(T(0)), log_part = kernels::log1p_exp_minus_abs(x);
    const V yes = positive * target, no = V(T(1)) - target;
    return {weight * (yes * (max(-x, zero) + log_part) + no * (max(x, zero) + log_part)),
            weight * V(factor) * (no * sigmoid(x) - yes * sigmoid(-x))};
  }
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    return (*this)(x, target, V(T(1)), V(T(1)));
  }
};

/// Of each element, f(x...).first, with Reduction::none; else nothing.
template <class Scalar, class F, class... X>
Tensor<Scalar> element_losses(Reduction reduction, const Shape& shape, F f, const X*... x) {
  if (reduction != Reduction::none) return {};
  Tensor<Scalar> losses(shape);
  kernels::map(losses.numel(), losses.data(), LossOnly<F>{f}, x...);
  return losses;
}

/// The sum or the mean over all elements of f(x, target), a pair of an element's loss and its derivative. Throws
/// ShapeError unless both have the same shape, not empty.
template <class Scalar, class F>
Loss<Scalar> elementwise_loss(const char* function, Tensor<Scalar> x, const Tensor<Scalar>& target, Reduction reduction,
                              F f) {
  require<ShapeError>(target.shape() == x.shape(), function, ": expected a target of shape ", x.shape(), ", got shape ",
                      target.shape());
  require<ShapeError>(!x.empty(), function, ": expected at least one element, got shape ", x.shape());
  const double divisor = reduction == Reduction::mean ? static_cast<double>(x.numel()) : 1;
  const Scalar* const in = std::as_const(x).data();
  Tensor<Scalar> losses = element_losses<Scalar>(reduction, x.shape(), f, in, target.data());
  Tensor<Scalar> grad = reuse(std::move(x));
  const WithShare<Scalar, F> shared{f, static_cast<Scalar>(1 / divisor)};
  const double sum = kernels::sum_with_gradient(grad.numel(), grad.data(), shared, in, target.data());
  return {sum / divisor, std::move(grad), std::move(losses)};
}

}  // namespace detail

/// Squared error: loss = (x - target)^2 for each element; the mean is over all elements.
/// Throws ShapeError unless both have the same shape, not empty.
template <class Scalar>
Loss<Scalar> mse_loss(Tensor<Scalar> x, const Tensor<Scalar>& target, const MseLossOptions& options = {}) {
  return detail::elementwise_loss("mse_loss", std::move(x), target, options.reduction, detail::SquaredError());
}

/// Cross entropy between sigmoid(logits) and targets in [0, 1], element by element. With w = weight, q = pos_weight:
///
///   loss = - w (q t log sigmoid(x) + (1 - t) log(1 - sigmoid(x)))
///
/// computed without overflow and without loss of accuracy for large |x|. The mean is over all elements, whatever the
/// weights. Throws ShapeError unless logits and targets have the same shape, not empty, and the weights broadcast to
/// it.
template <class Scalar>
Loss<Scalar> binary_cross_entropy_with_logits(Tensor<Scalar> logits, const Tensor<Scalar>& targets,
                                              const BinaryCrossEntropyOptions<Scalar>& options = {}) {
  constexpr const char* function = "binary_cross_entropy_with_logits";
  require<ShapeError>(targets.shape() == logits.shape(), function, ": expected targets of shape ", logits.shape(),
                      ", got shape ", targets.shape());
  require<ShapeError>(!logits.empty(), function, ": expected at least one element, got shape ", logits.shape());
  const double divisor = options.reduction == Reduction::mean ? static_cast<double>(logits.numel()) : 1;
  const detail::BinaryCrossEntropy<Scalar> element{static_cast<Scalar>(1 / divisor)};
  const Scalar* const x = std::as_const(logits).data();
  const Index n = logits.numel();
  Tensor<Scalar> grad = detail::reuse(std::move(logits)), losses;
  double sum = 0;
  if (options.weight.empty() && options.pos_weight.empty()) {
    losses = detail::element_losses<Scalar>(options.reduction, targets.shape(), element, x, targets.data());
    sum = kernels::sum_with_gradient(n, grad.data(), element, x, targets.data());
  } else {
    const auto expand = [&](const char* what, const Tensor<Scalar>& tensor) {
      return tensor.empty() ? Tensor<Scalar>::ones(targets.shape())
                            : detail::broadcast(function, what, tensor, targets.shape());
    };
    const Tensor<Scalar> weight = expand("weight", options.weight);
    const Tensor<Scalar> positive = expand("pos_weight", options.pos_weight);
    losses = detail::element_losses<Scalar>(options.reduction, targets.shape(), element, x, targets.data(),
                                            weight.data(), positive.data());
    sum = kernels::sum_with_gradient(n, grad.data(), element, x, targets.data(), weight.data(), positive.data());
  }
  return {sum / divisor, std::move(grad), std::move(losses)};
}

}  // namespace lamina::inline LAMINA_ABI

/// A Loss binds to two names,
template <class Scalar>
struct std::tuple_size<lamina::Loss<Scalar>> : std::integral_constant<std::size_t, 2> {};
/// the value
template <class Scalar>
struct std::tuple_element<0, lamina::Loss<Scalar>> {
  using type = double;  ///< of the value
};
/// and the gradient.
template <class Scalar>
struct std::tuple_element<1, lamina::Loss<Scalar>> {
  using type = lamina::Tensor<Scalar>;  ///< of the gradient
};
