#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of dice_loss.
struct DiceLossOptions {
  Choice<Reduction> reduction = Reduction::mean;  ///< of the losses of all samples and classes to one number
  double smooth = 1e-5;                           ///< added above and below the bar
  std::int32_t ignore_index = -100;               ///< places with this label are left out
};

/// How little the classes' areas overlap with those of the labels (Milletari, Navab and Ahmadi 2016, with the sums
/// themselves in place of their squares below the bar): for each sample and class, with p = softmax(logits) over the K
/// classes and t = 1 where the label is the class, else 0,
///
///   loss = 1 - (2 sum p t + smooth) / (sum p + sum t + smooth), the sums over all places that are not ignored
///
/// Shapes: logits [N, K, d1, ...], labels [N, d1, ...]. The mean is over samples and classes: MONAI's DiceLoss with
/// to_onehot_y and softmax. Throws ValueError for a label that is no class, naming it and its position, or unless
/// smooth is positive; ShapeError for labels that do not fit, or an empty batch.
template <class Scalar>
Loss<Scalar> dice_loss(const Tensor<Scalar>& logits, const Labels& labels, const DiceLossOptions& options = {}) {
  constexpr const char* function = "dice_loss";
  require(options.smooth > 0, function, ": smooth must be positive, got ", options.smooth);
  const ClassShape s = class_shape(function, logits.shape());
  require<ShapeError>(logits.rank() >= 2, function, ": expected logits [N, K, ...], got shape ", logits.shape());
  detail::label_weight<Scalar>(function, s, labels, options.ignore_index, nullptr);
  const double terms = options.reduction == Reduction::mean ? static_cast<double>(s.outer * s.classes) : 1;
  Tensor<Scalar> probabilities(logits.shape()), grad(logits.shape());
  Tensor<Scalar> losses;
  if (options.reduction == Reduction::none) losses = Tensor<Scalar>({s.outer, s.classes});
  kernels::softmax<false>(s.outer, s.classes, s.inner, logits.data(), probabilities.data());
  double total = 0;
  for (Index i = 0; i < s.outer * s.classes; ++i) {
    const Scalar* const p = std::as_const(probabilities).data() + i * s.inner;
    const std::int32_t* const label = labels.data() + i / s.classes * s.inner;
    const auto hit = [&](Index j) { return label[j] == i % s.classes; };
    double both = options.smooth, all = options.smooth;
    for (Index j = 0; j < s.inner; ++j) {
      if (label[j] == options.ignore_index) continue;
      all += static_cast<double>(p[j]) + hit(j);
      if (hit(j)) both += 2 * static_cast<double>(p[j]);
    }
    if (!losses.empty()) losses.data()[i] = static_cast<Scalar>(1 - both / all);
    total += 1 - both / all;
    const double share = 1 / (all * all * terms);
    for (Index j = 0; j < s.inner; ++j)
      grad.data()[i * s.inner + j] =
          label[j] == options.ignore_index ? Scalar(0) : static_cast<Scalar>((both - (hit(j) ? 2 * all : 0)) * share);
  }
  kernels::softmax_backward<false>(s.outer, s.classes, s.inner, std::as_const(probabilities).data(),
                                   std::as_const(grad).data(), grad.data());
  return {total / terms, std::move(grad), std::move(losses)};
}

}  // namespace lamina::inline LAMINA_ABI
