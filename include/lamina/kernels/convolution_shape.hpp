#pragma once

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "lamina/core/shape.hpp"

namespace lamina::kernels {

/// The sizes of a convolution; x is [N, C, H, W], the weight [M, C / groups, KH, KW], y [N, M, OH, OW] with
/// OH = floor((H + top + bottom - DH (KH - 1) - 1) / SH) + 1.
struct ConvolutionShape {
  /// Samples; channels, rows and columns of x; channels of y; rows and columns of the kernel.
  /// @{
  Index n, c, h, w, m, kh, kw;
  /// @}
  /// Strides and dilations, by rows and columns.
  /// @{
  Index sh = 1, sw = 1, dh = 1, dw = 1;
  /// @}
  /// Zeros around the image.
  /// @{
  Index top = 0, bottom = 0, left = 0, right = 0;
  /// @}
  Index groups = 1;  ///< of channels
  /// Whether the channels of x, and of y, lie in blocks (blocked.hpp): there is one group then, or it is depthwise and
  /// both do.
  /// @{
  bool blocked_x = false, blocked_y = false;
  /// @}

  /// Rows and columns of y.
  /// @{
  Index oh() const { return (h + top + bottom - dh * (kh - 1) - 1) / sh + 1; }
  Index ow() const { return (w + left + right - dw * (kw - 1) - 1) / sw + 1; }
  /// @}
  /// Channels of a group, of x and of y.
  /// @{
  Index group_c() const { return c / groups; }
  Index group_m() const { return m / groups; }
  /// @}
  /// Taps of a kernel.
  Index taps() const { return kh * kw; }
  /// Each channel has a filter of its own.
  bool depthwise() const { return groups == c && groups == m; }

  /// Values from one group's part to the next, within a sample of x or y, and in the weight.
  /// @{
  Index group_x() const { return group_c() * h * w; }
  Index group_y() const { return group_m() * oh() * ow(); }
  Index group_weight() const { return group_m() * group_c() * taps(); }
  /// @}
};

inline namespace LAMINA_KERNELS {

/// The same convolution in numbers that the image bounds: where there is one row (or column) of outputs, its stride
/// says nothing and may be huge; nor does the dilation of a single tap.
inline ConvolutionShape bounded(ConvolutionShape s) {
  if (s.kh == 1) s.dh = 1;
  if (s.kw == 1) s.dw = 1;
  if (s.sh > 1 && s.oh() == 1) s.sh = 1, s.bottom = s.dh * (s.kh - 1) + 1 - s.h - s.top;
  if (s.sw > 1 && s.ow() == 1) s.sw = 1, s.right = s.dw * (s.kw - 1) + 1 - s.w - s.left;
  return s;
}

/// The convolution over dy that gives dx: C and M, input and output change places. For stride 1.
inline ConvolutionShape transposed(const ConvolutionShape& s) {
  ConvolutionShape t = s;
  t.c = s.m;
  t.m = s.c;
  t.h = s.oh();
  t.w = s.ow();
  t.top = s.dh * (s.kh - 1) - s.top;
  t.bottom = s.dh * (s.kh - 1) - s.bottom;
  t.left = s.dw * (s.kw - 1) - s.left;
  t.right = s.dw * (s.kw - 1) - s.right;
  std::swap(t.blocked_x, t.blocked_y);
  return t;
}

/// The numbers a KW + b of all taps.
inline std::vector<Index> all_taps(const ConvolutionShape& s) {
  std::vector<Index> taps(static_cast<std::size_t>(s.taps()));
  std::iota(taps.begin(), taps.end(), Index{0});
  return taps;
}

/// The input's gradient by the phases of the stride: padded pixel (i SH + p, j SW + q) of phase (p, q) gets tap (a, b)
/// times dy(i - up, j - back), where up = (a DH - p) / SH and back = (b DW - q) / SW, from the taps with a DH = p (mod
/// SH) and b DW = q (mod SW).
struct StridePhases {
  /// A tap in a phase.
  struct Tap {
    Index at;  ///< in the list of taps
    /// How far before the output's place it reads dy.
    /// @{
    Index up, back;
    /// @}
  };
  /// The taps that meet the pixels of one phase.
  struct Phase {
    /// The phase's row and column.
    /// @{
    Index p, q;
    /// @}
    std::vector<Tap> taps;  ///< of the kernel
  };
  std::vector<Phase> phases;  ///< all of the stride, SH * SW
  /// @{
  Index lines, columns;  ///< i < lines and j < columns reach all pixels of the image
  /// @}
  /// @{
  Index up, back;  ///< the largest of all taps
  /// @}

  /// Of some of the kernel's taps.
  StridePhases(const ConvolutionShape& s, const std::vector<Index>& taps)
      : lines((s.h + s.top - 1) / s.sh + 1),
        columns((s.w + s.left - 1) / s.sw + 1),
        up(s.dh * (s.kh - 1) / s.sh),
        back(s.dw * (s.kw - 1) / s.sw) {
    for (Index p = 0; p < s.sh; ++p)
      for (Index q = 0; q < s.sw; ++q) {
        Phase phase{p, q, {}};
        for (std::size_t t = 0; t < taps.size(); ++t) {
          const Index a = taps[t] / s.kw * s.dh, b = taps[t] % s.kw * s.dw;
          if (a % s.sh == p && b % s.sw == q)
            phase.taps.push_back({static_cast<Index>(t), (a - p) / s.sh, (b - q) / s.sw});
        }
        phases.push_back(std::move(phase));
      }
  }
};

/// How many tasks of `work` memory accesses or multiply-adds go into one piece of a parallel_for.
inline Index grain_of(Index work) { return std::max<Index>(1, (Index{1} << 14) / std::max<Index>(1, work)); }

/// Whether taps lie apart.
inline bool dilated(const ConvolutionShape& s) { return s.dh > 1 || s.dw > 1; }

/// Whether x or y lies in blocks.
inline bool blocked(const ConvolutionShape& s) { return s.blocked_x || s.blocked_y; }

/// Rows of taps up to which depthwise convolutions are made in blocks, and whether these sizes are.
/// @{
inline constexpr Index blocked_depthwise_rows = 64;
inline bool is_blocked_depthwise(const ConvolutionShape& s) { return s.depthwise() && s.kh <= blocked_depthwise_rows; }
/// @}

/// Tiles of side x side outputs that cover y; where it is dilated, the phases of y (dilation.hpp).
inline Index winograd_tiles(const ConvolutionShape& s, Index side) {
  return s.n * s.dh * s.dw * parts_of(parts_of(s.oh(), s.dh), side) * parts_of(parts_of(s.ow(), s.dw), side);
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
