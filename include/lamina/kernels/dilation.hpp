#pragma once

#include <algorithm>

#include "lamina/core/parallel.hpp"
#include "lamina/kernels/convolution_shape.hpp"

/// A dilated convolution of stride 1 as one without dilation. Output (i DH + p, j DW + q) of phase (p, q) reads only
/// the padded pixels (i' DH + p, j' DW + q): each phase is an image of its own, with a kernel whose taps lie side by
/// side. (TensorFlow's SpaceToBatchND and BatchToSpaceND do this to a dilated convolution.)
namespace lamina::kernels::inline LAMINA_ISA {

/// The convolution of all phases: each a sample, as large as the largest, with its padding in it.
inline ConvolutionShape phases_of(const ConvolutionShape& s) {
  ConvolutionShape phases = s;
  phases.n = s.n * s.dh * s.dw;
  phases.h = parts_of(s.oh(), s.dh) + s.kh - 1;
  phases.w = parts_of(s.ow(), s.dw) + s.kw - 1;
  phases.dh = phases.dw = 1;
  phases.top = phases.bottom = phases.left = phases.right = 0;
  return phases;
}

/// How the pixels of an image of h x w lie in phases of rows x columns: phase (p, q) holds at (i, j) the image's pixel
/// (i DH + p - top, j DW + q - left), or a zero where the image has none.
struct PhaseGrid {
  /// Phases by rows and columns; sizes of a phase; of the image; zeros before it.
  /// @{
  Index dh, dw, rows, columns, h, w, top, left;
  /// @}

  /// That of x, and of y.
  /// @{
  static PhaseGrid of_x(const ConvolutionShape& s) {
    const ConvolutionShape phases = phases_of(s);
    return {s.dh, s.dw, phases.h, phases.w, s.h, s.w, s.top, s.left};
  }
  static PhaseGrid of_y(const ConvolutionShape& s) {
    const ConvolutionShape phases = phases_of(s);
    return {s.dh, s.dw, phases.oh(), phases.ow(), s.oh(), s.ow(), 0, 0};
  }
  /// @}

  /// Values of all phases of a channel.
  Index size() const { return dh * dw * rows * columns; }

  /// f(row of a phase, row of the image or -1, first column, end of the columns that the image has, the first one's
  /// column there) for every row of every phase of all channels of n images, in parallel.
  template <class F>
  void for_rows(Index n, Index channels, F f) const {
    parallel_for(0, n * channels, grain_of(size()), [&](Index begin, Index end) {
      for (Index plane = begin; plane < end; ++plane) rows_of(plane / channels, plane % channels, channels, f);
    });
  }

 private:
  /// Of channel c of image n.
  template <class F>
  void rows_of(Index n, Index c, Index channels, const F& f) const {
    for (Index p = 0; p < dh; ++p)
      for (Index q = 0; q < dw; ++q) {
        const Index first = std::clamp<Index>(parts_of(std::max<Index>(0, left - q), dw), 0, columns);
        const Index end = std::clamp<Index>(parts_of(std::max<Index>(0, w + left - q), dw), first, columns);
        const Index plane = (((n * dh + p) * dw + q) * channels + c) * rows;
        for (Index i = 0; i < rows; ++i) {
          const Index row = i * dh + p - top;
          f((plane + i) * columns, row >= 0 && row < h ? ((n * channels + c) * h + row) * w : -1, first, end,
            first * dw + q - left);
        }
      }
  }
};

/// Images [N, channels, h, w] into phases [N DH DW, channels, rows, columns].
template <class T>
void split_phases(const PhaseGrid& grid, Index n, Index channels, const T* x, T* phases) {
  grid.for_rows(n, channels, [&](Index to, Index from, Index first, Index last, Index column) {
    T* const row = phases + to;
    if (from < 0) first = last = 0;
    std::fill_n(row, first, T(0));
    for (Index j = first; j < last; ++j, column += grid.dw) row[j] = x[from + column];
    std::fill(row + last, row + grid.columns, T(0));
  });
}

/// And back.
template <class T>
void join_phases(const PhaseGrid& grid, Index n, Index channels, const T* phases, T* y) {
  grid.for_rows(n, channels, [&](Index from, Index to, Index first, Index last, Index column) {
    if (to < 0) return;
    for (Index j = first; j < last; ++j, column += grid.dw) y[to + column] = phases[from + j];
  });
}

}  // namespace lamina::kernels::inline LAMINA_ISA
