#include <doctest/doctest.h>

#include <cmath>

#include "lamina/data/statistics.hpp"

using namespace lamina;

TEST_CASE("channel_statistics are the mean and the deviation of each channel, by parts as at once") {
  Tensor<float> images = Random(2).normal({7, 2, 3, 5});
  const auto channel = [&](Index i, Index c) { return images.data() + (i * 2 + c) * 15; };
  for (Index i = 0; i < 7; ++i)
    for (Index k = 0; k < 15; ++k) channel(i, 1)[k] = 1000 + channel(i, 1)[k] / 1024;
  const TensorDataset<float> data(images, Labels({7}));
  for (const Index batch : {1, 3, 7}) {
    DataLoader loader(data, {.batch_size = batch});
    const ChannelStatistics found = channel_statistics(loader);
    REQUIRE(found.mean.size() == 2);
    for (Index c = 0; c < 2; ++c) {
      double mean = 0, square = 0;
      for (Index i = 0; i < 7; ++i)
        for (Index k = 0; k < 15; ++k) mean += static_cast<double>(channel(i, c)[k]) / 105;
      for (Index i = 0; i < 7; ++i)
        for (Index k = 0; k < 15; ++k) square += std::pow(static_cast<double>(channel(i, c)[k]) - mean, 2) / 105;
      CHECK(found.mean[static_cast<std::size_t>(c)] == doctest::Approx(mean).epsilon(1e-13));
      CHECK(found.std[static_cast<std::size_t>(c)] == doctest::Approx(std::sqrt(square)).epsilon(1e-9));
    }
  }
  DataLoader halved(data, {.batch_size = 4, .transform = [](Tensor<float> x, Random&) { return x *= 0.5f, x; }});
  CHECK(channel_statistics(halved).mean[1] == doctest::Approx(500).epsilon(1e-4));
}

TEST_CASE("channel_statistics refuse what has no channels or pixels") {
  DataLoader vectors(TensorDataset<float>(Tensor<float>({2, 3}), Labels({2})), {});
  CHECK_THROWS_WITH_AS(channel_statistics(vectors),
                       "channel_statistics: expected images [N, C, H, W] of one C, got shape [1, 3]", ShapeError);
  DataLoader empty(TensorDataset<float>(Tensor<float>({2, 3, 0, 4}), Labels({2})), {});
  CHECK_THROWS_WITH_AS(channel_statistics(empty), "channel_statistics: there are no pixels", ValueError);
}
