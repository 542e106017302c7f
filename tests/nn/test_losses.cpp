#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "lamina/nn/dice_loss.hpp"
#include "lamina/nn/focal_loss.hpp"
#include "lamina/nn/kl_div.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/margin_loss.hpp"
#include "lamina/nn/smooth_l1_loss.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_losses {

namespace {

constexpr std::uint64_t seed = 20240613;
const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();

double worst(const auto& a, const Tensor<double>& b) {
  return testing::worst_difference(a.template cast<double>(), b).error;
}

Tensor<double> normal(Random& random, const Shape& shape, double deviation = 1) {
  return random.normal<float>(shape, 0, static_cast<float>(deviation)).cast<double>();
}

/// x as [outer, classes, inner].
struct Extents {
  Index outer, classes, inner;
  explicit Extents(const Shape& shape)
      : outer(shape.rank() == 1 ? 1 : shape[0]),
        classes(shape[shape.rank() == 1 ? 0 : 1]),
        inner(shape.numel() / outer / classes) {}
  Index at(Index sample, Index k) const { return (sample / inner * classes + k) * inner + sample % inner; }
};

/// PyTorch's formulas step by step: log_softmax, nll_loss, the smoothing term, each with its own mean.
double naive_cross_entropy(const Tensor<double>& x, const Labels& labels, const CrossEntropyOptions<double>& o) {
  const Extents e(x.shape());
  double nll = 0, smooth = 0, weights = 0, counted = 0;
  for (Index s = 0; s < e.outer * e.inner; ++s) {
    const std::int32_t label = labels.data()[s];
    if (label == o.ignore_index) continue;
    double sum = 0;
    for (Index k = 0; k < e.classes; ++k) sum += std::exp(x.data()[e.at(s, k)]);
    const auto w = [&](Index k) { return o.weight.empty() ? 1.0 : o.weight.data()[k]; };
    const auto log_p = [&](Index k) { return x.data()[e.at(s, k)] - std::log(sum); };
    nll -= w(label) * log_p(label);
    for (Index k = 0; k < e.classes; ++k) smooth -= w(k) * log_p(k);
    weights += w(label);
    counted += 1;
  }
  if (o.reduction == Reduction::mean) {
    nll /= weights;
    smooth /= o.weight.empty() ? counted : weights;
  }
  return (1 - o.label_smoothing) * nll + o.label_smoothing / static_cast<double>(e.classes) * smooth;
}

double naive_cross_entropy(const Tensor<double>& x, const Tensor<double>& t, const CrossEntropyOptions<double>& o) {
  const Extents e(x.shape());
  double total = 0;
  for (Index s = 0; s < e.outer * e.inner; ++s) {
    double sum = 0;
    for (Index k = 0; k < e.classes; ++k) sum += std::exp(x.data()[e.at(s, k)]);
    for (Index k = 0; k < e.classes; ++k) {
      const double smoothed =
          t.data()[e.at(s, k)] * (1 - o.label_smoothing) + o.label_smoothing / static_cast<double>(e.classes);
      total -= smoothed * (o.weight.empty() ? 1.0 : o.weight.data()[k]) * (x.data()[e.at(s, k)] - std::log(sum));
    }
  }
  return o.reduction == Reduction::mean ? total / static_cast<double>(e.outer * e.inner) : total;
}

Tensor<double> differences(Tensor<double> x, const std::function<double(const Tensor<double>&)>& f) {
  Tensor<double> result(x.shape());
  const double step = 1e-5;
  for (Index i = 0; i < x.numel(); ++i) {
    const double before = x.data()[i];
    x.data()[i] = before + step;
    const double above = f(x);
    x.data()[i] = before - step;
    result.data()[i] = (above - f(x)) / (2 * step);
    x.data()[i] = before;
  }
  return result;
}

Labels random_labels(Random& random, const Shape& shape, Index classes) {
  Labels labels(shape);
  for (auto& label : labels.values()) label = static_cast<std::int32_t>(random.below(classes));
  return labels;
}

Shape label_shape(const Shape& logits) { return logits.rank() == 1 ? Shape{} : logits.tail(2).batch(logits[0]); }

}  // namespace

TEST_CASE("cross_entropy of labels equals its naive twin and its differences") {
  Random random(seed);
  for (const Shape& shape : {Shape{6, 5}, Shape{3, 10}, Shape{2, 70}, Shape{7}, Shape{1, 1}, Shape{2, 5, 3},
                             Shape{2, 3, 4, 5}, Shape{1, 4, 2, 1, 3}, Shape{2, 3, 37}})
    for (int options = 0; options < 16; ++options) {
      const Extents e(shape);
      const Tensor<double> x = normal(random, shape, 2);
      Labels labels = random_labels(random, label_shape(shape), e.classes);
      CrossEntropyOptions<double> o;
      if (options & 1) o.reduction = Reduction::sum;
      if (options & 2) o.label_smoothing = 0.2;
      if (options & 4) o.weight = random.uniform<double>({e.classes}, 0.2, 2);
      if (options & 8 && labels.numel() > 1) {
        o.ignore_index = 255;
        labels.data()[labels.numel() / 2] = 255;
      }
      CAPTURE(shape.to_string());
      CAPTURE(options);
      CAPTURE(seed);
      const Loss<double> loss = cross_entropy(x, labels, o);
      CHECK(loss.value == doctest::Approx(naive_cross_entropy(x, labels, o)).epsilon(1e-13));
      CHECK(worst(loss.grad, differences(x, [&](const auto& v) { return naive_cross_entropy(v, labels, o); })) < 1e-7);
      const Loss<float> single = cross_entropy(x.cast<float>(), labels,
                                               {.reduction = o.reduction,
                                                .ignore_index = o.ignore_index,
                                                .label_smoothing = o.label_smoothing,
                                                .weight = o.weight.cast<float>()});
      CHECK(single.value == doctest::Approx(loss.value).epsilon(1e-6));
      CHECK(worst(single.grad, loss.grad) < 1e-6);
    }
}

TEST_CASE("cross_entropy of distributions equals its naive twin and its differences") {
  Random random(seed);
  for (const Shape& shape : {Shape{6, 5}, Shape{2, 70}, Shape{7}, Shape{2, 5, 3}, Shape{2, 3, 4, 5}})
    for (int options = 0; options < 8; ++options) {
      const Tensor<double> x = normal(random, shape, 2), targets = random.uniform<double>(shape);
      CrossEntropyOptions<double> o;
      if (options & 1) o.reduction = Reduction::sum;
      if (options & 2) o.label_smoothing = 0.2;
      if (options & 4) o.weight = random.uniform<double>({Extents(shape).classes}, 0.2, 2);
      CAPTURE(shape.to_string());
      CAPTURE(options);
      CAPTURE(seed);
      const Loss<double> loss = cross_entropy(x, targets, o);
      CHECK(loss.value == doctest::Approx(naive_cross_entropy(x, targets, o)).epsilon(1e-13));
      CHECK(worst(loss.grad, differences(x, [&](const auto& v) { return naive_cross_entropy(v, targets, o); })) < 1e-7);
    }
}

TEST_CASE("cross_entropy at the edges") {
  // Large logits neither overflow nor lose the answer.
  const auto large = cross_entropy(Tensor<float>({2, 3}, {1000, 0, -1000, 3e4f, 3e4f, 0}), Labels({2}, {1, 0}),
                                   {.reduction = Reduction::sum});
  CHECK(large.value == doctest::Approx(1000 + std::log(2.0)));
  CHECK(worst(large.grad, Tensor<double>({2, 3}, {1, -1, 0, -0.5, 0.5, 0})) < 1e-6);

  // A class of probability zero costs nothing unless it is the label.
  const Tensor<double> masked({1, 3}, {0, -infinity, 0});
  CHECK(cross_entropy(masked, Labels({1}, {0})).value == doctest::Approx(std::log(2.0)));
  CHECK(cross_entropy(masked, Labels({1}, {0})).grad == Tensor<double>({1, 3}, {-0.5, 0, 0.5}));
  CHECK(cross_entropy(masked, Labels({1}, {1})).value == infinity);

  // NaN is seen, wherever it is.
  for (Index at = 0; at < 40; ++at)
    for (const Shape& shape : {Shape{2, 20}, Shape{2, 5, 4}}) {
      auto x = Tensor<float>::zeros(shape);
      x.data()[at] = static_cast<float>(not_a_number);
      CHECK(std::isnan(cross_entropy(x, Labels::zeros(label_shape(shape))).value));
    }

  // Nothing but ignored samples: as in PyTorch, the mean is NaN, the sum 0 and the gradient 0.
  const Labels ignored = Labels::full({2}, -100);
  const auto mean = cross_entropy(Tensor<float>::ones({2, 3}), ignored);
  CHECK(std::isnan(mean.value));
  CHECK(mean.grad == Tensor<float>::zeros({2, 3}));
  CHECK(cross_entropy(Tensor<float>::ones({2, 3}), ignored, {.reduction = Reduction::sum}).value == 0);
  const auto pixels =
      cross_entropy(Tensor<float>::ones({2, 3, 5}), Labels::full({2, 5}, -100), {.label_smoothing = 0.1});
  CHECK(std::isnan(pixels.value));
  CHECK(pixels.grad == Tensor<float>::zeros({2, 3, 5}));
}

TEST_CASE("with reduction none each loss stays for itself, and the rest is that of their sum") {
  const Tensor<double> logits = Random(3).normal<double>({4, 3}), target = Random(4).normal<double>({4, 3});
  const Labels labels({4}, {2, 0, -100, 1});
  const Loss<double> each = cross_entropy(logits, labels, {.reduction = "none"});
  const auto [sum, grad] = cross_entropy(logits, labels, {.reduction = Reduction::sum});
  REQUIRE(each.losses.shape() == Shape{4});
  CHECK(each.losses(2) == 0);
  CHECK(each.losses.array().sum() == doctest::Approx(sum).epsilon(1e-14));
  CHECK(each.value == sum);
  CHECK(each.grad == grad);
  for (Index i = 0; i < 4; ++i)
    CHECK(each.losses(i) ==
          doctest::Approx(
              cross_entropy(logits.slice(i, i + 1), labels.slice(i, i + 1), {.reduction = Reduction::sum}).value)
              .epsilon(1e-14));
  CHECK(mse_loss(logits, target, {.reduction = "none"}).losses.shape() == Shape{4, 3});
  CHECK(mse_loss(logits, target).losses.empty());
  CHECK(dice_loss(logits, Labels({4}, {0, 1, 2, 0}), {.reduction = "none"}).losses.shape() == Shape{4, 3});
  CHECK_THROWS_WITH_AS(mse_loss(logits, target, {.reduction = "max"}),
                       "reduction: expected mean, sum or none, got 'max'", ValueError);
}

TEST_CASE("losses reuse their argument when nobody else holds it, and leave it alone otherwise") {
  Tensor<float> logits = Tensor<float>::ones({2, 3});
  const Tensor<float> kept = logits;
  const auto shared = cross_entropy(logits, Labels({2}, {0, 1}));
  CHECK(kept == Tensor<float>::ones({2, 3}));
  CHECK(logits == kept);
  CHECK(!shared.grad.shares_storage(kept));

  Tensor<float> own = Tensor<float>::ones({2, 3});
  const float* const memory = std::as_const(own).data();
  const auto reused = cross_entropy(std::move(own), Labels({2}, {0, 1}));
  CHECK(reused.grad.data() == memory);
  CHECK(reused.grad == shared.grad);
  CHECK(mse_loss(kept, kept).value == 0);
  CHECK(kept == Tensor<float>::ones({2, 3}));
}

TEST_CASE("nll_loss of log probabilities is cross_entropy of logits") {
  Random random(seed);
  const Tensor<double> x = normal(random, {2, 5, 3});
  Labels labels = random_labels(random, {2, 3}, 5);
  labels.data()[4] = -100;
  Tensor<double> log_p = x;
  for (Index n = 0; n < 2; ++n)
    for (Index i = 0; i < 3; ++i) {
      double sum = 0;
      for (Index k = 0; k < 5; ++k) sum += std::exp(x(n, k, i));
      for (Index k = 0; k < 5; ++k) log_p(n, k, i) -= std::log(sum);
    }
  const Tensor<double> weight = random.uniform<double>({5}, 0.2, 2);
  for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
    const auto loss = nll_loss(log_p, labels, {.reduction = reduction, .weight = weight});
    CHECK(loss.value ==
          doctest::Approx(cross_entropy(x, labels, {.reduction = reduction, .weight = weight}).value).epsilon(1e-13));
    CHECK(worst(loss.grad, differences(log_p, [&](const auto& v) {
                  return nll_loss(v, labels, {.reduction = reduction, .weight = weight}).value;
                })) < 1e-7);
  }
}

TEST_CASE("mse_loss") {
  Random random(seed);
  for (const Shape& shape : {Shape{}, Shape{7}, Shape{4, 5}, Shape{2, 3, 4, 5}, Shape{3, 1111}})
    for (const Reduction reduction : {Reduction::mean, Reduction::sum}) {
      const Tensor<double> x = normal(random, shape), target = normal(random, shape);
      double value = 0;
      Tensor<double> grad(shape);
      const double divisor = reduction == Reduction::mean ? static_cast<double>(x.numel()) : 1;
      for (Index i = 0; i < x.numel(); ++i) {
        const double difference = x.data()[i] - target.data()[i];
        value += difference * difference / divisor;
        grad.data()[i] = 2 * difference / divisor;
      }
      const auto loss = mse_loss(x, target, {.reduction = reduction});
      CHECK(loss.value == doctest::Approx(value).epsilon(1e-13));
      CHECK(worst(loss.grad, grad) < 1e-14);
      const auto single = mse_loss(x.cast<float>(), target.cast<float>(), {.reduction = reduction});
      CHECK(single.value == doctest::Approx(value).epsilon(1e-6));
      CHECK(worst(single.grad, grad) < 1e-6);
    }
  CHECK(std::isnan(mse_loss(Tensor<double>({3}, {0, not_a_number, 0}), Tensor<double>::zeros({3})).value));
}

TEST_CASE("binary_cross_entropy_with_logits equals its definition and its differences") {
  Random random(seed);
  const Shape shape{4, 3, 7};
  const Tensor<double> x = normal(random, shape, 3), targets = random.uniform<double>(shape);
  const std::vector<Tensor<double>> weights{{},
                                            random.uniform<double>(shape),
                                            random.uniform<double>({7}),
                                            random.uniform<double>({3, 1}),
                                            random.uniform<double>({1})};
  for (const Reduction reduction : {Reduction::mean, Reduction::sum})
    for (const auto& weight : weights)
      for (const auto& pos_weight : weights) {
        const BinaryCrossEntropyOptions<double> o{.reduction = reduction, .weight = weight, .pos_weight = pos_weight};
        const auto definition = [&](const Tensor<double>& logits) {
          const auto factor = [&](const Tensor<double>& w, Index i) {
            if (w.empty()) return 1.0;
            return w.data()[w.numel() == 3 ? i / 7 % 3 : i % w.numel()];
          };
          double sum = 0;
          for (Index i = 0; i < logits.numel(); ++i) {
            const double p = 1 / (1 + std::exp(-logits.data()[i])), t = targets.data()[i];
            sum -= factor(weight, i) * (factor(pos_weight, i) * t * std::log(p) + (1 - t) * std::log1p(-p));
          }
          return reduction == Reduction::mean ? sum / static_cast<double>(logits.numel()) : sum;
        };
        const auto loss = binary_cross_entropy_with_logits(x, targets, o);
        CHECK(loss.value == doctest::Approx(definition(x)).epsilon(1e-12));
        CHECK(worst(loss.grad, differences(x, definition)) < 1e-7);
        const auto single = binary_cross_entropy_with_logits(
            x.cast<float>(), targets.cast<float>(),
            {.reduction = reduction, .weight = weight.cast<float>(), .pos_weight = pos_weight.cast<float>()});
        CHECK(single.value == doctest::Approx(loss.value).epsilon(1e-6));
        CHECK(worst(single.grad, loss.grad) < 1e-6);
      }
}

TEST_CASE("binary_cross_entropy_with_logits keeps its accuracy in the tails") {
  for (const double x : {-1000.0, -100.0, -30.0, -1.0, -0.001, 0.0, 0.5, 30.0, 80.0, 1000.0})
    for (const double t : {0.0, 1.0}) {
      const double z = t == 1 ? -x : x;  // the loss is log(1 + e^z)
      const double expected = z > 0 ? z + std::log1p(std::exp(-z)) : std::log1p(std::exp(z));
      const double slope = (t == 1 ? -1 : 1) / (1 + std::exp(-z));
      CAPTURE(x);
      CAPTURE(t);
      const auto exact = binary_cross_entropy_with_logits(Tensor<double>({1}, {x}), Tensor<double>({1}, {t}));
      const auto single = binary_cross_entropy_with_logits(Tensor<float>({1}, {static_cast<float>(x)}),
                                                           Tensor<float>({1}, {static_cast<float>(t)}));
      CHECK(std::abs(exact.value - expected) <= 1e-14 * expected);
      CHECK(std::abs(exact.grad.item() - slope) <= 1e-14 * std::abs(slope));
      CHECK(std::abs(single.value - expected) <= 1e-6 * expected + 1e-37);
      CHECK(std::abs(static_cast<double>(single.grad.item()) - slope) <= 1e-6 * std::abs(slope) + 1e-37);
    }
  CHECK(std::isnan(binary_cross_entropy_with_logits(Tensor<float>({1}, {static_cast<float>(not_a_number)}),
                                                    Tensor<float>::zeros({1}))
                       .value));
}

TEST_CASE("losses give the same bits for any number of threads") {
  Random random(seed);
  const Tensor<float> rows = random.normal({3000, 100}), images = random.normal({4, 21, 64, 65});
  const Labels row_labels = random_labels(random, {3000}, 100), image_labels = random_labels(random, {4, 64, 65}, 21);
  const auto run = [&](int threads) {
    const int before = num_threads();
    set_num_threads(threads);
    const std::vector<Loss<float>> losses{
        cross_entropy(rows, row_labels), cross_entropy(images, image_labels, {.label_smoothing = 0.1}),
        mse_loss(images, Tensor<float>::ones(images.shape())),
        binary_cross_entropy_with_logits(images, Tensor<float>::ones(images.shape()))};
    set_num_threads(before);
    return losses;
  };
  const auto one = run(1), four = run(4);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CHECK(one[i].value == four[i].value);
    CHECK(one[i].grad == four[i].grad);
  }
}

TEST_CASE("losses say what is wrong") {
  const Tensor<float> logits = Tensor<float>::zeros({2, 3}), images = Tensor<float>::zeros({2, 3, 2, 2});
  CHECK_THROWS_WITH_AS(cross_entropy(logits, Labels({2}, {0, 3})),
                       "cross_entropy: label 3 at position [1] is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(images, Labels({2, 2, 2}, {0, 0, 0, 0, 0, -1, 0, 0})),
                       "cross_entropy: label -1 at position [1, 0, 1] is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, Labels({3}, {0, 1, 2})),
                       "cross_entropy: expected labels of shape [2], got shape [3]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(images, Labels({2}, {0, 1})),
                       "cross_entropy: expected labels of shape [2, 2, 2], got shape [2]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, Labels({2}, {0, 1}), {.weight = Tensor<float>::ones({2})}),
                       "cross_entropy: expected a weight of shape [3], got shape [2]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, Labels({2}, {0, 1}), {.label_smoothing = 1.5}),
                       "cross_entropy: label_smoothing must be in [0, 1], got 1.5", ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(Tensor<float>(Shape{0, 3}), Labels(Shape{0})),
                       "cross_entropy: expected at least one sample and class, got shape [0, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(Tensor<float>::ones(Shape{}), Labels::zeros(Shape{})),
                       "cross_entropy: expected logits [N, K, ...] or [K], got shape []", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, Tensor<float>::ones({2, 4})),
                       "cross_entropy: expected targets of shape [2, 3], got shape [2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, logits, {.ignore_index = 1}),
                       "cross_entropy: ignore_index is for class labels, got 1 with target distributions", ValueError);
  CHECK_THROWS_WITH_AS(nll_loss(logits, Labels({2}, {0, 7})),
                       "nll_loss: label 7 at position [1] is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(mse_loss(logits, images), "mse_loss: expected a target of shape [2, 3], got shape [2, 3, 2, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(mse_loss(Tensor<float>(), Tensor<float>()),
                       "mse_loss: expected at least one element, got shape [0]", ShapeError);
  CHECK_THROWS_WITH_AS(binary_cross_entropy_with_logits(logits, images),
                       "binary_cross_entropy_with_logits: expected targets of shape [2, 3], got shape [2, 3, 2, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(binary_cross_entropy_with_logits(logits, logits, {.pos_weight = Tensor<float>::ones({2})}),
                       "binary_cross_entropy_with_logits: cannot broadcast pos_weight of shape [2] to [2, 3]",
                       ShapeError);
}

TEST_CASE("gradients of the losses by central differences") {
  Random random(seed);
  const auto check = [&](const char* name, Tensor<double> x, auto loss) {
    CAPTURE(name);
    const Tensor<double> grad = loss(x).grad;
    for (Index i = 0; i < x.numel(); ++i) {
      constexpr double step = 1e-6;
      const double at = x.data()[i];
      x.data()[i] = at + step;
      const double above = loss(x).value;
      x.data()[i] = at - step;
      const double below = loss(x).value;
      x.data()[i] = at;
      CHECK(std::abs((above - below) / (2 * step) - grad.data()[i]) < 1e-8);
    }
  };
  const Tensor<double> target = normal(random, {4, 5}), shares = random.uniform<double>({4, 5});
  const Labels labels({4}, {0, 4, 2, 2}), like({4}, {1, -1, -1, 1});
  Tensor<double> signs = target;
  for (double& value : signs.values()) value = value > 0 ? 1 : -1;
  check("smooth_l1", normal(random, {4, 5}), [&](const auto& x) { return smooth_l1_loss(x, target, {.beta = 0.7}); });
  check("huber", normal(random, {4, 5}), [&](const auto& x) { return huber_loss(x, target, {.delta = 0.7}); });
  check("kl_div", normal(random, {4, 5}), [&](const auto& x) { return kl_div(x, shares, {.batchmean = true}); });
  check("focal", normal(random, {4, 5}, 2),
        [&](const auto& x) { return sigmoid_focal_loss(x, shares, {.gamma = 1.5}); });
  check("hinge", normal(random, {4, 5}), [&](const auto& x) { return hinge_embedding_loss(x, signs); });
  check("multi_margin", normal(random, {4, 5}), [&](const auto& x) { return multi_margin_loss(x, labels, {.p = 2}); });
  check("cosine", normal(random, {2, 4, 3}), [&](const auto& x) { return cosine_embedding_loss(x, like); });
  check("dice", normal(random, {2, 5, 4}), [&](const auto& x) {
    return dice_loss(x, Labels({2, 4}, {0, 1, 4, 4, 2, 2, -100, 3}));
  });
}

TEST_CASE("the losses of margins, differences and overlaps say what is wrong") {
  const Tensor<float> x({2, 3});
  const Labels labels({2}, {0, 1});
  CHECK_THROWS_WITH_AS(smooth_l1_loss(x, x, {.beta = -1}), "smooth_l1_loss: beta must not be negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(huber_loss(x, x, {.delta = 0}), "huber_loss: delta must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(huber_loss(x, Tensor<float>({3, 2})),
                       "huber_loss: expected a target of shape [2, 3], got shape [3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(kl_div(Tensor<float>({0, 3}), Tensor<float>({0, 3})),
                       "kl_div: expected at least one element, got shape [0, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(sigmoid_focal_loss(x, x, {.gamma = -1}),
                       "sigmoid_focal_loss: gamma must not be negative, got -1", ValueError);
  CHECK_THROWS_WITH_AS(hinge_embedding_loss(x, Tensor<float>::zeros({2, 3})),
                       "hinge_embedding_loss: targets must be 1 or -1, got 0 at position 0", ValueError);
  CHECK_THROWS_WITH_AS(multi_margin_loss(x, labels, {.p = 3}), "multi_margin_loss: p must be 1 or 2, got 3",
                       ValueError);
  CHECK_THROWS_WITH_AS(multi_margin_loss(x, Labels({2}, {0, -1})),
                       "multi_margin_loss: label -1 at position [1] is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(multi_margin_loss(x, Labels({2}, {3, 0})),
                       "multi_margin_loss: label 3 at position [0] is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(cosine_embedding_loss(x, labels),
                       "cosine_embedding_loss: expected embeddings [2, N, D], got shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(cosine_embedding_loss(Tensor<float>::ones({2, 2, 3}), labels),
                       "cosine_embedding_loss: targets must be 1 or -1, got 0 at position 0", ValueError);
  CHECK_THROWS_WITH_AS(dice_loss(x, labels, {.smooth = 0}), "dice_loss: smooth must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(dice_loss(x, Labels({2}, {0, 3})),
                       "dice_loss: label 3 at position [1] is not one of the 3 classes 0 to 2", ValueError);
}

}  // namespace test_losses
