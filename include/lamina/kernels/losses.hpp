#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/reduce.hpp"

/// Losses and their gradients in one pass.
namespace lamina::kernels {

/// The target distributions t of a cross entropy over logits x [outer, classes, inner]:
///
///   t[k] = weight[k] * ((1 - smoothing) * p[k] + smoothing / classes)
///
/// where p are the `targets`, or 1 for the label and 0 elsewhere; weight null means ones.
template <class T>
struct CrossEntropyTargets {
  Index outer, classes, inner;
  const std::int32_t* labels;  ///< [outer, inner], each a class or ignore_index (then t = 0); or null
  std::int32_t ignore_index;
  const T* targets;  ///< [outer, classes, inner]; or null
  const T* weight;   ///< [classes]; or null
  T smoothing;

  /// Whether classes beside the label have a share.
  bool spread() const { return targets || smoothing != T(0); }
  /// The label's own share.
  T point(std::int32_t label) const { return (T(1) - smoothing) * (weight ? weight[label] : T(1)); }
};

namespace detail {

/// Calls f(i, n) for i = 0, width, ... with n = min(width, size - i) elements left.
template <class T, class F>
void for_each_vector(Index size, F f) {
  for (Index i = 0; i < size; i += simd::width<T>) f(i, std::min(simd::width<T>, size - i));
}
template <class T>
simd::Pack<T> load(const T* p, Index n) {
  return n == simd::width<T> ? simd::Pack<T>::load(p) : simd::Pack<T>::load(p, n);
}
template <class T>
void store(simd::Pack<T> v, T* p, Index n) {
  n == simd::width<T> ? v.store(p) : v.store(p, n);
}
/// v in the first n lanes, `rest` behind.
template <class T>
simd::Pack<T> first_lanes(simd::Pack<T> v, Index n, T rest) {
  if (n == simd::width<T>) return v;
  return select(simd::lanes<T>() < static_cast<simd::detail::IntegerOf<T>>(n), v, simd::Pack<T>(rest));
}

/// One sample whose classes lie side by side (inner = 1); returns its loss, gradient = scale * its gradient.
template <class T>
double cross_entropy_row(const CrossEntropyTargets<T>& t, Index sample, T scale, const T* x, T* gradient) {
  using Pack = simd::Pack<T>;
  const Index classes = t.classes;
  const std::int32_t label = t.labels ? t.labels[sample] : -1;
  if (t.labels && label == t.ignore_index) {
    std::fill_n(gradient, classes, T(0));
    return 0;
  }
  const T* const targets = t.targets ? t.targets + sample * classes : nullptr;
  const auto share = [&](Index k, Index n) {
    Pack v(t.smoothing / static_cast<T>(classes));
    if (targets) v += Pack(T(1) - t.smoothing) * load(targets + k, n);
    if (t.weight) v *= load(t.weight + k, n);
    return first_lanes(v, n, T(0));
  };

  constexpr T lowest = -std::numeric_limits<T>::infinity();
  Pack top(lowest);
  for_each_vector<T>(classes, [&](Index k, Index n) { top = max(top, Pack::load(x + k, n, lowest)); });
  const T highest = simd::max(top);

  // The gradient may lie where x does: the label's value is needed before.
  const T at_label = t.labels ? x[label] - highest : T(0);
  Pack exponentials(T(0)), shares(T(0)), products(T(0));
  for (Index first = 0; first < classes; first += summed_together) {
    Pack exponentials_part(T(0)), shares_part(T(0)), products_part(T(0));
    for_each_vector<T>(std::min(summed_together, classes - first), [&](Index i, Index n) {
      const Index k = first + i;
      const Pack v = first_lanes(load(x + k, n) - Pack(highest), n, T(0));
      const Pack e = first_lanes(exp(v), n, T(0));
      exponentials_part += e;
      store(e, gradient + k, n);
      if (t.spread()) {
        const Pack s = share(k, n);
        shares_part += s;
        products_part += s * v;
      }
    });
    exponentials += exponentials_part;
    shares += shares_part;
    products += products_part;
  }
  const T sum = simd::sum(exponentials), point = t.labels ? t.point(label) : T(0);
  const T total = simd::sum(shares) + point;
  const Pack factor(total * scale / sum);
  for_each_vector<T>(classes, [&](Index k, Index n) {
    Pack v = load(gradient + k, n) * factor;
    if (t.spread()) v -= share(k, n) * Pack(scale);
    store(v, gradient + k, n);
  });
  if (t.labels) gradient[label] -= point * scale;

  const double log_sum = std::log(static_cast<double>(sum));
  double loss = t.labels ? static_cast<double>(point) * (log_sum - static_cast<double>(at_label)) : 0;
  if (t.spread()) loss += static_cast<double>(simd::sum(shares)) * log_sum - static_cast<double>(simd::sum(products));
  return loss;
}

/// The same for n <= width neighbouring places (pixels) of a sample, from `place` on, a lane for each. v [classes] are
/// the vectors of logits, `stride` elements apart; they become those of the gradient.
template <class T>
double cross_entropy_lanes(const CrossEntropyTargets<T>& t, Index sample, Index place, Index n, T scale, T* v,
                           Index stride) {
  using Pack = simd::Pack<T>;
  const std::int32_t* const labels = t.labels ? t.labels + sample * t.inner + place : nullptr;
  const auto share = [&](Index k) {
    Pack p(t.smoothing / static_cast<T>(t.classes));
    if (t.targets) p += Pack(T(1) - t.smoothing) * load(t.targets + (sample * t.classes + k) * t.inner + place, n);
    return t.weight ? p * Pack(t.weight[k]) : p;
  };

  Pack highest(-std::numeric_limits<T>::infinity());
  for (Index k = 0; k < t.classes; ++k) highest = max(highest, Pack::load(v + k * stride));
  Pack at_label(T(0)), point(T(0)), used(T(1));  // used: 0 where the label is ignored
  for (Index i = 0; labels && i < n; ++i) {
    if (labels[i] == t.ignore_index) {
      used.v[i] = 0;
    } else {
      at_label.v[i] = v[labels[i] * stride + i];
      point.v[i] = t.point(labels[i]);
    }
  }
  at_label -= highest;
  Pack sum(T(0)), shares(T(0)), products(T(0));
  for (Index k = 0; k < t.classes;) {
    Pack sum_part(T(0)), shares_part(T(0)), products_part(T(0));
    for (const Index end = std::min(t.classes, k + summed_together); k < end; ++k) {
      const Pack x = Pack::load(v + k * stride) - highest, e = exp(x);
      e.store(v + k * stride);
      sum_part += e;
      if (t.spread()) {
        const Pack p = share(k);
        shares_part += p;
        products_part += p * x;
      }
    }
    sum += sum_part;
    shares += shares_part;
    products += products_part;
  }
  const auto ignored = used == Pack(T(0));
  const Pack factor = (shares + point) * Pack(scale) / sum;
  for (Index k = 0; k < t.classes; ++k) {
    Pack gradient = Pack::load(v + k * stride) * factor;
    if (t.spread()) gradient -= share(k) * Pack(scale);
    select(ignored, Pack(T(0)), gradient).store(v + k * stride);
  }
  const Pack log_sums = log(sum);
  double loss = 0;
  for (Index i = 0; i < n; ++i) {
    if (used[i] == T(0)) continue;
    const auto log_sum = static_cast<double>(log_sums[i]);
    if (labels) {
      loss += static_cast<double>(point[i]) * (log_sum - static_cast<double>(at_label[i]));
      v[labels[i] * stride + i] -= point[i] * scale;
    }
    if (t.spread()) loss += static_cast<double>(shares[i]) * log_sum - static_cast<double>(products[i]);
  }
  return loss;
}

/// Copies the first n columns of a matrix whose rows lie x_stride and y_stride elements apart.
template <class T>
void copy_columns(Index rows, Index n, const T* x, Index x_stride, T* y, Index y_stride) {
  constexpr Index width = simd::width<T>;
  const Index whole = n / width * width, rest = n - whole;
  for (Index k = 0; k < rows; ++k, x += x_stride, y += y_stride) {
    for (Index i = 0; i < whole; i += width) simd::Pack<T>::load(x + i).store(y + i);
    if (rest) simd::Pack<T>::load(x + whole, rest).store(y + whole, rest);
  }
}

/// The same for n <= stride places, through scratch [classes, stride]: planes of classes tend to lie a multiple of the
/// cache's size apart, where visiting them vector by vector would evict each other.
template <class T>
double cross_entropy_places(const CrossEntropyTargets<T>& t, Index sample, Index place, Index n, T scale, const T* x,
                            T* gradient, T* scratch, Index stride) {
  const Index begin = sample * t.classes * t.inner + place;
  copy_columns(t.classes, n, x + begin, t.inner, scratch, stride);
  double loss = 0;
  for_each_vector<T>(n, [&](Index i, Index left) {
    loss += cross_entropy_lanes(t, sample, place + i, left, scale, scratch + i, stride);
  });
  copy_columns(t.classes, n, scratch, stride, gradient + begin, t.inner);
  return loss;
}

}  // namespace detail

/// The sum over all samples and places of - sum over k of t[k] log softmax(x)[k]; `gradient`, which may be x, gets
/// `scale` times its gradient.
template <class T>
double cross_entropy(const CrossEntropyTargets<T>& t, T scale, const T* x, T* gradient) {
  const bool rows = t.inner == 1;
  const Index block = rows ? 1 : simd::width<T> * std::clamp<Index>(256 / t.classes, 1, 8);  // places at once
  const Index blocks = (t.inner + block - 1) / block;                                        // of each sample
  const Index units = t.outer * blocks;
  const Index grain = std::max<Index>(1, (1 << 14) / (t.classes * block));
  std::vector<double> parts(static_cast<std::size_t>((units + grain - 1) / grain));
  const Index scratch_size = rows ? 0 : t.classes * block;
  parallel_for(0, units, grain, Scratch<T>{scratch_size}, [&](Index first, Index last, T* scratch) {
    double sum = 0;
    for (Index unit = first; unit < last; ++unit) {
      const Index sample = unit / blocks, place = unit % blocks * block;
      sum += rows ? detail::cross_entropy_row(t, sample, scale, x + sample * t.classes, gradient + sample * t.classes)
                  : detail::cross_entropy_places(t, sample, place, std::min(block, t.inner - place), scale, x, gradient,
                                                 scratch, block);
    }
    parts[static_cast<std::size_t>(first / grain)] = sum;
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

/// The sum over i < n of the first of f(x[i]...), a pair of vectors; the second goes to gradient[i], which may be one
/// of the x.
template <class T, class F, class... In>
double sum_with_gradient(Index n, T* gradient, F f, const In*... x) {
  using Pack = simd::Pack<T>;
  std::vector<double> parts(static_cast<std::size_t>((n + stream_grain - 1) / stream_grain));
  parallel_for(0, n, stream_grain, [&](Index first, Index last) {
    double sum = 0;
    constexpr Index block = 64 * simd::width<T>;  // so few that single precision is enough within it
    for (Index begin = first; begin < last; begin += block) {
      Pack values(T(0));
      detail::for_each_vector<T>(std::min(block, last - begin), [&](Index i, Index left) {
        const auto [value, slope] = f(detail::load(x + begin + i, left)...);
        values += detail::first_lanes(value, left, T(0));
        detail::store(slope, gradient + begin + i, left);
      });
      sum += static_cast<double>(simd::sum(values));
    }
    parts[static_cast<std::size_t>(first / stream_grain)] = sum;
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

/// log(1 + e^-|x|) with u = e^-|x|: in single precision from the series of 2 artanh(u / (2 + u)); in double precision
/// from log(1 + u), adding what the rounding of 1 + u loses.
template <class T>
simd::Pack<T> log1p_exp_minus_abs(simd::Pack<T> x) {
  using Pack = simd::Pack<T>;
  const Pack u = exp(-abs(x));
  if constexpr (sizeof(T) == 4) {
    const Pack s = u / (u + Pack(T(2))), z = s * s;
    return s * simd::polynomial(z, T(2.0 / 13), T(2.0 / 11), T(2.0 / 9), T(2.0 / 7), T(2.0 / 5), T(2.0 / 3), T(2));
  } else {
    const Pack w = u + Pack(T(1));
    return log(w) + (u - (w - Pack(T(1)))) / w;
  }
}

}  // namespace lamina::kernels
