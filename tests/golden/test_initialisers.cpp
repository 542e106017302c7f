#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "golden/golden.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"

using namespace lamina;
using testing::Golden;

namespace {

/// Mean, deviation and extremes of many draws.
struct Statistics {
  double count = 0, sum = 0, squares = 0, low = INFINITY, high = -INFINITY;

  void add(const Tensor<double>& tensor) {
    for (double value : tensor.values()) {
      ++count;
      sum += value;
      squares += value * value;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  double mean() const { return sum / count; }
  double deviation() const { return std::sqrt(squares / count - mean() * mean()); }
};

/// That the draws come from U[low, high) as far as 20000 of them can tell.
void check_uniform(const Statistics& drawn, const Tensor<double>& torch) {
  const double low = torch(0), high = torch(1), width = high - low;
  CHECK(drawn.count >= 20000);
  CHECK(drawn.low >= low);
  CHECK(drawn.low < low + 1e-3 * width);
  CHECK(drawn.high <= high);
  CHECK(drawn.high > high - 1e-3 * width);
  CHECK(std::abs(drawn.mean() - (low + high) / 2) < 0.01 * width);
  CHECK(std::abs(drawn.deviation() / (width / std::sqrt(12.0)) - 1) < 0.02);
}

/// The same for N(mean, deviation^2).
void check_normal(const Statistics& drawn, const Tensor<double>& torch) {
  CHECK(drawn.count >= 20000);
  CHECK(std::abs(drawn.mean() - torch(0)) < 0.03 * torch(1));
  CHECK(std::abs(drawn.deviation() / torch(1) - 1) < 0.02);
  CHECK(drawn.high > 3.3 * torch(1));
}

/// 100 tensors filled by one initialiser.
template <class F>
Statistics draw(const Shape& shape, F initialise) {
  Random random(7);
  Statistics result;
  for (int i = 0; i < 100; ++i) {
    Tensor<double> weight(shape);
    initialise(weight, random);
    result.add(weight);
  }
  return result;
}

}  // namespace

TEST_CASE("initialisers draw from PyTorch's distributions") {
  const Golden<double> golden("initialisers");
  struct Weight {
    std::string kind;
    Shape shape;
  };
  const std::initializer_list<Weight> weights = {
      {"linear", {50, 30}}, {"conv", {20, 6, 3, 5}}, {"grouped", {24, 2, 3, 3}}};
  for (const Weight& w : weights) {
    const Shape& shape = w.shape;
    CAPTURE(w.kind);
    const auto torch = [&](const std::string& name) { return golden.tensor(name + "/" + w.kind + "/weight"); };
    using T = Tensor<double>&;
    check_uniform(draw(shape, [](T t, Random& r) { init::xavier_uniform(t, 1, r); }), torch("xavier_uniform"));
    check_uniform(draw(shape, [](T t, Random& r) { init::xavier_uniform(t, init::gain("tanh"), r); }),
                  torch("xavier_uniform_gain"));
    check_normal(draw(shape, [](T t, Random& r) { init::xavier_normal(t, 1, r); }), torch("xavier_normal"));
    check_uniform(draw(shape, [](T t, Random& r) { init::kaiming_uniform(t, {.nonlinearity = "relu"}, r); }),
                  torch("kaiming_uniform"));
    check_uniform(draw(shape, [](T t, Random& r) { init::kaiming_uniform(t, {.a = 0.2}, r); }),
                  torch("kaiming_uniform_leaky"));
    const init::KaimingOptions fan_out{.mode = init::FanMode::fan_out, .nonlinearity = "relu"};
    check_uniform(draw(shape, [&](T t, Random& r) { init::kaiming_uniform(t, fan_out, r); }),
                  torch("kaiming_uniform_fan_out"));
    check_normal(draw(shape, [](T t, Random& r) { init::kaiming_normal(t, {.nonlinearity = "relu"}, r); }),
                 torch("kaiming_normal"));
    check_normal(draw(shape, [&](T t, Random& r) { init::kaiming_normal(t, fan_out, r); }),
                 torch("kaiming_normal_fan_out"));
  }
}

TEST_CASE("new layers start as PyTorch's") {
  const Golden<double> golden("initialisers");
  const auto check = [&](const std::string& kind, auto make) {
    CAPTURE(kind);
    Statistics weight, bias;
    for (int i = 0; i < 1000; ++i) {
      const auto layer = make();
      weight.add(layer.weight.value);
      bias.add(layer.bias.value);
    }
    check_uniform(weight, golden.tensor("default/" + kind + "/weight"));
    check_uniform(bias, golden.tensor("default/" + kind + "/bias"));
  };
  check("linear", [] { return Linear<double>(30, 50); });
  check("conv", [] { return Conv2d<double>(6, 20, {3, 5}); });
  check("grouped", [] { return Conv2d<double>(8, 24, 3, {.groups = 4}); });
}
