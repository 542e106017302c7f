#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/run.hpp"

/// Resampling of images, one axis after the other.
namespace lamina::kernels {

/// One position of a resized axis: (1 - weight) x[low] + weight x[high].
template <class T>
struct ResizeTap {
  /// Positions in x.
  /// @{
  Index low, high;
  /// @}
  T weight;  ///< of the higher one
};

/// How far positions of the source and of the result lie apart: as the sizes of the axis, or as 1 and a factor.
struct ResizeRatio {
  double from;  ///< positions of the source
  double to;    ///< so many of the result
};

inline namespace LAMINA_KERNELS {

/// PyTorch's bilinear sampling without antialiasing. With align_corners the outermost positions coincide, position i
/// lying at i (in - 1) / (out - 1); else the outermost edges do, and i lies at (i + 1/2) from / to - 1/2, at least 0.
template <class T>
std::vector<ResizeTap<T>> bilinear_taps(Index in, Index out, const ResizeRatio& ratio, bool align_corners) {
  std::vector<ResizeTap<T>> taps;
  const double a = static_cast<double>(in), b = static_cast<double>(out);
  for (Index i = 0; i < out; ++i) {
    const double k = static_cast<double>(i);
    const double at =
        align_corners ? (out > 1 ? k * (a - 1) / (b - 1) : 0) : std::max(0.0, (k + 0.5) * ratio.from / ratio.to - 0.5);
    const Index low = std::min(static_cast<Index>(std::min(at, a)), in - 1), high = std::min(low + 1, in - 1);
    taps.push_back({low, high, high == low ? T(0) : static_cast<T>(at - static_cast<double>(low))});
  }
  return taps;
}

/// Position i takes that of floor(i from / to), or the last one.
template <class T>
std::vector<ResizeTap<T>> nearest_taps(Index in, Index out, const ResizeRatio& ratio) {
  std::vector<ResizeTap<T>> taps;
  for (Index i = 0; i < out; ++i) {
    const double at = static_cast<double>(i) * ratio.from / ratio.to;
    const Index place = std::min(static_cast<Index>(std::min(at, static_cast<double>(in))), in - 1);
    taps.push_back({place, place, T(0)});
  }
  return taps;
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {
/// to = a x + b y for rows of n elements; to may be x.
template <class T>
void blend_rows(Index n, T a, const T* x, T b, const T* y, T* to) {
  const simd::Pack<T> left(a), right(b);
  map_run(n, to, [&](auto load) { return left * load(x) + right * load(y); });
}

/// y [planes, rows, columns] from x [planes, h, w]: first along the rows, of which there are fewer when an image grows,
/// then between them, whole rows at a time. sampled(tap, row) is a value of a row, blend(tap, image of rows, their
/// width, to) a row of an image.
template <class T, class Tap, class Sampled, class Blend>
void resize_planes(Index planes, Index h, Index w, const std::vector<Tap>& rows, const std::vector<Tap>& columns,
                   const T* x, T* y, Sampled sampled, Blend blend) {
  const Index width = static_cast<Index>(columns.size()), height = static_cast<Index>(rows.size());
  parallel_for(0, planes, 1, [&](Index first, Index last) {
    Tensor<T> wide({h, width});
    for (Index plane = first; plane < last; ++plane) {
      T* to = wide.data();
      for (const T* row = x + plane * h * w; row != x + (plane + 1) * h * w; row += w)
        for (const Tap& tap : columns) *to++ = sampled(tap, row);
      T* out = y + plane * height * width;
      for (const Tap& tap : rows) {
        blend(tap, std::as_const(wide).data(), width, out);
        out += width;
      }
    }
  });
}

/// The transpose: dx [planes, h, w] from dy [planes, rows, columns]. for_sources(tap, f) calls f(place, weight) for
/// what a tap reads.
template <class T, class Tap, class ForSources>
void resize_planes_backward(Index planes, Index h, Index w, const std::vector<Tap>& rows,
                            const std::vector<Tap>& columns, const T* dy, T* dx, ForSources for_sources) {
  const Index width = static_cast<Index>(columns.size()), height = static_cast<Index>(rows.size());
  parallel_for(0, planes, 1, [&](Index first, Index last) {
    Tensor<T> wide({h, width});
    for (Index plane = first; plane < last; ++plane) {
      wide.fill(0);
      const T* in = dy + plane * height * width;
      for (const Tap& tap : rows) {
        for_sources(tap, [&](Index row, T weight) {
          T* const to = wide.data() + row * width;
          blend_rows(width, T(1), to, weight, in, to);
        });
        in += width;
      }
      T* const out = dx + plane * h * w;
      std::fill_n(out, h * w, T(0));
      const T* from = std::as_const(wide).data();
      for (T* row = out; row != out + h * w; row += w)
        for (const Tap& tap : columns) {
          for_sources(tap, [&](Index place, T weight) { row[place] += weight * *from; });
          ++from;
        }
    }
  });
}
}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// y [planes, rows, columns] from x [planes, h, w].
template <class T>
void resize(Index planes, Index h, Index w, const std::vector<ResizeTap<T>>& rows,
            const std::vector<ResizeTap<T>>& columns, const T* x, T* y) {
  const auto sampled = [](const ResizeTap<T>& tap, const T* row) {
    return tap.weight == 0 ? row[tap.low] : (1 - tap.weight) * row[tap.low] + tap.weight * row[tap.high];
  };
  const auto blend = [](const ResizeTap<T>& tap, const T* image, Index width, T* to) {
    const T *low = image + tap.low * width, *high = image + tap.high * width;
    if (tap.weight == 0)
      std::copy_n(low, width, to);
    else
      detail::blend_rows(width, 1 - tap.weight, low, tap.weight, high, to);
  };
  detail::resize_planes(planes, h, w, rows, columns, x, y, sampled, blend);
}

/// The transpose: dx [planes, h, w] from dy [planes, rows, columns].
template <class T>
void resize_backward(Index planes, Index h, Index w, const std::vector<ResizeTap<T>>& rows,
                     const std::vector<ResizeTap<T>>& columns, const T* dy, T* dx) {
  detail::resize_planes_backward(planes, h, w, rows, columns, dy, dx, [](const ResizeTap<T>& tap, auto f) {
    f(tap.low, 1 - tap.weight);
    if (tap.weight != 0) f(tap.high, tap.weight);
  });
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
