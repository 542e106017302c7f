#include <doctest/doctest.h>

#include <cmath>

#include "golden/golden.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/optim/schedule.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/segmentation.hpp"

using namespace lamina;
using testing::Golden;

// The fixtures are made by the authors' program.

namespace {

template <class S>
AtInputSize<S> small_hamnet(const Golden<S>& golden) {
  HamNetOptions options{.classes = 5, .channels = 16, .aligned = 8, .version = HamburgerVersion::v2_plus, .dropout = 0};
  options.backbone.width = 1.0 / 32;
  options.hamburger = {.D = 16, .dual = false};
  options.hamburger.ham = {.rank = 4, .random_bases = false, .online_update = OnlineUpdate::evaluation};
  auto net = hamnet<S>(options);
  load_state_dict(net, golden.state("hamnet", "state"));
  return net;
}

template <class S>
double relative(const Tensor<S>& got, const Tensor<S>& expected) {
  REQUIRE(got.shape() == expected.shape());
  return static_cast<double>((got.array() - expected.array()).abs().maxCoeff() / expected.array().abs().maxCoeff());
}

}  // namespace

TEST_CASE_TEMPLATE("training steps and the test of HamNet follow the authors' program", S, float, double) {
  constexpr bool single = std::is_same_v<S, float>;
  Golden<S> golden("hamnet");
  auto net = small_hamnet(golden);
  const Tensor<S> x = golden.tensor("hamnet/x"), losses = golden.tensor("hamnet/losses");
  const Labels target = golden.labels("hamnet/target");
  const double lr = 9e-3;
  SGD<S> optimizer(bias_groups(parameters(net), 2 * lr), {.lr = lr, .momentum = 0.9, .weight_decay = 1e-4});
  PolynomialLR schedule(optimizer, {.total_iters = losses.numel(), .power = 0.9});
  Tape tape;
  for (Index step = 0; step < losses.numel(); ++step) {
    CAPTURE(step);
    auto [loss, grad] = pixel_cross_entropy(net.forward(x[step % 3], tape), target[step % 3]);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    schedule.step();
    CHECK(loss == doctest::Approx(static_cast<double>(losses(step))).epsilon(single ? 1e-3 : 1e-8));
  }
  CHECK(relative(net(x[0]), golden.tensor("hamnet/logits")) < (single ? 1e-2 : 1e-7));

  // Their test program sums the logits of six sizes and their mirror images: ours are the softmax of the average.
  Tensor<S> average = golden.tensor("hamnet/test");
  average *= S(1) / S(12);
  const Tensor<S> image = golden.tensor("hamnet/image");
  CHECK(relative(multi_scale_probabilities(net, image), softmax(average, 1)) < (single ? 1e-2 : 1e-7));
}

TEST_CASE_TEMPLATE("the checkpoints of HamNet's versions load strictly, and give the authors' logits", S, float,
                   double) {
  Golden<S> golden("checkpoints");
  for (const auto& [name, form] : {std::pair<std::string, HamburgerVersion>{"V1", HamburgerVersion::v1},
                                   {"V2", HamburgerVersion::v2},
                                   {"V2+", HamburgerVersion::v2_plus}}) {
    HamNetOptions options{.classes = 5, .channels = 16, .aligned = 8, .version = form};
    options.backbone.width = 1.0 / 64;
    options.hamburger = {.D = form == HamburgerVersion::v2_plus ? 8 : 16, .pixels = 5 * 6};
    options.hamburger.ham = {.rank = 4, .eval_steps = 6, .random_bases = false};
    auto net = hamnet<S>(options);
    CHECK(golden.run(name, [&, &key = name](auto& report) {
      report.slack = 1000;
      load_state_dict(net, golden.state(key, "state"));
      report.add("logits", net(golden.tensor(key + "/x")));
    }));
  }
  CHECK(golden.untested() == "");
}

TEST_CASE("HamNet's groups of parameters are those of the authors' program") {
  Golden<double> golden("hamnet");
  auto net = small_hamnet(golden);
  const auto groups = bias_groups(parameters(net), 18e-3);
  REQUIRE(groups.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto expected = golden.state("hamnet", "group." + std::to_string(i));
    CHECK(groups[i].parameters.size() == expected.size());
    for (const auto& [name, size] : expected) {
      CAPTURE(name);
      const auto is_named = [&wanted = name](const auto& named) { return named.name == wanted; };
      CHECK(std::count_if(groups[i].parameters.begin(), groups[i].parameters.end(), is_named) == 1);
    }
  }
  CHECK(groups[0].weight_decay == std::nullopt);
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[1].lr == std::nullopt);
  CHECK(groups[2].weight_decay == 0);
  CHECK(groups[2].lr == 2 * 9e-3);
}

TEST_CASE("images are padded to the sizes of the authors' program") {
  Golden<double> golden("hamnet");
  for (const Index side : {1, 8, 9, 10, 160, 161}) {
    const Labels sizes = golden.labels("hamnet/pad." + std::to_string(side));
    CHECK(aligned_size({sizes(0), sizes(1)}, 8) == Size2(sizes(2), sizes(3)));
  }
}

namespace {

template <class S>
void check_ham(Golden<S>& golden, const std::string& case_name, Index d, Index rank, auto make) {
  const HamOptions options{.rank = rank,
                           .train_steps = 3,
                           .eval_steps = 4,
                           .inverse_temperature = 10,
                           .random_bases = false,
                           .dimension = d,
                           .online_update = OnlineUpdate::evaluation};
  auto ham = make(options);
  CHECK(golden.layer(case_name, ham, 10));
  CHECK(golden.run(case_name, [&](auto& report) {
    report.slack = 10;
    load_state_dict(ham, golden.state(case_name, "state"));
    const Tensor<S> x = golden.tensor(case_name + "/x");
    report.add("infer", ham.infer_and_update(x));
    report.add("updated", ham.bases);
    report.add("second", ham(x));
  }));
}

}  // namespace

TEST_CASE_TEMPLATE("hams with kept bases and of any rank are the authors'", S, float, double) {
  Golden<S> golden("hams");
  const auto check = [&](const std::string& kind, auto make) {
    check_ham<S>(golden, kind + "/narrow", 5, 9, make);
    check_ham<S>(golden, kind + "/wide", 6, 12, make);
    check_ham<S>(golden, kind + "/usual", 9, 4, make);
  };
  check("nmf", [](const HamOptions& options) { return NMF<S>(options); });
  check("vq", [](const HamOptions& options) { return VQ<S>(options); });
  check("cd", [](const HamOptions& options) { return CD<S>(options); });
  CHECK(golden.untested() == "");
}
