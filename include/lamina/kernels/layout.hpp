#pragma once

#include <algorithm>

#include "lamina/core/parallel.hpp"
#include "lamina/core/shape.hpp"

/// Channels in blocks: the channels of a block lie side by side at every pixel, L = block_lanes<T>() of them, which
/// fill a vector. Images [N, C, H, W] are then [N, ceil(C / L), H, W, L]; the lanes behind the last channel hold zeros.
namespace lamina::kernels {

inline namespace LAMINA_KERNELS {

/// Lanes of the blocks of channels that kernels make: channels side by side at a pixel.
template <class T>
Index block_lanes();

/// Channels in each of the blocks in which a convolution sums its n input channels.
template <class T>
Index block_channels(Index n);

/// Whether blocks of one vector hold n channels with less than a fifth of their lanes empty.
template <class T>
bool fills_vectors(Index n);

/// One block of an image: planes of `channels` channels into a block, zeros in the other lanes, and back.
/// @{
template <class T>
void plane_to_block(Index pixels, Index channels, const T* x, T* y);
template <class T>
void block_to_plane(Index pixels, Index channels, const T* x, T* y);
/// @}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {

/// f(channels, place in planes, place in blocks) for each block of images [n, channels, pixels].
template <class T, class F>
void for_each_block(Index n, Index channels, Index pixels, F f) {
  const Index lanes = block_lanes<T>(), blocks = parts_of(channels, lanes);
  parallel_for(0, n * blocks, std::max<Index>(1, (Index{1} << 14) / (pixels * lanes)), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const Index channel = i % blocks * lanes;
      f(std::min(lanes, channels - channel), (i / blocks * channels + channel) * pixels, i * pixels * lanes);
    }
  });
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// Images [n, channels, pixels] in blocks, as [n, blocks, pixels, L], and back.
/// @{
template <class T>
void planes_to_blocks(Index n, Index channels, Index pixels, const T* x, T* y) {
  detail::for_each_block<T>(n, channels, pixels, [=](Index count, Index plane, Index block) {
    plane_to_block(pixels, count, x + plane, y + block);
  });
}
template <class T>
void blocks_to_planes(Index n, Index channels, Index pixels, const T* x, T* y) {
  detail::for_each_block<T>(n, channels, pixels, [=](Index count, Index plane, Index block) {
    block_to_plane(pixels, count, x + block, y + plane);
  });
}
/// @}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels

#ifndef LAMINA_DISPATCHED
#include "lamina/kernels/layout-inl.hpp"
#endif
