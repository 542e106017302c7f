#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/run.hpp"

/// Normalisation over channels (batch norm) and over rows (layer norm).
namespace lamina::kernels {

/// A tensor [samples, channels, length]: images with length = H * W, features with length = 1.
struct ChannelShape {
  Index samples, channels, length;

  Index count() const { return samples * length; }  ///< values of one channel
};

namespace detail {

/// How the sums over a channel are cut: a task is a chunk of samples and a block of channels, small enough that a
/// second pass over it finds it in the cache.
struct ChannelTasks {
  static constexpr Index max_block = 256;
  Index block, chunk, blocks, chunks;

  explicit ChannelTasks(const ChannelShape& s)
      : block(s.length == 1 ? max_block : std::clamp<Index>(max_block / s.length, 1, s.channels)),
        chunk(std::clamp<Index>(4096 / s.length, 1, 256)),
        blocks((s.channels + block - 1) / block),
        chunks((s.samples + chunk - 1) / chunk) {}
};

/// sums[k][c - first] = the sum over samples begin..end-1 of the kth of f(load, parameter), for channels
/// first..last-1. load(p) is the vector of the tensor p at the present position, parameter(p) that of p, which holds
/// one value for each channel from `first` on.
template <std::size_t N, class T, class F>
void channel_sums(const ChannelShape& s, Index begin, Index end, Index first, Index last,
                  std::array<double, ChannelTasks::max_block>* sums, F f) {
  using Pack = simd::Pack<T>;
  using Sums = std::array<Pack, N>;
  constexpr Index width = simd::width<T>;
  if (s.length == 1) {  // a lane for each channel
    for (Index c = first; c < last; c += width) {
      const Index n = std::min(width, last - c);
      const auto at = [&](const T* p) { return n == width ? Pack::load(p) : Pack::load(p, n); };
      Sums total;
      total.fill(Pack(T(0)));
      for (Index i = begin; i < end; ++i)
        add<T, N>(total, f([&](const T* p) { return at(p + i * s.channels + c); },
                           [&](const T* p) { return at(p + (c - first)); }));
      for (std::size_t k = 0; k < N; ++k)
        for (Index j = 0; j < n; ++j)
          sums[k][static_cast<std::size_t>(c - first + j)] = static_cast<double>(total[k][j]);
    }
    return;
  }
  std::array<Sums, ChannelTasks::max_block> totals;
  for (Index c = first; c < last; ++c) totals[static_cast<std::size_t>(c - first)].fill(Pack(T(0)));
  for (Index i = begin; i < end; ++i)
    for (Index c = first; c < last; ++c) {
      const Index run = (i * s.channels + c) * s.length;
      const auto parameter = [&](const T* p) { return Pack(p[c - first]); };
      add<T, N>(totals[static_cast<std::size_t>(c - first)], sum_run<N, T>(s.length, [&](auto load) {
                  return f([&](const T* p) { return load(p + run); }, parameter);
                }));
    }
  for (std::size_t k = 0; k < N; ++k)
    for (Index c = 0; c < last - first; ++c)
      sums[k][static_cast<std::size_t>(c)] = static_cast<double>(simd::sum(totals[static_cast<std::size_t>(c)][k]));
}

/// f(chunk, begin, end, first, last) for every task, in parallel.
template <class F>
void for_each_channel_task(const ChannelShape& s, const ChannelTasks& tasks, F f) {
  const Index size = tasks.block * tasks.chunk * s.length;
  parallel_for(0, tasks.blocks * tasks.chunks, std::max<Index>(1, (1 << 15) / size), [&](Index i, Index i_end) {
    for (; i < i_end; ++i) {
      const Index chunk = i / tasks.blocks, first = i % tasks.blocks * tasks.block;
      f(chunk, chunk * tasks.chunk, std::min(s.samples, (chunk + 1) * tasks.chunk), first,
        std::min(s.channels, first + tasks.block));
    }
  });
}

/// y = f(load, parameter), where load(p) is the vector of the tensor p at the present position and parameter(p) that
/// of p [channels]. y may be one of the tensors.
template <class T, class F>
void map_channels(const ChannelShape& s, T* y, F f) {
  using Pack = simd::Pack<T>;
  const Index run = s.length == 1 ? s.channels : s.length;
  const Index runs = s.length == 1 ? s.samples : s.samples * s.channels;
  parallel_for(0, runs, std::max<Index>(1, (1 << 15) / run), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const auto at = [&](auto load) { return [load, i, run](const T* p) { return load(p + i * run); }; };
      if (s.length == 1)
        map_run(run, y + i * run, [&](auto load) { return f(at(load), load); });
      else
        map_run(run, y + i * run,
                [&](auto load) { return f(at(load), [c = i % s.channels](const T* p) { return Pack(p[c]); }); });
    }
  });
}

}  // namespace detail

/// Mean and (biased) variance of every channel of x, as in a two-pass computation: each chunk of a channel is summed
/// around its own mean, and the chunks are joined in a fixed order (Chan, Golub, LeVeque 1979).
template <class T>
void channel_moments(const ChannelShape& s, const T* x, double* mean, double* variance) {
  const detail::ChannelTasks tasks(s);
  struct Moments {
    double mean, squares;  // squares: the sum of (x - mean)^2
  };
  std::vector<Moments> parts(static_cast<std::size_t>(tasks.chunks * s.channels));
  detail::for_each_channel_task(s, tasks, [&](Index chunk, Index begin, Index end, Index first, Index last) {
    using Array = std::array<double, detail::ChannelTasks::max_block>;
    const auto count = static_cast<double>((end - begin) * s.length);
    std::array<Array, 2> sums;
    detail::channel_sums<1, T>(s, begin, end, first, last, sums.data(),
                               [x](auto load, auto) { return std::array{load(x)}; });
    std::array<T, detail::ChannelTasks::max_block> center;
    for (Index c = 0; c < last - first; ++c)
      center[static_cast<std::size_t>(c)] = static_cast<T>(sums[0][static_cast<std::size_t>(c)] / count);
    detail::channel_sums<2, T>(s, begin, end, first, last, sums.data(), [&](auto load, auto parameter) {
      const auto d = load(x) - parameter(center.data());
      return std::array{d, d * d};
    });
    for (Index c = 0; c < last - first; ++c) {
      const auto i = static_cast<std::size_t>(c);
      // The center is a rounded mean: sums[0] is what it misses.
      parts[static_cast<std::size_t>(chunk * s.channels + first + c)] = {
          static_cast<double>(center[i]) + sums[0][i] / count, sums[1][i] - sums[0][i] * sums[0][i] / count};
    }
  });
  for (Index c = 0; c < s.channels; ++c) {
    double count = 0;
    Moments all{0, 0};
    for (Index chunk = 0; chunk < tasks.chunks; ++chunk) {
      const Moments& part = parts[static_cast<std::size_t>(chunk * s.channels + c)];
      const auto n = static_cast<double>(std::min(tasks.chunk, s.samples - chunk * tasks.chunk) * s.length);
      const double delta = part.mean - all.mean;
      count += n;
      all.mean += delta * n / count;
      all.squares += part.squares + delta * delta * n * (count - n) / count;
    }
    mean[c] = all.mean;
    // Not std::max, which would turn a NaN into 0.
    variance[c] = all.squares < 0 ? 0 : all.squares / count;
  }
}

/// y = (x - mean) * scale + shift, by channel; y may be x.
template <class T>
void normalize_channels(const ChannelShape& s, const T* x, const T* mean, const T* scale, const T* shift, T* y) {
  detail::map_channels<T>(s, y, [=](auto load, auto parameter) {
    return (load(x) - parameter(mean)) * parameter(scale) + parameter(shift);
  });
}

/// For every channel the sums of dy and of dy * (x - mean).
template <class T>
void channel_gradient_sums(const ChannelShape& s, const T* x, const T* dy, const T* mean, double* dy_sum,
                           double* product_sum) {
  const detail::ChannelTasks tasks(s);
  std::vector<double> parts(static_cast<std::size_t>(tasks.chunks * s.channels * 2));
  detail::for_each_channel_task(s, tasks, [&](Index chunk, Index begin, Index end, Index first, Index last) {
    std::array<std::array<double, detail::ChannelTasks::max_block>, 2> sums;
    detail::channel_sums<2, T>(s, begin, end, first, last, sums.data(), [&](auto load, auto parameter) {
      const auto g = load(dy);
      return std::array{g, g * (load(x) - parameter(mean + first))};
    });
    for (Index c = first; c < last; ++c)
      for (std::size_t k = 0; k < 2; ++k)
        parts[static_cast<std::size_t>(chunk * s.channels + c) * 2 + k] = sums[k][static_cast<std::size_t>(c - first)];
  });
  for (Index c = 0; c < s.channels; ++c) {
    dy_sum[c] = product_sum[c] = 0;
    for (Index chunk = 0; chunk < tasks.chunks; ++chunk) {
      const double* part = &parts[static_cast<std::size_t>(chunk * s.channels + c) * 2];
      dy_sum[c] += part[0];
      product_sum[c] += part[1];
    }
  }
}

/// dx = dy * scale - (x - mean) * slope - offset, by channel; dx may be dy.
template <class T>
void normalize_channels_backward(const ChannelShape& s, const T* x, const T* dy, const T* mean, const T* scale,
                                 const T* slope, const T* offset, T* dx) {
  detail::map_channels<T>(s, dx, [=](auto load, auto parameter) {
    return load(dy) * parameter(scale) - (load(x) - parameter(mean)) * parameter(slope) - parameter(offset);
  });
}

/// Every row of x [rows, n] to mean 0 and variance 1, then weight * . + bias (each [n], or null for 1 and 0); y may
/// be x. With `mean` and `inverse_deviation` [rows], they get each row's moments.
template <class T>
void normalize_rows(Index rows, Index n, T epsilon, const T* x, const T* weight, const T* bias, T* y, T* mean,
                    T* inverse_deviation) {
  parallel_for(0, rows, std::max<Index>(1, (1 << 14) / n), [&](Index first, Index last) {
    for (Index r = first; r < last; ++r) {
      const T* const row = x + r * n;
      const auto count = static_cast<T>(n);
      const T center = simd::sum(sum_run<1, T>(n, [=](auto load) { return std::array{load(row)}; })[0]) / count;
      const auto sums = sum_run<2, T>(n, [=](auto load) {
        const auto d = load(row) - simd::Pack<T>(center);
        return std::array{d, d * d};
      });
      const T rest = simd::sum(sums[0]) / count;  // what the rounded mean misses
      const T variance = simd::sum(sums[1]) / count - rest * rest;
      const T factor = T(1) / std::sqrt((variance < T(0) ? T(0) : variance) + epsilon);
      map_run(n, y + r * n, [=](auto load) {
        auto v = (load(row) - simd::Pack<T>(center) - simd::Pack<T>(rest)) * simd::Pack<T>(factor);
        if (weight) v *= load(weight);
        if (bias) v += load(bias);
        return v;
      });
      if (mean) {
        mean[r] = center + rest;
        inverse_deviation[r] = factor;
      }
    }
  });
}

/// The backward of normalize_rows: dx (unless null; may be dy) and, added, weight_grad and bias_grad (unless null).
template <class T>
void normalize_rows_backward(Index rows, Index n, const T* x, const T* dy, const T* weight, const T* mean,
                             const T* inverse_deviation, T* dx, T* weight_grad, T* bias_grad) {
  // Parameter gradients are summed in pieces of rows, and the pieces in order.
  const Index grain = std::max<Index>({1, (1 << 14) / n, (rows + 63) / 64});
  const Index pieces = (rows + grain - 1) / grain;
  Tensor<T> parts(Shape{weight_grad || bias_grad ? pieces : 0, 2, n});
  T* const all_parts = parts.data();
  parallel_for(0, rows, grain, [&](Index first, Index last) {
    T* const weight_part = all_parts + first / grain * 2 * n;
    T* const bias_part = weight_part + n;
    if (all_parts) std::fill_n(weight_part, 2 * n, T(0));
    for (Index r = first; r < last; ++r) {
      const T* const row = x + r * n;
      const T* const grad = dy + r * n;
      const simd::Pack<T> center(mean[r]), factor(inverse_deviation[r]);
      const auto normalized = [&](auto load) { return (load(row) - center) * factor; };
      if (weight_grad)
        map_run(n, weight_part, [&](auto load) { return load(weight_part) + load(grad) * normalized(load); });
      if (bias_grad) map_run(n, bias_part, [&](auto load) { return load(bias_part) + load(grad); });
      if (!dx) continue;
      const auto scaled = [&](auto load) { return weight ? load(grad) * load(weight) : load(grad); };
      const auto sums = sum_run<2, T>(n, [&](auto load) {
        const auto g = scaled(load);
        return std::array{g, g * normalized(load)};
      });
      const simd::Pack<T> offset(simd::sum(sums[0]) / static_cast<T>(n)), slope(simd::sum(sums[1]) / static_cast<T>(n));
      map_run(n, dx + r * n, [&](auto load) { return (scaled(load) - offset - normalized(load) * slope) * factor; });
    }
  });
  for (Index piece = 0; piece < pieces && all_parts; ++piece) {
    const T* const part = all_parts + piece * 2 * n;
    if (weight_grad) map_run(n, weight_grad, [&](auto load) { return load(weight_grad) + load(part); });
    if (bias_grad) map_run(n, bias_grad, [&](auto load) { return load(bias_grad) + load(part + n); });
  }
}

}  // namespace lamina::kernels
