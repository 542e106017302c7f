#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lamina/core/random.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/adversarial.hpp"
#include "lamina/train/generative.hpp"

using namespace lamina;

namespace {

/// sin(a i + b j² + i j / 10) + cos(0.37 i (j + 1)) (j mod 3) / 2, and b more in column 2.
Tensor<double> features(Index n, Index d, double a, double b) {
  Tensor<double> result({n, d});
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < d; ++j) {
      const auto x = static_cast<double>(i), y = static_cast<double>(j);
      result(i, j) = std::sin(a * x + b * y * y + 0.1 * x * y) +
                     0.5 * std::cos(0.37 * x * (y + 1)) * static_cast<double>(j % 3) + (j == 2 ? b : 0);
    }
  return result;
}

Values<float> alone(const Tensor<float>& x) { return Values<float>(x); }

}  // namespace

TEST_CASE("Fréchet distance, precision and recall as numpy computes them") {
  // The roots of numpy.linalg.eigvals(numpy.cov(x.T) @ numpy.cov(y.T)), and the distances of all pairs, k = 1, 3, 5.
  struct Row {
    Index n, m, d;
    double distance, tolerance;
    double precision[3], recall[3];
  };
  for (const Row& row : {
           Row{50, 40, 7, 0.3055271217330606, 1e-9, {0.825, 1, 1}, {0.8, 0.96, 0.98}},
           Row{300,
               280,
               33,
               0.7801183133439977,
               1e-8,
               {32.0 / 280, 201.0 / 280, 260.0 / 280},
               {0.11, 217.0 / 300, 0.92}},
           Row{12, 15, 20, 9.372872747553576, 1e-5, {0.8, 1, 1}, {0.5, 1, 1}},
       }) {
    CAPTURE(row.d);
    const Tensor<double> x = features(row.n, row.d, 0.9, 0.3), y = features(row.m, row.d, 1.1, 0.5);
    CHECK(frechet_distance(x, y) == doctest::Approx(row.distance).epsilon(row.tolerance));
    CHECK(frechet_distance(y, x) == doctest::Approx(row.distance).epsilon(row.tolerance));
    CHECK(std::abs(frechet_distance(x, x)) < 1e-5);
    for (int i = 0; i < 3; ++i) {
      const PrecisionRecall got = precision_recall(x, y, {.neighbours = 2 * i + 1});
      CHECK(got.precision == doctest::Approx(row.precision[i]));
      CHECK(got.recall == doctest::Approx(row.recall[i]));
    }
  }
  const Tensor<double> x = features(60, 5, 0.9, 0.3);
  CHECK(precision_recall(x, x).precision == 1);
  Tensor<double> moved(x.shape(), x.values());
  for (double& value : moved.values()) value += 2;
  CHECK(frechet_distance(x, moved) == doctest::Approx(20));
  CHECK(frechet_distance(x.cast<float>(), moved.cast<float>()) == doctest::Approx(20).epsilon(1e-4));
}

TEST_CASE("errors of the measures of generated samples") {
  CHECK_THROWS_WITH_AS(feature_moments(Tensor<float>({1, 3})),
                       "feature_moments: expected features [N, D] of at least 2 samples, got shape [1, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(frechet_distance(Tensor<float>::ones({4, 3}), Tensor<float>::ones({4, 2})),
                       "frechet_distance: expected moments of equally many features, got covariances of shapes "
                       "[3, 3] and [2, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(frechet_distance(Tensor<float>::full({4, 3}, std::numeric_limits<float>::quiet_NaN()),
                                        Tensor<float>::ones({4, 3})),
                       "frechet_distance: the features are not finite", NumericalError);
  CHECK_THROWS_WITH_AS(precision_recall(Tensor<float>::ones({4, 3}), Tensor<float>::ones({5, 3}), {.neighbours = 4}),
                       "precision_recall: neighbours must be at least 1 and below the number of samples, got 4",
                       ValueError);
  CHECK_THROWS_WITH_AS(precision_recall(Tensor<float>::ones({4, 3}), Tensor<float>::ones({5, 2})),
                       "precision_recall: expected equally many features, got shapes [4, 3] and [5, 2]", ShapeError);
}

TEST_CASE("adversarial steps bring a generator to a distribution, and leave the discriminator alone") {
  manual_seed(1);
  Sequential<float> generator{Linear(2, 16), ReLU(), Linear(16, 2)},
      discriminator{Linear(2, 32), ReLU(), Linear(32, 32), ReLU(), Linear(32, 1)};
  Adam<float> first(parameters(generator), {.lr = 1e-3, .betas = {0.5, 0.9}}),
      second(parameters(discriminator), {.lr = 2e-3, .betas = {0.5, 0.9}});
  Random random(5);
  const auto real = [&](Index n) {
    Tensor<float> x = random.normal<float>({n, 2}, 0, 0.3f);
    for (Index i = 0; i < n; ++i) x(i, 0) += 1.5f;
    return x;
  };
  StateDict<float> average;
  Tape tape;
  DiscriminatorStep last{};
  for (int step = 0; step < 1500; ++step) {
    const Tensor<float> fake = generator(random.normal<float>({64, 2}));
    last = discriminator_step<float>(discriminator, second, alone(real(64)), alone(fake), tape);
    const auto before = step == 0 ? state_dict(std::as_const(discriminator)) : StateDict<float>{};
    generator_step<float>(generator, discriminator, first, alone(random.normal<float>({64, 2})), alone, tape);
    if (step == 0) {
      CHECK(before == state_dict(std::as_const(discriminator)));
      for (const auto& [name, parameter, owner] : parameters(discriminator)) CHECK(parameter->requires_grad);
    }
    move_average<float>(average, generator, 0.99);
  }
  CHECK(tape.empty());
  CHECK(std::isfinite(last.loss));
  Sequential<float> averaged = generator;
  load_state_dict(averaged, average);
  const Tensor<float> samples = averaged(random.normal<float>({2000, 2}));
  const FeatureMoments moments = feature_moments(samples);
  CHECK(moments.mean(0) == doctest::Approx(1.5).epsilon(0.2));
  CHECK(std::abs(moments.mean(1)) < 0.3);
  CHECK(frechet_distance(real(2000), samples) < 0.15);
}

TEST_CASE("a loss that is no number stops before the optimiser's step") {
  manual_seed(2);
  Sequential<float> generator{Linear(2, 2)}, discriminator{Linear(2, 1)};
  SUBCASE("of the discriminator") { discriminator.get<Linear<float>>(0).bias.value.fill(NAN); }
  SUBCASE("of the generator") { generator.get<Linear<float>>(0).bias.value.fill(NAN); }
  Adam<float> first(parameters(generator), {}), second(parameters(discriminator), {});
  const auto before = state_dict(std::as_const(discriminator));
  Tape tape;
  const Tensor<float> x = Tensor<float>::ones({3, 2});
  CHECK_THROWS_WITH_AS((generator_step<float>(generator, discriminator, first, alone(x), alone, tape)),
                       "generator_step: the loss is nan", NumericalError);
  CHECK(tape.empty());
  CHECK_THROWS_WITH_AS((discriminator_step<float>(discriminator, second, alone(x), alone(generator(x)), tape)),
                       "discriminator_step: the loss is nan", NumericalError);
  CHECK(tape.empty());
  const auto same = state_dict(std::as_const(discriminator));
  CHECK(std::get<Tensor<float>>(same[0].second) == std::get<Tensor<float>>(before[0].second));
  StateDict<float> average;
  CHECK_THROWS_WITH_AS(move_average<float>(average, generator, 1), "move_average: decay must be in [0, 1), got 1",
                       ValueError);
}

TEST_CASE("the average moves what is learned, and takes the rest as it is") {
  manual_seed(3);
  Sequential<float> net{Linear(1, 1), Linear(1, 1, {.bias = false})};
  StateDict<float> average;
  const auto set = [&](float value) {
    for (const auto& [name, parameter, owner] : parameters(net)) parameter->value.fill(value);
  };
  set(1);
  move_average<float>(average, net, 0.5);
  set_requires_grad(net[1], false);
  set(3);
  move_average<float>(average, net, 0.5);
  const auto at = [&](std::size_t i) { return std::get<Tensor<float>>(average[i].second).values()[0]; };
  CHECK(at(0) == 2);
  CHECK(at(1) == 2);
  CHECK(at(2) == 3);
}
