#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/dice_loss.hpp"
#include "lamina/nn/focal_loss.hpp"
#include "lamina/nn/kl_div.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/margin_loss.hpp"
#include "lamina/nn/smooth_l1_loss.hpp"

using namespace lamina;
using testing::Golden;

namespace {
constexpr Reduction sum = Reduction::sum;
}

TEST_CASE_TEMPLATE("losses as in PyTorch", S, float, double) {
  Golden<S> golden("losses");
  const Tensor<S> weight = golden.tensor("cross_entropy/weight/weight");

  const auto classes = [&](const std::string& name, const CrossEntropyOptions<S>& options) {
    return golden.loss(name,
                       [&](const Tensor<S>& x) { return cross_entropy(x, golden.labels(name + "/target"), options); });
  };
  CHECK(classes("cross_entropy/mean", {}));
  CHECK(classes("cross_entropy/sum", {.reduction = sum}));
  CHECK(classes("cross_entropy/weight", {.weight = weight}));
  CHECK(classes("cross_entropy/weight_sum", {.reduction = sum, .weight = weight}));
  CHECK(classes("cross_entropy/smoothing", {.label_smoothing = 0.1}));
  CHECK(classes("cross_entropy/smoothing_sum", {.reduction = sum, .label_smoothing = 0.3}));
  CHECK(classes("cross_entropy/smoothing_weight", {.label_smoothing = 0.1, .weight = weight}));
  CHECK(classes("cross_entropy/smoothing_weight_sum", {.reduction = sum, .label_smoothing = 0.1, .weight = weight}));
  CHECK(classes("cross_entropy/ignored", {}));
  CHECK(classes("cross_entropy/ignored_sum", {.reduction = sum}));
  CHECK(classes("cross_entropy/ignored_class", {.ignore_index = 2}));
  CHECK(classes("cross_entropy/ignored_255", {.ignore_index = 255}));
  CHECK(classes("cross_entropy/ignored_smoothing_weight", {.label_smoothing = 0.2, .weight = weight}));
  CHECK(classes("cross_entropy/ignored_smoothing_weight_sum",
                {.reduction = sum, .label_smoothing = 0.2, .weight = weight}));
  CHECK(classes("cross_entropy/large_logits", {}));
  CHECK(classes("cross_entropy/one_sample", {}));
  CHECK(classes("cross_entropy/rank1", {}));
  CHECK(classes("cross_entropy/all_ignored", {}));
  CHECK(classes("cross_entropy/all_ignored_sum", {.reduction = sum}));
  CHECK(classes("cross_entropy/many_classes", {}));

  CHECK(classes("cross_entropy/rank3", {}));
  CHECK(classes("cross_entropy/images", {}));
  CHECK(classes("cross_entropy/images_ignored_weight", {.weight = weight}));
  CHECK(classes("cross_entropy/images_ignored_smoothing", {.label_smoothing = 0.1}));
  CHECK(classes("cross_entropy/images_sum", {.reduction = sum}));
  CHECK(classes("cross_entropy/none", {.reduction = "none"}));
  CHECK(classes("cross_entropy/none_rank1", {.reduction = "none"}));
  CHECK(classes("cross_entropy/none_images", {.reduction = "none", .label_smoothing = 0.1, .weight = weight}));

  const auto soft = [&](const std::string& name, const CrossEntropyOptions<S>& options) {
    return golden.loss(name,
                       [&](const Tensor<S>& x) { return cross_entropy(x, golden.tensor(name + "/target"), options); });
  };
  CHECK(soft("cross_entropy/soft", {}));
  CHECK(soft("cross_entropy/soft_sum", {.reduction = sum}));
  CHECK(soft("cross_entropy/soft_smoothing", {.label_smoothing = 0.1}));
  CHECK(soft("cross_entropy/none_soft", {.reduction = "none", .label_smoothing = 0.2, .weight = weight}));
  CHECK(soft("cross_entropy/soft_weight", {.weight = weight}));
  CHECK(soft("cross_entropy/soft_smoothing_weight", {.label_smoothing = 0.2, .weight = weight}));
  CHECK(soft("cross_entropy/soft_images", {}));

  const auto nll = [&](const std::string& name, const NllLossOptions<S>& options) {
    return golden.loss(name, [&](const Tensor<S>& x) { return nll_loss(x, golden.labels(name + "/target"), options); });
  };
  CHECK(nll("nll/mean", {}));
  CHECK(nll("nll/sum", {.reduction = sum}));
  CHECK(nll("nll/weight", {.weight = weight}));
  CHECK(nll("nll/ignored_weight", {.weight = weight}));
  CHECK(nll("nll/ignored_class", {.ignore_index = 1}));
  CHECK(nll("nll/images", {}));
  CHECK(nll("nll/none", {.reduction = "none", .weight = weight}));

  const auto mse = [&](const std::string& name, const MseLossOptions& options) {
    return golden.loss(name, [&](const Tensor<S>& x) { return mse_loss(x, golden.tensor(name + "/target"), options); });
  };
  for (const std::string name : {"mse/rank1", "mse/rank2", "mse/images"}) {
    CHECK(mse(name + "_mean", {}));
    CHECK(mse(name + "_sum", {.reduction = sum}));
  }
  CHECK(mse("mse/none", {.reduction = "none"}));

  const auto tensor = [&](const char* key) { return golden.tensor(std::string("bce/") + key); };
  const auto bce = [&](const std::string& name, const BinaryCrossEntropyOptions<S>& options) {
    return golden.loss(name, [&](const Tensor<S>& x) {
      return binary_cross_entropy_with_logits(x, golden.tensor(name + "/target"), options);
    });
  };
  CHECK(bce("bce/mean", {}));
  CHECK(bce("bce/sum", {.reduction = sum}));
  CHECK(bce("bce/soft", {}));
  CHECK(bce("bce/images", {}));
  CHECK(bce("bce/weight", {.weight = tensor("weight/weight")}));
  CHECK(bce("bce/weight_columns", {.weight = tensor("weight_columns/weight")}));
  CHECK(bce("bce/weight_rows_sum", {.reduction = sum, .weight = tensor("weight_rows_sum/weight")}));
  CHECK(bce("bce/pos_weight", {.pos_weight = tensor("pos_weight/pos_weight")}));
  CHECK(bce("bce/pos_weight_channels", {.pos_weight = tensor("pos_weight_channels/pos_weight")}));
  CHECK(bce("bce/weight_pos_weight_sum", {.reduction = sum,
                                          .weight = tensor("weight_pos_weight_sum/weight"),
                                          .pos_weight = tensor("weight_pos_weight_sum/pos_weight")}));
  CHECK(bce("bce/tails", {}));
  CHECK(bce("bce/none", {.reduction = "none"}));
  CHECK(bce(
      "bce/none_weights",
      {.reduction = "none", .weight = tensor("none_weights/weight"), .pos_weight = tensor("none_weights/pos_weight")}));

  const auto elements = [&](const std::string& name, auto loss) {
    return golden.loss(name, [&](const Tensor<S>& x) { return loss(x, golden.tensor(name + "/target")); });
  };
  const auto smooth = [&](const std::string& name, const SmoothL1LossOptions& options) {
    return elements(name, [&](const auto& x, const auto& target) { return smooth_l1_loss(x, target, options); });
  };
  CHECK(smooth("smooth_l1/images", {}));
  CHECK(smooth("smooth_l1/sum", {.reduction = sum}));
  CHECK(smooth("smooth_l1/half", {.beta = 0.5}));
  CHECK(smooth("smooth_l1/wide", {.beta = 2.5}));
  CHECK(smooth("smooth_l1/l1", {.beta = 0}));
  CHECK(smooth("smooth_l1/none", {.reduction = "none", .beta = 0.5}));
  const auto huber = [&](const std::string& name, const HuberLossOptions& options) {
    return elements(name, [&](const auto& x, const auto& target) { return huber_loss(x, target, options); });
  };
  CHECK(huber("huber/images", {}));
  CHECK(huber("huber/sum", {.reduction = sum}));
  CHECK(huber("huber/half", {.delta = 0.5}));
  CHECK(huber("huber/wide", {.delta = 2.5}));
  CHECK(huber("huber/none", {.reduction = "none", .delta = 2.5}));

  const auto kl = [&](const std::string& name, const KlDivOptions& options) {
    return elements(name, [&](const auto& x, const auto& target) { return kl_div(x, target, options); });
  };
  CHECK(kl("kl_div/mean", {}));
  CHECK(kl("kl_div/sum", {.reduction = sum}));
  CHECK(kl("kl_div/batchmean", {.batchmean = true}));
  CHECK(kl("kl_div/log_target", {.log_target = true}));
  CHECK(kl("kl_div/images", {.batchmean = true}));
  CHECK(kl("kl_div/none", {.reduction = "none"}));

  const auto focal = [&](const std::string& name, const FocalLossOptions& options) {
    return elements(name, [&](const auto& x, const auto& target) { return sigmoid_focal_loss(x, target, options); });
  };
  CHECK(focal("focal/mean", {}));
  CHECK(focal("focal/sum", {.reduction = sum}));
  CHECK(focal("focal/soft", {}));
  CHECK(focal("focal/gamma_0", {.gamma = 0}));
  CHECK(focal("focal/gamma_half", {.alpha = 0.6, .gamma = 0.5}));
  CHECK(focal("focal/no_alpha", {.alpha = -1}));
  CHECK(focal("focal/tails", {}));
  CHECK(focal("focal/none", {.reduction = "none"}));

  const auto hinge = [&](const std::string& name, const HingeEmbeddingLossOptions& options) {
    return elements(name, [&](const auto& x, const auto& target) { return hinge_embedding_loss(x, target, options); });
  };
  CHECK(hinge("hinge_embedding/mean", {}));
  CHECK(hinge("hinge_embedding/sum", {.reduction = sum, .margin = 2}));
  CHECK(hinge("hinge_embedding/edge", {}));
  CHECK(hinge("hinge_embedding/none", {.reduction = "none"}));

  const auto by_labels = [&](const std::string& name, auto loss) {
    return golden.loss(name, [&](const Tensor<S>& x) { return loss(x, golden.labels(name + "/target")); });
  };
  const auto margin = [&](const std::string& name, const MultiMarginLossOptions<S>& options) {
    return by_labels(name, [&](const auto& x, const auto& labels) { return multi_margin_loss(x, labels, options); });
  };
  CHECK(margin("multi_margin/mean", {}));
  CHECK(margin("multi_margin/sum", {.reduction = sum}));
  CHECK(margin("multi_margin/square", {.p = 2, .margin = 0.5}));
  CHECK(margin("multi_margin/weight", {.weight = weight}));
  CHECK(margin("multi_margin/rank1", {}));
  CHECK(margin("multi_margin/none", {.reduction = "none", .p = 2, .weight = weight}));

  const auto cosine = [&](const std::string& name, const CosineEmbeddingLossOptions& options) {
    return by_labels(name,
                     [&](const auto& x, const auto& target) { return cosine_embedding_loss(x, target, options); });
  };
  CHECK(cosine("cosine_embedding/mean", {}));
  CHECK(cosine("cosine_embedding/sum_margin", {.reduction = sum, .margin = 0.4}));
  CHECK(cosine("cosine_embedding/unlike", {.margin = -0.5}));
  CHECK(cosine("cosine_embedding/none", {.reduction = "none", .margin = 0.4}));

  const auto dice = [&](const std::string& name, const DiceLossOptions& options) {
    return by_labels(name, [&](const auto& x, const auto& labels) { return dice_loss(x, labels, options); });
  };
  CHECK(dice("dice/images", {}));
  CHECK(dice("dice/ignored", {}));
  CHECK(dice("dice/sum", {.reduction = sum, .smooth = 1}));
  CHECK(dice("dice/one_place", {}));

  CHECK(golden.untested() == "");
}
