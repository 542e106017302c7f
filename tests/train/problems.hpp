#pragma once

#include "lamina/data/loader.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"

/// A small classification that a small network learns, with everything in it that training carries along: running
/// statistics, dropout, a shuffled and randomly transformed dataset.
namespace problems {

using namespace lamina;

/// Three Gaussian clouds in eight dimensions.
inline TensorDataset<float> clouds(Index count, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> inputs = random.normal<float>({count, 8}, 0, 0.7f);
  Labels labels({count});
  for (Index i = 0; i < count; ++i) {
    labels(i) = static_cast<std::int32_t>(i % 3);
    inputs(i, labels(i)) += 2;
  }
  return {inputs, labels};
}

inline DataLoader<float> loader(std::uint64_t seed = 5) {
  return DataLoader<float>(clouds(300, 1), {.batch_size = 30, .shuffle = true, .seed = seed});
}
/// Each input with noise that depends on the epoch.
inline DataLoader<float> noisy_loader() {
  return DataLoader<float>(
      clouds(300, 1), {.batch_size = 30, .shuffle = true, .seed = 5, .transform = [](Tensor<float> x, Random& random) {
                         return x += random.normal<float>(x.shape(), 0, 0.1f);
                       }});
}
inline DataLoader<float> test_loader() { return DataLoader<float>(clouds(90, 2), {.batch_size = 40}); }

inline Sequential<float> network() {
  manual_seed(3);
  return Sequential{Linear(8, 24), BatchNorm1d(24), ReLU(), Dropout(0.2), Linear(24, 3)};
}

}  // namespace problems
