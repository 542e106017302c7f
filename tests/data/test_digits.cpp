#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "lamina/data/digits.hpp"

using namespace lamina;

namespace {

Tensor<float> all(const TensorDataset<float>& data) {
  std::vector<Index> indices(static_cast<std::size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), Index{0});
  return data.batch(indices).inputs;
}

}  // namespace

TEST_CASE("a digit is a function of the seed and its number alone") {
  const auto data = digits(300, {.seed = 4});
  CHECK(data.size() == 300);
  CHECK(data.input_shape() == Shape{1, 28, 28});
  const auto part = digits(100, {.seed = 4, .first = 150});
  CHECK(all(part) == all(data).slice(150, 250));
  CHECK(part.targets() == data.targets().slice(150, 250));
  CHECK_FALSE(all(digits(300, {.seed = 5})) == all(data));
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 2 : 1);
  CHECK(all(digits(300, {.seed = 4})) == all(data));
  set_num_threads(threads);
  CHECK(digits(0).size() == 0);
  CHECK_THROWS_WITH_AS(digits(-1), "digits: count and first must not be negative, got -1 and 0", ValueError);
  CHECK_THROWS_WITH_AS(digits(1, {.noise = -0.5}), "digits: options must not be negative, got -0.5", ValueError);
}

TEST_CASE("digits have ink in the middle, little at the edges, and all ten classes equally often") {
  const auto data = digits(2000);
  std::array<int, 10> count{};
  for (const int label : data.targets().values()) ++count[static_cast<std::size_t>(label)];
  for (const int n : count) CHECK(std::abs(n - 200) < 60);
  const Tensor<float> x = all(digits(2000, {.noise = 0}));
  for (Index i = 0; i < 2000; ++i) {
    const Tensor<float> image = x[i];
    float total = 0, edge = 0;
    for (Index r = 0; r < 28; ++r)
      for (Index c = 0; c < 28; ++c) {
        total += image(0, r, c);
        if (r == 0 || r == 27 || c == 0 || c == 27) edge += image(0, r, c);
      }
    CHECK(total > 15);
    CHECK(total < 250);
    CHECK(edge < 0.15f * total);
  }
}

TEST_CASE("classes are distinct, yet not trivially so: a nearest-mean classifier is far from chance and from perfect") {
  constexpr Index train = 3000, test = 500, pixels = 28 * 28;
  const auto data = digits(train + test);
  const Tensor<float> x = all(data);
  std::vector<std::vector<double>> mean(10, std::vector<double>(pixels));
  std::array<double, 10> count{};
  for (Index i = 0; i < train; ++i) {
    const auto label = static_cast<std::size_t>(data.targets().data()[i]);
    ++count[label];
    for (Index p = 0; p < pixels; ++p) mean[label][static_cast<std::size_t>(p)] += x.data()[i * pixels + p];
  }
  int right = 0;
  for (Index i = train; i < train + test; ++i) {
    std::array<double, 10> distance{};
    for (std::size_t label = 0; label < 10; ++label)
      for (Index p = 0; p < pixels; ++p) {
        const double d = mean[label][static_cast<std::size_t>(p)] / count[label] - x.data()[i * pixels + p];
        distance[label] += d * d;
      }
    const auto best = std::min_element(distance.begin(), distance.end()) - distance.begin();
    right += best == data.targets().data()[i];
  }
  MESSAGE("nearest mean: ", right, " of ", test);
  CHECK(right > test / 2);
  CHECK(right < test * 95 / 100);
}
