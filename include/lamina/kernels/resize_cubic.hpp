#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "lamina/kernels/resize.hpp"

namespace lamina::kernels {

/// One position of an axis resized by a cubic: the sum of weight[k] x[at[k]].
template <class T>
struct CubicTap {
  std::array<Index, 4> at;  ///< positions in x, those beyond the edges at the edge
  std::array<T, 4> weight;  ///< their factors
};

inline namespace LAMINA_KERNELS {

/// PyTorch's bicubic sampling without antialiasing (Keys 1981, with a = -3/4): positions lie as for bilinear_taps, but
/// those beyond the edge are not moved to it.
template <class T>
std::vector<CubicTap<T>> cubic_taps(Index in, Index out, const ResizeRatio& ratio, bool align_corners) {
  constexpr double a = -0.75;
  const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  std::vector<CubicTap<T>> taps;
  for (Index i = 0; i < out; ++i) {
    const double k = static_cast<double>(i), n = static_cast<double>(in);
    const double at = align_corners ? (out > 1 ? k * (n - 1) / static_cast<double>(out - 1) : 0)
                                    : (k + 0.5) * ratio.from / ratio.to - 0.5;
    const double low = std::floor(std::min(at, n)), t = at - low;
    const std::array<double, 4> weights{far(t + 1), near(t), near(1 - t), far(2 - t)};
    CubicTap<T> tap;
    for (std::size_t j = 0; j < 4; ++j) {
      tap.at[j] = std::clamp<Index>(static_cast<Index>(low) - 1 + static_cast<Index>(j), 0, in - 1);
      tap.weight[j] = static_cast<T>(weights[j]);
    }
    taps.push_back(tap);
  }
  return taps;
}

/// y [planes, rows, columns] from x [planes, h, w].
template <class T>
void resize(Index planes, Index h, Index w, const std::vector<CubicTap<T>>& rows,
            const std::vector<CubicTap<T>>& columns, const T* x, T* y) {
  const auto sampled = [](const CubicTap<T>& tap, const T* row) {
    const auto& [at, weight] = tap;
    return weight[0] * row[at[0]] + weight[1] * row[at[1]] + weight[2] * row[at[2]] + weight[3] * row[at[3]];
  };
  const auto blend = [](const CubicTap<T>& tap, const T* image, Index width, T* to) {
    const auto& weight = tap.weight;
    const auto line = [&](std::size_t k) { return image + tap.at[k] * width; };
    detail::blend_rows(width, weight[0], line(0), weight[1], line(1), to);
    detail::blend_rows<T>(width, T(1), to, weight[2], line(2), to);
    detail::blend_rows<T>(width, T(1), to, weight[3], line(3), to);
  };
  detail::resize_planes(planes, h, w, rows, columns, x, y, sampled, blend);
}

/// The transpose: dx [planes, h, w] from dy [planes, rows, columns].
template <class T>
void resize_backward(Index planes, Index h, Index w, const std::vector<CubicTap<T>>& rows,
                     const std::vector<CubicTap<T>>& columns, const T* dy, T* dx) {
  detail::resize_planes_backward(planes, h, w, rows, columns, dy, dx, [](const CubicTap<T>& tap, auto f) {
    for (std::size_t k = 0; k < 4; ++k) f(tap.at[k], tap.weight[k]);
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
