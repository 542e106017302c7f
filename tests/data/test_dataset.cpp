#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "lamina/data/dataset.hpp"

using namespace lamina;

TEST_CASE("TensorDataset gives samples and batches of numbers") {
  const Tensor<float> x({3, 2}, {1, 2, 3, 4, 5, 6});
  const TensorDataset data(x, Labels({3}, {7, 8, 9}));
  CHECK(data.size() == 3);
  CHECK(data.input_shape() == Shape{2});
  CHECK(data.get(1).input == Tensor<float>({2}, {3, 4}));
  CHECK(data.get(1).target == Labels({}, {8}));
  const auto [inputs, targets] = data.batch(std::vector<Index>{2, 0, 2});
  CHECK(inputs == Tensor<float>({3, 2}, {5, 6, 1, 2, 5, 6}));
  CHECK(targets == Labels({3}, {9, 7, 9}));
  CHECK(data.get(0).input.shares_storage(x));
}

TEST_CASE("TensorDataset scales bytes to [0, 1], every value correctly rounded") {
  Tensor<std::uint8_t> bytes({1, 256});
  for (Index i = 0; i < 256; ++i) bytes.data()[i] = static_cast<std::uint8_t>(i);
  const TensorDataset data(bytes, Labels({1}, {0}));
  const Tensor<float> one = data.get(0).input, many = data.batch(std::vector<Index>{0}).inputs;
  for (Index i = 0; i < 256; ++i) {
    CHECK(one.data()[i] == static_cast<float>(i) / 255.0f);
    CHECK(many.data()[i] == static_cast<float>(i) / 255.0f);
  }
  CHECK(to_float<double>(bytes).data()[51] == 0.2);
  const TensorDataset<double> doubles(bytes, Labels({1}, {0}));
  CHECK(doubles.get(0).input.data()[255] == 1.0);
}

TEST_CASE("targets may be per pixel") {
  const TensorDataset data(Tensor<float>::zeros({2, 1, 2, 2}), Labels({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}));
  CHECK(data.get(1).target == Labels({2, 2}, {4, 5, 6, 7}));
  CHECK(data.batch(std::vector<Index>{1}).targets == Labels({1, 2, 2}, {4, 5, 6, 7}));
}

TEST_CASE("Subset takes the first samples, or those of a list") {
  const TensorDataset data(Tensor<float>({3}, {1, 2, 3}), Labels({3}, {1, 2, 3}));
  const Subset first(data, 2);
  CHECK(first.size() == 2);
  CHECK(first.get(1).target.item() == 2);
  const Subset chosen(data, std::vector<Index>{2, 2, 0});
  CHECK(chosen.size() == 3);
  CHECK(chosen.batch(std::vector<Index>{0, 2}).targets == Labels({2}, {3, 1}));
  const Subset inner(chosen, 1);
  CHECK(inner.get(0).target.item() == 3);
  CHECK(Subset(data, std::vector<Index>{}).size() == 0);
  CHECK_THROWS_WITH_AS(Subset(data, 4), "Subset: expected 0 to 3 samples, got 4", ValueError);
  CHECK_THROWS_WITH_AS(Subset(data, std::vector<Index>{3}), "Subset: no sample 3, there are 3", ValueError);
  CHECK_THROWS_WITH_AS(first.get(2), "Subset: no sample 2, there are 2", ValueError);
}

TEST_CASE("datasets name what does not fit") {
  const Tensor<float> x({3, 2});
  CHECK_THROWS_WITH_AS(
      TensorDataset(x, Labels({2})),
      "TensorDataset: expected as many inputs as targets along the first axis, got shapes [3, 2] and [2]", ShapeError);
  CHECK_THROWS_WITH_AS(TensorDataset(Tensor<float>(Shape{}), Labels(Shape{})),
                       "TensorDataset: expected as many inputs as targets along the first axis, got shapes [] and []",
                       ShapeError);
  const TensorDataset data(x, Labels::zeros({3}));
  CHECK_THROWS_WITH_AS(data.get(-1), "TensorDataset: no sample -1, there are 3", ValueError);
  CHECK_THROWS_WITH_AS(data.batch(std::vector<Index>{3}), "TensorDataset: no sample 3, there are 3", ValueError);
}

TEST_CASE("split_by_class takes a share of each class, at random") {
  Labels labels({25});
  for (Index i = 0; i < 25; ++i) labels.data()[i] = i < 10 ? 7 : i < 22 ? 1 : i < 24 ? 3 : 4;  // 10, 12, 2 and 1
  const TrainTestSplit split = split_by_class(labels, 0.25, 5);
  std::map<std::int32_t, Index> tested;
  for (const Index i : split.test) ++tested[labels.data()[i]];
  CHECK(tested == std::map<std::int32_t, Index>{{7, 3}, {1, 3}, {3, 1}});  // 2.5 is 3; one of two; not the only one
  std::vector<Index> all = split.train;
  all.insert(all.end(), split.test.begin(), split.test.end());
  CHECK(!std::is_sorted(split.train.begin(), split.train.end()));
  std::sort(all.begin(), all.end());
  for (Index i = 0; i < 25; ++i) CHECK(all[static_cast<std::size_t>(i)] == i);
  CHECK(split_by_class(labels, 0.25, 5).test == split.test);
  CHECK(split_by_class(labels, 0.25, 6).test != split.test);
  CHECK(split_by_class(labels, 0).test.empty());
  CHECK(split_by_class(labels, 1).train.empty());
  CHECK_THROWS_WITH_AS(split_by_class(labels, 1.5), "split_by_class: test_share must be in [0, 1], got 1.5",
                       ValueError);
  CHECK_THROWS_WITH_AS(split_by_class(Labels({2, 2}), 0.5), "split_by_class: expected labels [N], got shape [2, 2]",
                       ShapeError);
}
