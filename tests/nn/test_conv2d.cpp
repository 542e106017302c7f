#include <doctest/doctest.h>

#include <cmath>

#include "conformance.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"

using namespace lamina;

namespace {

/// The definition, in loops: what the fast kernels must equal. dy non-null: also its gradients.
struct Naive {
  Tensor<double> y, dx, dweight, dbias;

  Naive(const kernels::ConvolutionShape& s, const Tensor<double>& x, const Tensor<double>& weight,
        const Tensor<double>& bias, const Tensor<double>* dy)
      : y({s.n, s.m, s.oh(), s.ow()}),
        dx(Tensor<double>::zeros(x.shape())),
        dweight(Tensor<double>::zeros(weight.shape())),
        dbias(Tensor<double>::zeros({s.m})) {
    for (Index n = 0; n < s.n; ++n)
      for (Index m = 0; m < s.m; ++m)
        for (Index i = 0; i < s.oh(); ++i)
          for (Index j = 0; j < s.ow(); ++j) {
            double sum = bias(m);
            if (dy) dbias(m) += (*dy)(n, m, i, j);
            for (Index c = 0; c < s.group_c(); ++c)
              for (Index a = 0; a < s.kh; ++a)
                for (Index b = 0; b < s.kw; ++b) {
                  const Index p = i * s.sh + a * s.dh - s.top, q = j * s.sw + b * s.dw - s.left;
                  if (p < 0 || p >= s.h || q < 0 || q >= s.w) continue;
                  const Index channel = m / s.group_m() * s.group_c() + c;
                  sum += weight(m, c, a, b) * x(n, channel, p, q);
                  if (!dy) continue;
                  dx(n, channel, p, q) += weight(m, c, a, b) * (*dy)(n, m, i, j);
                  dweight(m, c, a, b) += x(n, channel, p, q) * (*dy)(n, m, i, j);
                }
            y(n, m, i, j) = sum;
          }
  }
};

template <class Scalar>
double difference(const Tensor<Scalar>& a, const Tensor<double>& b) {
  return testing::worst_difference(a.template cast<double>(), b).error;
}

template <class Scalar>
void check_against_naive(const kernels::ConvolutionShape& s, double tolerance) {
  INFO("n ", s.n, " c ", s.c, " h ", s.h, " w ", s.w, " m ", s.m, " k ", s.kh, "x", s.kw, " s ", s.sh, "x", s.sw, " d ",
       s.dh, "x", s.dw, " padding ", s.top, " ", s.bottom, " ", s.left, " ", s.right, " groups ", s.groups);
  Random random(static_cast<std::uint64_t>(s.h * 1000 + s.w * 10 + s.kh));
  const auto x = random.normal<Scalar>({s.n, s.c, s.h, s.w}), dy = random.normal<Scalar>({s.n, s.m, s.oh(), s.ow()});
  const auto scale = static_cast<Scalar>(1 / std::sqrt(static_cast<double>(s.group_c() * s.taps())));
  const auto weight = random.normal<Scalar>({s.m, s.group_c(), s.kh, s.kw}, 0, scale);
  const auto bias = random.normal<Scalar>({s.m});
  const auto dy_exact = dy.template cast<double>();
  const Naive naive(s, x.template cast<double>(), weight.template cast<double>(), bias.template cast<double>(),
                    &dy_exact);

  Tensor<Scalar> y(dy.shape()), dx(x.shape());
  kernels::convolution_forward(s, x.data(), weight.data(), bias.data(), y.data());
  CHECK(difference(y, naive.y) < tolerance);
  kernels::convolution_backward_input(s, dy.data(), weight.data(), dx.data());
  CHECK(difference(dx, naive.dx) < tolerance);
  auto dweight = Tensor<Scalar>::ones(weight.shape()), dbias = Tensor<Scalar>::ones(bias.shape());
  kernels::convolution_backward_weight(s, x.data(), dy.data(), dweight.data(), dbias.data());
  dweight.array() -= 1;
  dbias.array() -= 1;
  CHECK(difference(dweight, naive.dweight) < 10 * tolerance);
  CHECK(difference(dbias, naive.dbias) < 10 * tolerance);
}

}  // namespace

TEST_CASE("convolution kernels equal the definition over a grid of options") {
  Random random(7);
  const auto pick = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  int checked = 0;
  for (int trial = 0; trial < 400; ++trial) {
    kernels::ConvolutionShape s{};
    s.groups = random.uniform() < 0.5 ? 1 : pick(2, 4);
    s.n = pick(1, 3), s.c = s.groups * pick(1, 4), s.m = s.groups * pick(1, trial % 10 == 0 ? 29 : 5);
    s.h = pick(1, 14), s.w = pick(1, trial % 8 == 0 ? 50 : 14);
    s.kh = pick(1, 5), s.kw = pick(1, 5), s.sh = pick(1, 3), s.sw = pick(1, 3), s.dh = pick(1, 3), s.dw = pick(1, 3);
    s.top = pick(0, 3), s.bottom = pick(0, 3), s.left = pick(0, 3), s.right = pick(0, 3);
    if (s.h + s.top + s.bottom < s.dh * (s.kh - 1) + 1 || s.w + s.left + s.right < s.dw * (s.kw - 1) + 1) continue;
    ++checked;
    check_against_naive<double>(s, 1e-12);
    check_against_naive<float>(s, 5e-6);
  }
  CHECK(checked > 200);
}

TEST_CASE("convolution kernels equal the definition on the shapes of real networks") {
  using S = kernels::ConvolutionShape;
  const S shapes[] = {
      {.n = 20, .c = 1, .h = 28, .w = 28, .m = 6, .kh = 5, .kw = 5, .top = 2, .bottom = 2, .left = 2, .right = 2},
      {.n = 20, .c = 6, .h = 14, .w = 14, .m = 16, .kh = 5, .kw = 5},
      {.n = 1,
       .c = 3,
       .h = 64,
       .w = 60,
       .m = 64,
       .kh = 7,
       .kw = 7,
       .sh = 2,
       .sw = 2,
       .top = 3,
       .bottom = 3,
       .left = 3,
       .right = 3},
      {.n = 1, .c = 64, .h = 14, .w = 14, .m = 70, .kh = 3, .kw = 3, .top = 1, .bottom = 1, .left = 1, .right = 1},
      {.n = 1, .c = 96, .h = 9, .w = 9, .m = 32, .kh = 1, .kw = 1},
      {.n = 2,
       .c = 32,
       .h = 17,
       .w = 17,
       .m = 32,
       .kh = 3,
       .kw = 3,
       .sh = 2,
       .sw = 2,
       .top = 1,
       .bottom = 1,
       .left = 1,
       .right = 1,
       .groups = 32}};
  for (const S& s : shapes) {
    check_against_naive<float>(s, 2e-5);
    check_against_naive<double>(s, 1e-12);
  }
}

TEST_CASE("Conv2d conforms") {
  manual_seed(3);
  CHECK(conforms(Conv2d<double>(3, 8, 3, {.stride = 2}), {2, 3, 9, 7}));
  CHECK(
      conforms(Conv2d<double>(2, 4, {3, 2}, {.stride = {1, 2}, .padding = {2, 1}, .dilation = {1, 2}}), {1, 2, 5, 6}));
  CHECK(conforms(Conv2d<double>(4, 6, 3, {.padding = "same", .groups = 2, .bias = false}), {2, 4, 4, 5}));
  CHECK(conforms(Conv2d<double>(4, 4, 1), {3, 4, 2, 3}));
  CHECK(conforms(Conv2d<double>(3, 2, {2, 4}, {.padding = "same"}), {1, 3, 3, 5}));
  CHECK(conforms(Conv2d<double>(2, 3, 2, {.padding = {0, 1, 2, 0}}), {2, 2, 4, 3}));
}

TEST_CASE("Conv2d gives the same bits for any number of threads") {
  const int before = num_threads();
  const auto run = [&](int threads) {
    set_num_threads(threads);
    manual_seed(5);
    Conv2d conv(6, 16, 5);
    Tape tape;
    const auto x = Random(1).normal({40, 6, 14, 14});
    auto y = conv.forward(x, tape);
    auto dx = conv.backward(y, tape);
    return std::tuple(y, dx, conv.weight.grad, conv.bias.grad);
  };
  CHECK(run(1) == run(2));
  CHECK(run(1) == run(5));
  set_num_threads(before);
}

TEST_CASE("Conv2d computes only what is needed") {
  Conv2d conv(2, 3, 3);
  const auto x = Random(1).normal({1, 2, 5, 5});
  conv.weight.requires_grad = false;
  Tape tape;
  const auto y = conv.forward(x, tape);
  conv.backward(Tensor<float>::ones(y.shape()), tape);
  CHECK(conv.weight.grad.empty());
  CHECK(conv.bias.grad == Tensor<float>::full({3}, 9));
}

TEST_CASE("Conv2d has PyTorch's names, counts and default initial values") {
  Conv2d conv(3, 64, 7, {.stride = 2, .padding = 3});
  CHECK(conv.name() == "Conv2d(3, 64, 7, stride=2, padding=3)");
  CHECK(conv.output_shape({8, 3, 224, 224}) == Shape{8, 64, 112, 112});
  CHECK(conv.multiply_adds({1, 3, 224, 224}) == Index{118013952});
  const auto state = state_dict(conv);
  REQUIRE(state.size() == 2);
  CHECK(state[0].first == "weight");
  CHECK(state[1].first == "bias");
  const float bound = 1 / std::sqrt(3.0f * 49);
  CHECK(conv.weight.value.array().abs().maxCoeff() <= bound);
  CHECK(conv.weight.value.array().abs().maxCoeff() > 0.99f * bound);
}

TEST_CASE("Conv2d says what is wrong") {
  CHECK_THROWS_WITH_AS(Conv2d(3, 64, 7)(Tensor<float>::zeros({8, 4, 224, 224})),
                       "Conv2d(3, 64, 7): expected 3 input channels, got shape [8, 4, 224, 224]", ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 64, 7)(Tensor<float>::zeros({3, 224, 224})),
                       "Conv2d(3, 64, 7): expected an input [N, 3, H, W], got shape [3, 224, 224]", ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 7)(Tensor<float>::zeros({1, 3, 6, 9})),
                       "Conv2d(3, 4, 7): the kernel is larger than the padded image, got shape [1, 3, 6, 9]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.groups = 2}),
                       "Conv2d(3, 4, 3, groups=2): groups = 2 does not divide 3 input and 4 output channels",
                       ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.stride = 0}), "Conv2d(3, 4, 3, stride=0): stride must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.stride = 2, .padding = "same"}),
                       "Conv2d(3, 4, 3, stride=2, padding=same): padding \"same\" needs stride 1, got 2", ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.padding = "full"}),
                       "padding: expected numbers, \"same\" or \"valid\", got \"full\"", ValueError);
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, 3, {.padding = -1}), "padding must not be negative, got -1", ValueError);
  CHECK_THROWS_AS(Conv2d(0, 4, 3), ValueError);
  CHECK_THROWS_AS(Conv2d(3, 4, 0), ValueError);
}
