#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/container.hpp"
#include "lamina/nn/elu.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/glu.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"
#include "lamina/nn/hardtanh.hpp"
#include "lamina/nn/leaky_relu.hpp"
#include "lamina/nn/mish.hpp"
#include "lamina/nn/prelu.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/selu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/silu.hpp"
#include "lamina/nn/softplus.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_activations {

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
using Inputs = std::vector<float>;
using Function = double (*)(double);

/// The largest |got - f(x)| / (1 + |f(x)|).
template <class Scalar>
double worst(const Tensor<Scalar>& got, const Tensor<Scalar>& x, Function f) {
  Tensor<double> expected = x.template cast<double>();
  for (double& value : expected.values()) value = f(value);
  return testing::worst_difference(got.template cast<double>(), expected).error;
}

/// Evenly spaced numbers, then some far out; none where pieces of a function meet.
template <class Scalar>
Tensor<Scalar> sweep() {
  std::vector<Scalar> x;
  for (int i = 0; i <= 40000; ++i) x.push_back(static_cast<Scalar>(-20.00037 + i * 0.001));
  for (double far : {25.0, 60.0, 87.0, 88.5, 89.0, 100.0, 1e3, 1e6, 1e12})
    for (double sign : {-1.0, 1.0}) x.push_back(static_cast<Scalar>(sign * far));
  return {{static_cast<Index>(x.size())}, x};
}

template <class Scalar, class L>
void check_accuracy(L layer, Function f, Function slope, double tolerance) {
  CAPTURE(layer.name());
  const Tensor<Scalar> x = sweep<Scalar>();
  Tape tape;
  const Tensor<Scalar> y = layer.forward(x, tape);
  CHECK(worst(y, x, f) < tolerance);
  CHECK(worst(layer.infer(x), x, f) < tolerance);
  CHECK(worst(layer.backward(Tensor<Scalar>::ones(x.shape()), tape), x, slope) < 2.5 * tolerance);
}

/// Inputs and derivatives against the textbook's in both precisions, and the conformance suite over drawn shapes.
template <template <class> class L, class... Options>
void check(Function f, Function slope, const Options&... options) {
  check_accuracy<float>(L<float>(options...), f, slope, 4e-7);
  check_accuracy<double>(L<double>(options...), f, slope, 1e-14);
  Random random(7);
  for (int rank = 0; rank <= 5; ++rank) {
    std::vector<Index> extents(static_cast<std::size_t>(rank));
    for (Index& extent : extents) extent = 1 + random.below(4);
    CHECK(conforms(L<double>(options...), Shape(extents), {.seed = static_cast<std::uint64_t>(rank), .scale = 2}));
  }
  CHECK(conforms(L<double>(options...), {1, 3, 7, 5}, {.seed = 3, .scale = 3}));
  CHECK(conforms(L<double>(options...), {0, 4}));
}

double sigma(double x) { return 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }
double normal_pdf(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }
double gelu_angle(double x) { return 2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double clamp6(double x) { return std::min(std::max(x, 0.0), 6.0); }

/// y and, for dy = 1, dx.
template <class L>
std::pair<Inputs, Inputs> run(L layer, const Inputs& values) {
  Tape tape;
  const Tensor<float> x({static_cast<Index>(values.size())}, values);
  const Tensor<float> y = layer.forward(x, tape), dx = layer.backward(Tensor<float>::ones(x.shape()), tape);
  return {{y.values().begin(), y.values().end()}, {dx.values().begin(), dx.values().end()}};
}

/// How NaN comes out: as y, and as dx for a finite dy.
template <class L>
std::pair<bool, bool> nan_through(L layer) {
  const auto [y, dx] = run(std::move(layer), {1, not_a_number});
  CHECK(std::isfinite(y[0]));
  CHECK(std::isfinite(dx[0]));
  return {std::isnan(y[1]), std::isnan(dx[1])};
}

}  // namespace

TEST_CASE("activations agree with their formulas and conform") {
  check<Sigmoid>([](double x) { return sigma(x); }, [](double x) { return sigma(x) * sigma(-x); });
  check<Tanh>([](double x) { return std::tanh(x); }, [](double x) { return 1 / std::pow(std::cosh(x), 2); });
  check<ReLU>([](double x) { return std::max(x, 0.0); }, [](double x) { return x > 0 ? 1.0 : 0.0; });
  check<ReLU6>(clamp6, [](double x) { return x > 0 && x < 6 ? 1.0 : 0.0; });
  check<LeakyReLU>([](double x) { return x > 0 ? x : 0.01 * x; }, [](double x) { return x > 0 ? 1.0 : 0.01; });
  check<SiLU>([](double x) { return x * sigma(x); }, [](double x) { return sigma(x) * (1 + x * sigma(-x)); });
  check<Hardsigmoid>([](double x) { return clamp6(x + 3) / 6; },
                     [](double x) { return x > -3 && x < 3 ? 1.0 / 6 : 0.0; });
  check<Hardswish>([](double x) { return x * clamp6(x + 3) / 6; },
                   [](double x) { return x < -3  ? 0.0
                                         : x > 3 ? 1.0
                                                 : x / 3 + 0.5; });
  check<GELU>([](double x) { return x * normal_cdf(x); }, [](double x) { return normal_cdf(x) + x * normal_pdf(x); });
  check<ELU>([](double x) { return x > 0 ? x : std::expm1(x); }, [](double x) { return x > 0 ? 1 : std::exp(x); });
  check<SELU>([](double x) { return SELU<double>::scale * (x > 0 ? x : SELU<double>::alpha * std::expm1(x)); },
              [](double x) { return SELU<double>::scale * (x > 0 ? 1 : SELU<double>::alpha * std::exp(x)); });
  check<Softplus>([](double x) { return x > 20 ? x : softplus(x); }, [](double x) { return x > 20 ? 1 : sigma(x); });
  check<Mish>([](double x) { return x * std::tanh(softplus(x)); },
              [](double x) {
                return std::tanh(softplus(x)) + x * sigma(x) / std::pow(std::cosh(std::min(softplus(x), 300.0)), 2);
              });
  check<Hardtanh>([](double x) { return std::min(std::max(x, -1.0), 1.0); },
                  [](double x) { return x > -1 && x < 1 ? 1.0 : 0.0; });
  check<PReLU>([](double x) { return x > 0 ? x : 0.25 * x; }, [](double x) { return x > 0 ? 1.0 : 0.25; });
}

TEST_CASE("activations with slopes for channels, or halves along an axis, conform") {
  for (const Shape& shape : {Shape{3, 4}, Shape{2, 4, 3, 5}, Shape{2, 4, 17}, Shape{0, 4}, Shape{1, 4, 40}}) {
    CHECK(conforms(PReLU<double>({.num_parameters = 4}), shape));
    CHECK(conforms(GLU<double>(1), shape));
    CHECK(conforms(SwiGLU<double>(1), shape));
    CHECK(conforms(GEGLU<double>(1, {.approximate = "tanh"}), shape));
    CHECK(conforms(GatedActivation(SiLU<double>(), Identity<double>(), 1), shape));
    CHECK(conforms(GatedActivation(Tanh<double>(), Hardsigmoid<double>({.alpha = 0.2}), 1), shape));
  }
  CHECK(conforms(PReLU<double>({.num_parameters = 37, .init = -0.3}), {5, 37}));
  CHECK(conforms(GLU<double>(), {3, 4}));
  CHECK(conforms(GLU<double>(-2), {2, 3, 4, 19}));
  CHECK(conforms(GEGLU<double>(), {3, 4}));
  CHECK(conforms(SwiGLU<double>(-2), {2, 3, 4, 19}));
}

TEST_CASE("activations with options") {
  check<ELU>([](double x) { return x > 0 ? x : 0.3 * std::expm1(x); },
             [](double x) { return x > 0 ? 1 : 0.3 * std::exp(x); }, 0.3);
  check<ELU>([](double x) { return x > 0 ? x : -0.3 * std::expm1(x); },
             [](double x) { return x > 0 ? 1 : -0.3 * std::exp(x); }, -0.3);
  check<Softplus>([](double x) { return softplus(3 * x) / 3; }, [](double x) { return sigma(3 * x); },
                  SoftplusOptions{.beta = 3, .threshold = 1e30});
  check<Hardtanh>([](double x) { return std::min(std::max(x, -2.5), 0.5); },
                  [](double x) { return x > -2.5 && x < 0.5 ? 1.0 : 0.0; }, -2.5, 0.5);
  check<LeakyReLU>([](double x) { return x > 0 ? x : 0.2 * x; }, [](double x) { return x > 0 ? 1.0 : 0.2; }, 0.2);
  check<LeakyReLU>([](double x) { return x > 0 ? x : -0.5 * x; }, [](double x) { return x > 0 ? 1.0 : -0.5; }, -0.5);
  check<LeakyReLU>([](double x) { return std::max(x, 0.0); }, [](double x) { return x > 0 ? 1.0 : 0.0; }, 0.0);
  check<GELU>([](double x) { return x * sigma(gelu_angle(x)); },
              [](double x) {
                const double inner = 2 * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
                return sigma(gelu_angle(x)) * (1 + x * sigma(-gelu_angle(x)) * inner);
              },
              GELUOptions{.approximate = "tanh"});
}

TEST_CASE("where the pieces meet, values and derivatives are PyTorch's") {
  const Inputs x{-3, 0, 3, 6};
  CHECK(run(ReLU(), x).second == Inputs{0, 0, 1, 1});
  CHECK(run(ReLU6(), x).second == Inputs{0, 0, 1, 0});
  CHECK(run(LeakyReLU(0.25), x) == std::pair(Inputs{-0.75, 0, 3, 6}, Inputs{0.25, 0.25, 1, 1}));
  CHECK(run(Hardsigmoid(), x) == std::pair(Inputs{0, 0.5, 1, 1}, Inputs{0, 1.0f / 6, 0, 0}));
  CHECK(run(Hardtanh(-3, 3), x) == std::pair(Inputs{-3, 0, 3, 3}, Inputs{0, 1, 0, 0}));
  CHECK(run(ELU(0.5), {0, 3}) == std::pair(Inputs{0, 3}, Inputs{0.5, 1}));
  CHECK(run(PReLU(), x) == std::pair(Inputs{-0.75, 0, 3, 6}, Inputs{0.25, 0.25, 1, 1}));
  CHECK(run(Softplus({.threshold = 3}), {6}) == std::pair(Inputs{6}, Inputs{1}));
  CHECK(run(Hardswish(), x) == std::pair(Inputs{0, 0, 3, 6}, Inputs{-0.5, 0.5, 1.5, 1}));
}

TEST_CASE("infinite inputs saturate") {
  const Inputs x{-infinity, infinity};
  CHECK(run(Sigmoid(), x) == std::pair(Inputs{0, 1}, Inputs{0, 0}));
  CHECK(run(Tanh(), x) == std::pair(Inputs{-1, 1}, Inputs{0, 0}));
  CHECK(run(ReLU(), x) == std::pair(Inputs{0, infinity}, Inputs{0, 1}));
  CHECK(run(ReLU6(), x) == std::pair(Inputs{0, 6}, Inputs{0, 0}));
  CHECK(run(Hardsigmoid(), x) == std::pair(Inputs{0, 1}, Inputs{0, 0}));
  CHECK(run(Hardtanh(), x) == std::pair(Inputs{-1, 1}, Inputs{0, 0}));
  CHECK(run(ELU(), x) == std::pair(Inputs{-1, infinity}, Inputs{0, 1}));
  CHECK(run(Softplus(), x) == std::pair(Inputs{0, infinity}, Inputs{0, 1}));
}

TEST_CASE("NaN comes through, and no gradient is made finite from it but where PyTorch does") {
  using Through = std::pair<bool, bool>;
  CHECK(nan_through(Sigmoid()) == Through(true, true));
  CHECK(nan_through(Tanh()) == Through(true, true));
  CHECK(nan_through(ReLU()) == Through(true, false));
  CHECK(nan_through(ReLU6()) == Through(true, false));
  CHECK(nan_through(LeakyReLU()) == Through(true, false));
  CHECK(nan_through(GELU()) == Through(true, true));
  CHECK(nan_through(GELU({.approximate = "tanh"})) == Through(true, true));
  CHECK(nan_through(SiLU()) == Through(true, true));
  CHECK(nan_through(Hardsigmoid()) == Through(true, false));
  CHECK(nan_through(ELU()) == Through(true, true));
  CHECK(nan_through(SELU()) == Through(true, true));
  CHECK(nan_through(Softplus()) == Through(true, true));
  CHECK(nan_through(Mish()) == Through(true, true));
  CHECK(nan_through(Hardtanh()) == Through(true, false));
  CHECK(nan_through(PReLU()) == Through(true, false));
  CHECK(nan_through(Hardswish()) == Through(true, true));
}

TEST_CASE("an activation overwrites its input when nobody else holds it, and only then") {
  Tensor<float> x({2, 3}, {-1, 2, -3, 4, -5, 6});
  const Tensor<float> kept = x;
  const Tensor<float> y = ReLU()(x);
  CHECK(kept == Tensor<float>({2, 3}, {-1, 2, -3, 4, -5, 6}));
  CHECK(y == Tensor<float>({2, 3}, {0, 2, 0, 4, 0, 6}));

  Tensor<float> alone({3}, {-1, 0, 1});
  const float* storage = std::as_const(alone).data();
  const Tensor<float> result = Sigmoid()(std::move(alone));
  CHECK(result.data() == storage);
}

TEST_CASE("activations keep the output where that is enough, in the storage the next layer sees") {
  const Tensor<float> x = Random(1).normal<float>({64});
  Tape tape;
  ReLU relu;
  Tensor<float> input(x.shape(), x.values());
  const float* storage = std::as_const(input).data();
  const Tensor<float> y = relu.forward(std::move(input), tape);
  CHECK(y.data() == storage);
  CHECK_FALSE(y.exclusive());
  relu.backward(Tensor<float>::ones(x.shape()), tape);
  CHECK(y.exclusive());
}

TEST_CASE("activations do not depend on the number of threads") {
  const int before = num_threads();
  const Tensor<float> x = Random(5).normal<float>({3, 70001}, 0, 3);
  const Sequential net{Tanh(), GELU(), Hardswish(), SiLU(), Sigmoid()};
  set_num_threads(1);
  const Tensor<float> one = net(x);
  set_num_threads(2);
  CHECK(net(x) == one);
  set_num_threads(before);
}

TEST_CASE("names and errors of activations") {
  CHECK(Sigmoid().name() == "Sigmoid()");
  CHECK(Tanh().name() == "Tanh()");
  CHECK(ReLU().name() == "ReLU()");
  CHECK(ReLU6().name() == "ReLU6()");
  CHECK(LeakyReLU().name() == "LeakyReLU(0.01)");
  CHECK(LeakyReLU(0.2).name() == "LeakyReLU(0.2)");
  CHECK(GELU().name() == "GELU()");
  CHECK(GELU({.approximate = "tanh"}).name() == "GELU(approximate=\"tanh\")");
  CHECK(SiLU().name() == "SiLU()");
  CHECK(Hardsigmoid().name() == "Hardsigmoid()");
  CHECK(Hardswish().name() == "Hardswish()");
  CHECK(ELU().name() == "ELU(1)");
  CHECK(SELU().name() == "SELU()");
  CHECK(Softplus({.beta = 2}).name() == "Softplus(beta=2)");
  CHECK(Mish().name() == "Mish()");
  CHECK(Hardtanh().name() == "Hardtanh(-1, 1)");
  CHECK(PReLU({.num_parameters = 3}).name() == "PReLU(num_parameters=3)");
  CHECK(GLU().name() == "GLU()");
  CHECK(GLU(1).name() == "GLU(1)");
  CHECK(SwiGLU().name() == "SwiGLU()");
  CHECK(GEGLU(1, {.approximate = "tanh"}).name() == "GEGLU(1, approximate=tanh)");
  CHECK(GatedActivation(SiLU(), Identity(), 1).name() == "GatedActivation(SiLU(), Identity(), dim=1)");
  CHECK(Hardsigmoid({.alpha = 0.2, .beta = 0.4}).name() == "Hardsigmoid(alpha=0.2, beta=0.4)");
  CHECK_THROWS_WITH_AS(Hardsigmoid({.alpha = 0}), "Hardsigmoid: alpha must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(SwiGLU(2)(Tensor<float>({2, 4})), "SwiGLU(2): no axis 2 in shape [2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(Softplus({.beta = 0}), "Softplus(beta=0): beta must not be 0", ValueError);
  CHECK_THROWS_WITH_AS(Hardtanh(1, 1), "Hardtanh(1, 1): min_val must be below max_val", ValueError);
  CHECK_THROWS_WITH_AS(PReLU({.num_parameters = 0}), "PReLU(num_parameters=0): num_parameters must be at least 1",
                       ValueError);
  CHECK_THROWS_WITH_AS(PReLU({.num_parameters = 3})(Tensor<float>({2, 4})),
                       "PReLU(num_parameters=3): expected [N, 3, ...], got shape [2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(GLU(1)(Tensor<float>({2, 3})), "GLU(1): expected an even extent in axis 1, got shape [2, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(GELU({.approximate = "erf"}), "GELU: approximate must be \"none\" or \"tanh\", got \"erf\"",
                       ValueError);
}

}  // namespace test_activations
