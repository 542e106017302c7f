#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "lamina/lamina.hpp"

using namespace lamina;

/// Layers that hand each other images in blocks of channels must make what they make one by one, where each takes and
/// gives planes.
namespace test_blocks {

namespace {

double difference(const Tensor<double>& a, const Tensor<double>& b, double noise = 0) {
  REQUIRE(a.shape() == b.shape());
  double most = 0, size = noise;
  for (Index i = 0; i < a.numel(); ++i) {
    REQUIRE(std::isfinite(a.data()[i]));
    most = std::max(most, std::abs(a.data()[i] - b.data()[i]));
    size = std::max(size, std::abs(b.data()[i]));
  }
  return size > 0 ? most / size : most;
}

void check(Sequential<double> net, const Shape& input, const char* what) {
  INFO(what);
  Sequential<double> apart(net);
  Random random(17);
  const auto x = random.normal<double>(input);
  Tape tape;
  const auto y = net.forward(x, tape);
  const auto dy = random.normal<double>(y.shape());
  const auto dx = net.backward(dy, tape);

  std::vector<Tape> tapes(static_cast<std::size_t>(apart.size()));
  Tensor<double> value = x, gradient = dy;
  for (Index i = 0; i < apart.size(); ++i) value = apart[i].forward(value, tapes[static_cast<std::size_t>(i)]);
  for (Index i = apart.size(); i-- > 0;) gradient = apart[i].backward(gradient, tapes[static_cast<std::size_t>(i)]);

  CHECK(difference(y, value) < 1e-13);
  CHECK(difference(dx, gradient) < 1e-13);
  const auto got = state_dict(net), expected = state_dict(apart);
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (const auto* values = std::get_if<Tensor<double>>(&expected[i].second))
      CHECK(difference(std::get<Tensor<double>>(got[i].second), *values, 1) < 1e-13);  // running statistics, too
  const auto left = parameters(net), right = parameters(apart);
  for (std::size_t i = 0; i < left.size(); ++i) {
    INFO(left[i].name);
    CHECK(difference(left[i].parameter->grad, right[i].parameter->grad, 1) < 1e-12);
  }
}

using Conv = Conv2d<double>;
using Norm = BatchNorm2d<double>;
using Act = ReLU<double>;

/// An activation that has no value at 0.
class Log : public Elementwise<Log, double> {
 public:
  using Pack = simd::Pack<double>;
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return simd::log(x); }
  static Pack gradient(Pack x, Pack dy) { return dy / x; }
};

}  // namespace

TEST_CASE("convolutions, norms and activations in blocks") {
  check({Conv(8, 16, 3, {.padding = 1}), Conv(16, 24, 3, {.padding = 1})}, {2, 8, 9, 7}, "Winograd");
  check({Conv(3, 16, 3, {.padding = 1}), Norm(16), Act(), Conv(16, 30, 3, {.padding = 1}), Norm(30), Act()},
        {2, 3, 13, 11}, "lanes that hold no channel");
  check({Conv(16, 32, 1), Norm(32), ReLU6<double>(), Conv(32, 16, 1), Norm(16)}, {3, 16, 6, 5}, "1x1");
  check({Conv(16, 32, 1, {.stride = 2}), Norm(32), SiLU<double>(), Conv(32, 16, 1, {.stride = 2})}, {3, 16, 13, 10},
        "1x1 with a stride");
  check({Conv(16, 32, 3, {.stride = 2, .padding = 1}), Conv(32, 15, 3, {.stride = 2, .padding = 1}), Norm(15),
         Conv(15, 16, 5, {.padding = 2}), Conv(16, 16, 7, {.stride = 2, .padding = 3})},
        {3, 16, 17, 12}, "strides");
  check({Conv(3, 32, 3, {.padding = 1}), Conv(32, 32, 3, {.padding = 2, .dilation = 2}),
         Conv(32, 32, 3, {.stride = 2, .padding = 2, .dilation = 2}), Conv(32, 3, 1)},
        {2, 3, 15, 13}, "dilations");
  check({Conv(4, 32, 3, {.padding = 1}), Conv(32, 32, 3, {.padding = 1, .groups = 4}), Conv(32, 16, 1)}, {2, 4, 9, 8},
        "groups, which take planes");
}

TEST_CASE("activations that do not keep zero, where blocks have lanes that hold no channel") {
  check({Conv(3, 30, 1), Sigmoid<double>(), Log(), Conv(30, 16, 3, {.padding = 1}), Softplus<double>(), Log(),
         Conv(16, 14, 1), Tanh<double>(), Conv(14, 16, 1)},
        {2, 3, 5, 6}, "sigmoids and logarithms");
}

TEST_CASE("masked convolutions in blocks") {
  using Masked = MaskedConv2d<double>;
  check({Masked(Mask::A, 1, 32, 7), Norm(32), Act(), Conv(32, 16, 1), Norm(16), Act(), Masked(Mask::B, 16, 16, 3),
         Norm(16), Masked(Mask::B, 16, 30, 1), Conv(30, 32, 1), Masked(Mask::B, 32, 32, 3, {.bias = false})},
        {2, 1, 9, 8}, "one group");
  check({Masked(Mask::A, 3, 48, 7, {.groups = 3}), Norm(48), Act(), Conv(48, 48, 1),
         Masked(Mask::B, 48, 48, 3, {.groups = 3}), Norm(48), Conv(48, 16, 1)},
        {2, 3, 7, 8}, "groups, which take planes");
}

TEST_CASE("depthwise convolutions in blocks") {
  const auto depthwise = [](Index c, Index kernel, Index stride, Index dilation = 1) {
    const Index padding = dilation * (kernel - 1) / 2;
    return Conv(c, c, kernel, {.stride = stride, .padding = padding, .dilation = dilation, .groups = c});
  };
  check({Conv(16, 24, 1), Norm(24), ReLU6<double>(), depthwise(24, 3, 1), Norm(24), depthwise(24, 3, 2),
         depthwise(24, 5, 2), Conv(24, 16, 1)},
        {2, 16, 15, 12}, "strides");
  check({Conv(16, 22, 1), depthwise(22, 3, 1), depthwise(22, 5, 1), depthwise(22, 7, 2), depthwise(22, 3, 1, 2),
         Conv(22, 16, 1)},
        {2, 16, 15, 12}, "lanes that hold no channel, and a dilation");
}

TEST_CASE("pooling in blocks") {
  check({Conv(3, 32, 7, {.stride = 2, .padding = 3}), Norm(32), Act(),
         MaxPool2d<double>(3, {.stride = 2, .padding = 1}), Conv(32, 30, 3, {.padding = 1}), AvgPool2d<double>(2),
         Conv(30, 32, 3, {.padding = 1}), MaxPool2d<double>(2, {.ceil_mode = true}), AdaptiveAvgPool2d<double>(2),
         Flatten<double>(), Linear<double>(128, 5)},
        {2, 3, 35, 33}, "as in a classifier");
}

TEST_CASE("sums, products and joins in blocks, and what takes planes between them") {
  const auto branch = [](Index from, Index to) { return Sequential{Conv(from, to, 3, {.padding = 1}), Norm(to)}; };
  check({Conv(3, 32, 1), Sum<double>{branch(32, 32), Identity<double>()}, Act(),
         Sum<double>{branch(32, 32), Conv(32, 32, 1)}, Conv(32, 16, 1)},
        {2, 3, 7, 6}, "residual sums");
  check({Conv(3, 32, 1),
         Product<double>{Identity<double>(),
                         Sequential{AdaptiveAvgPool2d<double>(1), Conv(32, 32, 1), Sigmoid<double>()}},
         Conv(32, 16, 1)},
        {2, 3, 7, 6}, "squeeze and excitation");
  check({Conv(3, 32, 1), Concat<double>{branch(32, 16), branch(32, 32), Identity<double>()}, Norm(80), Conv(80, 16, 1)},
        {2, 3, 7, 6}, "a norm over parts");
  check({Conv(3, 32, 1), Concat<double>{branch(32, 16), branch(32, 20)}, Norm(36), Act(), Conv(36, 16, 1)},
        {2, 3, 7, 6}, "parts that do not fill their blocks");
  check({Conv(3, 32, 1), Concat<double>{branch(32, 16), branch(32, 32)}, Conv(48, 16, 1)}, {2, 3, 7, 6},
        "a join that is computed");
  check({Conv(3, 32, 1), Concat<double>{Identity<double>(), Sequential{Softmax<double>(1), Conv(32, 32, 1)}}, Norm(64),
         Conv(64, 16, 1)},
        {2, 3, 7, 6}, "parts in blocks and in planes");
  check({Conv(3, 32, 1), LayerScale<double>(32), Norm(32), Act(), Softmax<double>(1), Conv(32, 16, 1)}, {2, 3, 7, 6},
        "layers that take planes");
  check({Conv(3, 32, 1), Checkpoint(Sequential{Norm(32), Act(), Conv(32, 32, 3, {.padding = 1})}), Norm(32),
         Checkpoint(Sequential{Act(), Conv(32, 16, 1)})},
        {2, 3, 7, 6}, "segments that are run again");
}

TEST_CASE("gates, concatenated ELUs, dropout and weight norms in blocks") {
  check({Conv(3, 64, 1), Gate<double>(), Conv(32, 64, 3, {.padding = 1}), Gate<double>({.groups = 2}), Conv(32, 16, 1)},
        {2, 3, 7, 6}, "gates, of groups, too");
  check({Conv(3, 24, 1), Gate<double>(), Conv(12, 16, 1), ConcatELU<double>(), Conv(32, 12, 1), ConcatELU<double>(),
         GLU<double>(1), Conv(12, 16, 1)},
        {2, 3, 7, 6}, "halves that do not fill their blocks");
  check({Conv(3, 32, 1), GLU<double>(1), Conv(16, 32, 3, {.padding = 1}),
         GatedActivation(SiLU<double>(), Identity<double>(), 1), Conv(16, 32, 1), GLU<double>(3), Conv(32, 16, 1)},
        {2, 3, 7, 6}, "gated linear units, the last of columns");
  check({Conv(3, 32, 1), Dropout<double>(0.4), Conv(32, 16, 3, {.padding = 1})}, {2, 3, 7, 6}, "dropout");
  check({Conv(3, 32, 1), Dropout2d<double>(0.4), Conv(32, 16, 3, {.padding = 1})}, {2, 3, 7, 6}, "dropout of channels");
  check({WeightNorm<Conv>(Conv(3, 32, 1)), ConcatELU<double>(), WeightNorm<Conv>(Conv(64, 32, 3, {.padding = 1})),
         GLU<double>(1), SpectralNorm<Conv>(Conv(16, 32, 1)), Act(), WeightNorm<Conv>(Conv(32, 32, 2))},
        {2, 3, 7, 6}, "convolutions with another's weight");
}

TEST_CASE("what each image's channels are moved by, in blocks") {
  struct Moved : Block<Moved, double> {
    Conv in{3, 32, 1}, by{3, 32, 1}, out{32, 16, 1};
    AdaptiveAvgPool2d<double> pool{1};
    Add<double> add;
    Members<double> members() override { return {{"in", in}, {"by", by}, {"out", out}}; }
    Value<double> flow(Flow<double>& run, Value<double> x) const {
      Value<double> c = run(by, run(pool, x));
      return run(out, run(add, run(in, std::move(x)), std::move(c)));
    }
  } net;
  Random random(3);
  const auto x = random.normal<double>({2, 3, 5, 4});
  Moved apart(net);
  Tape tape, pool, in, by, out, add;
  const auto y = net.forward(x, tape);
  const auto dy = random.normal<double>(y.shape());
  const auto dx = net.backward(dy, tape);
  const auto a = apart.in.forward(x, in), b = apart.by.forward(apart.pool.forward(x, pool), by);
  CHECK(difference(y, apart.out.forward(kernels::add(a, b), out)) < 1e-13);
  const auto dsum = apart.out.backward(dy, out);
  auto expected = apart.in.backward(dsum, in);
  expected = kernels::add(expected, apart.pool.backward(apart.by.backward(kernels::sum_to(b.shape(), dsum), by), pool));
  CHECK(difference(dx, expected) < 1e-13);
  CHECK(difference(net.by.weight.grad, apart.by.weight.grad) < 1e-12);
}

TEST_CASE("what is frozen computes as infer does, to the bit") {
  Sequential<double> net{Conv(3, 20, 3, {.padding = 1}),
                         Norm(20),
                         Act(),
                         Conv(20, 24, 3, {.padding = 1}),
                         Norm(24),
                         AvgPool2d<double>(2),
                         Conv(24, 24, 3, {.groups = 24}),
                         AdaptiveAvgPool2d<double>(1)};
  freeze(net);
  const auto x = Random(6).normal<double>({2, 3, 12, 11});
  Tape tape;
  CHECK(net.forward(x, tape) == net.infer(x));
}

TEST_CASE("networks in blocks have the gradients of their layers in planes") {
  // Twice forward, then twice backward; the second with parts that are frozen.
  Sequential<double> net{Conv(3, 16, 3, {.padding = 1}), Norm(16), Act(), Conv(16, 16, 3, {.stride = 2}), Norm(16)};
  freeze(net[1]);
  Random random(5);
  const auto x = random.normal<double>({2, 3, 9, 9});
  Tape tape;
  const auto first = net.forward(x, tape), second = net.forward(x, tape);
  CHECK(difference(first, second) == 0);
  const auto dx = net.backward(first, tape), same = net.backward(first, tape);
  CHECK(difference(dx, same) == 0);
  CHECK_THROWS_WITH_AS(net.forward(random.normal<double>({2, 4, 9, 9}), tape),
                       "0: Conv2d(3, 16, 3, padding=1): expected 3 input channels, got shape [2, 4, 9, 9]", ShapeError);
  CHECK_THROWS_WITH_AS(net.forward(random.normal<double>({2, 3, 1, 2}), tape),
                       doctest::Contains("3: Conv2d(16, 16, 3, stride=2): the kernel is larger than the padded image"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      Sequential<double>({Conv(3, 16, 3), Norm(16)}).forward(random.normal<double>({1, 3, 3, 3}), tape),
      "1: BatchNorm2d(16): expected more than 1 value per channel when training, got shape [1, 16, 1, 1]", ShapeError);
  CHECK(tape.empty());
}

}  // namespace test_blocks
