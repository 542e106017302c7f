#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/group_norm.hpp"
#include "lamina/nn/instance_norm.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/rms_norm.hpp"

using namespace lamina;
using testing::Golden;

namespace {

template <class Norm, class S>
void check_batch_norm(Golden<S>& golden, const std::string& layer) {
  CHECK(golden.layer(layer + "/default", Norm(3)));
  CHECK(golden.layer(layer + "/momentum", Norm(3, {.eps = 1e-3, .momentum = 0.3})));
  CHECK(golden.layer(layer + "/cumulative", Norm(3, {.momentum = std::nullopt})));
  CHECK(golden.layer(layer + "/plain", Norm(3, {.affine = false})));
  CHECK(golden.layer(layer + "/untracked", Norm(3, {.track_running_stats = false})));
  CHECK(golden.layer(layer + "/plain_untracked", Norm(3, {.affine = false, .track_running_stats = false})));
}

}  // namespace

TEST_CASE_TEMPLATE("normalisation as in PyTorch", S, float, double) {
  Golden<S> golden("normalisation");

  check_batch_norm<BatchNorm1d<S>>(golden, "batch_norm1d");
  check_batch_norm<BatchNorm1d<S>>(golden, "batch_norm1d_rank3");
  check_batch_norm<BatchNorm2d<S>>(golden, "batch_norm2d");
  CHECK(golden.layer("batch_norm2d/one_sample", BatchNorm2d<S>(2)));
  CHECK(golden.layer("batch_norm2d/wide", BatchNorm2d<S>(2)));
  CHECK(golden.layer("batch_norm2d/large_mean", BatchNorm2d<S>(2), 30));

  CHECK(golden.layer("layer_norm/last", LayerNorm<S>(7)));
  CHECK(golden.layer("layer_norm/tokens", LayerNorm<S>(5)));
  CHECK(golden.layer("layer_norm/two_axes", LayerNorm<S>({4, 5})));
  CHECK(golden.layer("layer_norm/image", LayerNorm<S>({3, 2, 4})));
  CHECK(golden.layer("layer_norm/eps", LayerNorm<S>(7, {.eps = 0.1})));
  CHECK(golden.layer("layer_norm/plain", LayerNorm<S>(7, {.elementwise_affine = false})));
  CHECK(golden.layer("layer_norm/one_row", LayerNorm<S>(9)));
  CHECK(golden.layer("layer_norm/long", LayerNorm<S>(71)));

  CHECK(golden.layer("group_norm/default", GroupNorm<S>(2, 6)));
  CHECK(golden.layer("group_norm/one", GroupNorm<S>(1, 4)));
  CHECK(golden.layer("group_norm/each", GroupNorm<S>(4, 4)));
  CHECK(golden.layer("group_norm/features", GroupNorm<S>(2, 38)));
  CHECK(golden.layer("group_norm/plain_eps", GroupNorm<S>(3, 6, {.eps = 0.1, .affine = false})));
  CHECK(golden.layer("group_norm/wide", GroupNorm<S>(2, 4)));

  CHECK(golden.layer("instance_norm2d/default", InstanceNorm2d<S>(3)));
  CHECK(golden.layer("instance_norm2d/affine", InstanceNorm2d<S>(3, {.eps = 0.01, .affine = true})));
  CHECK(golden.layer("instance_norm2d/tracked", InstanceNorm2d<S>(3, {.track_running_stats = true})));
  CHECK(golden.layer("instance_norm2d/affine_tracked",
                     InstanceNorm2d<S>(2, {.momentum = 0.3, .affine = true, .track_running_stats = true})));

  CHECK(golden.layer("rms_norm/last", RMSNorm<S>(7, {.eps = 1e-6})));
  CHECK(golden.layer("rms_norm/two_axes", RMSNorm<S>({4, 5}, {.eps = 1e-3})));
  CHECK(golden.layer("rms_norm/plain", RMSNorm<S>(71, {.eps = 1e-6, .elementwise_affine = false})));

  using Local = LocalResponseNorm<S>;
  CHECK(golden.layer("local_response_norm/default", Local(5)));
  CHECK(golden.layer("local_response_norm/paper", Local(5, {.alpha = 5e-4, .k = 2})));
  CHECK(golden.layer("local_response_norm/strong", Local(3, {.alpha = 1.5, .k = 0.5})));
  CHECK(golden.layer("local_response_norm/even", Local(4, {.alpha = 1, .beta = 0.6, .k = 1.5})));
  CHECK(golden.layer("local_response_norm/beta_1", Local(2, {.alpha = 0.5, .beta = 1})));
  CHECK(golden.layer("local_response_norm/one", Local(1, {.alpha = 1})));
  CHECK(golden.layer("local_response_norm/beyond_channels", Local(9, {.alpha = 1})));
  CHECK(golden.layer("local_response_norm/rank3", Local(3, {.alpha = 1})));
  CHECK(golden.layer("local_response_norm/rank5", Local(3, {.alpha = 1})));

  CHECK(golden.untested() == "");
}
