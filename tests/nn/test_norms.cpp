#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "lamina/nn/add.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/checkpoint.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/group_norm.hpp"
#include "lamina/nn/instance_norm.hpp"
#include "lamina/nn/layer_norm.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/rms_norm.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_norms {

namespace {

constexpr std::uint64_t seed = 20240612;

struct Normalized {
  Tensor<double> y, dx, weight_grad, bias_grad, mean, variance;
};

/// The definition, with the derivative of y = (x - mean) / sqrt(variance + eps) * weight + bias written out:
/// group(i) says with which others element i is normalised, slot(i) which weight it has.
template <class Group, class Slot>
Normalized naive(const Tensor<double>& x, const Tensor<double>& dy, Index groups, const Tensor<double>& weight,
                 const Tensor<double>& bias, double eps, Group group, Slot slot) {
  Normalized r{Tensor<double>(x.shape()),
               Tensor<double>(x.shape()),
               Tensor<double>::zeros(weight.shape()),
               Tensor<double>::zeros(weight.shape()),
               Tensor<double>::zeros({groups}),
               Tensor<double>::zeros({groups})};
  std::vector<double> count(static_cast<std::size_t>(groups)), g_sum(count), gx_sum(count);
  const auto at = [](Index i) { return static_cast<std::size_t>(i); };
  const auto square = [](double v) { return v * v; };
  for (Index i = 0; i < x.numel(); ++i) {
    r.mean.data()[group(i)] += x.data()[i];
    count[at(group(i))] += 1;
  }
  for (Index k = 0; k < groups; ++k) r.mean.data()[k] /= count[at(k)];
  for (Index i = 0; i < x.numel(); ++i) r.variance.data()[group(i)] += square(x.data()[i] - r.mean(group(i)));
  for (Index k = 0; k < groups; ++k) r.variance.data()[k] /= count[at(k)];
  const auto normalized = [&](Index i) {
    return (x.data()[i] - r.mean(group(i))) / std::sqrt(r.variance(group(i)) + eps);
  };
  for (Index i = 0; i < x.numel(); ++i) {
    r.y.data()[i] = normalized(i) * weight.data()[slot(i)] + bias.data()[slot(i)];
    r.weight_grad.data()[slot(i)] += dy.data()[i] * normalized(i);
    r.bias_grad.data()[slot(i)] += dy.data()[i];
    g_sum[at(group(i))] += dy.data()[i] * weight.data()[slot(i)];
    gx_sum[at(group(i))] += dy.data()[i] * weight.data()[slot(i)] * normalized(i);
  }
  for (Index i = 0; i < x.numel(); ++i) {
    const std::size_t k = at(group(i));
    r.dx.data()[i] =
        (dy.data()[i] * weight.data()[slot(i)] - g_sum[k] / count[k] - normalized(i) * gx_sum[k] / count[k]) /
        std::sqrt(r.variance(group(i)) + eps);
  }
  return r;
}

Normalized naive_batch_norm(const Tensor<double>& x, const Tensor<double>& dy, const Tensor<double>& weight,
                            const Tensor<double>& bias, double eps) {
  const Index length = x.shape().product(2, x.rank()), channels = x.dim(1);
  const auto channel = [=](Index i) { return i / length % channels; };
  return naive(x, dy, channels, weight, bias, eps, channel, channel);
}

Normalized naive_layer_norm(const Tensor<double>& x, const Tensor<double>& dy, const Tensor<double>& weight,
                            const Tensor<double>& bias, double eps) {
  const Index n = weight.numel();
  return naive(
      x, dy, x.numel() / n, weight, bias, eps, [=](Index i) { return i / n; }, [=](Index i) { return i % n; });
}

double worst(const auto& a, const Tensor<double>& b) {
  return testing::worst_difference(a.template cast<double>(), b).error;
}

/// Values that single precision holds exactly.
Tensor<double> normal(Random& random, const Shape& shape, double mean = 0, double deviation = 1) {
  return random.normal<float>(shape, static_cast<float>(mean), static_cast<float>(deviation)).cast<double>();
}

template <class Scalar, class L>
void check_against(L layer, const Tensor<double>& x, const Tensor<double>& dy, const Tensor<double>& weight,
                   const Tensor<double>& bias, const Normalized& expected, double tolerance) {
  CAPTURE(layer.name());
  CAPTURE(x.shape().to_string());
  CAPTURE(seed);
  layer.weight.value = weight.cast<Scalar>();
  layer.bias.value = bias.cast<Scalar>();
  Tape tape;
  const Tensor<Scalar> y = layer.forward(x.cast<Scalar>(), tape);
  const Tensor<Scalar> dx = layer.backward(dy.cast<Scalar>(), tape);
  CHECK(worst(y, expected.y) <= tolerance);
  CHECK(worst(dx, expected.dx) <= tolerance);
  // Sums over many elements: relative to what is summed.
  const double terms = std::sqrt(static_cast<double>(x.numel()));
  CHECK(worst(layer.weight.grad, expected.weight_grad) <= tolerance * terms);
  CHECK(worst(layer.bias.grad, expected.bias_grad) <= tolerance * terms);
}

/// Frozen, and without need of dx, a net takes its forward back all the same.
void net_discards(Sequential<float> net, const Tensor<float>& x) {
  set_requires_grad(net, false);
  Tape tape;
  const auto y = net.forward(x, tape);
  CHECK(net.backward(y, tape, InputGrad::skip).empty());
  CHECK(tape.empty());
}

Shape batch_shape(Random& random, int rank) {
  const auto between = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  const Index n = between(4, 9), c = random.below(4) == 0 ? between(250, 300) : between(1, 40);
  if (rank == 2) return {random.below(4) == 0 ? between(250, 600) : n, c};
  if (rank == 3) return {n, c, between(1, 50)};
  return {n, std::min<Index>(c, 20), between(1, 9), between(1, 20)};
}

}  // namespace

TEST_CASE("batch norm equals its naive twin") {
  Random random(seed);
  for (int i = 0; i < 120; ++i) {
    const int rank = 2 + i % 3;
    const Shape shape = batch_shape(random, rank);
    const Tensor<double> x = normal(random, shape, 3, 2), dy = normal(random, shape);
    const Tensor<double> weight = normal(random, {shape[1]}), bias = normal(random, {shape[1]});
    const double eps = i % 2 ? 1e-5 : 0.1;
    const Normalized expected = naive_batch_norm(x, dy, weight, bias, eps);
    const auto check = [&](auto single, auto exact) {
      check_against<double>(exact, x, dy, weight, bias, expected, 1e-11);
      check_against<float>(single, x, dy, weight, bias, expected, 3e-5);
    };
    if (rank == 4)
      check(BatchNorm2d<float>(shape[1], {.eps = eps}), BatchNorm2d<double>(shape[1], {.eps = eps}));
    else
      check(BatchNorm1d<float>(shape[1], {.eps = eps}), BatchNorm1d<double>(shape[1], {.eps = eps}));
  }
}

TEST_CASE("batch norm is accurate in single precision: large means, outliers, many values") {
  Random random(seed);
  for (const Shape& shape : {Shape{4, 3, 200, 131}, Shape{300, 3, 7, 7}, Shape{2, 1, 512, 512}}) {
    CAPTURE(shape.to_string());
    Tensor<double> x = normal(random, shape, 1000, 1);
    x.data()[0] = 4000;
    const Tensor<double> dy = normal(random, shape);
    const auto ones = Tensor<double>::ones({shape[1]}), zeros = Tensor<double>::zeros({shape[1]});
    const Normalized expected = naive_batch_norm(x, dy, ones, zeros, 1e-5);
    BatchNorm2d layer(shape[1], {.momentum = 1});
    Tape tape;
    const Tensor<float> y = layer.forward(x.cast<float>(), tape);
    const double count = static_cast<double>(x.numel() / shape[1]);
    Tensor<double> unbiased = expected.variance;
    unbiased *= count / (count - 1);
    CHECK(worst(layer.running_mean, expected.mean) < 1e-7);
    CHECK(worst(layer.running_var, unbiased) < 2e-6);
    CHECK(worst(y, expected.y) < 1e-4);  // a unit in the last place of 1000 is 6e-5
  }
}

TEST_CASE("batch norm keeps running statistics as PyTorch does, and infers with them") {
  const Tensor<double> first({3, 2}, {1, 10, 2, 20, 6, 60}), second({2, 2}, {4, 1, 8, 3});
  // Means 3 and 30, unbiased variances 7 and 700; then 6 and 2, 8 and 2.
  BatchNorm1d<double> layer(2);
  Tape tape;
  layer.forward(first, tape);
  CHECK(worst(layer.running_mean, Tensor<double>({2}, {0.3, 3})) < 1e-15);
  CHECK(worst(layer.running_var, Tensor<double>({2}, {0.9 + 0.7, 0.9 + 70})) < 1e-15);
  layer.forward(second, tape);
  CHECK(worst(layer.running_mean, Tensor<double>({2}, {0.27 + 0.6, 2.7 + 0.2})) < 1e-15);
  CHECK(layer.num_batches_tracked.item() == 2);

  BatchNorm1d<double> cumulative(2, {.momentum = std::nullopt});
  cumulative.forward(first, tape);
  cumulative.forward(second, tape);
  CHECK(worst(cumulative.running_mean, Tensor<double>({2}, {4.5, 16})) < 1e-15);
  CHECK(worst(cumulative.running_var, Tensor<double>({2}, {7.5, 351})) < 1e-15);

  cumulative.weight.value = Tensor<double>({2}, {2, -1});
  cumulative.bias.value = Tensor<double>({2}, {0.5, 3});
  const Tensor<double> y = cumulative.infer(second);
  CHECK(y(0, 0) == doctest::Approx((4 - 4.5) / std::sqrt(7.5 + 1e-5) * 2 + 0.5).epsilon(1e-14));
  CHECK(y(1, 1) == doctest::Approx((3 - 16.0) / std::sqrt(351 + 1e-5) * -1 + 3).epsilon(1e-14));

  BatchNorm1d<double> untracked(2, {.track_running_stats = false});
  CHECK(untracked.members().size() == 2);
  CHECK(worst(untracked.infer(first), untracked.forward(first, tape)) == 0);
  CHECK(BatchNorm1d<double>(2, {.affine = false}).members().size() == 3);
  std::vector<std::string> keys;
  for (const auto& [key, value] : state_dict(layer)) keys.push_back(key);
  CHECK(keys == std::vector<std::string>{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"});
}

TEST_CASE("batch norm does not hide a NaN") {
  for (const Shape& shape : {Shape{4, 3}, Shape{2, 3, 20}}) {
    auto x = Tensor<float>::ones(shape);
    x.data()[1 * shape.product(2, shape.rank())] = std::numeric_limits<float>::quiet_NaN();  // channel 1
    BatchNorm1d layer(3);
    Tape tape;
    layer.forward(x, tape);
    CHECK(layer.running_var(0) == doctest::Approx(0.9));
    CHECK(std::isnan(layer.running_mean(1)));
    CHECK(std::isnan(layer.running_var(1)));
  }
}

TEST_CASE("layer norm equals its naive twin") {
  Random random(seed);
  for (int i = 0; i < 150; ++i) {
    const Index n = i < 80 ? i + 1 : 1 + random.below(2000);
    const Shape shape{1 + random.below(3), 1 + random.below(20), n};
    const Tensor<double> x = normal(random, shape, 3, 2), dy = normal(random, shape);
    const Tensor<double> weight = normal(random, {n}), bias = normal(random, {n});
    const Normalized expected = naive_layer_norm(x, dy, weight, bias, 0.01);
    check_against<double>(LayerNorm<double>(n, {.eps = 0.01}), x, dy, weight, bias, expected, 1e-11);
    check_against<float>(LayerNorm<float>(n, {.eps = 0.01}), x, dy, weight, bias, expected, 3e-5);
  }
  const Tensor<double> x = normal(random, {3, 2, 4, 5}), dy = normal(random, {3, 2, 4, 5});
  const Tensor<double> weight = normal(random, {2, 4, 5}), bias = normal(random, {2, 4, 5});
  check_against<double>(LayerNorm<double>({2, 4, 5}), x, dy, weight, bias, naive_layer_norm(x, dy, weight, bias, 1e-5),
                        1e-12);
}

TEST_CASE("group norm equals its naive twin, and layer norm or instance norm where they are one") {
  Random random(seed);
  for (int i = 0; i < 60; ++i) {
    const Index groups = 1 + random.below(4), channels = groups * (1 + random.below(4));
    const Shape shape{1 + random.below(4), channels, 1 + random.below(9), 2 + random.below(20)};
    const Tensor<double> x = normal(random, shape, 3, 2), dy = normal(random, shape);
    const Tensor<double> weight = normal(random, {channels}), bias = normal(random, {channels});
    const Index pixels = shape[2] * shape[3], n = channels / groups * pixels;
    const Normalized expected = naive(
        x, dy, shape[0] * groups, weight, bias, 0.01, [=](Index at) { return at / n; },
        [=](Index at) { return at / pixels % channels; });
    check_against<double>(GroupNorm<double>(groups, channels, {.eps = 0.01}), x, dy, weight, bias, expected, 1e-11);
    check_against<float>(GroupNorm<float>(groups, channels, {.eps = 0.01}), x, dy, weight, bias, expected, 3e-5);
    if (groups == channels)
      check_against<float>(InstanceNorm2d<float>(channels, {.eps = 0.01, .affine = true}), x, dy, weight, bias,
                           expected, 3e-5);
  }
}

TEST_CASE("frozen instance norm takes its running statistics, and backward through them") {
  InstanceNorm2d<double> layer(3, {.affine = true, .track_running_stats = true});
  Random random(seed);
  const Tensor<double> x = random.normal<double>({2, 3, 4, 5});
  Tape tape;
  layer.forward(x, tape);
  layer.backward(x, tape);
  freeze(layer);
  const Tensor<double> mean = layer.running_mean, y = layer.infer(x);
  CHECK(layer.forward(x, tape) == y);
  CHECK(layer.running_mean == mean);
  const Tensor<double> dx = layer.backward(Tensor<double>::ones(x.shape()), tape);
  const double slope = 1 / std::sqrt(layer.running_var(1) + 1e-5);
  CHECK(dx(0, 1, 2, 3) == doctest::Approx(slope).epsilon(1e-12));
}

TEST_CASE("normalisation layers conform") {
  const ConformanceOptions training_differs{.training_differs = true};
  CHECK(conforms(BatchNorm2d<double>(3), {3, 3, 4, 5}, training_differs));
  CHECK(conforms(BatchNorm2d<double>(2, {.eps = 0.1, .momentum = std::nullopt}), {2, 2, 1, 17}, training_differs));
  CHECK(conforms(BatchNorm2d<double>(2, {.affine = false}), {1, 2, 3, 3}, training_differs));
  CHECK(conforms(BatchNorm2d<double>(2, {.track_running_stats = false}), {2, 2, 3, 3}, {.batched = false}));
  CHECK(conforms(BatchNorm2d<double>(3, {.affine = false, .track_running_stats = false}), {4, 3, 1, 1},
                 {.batched = false}));
  CHECK(conforms(BatchNorm1d<double>(9), {6, 9}, training_differs));
  CHECK(conforms(BatchNorm1d<double>(3), {4, 3, 5}, training_differs));
  CHECK(conforms(LayerNorm<double>(7), {3, 7}));
  CHECK(conforms(LayerNorm<double>({3, 5}), {2, 3, 5}));
  CHECK(conforms(LayerNorm<double>(19, {.eps = 0.1, .bias = false}), {2, 2, 19}));
  CHECK(conforms(LayerNorm<double>(5, {.elementwise_affine = false}), {4, 5}));
  CHECK(conforms(LayerNorm<double>(9), {9}));
  CHECK(conforms(LayerNorm<double>(4), {0, 4}));
  CHECK(conforms(GroupNorm<double>(2, 4), {3, 4, 3, 5}));
  CHECK(conforms(GroupNorm<double>(4, 4, {.affine = false}), {3, 4, 7}));
  CHECK(conforms(GroupNorm<double>(1, 4, {.eps = 0.1}), {3, 4}));
  CHECK(conforms(GroupNorm<double>(1, 2), {0, 2, 3}));
  CHECK(conforms(InstanceNorm2d<double>(4), {3, 4, 3, 5}));
  CHECK(conforms(InstanceNorm2d<double>(2, {.eps = 0.1, .affine = true}), {1, 2, 1, 19}));
  CHECK(conforms(InstanceNorm2d<double>(4, {.affine = true, .track_running_stats = true}), {3, 4, 3, 5},
                 training_differs));
  CHECK(conforms(RMSNorm<double>(7), {3, 7}));
  CHECK(conforms(RMSNorm<double>({3, 5}, {.eps = 0.1, .elementwise_affine = false}), {2, 3, 5}));
  CHECK(conforms(RMSNorm<double>(4), {0, 4}));
  CHECK(conforms(LocalResponseNorm<double>(5, {.alpha = 1}), {2, 8, 3, 4}));
  CHECK(conforms(LocalResponseNorm<double>(4, {.alpha = 2, .beta = 0.4, .k = 0.3}), {1, 5, 2, 9}));
  CHECK(conforms(LocalResponseNorm<double>(3, {.alpha = 1}), {2, 3, 0}));
  CHECK(conforms(LocalResponseNorm<double>(2, {.alpha = 1}), {1, 2, 700}));
}

TEST_CASE("batch norm's moments do not suffer from what comes first: other means, constants, sequences of any length") {
  Random random(seed);
  for (const Shape& shape : {Shape{2, 3, 70000}, Shape{40, 5, 300}, Shape{900, 21}}) {
    CAPTURE(shape.to_string());
    Tensor<double> x = normal(random, shape, 1000, 1);
    const Index quarter = x.numel() / 4;
    std::fill_n(x.data(), quarter, -1000.0);  // whole samples, or the black border of an image
    const Tensor<double> dy = normal(random, shape);
    const auto ones = Tensor<double>::ones({shape[1]}), zeros = Tensor<double>::zeros({shape[1]});
    const Normalized expected = naive_batch_norm(x, dy, ones, zeros, 1e-5);
    BatchNorm1d layer(shape[1], {.momentum = 1});
    Tape tape;
    layer.forward(x.cast<float>(), tape);
    const double count = static_cast<double>(x.numel() / shape[1]);
    Tensor<double> unbiased = expected.variance;
    unbiased *= count / (count - 1);
    CHECK(worst(layer.running_mean, expected.mean) < 1e-5);  // of numbers of 1000
    CHECK(worst(layer.running_var, unbiased) < 1e-6);
  }
}

TEST_CASE("batch norm applies the activation behind it: the same bits as one after the other") {
  Random random(seed);
  const auto check = [&](const auto& norm, const auto& activation, const Shape& shape) {
    CAPTURE(norm.name());
    CAPTURE(activation.name());
    CAPTURE(shape.to_string());
    Sequential fused{norm, activation}, nested{Sequential{norm}, activation};
    auto first = norm;
    auto second = activation;
    const auto draw = [&](const Shape& s) { return random.normal(s); };
    using Norm = std::decay_t<decltype(norm)>;
    first.weight.value = fused.template get<Norm>(0).weight.value = draw({shape[1]});
    first.bias.value = fused.template get<Norm>(0).bias.value = draw({shape[1]});
    nested.template get<Sequential<float>>(0).template get<Norm>(0) = first;
    auto x = draw(shape);
    x *= 3;
    x.data()[0] = std::numeric_limits<float>::quiet_NaN();
    const auto dy = draw(shape);
    Tape tape, fused_tape, nested_tape;
    const auto y = second.forward(first.forward(x, tape), tape);
    const auto dx = first.backward(second.backward(dy, tape), tape);
    for (auto [net, record] : {std::pair(&fused, &fused_tape), std::pair(&nested, &nested_tape)}) {
      CHECK(net->forward(x, *record) == y);
      CHECK(net->backward(dy, *record) == dx);
      CHECK(record->empty());
      CHECK(net->infer(x) == second.infer(first.infer(x)));
      const auto grads = parameters(*net);
      CHECK(grads[0].parameter->grad == first.weight.grad);
      CHECK(grads[1].parameter->grad == first.bias.grad);
    }
    CHECK(state_dict(fused).size() == state_dict(first).size());
    net_discards(fused, x);
  };
  for (const Shape& shape : {Shape{4, 3, 5, 7}, Shape{2, 9, 1, 1}, Shape{3, 2, 40, 41}}) {
    check(BatchNorm2d(shape[1]), ReLU(), shape);
    check(BatchNorm2d(shape[1]), ReLU6(), shape);
    check(BatchNorm2d(shape[1], {.track_running_stats = false}), ReLU(), shape);
    check(BatchNorm2d(shape[1]), Tanh(), shape);
  }
  check(BatchNorm1d(150), ReLU(), {30, 150});
  check(BatchNorm1d(3), ReLU6(), {4, 3, 11});
}

TEST_CASE("a fused activation shows in nothing but speed") {
  const ConformanceOptions training_differs{.training_differs = true, .offset = 0.3};
  using S = Sequential<double>;
  CHECK(conforms(S{BatchNorm2d<double>(3), ReLU<double>()}, {3, 3, 4, 5}, training_differs));
  CHECK(conforms(S{S{BatchNorm1d<double>(3), ReLU6<double>(), BatchNorm1d<double>(3)}, ReLU<double>()}, {5, 3, 2},
                 training_differs));
  Sequential net{BatchNorm2d(3), ReLU(), Sequential{BatchNorm2d(3)}, ReLU()};
  CHECK(record(net, {2, 3, 4, 4}).scopes.size() == 6);
  CHECK(net.get<ReLU<float>>(1).name() == "ReLU()");
  // The tape's errors: in the order of the forwards that it saw.
  const auto x = Random(seed).normal({2, 3, 4, 4});
  Tape tape;
  net.forward(x, tape);
  CHECK_THROWS_WITH_AS(net.backward(x.reshape({6, 16}), tape),
                       doctest::Contains("backward expected a gradient of shape [2, 3, 4, 4], got shape [6, 16]"),
                       ShapeError);
  CHECK(tape.empty());
  net.forward(x, tape);
  CHECK_THROWS_AS(net[3].backward(x, tape), StateError);
}

TEST_CASE("normalisation gives the same bits for any number of threads") {
  Random random(seed);
  const auto run = [&](auto layer, const Tensor<float>& x, int threads) {
    const int before = num_threads();
    set_num_threads(threads);
    Tape tape;
    Tensor<float> y = layer.forward(x, tape);
    Tensor<float> dx = layer.backward(x, tape);
    Tensor<float> inferred = layer.infer(x);
    set_num_threads(before);
    return std::vector{y, dx, inferred, layer.weight.grad, layer.bias.grad};
  };
  const Tensor<float> images = random.normal({20, 30, 25, 23}), features = random.normal({2000, 300});
  CHECK(run(BatchNorm2d(30), images, 1) == run(BatchNorm2d(30), images, 4));
  CHECK(run(BatchNorm1d(300), features, 1) == run(BatchNorm1d(300), features, 4));
  CHECK(run(LayerNorm(300), features, 1) == run(LayerNorm(300), features, 4));
  CHECK(run(GroupNorm(5, 30), images, 1) == run(GroupNorm(5, 30), images, 4));
  CHECK(run(InstanceNorm2d(30, {.affine = true}), images, 1) == run(InstanceNorm2d(30, {.affine = true}), images, 4));
}

TEST_CASE("frozen affine parameters get no gradient") {
  BatchNorm2d layer(3);
  layer.weight.requires_grad = false;
  Random random(seed);
  const Tensor<float> x = random.normal({2, 3, 4, 4});
  Tape tape;
  layer.forward(x, tape);
  CHECK(!layer.backward(x, tape).empty());
  CHECK(layer.weight.grad.empty());
  CHECK(!layer.bias.grad.empty());
}

TEST_CASE("normalisation layers name themselves and what is wrong") {
  CHECK(BatchNorm2d(64).name() == "BatchNorm2d(64)");
  CHECK(BatchNorm1d(8, {.eps = 0.001, .momentum = 0.2, .affine = false, .track_running_stats = false}).name() ==
        "BatchNorm1d(8, eps=0.001, momentum=0.2, affine=false, track_running_stats=false)");
  CHECK(BatchNorm1d(8, {.momentum = std::nullopt}).name() == "BatchNorm1d(8, momentum=none)");
  CHECK(LayerNorm(64).name() == "LayerNorm(64)");
  CHECK(LayerNorm({3, 4}, {.eps = 0.1, .bias = false}).name() == "LayerNorm([3, 4], eps=0.1, bias=false)");

  CHECK(LocalResponseNorm(5, {.alpha = 5e-4, .beta = 0.5, .k = 2}).name() ==
        "LocalResponseNorm(5, alpha=0.0005, beta=0.5, k=2)");
  CHECK_THROWS_WITH_AS(LocalResponseNorm(0), "LocalResponseNorm(0): size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(LocalResponseNorm(3, {.k = -1}), "LocalResponseNorm(3, k=-1): alpha and k must not be negative",
                       ValueError);
  CHECK_THROWS_WITH_AS(LocalResponseNorm(3).output_shape({3, 4}),
                       "LocalResponseNorm(3): expected an input [N, C, ...] of rank 3 or more, got shape [3, 4]",
                       ShapeError);

  CHECK(GroupNorm(2, 6, {.affine = false}).name() == "GroupNorm(2, 6, affine=false)");
  CHECK(InstanceNorm2d(6, {.affine = true}).name() == "InstanceNorm2d(6, affine=true)");
  CHECK(RMSNorm(6).name() == "RMSNorm(6)");
  CHECK(RMSNorm({2, 6}, {.eps = 0.1}).name() == "RMSNorm([2, 6], eps=0.1)");
  CHECK_THROWS_WITH_AS(GroupNorm(4, 6), "GroupNorm(4, 6): the groups do not divide the channels", ValueError);
  CHECK_THROWS_WITH_AS(GroupNorm(0, 6), "GroupNorm(0, 6): groups and channels must be at least 1", ValueError);
  CHECK_THROWS_WITH_AS(GroupNorm(2, 6)(Tensor<float>({2, 4, 3})),
                       "GroupNorm(2, 6): expected [N, 6, ...], got shape [2, 4, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(InstanceNorm2d(2, {.momentum = 2}),
                       "InstanceNorm2d(2, momentum=2): momentum must be in [0, 1], got 2", ValueError);
  CHECK_THROWS_WITH_AS(InstanceNorm2d(2)(Tensor<float>({3, 2, 1, 1})),
                       "InstanceNorm2d(2): expected more than 1 pixel, got shape [3, 2, 1, 1]", ShapeError);
  CHECK_THROWS_WITH_AS(InstanceNorm2d(2)(Tensor<float>({3, 2, 4})),
                       "InstanceNorm2d(2): expected [N, 2, H, W], got shape [3, 2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(RMSNorm(2, {.eps = -1}), "RMSNorm(2, eps=-1): eps must not be negative, got -1", ValueError);
  CHECK_THROWS_WITH_AS(RMSNorm(5)(Tensor<float>({3, 4})), "RMSNorm(5): expected last axes [5], got shape [3, 4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(BatchNorm2d(0), "BatchNorm2d(0): num_features must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(BatchNorm2d(2, {.eps = -1}), "BatchNorm2d(2, eps=-1): eps must not be negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(BatchNorm2d(2, {.momentum = 1.5}),
                       "BatchNorm2d(2, momentum=1.5): momentum must be in [0, 1], got 1.5", ValueError);
  CHECK_THROWS_WITH_AS(LayerNorm(0), "LayerNorm(0): normalized_shape must not be empty, got [0]", ValueError);
  CHECK_THROWS_WITH_AS(LayerNorm(2, {.eps = -1}), "LayerNorm(2, eps=-1): eps must not be negative, got -1", ValueError);

  CHECK_THROWS_WITH_AS(BatchNorm2d(3).output_shape({3, 4, 4}),
                       "BatchNorm2d(3): expected an input [N, C, H, W], got shape [3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(BatchNorm1d(3).output_shape({3, 3, 4, 4}),
                       "BatchNorm1d(3): expected an input [N, C] or [N, C, L], got shape [3, 3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(BatchNorm2d(3).infer(Tensor<float>({1, 4, 2, 2})),
                       "BatchNorm2d(3): expected 3 channels, got shape [1, 4, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(LayerNorm({4, 5}).output_shape({4, 4}),
                       "LayerNorm([4, 5]): expected last axes [4, 5], got shape [4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(LayerNorm({4, 5}).output_shape({5}),
                       "LayerNorm([4, 5]): expected last axes [4, 5], got shape [5]", ShapeError);

  const char* const message =
      "BatchNorm2d(3): expected more than 1 value per channel when training, got shape [1, 3, 1, 1]";
  BatchNorm2d layer(3);
  Tape tape;
  CHECK_THROWS_WITH_AS(layer.forward(Tensor<float>::ones({1, 3, 1, 1}), tape), message, ShapeError);
  CHECK(layer.num_batches_tracked.item() == 0);
  CHECK_NOTHROW(layer.infer(Tensor<float>::ones({1, 3, 1, 1})));
  CHECK_THROWS_AS(layer.forward(Tensor<float>(Shape{0, 3, 2, 2}), tape), ShapeError);
  CHECK(layer.infer(Tensor<float>(Shape{0, 3, 2, 2})).shape() == Shape{0, 3, 2, 2});
}

namespace {

/// Norms, activations and convolutions that see the same values, alone and joined; the last one overwrites its own.
class Shared : public Block<Shared, double> {
 public:
  Conv2d<double> conv;
  BatchNorm2d<double> first, joined, last;
  Checkpoint<double> again;
  ReLU<double> relu;
  Tanh<double> tanh;
  Cat<double> cat;
  Add<double> add;
  Conv2d<double> narrow, point, around;

  explicit Shared(Index channels)
      : conv(3, channels, 3, {.padding = 1}),
        first(channels),
        joined(2 * channels),
        last(channels),
        again(BatchNorm2d<double>(channels)),
        narrow(2 * channels, channels, 1),
        point(channels, channels, 1),
        around(channels, channels, 3, {.padding = 1}) {}

  Members<double> members() override {
    return {{"conv", conv},   {"first", first},   {"joined", joined}, {"last", last},
            {"again", again}, {"narrow", narrow}, {"point", point},   {"around", around}};
  }
  Value<double> flow(Flow<double>& run, Value<double> x) const {
    Value<double> a = run(conv, std::move(x)), b = run(first, a);
    Value<double> sum = run(add, run(narrow, run(joined, run(cat, a, b))), run(again, a));
    sum = run(add, std::move(sum), run(tanh, a));
    sum = run(add, std::move(sum), b);
    sum = run(add, std::move(sum), run(point, b));
    sum = run(add, std::move(sum), run(around, b));
    return run(add, std::move(sum), run(last, run(relu, std::move(a))));
  }
};

}  // namespace

TEST_CASE("norms of one value know its moments, and add their gradients") {
  for (const Index channels : {Index{5}, Index{16}}) {  // in planes; in blocks
    CAPTURE(channels);
    manual_seed(seed);
    Shared net(channels);
    Random random(seed);
    for (auto& [name, parameter, owner] : parameters(net))
      parameter->value = random.normal<double>(parameter->value.shape());
    const Tensor<double> x = random.normal<double>({4, 3, 6, 5}), dy = random.normal<double>({4, channels, 6, 5});

    // The same, layer by layer.
    Shared twin = net;
    auto& again = static_cast<BatchNorm2d<double>&>(*std::get<Module<double>*>(twin.again.members()[0].part));
    Tape tape;
    const auto run = [&](auto& layer, const Tensor<double>& in) { return layer.forward(Values<double>(in), tape)[0]; };
    const Tensor<double> a = run(twin.conv, x), b = run(twin.first, a);
    const Tensor<double> both = twin.cat.forward(Values<double>(a, b), tape)[0];
    const Tensor<double> narrow = run(twin.narrow, run(twin.joined, both));
    const Tensor<double> repeated = run(again, a), curved = run(twin.tanh, a);
    const Tensor<double> pointwise = run(twin.point, b), around = run(twin.around, b);
    const Tensor<double> last = run(twin.last, run(twin.relu, a));
    Tensor<double> expected = narrow;
    for (const Tensor<double>* part : {&repeated, &curved, &b, &pointwise, &around, &last})
      for (Index i = 0; i < expected.numel(); ++i) expected.data()[i] += part->data()[i];
    const auto back = [&](auto& layer, const Tensor<double>& gradient) { return layer.backward(gradient, tape); };
    const auto plus = [](Tensor<double> sum, const Tensor<double>& other) {
      for (Index i = 0; i < sum.numel(); ++i) sum.data()[i] += other.data()[i];
      return sum;
    };
    Tensor<double> da = back(twin.relu, back(twin.last, dy));
    Tensor<double> db = plus(dy, back(twin.around, dy));
    db = plus(db, back(twin.point, dy));
    da = plus(da, back(twin.tanh, dy));
    da = plus(da, back(again, dy));
    const Few<Tensor<double>> parts =
        twin.cat.backward(Few<Tensor<double>>(back(twin.joined, back(twin.narrow, dy))), tape);
    da = plus(plus(da, parts[0]), back(twin.first, plus(db, parts[1])));
    const Tensor<double> dx = back(twin.conv, da);

    Tape own;
    CHECK(testing::worst_difference(net.forward(x, own), expected).error < 1e-11);
    CHECK(testing::worst_difference(net.backward(dy, own), dx).error < 1e-11);
    const auto ours = parameters(net), theirs = parameters(twin);
    for (std::size_t i = 0; i < ours.size(); ++i) {
      CAPTURE(ours[i].name);
      if (ours[i].name == "conv.bias") continue;  // norms follow: some are rounding
      CHECK(testing::worst_difference(ours[i].parameter->grad, theirs[i].parameter->grad).error < 1e-10);
    }
    const auto state = state_dict(net), other = state_dict(twin);
    for (std::size_t i = 0; i < state.size(); ++i)
      if (const auto* own_value = std::get_if<Tensor<double>>(&state[i].second);
          own_value && state[i].first.find("running") != std::string::npos)
        CHECK(testing::worst_difference(*own_value, std::get<Tensor<double>>(other[i].second)).error < 1e-12);
  }
}

}  // namespace test_norms
