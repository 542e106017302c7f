#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/optim/sgd.hpp"

using namespace lamina;
using testing::Golden;

namespace {

/// Basic residual block (He et al. 2016, figure 5, left) with torchvision's keys.
template <class S>
Sequential<S> basic_block(Index in, Index out, Index stride) {
  Child<S> shortcut("", Identity<S>());
  if (stride != 1 || in != out)
    shortcut = Child<S>("downsample",
                        Sequential<S>{Conv2d<S>(in, out, 1, {.stride = stride, .bias = false}), BatchNorm2d<S>(out)});
  return {
      {"", Sum<S>{{"", Sequential<S>{{"conv1", Conv2d<S>(in, out, 3, {.stride = stride, .padding = 1, .bias = false})},
                                     {"bn1", BatchNorm2d<S>(out)},
                                     {"", ReLU<S>()},
                                     {"conv2", Conv2d<S>(out, out, 3, {.padding = 1, .bias = false})},
                                     {"bn2", BatchNorm2d<S>(out)}}},
                  shortcut}},
      {"", ReLU<S>()}};
}

/// LeNet of the README, smaller.
template <class S>
Sequential<S> small_lenet() {
  return {Conv2d<S>(1, 2, 5, {.padding = 2}),
          Sigmoid<S>(),
          AvgPool2d<S>(2),
          Conv2d<S>(2, 4, 3),
          Sigmoid<S>(),
          AvgPool2d<S>(2),
          Flatten<S>(),
          Linear<S>(16, 12),
          Sigmoid<S>(),
          Linear<S>(12, 8),
          Sigmoid<S>(),
          Linear<S>(8, 10)};
}

}  // namespace

TEST_CASE_TEMPLATE("networks as in PyTorch", S, float, double) {
  Golden<S> golden("networks");
  using Net = Sequential<S>;

  CHECK(golden.layer("sequential/positions", Net{Linear<S>(4, 6), Tanh<S>(), Linear<S>(6, 3)}));
  CHECK(golden.layer("sequential/nested", Net{Net{Linear<S>(4, 6), ReLU<S>()}, Net{Linear<S>(6, 3)}}));

  CHECK(golden.layer("sum/identity", Sum<S>{{"shortcut", Identity<S>()}, {"fc", Linear<S>(4, 4)}}));
  CHECK(golden.layer("sum/three", Sum<S>{{"a", Linear<S>(4, 2)},
                                         {"b", Linear<S>(4, 2, {.bias = false})},
                                         {"c", Net{Linear<S>(4, 3), Tanh<S>(), Linear<S>(3, 2)}}}));
  CHECK(golden.layer("concat/inception",
                     Concat<S>{{"branch1", Conv2d<S>(3, 2, 1)},
                               {"branch2", Net{Conv2d<S>(3, 2, 1), ReLU<S>(), Conv2d<S>(2, 4, 3, {.padding = 1})}},
                               {"branch3", Net{MaxPool2d<S>(3, {.stride = 1, .padding = 1}), Conv2d<S>(3, 1, 1)}}}));
  CHECK(golden.layer("concat/dense",
                     Concat<S>{{"input", Identity<S>()},
                               {"conv", Net{BatchNorm2d<S>(2), ReLU<S>(), Conv2d<S>(2, 3, 3, {.padding = 1})}}}));
  CHECK(golden.layer("concat/rank2", Concat<S>{{"a", Linear<S>(4, 3)}, {"b", Identity<S>()}}));
  CHECK(golden.layer("product/gate",
                     Product<S>{{"value", Linear<S>(4, 3)}, {"gate", Net{Linear<S>(4, 3), Sigmoid<S>()}}}));
  CHECK(
      golden.layer("product/three", Product<S>{{"x", Identity<S>()}, {"a", Linear<S>(3, 3)}, {"b", Linear<S>(3, 3)}}));
  CHECK(
      golden.layer("product/spatial_gate",
                   Product<S>{{"x", Identity<S>()}, {"gate", Net{Conv2d<S>(3, 1, 3, {.padding = 1}), Sigmoid<S>()}}}));
  CHECK(golden.layer(
      "product/channels_by_pixels",
      Product<S>{{"channels", Net{AdaptiveAvgPool2d<S>(1), Conv2d<S>(3, 4, 1)}}, {"pixels", Conv2d<S>(3, 1, 1)}}));
  CHECK(golden.layer("product/squeeze_excitation", Product<S>{{"", Identity<S>()},
                                                              {"", Net{{"", AdaptiveAvgPool2d<S>(1)},
                                                                       {"fc1", Conv2d<S>(4, 2, 1)},
                                                                       {"", ReLU<S>()},
                                                                       {"fc2", Conv2d<S>(2, 4, 1)},
                                                                       {"", Sigmoid<S>()}}}}));

  CHECK(golden.layer("basic_block/stride", basic_block<S>(3, 4, 2)));
  CHECK(golden.layer("basic_block/identity", basic_block<S>(3, 3, 1)));
  CHECK(golden.layer("lenet/layer", small_lenet<S>()));

  CHECK(golden.run("lenet/training", [&](auto& report) {
    auto net = small_lenet<S>();
    load_state_dict(net, golden.state("lenet/training", "state"));
    const Tensor<S> images = golden.tensor("lenet/training/x");
    const Labels labels = golden.labels("lenet/training/target");
    SGD<S> optimizer(parameters(net), {.lr = 0.5});
    Tensor<double> losses({3});
    for (int step = 0; step < 3; ++step) {
      Tape tape;
      const Tensor<S> logits = net.forward(images, tape);
      const auto [loss, grad] = cross_entropy(logits, labels);
      net.backward(grad, tape, InputGrad::skip);
      losses(step) = loss;
      if (step == 0) {
        report.add("y", logits);
        golden.gradients(net, report);
      }
      optimizer.step();
      optimizer.zero_grad();
    }
    report.add("losses", losses);
    golden.buffers(net, report);
  }));

  CHECK(golden.untested() == "");
}
