#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/context/context.hpp"
#include "lamina/nn/interpolate.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("Interpolate and the context modules as in PyTorch", S, float, double) {
  Golden<S> golden("context");
  for (const auto& [name, options] : {std::pair<std::string, InterpolateOptions>{"nearest", {}},
                                      {"bilinear", {.mode = InterpolateMode::bilinear}},
                                      {"corners", {.mode = InterpolateMode::bilinear, .align_corners = true}}}) {
    const auto check = [&](const char* sizes, Size2 size) {
      CHECK(golden.layer("interpolate/" + name + sizes, Interpolate<S>(size, options)));
    };
    check("_up", {8, 15});
    check("_odd", {13, 18});
    check("_down", {4, 7});
    check("_same", {3, 4});
    check("_one", 1);
    check("_from_one", {3, 19});
  }
  CHECK(golden.layer("pixel_attention", PixelAttention<S>(3, 0.5)));
  CHECK(golden.layer("pixel_attention_blocks", PixelAttention<S>(2)));
  CHECK(golden.layer("channel_attention", ChannelAttention<S>(), 10));
  CHECK(golden.layer("gather_distribute", GatherDistribute<S>(4)));
  CHECK(golden.layer("self_attention", self_attention<S>(6, 3e-4), 10));
  CHECK(golden.layer("double_attention", double_attention<S>(6, 3e-4), 10));
  CHECK(golden.layer("dual_attention", dual_attention<S>(8, 3e-4), 10));
  CHECK(golden.untested() == "");
}
