#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/size2.hpp"
#include "lamina/nn/context/sagan_attention.hpp"

namespace lamina::inline LAMINA_ABI {

/// Which keys a head's queries see, of YLG's attention (Daras et al. 2020, section 3). Two heads are the two steps in
/// which information comes from any key to any query of a row-like order of the pixels: within a stretch of s = floor(
/// sqrt(keys)) keys, and at every s-th key. "Left" looks back, "right" the other way.
enum class YLGStep { right_floor, right_repetitive, left_floor, left_repetitive };

/// For each query the keys that it sees, query q's from begin[q] to begin[q + 1].
struct SparseKeys {
  std::vector<Index> begin;  ///< one more than there are queries
  std::vector<Index> key;    ///< of all queries, one query's in rising order
};

/// The keys of h x w that queries of H x W see. The order of the pixels is by their Manhattan distance from the first
/// one ("enumerated shifted grid"), so that what is near in the order is near in the image. Where there are more
/// queries than keys, the pattern repeats for every h w of them, counted row by row, as in the authors' program
/// (masks.py). Throws ValueError unless H W is a multiple of h w, and h w at least 1.
inline SparseKeys ylg_keys(YLGStep step, Size2 queries, Size2 keys) {
  const Index n = keys.h * keys.w, count = queries.h * queries.w;
  require(n >= 1 && count % n == 0, "ylg_keys: expected a multiple of ", keys.h, " x ", keys.w, " queries, got ",
          queries.h, " x ", queries.w);
  std::vector<Index> pixel;  // of each place in the order
  for (Index distance = 0; distance < keys.h + keys.w - 1; ++distance)
    for (Index i = 0; i < keys.h; ++i)
      if (const Index j = distance - i; j >= 0 && j < keys.w) pixel.push_back(i * keys.w + j);
  const auto stride = static_cast<Index>(std::floor(std::sqrt(static_cast<double>(n))));
  std::vector<std::vector<Index>> seen(static_cast<std::size_t>(n));
  const auto sees = [&](Index query, Index key) {
    seen[static_cast<std::size_t>(pixel[static_cast<std::size_t>(query)])].push_back(
        pixel[static_cast<std::size_t>(key)]);
  };
  for (Index place = 0; place < n; ++place)
    if (step == YLGStep::right_floor || step == YLGStep::left_floor) {
      for (Index other = place - place % stride; other <= place; ++other)
        step == YLGStep::left_floor ? sees(place, other) : sees(other, place);
    } else {
      sees(place, place);
      const Index back = step == YLGStep::right_repetitive ? stride - 1 : 0;
      for (Index other = stride - 1; other < n; other += stride)
        if (other - back != place) sees(place, other - back);
    }
  SparseKeys result{{0}, {}};
  for (auto& row : seen) std::sort(row.begin(), row.end());
  for (Index query = 0; query < count; ++query) {
    const auto& row = seen[static_cast<std::size_t>(query % n)];
    result.key.insert(result.key.end(), row.begin(), row.end());
    result.begin.push_back(static_cast<Index>(result.key.size()));
  }
  return result;
}

/// The core of YLG's attention: eight heads, each with its own eighth of the channels, whose queries see the keys of
/// ylg_keys for the steps RF, RR, RF, RR, LF, LR, LF, LR:
///
///   y[d 8 + head]_i = sum over the keys j that i sees of softmax over j (q_head,i · k_head,j) v_head,j[d]
///
/// Takes queries [N, K, H, W], keys [N, K, h, w] and values [N, V, h, w], and gives y [N, V, H, W], whose channels are
/// in the order of the authors' program. Throws ShapeError for other shapes, or unless K and V are multiples of 8 and H
/// W one of h w.
template <class Scalar = float>
class YLGCore : public JointLayer<YLGCore<Scalar>, Scalar> {
 public:
  static constexpr Index heads = 8;  ///< as many as steps

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes queries, keys and values, got ", x.size(), " values");
    const Shape &q = x[0].shape(), &k = x[1].shape(), &v = x[2].shape();
    const bool fits = q.rank() == 4 && k.rank() == 4 && v.rank() == 4 && k[0] == q[0] && v[0] == q[0] && k[1] == q[1] &&
                      k[2] == v[2] && k[3] == v[3] && k[1] * k[2] * k[3] > 0 && v[1] > 0 && k[1] % heads == 0 &&
                      v[1] % heads == 0 && q[2] * q[3] % (k[2] * k[3]) == 0;
    require<ShapeError>(fits, *this,
                        ": expected queries [N, K, H, W], keys [N, K, h, w] and values [N, V, h, w], K and "
                        "V multiples of 8 and H W one of h w, got ",
                        q, ", ", k, " and ", v);
    return q.with(1, v[1]);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    const Shape &q = x[0].shape(), &v = x[2].shape();
    Index pairs = 0;
    for (const SparseKeys& pattern : patterns(q, v)) pairs += 2 * static_cast<Index>(pattern.key.size());
    return q[0] * pairs * ((q[1] + v[1]) / heads);
  }

 private:
  /// Of the four steps; a head h has that of steps[h].
  static std::array<SparseKeys, 4> patterns(const Shape& q, const Shape& k) {
    const auto of = [&](YLGStep step) { return ylg_keys(step, {q[2], q[3]}, {k[2], k[3]}); };
    return {of(YLGStep::right_floor), of(YLGStep::right_repetitive), of(YLGStep::left_floor),
            of(YLGStep::left_repetitive)};
  }
  static constexpr std::array<std::size_t, heads> steps{0, 1, 0, 1, 2, 3, 2, 3};

  /// A head of an image: its matrices with a row for each pixel.
  struct Head {
    Index n, m, size, depth;  // queries, keys, channels of both, of the values
    std::vector<Scalar> q, k, v;
  };
  /// rows[pixel, c] = x[first + c step, pixel], or back.
  static void gather(Index pixels, Index channels, const Scalar* x, Index step, Scalar* rows) {
    for (Index c = 0; c < channels; ++c)
      for (Index i = 0; i < pixels; ++i) rows[i * channels + c] = x[c * step * pixels + i];
  }
  static void scatter(Index pixels, Index channels, const Scalar* rows, Index step, Scalar* x) {
    for (Index c = 0; c < channels; ++c)
      for (Index i = 0; i < pixels; ++i) x[c * step * pixels + i] = rows[i * channels + c];
  }
  static Scalar dot(const Scalar* a, const Scalar* b, Index n) {
    Scalar sum(0);
    for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }
  static void add(Scalar factor, const Scalar* from, Index n, Scalar* to) {
    for (Index i = 0; i < n; ++i) to[i] += factor * from[i];
  }

  /// f(image, head index, the head, its pattern) for all heads of all images.
  template <class F>
  static void each(const Tensor<Scalar>& q, const Tensor<Scalar>& k, const Tensor<Scalar>& v, F f) {
    const Index n = q.dim(2) * q.dim(3), m = k.dim(2) * k.dim(3), size = q.dim(1) / heads, depth = v.dim(1) / heads;
    const std::array<SparseKeys, 4> all = patterns(q.shape(), k.shape());
    parallel_for(0, q.dim(0) * heads, 1, [&](Index first, Index last) {
      Head head{n, m, size, depth, {}, {}, {}};
      head.q.resize(static_cast<std::size_t>(n * size));
      head.k.resize(static_cast<std::size_t>(m * size));
      head.v.resize(static_cast<std::size_t>(m * depth));
      for (Index task = first; task < last; ++task) {
        gather(n, size, q.data() + task * size * n, 1, head.q.data());
        gather(m, size, k.data() + task * size * m, 1, head.k.data());
        gather(m, depth, v.data() + task * depth * m, 1, head.v.data());
        f(task / heads, task % heads, head, all[steps[static_cast<std::size_t>(task % heads)]]);
      }
    });
  }
  /// The weights of the keys that query i sees.
  static void weights(const Head& head, const Index* key, Index count, Index i, Scalar* p) {
    for (Index j = 0; j < count; ++j)
      p[j] = dot(head.q.data() + i * head.size, head.k.data() + key[j] * head.size, head.size);
    const Scalar most = *std::max_element(p, p + count);
    Scalar sum(0);
    for (Index j = 0; j < count; ++j) sum += p[j] = std::exp(p[j] - most);
    for (Index j = 0; j < count; ++j) p[j] /= sum;
  }
  /// f(query, its keys, how many, their weights) for a head.
  template <class F>
  static void each_query(const Head& head, const SparseKeys& pattern, F f) {
    std::vector<Scalar> p(static_cast<std::size_t>(head.m));
    for (Index i = 0; i < head.n; ++i) {
      const Index begin = pattern.begin[static_cast<std::size_t>(i)];
      const Index count = pattern.begin[static_cast<std::size_t>(i + 1)] - begin;
      const Index* const key = pattern.key.data() + begin;
      weights(head, key, count, i, p.data());
      f(i, key, count, p.data());
    }
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const auto& in = std::as_const(x);
    Tensor<Scalar> y(output_shapes(x)[0]);
    Scalar* const out = y.data();
    each(in[0].tensor, in[1].tensor, in[2].tensor,
         [&](Index image, Index index, const Head& head, const SparseKeys& pattern) {
           std::vector<Scalar> rows(static_cast<std::size_t>(head.n * head.depth));
           each_query(head, pattern, [&](Index i, const Index* key, Index count, const Scalar* p) {
             for (Index j = 0; j < count; ++j)
               add(p[j], head.v.data() + key[j] * head.depth, head.depth, rows.data() + i * head.depth);
           });
           scatter(head.n, head.depth, rows.data(), heads, out + (image * head.depth * heads + index) * head.n);
         });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor, x[2].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [q, k, v] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>>();
    Tensor<Scalar> dq(q.shape()), dk(k.shape()), dv(v.shape());
    Scalar *const to_q = dq.data(), *const to_k = dk.data(), *const to_v = dv.data();
    const Scalar* const gradient = std::as_const(dy).data();
    each(q, k, v, [&](Index image, Index index, const Head& head, const SparseKeys& pattern) {
      const auto zeros = [](Index n) { return std::vector<Scalar>(static_cast<std::size_t>(n)); };
      const Index n = head.n, m = head.m, size = head.size, depth = head.depth;
      std::vector<Scalar> g = zeros(n * depth), hq = zeros(n * size), hk = zeros(m * size), hv = zeros(m * depth),
                          ds = zeros(m);
      gather(n, depth, gradient + (image * depth * heads + index) * n, heads, g.data());
      each_query(head, pattern, [&](Index i, const Index* key, Index count, const Scalar* p) {
        const Scalar* const row = g.data() + i * depth;
        Scalar mean(0);
        for (Index j = 0; j < count; ++j) {
          add(p[j], row, depth, hv.data() + key[j] * depth);
          ds[static_cast<std::size_t>(j)] = dot(row, head.v.data() + key[j] * depth, depth);
          mean += p[j] * ds[static_cast<std::size_t>(j)];
        }
        for (Index j = 0; j < count; ++j) {
          const Scalar slope = p[j] * (ds[static_cast<std::size_t>(j)] - mean);
          add(slope, head.k.data() + key[j] * size, size, hq.data() + i * size);
          add(slope, head.q.data() + i * size, size, hk.data() + key[j] * size);
        }
      });
      const Index task = image * heads + index;
      scatter(n, size, hq.data(), 1, to_q + task * size * n);
      scatter(m, size, hk.data(), 1, to_k + task * size * m);
      scatter(m, depth, hv.data(), 1, to_v + task * depth * m);
    });
    return {std::move(dq), std::move(dk), std::move(dv)};
  }
};

/// The attention of "Your Local GAN" (Daras et al. 2020, as their program has it): SAGANAttention with eight heads,
/// whose queries see some of the keys only, by two-dimensional patterns that keep full information in two steps; see
/// YLGCore. Shapes, keys and initial values are SAGANAttention's. Throws ValueError unless C is a multiple of 64.
/// Multiply-adds for C = 256 at 32 x 32: 86 M.
template <class Scalar = float>
class YLGAttention : public detail::GanAttention<YLGAttention<Scalar>, YLGCore<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "YLGAttention";  ///< its name in messages
  /// For so many channels.
  explicit YLGAttention(Index channels, const GanAttentionOptions& options = {})
      : detail::GanAttention<YLGAttention<Scalar>, YLGCore<Scalar>, Scalar>(channels, 64, options) {}
};

}  // namespace lamina::inline LAMINA_ABI
