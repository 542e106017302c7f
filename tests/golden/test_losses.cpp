#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/losses.hpp"

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

  const auto soft = [&](const std::string& name, const CrossEntropyOptions<S>& options) {
    return golden.loss(name,
                       [&](const Tensor<S>& x) { return cross_entropy(x, golden.tensor(name + "/target"), options); });
  };
  CHECK(soft("cross_entropy/soft", {}));
  CHECK(soft("cross_entropy/soft_sum", {.reduction = sum}));
  CHECK(soft("cross_entropy/soft_smoothing", {.label_smoothing = 0.1}));
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

  const auto mse = [&](const std::string& name, const MseLossOptions& options) {
    return golden.loss(name, [&](const Tensor<S>& x) { return mse_loss(x, golden.tensor(name + "/target"), options); });
  };
  for (const std::string name : {"mse/rank1", "mse/rank2", "mse/images"}) {
    CHECK(mse(name + "_mean", {}));
    CHECK(mse(name + "_sum", {.reduction = sum}));
  }

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

  CHECK(golden.untested() == "");
}
