#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/module.hpp"

/// Losses between N images and the N texts that belong to them. They take both embeddings as one tensor [2, N, D], the
/// images' and the texts', and so return the gradients of both:
///
///   auto [loss, grad] = contrastive_loss(model.forward(images, tokens, tape), model.logit_scale);
///   model.backward(grad, tape);
namespace lamina::inline LAMINA_ABI {

namespace detail {

/// 1 / max(|row|, 1e-12) of a row of n elements.
template <class Scalar>
Scalar inverse_norm(const Scalar* row, Index n) {
  Scalar sum(0);
  for (Index i = 0; i < n; ++i) sum += row[i] * row[i];
  return Scalar(1) / std::max(std::sqrt(sum), Scalar(1e-12));
}

/// A loss of logits and targets [N, N], and its gradients.
template <class Scalar>
struct MatrixLoss {
  double value;
  Tensor<Scalar> dlogits, dtargets;
};

/// The mean of the cross entropies by rows and by columns:
/// - (sum over i, j of t[i][j] (log softmax_row(x)[i][j] + log softmax_column(x)[i][j])) / (2 N).
template <class Scalar>
MatrixLoss<Scalar> symmetric_cross_entropy(const Tensor<Scalar>& logits, const Tensor<Scalar>& targets) {
  const Index n = logits.dim(0);
  const Scalar scale = Scalar(1) / static_cast<Scalar>(2 * n);
  Tensor<Scalar> by_row({n, n}), by_column({n, n}), sums = Tensor<Scalar>::zeros({2, n});
  kernels::softmax<true>(n, n, 1, logits.data(), by_row.data());
  kernels::softmax<true>(1, n, n, logits.data(), by_column.data());
  Scalar *const row = by_row.data(), *const column = by_column.data();
  Scalar *const row_sums = sums.data(), *const column_sums = row_sums + n;
  const Scalar* const t = targets.data();
  double value = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      const Index at = i * n + j;
      row_sums[i] += t[at];
      column_sums[j] += t[at];
      value -= static_cast<double>(t[at] * (row[at] + column[at]));
    }
  MatrixLoss<Scalar> loss{value * static_cast<double>(scale), Tensor<Scalar>({n, n}), Tensor<Scalar>({n, n})};
  Scalar *const dlogits = loss.dlogits.data(), *const dtargets = loss.dtargets.data();
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      const Index at = i * n + j;
      dlogits[at] = (std::exp(row[at]) * row_sums[i] + std::exp(column[at]) * column_sums[j] - 2 * t[at]) * scale;
      dtargets[at] = -(row[at] + column[at]) * scale;
    }
  return loss;
}

/// From the gradient dx of x = a bᵀ, x [n, n], those of a and b [n, d].
template <class Scalar>
void product_gradients(Index n, Index d, const Scalar* dx, const kernels::MatrixView<const Scalar>& a,
                       const kernels::MatrixView<const Scalar>& b, Scalar* da, Scalar* db) {
  kernels::gemm(n, d, n, kernels::row_major(dx, n), b, da);
  kernels::gemm(n, d, n, kernels::transposed(dx, n), a, db);
}

/// The two halves of embeddings [2, N, D]. Throws ShapeError for another shape.
template <class Scalar>
std::pair<Tensor<Scalar>, Tensor<Scalar>> image_and_text(const char* function, const Tensor<Scalar>& embeddings) {
  require<ShapeError>(embeddings.rank() == 3 && embeddings.dim(0) == 2 && embeddings.numel() > 0, function,
                      ": expected embeddings [2, N, D], got shape ", embeddings.shape());
  return {embeddings[0], embeddings[1]};
}

}  // namespace detail

/// x / max(|x|, 1e-12) along the last axis: embeddings whose products are cosines.
template <class Scalar>
Tensor<Scalar> l2_normalize(Tensor<Scalar> x) {
  if (x.empty()) return x;
  const Index n = x.dim(-1);
  Tensor<Scalar> y = std::move(x);
  for (Scalar *row = y.data(), *end = row + y.numel(); row != end; row += n) {
    const Scalar scale = detail::inverse_norm(row, n);
    for (Index i = 0; i < n; ++i) row[i] *= scale;
  }
  return y;
}

namespace detail {

/// From the gradient of y = l2_normalize(x), that of x: (dy - y (y dy)) / |x|.
template <class Scalar>
Tensor<Scalar> l2_normalize_backward(const Tensor<Scalar>& x, const Tensor<Scalar>& y, Tensor<Scalar> dy) {
  const Index n = x.dim(-1);
  Scalar* const gradient = dy.data();
  for (Index row = 0; row < x.numel(); row += n) {
    const Scalar scale = inverse_norm(x.data() + row, n);
    Scalar along(0);
    for (Index i = row; i < row + n; ++i) along += gradient[i] * y.data()[i];
    for (Index i = row; i < row + n; ++i) gradient[i] = (gradient[i] - along * y.data()[i]) * scale;
  }
  return dy;
}

}  // namespace detail

/// Options of soft_target_loss.
struct SoftTargetOptions {
  double temperature = 1;                         ///< divides the similarities of the logits
  std::optional<double> target_temperature = {};  ///< divides those of the targets; if not given, 1 / temperature
  bool detach_targets = false;                    ///< no gradient through the targets
  bool normalize = false;                         ///< l2_normalize the embeddings first
};

/// The loss of the compact CLIP listings (after Keras' "Natural language image search with a dual encoder"): the
/// targets are the similarities among the images and among the texts themselves, so that equal pictures in one batch
/// are not pushed apart. With I and T the embeddings [N, D], t = temperature and u = target_temperature:
///
///   logits = T Iᵀ / t,   targets = softmax_rows((I Iᵀ + T Tᵀ) / (2 u)),
///   loss = mean of the cross entropies of logits and targets by rows (texts) and by columns (images)
///
/// The defaults are the listing's choice: u = 1 / t (Keras' text has u = t), gradients flow through the targets too,
/// and nothing is normalised. Encoders that start from drawn weights do not learn with them: embeddings that are all
/// equal have even targets and a loss of log N, and training stays there, or, by the gradient of the targets, bends the
/// targets and not the logits. What learns from the start is {.temperature = 0.07, .target_temperature = 0.005,
/// .detach_targets = true, .normalize = true}: targets that are sharper than the logits.
///
/// Throws ShapeError unless embeddings is [2, N, D], ValueError unless the temperatures are positive.
template <class Scalar>
Loss<Scalar> soft_target_loss(const Tensor<Scalar>& embeddings, const SoftTargetOptions& options = {}) {
  constexpr const char* function = "soft_target_loss";
  require(options.temperature > 0, function, ": temperature must be positive, got ", options.temperature);
  const double target_temperature = options.target_temperature.value_or(1 / options.temperature);
  require(target_temperature > 0, function, ": target_temperature must be positive, got ", target_temperature);
  detail::image_and_text(function, embeddings);
  const Tensor<Scalar> used = options.normalize ? l2_normalize(embeddings) : embeddings;
  const auto [image, text] = detail::image_and_text(function, used);
  const Index n = image.dim(0), d = image.dim(1);
  const auto scale = static_cast<Scalar>(1 / options.temperature);
  const auto target_scale = static_cast<Scalar>(1 / (2 * target_temperature));
  const auto images = kernels::row_major(image.data(), d), texts = kernels::row_major(text.data(), d);
  Tensor<Scalar> logits({n, n}), targets({n, n});
  kernels::gemm(n, n, d, texts, images.transpose(), logits.data());
  logits *= scale;
  kernels::gemm(n, n, d, images, images.transpose(), targets.data());
  kernels::gemm(n, n, d, texts, texts.transpose(), targets.data(), kernels::Store::add);
  targets *= target_scale;
  kernels::softmax<false>(n, n, 1, std::as_const(targets).data(), targets.data());

  auto [value, dlogits, dtargets] = detail::symmetric_cross_entropy(logits, targets);
  dlogits *= scale;
  Tensor<Scalar> grad({2, n, d});
  detail::product_gradients(n, d, std::as_const(dlogits).data(), texts, images, grad.data() + n * d, grad.data());
  if (!options.detach_targets) {
    kernels::softmax_backward<false>(n, n, 1, targets.data(), std::as_const(dtargets).data(), dtargets.data());
    const Scalar* const through = std::as_const(dtargets).data();
    Tensor<Scalar> symmetric({n, n});
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        symmetric.data()[i * n + j] = (through[i * n + j] + through[j * n + i]) * target_scale;
    const auto factor = kernels::row_major(std::as_const(symmetric).data(), n);
    kernels::gemm(n, d, n, factor, images, grad.data(), kernels::Store::add);
    kernels::gemm(n, d, n, factor, texts, grad.data() + n * d, kernels::Store::add);
  }
  if (options.normalize) grad = detail::l2_normalize_backward(embeddings, used, std::move(grad));
  return {value, std::move(grad)};
}

/// Clamps a learned logit_scale (one element) to log 100 at most, as CLIP's paper does after every step: call it after
/// the optimiser's.
template <class Scalar>
void clamp_logit_scale(Parameter<Scalar>& logit_scale) {
  const Scalar most = std::log(Scalar(100));
  if (logit_scale.value.item() > most) logit_scale.value.fill(most);
}

/// CLIP's loss (Radford et al. 2021, figure 3): the symmetric cross entropy of scaled cosines, each image against all
/// texts and each text against all images,
///
///   logits = s Î T̂ᵀ,   s = exp(logit_scale),   loss = (cross_entropy(logits, 0..N-1) + cross_entropy(logitsᵀ, 0..N-1))
///   / 2
///
/// with Î and T̂ the normalised embeddings. The learned logit_scale (one element) is first clamped by
/// clamp_logit_scale(), which is to be called after the optimiser's step too; its gradient is added to it. Throws
/// ShapeError unless embeddings is [2, N, D] and logit_scale has one element.
template <class Scalar>
Loss<Scalar> contrastive_loss(const Tensor<Scalar>& embeddings, Parameter<Scalar>& logit_scale) {
  constexpr const char* function = "contrastive_loss";
  detail::image_and_text(function, embeddings);
  require<ShapeError>(logit_scale.value.numel() == 1, function, ": expected a logit_scale of one element, got ",
                      "shape ", logit_scale.value.shape());
  clamp_logit_scale(logit_scale);
  const Scalar scale = std::exp(logit_scale.value.item());

  const Tensor<Scalar> unit = l2_normalize(embeddings);
  const auto [image, text] = detail::image_and_text(function, unit);
  const Index n = image.dim(0), d = image.dim(1);
  const auto images = kernels::row_major(image.data(), d), texts = kernels::row_major(text.data(), d);
  Tensor<Scalar> logits({n, n}), targets = Tensor<Scalar>::zeros({n, n});
  kernels::gemm(n, n, d, images, texts.transpose(), logits.data());
  logits *= scale;
  for (Index i = 0; i < n; ++i) targets(i, i) = 1;
  auto [value, dlogits, unused] = detail::symmetric_cross_entropy(logits, targets);
  const Tensor<Scalar> products = dlogits * logits;
  if (logit_scale.requires_grad) *logit_scale.gradient().data() += kernels::vector_sum(products.data(), logits.numel());
  dlogits *= scale;
  Tensor<Scalar> grad({2, n, d});
  detail::product_gradients(n, d, std::as_const(dlogits).data(), images, texts, grad.data(), grad.data() + n * d);
  return {value, detail::l2_normalize_backward(embeddings, unit, std::move(grad))};
}

}  // namespace lamina::inline LAMINA_ABI
