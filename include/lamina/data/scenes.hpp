#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/core/size2.hpp"
#include "lamina/data/dataset.hpp"

namespace lamina::inline LAMINA_ABI {

/// The classes of scenes().
inline constexpr std::array<std::string_view, 4> scene_classes = {"ground", "signal", "stop", "go"};

/// Options of scenes.
struct ScenesOptions {
  Size2 size = 64;         ///< of the images
  std::uint64_t seed = 0;  ///< of all scenes; see first
  Index first = 0;         ///< the number of the first scene: disjoint ranges give disjoint training and test sets
  double noise = 0.06;     ///< standard deviation of the pixels'; 1 is from black to white
  /// Pixels at least between the signal's edge and every other shape's: beyond what a backbone sees, context decides.
  /// If positive, the signal is in a corner, and there may be fewer other shapes, where they do not find a place.
  double apart = 0;
};

namespace detail {

/// A disc, square or triangle, by how far a place is inside (about pixels; negative: outside).
struct SceneShape {
  Index kind;
  double x, y, radius, angle;

  double inside(double px, double py) const {
    const double dx = px - x, dy = py - y, c = std::cos(angle), s = std::sin(angle);
    const double u = c * dx + s * dy, v = c * dy - s * dx;
    if (kind == 0) return radius - std::hypot(u, v);
    if (kind == 1) return 0.87 * radius - std::max(std::abs(u), std::abs(v));
    return 0.62 * radius - std::max({v, 0.866 * u - 0.5 * v, -0.866 * u - 0.5 * v});
  }
};

inline void draw_scene(const ScenesOptions& options, Random random, std::uint8_t* image, std::int32_t* labels) {
  const Index height = options.size.h, width = options.size.w, plane = height * width;
  const double side = static_cast<double>(std::min(height, width));
  std::vector<SceneShape> shapes;
  std::vector<std::array<double, 3>> colors;
  const Index wanted = 5 + random.below(4);
  for (int attempt = 0; attempt < 200 && static_cast<Index>(shapes.size()) < wanted; ++attempt) {
    const double radius = side * (0.08 + 0.06 * random.uniform());
    SceneShape shape{random.below(3), radius + (static_cast<double>(width) - 2 * radius) * random.uniform(),
                     radius + (static_cast<double>(height) - 2 * radius) * random.uniform(), radius,
                     6.2832 * random.uniform()};
    if (options.apart > 0 && shapes.empty()) {
      shape.x = shape.x < 0.5 * static_cast<double>(width) ? radius : static_cast<double>(width) - radius;
      shape.y = shape.y < 0.5 * static_cast<double>(height) ? radius : static_cast<double>(height) - radius;
    }
    if (std::any_of(shapes.begin(), shapes.end(), [&](const SceneShape& other) {
          const bool decides = options.apart > 0 && &other == &shapes[0];  // corners are 1.24 radii away
          return std::hypot(other.x - shape.x, other.y - shape.y) <
                 (other.radius + shape.radius) * (decides ? 1.24 : 1) + 1 + (decides ? options.apart : 0);
        }))
      continue;
    shapes.push_back(shape);
    colors.push_back({0.2 + 0.4 * random.uniform(), 0.25 + 0.15 * random.uniform(), 0.65 + 0.2 * random.uniform()});
  }
  const bool go = random.below(2) == 1;
  colors[0] = go ? std::array{0.2, 0.75, 0.3} : std::array{0.9, 0.25, 0.15};
  const double base = 0.45 + 0.2 * random.uniform(), across = 0.3 * random.uniform() - 0.15,
               down = 0.3 * random.uniform() - 0.15;
  const Tensor<float> noise = random.normal<float>({3, height, width}, 0, static_cast<float>(options.noise));
  for (Index i = 0; i < height; ++i)
    for (Index j = 0; j < width; ++j) {
      const double px = static_cast<double>(j) + 0.5, py = static_cast<double>(i) + 0.5;
      const double ground =
          base + across * (px / static_cast<double>(width) - 0.5) + down * (py / static_cast<double>(height) - 0.5);
      std::array<double, 3> color{ground, ground, 0.9 * ground};
      std::int32_t label = 0;
      for (std::size_t k = 0; k < shapes.size(); ++k) {
        const double cover = std::clamp(shapes[k].inside(px, py) + 0.5, 0.0, 1.0);
        for (std::size_t c = 0; c < 3; ++c) color[c] += cover * (colors[k][c] - color[c]);
        if (cover >= 0.5) label = k == 0 ? 1 : go ? 3 : 2;
      }
      labels[i * width + j] = label;
      for (Index c = 0; c < 3; ++c) {
        const double value =
            color[static_cast<std::size_t>(c)] + static_cast<double>(noise.data()[c * plane + i * width + j]);
        image[c * plane + i * width + j] = static_cast<std::uint8_t>(255 * std::clamp(value, 0.0, 1.0) + 0.5);
      }
    }
}

}  // namespace detail

/// Drawn scenes for segmentation, which need no download: five to eight discs, squares and triangles on grey ground.
/// One of them is the signal; all the others, blue to violet, stop if it is red and go if it is green, wherever it is.
/// Their neighbourhood does not tell, so that labels need the context of the whole image. Images of bytes [count, 3, H,
/// W], labels [count, H, W] of scene_classes; scene i depends on the seed and on first + i only. Throws ValueError for
/// a negative count or sides below 16.
template <class Scalar = float>
TensorDataset<Scalar> scenes(Index count, const ScenesOptions& options = {}) {
  const auto [height, width] = options.size;
  require(count >= 0, "scenes: the count must not be negative, got ", count);
  require(height >= 16 && width >= 16, "scenes: sides must be at least 16, got ", options.size);
  Tensor<std::uint8_t> images({count, 3, height, width});
  Labels labels({count, height, width});
  std::uint8_t* const pixels = images.data();
  std::int32_t* const classes = labels.data();
  const Index plane = height * width;
  parallel_for(0, count, 1, [&](Index from, Index to) {
    for (Index i = from; i < to; ++i)
      detail::draw_scene(options, Random(options.seed).split(static_cast<std::uint64_t>(options.first + i)),
                         pixels + i * 3 * plane, classes + i * plane);
  });
  return TensorDataset<Scalar>(std::move(images), std::move(labels));
}

}  // namespace lamina::inline LAMINA_ABI
