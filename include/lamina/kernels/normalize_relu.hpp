#pragma once

#include "lamina/kernels/normalization.hpp"

/// Batch normalisation and the ReLU behind it in one pass, for the first channels of images with more of them: the
/// samples of x lie x_stride elements apart, those of y and dy follow each other.
namespace lamina::kernels {

namespace detail {
/// f(i, x_offset, c): for each plane i of the samples, in parallel.
template <class F>
void for_each_plane(const ChannelShape& s, Index x_stride, F f) {
  parallel_for(0, s.samples * s.channels, std::max<Index>(1, (1 << 15) / s.length), [&](Index i, Index end) {
    for (; i < end; ++i) f(i * s.length, i / s.channels * x_stride + i % s.channels * s.length, i % s.channels);
  });
}
}  // namespace detail

/// y = max((x - mean) * scale + shift, 0), by channel.
template <class T>
void normalize_relu(const ChannelShape& s, const T* x, Index x_stride, const T* mean, const T* scale, const T* shift,
                    T* y) {
  using Pack = simd::Pack<T>;
  detail::for_each_plane(s, x_stride, [=](Index to, Index from, Index c) {
    map_run(s.length, y + to, [=](auto load) {
      return simd::max((load(x + from) - Pack(mean[c])) * Pack(scale[c]) + Pack(shift[c]), Pack(T(0)));
    });
  });
}

/// For every channel the sums of g and of g * (x - mean), where g is dy where y > 0, else 0.
template <class T>
void normalize_relu_gradient_sums(const ChannelShape& s, const T* x, Index x_stride, const T* mean, const T* y,
                                  const T* dy, double* dy_sum, double* product_sum) {
  using Pack = simd::Pack<T>;
  const Index grain = std::max<Index>(1, (1 << 15) / std::max<Index>(1, s.count()));
  parallel_for(0, s.channels, grain, [=](Index c, Index end) {
    for (; c < end; ++c) {
      dy_sum[c] = product_sum[c] = 0;
      for (Index n = 0; n < s.samples; ++n) {
        const T* const in = x + n * x_stride + c * s.length;
        const Index at = (n * s.channels + c) * s.length;
        const auto sums = sum_run<2, T>(s.length, [=](auto load) {
          const Pack g = select(load(y + at) > Pack(T(0)), load(dy + at), Pack(T(0)));
          return std::array{g, g * (load(in) - Pack(mean[c]))};
        });
        dy_sum[c] += static_cast<double>(simd::sum(sums[0]));
        product_sum[c] += static_cast<double>(simd::sum(sums[1]));
      }
    }
  });
}

/// dx += g * scale - (x - mean) * slope - offset, by channel; dx lies as x does.
template <class T>
void normalize_relu_backward(const ChannelShape& s, const T* x, Index x_stride, const T* mean, const T* y, const T* dy,
                             const T* scale, const T* slope, const T* offset, T* dx) {
  using Pack = simd::Pack<T>;
  detail::for_each_plane(s, x_stride, [=](Index at, Index from, Index c) {
    map_run(s.length, dx + from, [=](auto load) {
      const Pack g = select(load(y + at) > Pack(T(0)), load(dy + at), Pack(T(0)));
      return load(dx + from) + g * Pack(scale[c]) - (load(x + from) - Pack(mean[c])) * Pack(slope[c]) - Pack(offset[c]);
    });
  });
}

}  // namespace lamina::kernels
