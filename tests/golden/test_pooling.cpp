#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/adaptive_max_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/max_pool2d.hpp"

using namespace lamina;
using testing::Golden;

namespace {

/// The cases that maximum and average have in common.
template <class Pool, class S>
void check_common(Golden<S>& golden, const std::string& layer) {
  CHECK(golden.layer(layer + "/plain", Pool(2)));
  CHECK(golden.layer(layer + "/remainder", Pool(2)));
  CHECK(golden.layer(layer + "/rectangular", Pool({2, 3})));
  CHECK(golden.layer(layer + "/overlapping", Pool(3, {.stride = 2})));
  CHECK(golden.layer(layer + "/stride_1", Pool(3, {.stride = 1, .padding = 1})));
  CHECK(golden.layer(layer + "/stride_beyond_window", Pool(2, {.stride = 3})));
  CHECK(golden.layer(layer + "/padding", Pool(3, {.stride = 2, .padding = 1})));
  CHECK(golden.layer(layer + "/padding_rectangular", Pool({2, 5}, {.stride = {1, 3}, .padding = {1, 2}})));
  CHECK(golden.layer(layer + "/ceil", Pool(3, {.stride = 2, .ceil_mode = true})));
  CHECK(golden.layer(layer + "/ceil_padding", Pool(3, {.stride = 2, .padding = 1, .ceil_mode = true})));
  CHECK(golden.layer(layer + "/ceil_dropped", Pool(2, {.stride = 3, .padding = 1, .ceil_mode = true})));
  CHECK(golden.layer(layer + "/whole_image", Pool({4, 5})));
  CHECK(golden.layer(layer + "/wide", Pool(2)));
}

}  // namespace

TEST_CASE_TEMPLATE("pooling as in PyTorch", S, float, double) {
  Golden<S> golden("pooling");
  using Max = MaxPool2d<S>;
  using Avg = AvgPool2d<S>;
  using Adaptive = AdaptiveAvgPool2d<S>;

  check_common<Max>(golden, "max_pool2d");
  CHECK(golden.layer("max_pool2d/dilation", Max(3, {.stride = 1, .dilation = 2})));
  CHECK(golden.layer("max_pool2d/dilation_padding_ceil",
                     Max({2, 3}, {.stride = 2, .padding = 1, .dilation = {3, 2}, .ceil_mode = true})));
  CHECK(golden.layer("max_pool2d/negative_padding", Max(3, {.stride = 2, .padding = 1})));
  CHECK(golden.layer("max_pool2d/ties", Max(2, {.stride = 1})));
  for (const auto& [name, options] : {std::pair<std::string, MaxPool2dOptions>{"plain", {}},
                                      {"padding", {.stride = 2, .padding = 1}},
                                      {"dilation", {.stride = 1, .dilation = 2}},
                                      {"ceil", {.stride = 3, .padding = 1, .ceil_mode = true}}}) {
    const std::string case_name = "max_pool2d/indices_" + name;
    CHECK(golden.run(case_name, [&](auto& report) {
      const auto [y, indices] = Max({2, 3}, options).with_indices(golden.tensor(case_name + "/x"));
      report.add("y", y);
      report.add("indices", indices);
    }));
  }

  check_common<Avg>(golden, "avg_pool2d");
  CHECK(golden.layer("avg_pool2d/exclude_padding", Avg(3, {.stride = 2, .padding = 1, .count_include_pad = false})));
  CHECK(golden.layer("avg_pool2d/exclude_padding_ceil",
                     Avg(3, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false})));
  CHECK(golden.layer("avg_pool2d/divisor", Avg(3, {.stride = 2, .padding = 1, .divisor_override = 5})));

  CHECK(golden.layer("adaptive_avg_pool2d/global", Adaptive(1)));
  CHECK(golden.layer("adaptive_avg_pool2d/same_size", Adaptive({3, 4})));
  CHECK(golden.layer("adaptive_avg_pool2d/even", Adaptive({3, 4})));
  CHECK(golden.layer("adaptive_avg_pool2d/uneven", Adaptive({3, 2})));
  CHECK(golden.layer("adaptive_avg_pool2d/larger_than_image", Adaptive({5, 7})));
  CHECK(golden.layer("adaptive_avg_pool2d/rectangular", Adaptive({1, 4})));
  CHECK(golden.layer("adaptive_avg_pool2d/keep_one", Adaptive({-1, 2})));

  CHECK(golden.layer("max_pool2d/sides", Max(3, {.stride = 2, .padding = {0, 1, 1, 0}})));
  CHECK(golden.layer("max_pool2d/tensorflow_same", Max(3, {.stride = 2, .padding = "same"})));
  CHECK(golden.layer("avg_pool2d/sides", Avg(3, {.stride = 2, .padding = {0, 1, 1, 0}})));
  using AdaptiveMax = AdaptiveMaxPool2d<S>;
  CHECK(golden.layer("adaptive_max_pool2d/global", AdaptiveMax(1)));
  CHECK(golden.layer("adaptive_max_pool2d/same_size", AdaptiveMax({4, 5})));
  CHECK(golden.layer("adaptive_max_pool2d/even", AdaptiveMax({2, 5})));
  CHECK(golden.layer("adaptive_max_pool2d/uneven", AdaptiveMax({3, 2})));
  CHECK(golden.layer("adaptive_max_pool2d/larger", AdaptiveMax({5, 7})));
  CHECK(golden.layer("adaptive_max_pool2d/keep_one", AdaptiveMax({-1, 2})));

  CHECK(golden.untested() == "");
}
