#pragma once

#include <algorithm>

#include "lamina/core/shape.hpp"

namespace lamina::kernels {

/// The sizes of a convolution; x is [N, C, H, W], the weight [M, C / groups, KH, KW], y [N, M, OH, OW] with
/// OH = floor((H + top + bottom - DH (KH - 1) - 1) / SH) + 1.
struct ConvolutionShape {
  Index n, c, h, w, m, kh, kw;
  Index sh = 1, sw = 1, dh = 1, dw = 1;
  Index top = 0, bottom = 0, left = 0, right = 0;
  Index groups = 1;

  Index oh() const { return (h + top + bottom - dh * (kh - 1) - 1) / sh + 1; }
  Index ow() const { return (w + left + right - dw * (kw - 1) - 1) / sw + 1; }
  Index group_c() const { return c / groups; }
  Index group_m() const { return m / groups; }
  Index taps() const { return kh * kw; }
  /// A 1x1 convolution that is a plain matrix product on the pixels.
  bool pointwise() const {
    return taps() == 1 && sh == 1 && sw == 1 && top == 0 && bottom == 0 && left == 0 && right == 0;
  }
  /// Every channel is filtered by itself.
  bool depthwise() const { return groups == c && groups == m; }
};

/// How many tasks of `work` memory accesses or multiply-adds go into one piece of a parallel_for.
inline Index grain_of(Index work) { return std::max<Index>(1, (Index{1} << 14) / std::max<Index>(1, work)); }

}  // namespace lamina::kernels
