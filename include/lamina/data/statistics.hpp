#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lamina/data/loader.hpp"

namespace lamina::inline LAMINA_ABI {

/// Of each channel of the images of a dataset, over all pixels: what Normalize takes.
struct ChannelStatistics {
  std::vector<double> mean;  ///< the average
  std::vector<double> std;   ///< the root of the mean square distance from it
};

/// The statistics of a loader's images [N, C, H, W], after its transform, in one pass (Welford 1962, as Chan et al.
/// 1979 join its parts, so that a small deviation from a large mean keeps its digits). Throws ShapeError for other
/// inputs or another number of channels in a later batch, ValueError for images without pixels.
template <class Scalar, class Target>
ChannelStatistics channel_statistics(DataLoader<Scalar, Target>& loader) {
  std::vector<double> mean, squares;  // squares: the sum of (x - mean)^2
  double count = 0;                   // of the values of a channel so far
  for (auto& [batch, targets] : loader) {
    const Tensor<Scalar>& images = batch;  // clang 14 lets no lambda have a structured binding
    require<ShapeError>(images.rank() == 4 && (mean.empty() || images.dim(1) == static_cast<Index>(mean.size())),
                        "channel_statistics: expected images [N, C, H, W] of one C, got shape ", images.shape());
    mean.resize(static_cast<std::size_t>(images.dim(1)));
    squares.resize(mean.size());
    const Index plane = images.dim(2) * images.dim(3);
    if (plane == 0) continue;
    const auto n = static_cast<double>(images.dim(0) * plane);
    for (std::size_t c = 0; c < mean.size(); ++c) {
      const auto for_each = [&](auto f) {
        for (Index i = 0; i < images.dim(0); ++i) {
          const Scalar* x = images.data() + (i * images.dim(1) + static_cast<Index>(c)) * plane;
          std::for_each_n(x, plane, f);
        }
      };
      double sum = 0, square = 0;
      for_each([&](Scalar x) { sum += static_cast<double>(x); });
      for_each([&, m = sum / n](Scalar x) { square += (static_cast<double>(x) - m) * (static_cast<double>(x) - m); });
      const double delta = sum / n - mean[c];
      mean[c] += delta * n / (count + n);
      squares[c] += square + delta * delta * count * n / (count + n);
    }
    count += n;
  }
  require(count > 0, "channel_statistics: there are no pixels");
  for (double& value : squares) value = std::sqrt(value / count);
  return {std::move(mean), std::move(squares)};
}

}  // namespace lamina::inline LAMINA_ABI
