#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// One sample: its input (an image is [C, H, W]) and its target, which may be a class (Labels of rank 0), a class per
/// pixel (Labels [H, W]) or numbers of any shape (a Tensor<Scalar>): what is to be predicted, or the image itself.
template <class Scalar = float, class Target = Labels>
struct Example {
  Tensor<Scalar> input;  ///< one sample, without the batch's axis
  Target target;         ///< likewise
};

/// Samples stacked along a new first axis: inputs [N, ...], targets [N, ...]. Binds to two names:
/// `auto [images, labels] = batch`.
template <class Scalar = float, class Target = Labels>
struct Batch {
  Tensor<Scalar> inputs;  ///< [N, ...]
  Target targets;         ///< [N] or [N, ...]
};

/// What targets are held in: labels, or numbers.
template <class T>
concept TargetTensor = std::same_as<T, Labels> || std::same_as<T, Tensor<float>> || std::same_as<T, Tensor<double>>;

/// Throws ValueError, naming the data set, unless there is a sample i.
inline void check_sample(const char* who, Index i, Index size) {
  require(i >= 0 && i < size, who, ": no sample ", i, ", there are ", size);
}

namespace detail {

/// y = x / 255 for n bytes, correctly rounded; looked up, since divisions would take longer than the rest of a batch.
template <class Scalar>
void scale_bytes(const std::uint8_t* x, Index n, Scalar* y) {
  static const auto table = [] {
    std::array<Scalar, 256> values;
    for (std::size_t i = 0; i < 256; ++i) values[i] = static_cast<Scalar>(i) / Scalar(255);
    return values;
  }();
  for (Index i = 0; i < n; ++i) y[i] = table[x[i]];
}

/// Copies a tensor of sample i to place k of a batch of `count`.
template <class T>
void put(Tensor<T>& batch, const Tensor<T>& sample, const char* what, Index i, Index k, Index count) {
  if (k == 0) batch = Tensor<T>(sample.shape().batch(count));
  if (sample.shape() != batch.shape().tail(1))
    throw ShapeError(text("Batch: the ", what, " of sample ", i, " has shape ", sample.shape(),
                          ", others of its batch have ", batch.shape().tail(1),
                          "; a transform such as Resize or RandomCrop makes images equal"));
  std::copy_n(sample.data(), sample.numel(), batch.data() + k * sample.numel());
}
template <class Scalar, class Target>
void put(Batch<Scalar, Target>& batch, const Example<Scalar, Target>& example, Index i, Index k, Index count) {
  put(batch.inputs, example.input, "input", i, k, count);
  put(batch.targets, example.target, "target", i, k, count);
}

}  // namespace detail

/// A numbered set of samples.
template <class Scalar = float, class Target = Labels>
class Dataset {
 public:
  using scalar_type = Scalar;  ///< of the inputs
  using target_type = Target;  ///< Labels, or Tensor<Scalar>
  virtual ~Dataset() = default;
  /// The number of samples.
  virtual Index size() const = 0;
  /// Sample i, 0 <= i < size(). Safe from any number of threads at once. Throws ValueError for another i.
  virtual Example<Scalar, Target> get(Index i) const = 0;
  /// The samples at these places, stacked; what get gives for each, but a dataset may know a faster way. Throws
  /// ShapeError when their shapes differ.
  virtual Batch<Scalar, Target> batch(std::span<const Index> samples) const {
    Batch<Scalar, Target> result;
    for (std::size_t k = 0; k < samples.size(); ++k)
      detail::put(result, get(samples[k]), samples[k], static_cast<Index>(k), static_cast<Index>(samples.size()));
    return result;
  }

 protected:
  Dataset() = default;
  /// As the derived class copies.
  Dataset(const Dataset&) = default;
  /// Likewise.
  Dataset& operator=(const Dataset&) = default;
};

/// A dataset that is held by value, or shared.
template <class D>
concept DatasetLike = requires(const D& d) {
  typename D::scalar_type;
  typename D::target_type;
  requires std::derived_from<D, Dataset<typename D::scalar_type, typename D::target_type>>;
};

/// A dataset that is one function: sample(i), for 0 <= i < size, gives an Example. It is called by any number of
/// threads at once.
///
///   FunctionDataset squares(100, [](Index i) {
///     const auto x = static_cast<float>(i) / 100;
///     return Example<float, Tensor<float>>{Tensor<float>({1}, {x}), Tensor<float>({1}, {x * x})};
///   });
template <class F>
class FunctionDataset;

namespace detail {
template <class E>
struct DatasetOf;
template <class Scalar, class Target>
struct DatasetOf<Example<Scalar, Target>> {
  using type = Dataset<Scalar, Target>;
};
template <class F>
using DatasetOfFunction = typename DatasetOf<std::invoke_result_t<const F&, Index>>::type;
}  // namespace detail

template <class F>
class FunctionDataset : public detail::DatasetOfFunction<F> {
 public:
  /// Throws ValueError for a negative size.
  FunctionDataset(Index size, F sample) : size_(size), sample_(std::move(sample)) {
    require(size >= 0, "FunctionDataset: the size must not be negative, got ", size);
  }

  /// The number of samples.
  Index size() const override { return size_; }
  /// sample(i). Throws ValueError for an i that is not below size().
  std::invoke_result_t<const F&, Index> get(Index i) const override {
    check_sample("FunctionDataset", i, size_);
    return sample_(i);
  }

 private:
  Index size_;
  F sample_;
};

/// Bytes 0..255 as numbers 0..1.
template <class Scalar = float>
Tensor<Scalar> to_float(const Tensor<std::uint8_t>& bytes) {
  Tensor<Scalar> result(bytes.shape());
  detail::scale_bytes(bytes.data(), bytes.numel(), result.data());
  return result;
}

/// Samples in memory: inputs [N, ...] and targets [N, ...], which are labels or numbers. Inputs of bytes stay bytes in
/// memory and are scaled to [0, 1] one sample at a time. Copies share the tensors.
template <class Scalar = float, TargetTensor Target = Labels>
class TensorDataset : public Dataset<Scalar, Target> {
 public:
  /// Throws ShapeError unless there are as many inputs as targets.
  TensorDataset(Tensor<Scalar> inputs, Target targets) : inputs_(std::move(inputs)), targets_(std::move(targets)) {
    check(std::get<0>(inputs_).shape());
  }
  /// Of bytes, that become numbers from 0 to 1. Throws ShapeError unless there are as many inputs as targets.
  TensorDataset(Tensor<std::uint8_t> inputs, Target targets)
      : inputs_(std::move(inputs)), targets_(std::move(targets)) {
    check(std::get<1>(inputs_).shape());
  }
  /// Of Eigen's matrices, a sample in each row: a vector is a column, [N, 1], as a layer of one feature takes and makes
  /// it. Throws ShapeError unless they have as many rows.
  template <class X, class Y>
  TensorDataset(const Eigen::DenseBase<X>& inputs, const Eigen::DenseBase<Y>& targets)
      : TensorDataset(rows_of(inputs), rows_of(targets)) {}
  /// Of Eigen's matrix and labels.
  template <class X>
  TensorDataset(const Eigen::DenseBase<X>& inputs, Target targets)
      : TensorDataset(rows_of(inputs), std::move(targets)) {}

  Index size() const override { return targets_.dim(0); }

  Example<Scalar, Target> get(Index i) const override {
    check_sample("TensorDataset", i, size());
    if (const auto* bytes = std::get_if<1>(&inputs_)) return {to_float<Scalar>((*bytes)[i]), targets_[i]};
    return {std::get<0>(inputs_)[i], targets_[i]};
  }

  Batch<Scalar, Target> batch(std::span<const Index> samples) const override {
    const auto count = static_cast<Index>(samples.size());
    const Shape target = targets_.shape().tail(1);
    Batch<Scalar, Target> result{Tensor<Scalar>(input_shape().batch(count)), Target(target.batch(count))};
    for (Index k = 0; k < count; ++k) {
      const Index i = samples[static_cast<std::size_t>(k)];
      check_sample("TensorDataset", i, size());
      copy(i, result.inputs.data() + k * input_shape().numel());
      std::copy_n(targets_.data() + i * target.numel(), target.numel(), result.targets.data() + k * target.numel());
    }
    return result;
  }

  /// One input's shape.
  Shape input_shape() const {
    return std::visit([](const auto& inputs) { return inputs.shape().tail(1); }, inputs_);
  }
  /// All targets.
  const Target& targets() const { return targets_; }

 private:
  template <class X>
  static Tensor<Scalar> rows_of(const Eigen::DenseBase<X>& matrix) {
    return Tensor<Scalar>(matrix).reshape({matrix.rows(), matrix.cols()});
  }

  void check(const Shape& inputs) const {
    require<ShapeError>(inputs.rank() >= 1 && targets_.rank() >= 1 && inputs[0] == targets_.dim(0),
                        "TensorDataset: expected as many inputs as targets along the first axis, got shapes ", inputs,
                        " and ", targets_.shape());
  }

  void copy(Index i, Scalar* out) const {
    const Index n = input_shape().numel();
    if (const auto* bytes = std::get_if<1>(&inputs_))
      detail::scale_bytes(bytes->data() + i * n, n, out);
    else
      std::copy_n(std::get<0>(inputs_).data() + i * n, n, out);
  }

  std::variant<Tensor<Scalar>, Tensor<std::uint8_t>> inputs_;
  Target targets_;
};

/// Takes the scalar type of the inputs; of bytes float, or the targets' type.
/// @{
template <class Scalar>
TensorDataset(Tensor<Scalar>, Labels) -> TensorDataset<Scalar>;
template <class Scalar>
TensorDataset(Tensor<Scalar>, Tensor<Scalar>) -> TensorDataset<Scalar, Tensor<Scalar>>;
TensorDataset(Tensor<std::uint8_t>, Labels)->TensorDataset<float>;
template <class Scalar>
TensorDataset(Tensor<std::uint8_t>, Tensor<Scalar>) -> TensorDataset<Scalar, Tensor<Scalar>>;
template <class X>
TensorDataset(const Eigen::DenseBase<X>&, Labels) -> TensorDataset<typename X::Scalar>;
template <class X, class Y>
TensorDataset(const Eigen::DenseBase<X>&, const Eigen::DenseBase<Y>&)
    -> TensorDataset<typename X::Scalar, Tensor<typename X::Scalar>>;
/// @}

/// Some samples of another dataset: the first `count`, or those at `indices` in that order (they may repeat).
template <class Scalar = float, class Target = Labels>
class Subset : public Dataset<Scalar, Target> {
 public:
  /// Throws ValueError when the dataset has fewer samples, or an index is not in it.
  /// @{
  template <DatasetLike D>
  Subset(D dataset, Index count) : Subset(std::make_shared<const D>(std::move(dataset)), count) {}
  template <DatasetLike D>
  Subset(D dataset, std::vector<Index> indices)
      : Subset(std::make_shared<const D>(std::move(dataset)), std::move(indices)) {}
  Subset(std::shared_ptr<const Dataset<Scalar, Target>> dataset, Index count)
      : dataset_(std::move(dataset)), count_(count) {
    require(count >= 0 && count <= dataset_->size(), "Subset: expected 0 to ", dataset_->size(), " samples, got ",
            count);
  }
  Subset(std::shared_ptr<const Dataset<Scalar, Target>> dataset, std::vector<Index> indices)
      : dataset_(std::move(dataset)), count_(static_cast<Index>(indices.size())), indices_(std::move(indices)) {
    for (const Index i : indices_) check_sample("Subset", i, dataset_->size());
  }
  /// @}

  /// The number of samples.
  Index size() const override { return count_; }
  Example<Scalar, Target> get(Index i) const override {
    check_sample("Subset", i, count_);
    return dataset_->get(place(i));
  }
  Batch<Scalar, Target> batch(std::span<const Index> samples) const override {
    std::vector<Index> places;
    for (const Index i : samples) {
      check_sample("Subset", i, count_);
      places.push_back(place(i));
    }
    return dataset_->batch(places);
  }

 private:
  Index place(Index i) const { return indices_.empty() ? i : indices_[static_cast<std::size_t>(i)]; }

  std::shared_ptr<const Dataset<Scalar, Target>> dataset_;
  Index count_;
  std::vector<Index> indices_;
};

/// Takes the types of the dataset.
/// @{
template <DatasetLike D>
Subset(D, Index) -> Subset<typename D::scalar_type, typename D::target_type>;
template <DatasetLike D>
Subset(D, std::vector<Index>) -> Subset<typename D::scalar_type, typename D::target_type>;
/// @}

/// Samples by their numbers, in two parts.
struct TrainTestSplit {
  std::vector<Index> train;  ///< to learn from
  std::vector<Index> test;   ///< to be judged by
};

/// Splits samples by their labels [N]: of the n samples of each class round(test_share n) go to the test, but at least
/// one and at most n - 1, unless test_share is 0 or 1. Which ones, and the order within a part, are drawn from the
/// seed. Throws ValueError unless test_share is in [0, 1], ShapeError for other labels.
inline TrainTestSplit split_by_class(const Labels& labels, double test_share, std::uint64_t seed = 0) {
  require(test_share >= 0 && test_share <= 1, "split_by_class: test_share must be in [0, 1], got ", test_share);
  require<ShapeError>(labels.rank() == 1, "split_by_class: expected labels [N], got shape ", labels.shape());
  std::map<std::int32_t, std::vector<Index>> classes;  // in random order
  for (const Index i : Random(seed).permutation(labels.numel())) classes[labels.data()[i]].push_back(i);
  TrainTestSplit result;
  std::vector<bool> tested(static_cast<std::size_t>(labels.numel()), false);
  for (const auto& [label, samples] : classes) {
    const std::size_t n = samples.size();
    auto count = static_cast<std::size_t>(std::round(test_share * static_cast<double>(n)));
    if (test_share > 0 && test_share < 1) count = std::min(std::max<std::size_t>(count, 1), n - 1);
    for (std::size_t k = 0; k < count; ++k) tested[static_cast<std::size_t>(samples[k])] = true;
  }
  for (const Index i : Random(seed).permutation(labels.numel()))
    (tested[static_cast<std::size_t>(i)] ? result.test : result.train).push_back(i);
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
