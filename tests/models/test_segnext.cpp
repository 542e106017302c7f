#include <doctest/doctest.h>

#include <algorithm>

#include "lamina/compile/plan.hpp"
#include "lamina/models/segnext.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_segnext {

namespace {
SegNeXtOptions small() {
  SegNeXtOptions options{.classes = 2,
                         .backbone = {.channels = {4, 4, 6, 6}, .expansions = {2, 2, 1, 1}, .depths = {1, 1, 1, 1}},
                         .head = {.channels = 8, .aligned = 8, .norm_groups = 2}};
  options.head.ham.rank = 3;
  return options;
}
}  // namespace

TEST_CASE("SegNeXt-T has the paper's parameters and multiply-adds, and the authors' keys") {
  SegNeXt<float> net;
  CHECK(count_parameters(net).total == 4263414);  // 4.3 M
  CHECK(static_cast<double>(net.multiply_adds({1, 3, 512, 512})) == doctest::Approx(6.6e9).epsilon(0.04));
  CHECK(net.output_shape({2, 3, 65, 90}) == Shape{2, 150, 65, 90});
  std::vector<std::string> keys;
  for (const auto& [name, value] : state_dict(std::as_const(net))) keys.push_back(name);
  for (const char* key :
       {"backbone.patch_embed1.proj.3.weight", "backbone.block1.2.attn.spatial_gating_unit.conv2_1.bias",
        "backbone.block3.4.mlp.dwconv.dwconv.weight", "backbone.block4.1.layer_scale_2",
        "backbone.patch_embed2.norm.bias", "backbone.norm4.weight", "decode_head.squeeze.gn.weight",
        "decode_head.hamburger.ham_in.conv.bias", "decode_head.hamburger.ham_out.gn.bias",
        "decode_head.align.conv.weight", "decode_head.conv_seg.bias"})
    CHECK_MESSAGE(std::count(keys.begin(), keys.end(), key) == 1, key);
}

TEST_CASE("SegNeXt's parts conform, and images get the same logits anywhere in a batch") {
  manual_seed(1);
  CHECK(conforms(LayerScale<double>(3, 0.5), {2, 3, 4, 5}));
  CHECK(conforms(LayerScale<double>(17, 0.5), {2, 17}));
  CHECK(conforms(MultiScaleAttention<double>(2), {2, 2, 5, 4}));
  CHECK(conforms(MscanBlock<double>(2, 2), {2, 2, 4, 3}, {.training_differs = true}));
  CHECK(testing::check_batches<float>(SegNeXt<float>(small()), {3, 37, 52}, {.training_differs = true}) == "");
  CHECK(LayerScale<float>(3).name() == "LayerScale(3)");
  CHECK_THROWS_WITH_AS(LayerScale<float>(0), "LayerScale(0): channels must be at least 1", ValueError);
  CHECK_THROWS_WITH_AS(LayerScale<float>(3).output_shape({1, 4, 2}),
                       "LayerScale(3): expected [N, 3, ...], got shape [1, 4, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(Mscan<float>({.depths = {1, 2}}),
                       "Mscan: expected channels, expansions and depths of as many stages, got 4, 4 and 2", ValueError);
  CHECK_THROWS_WITH_AS(SegNeXt<float>(small()).decode_head.infer(Tensor<float>({1, 4, 2, 2})),
                       "LightHam(3): takes 3 values, got 1", ValueError);
}

TEST_CASE("SegNeXt is compiled, and learns") {
  manual_seed(3);
  SegNeXt<float> net(small());
  const Tensor<float> x = Random(2).normal<float>({2, 3, 32, 48});
  Labels labels = Labels::zeros({2, 32, 48});
  for (Index i = 0; i < labels.numel(); ++i) labels.data()[i] = i % 48 < 20;
  AdamW<float> optimizer(parameters(net), {.lr = 5e-3});
  Tape tape;
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    auto [loss, grad] = cross_entropy(net.forward(x, tape), labels);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    (step == 0 ? first : last) = loss;
  }
  CHECK(last < 0.6 * first);
  const Tensor<float> logits = net(x);
  CHECK(testing::worst_difference(compile(net, x.shape())(x), logits).error < 1e-3);
}

}  // namespace test_segnext
