#pragma once

#include "lamina/kernels/blocked.hpp"
#include "lamina/kernels/layout.hpp"

#ifndef LAMINA_DISPATCHED
namespace lamina::kernels::inline LAMINA_KERNELS {

template <class T>
Index block_lanes() {
  return simd::width<T>;
}

template <class T>
Index block_channels(Index n) {
  return lanes_of<T>(n);
}

template <class T>
bool fills_vectors(Index n) {
  return 5 * n >= 4 * blocks_of<T>(n) * simd::width<T>;
}

template <class T>
void plane_to_block(Index pixels, Index channels, const T* x, T* y) {
  interleave(x, pixels, channels, 1, pixels, y, pixels);
}

template <class T>
void block_to_plane(Index pixels, Index channels, const T* x, T* y) {
  deinterleave(x, pixels, y, pixels, channels);
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
