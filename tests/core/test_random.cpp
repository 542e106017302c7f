#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "kolmogorov.hpp"
#include "lamina/core/random.hpp"

using namespace lamina;

TEST_CASE("the generator is Philox4x32-10: the known answers of the authors' Random123 distribution") {
  // Counter 0, key 0 gives 6627e8d5 e169c58d bc57ac4c 9b00dbd8 (kat_vectors); uniform keeps the upper 24 bits.
  const auto u = Random(0).uniform({4});
  const std::uint32_t words[] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  for (Index i = 0; i < 4; ++i) CHECK(u(i) == static_cast<float>(words[i] >> 8) * 0x1p-24f);
  const auto d = Random(0).uniform<double>({2});
  CHECK(d(0) == static_cast<double>((0xe169c58d6627e8d5ull) >> 11) * 0x1p-53);
}

TEST_CASE("values depend on the seed and the position, not on the threads or how they are asked for") {
  const int before = num_threads();
  const auto draw = [](int threads) {
    set_num_threads(threads);
    Random random(42);
    return std::tuple(random.normal({100003}), random.uniform<double>({7}), random.bernoulli({1000}, 0.3),
                      random.permutation(100), random.position());
  };
  CHECK(draw(1) == draw(2));
  CHECK(draw(1) == draw(7));
  set_num_threads(before);

  Random a(1);
  a.uniform({10});
  Random b(1, a.position());  // the state is {seed, position}
  CHECK(a == b);
  CHECK(a.normal({5}) == b.normal({5}));
  CHECK(Random(1).uniform({8}) != Random(2).uniform({8}));
  CHECK(Random(1).split(3).uniform({8}) != Random(1).split(4).uniform({8}));
  CHECK(Random(1).split(3, 5).uniform({8}) == Random(1).split(3, 5).uniform({8}));
  CHECK(Random(1).split(0).uniform({8}) != Random(1).uniform({8}));
}

TEST_CASE("moments of the distributions") {
  constexpr Index n = 1 << 20;
  Random random(5);
  const auto moments = [](const Tensor<double>& x) {
    const double mean = x.array().mean();
    return std::pair(mean, (x.array() - mean).square().mean());
  };
  auto [mean, variance] = moments(random.uniform({n}, -1.f, 3.f).cast<double>());
  CHECK(std::abs(mean - 1) < 0.01);
  CHECK(std::abs(variance - 16.0 / 12) < 0.01);
  std::tie(mean, variance) = moments(random.normal({n}, 2.f, 3.f).cast<double>());
  CHECK(std::abs(mean - 2) < 0.015);
  CHECK(std::abs(variance - 9) < 0.06);
  const auto z = random.normal<double>({n});
  CHECK(std::abs(z.array().cube().mean()) < 0.02);
  CHECK(std::abs(z.array().pow(4).mean() - 3) < 0.05);
  CHECK(std::abs(static_cast<double>((z.array().abs() < 1.959964).count()) / n - 0.95) < 0.002);
  CHECK(std::abs(random.bernoulli({n}, 0.25).cast<double>().array().mean() - 0.25) < 0.003);
  const auto u = random.uniform({n});
  CHECK(u.array().minCoeff() >= 0);
  CHECK(u.array().maxCoeff() < 1);
  CHECK(random.bernoulli({100}, 0).array().sum() == 0);
  CHECK(random.bernoulli({100}, 1).array().sum() == 100);
}

TEST_CASE("the beta distribution, by its distribution function where that is a formula") {
  Random random(8);
  const auto draw = [&](double a, double b) {
    std::vector<double> values;
    for (int i = 0; i < 10'000; ++i) values.push_back(random.beta(a, b));
    return values;
  };
  CHECK(kolmogorov_smirnov(draw(1, 1), [](double x) { return x; }) > 0.01);
  CHECK(kolmogorov_smirnov(draw(3, 1), [](double x) { return x * x * x; }) > 0.01);
  CHECK(kolmogorov_smirnov(draw(1, 0.2), [](double x) { return 1 - std::pow(1 - x, 0.2); }) > 0.01);
  CHECK(kolmogorov_smirnov(draw(2, 2), [](double x) { return x * x * (3 - 2 * x); }) > 0.01);
  CHECK(kolmogorov_smirnov(draw(0.5, 0.5), [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }) >
        0.01);
  CHECK(kolmogorov_smirnov(draw(2, 2), [](double x) { return x; }) < 1e-6);  // the test can fail
  for (int i = 0; i < 1000; ++i) {
    const double x = random.beta(1e-4, 1e-4);  // nearly always at an end
    CHECK((x >= 0 && x <= 1));
  }
  CHECK_THROWS_WITH_AS(random.beta(0, 1), "Random::beta: expected a and b above 0, got 0 and 1", ValueError);
}

TEST_CASE("permutations hold every index once, in every order about equally often") {
  auto order = Random(3).permutation(1000);
  CHECK(order != Random(4).permutation(1000));
  std::sort(order.begin(), order.end());
  for (Index i = 0; i < 1000; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
  int counts[6] = {};
  Random random(1);
  for (int i = 0; i < 6000; ++i) {
    const auto p = random.permutation(3);
    ++counts[p[0] * 2 + (p[1] > p[2])];
  }
  for (int count : counts) CHECK(std::abs(count - 1000) < 120);
  CHECK(random.permutation(0).empty());
}

TEST_CASE("manual_seed restarts the default generator") {
  manual_seed(9);
  const auto first = default_random().uniform({3});
  manual_seed(9);
  CHECK(default_random().uniform({3}) == first);
}

TEST_CASE("misuse is named") {
  CHECK_THROWS_WITH_AS(Random().bernoulli({2}, 1.5), "Random::bernoulli: expected a probability in [0, 1], got 1.5",
                       ValueError);
  CHECK_THROWS_WITH_AS(Random().below(0), "Random::below: expected n >= 1, got 0", ValueError);
}
