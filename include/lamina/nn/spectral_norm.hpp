#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/core/parallel.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/reparameterized.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of SpectralNorm; names and defaults are PyTorch's.
struct SpectralNormOptions {
  Index n_power_iterations = 1;  ///< in each training pass
  double eps = 1e-12;            ///< least length by which a vector is divided
};

/// Spectral normalisation of any layer that has a weight (Miyato et al. 2018, algorithm 1): the layer's weight is
///
///   weight = weight_orig / sigma,   sigma = u · W v
///
/// where W [M, K] is weight_orig with a row for each result channel, and u and v are found by power iteration, v = Wᵀu
/// / |Wᵀu|, u = W v / |W v|, so that sigma comes near the largest singular value of W. forward makes n_power_iterations
/// of them, from the last u on; infer, and forward when frozen, takes u and v as they are. Backward takes them as
/// constants.
///
/// As torch.nn.utils.spectral_norm: keys "weight_orig", the buffers "weight_u" [M] and "weight_v" [K], and those of the
/// inner layer. The vectors start at random, with 15 iterations after that. For inference without it, see
/// plain_weights. Throws ValueError for a negative number of iterations or eps, or a transposed convolution of groups.
template <class Inner>
class SpectralNorm : public detail::Reparameterized<SpectralNorm<Inner>, Inner> {
  using Scalar = ScalarOf<Inner>;
  using Base = detail::Reparameterized<SpectralNorm<Inner>, Inner>;
  using Base::inner_;
  friend Base;

 public:
  Parameter<Scalar> weight_orig;  ///< of the shape of the inner layer's weight
  Tensor<Scalar> weight_u;        ///< [M]
  Tensor<Scalar> weight_v;        ///< [K]

  /// Around a layer, which begins with its own weight.
  explicit SpectralNorm(Inner inner, const SpectralNormOptions& options = {})
      : Base(std::move(inner)), options_(options) {
    require(options.n_power_iterations >= 0, *this, ": n_power_iterations must not be negative, got ",
            options.n_power_iterations);
    require(options.eps >= 0, *this, ": eps must not be negative, got ", options.eps);
    if constexpr (transposed)
      require(inner_.options().groups == 1, *this, ": expected one group, got ", inner_.options().groups);
    weight_orig = inner_.weight.value;
    const Sizes s = sizes();
    weight_u = normalized(init::normal<Scalar>({s.rows}));
    weight_v = normalized(init::normal<Scalar>({s.blocks * s.inner}));
    if (!SkipInit::active()) iterate(15);
  }

  Members<Scalar> members() override {
    Members<Scalar> result = this->other_members();
    result.push_back({"weight_orig", &weight_orig});
    result.push_back({"weight_u", &weight_u});
    result.push_back({"weight_v", &weight_v});
    return result;
  }
  Fields fields() const override {
    return Fields("SpectralNorm")
        .argument("of", inner_.name())
        .option("n_power_iterations", options_.n_power_iterations, 1)
        .option("eps", options_.eps, SpectralNormOptions{}.eps);
  }

  /// What it was made with.
  const SpectralNormOptions& options() const { return options_; }
  /// The layer around which it is. Its weight says nothing, see plain().
  const Inner& layer() const { return inner_; }
  /// sigma for u and v as they are.
  double sigma() const { return dot(weight_u, forwards(weight_v)); }

 private:
  static constexpr bool transposed = std::is_same_v<Inner, ConvTranspose2d<Scalar>>;  // channels on axis 1

  /// The weight as [blocks, rows, inner]: W's row m has the blocks one behind the other.
  struct Sizes {
    Index blocks, rows, inner;
  };
  Sizes sizes() const {
    const Shape& shape = weight_orig.value.shape();
    constexpr int axis = transposed ? 1 : 0;
    return {shape.product(0, axis), shape[axis], shape.product(axis + 1, shape.rank())};
  }

  struct Factors {
    Tensor<Scalar> u, v;
    double sigma;
  };
  Factors factors(bool training) {
    if (!training || options_.n_power_iterations == 0) return infer_factors();
    const double length = iterate(options_.n_power_iterations);
    return {weight_u, weight_v, length};
  }
  Factors infer_factors() const { return {weight_u, weight_v, sigma()}; }
  Tensor<Scalar> weight(const Factors& factors) const {
    return kernels::transform(weight_orig.value, kernels::Scaled<Scalar>{static_cast<Scalar>(1 / factors.sigma)});
  }
  bool learns() const { return weight_orig.requires_grad; }

  /// d(weight_orig) = (dw - (dw · weight) u vᵀ) / sigma.
  void hand_on(const Tensor<Scalar>& dw, const Factors& factors) {
    if (!weight_orig.requires_grad) return;
    const Sizes s = sizes();
    const Scalar *const from = dw.data(), *const now = std::as_const(inner_).weight.value.data();
    const std::vector<double> products =
        row_sums(s, [&](Index at, auto load) { return load(from + at) * load(now + at); });
    double along = 0;
    for (const double product : products) along += product;
    Scalar* const to = weight_orig.gradient().data();
    const auto share = static_cast<Scalar>(1 / factors.sigma);
    each_run(s, [&](Index block, Index row, Index at) {
      const simd::Pack<Scalar> scale(share);
      const simd::Pack<Scalar> u(static_cast<Scalar>(-along / factors.sigma) * factors.u.data()[row]);
      const Scalar* const v = factors.v.data() + block * s.inner;
      kernels::map_run(s.inner, to + at,
                       [&](auto load) { return load(to + at) + (load(from + at) * scale + load(v) * u); });
    });
  }

  /// Returns |W v| of the last step, which is sigma.
  double iterate(Index steps) {
    double length = 0;
    for (Index step = 0; step < steps; ++step) {
      weight_v = normalized(backwards(weight_u));
      Tensor<Scalar> u = forwards(weight_v);
      weight_u = normalized(u);
      length = dot(weight_u, u);
    }
    return length;
  }

  /// f(block, row, place of the first of `inner` elements) for all runs of the weight that lie together.
  template <class F>
  static void each_run(const Sizes& s, F f) {
    parallel_for(0, s.blocks * s.rows, std::max<Index>(1, (1 << 15) / s.inner), [&](Index first, Index last) {
      for (Index run = first; run < last; ++run) f(run / s.rows, run % s.rows, run * s.inner);
    });
  }
  /// The sum over every row of f(place of a run in the weight, load).
  template <class F>
  static std::vector<double> row_sums(const Sizes& s, F f) {
    std::vector<double> runs(static_cast<std::size_t>(s.blocks * s.rows)), result(static_cast<std::size_t>(s.rows));
    each_run(s, [&](Index block, Index row, Index at) {
      const auto sums = kernels::sum_run<1, Scalar>(
          s.inner, [&](auto load) { return std::array<simd::Pack<Scalar>, 1>{f(at, load)}; });
      runs[static_cast<std::size_t>(block * s.rows + row)] = static_cast<double>(sum(sums[0]));
    });
    for (std::size_t i = 0; i < runs.size(); ++i) result[i % result.size()] += runs[i];
    return result;
  }

  /// W v, [M].
  Tensor<Scalar> forwards(const Tensor<Scalar>& v) const {
    const Sizes s = sizes();
    const Scalar *const w = weight_orig.value.data(), *const in = v.data();
    const std::vector<double> sums =
        row_sums(s, [&](Index at, auto load) { return load(w + at) * load(in + at / (s.inner * s.rows) * s.inner); });
    Tensor<Scalar> result({s.rows});
    std::transform(sums.begin(), sums.end(), result.data(), [](double x) { return static_cast<Scalar>(x); });
    return result;
  }
  /// Wᵀ u, [K]: some columns at a time, which stay near while all rows go by.
  Tensor<Scalar> backwards(const Tensor<Scalar>& u) const {
    constexpr Index columns = 2048;
    const Sizes s = sizes();
    const Scalar* const w = weight_orig.value.data();
    const Index parts = (s.inner + columns - 1) / columns;
    Tensor<Scalar> result = Tensor<Scalar>::zeros({s.blocks * s.inner});
    Scalar* const out = result.data();
    parallel_for(0, s.blocks * parts, std::max<Index>(1, (1 << 15) / (s.rows * std::min(s.inner, columns))),
                 [&](Index first, Index last) {
                   for (Index part = first; part < last; ++part) {
                     const Index block = part / parts, begin = part % parts * columns;
                     const Index count = std::min(columns, s.inner - begin);
                     Scalar* const to = out + block * s.inner + begin;
                     for (Index row = 0; row < s.rows; ++row) {
                       const Scalar* const from = w + (block * s.rows + row) * s.inner + begin;
                       const simd::Pack<Scalar> factor(u.data()[row]);
                       kernels::map_run(count, to, [&](auto load) { return load(to) + load(from) * factor; });
                     }
                   }
                 });
    return result;
  }

  /// Of vectors of one size.
  static double dot(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
    double sum = 0;
    for (Index i = 0; i < a.numel(); ++i) sum += static_cast<double>(a.data()[i]) * static_cast<double>(b.data()[i]);
    return sum;
  }
  Tensor<Scalar> normalized(Tensor<Scalar> x) const {
    x *= static_cast<Scalar>(1 / std::max(std::sqrt(dot(x, x)), options_.eps));
    return x;
  }

  SpectralNormOptions options_;
};

/// A child of a model: the layer, within SpectralNorm if it is wanted.
template <class Inner>
Child<ScalarOf<Inner>> spectral_norm_if(bool wanted, std::string name, Inner layer) {
  if (wanted) return {std::move(name), SpectralNorm<Inner>(std::move(layer))};
  return {std::move(name), std::move(layer)};
}

}  // namespace lamina::inline LAMINA_ABI
