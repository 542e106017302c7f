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
  /// The sizes of the logits.
  /// @{
  Index outer, classes, inner;
  /// @}
  const std::int32_t* labels;  ///< [outer, inner], each a class or ignore_index (then t = 0); or null
  std::int32_t ignore_index;   ///< a label without loss
  const T* targets;            ///< [outer, classes, inner]; or null
  const T* weight;             ///< [classes]; or null
  T smoothing;                 ///< share that all classes have together, 0 to 1

  /// Whether classes beside the label have a share.
  bool spread() const { return targets || smoothing != T(0); }
  /// The label's own share.
  T point(std::int32_t label) const { return (T(1) - smoothing) * (weight ? weight[label] : T(1)); }
};

inline namespace LAMINA_ISA {

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

/// The logits of a sample in vectors. Row: its classes lie side by side (inner = 1), and a vector has neighbouring
/// classes. Else a vector has one class of `places` neighbouring places (pixels), a lane for each. The gradient may lie
/// where x does.
template <class T, bool Row>
struct ClassVectors {
  using Pack = simd::Pack<T>;
  const CrossEntropyTargets<T>& t;
  Index sample, place, places;  // the first place, and how many
  const T* x;
  T* gradient;
  Index stride;  // from vector to vector, of x and of the gradient

  Index size() const { return Row ? parts_of(t.classes, stride) : t.classes; }
  /// Lanes of vector k that have a class.
  Index lanes(Index k) const { return Row ? std::min(stride, t.classes - k * stride) : simd::width<T>; }
  /// Where a class of the i-th place lies.
  Index at(std::int32_t label, Index i) const { return Row ? label : label * stride + i; }
  const std::int32_t* labels() const { return t.labels ? t.labels + sample * t.inner + place : nullptr; }

  /// -inf where there is no class.
  Pack logits(Index k) const {
    if constexpr (Row) return Pack::load(x + k * stride, lanes(k), -std::numeric_limits<T>::infinity());
    return Pack::load(x + k * stride);
  }
  Pack zeros_behind(Index k, Pack v) const { return Row ? first_lanes(v, lanes(k), T(0)) : v; }
  /// Of vector k, what the classes get beside the label.
  Pack share(Index k) const {
    Pack v(t.smoothing / static_cast<T>(t.classes));
    if (t.targets) {
      const Index first = Row ? sample * t.classes + k * stride : (sample * t.classes + k) * t.inner + place;
      v += Pack(T(1) - t.smoothing) * load(t.targets + first, Row ? lanes(k) : places);
    }
    if (t.weight) v *= Row ? load(t.weight + k * stride, lanes(k)) : Pack(t.weight[k]);
    return zeros_behind(k, v);
  }
  /// Over all classes, in every lane.
  static Pack total(Pack v) { return Row ? Pack(simd::sum(v)) : v; }
  static Pack largest(Pack v) { return Row ? Pack(simd::max(v)) : v; }
};

/// Of the labels of some places: their logits and shares, and 0 in `used` where they are ignored.
template <class T>
struct PlacesLabels {
  simd::Pack<T> logit{T(0)}, point{T(0)}, used{T(1)};
  Index ignored = 0;

  template <bool Row>
  explicit PlacesLabels(const ClassVectors<T, Row>& v) {
    const std::int32_t* const labels = v.labels();
    for (Index i = 0; labels && i < v.places; ++i) {
      if (labels[i] == v.t.ignore_index) {
        used.v[i] = 0;
        ++ignored;
      } else {
        logit.v[i] = v.x[v.at(labels[i], i)];
        point.v[i] = v.t.point(labels[i]);
      }
    }
    if constexpr (Row) point = simd::Pack<T>(point[0]);
  }
};

/// The loss of some places, from the sums over their classes; the labels' gradient gets its part.
template <class T, bool Row>
double add_labels(const ClassVectors<T, Row>& v, const PlacesLabels<T>& label, simd::Pack<T> highest, simd::Pack<T> sum,
                  simd::Pack<T> shares, simd::Pack<T> products, T scale) {
  const simd::Pack<T> log_sums = Row ? sum : log(sum), logits = label.logit - highest;
  const std::int32_t* const labels = v.labels();
  double loss = 0;
  for (Index i = 0; i < v.places; ++i) {
    if (label.used[i] == T(0)) continue;
    const double log_sum = Row ? std::log(static_cast<double>(sum[i])) : static_cast<double>(log_sums[i]);
    if (labels) {
      loss += static_cast<double>(label.point[i]) * (log_sum - static_cast<double>(logits[i]));
      v.gradient[v.at(labels[i], i)] -= label.point[i] * scale;
    }
    if (v.t.spread()) loss += static_cast<double>(shares[i]) * log_sum - static_cast<double>(products[i]);
  }
  return loss;
}

/// The loss of some places of a sample; the gradient gets `scale` times theirs.
template <class T, bool Row>
double cross_entropy(const ClassVectors<T, Row>& v, T scale) {
  using Pack = simd::Pack<T>;
  const Index size = v.size(), stride = v.stride;
  const CrossEntropyTargets<T>& t = v.t;
  const PlacesLabels<T> label(v);  // before the gradient is written
  if (label.ignored == v.places) {
    for (Index k = 0; k < size; ++k) store(Pack(T(0)), v.gradient + k * stride, v.lanes(k));
    return 0;
  }

  Pack highest(-std::numeric_limits<T>::infinity());
  for (Index k = 0; k < size; ++k) highest = max(highest, v.logits(k));
  highest = v.largest(highest);
  Pack sum(T(0)), shares(T(0)), products(T(0));
  for (Index k = 0; k < size;) {
    Pack sum_part(T(0)), shares_part(T(0)), products_part(T(0));
    for (const Index end = std::min(size, k + summed_together / (Row ? stride : 1)); k < end; ++k) {
      const Pack x = v.zeros_behind(k, load(v.x + k * stride, v.lanes(k)) - highest), e = v.zeros_behind(k, exp(x));
      store(e, v.gradient + k * stride, v.lanes(k));
      sum_part += e;
      if (t.spread()) {
        const Pack share = v.share(k);
        shares_part += share;
        products_part += share * x;
      }
    }
    sum += sum_part;
    shares += shares_part;
    products += products_part;
  }
  sum = v.total(sum);
  shares = v.total(shares);
  products = v.total(products);

  const auto ignored = label.used == Pack(T(0));
  const Pack factor = (shares + label.point) * Pack(scale) / sum;
  for (Index k = 0; k < size; ++k) {
    T* const to = v.gradient + k * stride;
    Pack gradient = load(to, v.lanes(k)) * factor;
    if (t.spread()) gradient -= v.share(k) * Pack(scale);
    store(Row ? gradient : select(ignored, Pack(T(0)), gradient), to, v.lanes(k));
  }
  return add_labels(v, label, highest, sum, shares, products, scale);
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

/// n <= stride neighbouring places of a sample, through scratch [classes, stride]: planes of classes tend to lie a
/// multiple of the cache's size apart, where visiting them vector by vector would evict each other.
template <class T>
double cross_entropy_places(const CrossEntropyTargets<T>& t, Index sample, Index place, Index n, T scale, const T* x,
                            T* gradient, T* scratch, Index stride) {
  const Index begin = sample * t.classes * t.inner + place;
  copy_columns(t.classes, n, x + begin, t.inner, scratch, stride);
  double loss = 0;
  for_each_vector<T>(n, [&](Index i, Index left) {
    loss += cross_entropy(ClassVectors<T, false>{t, sample, place + i, left, scratch + i, scratch + i, stride}, scale);
  });
  copy_columns(t.classes, n, scratch, stride, gradient + begin, t.inner);
  return loss;
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

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
      sum += rows ? detail::cross_entropy(detail::ClassVectors<T, true>{t, sample, 0, 1, x + sample * t.classes,
                                                                        gradient + sample * t.classes, simd::width<T>},
                                          scale)
                  : detail::cross_entropy_places(t, sample, place, std::min(block, t.inner - place), scale, x, gradient,
                                                 scratch, block);
    }
    parts[static_cast<std::size_t>(first / grain)] = sum;
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

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

}  // namespace LAMINA_ISA

}  // namespace lamina::kernels
