#include <doctest/doctest.h>

#include <thread>

#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/image_tokens.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/positions.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/spectral_norm.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/summary.hpp"

using namespace lamina;

namespace {

Sequential<float> small_net() {
  return {{"features", Sequential<float>{{"conv", Conv2d(1, 2, 3, {.bias = false})}, {"", ReLU()}}},
          {"", Sequential<float>{{"head", Linear(4, 3)}}}};
}

std::vector<std::string> keys(const Module<float>& net) {
  std::vector<std::string> result;
  for (const auto& entry : state_dict(net)) result.push_back(entry.first);
  return result;
}

}  // namespace

TEST_CASE("state_dict keys are PyTorch's; an empty name is transparent") {
  CHECK(keys(small_net()) == std::vector<std::string>{"features.conv.weight", "head.weight", "head.bias"});
  CHECK(keys(Sequential{Linear(1, 1), ReLU(), Linear(1, 1)}) ==
        std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"});
  const Sequential<float> clash{{"", Linear(1, 1)}, {"", Linear(2, 2)}};
  CHECK_THROWS_WITH_AS(state_dict(clash), "state_dict: two entries are named 'weight', the second in Linear(2, 2)",
                       StateError);
}

TEST_CASE("load_state_dict lists what does not fit and changes nothing then") {
  auto source = small_net(), target = small_net();
  load_state_dict(target, state_dict(source));
  CHECK(state_dict(target) == state_dict(source));

  StateDict<float> state;
  state.emplace_back("features.conv.weight", Tensor<float>::ones({2, 1, 3, 3}));
  state.emplace_back("head.weight", Tensor<float>::ones({3, 5}));
  state.emplace_back("fc.weight", Tensor<float>::ones({1}));
  const auto before = state_dict(target);
  CHECK_THROWS_WITH_AS(load_state_dict(target, state),
                       "load_state_dict: the state does not fit Sequential(Sequential(Conv2d(1, 2, 3, bias=false), "
                       "ReLU()), Sequential(Linear(4, 3)))\n missing:\n  head.bias\n unexpected:\n  fc.weight\n "
                       "mis-shaped:\n  head.weight: expected shape [3, 4], got [3, 5]",
                       StateError);
  CHECK(state_dict(target) == before);
  CHECK_THROWS_AS(load_state_dict(target, state, {.strict = false}), StateError);
  state[1].second = Tensor<float>::ones({3, 4});
  const LoadReport report = load_state_dict(target, state, {.strict = false});
  CHECK(report.missing == std::vector<std::string>{"head.bias"});
  CHECK(report.unexpected == std::vector<std::string>{"fc.weight"});
  CHECK(target.get<Sequential<float>>(1).get<Linear<float>>(0).weight.value == Tensor<float>::ones({3, 4}));

  Sequential<float> deep;
  for (int i = 0; i < 4; ++i) deep.add(Linear(1, 1));
  CHECK_THROWS_WITH_AS(
      load_state_dict(deep, {}),
      doctest::Contains("missing:\n  0.weight\n  0.bias\n  1.weight\n  1.bias\n  2.weight\n  and 3 more"), StateError);
}

TEST_CASE("parameters, freezing and selection by kind") {
  auto net = small_net();
  const auto all = parameters(net);
  REQUIRE(all.size() == 3);
  CHECK(all[1].name == "head.weight");
  CHECK(all[1].owner->name() == "Linear(4, 3)");
  CHECK(count_parameters(net).total == 18 + 12 + 3);
  set_requires_grad(net[0], false);
  CHECK(count_parameters(net).trainable == 15);
  int linears = 0;
  for_each<Linear<float>>(net, [&](Linear<float>& layer) {
    ++linears;
    layer.bias.value.fill(2);
  });
  CHECK(linears == 1);
  CHECK(all[2].parameter->value == Tensor<float>::full({3}, 2));
  all[0].parameter->gradient().fill(3);
  zero_grad(net);
  CHECK(all[0].parameter->grad == Tensor<float>::zeros({2, 1, 3, 3}));
}

TEST_CASE("summary prints names, shapes, parameters, multiply-adds and totals") {
  const Sequential<float> net{{"conv", Conv2d(1, 6, 5, {.padding = 2})}, {"", ReLU()}, {"conv2", Conv2d(6, 16, 5)}};
  CHECK(summary(net, {1, 1, 28, 28}) ==
        "-------------------------------------------------------------------------------\n"
        "Name     Layer                       Output shape     Parameters  Multiply-adds\n"
        "-------------------------------------------------------------------------------\n"
        "         Sequential                  [1, 16, 24, 24]           -              -\n"
        "  conv   Conv2d(1, 6, 5, padding=2)  [1, 6, 28, 28]          156        117,600\n"
        "         ReLU()                      [1, 6, 28, 28]            -              -\n"
        "  conv2  Conv2d(6, 16, 5)            [1, 16, 24, 24]       2,416      1,382,400\n"
        "-------------------------------------------------------------------------------\n"
        "Parameters: 2,572 (2,572 trainable)\n"
        "Multiply-adds: 1,500,000\n"
        "Megabytes: input 0.00, results 0.07, parameters 0.01\n"
        "-------------------------------------------------------------------------------\n");
  CHECK_THROWS_AS(summary(net, {1, 2, 28, 28}), ShapeError);

  // What adds nothing to the keys has no name; a nameless Sequential is its children.
  const Sequential<float> block{
      {"block", Sequential<float>{
                    {"", Sum<float>{{"", Sequential<float>{{"fc", Linear(2, 2)}, {"", ReLU()}}}, {"", Identity()}}}}}};
  CHECK(summary(block, {1, 2})
            .find("                Sequential    [1, 2]                 -              -\n"
                  "  block         Sequential    [1, 2]                 -              -\n"
                  "                Sum           [1, 2]                 -              -\n"
                  "      block.fc  Linear(2, 2)  [1, 2]                 6              4\n"
                  "                ReLU()        [1, 2]                 -              -\n"
                  "                Identity()    [1, 2]                 -              -\n") != std::string::npos);
}

TEST_CASE("SkipInit spares a thread's layers their draws") {
  manual_seed(3);
  const std::uint64_t position = default_random().position();
  {
    const SkipInit skip;
    { const SkipInit again; }
    CHECK(SkipInit::active());
    const Sequential<float> net{Conv2d<float>(3, 8, 3),           Linear<float>(4, 5),
                                Embedding<float>(6, 2),           LearnedPositions<float>(4, 2),
                                ImageTokens<float>(4, 2, {}),     ConvTranspose2d<float>(2, 3, 2),
                                SpectralNorm(Linear<float>(4, 3))};
    for (const auto& [key, value] : state_dict(net)) {
      const auto& tensor = std::get<Tensor<float>>(value);
      CHECK_MESSAGE(tensor == Tensor<float>::zeros(tensor.shape()), key);
    }
    Tensor<float> w = Tensor<float>::ones({4, 3});
    init::truncated_normal(w);
    CHECK(w == Tensor<float>::zeros({4, 3}));
    w.fill(1);
    init::kaiming_uniform(w);
    CHECK(w == Tensor<float>::zeros({4, 3}));
    CHECK(default_random().position() == position);
    bool elsewhere = true;
    std::thread([&] { elsewhere = SkipInit::active(); }).join();
    CHECK_FALSE(elsewhere);
  }
  CHECK_FALSE(SkipInit::active());
  CHECK(Linear<float>(4, 5).weight.value.array().abs().minCoeff() > 0);
  CHECK(default_random().position() > position);
}

TEST_CASE("initialisers have the distributions of their papers") {
  Random random(1);
  Tensor<float> w({200, 50, 3, 3});
  const auto deviation = [&] { return std::sqrt(w.cast<double>().array().square().mean()); };
  const double fan_in = 450, fan_out = 1800;
  init::xavier_uniform(w, 1, random);
  CHECK(w.array().abs().maxCoeff() <= std::sqrt(6 / (fan_in + fan_out)));
  CHECK(deviation() == doctest::Approx(std::sqrt(2 / (fan_in + fan_out))).epsilon(0.01));
  init::xavier_normal(w, 2, random);
  CHECK(deviation() == doctest::Approx(2 * std::sqrt(2 / (fan_in + fan_out))).epsilon(0.01));
  init::kaiming_normal(w, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"}, random);
  CHECK(deviation() == doctest::Approx(std::sqrt(2 / fan_out)).epsilon(0.01));
  init::kaiming_uniform(w, {.a = std::sqrt(5.0)}, random);
  CHECK(w.array().abs().maxCoeff() <= static_cast<float>(1 / std::sqrt(fan_in)) * 1.000001f);
  CHECK(deviation() == doctest::Approx(1 / std::sqrt(3 * fan_in)).epsilon(0.01));
  init::truncated_normal(w, 1, 2, 0, 2, random);
  CHECK(w.array().minCoeff() >= 0);
  CHECK(w.array().maxCoeff() <= 2);
  CHECK(w.array().mean() == doctest::Approx(1).epsilon(0.01));
  init::constant(w, 3);
  CHECK(w == Tensor<float>::full(w.shape(), 3));
  init::zeros(w);
  CHECK(w == Tensor<float>::zeros(w.shape()));
  init::normal(w, 0, 0.5, random);
  CHECK(deviation() == doctest::Approx(0.5).epsilon(0.01));
  init::uniform(w, 2, 4, random);
  CHECK(w.array().mean() == doctest::Approx(3).epsilon(0.01));

  CHECK(init::gain("tanh") == doctest::Approx(5.0 / 3));
  CHECK_THROWS_WITH_AS(init::gain("swish"),
                       "init::gain: expected linear, sigmoid, tanh, relu, leaky_relu or selu, got 'swish'", ValueError);
  Tensor<float> vector({3});
  CHECK_THROWS_WITH_AS(init::xavier_uniform(vector), "init: a weight needs at least 2 dimensions, got shape [3]",
                       ShapeError);
  CHECK_THROWS_AS(init::truncated_normal(w, 0, 1, 5, 6), ValueError);
}

TEST_CASE("a model is initialised by layer kind, reproducibly") {
  auto net = small_net();
  manual_seed(11);
  init::weights<Conv2d<float>, Linear<float>>(net, [](Tensor<float>& w) { init::xavier_uniform(w); });
  const auto first = state_dict(net);
  manual_seed(11);
  init::weights<Conv2d<float>, Linear<float>>(net, [](Tensor<float>& w) { init::xavier_uniform(w); });
  CHECK(state_dict(net) == first);
  manual_seed(4);
  const auto a = small_net();
  manual_seed(4);
  CHECK(state_dict(small_net()) == state_dict(a));
}
