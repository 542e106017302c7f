#include <doctest/doctest.h>

#include "lamina/lamina.hpp"
#include "message.hpp"

using namespace lamina;

namespace shards {

/// Sample i is the number i, of class i.
TensorDataset<float> numbers(Index count) {
  Tensor<float> x({count, 1});
  Labels y({count});
  for (Index i = 0; i < count; ++i) {
    x(i, 0) = static_cast<float>(i);
    y(i) = static_cast<std::int32_t>(i);
  }
  return TensorDataset<float>(x, y);
}

std::vector<std::vector<std::int32_t>> batches(DataLoader<float>& loader) {
  std::vector<std::vector<std::int32_t>> result;
  for (auto& [inputs, labels] : loader) result.emplace_back(labels.values().begin(), labels.values().end());
  return result;
}

}  // namespace shards

TEST_CASE("the shards of a loader are the parts of its batches, the ragged one too") {
  using namespace shards;
  for (const Index count : {24, 25, 29, 30, 31})
    for (const Index ranks : {1, 2, 3, 5})
      for (const bool drop_last : {false, true}) {
        const LoaderOptions<float> options{.batch_size = 6, .shuffle = true, .seed = 9, .drop_last = drop_last};
        DataLoader<float> whole(numbers(count), options);
        whole.set_epoch(2);
        auto expected = batches(whole);
        std::vector<std::vector<std::int32_t>> joined(expected.size());
        for (Index rank = 0; rank < ranks; ++rank) {
          LoaderOptions<float> own = options;
          own.shard = {rank, ranks};
          DataLoader<float> loader(numbers(count), own);
          loader.set_epoch(2);
          CHECK(loader.samples() == count);
          const auto parts = batches(loader);
          CHECK(static_cast<Index>(parts.size()) == loader.size());
          CHECK(parts.size() <= expected.size());
          Index largest = 0;
          for (std::size_t b = 0; b < parts.size(); ++b) {
            CHECK(!parts[b].empty());
            largest = std::max(largest, static_cast<Index>(parts[b].size()));
            CHECK(loader.samples_of(static_cast<Index>(b)) == static_cast<Index>(expected[b].size()));
            joined[b].insert(joined[b].end(), parts[b].begin(), parts[b].end());
          }
          CHECK(loader.batch_size() == largest);
        }
        CHECK(joined == expected);
      }
}

TEST_CASE("a shard's parts differ by one at most and leave nothing out") {
  for (Index count = 0; count < 20; ++count)
    for (Index ranks = 1; ranks < 8; ++ranks) {
      Index next = 0;
      for (Index rank = 0; rank < ranks; ++rank) {
        const Shard shard{rank, ranks};
        CHECK(shard.begin(count) == next);
        next = shard.end(count);
        CHECK(next - shard.begin(count) - count / ranks >= 0);
        CHECK(next - shard.begin(count) - count / ranks <= 1);
      }
      CHECK(next == count);
    }
}

TEST_CASE("shards that cannot be are refused") {
  using namespace shards;
  const auto made = [](Index batch_size, Shard shard) {
    return testing::message([&] { DataLoader<float>(numbers(8), {.batch_size = batch_size, .shard = shard}); });
  };
  CHECK(made(2, {1, 3}) == "DataLoader: batch_size is 2, fewer than the 3 ranks that share a batch");
  CHECK(made(4, {3, 3}) == "DataLoader: there is no rank 3 of 3");
  CHECK(made(4, {-1, 3}) == "DataLoader: there is no rank -1 of 3");
  CHECK(made(4, {0, 0}) == "DataLoader: there is no rank 0 of 0");
  CHECK(made(4, {1, 3}) == "");
}
