#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/models/gan.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/hinge_loss.hpp"

using namespace lamina;
using testing::Golden;

namespace {

/// A layer of x and labels.
template <class S>
testing::Agreement with_labels(Golden<S>& golden, const std::string& name, Module<S>&& net, double slack = 1) {
  return golden.run(name, [&](auto& report) {
    report.slack = slack;
    load_state_dict(net, golden.state(name, "state"));
    const Labels labels = golden.labels(name + "/labels");
    Tape tape;
    report.add("y", net.forward(golden.tensor(name + "/x"), labels, tape));
    report.add("dx", net.backward(golden.tensor(name + "/dy"), tape));
    golden.gradients(net, report);
    golden.buffers(net, report);
    report.add("infer", net.infer({golden.tensor(name + "/x"), labels})[0]);
  });
}

/// Rows of 0 and 1, or of the sums that make_gan.py says.
template <class S>
Tensor<S> mask(YLGStep step, Size2 queries, Size2 keys, bool sums) {
  const SparseKeys seen = ylg_keys(step, queries, keys);
  const Index n = queries.h * queries.w;
  Tensor<S> result = Tensor<S>::zeros({n, sums ? 3 : keys.h * keys.w});
  for (Index q = 0; q < n; ++q)
    for (Index i = seen.begin[static_cast<std::size_t>(q)]; i < seen.begin[static_cast<std::size_t>(q + 1)]; ++i) {
      const Index key = seen.key[static_cast<std::size_t>(i)];
      if (!sums)
        result(q, key) += 1;
      else
        for (const Index power : {0, 1, 2})
          result(q, power) += static_cast<S>(power == 0 ? 1 : power == 1 ? key : key * key);
    }
  return result;
}

}  // namespace

TEST_CASE_TEMPLATE("The layers of GANs and their networks as in PyTorch and the authors' programs", S, float, double) {
  Golden<S> golden("gan");
  CHECK(golden.run("masks", [&](auto& report) {
    const std::pair<YLGStep, std::string> kinds[] = {{YLGStep::right_floor, "RightFloorMask"},
                                                     {YLGStep::right_repetitive, "RightRepetitiveMask"},
                                                     {YLGStep::left_floor, "LeftFloorMask"},
                                                     {YLGStep::left_repetitive, "LeftRepetitiveMask"}};
    for (const auto& [step, kind] : kinds) {
      report.add("square/" + kind, mask<S>(step, 8, 4, false));
      report.add("wide/" + kind, mask<S>(step, {6, 8}, {3, 4}, false));
      report.add("same/" + kind, mask<S>(step, {4, 5}, {4, 5}, false));
      report.add("full/" + kind, mask<S>(step, 32, 16, true));
    }
  }));
  CHECK(golden.layer("spectral_norm/conv",
                     SpectralNorm<Conv2d<S>>(Conv2d<S>(2, 3, {2, 3}, {.stride = 2, .padding = 1}))));
  CHECK(
      golden.layer("spectral_norm/groups", SpectralNorm<Conv2d<S>>(Conv2d<S>(4, 6, 3, {.groups = 2, .bias = false}))));
  CHECK(golden.layer("spectral_norm/linear", SpectralNorm<Linear<S>>(Linear<S>(5, 4))));
  CHECK(golden.layer("spectral_norm/iterations", SpectralNorm<Linear<S>>(Linear<S>(5, 4), {.n_power_iterations = 3})));
  CHECK(golden.layer("spectral_norm/transposed",
                     SpectralNorm<ConvTranspose2d<S>>(ConvTranspose2d<S>(3, 2, {2, 3}, {.stride = 2}))));
  CHECK(golden.run("spectral_norm/embedding", [&](auto& report) {
    SpectralNorm<Embedding<S>> net(Embedding<S>(4, 5));
    load_state_dict(net, golden.state("spectral_norm/embedding", "state"));
    Tape tape;
    report.add("y", net.forward(golden.labels("spectral_norm/embedding/ids"), tape));
    net.backward(golden.tensor("spectral_norm/embedding/dy"), tape);
    golden.gradients(net, report);
    golden.buffers(net, report);
  }));
  CHECK(golden.run("film", [&](auto& report) {
    FiLM<S> net;
    Tape tape;
    Values<S> inputs;
    for (const char* key : {"x", "gamma", "beta"}) inputs.push_back(golden.tensor(std::string("film/") + key));
    report.add("y", net.infer(inputs)[0]);
    report.add("y", net.forward(inputs, tape)[0]);
    const auto gradients = net.backward(Few<Tensor<S>>(golden.tensor("film/dy")), tape);
    report.add("dx", gradients[0]);
    report.add("dgamma", gradients[1]);
    report.add("dbeta", gradients[2]);
  }));
  CHECK(with_labels(golden, "conditional_norm", ConditionalBatchNorm2d<S>(3, 4), 3));
  CHECK(golden.layer("sagan_attention", SAGANAttention<S>(16), 10));
  CHECK(golden.layer("sagan_attention/plain", SAGANAttention<S>(8, {.spectral_norm = false}), 10));
  CHECK(golden.layer("ylg_attention", YLGAttention<S>(64), 10));
  CHECK(golden.layer("ylg_attention/plain", YLGAttention<S>(64, {.spectral_norm = false}), 10));
  GanOptions options{.image = 32, .channels = 1, .classes = 2, .latent = 3, .width = 8, .context = "attention"};
  // In single precision a ReLU may see the other side of zero, by the order in which an instruction set sums.
  CHECK(with_labels(golden, "generator", GanGenerator<S>(options), std::is_same_v<S, float> ? 1000 : 100));
  CHECK(with_labels(golden, "discriminator",
                    GanDiscriminator<S>({.image = 64, .channels = 2, .classes = 3, .latent = 3, .width = 2}), 100));
  CHECK(golden.loss("real_hinge", [](const Tensor<S>& x) { return real_hinge_loss(x); }));
  CHECK(golden.loss("fake_hinge", [](const Tensor<S>& x) { return fake_hinge_loss(x); }));
  CHECK(golden.loss("generator_hinge", [](const Tensor<S>& x) { return generator_hinge_loss(x); }));
  CHECK(golden.untested() == "");
}
