#include <doctest/doctest.h>

#include <cmath>
#include <limits>

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
