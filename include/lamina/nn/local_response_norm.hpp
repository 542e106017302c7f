#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Its arithmetic, for the passes over memory: numbers alone, see kernels/functions.hpp.

/// d^-beta of vectors.
template <class T>
struct NegativePower {
  T beta;
  template <class V>
  V operator()(V d) const {
    if (beta == T(0.75)) {
      const V root = sqrt(d);
      return V(T(1)) / (root * sqrt(root));
    }
    return exp(log(d) * V(-beta));
  }
};
/// v d^-beta, and g v d^-beta / d.
/// @{
template <class T>
struct TimesPower {
  NegativePower<T> power;
  template <class V>
  V operator()(V v, V d) const {
    return v * power(d);
  }
};
template <class T>
struct PowerTerm {
  NegativePower<T> power;
  template <class V>
  V operator()(V g, V v, V d) const {
    return g * v * power(d) / d;
  }
};
/// @}
/// k + factor * the sum of the squares of the channels first..last-1, as far from `center`, `pixels` apart.
template <class T>
struct NeighborSquares {
  const T* center;
  Index first, last, pixels;
  T factor, k;
  template <class Load>
  auto operator()(Load load) const {
    decltype(load(center)) sum(T(0));
    for (Index j = first; j < last; ++j) {
      const auto v = load(center + j * pixels);
      sum = multiply_add(v, v, sum);
    }
    return multiply_add(sum, factor, k);
  }
};
/// out + factor * in * the sum of those channels.
template <class T>
struct NeighborSum {
  const T *center, *in, *out;
  Index first, last, pixels;
  T factor;
  template <class Load>
  auto operator()(Load load) const {
    decltype(load(center)) sum(T(0));
    for (Index j = first; j < last; ++j) sum += load(center + j * pixels);
    return multiply_add(load(in) * factor, sum, load(out));
  }
};

}  // namespace detail

/// Options of LocalResponseNorm.
struct LocalResponseNormOptions {
  double alpha = 1e-4;  ///< factor of the neighbours' mean square
  double beta = 0.75;   ///< exponent
  double k = 1;         ///< added to it
};

/// Local response normalisation across channels (Krizhevsky, Sutskever, Hinton 2012, section 3.3), as in PyTorch:
///
///   y[c] = x[c] d[c]^-beta,   d[c] = k + alpha / size * sum of x[j]^2 over c - size / 2 <= j <= c + (size - 1) / 2
///
/// at each pixel; channels outside count as zeros, and size / 2 is rounded down. The paper's alpha multiplies the sum
/// itself, without the division by size: its n = 5, k = 2, alpha = 1e-4, beta = 0.75 are
/// LocalResponseNorm(5, {.alpha = 5e-4, .k = 2}).
///
/// Shapes: x and y [N, C, ...] of rank 3 or more. Throws ValueError for a size below 1 or a negative alpha or k;
/// ShapeError for a lower rank.
template <class Scalar = float>
class LocalResponseNorm : public Layer<LocalResponseNorm<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit LocalResponseNorm(Index size, const LocalResponseNormOptions& options = {})
      : size_(size), options_(options) {
    require(size_ >= 1, *this, ": size must be at least 1, got ", size_);
    require(options_.alpha >= 0 && options_.k >= 0, *this, ": alpha and k must not be negative");
  }

  Saved saved() const override { return Saved::both; }
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 3, *this, ": expected an input [N, C, ...] of rank 3 or more, got ", "shape ",
                        input);
    return input;
  }
  Members<Scalar> members() override { return {}; }
  Index multiply_adds(const Shape&) const override { return 0; }
  Fields fields() const override {
    const LocalResponseNormOptions usual;
    return Fields("LocalResponseNorm")
        .argument("size", size_)
        .option("alpha", options_.alpha, usual.alpha)
        .option("beta", options_.beta, usual.beta)
        .option("k", options_.k, usual.k);
  }

  /// What it was made with.
  /// @{
  Index size() const { return size_; }
  const LocalResponseNormOptions& options() const { return options_; }
  /// @}

 private:
  /// f(c, first, last, offset, n) for every channel of every run of pixels: channels first..last-1 are its neighbours
  /// from `below` channels before to `above` behind, the run lies at `offset`, n pixels long.
  template <class F>
  static void for_each_run(const Shape& shape, Index below, Index above, F f) {
    constexpr Index length = 512;  // pixels: the neighbours' runs stay in the first-level cache
    const Index channels = shape[1], pixels = shape.product(2, shape.rank());
    const Index runs = (pixels + length - 1) / length;
    const Index grain = std::max<Index>(1, (1 << 14) / std::max<Index>(1, channels * std::min(pixels, length)));
    parallel_for(0, shape[0] * runs, grain, [&](Index task, Index end) {
      for (; task < end; ++task) {
        const Index begin = task % runs * length;
        for (Index c = 0; c < channels; ++c)
          f(c, std::max<Index>(0, c - below), std::min(channels, c + above + 1),
            (task / runs * channels + c) * pixels + begin, std::min(length, pixels - begin));
      }
    });
  }

  /// The neighbours of a channel are `before()` below and `after()` above; those whose neighbour it is, the reverse.
  Index before() const { return size_ / 2; }
  Index after() const { return (size_ - 1) / 2; }

  detail::NegativePower<Scalar> power() const { return {static_cast<Scalar>(options_.beta)}; }

  /// d, the bases of the powers.
  Tensor<Scalar> bases(const Tensor<Scalar>& input) const {
    Tensor<Scalar> result(input.shape());
    const Index pixels = input.shape().product(2, input.rank());
    const Scalar* const x = input.data();
    Scalar* const out = result.data();
    const auto factor = static_cast<Scalar>(options_.alpha / static_cast<double>(size_));
    const auto k = static_cast<Scalar>(options_.k);
    for_each_run(input.shape(), before(), after(), [=](Index c, Index first, Index last, Index offset, Index n) {
      kernels::map_run(n, out + offset,
                       detail::NeighborSquares<Scalar>{x + offset, first - c, last - c, pixels, factor, k});
    });
    return result;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    output_shape(x.shape());
    const Tensor<Scalar> d = bases(x);
    return kernels::transform(std::move(x), detail::TimesPower<Scalar>{power()}, d);
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    output_shape(x.shape());
    Tensor<Scalar> d = bases(x);
    tape.push(x, d);
    return kernels::transform(std::move(x), detail::TimesPower<Scalar>{power()}, d);
  }

  /// dx[c] = dy[c] d[c]^-beta - 2 alpha beta / size x[c] * sum of dy[j] x[j] d[j]^(-beta - 1) over the j that have c as
  /// their neighbour.
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x, d] = tape.pop<Tensor<Scalar>, Tensor<Scalar>>();
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> terms(x.shape());
    kernels::map(x.numel(), terms.data(), detail::PowerTerm<Scalar>{power()}, std::as_const(dy).data(), x.data(),
                 d.data());
    Tensor<Scalar> dx = kernels::transform(std::move(dy), detail::TimesPower<Scalar>{power()}, d);
    const Index pixels = x.shape().product(2, x.rank());
    const auto factor = static_cast<Scalar>(-2 * options_.alpha * options_.beta / static_cast<double>(size_));
    const Scalar *const term = std::as_const(terms).data(), *const in = x.data();
    Scalar* const out = dx.data();
    for_each_run(x.shape(), after(), before(), [=](Index c, Index first, Index last, Index offset, Index n) {
      kernels::map_run(
          n, out + offset,
          detail::NeighborSum<Scalar>{term + offset, in + offset, out + offset, first - c, last - c, pixels, factor});
    });
    return dx;
  }

  Index size_;
  LocalResponseNormOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
