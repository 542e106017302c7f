#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/mean.hpp"
#include "lamina/nn/pad2d.hpp"
#include "lamina/nn/pixel_shuffle.hpp"
#include "lamina/nn/unflatten.hpp"
#include "lamina/nn/upsample.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("layers that rearrange, resample, look up or drop as in PyTorch", S, float, double) {
  Golden<S> golden("shapes");
  CHECK(golden.layer("flatten/images", Flatten<S>()));
  CHECK(golden.layer("flatten/rank2", Flatten<S>()));
  CHECK(golden.layer("flatten/all", Flatten<S>(0)));
  CHECK(golden.layer("flatten/middle", Flatten<S>(1, 2)));
  CHECK(golden.layer("flatten/last", Flatten<S>(-2, -1)));
  CHECK(golden.layer("dropout/p0", Dropout<S>(0)));
  CHECK(golden.layer("dropout/p1", Dropout<S>(1)));
  CHECK(golden.layer("dropout2d/p0", Dropout2d<S>(0)));
  CHECK(golden.layer("dropout2d/p1", Dropout2d<S>(1)));
  CHECK(golden.layer("identity/rank3", Identity<S>()));
  CHECK(golden.layer("drop_path/p0", DropPath<S>(0)));
  CHECK(golden.layer("drop_path/p1", DropPath<S>(1)));
  CHECK(golden.layer("unflatten/channels", Unflatten<S>(1, {2, 3})));
  CHECK(golden.layer("unflatten/rest", Unflatten<S>(-1, {3, -1})));
  CHECK(golden.layer("pixel_shuffle/2", PixelShuffle<S>(2)));
  CHECK(golden.layer("pixel_shuffle/3", PixelShuffle<S>(3)));
  // PyTorch's order is left, right, top, bottom.
  CHECK(golden.layer("pad2d/zero", ZeroPad2d<S>(2)));
  CHECK(golden.layer("pad2d/zero_sides", ZeroPad2d<S>({3, 0, 1, 2})));
  CHECK(golden.layer("pad2d/constant", ConstantPad2d<S>({1, 2, 0, 3}, -1.5)));
  CHECK(golden.layer("pad2d/reflection", ReflectionPad2d<S>(3)));
  CHECK(golden.layer("pad2d/reflection_sides", ReflectionPad2d<S>({1, 3, 4, 0})));
  CHECK(golden.layer("pad2d/replication", ReplicationPad2d<S>({0, 7, 6, 1})));
  for (const char* const mode : {"nearest", "bilinear", "bicubic", "nearest-exact"})
    for (const auto& [name, factor] : {std::pair<const char*, ScaleFactor>{"2", 2},
                                       {"3", 3},
                                       {"0.5", 0.5},
                                       {"0.6", 0.6},
                                       {"(1.7, 0.4)", {1.7, 0.4}},
                                       {"2.5", 2.5}}) {
      const std::string case_name = text("upsample/", mode, "_", name);
      CHECK(golden.layer(case_name, Upsample<S>(factor, {.mode = mode})));
      CHECK(golden.layer(case_name, Interpolate<S>(factor, {.mode = mode})));
    }
  for (const char* const mode : {"bicubic", "nearest-exact"})
    for (const auto& [name, size] :
         {std::pair<const char*, Size2>{"(9, 3)", {9, 3}}, {"(5, 20)", {5, 20}}, {"(1, 7)", {1, 7}}})
      CHECK(golden.layer(text("upsample/", mode, "_to_", name), Interpolate<S>(size, {.mode = mode})));
  CHECK(golden.layer("upsample/corners", Upsample<S>(1.7, {.mode = "bilinear", .align_corners = true})));
  CHECK(golden.layer("upsample/bicubic_corners", Upsample<S>(1.7, {.mode = "bicubic", .align_corners = true})));
  CHECK(
      golden.layer("upsample/bicubic_one_corner", Interpolate<S>({1, 9}, {.mode = "bicubic", .align_corners = true})));
  CHECK(golden.layer("mean/1_False", Mean<S>()));
  CHECK(golden.layer("mean/1_True", Mean<S>(1, {.keepdim = true})));
  CHECK(golden.layer("mean/-1_False", Mean<S>(-1)));
  CHECK(golden.layer("mean/0_False", Mean<S>(0)));
  CHECK(golden.layer("mean/2_True", Mean<S>(2, {.keepdim = true})));
  CHECK(golden.run("embedding/padding_idx", [&](auto& report) {
    Embedding<S> layer(5, 4, {.padding_idx = 2});
    load_state_dict(layer, golden.state("embedding/padding_idx", "state"));
    Tape tape;
    report.add("y", layer.forward(golden.labels("embedding/padding_idx/ids"), tape));
    layer.backward(golden.tensor("embedding/padding_idx/dy"), tape);
    golden.gradients(layer, report);
  }));
  CHECK(golden.untested() == "");
}
