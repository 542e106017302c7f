#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/models/inn.hpp"
#include "lamina/models/rednet.hpp"

using namespace lamina;
using testing::Golden;

namespace {

/// As golden.layer, for a net with biases before norms: their gradients are sums to zero, of which only rounding is
/// left.
template <class S, class Net>
testing::Agreement check_biased(Golden<S>& golden, const std::string& name, Net net) {
  return golden.run(name, [&](auto& report) {
    load_state_dict(net, golden.state(name, "state"));
    Tape tape;
    report.add("y", net.forward(golden.tensor(name + "/x"), tape));
    report.add("dx", net.backward(golden.tensor(name + "/dy"), tape));
    for (auto& [key, parameter, owner] : parameters(net))
      if (key.ends_with("conv1.conv.bias")) {
        CHECK(parameter->grad.array().abs().maxCoeff() < S(1e-5));
        parameter->grad = golden.tensor(name + "/grad." + key);
      }
    golden.gradients(net, report);
    golden.buffers(net, report);
    report.add("infer", net.infer(golden.tensor(name + "/x")));
  });
}

}  // namespace

TEST_CASE_TEMPLATE("Involution as in PyTorch's unfolded form", S, float, double) {
  Golden<S> golden("involution");
  const auto check = [&](const char* name, Index channels, Index kernel, const InvolutionOptions& options) {
    CHECK(golden.layer(std::string("involution/") + name, Involution<S>(channels, kernel, options)));
  };
  check("plain", 4, 3, {});
  check("1x1", 4, 1, {});
  check("5x5", 4, 5, {.reduction = 2});
  check("7x7", 16, 7, {.groups = 2});
  check("groups", 6, 3, {.groups = 3, .reduction = 2});
  check("depthwise", 4, 3, {.groups = 4, .reduction = 1});
  check("many_channels", 19, 3, {.reduction = 9});
  check("stride", 4, 3, {.stride = 2});
  check("stride_odd", 4, 5, {.groups = 2, .stride = 2});
  check("stride_3", 4, 3, {.stride = 3, .reduction = 1});
  check("dilation", 4, 3, {.dilation = 2});
  check("dilation_stride", 4, 3, {.stride = 2, .dilation = 3});
  check("wide", 4, 3, {.groups = 2});
  check("wide_stride", 4, 3, {.stride = 2});
  check("innermost", 6, 3, {.groups = 2, .reduction = 2, .groups_innermost = true});
  check("innermost_3", 6, 5, {.groups = 3, .reduction = 3, .groups_innermost = true});
  check("innermost_stride", 6, 3, {.groups = 3, .stride = 2, .reduction = 1, .groups_innermost = true});
  check("innermost_even", 6, 5, {.groups = 3, .stride = 2, .reduction = 1, .groups_innermost = true});
  check("innermost_stride_3", 4, 3, {.groups = 2, .stride = 3, .reduction = 1, .groups_innermost = true});
  CHECK(golden.layer("rednet/bottleneck", rednet_block<S>(6, 8, 2, {.group_channels = 4})));

  const BatchNormOptions keras{.eps = 1e-3, .momentum = 0.01};
  CHECK(check_biased(golden, "involution/bias", Involution<S>(4, 3, {.bias = true, .norm = keras})));
  CHECK(check_biased(golden, "involution/listing",
                     Involution<S>(3, 3, {.reduction = 2, .groups_innermost = true, .bias = true})));
  CHECK(check_biased(golden, "involution/listing_features",
                     Involution<S>(3, 5, {.stride = 2, .features = 8, .groups_innermost = true, .bias = true})));
  CHECK(check_biased(golden, "inn/model", inn<S>({.side = 8})));
  CHECK(golden.untested() == "");
}
