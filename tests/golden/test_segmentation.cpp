#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/models/segnext.hpp"
#include "lamina/nn/context/context.hpp"

using namespace lamina;
using testing::Golden;

// The fixtures are made by the authors' programs.

TEST_CASE_TEMPLATE("the context modules of APCNet, DMNet and CFNet are the authors'", S, float, double) {
  Golden<S> golden("contexts");
  CHECK(golden.layer("apc/one", AdaptiveContext<S>(1, 6, 4), 100));
  CHECK(golden.layer("apc/three", AdaptiveContext<S>(3, 6, 4), 100));
  CHECK(golden.layer("apc/coarse", AdaptiveContext<S>(6, 6, 4), 100));
  CHECK(golden.layer("apc/pyramid", adaptive_pyramid<S>(8), 100));
  CHECK(golden.layer("dm/one", DynamicContext<S>(1, 6, 4), 100));
  CHECK(golden.layer("dm/three", DynamicContext<S>(3, 6, 4, false), 100));
  CHECK(golden.layer("dm/four", DynamicContext<S>(4, 6, 4), 100));
  CHECK(golden.layer("dm/seven", DynamicContext<S>(7, 6, 4), 100));
  CHECK(golden.layer("dm/pyramid", dynamic_pyramid<S>(4), 100));
  CHECK(golden.layer("acf/two", CoOccurrence<S>(8, {.heads = 2, .dropout = 0}), 100));
  CHECK(golden.layer("acf/one", CoOccurrence<S>(6, {.heads = 1, .dropout = 0}), 100));
  CHECK(golden.untested() == "");
}

TEST_CASE_TEMPLATE("SegNeXt, its attention and its blocks are the authors'", S, float, double) {
  Golden<S> golden("segnext");
  CHECK(golden.layer("attention", MultiScaleAttention<S>(3), 10));
  CHECK(golden.layer("block", MscanBlock<S>(4, 2), 100));
  SegNeXtOptions options{
      .classes = 3,
      .backbone = {.channels = {4, 6, 8, 8}, .expansions = {4, 2, 2, 2}, .depths = {1, 2, 1, 1}, .drop_path = 0},
      .head = {.channels = 8, .aligned = 8, .norm_groups = 2, .dropout = 0}};
  options.head.ham = {.rank = 3,
                      .train_steps = 3,
                      .eval_steps = 4,
                      .gradient = HamGradient::bptt,
                      .random_bases = false,
                      .dimension = 8,
                      .online_update = OnlineUpdate::evaluation};
  CHECK(golden.layer("segnext", SegNeXt<S>(options), 1000));
  CHECK(golden.untested() == "");
}
