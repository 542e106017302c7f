#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/train/retrieval.hpp"

using namespace lamina;

TEST_CASE("retrieval_ranks counts what comes before the best of one's own") {
  const Tensor<double> queries({3, 2}, {1, 0, 0, 1, 1, 1});
  const Tensor<double> targets({4, 2}, {1, 0, 0.5, 0, 0, 2, 1, 1});
  const std::vector<Index> query_items{1, 2, 0}, target_items{0, 1, 1, 2};
  // Products: 1 .5 0 1; 0 0 2 1; 1 .5 2 2, the own ones being .5 and 0; 1; 1.
  CHECK(retrieval_ranks(queries, query_items, targets, target_items) == std::vector<Index>{2, 1, 2});
  const std::vector<Index> ranks{0, 4, 5, 0};
  CHECK(recall_at(1, ranks) == 0.5);
  CHECK(recall_at(5, ranks) == 0.75);
  CHECK(recall_at(6, ranks) == 1);
}

TEST_CASE("retrieval_ranks: equals and what is no number count against the query") {
  const Tensor<float> same = Tensor<float>::ones({5, 3});
  const std::vector<Index> items{0, 1, 2, 3, 4};
  CHECK(retrieval_ranks(same, items, same, items) == std::vector<Index>(5, 4));
  const auto nan = Tensor<float>::full({5, 3}, std::numeric_limits<float>::quiet_NaN());
  CHECK(retrieval_ranks(nan, items, nan, items) == std::vector<Index>(5, 4));
}

TEST_CASE("retrieval_ranks agrees with sorting, over many blocks") {
  Random random(3);
  const Tensor<float> queries = random.normal<float>({200, 8}), targets = random.normal<float>({300, 8});
  std::vector<Index> query_items, target_items;
  for (Index i = 0; i < 200; ++i) query_items.push_back(random.below(40));
  for (Index i = 0; i < 300; ++i) target_items.push_back(i < 40 ? i : random.below(40));
  const std::vector<Index> ranks = retrieval_ranks(queries, query_items, targets, target_items);
  for (Index q = 0; q < 200; ++q) {
    std::vector<std::pair<double, Index>> order;
    for (Index t = 0; t < 300; ++t) {
      double product = 0;
      for (Index d = 0; d < 8; ++d) product += double{queries(q, d)} * double{targets(t, d)};
      order.emplace_back(-product, target_items[static_cast<std::size_t>(t)]);
    }
    std::sort(order.begin(), order.end());
    Index before = 0;
    while (order[static_cast<std::size_t>(before)].second != query_items[static_cast<std::size_t>(q)]) ++before;
    CHECK(ranks[static_cast<std::size_t>(q)] == before);
  }
}

TEST_CASE("recall_by_chance") {
  CHECK(recall_by_chance(1, 1, 200) == doctest::Approx(0.005));
  CHECK(recall_by_chance(10, 1, 200) == doctest::Approx(0.05));
  CHECK(recall_by_chance(2, 2, 4) == doctest::Approx(1 - 1.0 / 6));
  CHECK(recall_by_chance(3, 2, 4) == 1);
  CHECK(recall_by_chance(9, 1, 4) == 1);
}

TEST_CASE("retrieval_ranks refuses what does not fit") {
  const Tensor<float> two({2, 3}), four({2, 4});
  const std::vector<Index> items{0, 1}, others{0, 0};
  CHECK_THROWS_WITH_AS(retrieval_ranks(two, items, four, items),
                       "retrieval_ranks: expected queries [Q, D], targets [T, D] and their items, got shapes [2, 3] "
                       "and [2, 4] with 2 and 2 items",
                       ShapeError);
  CHECK_THROWS_WITH_AS(retrieval_ranks(Tensor<float>::ones({2, 3}), items, Tensor<float>::ones({2, 3}), others),
                       "retrieval_ranks: query 1 is of item 1, which has no target", ValueError);
}
