#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/models/clip.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/optim/adam.hpp"
#include "ragged.hpp"

using namespace lamina;
using testing::Golden;
using testing::ragged;

namespace {

const DistilBertOptions small{.vocabulary = 13,
                              .positions = 7,
                              .layers = 2,
                              .features = 12,
                              .heads = 3,
                              .hidden = 20,
                              .dropout = 0,
                              .attention_dropout = 0};
constexpr std::array<const char*, 4> projections{"q_lin", "k_lin", "v_lin", "out_lin"};

template <class S>
TransformerBlock<S> block(NormPosition norm) {
  return {8,
          4,
          12,
          {.norm = norm,
           .eps = 1e-12,
           .attention = {.keys = {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"}},
           .keys = {"", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"}}};
}

/// The case's ids [N, L] and lengths.
template <class S>
PackedTokens tokens_of(const Golden<S>& golden, const std::string& name) {
  std::vector<Index> lengths;
  for (const auto length : golden.labels(name + "/lengths").values()) lengths.push_back(length);
  return pack(golden.labels(name + "/ids"), lengths);
}

/// The losses of twenty steps.
template <class S, class F>
testing::Agreement training(Golden<S>& golden, const std::string& name, F loss_of) {
  return golden.run(name, [&](auto& report) {
    DistilBertOptions text = small;
    text.layers = 1;
    ClipModel<S> net(ImageEncoder<S>({Conv2d<S>(3, 5, 3, {.stride = 2}), ReLU<S>()}, {3, 9, 8}), TextEncoder<S>(text),
                     {.projection = 6, .dropout = 0});
    load_state_dict(net, golden.state(name, "state"));
    const Tensor<S> images = golden.tensor(name + "/images");
    const PackedTokens tokens = tokens_of(golden, name);
    AdamW<S> optimizer(parameters(net), {.lr = 3e-3, .weight_decay = 1e-3});
    Tensor<double> losses({20});
    for (int step = 0; step < 20; ++step) {
      Tape tape;
      const auto [loss, grad] = loss_of(net, net.forward(images, tokens, tape));
      net.backward(grad, tape, InputGrad::skip);
      if (!tape.empty()) report.text += "\n  the tape is not empty";
      optimizer.step();
      optimizer.zero_grad();
      losses(step) = loss;
    }
    report.slack = 100;  // 1e-3 in single precision
    report.add("losses", losses);
  });
}

}  // namespace

TEST_CASE_TEMPLATE("attention, DistilBERT and CLIP as in PyTorch", S, float, double) {
  Golden<S> golden("clip");

  CHECK(golden.layer("attention/ragged", ragged(MultiHeadAttention<S>(8, 2, {.keys = projections}), {4, 1, 6, 3})));
  CHECK(golden.layer("attention/one", MultiHeadAttention<S>(6, 1, {.keys = projections})));
  CHECK(golden.layer("block/post", ragged(block<S>(NormPosition::post), {4, 1, 6, 3})));
  CHECK(golden.layer("block/pre", ragged(block<S>(NormPosition::pre), {4, 1, 6, 3})));
  CHECK(golden.layer("projection/head", projection_head<S>(9, 6, 0)));

  CHECK(golden.run("distilbert/ragged", [&](auto& report) {
    DistilBert<S> net(small);
    load_state_dict(net, golden.state("distilbert/ragged", "state"));
    const PackedTokens tokens = tokens_of(golden, "distilbert/ragged");
    Tape tape;
    report.add("y", net.infer(tokens), "infer: ");
    report.add("y", net.forward(tokens, tape));
    net.backward(golden.tensor("distilbert/ragged/dy"), tape, InputGrad::skip);
    report.slack = 2;  // two layers deep
    golden.gradients(net, report);
  }));

  const auto soft = [&](const std::string& name, const SoftTargetOptions& options) {
    return golden.loss("soft/" + name, [&](const Tensor<S>& x) { return soft_target_loss(x, options); });
  };
  CHECK(soft("listing", {}));
  CHECK(soft("temperature", {.temperature = 0.5}));
  CHECK(soft("detached", {.detach_targets = true}));
  CHECK(soft("normalized", {.temperature = 0.3, .normalize = true}));
  SoftTargetOptions sharp{.temperature = 0.07, .target_temperature = 0.02, .normalize = true};
  CHECK(soft("sharp", sharp));
  sharp.detach_targets = true;
  CHECK(soft("sharp_detached", sharp));
  CHECK(soft("one_pair", {}));
  for (const std::string name : {"symmetric/start", "symmetric/small"})
    CHECK(golden.run(name, [&](auto& report) {
      Parameter<S> scale(golden.tensor(name + "/target"));
      const auto [value, grad] = contrastive_loss(golden.tensor(name + "/x"), scale);
      report.add("value", Tensor<double>({}, {value}));
      report.add("grad", grad);
      report.add("scale_grad", scale.grad);
    }));

  CHECK(training(golden, "training/soft", [](auto&, const auto& both) { return soft_target_loss(both); }));
  CHECK(training(golden, "training/symmetric",
                 [](auto& net, const auto& both) { return contrastive_loss(both, net.logit_scale); }));

  CHECK(golden.untested() == "");
}
