#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <set>
#include <vector>

#include "kolmogorov.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/data/mixup.hpp"
#include "lamina/train/metrics.hpp"

using namespace lamina;

namespace test_mixup {

namespace {

/// n images [2, 6, 8] that are their number everywhere; their classes are their numbers.
TensorDataset<float> numbers(Index n) {
  Tensor<float> x({n, 2, 6, 8});
  Labels y({n});
  for (Index i = 0; i < n; ++i) {
    std::fill_n(x.data() + i * 96, 96, static_cast<float>(i));
    y(i) = static_cast<std::int32_t>(i);
  }
  return TensorDataset(x, y);
}

using Soft = Batch<float, Tensor<float>>;

Soft batch_of(Index n) {
  std::vector<Index> all;
  for (Index i = 0; i < n; ++i) all.push_back(i);
  return OneHot(numbers(n), n).batch(all);
}

}  // namespace

TEST_CASE("one_hot: the label's class has all") {
  CHECK(one_hot(Labels({}, {1}), 3) == Tensor<float>({3}, {0, 1, 0}));
  CHECK(one_hot(Labels({2}, {2, 0}), 3) == Tensor<float>({2, 3}, {0, 0, 1, 1, 0, 0}));
  CHECK(one_hot<double>(Labels({1, 1, 3}, {1, 0, 1}), 2) == Tensor<double>({1, 2, 1, 3}, {0, 1, 0, 1, 0, 1}));
  CHECK_THROWS_WITH_AS(one_hot(Labels({1}, {3}), 3), "one_hot: label 3 is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(one_hot(Labels({1}, {-100}), 3), "one_hot: label -100 is not one of the 3 classes 0 to 2",
                       ValueError);
  CHECK_THROWS_WITH_AS(one_hot(Labels({1}, {0}), 0), "one_hot: there must be at least 1 class, got 0", ValueError);
}

TEST_CASE("OneHot gives a dataset's samples with shares of classes") {
  const OneHot data(numbers(4), 5);
  static_assert(std::is_same_v<decltype(data)::target_type, Tensor<float>>);
  CHECK(data.size() == 4);
  CHECK(data.get(2).target == Tensor<float>({5}, {0, 0, 1, 0, 0}));
  CHECK(data.get(2).input == numbers(4).get(2).input);
  const Soft batch = data.batch(std::vector<Index>{3, 1});
  CHECK(batch.targets == Tensor<float>({2, 5}, {0, 0, 0, 1, 0, 0, 1, 0, 0, 0}));
  CHECK(batch.inputs(0, 1, 5, 7) == 3);
  CHECK_THROWS_WITH_AS(OneHot(numbers(4), 3).get(3), "one_hot: label 3 is not one of the 3 classes 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(OneHot(numbers(4), 0), "OneHot: there must be at least 1 class, got 0", ValueError);
}

TEST_CASE("count_correct of shares of classes: where both are largest") {
  const Tensor<float> logits({3, 3}, {1, 5, 2, 0, -1, 7, 4, 4, 0}),
      shares({3, 3}, {0.3f, 0.6f, 0.1f, 0.7f, 0, 0.3f, 1, 0, 0});
  const Count count = count_correct(logits, shares);
  CHECK(count.correct == 2);
  CHECK(count.total == 3);
  CHECK_THROWS_WITH_AS(count_correct(logits, Tensor<float>({3, 2})),
                       "accuracy: expected distributions of shape [3, 3], as the logits, got shape [3, 2]", ShapeError);
}

TEST_CASE("MixUp: one share for a batch, of every sample and its target with another's") {
  const Index n = 6;
  const Soft plain = batch_of(n);
  Random random(1);
  std::vector<double> shares;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    const Soft mixed = MixUp({.alpha = 0.5})(plain, random);
    // The share is a place of the targets where a sample meets itself, or any other.
    std::set<Index> partners;
    double share = -1;
    for (Index i = 0; i < n; ++i) {
      Index partner = i;
      for (Index k = 0; k < n; ++k)
        if (k != i && mixed.targets(i, k) > 0) partner = k;
      CHECK(partners.insert(partner).second);  // a permutation
      if (partner == i) {
        CHECK(mixed.targets(i, i) == doctest::Approx(1));
      } else {
        if (share < 0) share = static_cast<double>(mixed.targets(i, i));
        CHECK(static_cast<double>(mixed.targets(i, i)) == share);
        CHECK(mixed.targets(i, i) + mixed.targets(i, partner) == doctest::Approx(1));
      }
      const double expected =
          static_cast<double>(mixed.targets(i, i)) * static_cast<double>(i) +
          (partner == i ? 0 : static_cast<double>(mixed.targets(i, partner)) * static_cast<double>(partner));
      CHECK(mixed.inputs(i, 1, 5, 7) == doctest::Approx(expected).epsilon(1e-5));
    }
    if (share >= 0) shares.push_back(share);
  }
  CHECK(shares.size() > 1900);
  // Beta(1/2, 1/2) is the law of the arcsine; a float holds shares near 0 or 1 well enough for that.
  CHECK(kolmogorov_smirnov(shares, [](double x) { return 2 / std::numbers::pi * std::asin(std::sqrt(x)); }) > 0.01);
  CHECK_THROWS_WITH_AS(MixUp({.alpha = std::numeric_limits<double>::infinity()}),
                       "MixUp: alpha must be above 0, got inf", ValueError);
  CHECK_THROWS_WITH_AS(MixUp({.alpha = 0}), "MixUp: alpha must be above 0, got 0", ValueError);
}

TEST_CASE("CutMix: a box of another image, and its share of the area for its target") {
  const Index n = 5;
  const Soft plain = batch_of(n);
  Random random(2);
  std::vector<double> widths;
  for (int repeat = 0; repeat < 3000; ++repeat) {
    const Soft mixed = CutMix()(plain, random);
    for (Index i = 0; i < n; ++i) {
      std::vector<Index> count(static_cast<std::size_t>(n));
      for (Index at = 0; at < 48; ++at) {
        const float value = mixed.inputs.data()[i * 96 + at];
        CHECK(value == mixed.inputs.data()[i * 96 + 48 + at]);  // the same in all channels
        ++count[static_cast<std::size_t>(value)];
      }
      for (Index k = 0; k < n; ++k)
        CHECK(mixed.targets(i, k) ==
              doctest::Approx(static_cast<double>(count[static_cast<std::size_t>(k)]) / 48).epsilon(1e-6));
      CHECK(std::count_if(count.begin(), count.end(), [](Index c) { return c > 0; }) <= 2);
    }
  }
  CHECK_THROWS_WITH_AS(CutMix({.alpha = -1}), "CutMix: alpha must be above 0, got -1", ValueError);
  CHECK_THROWS_WITH_AS(CutMix()(Soft{Tensor<float>({2, 3}), Tensor<float>({2, 2})}, random),
                       "CutMix: expected images [N, C, H, W], got shape [2, 3]", ShapeError);
}

TEST_CASE("CutMix's boxes have the sides of the share, cut at the edges") {
  // Of a large image the area that a box would have inside is 1 - share, which is uniform for alpha = 1.
  const Index side = 200;
  Soft batch{Tensor<float>::zeros({2, 1, side, side}), Tensor<float>({2, 2}, {1, 0, 0, 1})};
  std::fill_n(batch.inputs.data() + side * side, side * side, 1.f);
  Random random(3);
  std::vector<double> areas;
  while (areas.size() < 1500) {
    const Soft mixed = CutMix()(batch, random);
    Index top = side, bottom = -1, left = side, right = -1;
    for (Index y = 0; y < side; ++y)
      for (Index x = 0; x < side; ++x)
        if (mixed.inputs(0, 0, y, x) != 0) {
          top = std::min(top, y), bottom = std::max(bottom, y);
          left = std::min(left, x), right = std::max(right, x);
        }
    if (bottom < 0) continue;  // a sample with itself
    const double area = static_cast<double>((bottom - top + 1) * (right - left + 1)) / static_cast<double>(side * side);
    CHECK(mixed.targets(0, 1) == doctest::Approx(area).epsilon(1e-5));
    // At the edges a box is cut; the length of a side that touches none is the whole one.
    if (top > 0 && bottom < side - 1) CHECK((left == 0 || right == side - 1 || bottom - top == right - left));
    areas.push_back(area);
  }
  // Along one axis a box of side s keeps s - s^2 / 4 on average; of both, squared, over s^2 uniform in [0, 1].
  double mean = 0;
  for (const double area : areas) mean += area / static_cast<double>(areas.size());
  CHECK(mean == doctest::Approx(1.0 / 2 - 1.0 / 5 + 1.0 / 48).epsilon(0.06));
}

TEST_CASE("a loader mixes its batches: equal seeds give equal batches, whatever the threads; epochs differ") {
  const auto batches = [](Index prefetch, Index workers, std::uint64_t seed, Index epoch) {
    LoaderOptions<float, Tensor<float>> options{.batch_size = 4, .shuffle = true, .seed = seed};
    options.prefetch = prefetch;
    options.workers = workers;
    options.collate = [mixup = MixUp(), cutmix = CutMix()](Soft batch, Random& random) {
      return random.uniform() < 0.5 ? mixup(std::move(batch), random) : cutmix(std::move(batch), random);
    };
    DataLoader loader(OneHot(numbers(22), 22), options);
    loader.set_epoch(epoch);
    std::vector<Tensor<float>> result;
    for (auto& [inputs, targets] : loader) result.insert(result.end(), {inputs, targets});
    return result;
  };
  const auto one = batches(0, 1, 5, 1);
  CHECK(one.size() == 12);
  CHECK(one == batches(3, 4, 5, 1));
  CHECK(one == batches(1, 1, 5, 1));
  CHECK(one != batches(0, 1, 6, 1));
  CHECK(one != batches(0, 1, 5, 2));
}

}  // namespace test_mixup
