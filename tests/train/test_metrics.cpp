#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lamina/core/random.hpp"
#include "lamina/train/metrics.hpp"

using namespace lamina;

TEST_CASE("predicted classes and accuracy") {
  const Tensor<float> logits({4, 3}, {1, 2, 0, 5, 5, 1, -3, -2, -1, 0, 0, 0});
  CHECK(predicted_classes(logits) == Labels({4}, {1, 0, 2, 0}));  // the first of equal ones
  CHECK(accuracy(logits, Labels({4}, {1, 0, 0, 0})) == 0.75);
  CHECK(accuracy(logits, Labels({4}, {-100, 0, -100, 2})) == 0.5);
  CHECK(accuracy(logits, Labels({4}, {1, 0, 255, 0}), {.ignore_index = 255}) == 1);
  CHECK(std::isnan(accuracy(logits, Labels::full({4}, -100))));
  CHECK(predicted_classes(logits[0]) == Labels({}, {1}));
}

TEST_CASE("of logits that are NaN no class is the likeliest") {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const Index at : {0, 1, 2}) {
    Tensor<float> logits({2, 3}, {1, 2, 3, 1, 0, 2});
    logits(1, at) = nan;
    CHECK_THROWS_WITH_AS(predicted_classes(logits),
                         "predicted_classes: a logit of position 1 is NaN, so that no class is the likeliest",
                         NumericalError);
    for (const std::int32_t label : {0, 1, 2, -1}) CHECK(accuracy(logits, Labels({2}, {2, label})) == 0.5);
  }
  const Tensor<float> pixels({1, 2, 2}, {0, 1, nan, 0});
  CHECK(count_correct(pixels, Labels({1, 2}, {0, 0})).correct == 1);
  CHECK(predicted_classes(Tensor<float>({3}, {-infinity, infinity, infinity})) == Labels({}, {1}));
  CHECK(predicted_classes(Tensor<float>({2}, {-infinity, -infinity})) == Labels({}, {0}));
}

TEST_CASE("accuracy over pixels") {
  Tensor<double> logits = Tensor<double>::zeros({2, 3, 2, 2});
  logits(0, 2, 0, 1) = 1;
  logits(1, 1, 1, 1) = 1;
  Labels labels = Labels::zeros({2, 2, 2});
  CHECK(accuracy(logits, labels) == 0.75);
  labels(0, 0, 1) = 2;
  labels(1, 1, 1) = 1;
  CHECK(accuracy(logits, labels) == 1);
  CHECK(predicted_classes(logits) == labels);
}

TEST_CASE("accuracy refuses labels of another shape") {
  CHECK_THROWS_WITH_AS(accuracy(Tensor<float>::zeros({4, 3}), Labels::zeros({3})),
                       "accuracy: expected labels of shape [4] for logits of shape [4, 3], got shape [3]", ShapeError);
}

TEST_CASE("confusion matrix") {
  ConfusionMatrix matrix(3);
  CHECK(std::isnan(matrix.accuracy()));
  matrix.add(Labels({4}, {0, 0, 1, 2}), Labels({4}, {0, 1, 1, 1}));
  matrix.add(Labels({2}, {2, 2}), Labels({2}, {2, 2}));
  CHECK(matrix.counts() == Tensor<std::int64_t>({3, 3}, {1, 1, 0, 0, 1, 0, 0, 1, 2}));
  CHECK(matrix.accuracy() == doctest::Approx(4.0 / 6));
  CHECK(matrix.recall(0) == 0.5);
  CHECK(matrix.precision(1) == doctest::Approx(1.0 / 3));
  CHECK_THROWS_WITH_AS(matrix.add(Labels({2}, {0, 3}), Labels({2}, {0, 0})),
                       "ConfusionMatrix: 3 is not one of the 3 classes", ValueError);
  CHECK_THROWS_WITH_AS(matrix.add(Labels({2}, {0, 0}), Labels({1}, {0})),
                       "ConfusionMatrix: labels of shape [2], predictions of shape [1]", ShapeError);
  CHECK(matrix.counts()(0, 0) == 1);
  CHECK_THROWS_WITH_AS(ConfusionMatrix(0), "ConfusionMatrix: classes must be at least 1, got 0", ValueError);
}

TEST_CASE("top k accuracy") {
  const Tensor<float> logits({4, 3}, {1, 2, 0, 5, 5, 1, -3, -2, -1, 0, 0, 0});
  const Labels labels({4}, {0, 1, 0, 1});
  CHECK(top_k_accuracy(1, logits, labels) == 0);
  CHECK(top_k_accuracy(2, logits, labels) == 0.75);
  CHECK(top_k_accuracy(3, logits, labels) == 1);
  CHECK(top_k_accuracy(2, logits, Labels({4}, {2, -100, 0, 2})) == 0);  // of equal ones the first two
  CHECK(top_k_accuracy(3, logits, Labels({4}, {2, -100, 7, -1})) == doctest::Approx(1.0 / 3));
  for (Index i = 0; i < 50; ++i) {
    const Tensor<float> drawn = Random(static_cast<std::uint64_t>(i)).normal<float>({6, 5, 2});
    const Labels classes = Labels::full({6, 2}, static_cast<std::int32_t>(i % 5));
    CHECK(count_correct_top(1, drawn, classes).correct == count_correct(drawn, classes).correct);
  }
  Tensor<float> bad = logits;
  bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK(count_correct_top(3, bad, labels).correct == 3);
  CHECK_THROWS_WITH_AS(top_k_accuracy(4, logits, labels), "top_k_accuracy: k must be in [1, 3], got 4", ValueError);
  CHECK_THROWS_WITH_AS(top_k_accuracy(1, logits, Labels({3})),
                       "top_k_accuracy: expected labels of shape [4] for logits of shape [4, 3], got shape [3]",
                       ShapeError);
}

TEST_CASE("precision, recall and F1 of each class") {
  ConfusionMatrix matrix(3);
  matrix.add(Labels({8}, {0, 0, 0, 1, 1, 1, 1, 0}), Labels({8}, {0, 0, 1, 1, 1, 0, 1, 0}));
  CHECK(matrix.precision(0) == 0.75);
  CHECK(matrix.recall(0) == 0.75);
  CHECK(matrix.f1(0) == 0.75);
  matrix.add(Labels({2}, {0, 0}), Labels({2}, {1, 1}));
  CHECK(matrix.recall(0) == 0.5);
  CHECK(matrix.f1(0) == doctest::Approx(2 * 0.75 * 0.5 / 1.25));
  CHECK(std::isnan(matrix.f1(2)));
}

TEST_CASE("errors of numbers, over batches as over all at once") {
  // As scikit-learn's mean_absolute_error, mean_squared_error and r2_score say of these.
  const Tensor<double> target({4, 2}, {3, 0.5, -0.5, 1, 2, 1, 7, 1.5}), predicted({4, 2}, {2.5, 0, 0, 1, 2, 2, 8, 1});
  CHECK(mean_absolute_error(predicted, target) == 0.5);
  const double first = 1 - 1.5 / 29.1875, second = 1 - 1.5 / 0.5;
  CHECK(r2_score(predicted, target) == doctest::Approx((first + second) / 2).epsilon(1e-12));
  CHECK(r2_score(target, target) == 1);
  RegressionErrors errors;
  CHECK(std::isnan(errors.mean_absolute_error()));
  errors.add(predicted.slice(0, 1), target.slice(0, 1));
  errors.add(predicted.slice(1, 4), target.slice(1, 4));
  CHECK(errors.samples() == 4);
  CHECK(errors.mean_absolute_error() == 0.5);
  CHECK(errors.mean_squared_error() == 0.375);
  CHECK(errors.r2() == doctest::Approx((first + second) / 2).epsilon(1e-12));
  // Far from 0 the squares of the targets would leave nothing of their variance.
  const Tensor<double> far({3}, {1e9, 1e9 + 1, 1e9 + 2}), near({3}, {1e9, 1e9 + 1, 1e9 + 1});
  CHECK(r2_score(near, far) == 0.5);
  CHECK_THROWS_WITH_AS(errors.add(Tensor<double>({2, 3}), Tensor<double>({2, 3})),
                       "RegressionErrors: expected 2 outputs, as before, got shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(mean_absolute_error(far, target),
                       "RegressionErrors: expected predictions and targets of one shape [N, ...], got [3] and [4, 2]",
                       ShapeError);
  CHECK(errors.samples() == 4);
}
