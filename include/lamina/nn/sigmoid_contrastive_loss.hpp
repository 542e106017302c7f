#pragma once

#include <cmath>
#include <utility>

#include "lamina/nn/contrastive_loss.hpp"

namespace lamina::inline LAMINA_ABI {

/// SigLIP's loss (Zhai, Mustafa, Kolesnikov, Beyer 2023, algorithm 1): every pair of an image and a text is a yes or no
/// by itself, so that no sum over the batch is taken,
///
///   x = s Î T̂ᵀ + b,   s = exp(logit_scale),   b = logit_bias,
///   loss = sum over i, j of log(1 + exp(-z[i][j] x[i][j])) / N,   z = 1 for i = j, else -1
///
/// with Î and T̂ the normalised embeddings. logit_scale and logit_bias (one element each; the paper starts them at log
/// 10 and -10) are learned: their gradients are added to them. Throws ShapeError unless embeddings is [2, N, D] and
/// both have one element.
template <class Scalar>
Loss<Scalar> sigmoid_contrastive_loss(const Tensor<Scalar>& embeddings, Parameter<Scalar>& logit_scale,
                                      Parameter<Scalar>& logit_bias) {
  constexpr const char* function = "sigmoid_contrastive_loss";
  detail::image_and_text(function, embeddings);
  require<ShapeError>(logit_scale.value.numel() == 1 && logit_bias.value.numel() == 1, function,
                      ": expected a logit_scale and a logit_bias of one element, got shapes ",
                      logit_scale.value.shape(), " and ", logit_bias.value.shape());
  const Scalar scale = std::exp(logit_scale.value.item()), bias = logit_bias.value.item();
  const Tensor<Scalar> unit = l2_normalize(embeddings);
  const auto [image, text] = detail::image_and_text(function, unit);
  const Index n = image.dim(0), d = image.dim(1);
  const auto images = kernels::row_major(image.data(), d), texts = kernels::row_major(text.data(), d);
  Tensor<Scalar> cosines({n, n}), gradients({n, n});
  kernels::gemm(n, n, d, images, texts.transpose(), cosines.data());
  double value = 0, to_scale = 0, to_bias = 0;
  Scalar* const gradient = gradients.data();
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) {
      const Scalar sign = i == j ? Scalar(1) : Scalar(-1), cosine = std::as_const(cosines).data()[i * n + j];
      const Scalar wrong = -sign * (scale * cosine + bias);  // log(1 + e^wrong)
      value += static_cast<double>(std::max(wrong, Scalar(0)) + std::log1p(std::exp(-std::abs(wrong))));
      const Scalar slope = -sign / (Scalar(1) + std::exp(-wrong)) / static_cast<Scalar>(n);
      to_scale += static_cast<double>(slope * scale * cosine);
      to_bias += static_cast<double>(slope);
      gradient[i * n + j] = slope * scale;
    }
  if (logit_scale.requires_grad) *logit_scale.gradient().data() += static_cast<Scalar>(to_scale);
  if (logit_bias.requires_grad) *logit_bias.gradient().data() += static_cast<Scalar>(to_bias);
  Tensor<Scalar> grad({2, n, d});
  detail::product_gradients(n, d, std::as_const(gradients).data(), images, texts, grad.data(), grad.data() + n * d);
  return {value / static_cast<double>(n), detail::l2_normalize_backward(embeddings, unit, std::move(grad))};
}

}  // namespace lamina::inline LAMINA_ABI
