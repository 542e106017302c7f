#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

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

/// How many distributions [N, K, d1, ...], such as MixUp's targets, have their largest share where the logits of that
/// shape have the largest; the first of equal ones on both sides. Logits with a NaN name none. Throws ShapeError when
/// the shapes differ, NumericalError for a NaN in the distributions.
template <class Scalar>
Count count_correct(const Tensor<Scalar>& logits, const std::type_identity_t<Tensor<Scalar>>& distributions) {
  require<ShapeError>(logits.shape() == distributions.shape(), "accuracy: expected distributions of shape ",
                      logits.shape(), ", as the logits, got shape ", distributions.shape());
  return count_correct(logits, predicted_classes(distributions));
}

/// The share of labels that the largest logit names, see count_correct.
template <class Scalar>
double accuracy(const Tensor<Scalar>& logits, const Labels& labels, AccuracyOptions options = {}) {
  return count_correct(logits, labels, options).fraction();
}

/// How many labels are among the k classes with the largest logits, of equal ones the first: shapes and ignored labels
/// as for count_correct. Logits with a NaN name none. Throws ValueError for k below 1 or above the number of classes.
template <class Scalar>
Count count_correct_top(Index k, const Tensor<Scalar>& logits, const Labels& labels, AccuracyOptions options = {}) {
  const ClassShape s = class_shape("top_k_accuracy", logits.shape());
  require(k >= 1 && k <= s.classes, "top_k_accuracy: k must be in [1, ", s.classes, "], got ", k);
  require<ShapeError>(labels.shape() == s.labels, "top_k_accuracy: expected labels of shape ", s.labels,
                      " for logits of shape ", logits.shape(), ", got shape ", labels.shape());
  Count count;
  for (Index i = 0; i < s.outer * s.inner; ++i) {
    const std::int32_t label = labels.data()[i];
    if (label == options.ignore_index) continue;
    ++count.total;
    if (label < 0 || label >= s.classes) continue;
    const Scalar* const values = logits.data() + i / s.inner * s.classes * s.inner + i % s.inner;
    const Scalar own = values[label * s.inner];
    Index before = 0;
    bool whole = true;
    for (Index c = 0; c < s.classes; ++c) {
      const Scalar other = values[c * s.inner];
      whole = whole && !is_nan(other);
      before += other > own || (other == own && c < label);
    }
    count.correct += whole && before < k;
  }
  return count;
}

/// The share of labels among the k largest logits, see count_correct_top.
template <class Scalar>
double top_k_accuracy(Index k, const Tensor<Scalar>& logits, const Labels& labels, AccuracyOptions options = {}) {
  return count_correct_top(k, logits, labels, options).fraction();
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

  /// Becomes the sum of those of all ranks, each of which has judged its part: see SumOverRanks.
  void add_up(const std::function<void(std::span<double>)>& sum) {
    std::vector<double> all(counts_.values().begin(), counts_.values().end());
    sum(all);
    std::transform(all.begin(), all.end(), counts_.values().begin(),
                   [](double count) { return static_cast<std::int64_t>(count); });
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
  /// The harmonic mean of both, 2 hits / (samples of the class + samples taken for it); NaN if there are none.
  double f1(Index label) const {
    Count count{static_cast<Index>(2 * counts_(label, label)), 0};
    for (Index i = 0; i < classes(); ++i) count.total += counts_(i, label) + counts_(label, i);
    return count.fraction();
  }

 private:
  Tensor<std::int64_t> counts_;
};

/// Errors of predicted numbers over any number of batches [N, ...], each place behind N being an output of its own.
class RegressionErrors {
 public:
  /// Adds a batch. Throws ShapeError unless both have the same shape, of rank 1 or more, and the outputs of the batches
  /// before; then nothing was added.
  template <class Scalar>
  void add(const Tensor<Scalar>& predicted, const Tensor<Scalar>& target) {
    const Shape& shape = target.shape();
    require<ShapeError>(predicted.shape() == shape && shape.rank() >= 1, "RegressionErrors: expected predictions and ",
                        "targets of one shape [N, ...], got ", predicted.shape(), " and ", shape);
    const auto outputs = static_cast<std::size_t>(shape.product(1, shape.rank()));
    require<ShapeError>(samples_ == 0 || outputs == outputs_.size(), "RegressionErrors: expected ", outputs_.size(),
                        " outputs, as before, got shape ", shape);
    if (samples_ == 0) outputs_.assign(outputs, {});
    for (Index i = 0; i < shape[0]; ++i) {
      ++samples_;
      for (std::size_t k = 0; k < outputs; ++k) {
        const auto at = i * static_cast<Index>(outputs) + static_cast<Index>(k);
        outputs_[k].add(static_cast<double>(predicted.data()[at]), static_cast<double>(target.data()[at]), samples_);
      }
    }
  }

  /// How many samples were added.
  Index samples() const { return samples_; }
  /// The mean of |predicted - target| over all samples and outputs; NaN if there are none.
  double mean_absolute_error() const {
    return mean([this](const Output& output) { return output.absolute / static_cast<double>(samples_); });
  }
  /// The mean of (predicted - target)^2 over all samples and outputs; NaN if there are none.
  double mean_squared_error() const {
    return mean([this](const Output& output) { return output.square / static_cast<double>(samples_); });
  }
  /// The coefficient of determination R^2 = 1 - sum (predicted - target)^2 / sum (target - mean target)^2, averaged
  /// over the outputs: 1 is perfect, 0 as good as the mean. NaN or -infinity where an output's targets are all the
  /// same.
  double r2() const {
    return mean([](const Output& output) { return 1 - output.square / output.deviation; });
  }

 private:
  /// Sums over the samples of one output; the mean of its targets and the squares around it by Welford's recurrence.
  struct Output {
    double absolute = 0, square = 0, average = 0, deviation = 0;

    void add(double predicted, double target, Index count) {
      absolute += std::abs(predicted - target);
      square += (predicted - target) * (predicted - target);
      const double before = target - average;
      average += before / static_cast<double>(count);
      deviation += before * (target - average);
    }
  };

  template <class F>
  double mean(F f) const {
    double total = 0;
    for (const Output& output : outputs_) total += f(output);
    return total / static_cast<double>(outputs_.size());
  }

  std::vector<Output> outputs_;
  Index samples_ = 0;
};

/// Of one batch: see RegressionErrors.
/// @{
template <class Scalar>
double mean_absolute_error(const Tensor<Scalar>& predicted, const Tensor<Scalar>& target) {
  RegressionErrors errors;
  errors.add(predicted, target);
  return errors.mean_absolute_error();
}
template <class Scalar>
double r2_score(const Tensor<Scalar>& predicted, const Tensor<Scalar>& target) {
  RegressionErrors errors;
  errors.add(predicted, target);
  return errors.r2();
}
/// @}

}  // namespace lamina::inline LAMINA_ABI
