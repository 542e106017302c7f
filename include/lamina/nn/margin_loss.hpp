#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "lamina/nn/losses.hpp"

/// Losses that ask for a margin and no more.
namespace lamina::inline LAMINA_ABI {

namespace detail {

/// hinge_embedding_loss' loss and its derivative.
template <class T>
struct HingeEmbedding {
  T margin;
  template <class V>
  std::pair<V, V> operator()(V x, V target) const {
    const V zero(T(0)), one(T(1)), lack = V(margin) - x;
    const auto alike = target > zero;
    return {select(alike, x, max(lack, zero)), select(alike, one, select(lack < zero, zero, -one))};
  }
};

}  // namespace detail

/// Options of hinge_embedding_loss.
struct HingeEmbeddingLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all elements to one number
  double margin = 1;                              ///< how large distances of the unlike should be
};

/// Options of multi_margin_loss.
template <class Scalar = float>
struct MultiMarginLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all samples to one number
  Index p = 1;                                    ///< the power, 1 or 2
  double margin = 1;                              ///< how far the label's score should be above the others
  Tensor<Scalar> weight = {};                     ///< [K], for each class; ones if not given
};

/// Options of cosine_embedding_loss.
struct CosineEmbeddingLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all pairs to one number
  double margin = 0;                              ///< cosines of the unlike up to here cost nothing
};

/// For distances x and targets 1 (alike) or -1 (unlike), element by element:
///
///   loss = x where the target is 1, max(0, margin - x) where it is -1
///
/// The mean is over all elements. Throws ValueError for another target, ShapeError unless both have the same shape, not
/// empty.
template <class Scalar>
Loss<Scalar> hinge_embedding_loss(Tensor<Scalar> x, const Tensor<Scalar>& target,
                                  const HingeEmbeddingLossOptions& options = {}) {
  for (Index i = 0; i < target.numel(); ++i)
    require(std::abs(target.data()[i]) == 1, "hinge_embedding_loss: targets must be 1 or -1, got ", target.data()[i],
            " at position ", i);
  return detail::elementwise_loss("hinge_embedding_loss", std::move(x), target, options.reduction,
                                  detail::HingeEmbedding<Scalar>{static_cast<Scalar>(options.margin)});
}

/// The hinge loss of several classes (Crammer and Singer 2001, summed over the classes): for scores x and a label y
///
///   loss = weight[y] / K * sum over k other than y of max(0, margin - x[y] + x[k])^p
///
/// Shapes: x [N, K] or [K], labels [N] or []. The mean is over the samples, whatever the weights. Throws ValueError for
/// a label that is no class, naming it and its position, or another p; ShapeError for labels or weights that do not
/// fit, or an empty batch.
template <class Scalar>
Loss<Scalar> multi_margin_loss(const Tensor<Scalar>& x, const Labels& labels,
                               const MultiMarginLossOptions<Scalar>& options = {}) {
  constexpr const char* function = "multi_margin_loss";
  require(options.p == 1 || options.p == 2, function, ": p must be 1 or 2, got ", options.p);
  const ClassShape s = class_shape(function, x.shape());
  require<ShapeError>(x.rank() <= 2, function, ": expected scores [N, K] or [K], got shape ", x.shape());
  const Scalar* const weight = detail::class_weight(function, options.weight, s.classes);
  detail::label_weight(function, s, labels, -1, weight);
  const double samples = options.reduction == Reduction::mean ? static_cast<double>(s.outer) : 1;
  auto grad = Tensor<Scalar>::zeros(x.shape());
  Scalar* const dx = grad.data();
  Tensor<Scalar> losses;
  if (options.reduction == Reduction::none) losses = Tensor<Scalar>(s.labels);
  double total = 0;
  for (Index i = 0; i < s.outer; ++i) {
    const std::int32_t label = labels.data()[i];
    require(label >= 0, function, ": label ", label, " at position [", i, "] is not one of the ", s.classes,
            " classes 0 to ", s.classes - 1);
    const Scalar* const scores = x.data() + i * s.classes;
    const double factor = (weight ? static_cast<double>(weight[label]) : 1) / static_cast<double>(s.classes);
    double down = 0, loss = 0;
    for (Index k = 0; k < s.classes; ++k) {
      const double lack = options.margin - static_cast<double>(scores[label]) + static_cast<double>(scores[k]);
      if (k == label || lack <= 0) continue;
      loss += factor * (options.p == 1 ? lack : lack * lack);
      const double slope = factor / samples * (options.p == 1 ? 1 : 2 * lack);
      dx[i * s.classes + k] = static_cast<Scalar>(slope);
      down += slope;
    }
    dx[i * s.classes + label] = static_cast<Scalar>(-down);
    if (!losses.empty()) losses.data()[i] = static_cast<Scalar>(loss);
    total += loss;
  }
  return {total / samples, std::move(grad), std::move(losses)};
}

/// Of pairs of vectors a and b, alike (target 1) or not (-1), with c = a b / (|a| |b|):
///
///   loss = 1 - c where the target is 1, max(0, c - margin) where it is -1
///
/// Shapes: embeddings [2, N, D], all a and all b, so that the gradient is of both; targets [N]. To each squared length
/// 1e-12 is added, as in PyTorch. The mean is over the pairs. Throws ValueError for another target or a margin outside
/// [-1, 1], ShapeError for other shapes or an empty batch.
template <class Scalar>
Loss<Scalar> cosine_embedding_loss(const Tensor<Scalar>& embeddings, const Labels& targets,
                                   const CosineEmbeddingLossOptions& options = {}) {
  constexpr const char* function = "cosine_embedding_loss";
  require<ShapeError>(embeddings.rank() == 3 && embeddings.dim(0) == 2 && embeddings.numel() > 0, function,
                      ": expected embeddings [2, N, D], got shape ", embeddings.shape());
  const Index n = embeddings.dim(1), d = embeddings.dim(2);
  require<ShapeError>(targets.shape() == Shape{n}, function, ": expected targets of shape ", Shape{n}, ", got shape ",
                      targets.shape());
  require(std::abs(options.margin) <= 1, function, ": margin must be in [-1, 1], got ", options.margin);
  const double pairs = options.reduction == Reduction::mean ? static_cast<double>(n) : 1;
  Tensor<Scalar> grad(embeddings.shape()), losses;
  if (options.reduction == Reduction::none) losses = Tensor<Scalar>({n});
  double total = 0;
  for (Index i = 0; i < n; ++i) {
    const std::int32_t target = targets.data()[i];
    require(target == 1 || target == -1, function, ": targets must be 1 or -1, got ", target, " at position ", i);
    const Scalar *const a = embeddings.data() + i * d, *const b = a + n * d;
    Scalar *const da = grad.data() + i * d, *const db = da + n * d;
    double product = 0, a_square = 1e-12, b_square = 1e-12;
    for (Index k = 0; k < d; ++k) {
      const auto u = static_cast<double>(a[k]), v = static_cast<double>(b[k]);
      product += u * v;
      a_square += u * u;
      b_square += v * v;
    }
    const double length = std::sqrt(a_square * b_square), cosine = product / length;
    const double excess = cosine - options.margin, loss = target == 1 ? 1 - cosine : std::max(excess, 0.0);
    if (!losses.empty()) losses.data()[i] = static_cast<Scalar>(loss);
    total += loss;
    const double slope = (target == 1 ? -1 : excess >= 0 ? 1 : 0) / pairs;
    for (Index k = 0; k < d; ++k) {
      const auto u = static_cast<double>(a[k]), v = static_cast<double>(b[k]);
      da[k] = static_cast<Scalar>(slope * (v / length - cosine * u / a_square));
      db[k] = static_cast<Scalar>(slope * (u / length - cosine * v / b_square));
    }
  }
  return {total / pairs, std::move(grad), std::move(losses)};
}

}  // namespace lamina::inline LAMINA_ABI
