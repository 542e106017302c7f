#include <doctest/doctest.h>

#include <algorithm>

#include "lamina/compile/plan.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/tanh.hpp"

using namespace lamina;
using compiler::Method;
using compiler::Program;
using compiler::Step;
using compiler::StepKind;

namespace {

constexpr Index width = simd::width<float>;

Sequential<float> conv_norm(Index in, Index out, Index kernel, const Conv2dOptions& options = {}) {
  Sequential<float> net{Conv2d<float>(in, out, kernel, options), BatchNorm2d<float>(out)};
  auto& norm = net.get<BatchNorm2d<float>>(1);
  Random random(static_cast<std::uint64_t>(in + 10 * out + kernel));
  norm.running_mean = random.normal({out});
  norm.running_var = random.uniform<float>({out});
  norm.running_var += Tensor<float>::full({out}, 0.5f);
  norm.weight.value = random.normal({out});
  norm.bias.value = random.normal({out});
  return net;
}

Program<float> lowered(const Module<float>& net, const Shape& shape) { return compiler::lower(record(net, shape)); }
Program<float> fused(const Module<float>& net, const Shape& shape) {
  Program<float> program = lowered(net, shape);
  compiler::fold(program);
  compiler::choose_layouts(program);
  compiler::fuse(program);
  return program;
}
std::vector<StepKind> kinds(const Program<float>& program) {
  std::vector<StepKind> result;
  for (const auto& step : program.steps) result.push_back(step.kind);
  return result;
}
std::string texts(const Program<float>& program) {
  std::string out;
  for (const auto& step : program.steps) out += (out.empty() ? "" : "; ") + compiler::describe(step);
  return out;
}

/// Relative L2 distance of the plan's result from infer's.
double error_of(const Module<float>& net, const Shape& shape) {
  const Tensor<float> x = Random(7).normal(shape), y = net.infer(x), z = compile(net, shape)(x);
  REQUIRE(y.shape() == z.shape());
  return static_cast<double>((y.array() - z.array()).matrix().norm() / y.array().matrix().norm());
}

}  // namespace

TEST_CASE("lower: a step for each layer that computes, and those of a dense block's layers") {
  const Sequential<float> net{Conv2d<float>(3, 8, 3), Dropout<float>(0.5), ReLU<float>(), Flatten<float>(),
                              Linear<float>(288, 4)};
  const auto program = lowered(net, {2, 3, 8, 8});
  CHECK(kinds(program) == std::vector{StepKind::convolution, StepKind::activation, StepKind::view, StepKind::linear});
  CHECK(program.steps[0].layers == std::vector<std::string>{"0: Conv2d(3, 8, 3)"});
  CHECK(program.steps[3].multiply_adds == 2 * 288 * 4);

  const auto dense = lowered(DenseBlock<float>(8, 2, {.growth = 8}), {1, 8, 4, 4});
  const std::vector layer{StepKind::norm,       StepKind::activation,  StepKind::convolution, StepKind::norm,
                          StepKind::activation, StepKind::convolution, StepKind::concat};
  std::vector<StepKind> both = layer;
  both.insert(both.end(), layer.begin(), layer.end());
  CHECK(kinds(dense) == both);
  CHECK(dense.steps[0].layers[0] == "denselayer1.norm1: BatchNorm2d(8)");
}

TEST_CASE("fold: a norm goes into the convolution before it, or behind it where there is no padding") {
  CHECK(kinds(([] {
          auto p = lowered(conv_norm(3, 8, 3), {1, 3, 8, 8});
          compiler::fold(p);
          return p;
        })()) == std::vector{StepKind::convolution});

  for (const Index padding : {0, 1}) {
    CAPTURE(padding);
    Sequential<float> net = conv_norm(8, 16, 3, {.padding = 1, .groups = 2});
    net.erase(0);
    net.add(Conv2d<float>(16, 8, 3, {.padding = padding, .groups = 2}));
    auto program = lowered(net, {1, 16, 8, 8});
    compiler::fold(program);
    CHECK(program.steps.size() == (padding ? 2 : 1));
    CHECK(error_of(net, {1, 16, 8, 8}) < 1e-6);
  }
  // Somebody else sees what the convolution makes.
  Sequential<float> shared{Conv2d<float>(8, 8, 1), Concat<float>{BatchNorm2d<float>(8), Identity<float>()}};
  auto program = lowered(shared, {1, 8, 8, 8});
  compiler::fold(program);
  CHECK(program.steps.size() == 3);
  // A norm of the batch's own statistics stays a layer.
  auto own = fused(Sequential<float>{Conv2d<float>(8, 8, 1), BatchNorm2d<float>(8, {.track_running_stats = false})},
                   {2, 8, 4, 4});
  CHECK(own.steps.back().kind == StepKind::layer);
}

TEST_CASE("fuse: activations and sums in the store, norms and gates in the read, means beside the store") {
  Sequential<float> residual{Conv2d<float>(3, 16, 3), Sum<float>{Conv2d<float>(16, 16, 1), Identity<float>()},
                             ReLU<float>()};
  CHECK(texts(fused(residual, {1, 3, 8, 8})) == "convolution (direct); convolution (direct) + sum + relu; to planes");
  CHECK(error_of(residual, {2, 3, 8, 8}) < 1e-6);

  // Of two products the later one takes the sum.
  Sequential<float> two{Conv2d<float>(3, 16, 3), ReLU6<float>(),
                        Sum<float>{Conv2d<float>(16, 16, 1), Conv2d<float>(16, 16, 1)}, Hardswish<float>()};
  CHECK(texts(fused(two, {1, 3, 8, 8})) ==
        "convolution (direct) + relu6; convolution (direct); convolution (direct) + sum + Hardswish(); to planes");
  CHECK(error_of(two, {2, 3, 8, 8}) < 1e-6);

  Sequential<float> squeeze{
      Conv2d<float>(3, 16, 1), Conv2d<float>(16, 16, 3, {.padding = 1, .groups = 16}), ReLU<float>(),
      Product<float>{Identity<float>(),
                     Sequential<float>{AdaptiveAvgPool2d<float>(1), Conv2d<float>(16, 16, 1), Hardsigmoid<float>()}},
      Conv2d<float>(16, 32, 1)};
  CHECK(texts(fused(squeeze, {1, 3, 9, 9})) ==
        "convolution (direct); convolution (depthwise) + relu + mean; convolution (direct) + Hardsigmoid(); "
        "gate + convolution (direct); to planes");
  CHECK(error_of(squeeze, {2, 3, 9, 9}) < 1e-6);

  Sequential<float> before = conv_norm(16, 16, 3, {.padding = 1});
  before.erase(0);
  before.insert(0, Conv2d<float>(3, 16, 1));
  before.insert(1, Tanh<float>());
  before.add(ReLU<float>());
  before.add(Conv2d<float>(16, 16, 3, {.stride = 2, .padding = 1}));
  CHECK(texts(fused(before, {1, 3, 9, 9})) ==
        "convolution (direct) + Tanh(); norm + relu + convolution (direct); to planes");
  CHECK(error_of(before, {2, 3, 9, 9}) < 1e-6);
}

TEST_CASE("pool_first: an average moves before a pointwise convolution, unless it counts zeros of padding") {
  Sequential<float> net{Conv2d<float>(3, 16, 3), Conv2d<float>(16, 32, 1), AvgPool2d<float>(2)};
  auto program = fused(net, {1, 3, 10, 10});
  CHECK(texts(program) == "convolution (direct); average; convolution (direct); to planes");
  CHECK(program.steps[2].multiply_adds == 16 * 32 * 16);
  CHECK(error_of(net, {2, 3, 10, 10}) < 1e-6);
  net.replace(2, AvgPool2d<float>(2, {.padding = 1}));
  CHECK(texts(fused(net, {1, 3, 10, 10})) == "convolution (direct); convolution (direct); average; to planes");
  CHECK(error_of(net, {2, 3, 10, 10}) < 1e-6);
}

TEST_CASE("choose_layouts: blocks from convolution to convolution, one conversion for all who need it") {
  Sequential<float> net{Conv2d<float>(3, 16, 3), ReLU<float>(), MaxPool2d<float>(2),
                        Concat<float>{Softmax<float>(1), Softmax<float>(2), Conv2d<float>(16, 16, 1)}};
  const auto program = fused(net, {1, 3, 10, 10});
  CHECK(texts(program) ==
        "convolution (direct) + relu; max pool; to planes; Softmax(1); Softmax(2); convolution (direct); to planes; "
        "Cat(1)");
  CHECK(error_of(net, {2, 3, 10, 10}) < 1e-6);
  // Few channels would leave the blocks empty.
  const Sequential<float> thin{Conv2d<float>(1, 3, 3), ReLU<float>(), MaxPool2d<float>(2), Conv2d<float>(3, 2, 1)};
  CHECK(texts(fused(thin, {1, 1, 10, 10})) == "convolution (planes) + relu; MaxPool2d(2); convolution (planes)");
  CHECK(error_of(thin, {2, 1, 10, 10}) < 1e-6);
}

TEST_CASE("place_concats: branches write into their part of the result") {
  const Sequential<float> net{Conv2d<float>(3, 2 * width, 1),
                              Concat<float>{Conv2d<float>(2 * width, width, 3, {.padding = 1}), Identity<float>(),
                                            Sequential<float>{MaxPool2d<float>(3, {.stride = 1, .padding = 1}),
                                                              Conv2d<float>(2 * width, width - 1, 1)}},
                              Conv2d<float>(4 * width - 1, width, 1)};
  auto program = fused(net, {2, 3, 6, 6});
  compiler::place_concats(program);
  CHECK(std::none_of(program.steps.begin(), program.steps.end(),
                     [](const auto& step) { return step.kind == StepKind::concat; }));
  const auto place = compiler::place_of(program, program.steps[0].outputs[0]);
  CHECK(place.offset == width * 36);
  CHECK(place.sample == 4 * width * 36);
  CHECK(error_of(net, {2, 3, 6, 6}) < 1e-6);
  // The same part twice, and the network's input: copied.
  const Sequential<float> twice{Conv2d<float>(3, width, 1), Concat<float>{Identity<float>(), Identity<float>()},
                                Conv2d<float>(2 * width, width, 1)};
  CHECK(error_of(twice, {2, 3, 6, 6}) < 1e-6);
  CHECK(error_of(Concat<float>{Identity<float>(), ReLU<float>()}, {2, 3, 6, 6}) < 1e-6);
}

TEST_CASE("place_in_place: what dies is overwritten, what is still read is not") {
  const Sequential<float> net{Conv2d<float>(3, width, 1), MaxPool2d<float>(2), Tanh<float>(),
                              Conv2d<float>(width, 4, 1)};
  auto program = fused(net, {1, 3, 8, 8});
  compiler::place_in_place(program);
  const auto tanh = std::find_if(program.steps.begin(), program.steps.end(),
                                 [](const auto& step) { return step.kind == StepKind::activation; });
  REQUIRE(tanh != program.steps.end());
  CHECK(program.value(tanh->outputs[0]).whole == tanh->inputs[0]);
  const Sequential<float> kept{Conv2d<float>(3, width, 1), MaxPool2d<float>(2),
                               Sum<float>{Tanh<float>(), Identity<float>()}, GELU<float>()};
  CHECK(error_of(net, {2, 3, 8, 8}) < 1e-6);
  CHECK(error_of(kept, {2, 3, 8, 8}) < 1e-6);
}

TEST_CASE("plan_memory: nothing overlaps while it is needed, and what does not live together shares") {
  std::vector<compiler::Lifetime> pieces{{10, 0, 1}, {20, 1, 2}, {10, 2, 3}, {5, 0, 3}, {20, 3, 4}};
  const Index total = compiler::plan_memory(pieces);
  const Index most = compiler::largest_live_sum(pieces);
  CHECK(most == 35);
  CHECK(total >= most);
  CHECK(total <= most + most / 10);
  for (const auto& a : pieces)
    for (const auto& b : pieces)
      if (&a != &b && a.first <= b.last && b.first <= a.last)
        CHECK((a.offset + a.size <= b.offset || b.offset + b.size <= a.offset));
  // Drawn at random.
  Random random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<compiler::Lifetime> drawn;
    for (int i = 0; i < 30; ++i) {
      const auto first = static_cast<Index>(random.below(20));
      drawn.push_back({1 + static_cast<Index>(random.below(50)), first, first + static_cast<Index>(random.below(6))});
    }
    CHECK(compiler::plan_memory(drawn) >= compiler::largest_live_sum(drawn));
    for (const auto& a : drawn)
      for (const auto& b : drawn)
        if (&a != &b && a.first <= b.last && b.first <= a.last)
          REQUIRE((a.offset + a.size <= b.offset || b.offset + b.size <= a.offset));
  }
}

TEST_CASE(
    "A plan pads as its layers do, SAME with strides and sides of their own, and hands on what DropPath would drop") {
  manual_seed(2);
  const Sequential<float> net{
      Conv2d<float>(3, 2 * width, 3, {.stride = 2, .padding = "same"}),
      ReLU6<float>(),
      MaxPool2d<float>(3, {.stride = 2, .padding = "same"}),
      Conv2d<float>(2 * width, 2 * width, 3, {.stride = 2, .padding = "same", .groups = 2 * width}),
      DropPath<float>(0.5),
      AvgPool2d<float>(2, {.stride = 1, .padding = {0, 1, 1, 0}}),
      AvgPool2d<float>(3, {.stride = 2, .padding = "same", .count_include_pad = false}),
      Conv2d<float>(2 * width, 5, 1)};
  for (const Index side : {32, 33, 46, 47}) {
    const auto x = Random(1).normal({2, 3, side, side + 6});
    const Tensor<float> expected = net(x), got = compile(net, x.shape())(x);
    REQUIRE(got.shape() == expected.shape());
    CHECK((got.array() - expected.array()).abs().maxCoeff() < 1e-5f * (1 + expected.array().abs().maxCoeff()));
  }
}
