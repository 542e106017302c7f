#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "lamina/core/numbers.hpp"
#include "lamina/core/random.hpp"
#include "lamina/data/dataset.hpp"

/// Samples mixed with others of their batch, and their targets with theirs, which are shares of classes then:
///
///   DataLoader train(OneHot(train_set, 10), {.batch_size = 128, .shuffle = true, .collate = MixUp({.alpha = 0.2})});
///   DataLoader test(OneHot(test_set, 10), {.batch_size = 128});
///   fit(net, optimizer, train,
///       {.test = &test,
///        .loss = CrossEntropyLoss(),
///        .metric = [](const auto& logits, const auto& targets) { return count_correct(logits, targets); }});
namespace lamina::inline LAMINA_ABI {

/// Labels as shares of classes, 1 for the label's and 0 for the others: [N, d1, ...] -> [N, K, d1, ...], [] -> [K].
/// Throws ValueError for K < 1 and for a label that is no class.
template <class Scalar = float>
Tensor<Scalar> one_hot(const Labels& labels, Index classes) {
  require(classes >= 1, "one_hot: there must be at least 1 class, got ", classes);
  const int rank = labels.rank();
  const Shape shape = rank == 0 ? Shape{classes} : labels.shape().tail(1).batch(classes).batch(labels.dim(0));
  const Index inner = rank == 0 ? 1 : labels.shape().product(1, rank);
  auto result = Tensor<Scalar>::zeros(shape);
  Scalar* const out = result.data();
  for (Index i = 0; i < labels.numel(); ++i) {
    const std::int32_t label = labels.data()[i];
    require(label >= 0 && label < classes, "one_hot: label ", label, " is not one of the ", classes, " classes 0 to ",
            classes - 1);
    out[(i / inner * classes + label) * inner + i % inner] = 1;
  }
  return result;
}

/// A dataset of classes whose targets are shares of classes: of a label [K], of a class for each pixel [K, H, W].
template <class Scalar = float>
class OneHot : public Dataset<Scalar, Tensor<Scalar>> {
 public:
  /// Throws ValueError for classes < 1.
  /// @{
  template <DatasetLike D>
  OneHot(D dataset, Index classes) : OneHot(std::make_shared<const D>(std::move(dataset)), classes) {}
  OneHot(std::shared_ptr<const Dataset<Scalar, Labels>> dataset, Index classes)
      : dataset_(std::move(dataset)), classes_(classes) {
    require(classes >= 1, "OneHot: there must be at least 1 class, got ", classes);
  }
  /// @}

  /// The number of samples.
  Index size() const override { return dataset_->size(); }
  Example<Scalar, Tensor<Scalar>> get(Index i) const override {
    Example<Scalar, Labels> example = dataset_->get(i);
    const Shape single = example.target.shape().batch(1);
    const Tensor<Scalar> target = one_hot<Scalar>(std::move(example.target).reshape(single), classes_);
    return {std::move(example.input), target[0]};
  }
  Batch<Scalar, Tensor<Scalar>> batch(std::span<const Index> samples) const override {
    Batch<Scalar, Labels> batch = dataset_->batch(samples);
    return {std::move(batch.inputs), one_hot<Scalar>(batch.targets, classes_)};
  }

 private:
  std::shared_ptr<const Dataset<Scalar, Labels>> dataset_;
  Index classes_;
};

/// Takes the scalar type of the dataset.
template <DatasetLike D>
OneHot(D, Index) -> OneHot<typename D::scalar_type>;

namespace detail {

/// x[i] = share x[i] + (1 - share) x[partner[i]] along the first axis.
template <class Scalar>
Tensor<Scalar> mixed(const Tensor<Scalar>& x, std::span<const Index> partner, double share) {
  Tensor<Scalar> result(x.shape());
  const Index each = x.numel() / x.dim(0);
  const auto own = static_cast<Scalar>(share), other = static_cast<Scalar>(1 - share);
  for (Index i = 0; i < x.dim(0); ++i) {
    const Scalar *a = x.data() + i * each, *b = x.data() + partner[static_cast<std::size_t>(i)] * each;
    std::transform(a, a + each, b, result.data() + i * each,
                   [=](Scalar mine, Scalar theirs) { return own * mine + other * theirs; });
  }
  return result;
}

}  // namespace detail

/// Options of MixUp.
struct MixUpOptions {
  double alpha = 0.2;  ///< the share is drawn from Beta(alpha, alpha): small values mix little, 1 evenly
};

/// Each sample of a batch, with its target, becomes share x + (1 - share) x', x' being the sample that a permutation
/// puts in its place; permutation and share are drawn once for the batch (Zhang, Cisse, Dauphin, Lopez-Paz 2018, with
/// the authors' program). A loader's `collate`.
class MixUp {
 public:
  /// Throws ValueError unless alpha > 0.
  explicit MixUp(const MixUpOptions& options = {}) : options_(options) {
    require(options.alpha > 0 && is_finite(options.alpha), "MixUp: alpha must be above 0, got ", options.alpha);
  }

  /// Inputs and targets [N, ...] of any shapes.
  template <class Scalar>
  Batch<Scalar, Tensor<Scalar>> operator()(Batch<Scalar, Tensor<Scalar>> batch, Random& random) const {
    const double share = random.beta(options_.alpha, options_.alpha);
    const auto partner = random.permutation(batch.inputs.dim(0));
    return {detail::mixed(batch.inputs, partner, share), detail::mixed(batch.targets, partner, share)};
  }

 private:
  MixUpOptions options_;
};

/// Options of CutMix.
struct CutMixOptions {
  double alpha = 1;  ///< the share is drawn from Beta(alpha, alpha)
};

/// Each image of a batch gets a box of another, the same box in all, and its target that box's share of the area of the
/// other's: with share from Beta(alpha, alpha) and a centre anywhere, the box has sides H sqrt(1 - share) and
/// W sqrt(1 - share), and ends at the image's edges (Yun et al. 2019, algorithm A1). A loader's `collate`.
class CutMix {
 public:
  /// Throws ValueError unless alpha > 0.
  explicit CutMix(const CutMixOptions& options = {}) : options_(options) {
    require(options.alpha > 0 && is_finite(options.alpha), "CutMix: alpha must be above 0, got ", options.alpha);
  }

  /// Images [N, C, H, W], targets [N, ...]. Throws ShapeError for other inputs.
  template <class Scalar>
  Batch<Scalar, Tensor<Scalar>> operator()(Batch<Scalar, Tensor<Scalar>> batch, Random& random) const {
    const Tensor<Scalar>& x = batch.inputs;
    require<ShapeError>(x.rank() == 4, "CutMix: expected images [N, C, H, W], got shape ", x.shape());
    const Index images = x.dim(0), channels = x.dim(1), h = x.dim(2), w = x.dim(3);
    const double side = std::sqrt(1 - random.beta(options_.alpha, options_.alpha));
    const auto partner = random.permutation(images);
    const auto [top, bottom] = range(h, side, random.below(h));
    const auto [left, right] = range(w, side, random.below(w));
    Tensor<Scalar> result = x;
    Scalar* const out = result.data();
    for (Index i = 0; i < images; ++i)
      for (Index c = 0; c < channels; ++c)
        for (Index y = top; y < bottom; ++y) {
          const Index row = (c * h + y) * w;
          std::copy_n(x.data() + partner[static_cast<std::size_t>(i)] * channels * h * w + row + left, right - left,
                      out + i * channels * h * w + row + left);
        }
    const double cut = static_cast<double>((bottom - top) * (right - left)) / static_cast<double>(h * w);
    return {std::move(result), detail::mixed(batch.targets, partner, 1 - cut)};
  }

 private:
  /// Where the box begins and ends along an axis.
  static std::pair<Index, Index> range(Index extent, double side, Index centre) {
    const auto half = static_cast<Index>(static_cast<double>(extent) * side) / 2;
    return {std::max<Index>(0, centre - half), std::min(extent, centre + half)};
  }

  CutMixOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
