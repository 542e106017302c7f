#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <vector>

#include "lamina/data/loader.hpp"

using namespace lamina;

namespace {

/// n samples whose input and target are their number.
TensorDataset<float> numbers(Index n) {
  Tensor<float> x({n, 1});
  Labels y({n});
  for (Index i = 0; i < n; ++i) {
    x.data()[i] = static_cast<float>(i);
    y.data()[i] = static_cast<std::int32_t>(i);
  }
  return TensorDataset(x, y);
}

std::vector<int> epoch(DataLoader<float>& loader) {
  std::vector<int> order;
  for (auto& [inputs, targets] : loader)
    for (Index i = 0; i < targets.numel(); ++i) {
      CHECK(inputs.data()[i] == static_cast<float>(targets.data()[i]));
      order.push_back(targets.data()[i]);
    }
  return order;
}

/// Fails at one sample; counts how many were asked for.
class Fragile : public Dataset<float> {
 public:
  explicit Fragile(Index bad) : bad_(bad) {}
  Index size() const override { return 1000; }
  Example<float> get(Index i) const override {
    ++*asked;
    if (i == bad_) throw FileError("image 7.png: not a readable PNG or JPEG image");
    return {Tensor<float>::zeros({i == 900 ? 3 : 2}), Labels::zeros({})};
  }
  std::shared_ptr<std::atomic<int>> asked = std::make_shared<std::atomic<int>>(0);

 private:
  Index bad_;
};

}  // namespace

TEST_CASE("DataLoader gives every sample once, in order or shuffled by seed and epoch") {
  for (const Index prefetch : {0, 1, 2, 100}) {
    CAPTURE(prefetch);
    DataLoader plain(numbers(10), {.batch_size = 4, .prefetch = prefetch});
    CHECK(plain.size() == 3);
    CHECK(plain.samples() == 10);
    CHECK(epoch(plain) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});

    DataLoader a(numbers(100), {.batch_size = 8, .shuffle = true, .seed = 3, .prefetch = prefetch});
    DataLoader b(numbers(100), {.batch_size = 32, .shuffle = true, .seed = 3});
    DataLoader c(numbers(100), {.batch_size = 8, .shuffle = true, .seed = 4, .prefetch = prefetch});
    CHECK(a.epoch() == 0);
    const auto first = epoch(a), second = epoch(a);
    CHECK(a.epoch() == 2);
    CHECK(std::set<int>(first.begin(), first.end()).size() == 100);
    CHECK(first != second);
    CHECK(first == epoch(b));
    CHECK(first != epoch(c));
    a.set_epoch(1);
    CHECK(epoch(a) == second);
  }
}

TEST_CASE("DataLoader's last batch is smaller, or dropped") {
  std::vector<Index> sizes;
  for (auto [inputs, targets] : DataLoader(numbers(10), {.batch_size = 4})) sizes.push_back(inputs.dim(0));
  CHECK(sizes == std::vector<Index>{4, 4, 2});
  DataLoader dropping(numbers(10), {.batch_size = 4, .drop_last = true});
  CHECK(dropping.size() == 2);
  CHECK(epoch(dropping).size() == 8);
  DataLoader whole(numbers(3));
  CHECK(whole.size() == 3);
}

TEST_CASE("a transform draws from the seed, the epoch and the sample alone") {
  const Transform<float> jitter = [](Tensor<float> x, Random& random) {
    x.data()[0] += static_cast<float>(random.uniform());
    return x;
  };
  const auto values = [&](Index batch_size, bool shuffle, Index prefetch) {
    DataLoader loader(
        numbers(20),
        {.batch_size = batch_size, .shuffle = shuffle, .seed = 5, .prefetch = prefetch, .transform = jitter});
    loader.set_epoch(3);
    std::vector<float> result(20);
    for (auto& [inputs, targets] : loader)
      for (Index i = 0; i < targets.numel(); ++i)
        result[static_cast<std::size_t>(targets.data()[i])] = inputs.data()[i];
    return result;
  };
  const std::vector<float> expected = values(20, false, 0);
  for (std::size_t i = 0; i < 20; ++i)
    CHECK(expected[i] == static_cast<float>(i) + static_cast<float>(Random(5).split(3, i).uniform()));
  CHECK(values(3, true, 2) == expected);
}

TEST_CASE("what the dataset throws reaches the loop, after the batches before it") {
  for (const Index prefetch : {0, 2}) {
    DataLoader loader(Fragile(35), {.batch_size = 10, .prefetch = prefetch});
    int batches = 0;
    const auto run = [&] {
      for (auto& batch : loader) batches += batch.inputs.dim(0) == 10;
    };
    CHECK_THROWS_WITH_AS(run(), "image 7.png: not a readable PNG or JPEG image", FileError);
    CHECK(batches == 3);
    CHECK_THROWS_AS(run(), FileError);  // and again in the next epoch
    CHECK(loader.epoch() == 2);
  }
}

TEST_CASE("samples of different shapes do not make a batch") {
  DataLoader loader(Fragile(-1), {.batch_size = 1000});
  CHECK_THROWS_WITH_AS(
      loader.begin(),
      "Batch: the input of sample 900 has shape [3], others of its batch have [2]; a transform such as Resize or "
      "RandomCrop makes images equal",
      ShapeError);
  DataLoader transformed(Fragile(-1), {.batch_size = 1000, .transform = [](Tensor<float> x, Random&) { return x; }});
  CHECK_THROWS_AS(transformed.begin(), ShapeError);
}

TEST_CASE("leaving a loop early stops the background thread") {
  const Fragile data(-1);
  {
    DataLoader loader(data, {.batch_size = 10, .prefetch = 2});
    for (auto& batch : loader) {
      CHECK(batch.inputs.dim(0) == 10);
      break;
    }
    CHECK(*data.asked <= 50);  // one taken, two ready, one in the making, one begun since
    const int asked = *data.asked;
    auto it = loader.begin();
    ++it;
    CHECK(it->targets.numel() == 10);
    CHECK(*data.asked > asked);
  }
  for (int i = 0; i < 200; ++i) DataLoader(data, {.batch_size = 1, .prefetch = 1}).begin();
}

TEST_CASE("any number of workers gives the batches of one, in order, and what is thrown comes in its place") {
  const auto noisy = [](Tensor<float> x, Random& random) { return x += random.normal<float>(x.shape()); };
  const auto epochs = [&](Index prefetch, Index workers) {
    DataLoader loader(
        numbers(103),
        {.batch_size = 4, .shuffle = true, .seed = 3, .prefetch = prefetch, .workers = workers, .transform = noisy});
    std::vector<Batch<float>> result;
    for (int i = 0; i < 2; ++i)
      for (auto& batch : loader) result.push_back(std::move(batch));
    return result;
  };
  const auto one = epochs(0, 1);
  REQUIRE(one.size() == 52);
  for (const auto& [prefetch, workers] : {std::pair<Index, Index>{1, 2}, {3, 3}, {5, 8}}) {
    const auto many = epochs(prefetch, workers);
    REQUIRE(many.size() == one.size());
    for (std::size_t i = 0; i < one.size(); ++i) {
      CHECK(many[i].inputs == one[i].inputs);
      CHECK(many[i].targets == one[i].targets);
    }
  }
  for (const Index workers : {1, 4}) {
    DataLoader loader(Fragile(25), {.batch_size = 10, .prefetch = 4, .workers = workers});
    auto it = loader.begin();
    ++it;
    CHECK(it->targets.numel() == 10);
    CHECK_THROWS_AS(++it, FileError);
  }
}

TEST_CASE("a batch may be kept or moved out, and outlives its loader") {
  std::vector<Batch<float>> kept;
  {
    DataLoader loader(numbers(6), {.batch_size = 2});
    for (auto& batch : loader) kept.push_back(std::move(batch));
  }
  REQUIRE(kept.size() == 3);
  CHECK(kept[2].targets == Labels({2}, {4, 5}));
}

TEST_CASE("after its first epoch, a loader asks the system for no storage") {
  DataLoader loader(numbers(5000), {.batch_size = 500, .shuffle = true});
  epoch(loader);
  const auto before = storage_statistics().system_allocations;
  for (int i = 0; i < 5; ++i) epoch(loader);
  CHECK(storage_statistics().system_allocations == before);
}

TEST_CASE("a loader owns a temporary dataset, in braces one that is made of names alone, too") {
  const Tensor<float> x({2, 1}, {0, 1});
  struct Ones : Dataset<float> {
    Index size() const override { return 3; }
    Example<float> get(Index) const override { return {Tensor<float>::ones({1}), Labels::zeros({})}; }
  };
  DataLoader ones{Ones()};  // in parentheses the declaration of a function
  Index samples = 0;
  for (auto& [inputs, targets] : ones) samples += inputs.dim(0);
  CHECK(samples == 3);
  DataLoader pairs{TensorDataset(x, Labels({2}, {0, 1})), {.batch_size = 2}};
  CHECK(pairs.begin()->inputs == x);
}

TEST_CASE("DataLoader refuses what makes no sense") {
  CHECK_THROWS_WITH_AS(DataLoader(numbers(3), {.batch_size = 0}), "DataLoader: batch_size must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(DataLoader(numbers(3), {.prefetch = -1}), "DataLoader: prefetch must not be negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(DataLoader(numbers(3), {.workers = 0}), "DataLoader: workers must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(DataLoader(numbers(0)), "DataLoader: the dataset is empty", ValueError);
  CHECK_THROWS_WITH_AS(DataLoader(numbers(3), {.batch_size = 4, .drop_last = true}),
                       "DataLoader: drop_last leaves no batch: batch_size is 4, the dataset has 3 samples", ValueError);
  CHECK_THROWS_WITH_AS(DataLoader(numbers(3)).set_epoch(-1), "DataLoader: the epoch must not be negative, got -1",
                       ValueError);
}
