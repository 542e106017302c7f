#include <doctest/doctest.h>

#include <cmath>

#include "golden/golden.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/optim/schedule.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/segmentation.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("the first 20 training steps of HamNet follow PyTorch's", S, float, double) {
  Golden<S> golden("hamnet");
  HamNetOptions options{.classes = 5, .depth = 18, .channels = 16, .aligned = 8, .dropout = 0};
  options.backbone.width = 1.0 / 16;
  options.hamburger = {.D = 16, .ham = {.rank = 4, .random_bases = false}};
  auto net = hamnet<S>(options);
  load_state_dict(net, golden.state("hamnet", "state"));
  const Tensor<S> x = golden.tensor("hamnet/x"), losses = golden.tensor("hamnet/losses");
  const Labels target = golden.labels("hamnet/target");
  const double lr = 9e-3;
  SGD<S> optimizer(hamnet_groups(net, lr), {.lr = lr, .momentum = 0.9, .weight_decay = 1e-4});
  PolynomialLR schedule(optimizer, {.total_iters = 20, .power = 0.9});
  Tape tape;
  for (Index step = 0; step < 20; ++step) {
    CAPTURE(step);
    auto [loss, grad] = pixel_cross_entropy(net.forward(x[step % 3], tape), target[step % 3]);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    schedule.step();
    CHECK(loss == doctest::Approx(static_cast<double>(losses(step))).epsilon(std::is_same_v<S, float> ? 1e-3 : 1e-8));
  }
  const Tensor<S> logits = net(x[0]), expected = golden.tensor("hamnet/logits");
  CHECK((logits.array() - expected.array()).abs().maxCoeff() <
        (std::is_same_v<S, float> ? S(1e-2) : S(1e-7)) * expected.array().abs().maxCoeff());
}
