#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "lamina/core/numbers.hpp"
#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Calls f(i, class) for each sample of logits [outer, classes, inner], i in [0, outer inner): the class with the
/// largest logit, the first of equal ones; -1 if one of them is NaN.
template <class Scalar, class F>
void for_each_prediction(const ClassShape& s, const Scalar* logits, F f) {
  for (Index i = 0; i < s.outer * s.inner; ++i) {
    const Scalar* values = logits + i / s.inner * s.classes * s.inner + i % s.inner;
    Index best = 0;
    for (Index k = 1; k < s.classes && !is_nan(values[best * s.inner]); ++k)
      if (!(values[k * s.inner] <= values[best * s.inner])) best = k;
    f(i, static_cast<std::int32_t>(is_nan(values[best * s.inner]) ? -1 : best));
  }
}

}  // namespace detail

/// The class with the largest logit, the first of equal ones: [N, K, d1, ...] -> [N, d1, ...], [K] -> []. Throws
/// NumericalError for a NaN.
template <class Scalar>
Labels predicted_classes(const Tensor<Scalar>& logits) {
  const ClassShape s = class_shape("predicted_classes", logits.shape());
  Labels result(s.labels);
  detail::for_each_prediction(s, logits.data(), [out = result.data()](Index i, std::int32_t predicted) {
    require<NumericalError>(predicted >= 0, "predicted_classes: a logit of position ", i,
                            " is NaN, so that no class is the likeliest");
    out[i] = predicted;
  });
  return result;
}

/// How many of how many.
struct Count {
  Index correct = 0;  ///< how many
  Index total = 0;    ///< of how many

  /// correct / total; NaN if there is nothing.
  double fraction() const {
    return total > 0 ? static_cast<double>(correct) / static_cast<double>(total)
                     : std::numeric_limits<double>::quiet_NaN();
  }
  /// Adds both numbers.
  Count& operator+=(const Count& other) {
    correct += other.correct;
    total += other.total;
    return *this;
  }
};

/// Options of accuracy and count_correct.
struct AccuracyOptions {
  std::int32_t ignore_index = -100;  ///< labels that do not count
};

/// How many labels the largest logit names (the first of equal ones): logits [N, K, d1, ...], labels [N, d1, ...].
/// Logits with a NaN name none. Throws ShapeError when the shapes do not fit.
template <class Scalar>
Count count_correct(const Tensor<Scalar>& logits, const Labels& labels, AccuracyOptions options = {}) {
  const ClassShape s = class_shape("accuracy", logits.shape());
  if (labels.shape() != s.labels)
    throw ShapeError(text("accuracy: expected labels of shape ", s.labels, " for logits of shape ", logits.shape(),
                          ", got shape ", labels.shape()));
  Count count;
  detail::for_each_prediction(s, logits.data(), [&](Index i, std::int32_t predicted) {
    const std::int32_t label = labels.data()[i];
    if (label == options.ignore_index) return;
    ++count.total;
    if (predicted >= 0 && predicted == label) ++count.correct;
  });
  return count;
}

/// The share of labels that the largest logit names, see count_correct.
template <class Scalar>
double accuracy(const Tensor<Scalar>& logits, const Labels& labels, AccuracyOptions options = {}) {
  return count_correct(logits, labels, options).fraction();
}

/// Counts of (true class, predicted class) over any number of batches.
class ConfusionMatrix {
 public:
  /// Throws ValueError unless classes >= 1.
  explicit ConfusionMatrix(Index classes) : counts_(Tensor<std::int64_t>({0})) {
    require(classes >= 1, "ConfusionMatrix: classes must be at least 1, got ", classes);
    counts_ = Tensor<std::int64_t>::zeros({classes, classes});
  }

  /// Adds a batch: labels and predictions of one shape. Throws ValueError for a value that is no class, ShapeError when
  /// the shapes differ; then nothing was added.
  void add(const Labels& labels, const Labels& predicted) {
    if (labels.shape() != predicted.shape())
      throw ShapeError(
          text("ConfusionMatrix: labels of shape ", labels.shape(), ", predictions of shape ", predicted.shape()));
    for (const Labels* values : {&labels, &predicted})
      for (const std::int32_t value : values->values())
        require(value >= 0 && value < classes(), "ConfusionMatrix: ", value, " is not one of the ", classes(),
                " classes");
    for (Index i = 0; i < labels.numel(); ++i) ++counts_(labels.data()[i], predicted.data()[i]);
  }

  /// The number of classes.
  Index classes() const { return counts_.dim(0); }
  /// [K, K]: how often class `row` was taken for class `column`.
  const Tensor<std::int64_t>& counts() const { return counts_; }
  /// The diagonal's share of all.
  double accuracy() const {
    Count count;
    for (Index i = 0; i < classes(); ++i) {
      count.correct += counts_(i, i);
      for (Index j = 0; j < classes(); ++j) count.total += counts_(i, j);
    }
    return count.fraction();
  }
  /// Of the samples of a class, the share that was recognised; NaN if there are none.
  double recall(Index label) const {
    Count count{static_cast<Index>(counts_(label, label)), 0};
    for (Index j = 0; j < classes(); ++j) count.total += counts_(label, j);
    return count.fraction();
  }
  /// Of the samples that were taken for a class, the share that is of it; NaN if there are none.
  double precision(Index label) const {
    Count count{static_cast<Index>(counts_(label, label)), 0};
    for (Index i = 0; i < classes(); ++i) count.total += counts_(i, label);
    return count.fraction();
  }

 private:
  Tensor<std::int64_t> counts_;
};

}  // namespace lamina::inline LAMINA_ABI
