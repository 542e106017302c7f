#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/kernels/gemm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
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
    weight_u = normalized(default_random().normal<Scalar>({s.rows}));
    weight_v = normalized(default_random().normal<Scalar>({s.blocks * s.inner}));
    iterate(15);
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
    if (training) iterate(options_.n_power_iterations);
    return infer_factors();
  }
  Factors infer_factors() const { return {weight_u, weight_v, sigma()}; }
  Tensor<Scalar> weight(const Factors& factors) const {
    Tensor<Scalar> result(weight_orig.value.shape(), weight_orig.value.values());
    result *= static_cast<Scalar>(1 / factors.sigma);
    return result;
  }
  bool learns() const { return weight_orig.requires_grad; }

  /// d(weight_orig) = (dw - (dw · weight) u vᵀ) / sigma.
  void hand_on(const Tensor<Scalar>& dw, const Factors& factors) {
    if (!weight_orig.requires_grad) return;
    const double along = dot(dw, std::as_const(inner_).weight.value);
    Tensor<Scalar> scaled(dw.shape(), dw.values()), u(factors.u.shape(), factors.u.values());
    scaled *= static_cast<Scalar>(1 / factors.sigma);
    u *= static_cast<Scalar>(-along / factors.sigma);
    const Sizes s = sizes();
    Scalar* const to = scaled.data();
    for (Index block = 0; block < s.blocks; ++block)
      kernels::gemm(s.rows, s.inner, 1, kernels::row_major(std::as_const(u).data(), 1),
                    kernels::row_major(factors.v.data() + block * s.inner, s.inner), to + block * s.rows * s.inner,
                    kernels::Store::add);
    weight_orig.gradient() += scaled;
  }

  void iterate(Index steps) {
    for (Index step = 0; step < steps; ++step) {
      weight_v = normalized(backwards(weight_u));
      weight_u = normalized(forwards(weight_v));
    }
  }

  /// W v, [M].
  Tensor<Scalar> forwards(const Tensor<Scalar>& v) const {
    const Sizes s = sizes();
    Tensor<Scalar> result = Tensor<Scalar>::zeros({s.rows});
    for (Index block = 0; block < s.blocks; ++block)
      kernels::gemm(s.rows, 1, s.inner, kernels::row_major(rows_of(s, block), s.inner),
                    kernels::row_major(v.data() + block * s.inner, 1), result.data(), kernels::Store::add);
    return result;
  }
  /// Wᵀ u, [K].
  Tensor<Scalar> backwards(const Tensor<Scalar>& u) const {
    const Sizes s = sizes();
    Tensor<Scalar> result({s.blocks * s.inner});
    Scalar* const to = result.data();
    for (Index block = 0; block < s.blocks; ++block)
      kernels::gemm(1, s.inner, s.rows, kernels::row_major(u.data(), s.rows),
                    kernels::row_major(rows_of(s, block), s.inner), to + block * s.inner);
    return result;
  }
  const Scalar* rows_of(const Sizes& s, Index block) const {
    return weight_orig.value.data() + block * s.rows * s.inner;
  }

  /// Of tensors of one size. In double: it is one pass over a weight.
  static double dot(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
    double sum[4] = {};
    const Scalar *const x = a.data(), *const y = b.data();
    for (Index i = 0; i < a.numel(); ++i) sum[i % 4] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum[0] + sum[1] + (sum[2] + sum[3]);
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
