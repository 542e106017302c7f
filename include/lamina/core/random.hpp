#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <vector>

#include "lamina/core/parallel.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina {

/// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
/// 1, 2, 3", SC 2011). A value is a function of the seed and its position alone, so filling a tensor gives the same
/// bits for any number of threads. The whole state is {seed, position}; copying a Random copies the sequence.
class Random {
 public:
  /// The sequence of a seed from a position on, in blocks of four 32-bit words.
  explicit Random(std::uint64_t seed = 0, std::uint64_t position = 0) : seed_(seed), position_(position) {}

  /// The seed that it was made with.
  std::uint64_t seed() const { return seed_; }
  /// How many blocks of four 32-bit words have been drawn.
  std::uint64_t position() const { return position_; }

  /// An independent generator that depends on this one's seed and the keys, not on its position:
  /// `random.split(epoch, sample)`.
  Random split(std::uint64_t key, std::uint64_t second_key = 0) const {
    const Block words = philox({low(key), high(key), low(second_key), high(second_key)}, seed_ ^ 0x5bd1e9955bd1e995u);
    return Random(words[0] | std::uint64_t{words[1]} << 32);
  }

  /// Tensors of independent values: U[low, high); N(mean, standard_deviation^2); 1 with probability p, else 0.
  template <class Scalar = float>
  Tensor<Scalar> uniform(const Shape& shape, Scalar low = 0, Scalar high = 1) {
    return fill(Tensor<Scalar>(shape), [=](Scalar u) { return low + (high - low) * u; });
  }
  /// N(mean, standard_deviation²), by Box and Muller's method (1958).
  template <class Scalar = float>
  Tensor<Scalar> normal(const Shape& shape, Scalar mean = 0, Scalar standard_deviation = 1) {
    // Box-Muller in pairs; 1 - u lies in (0, 1], where the logarithm is finite.
    return fill_pairs(Tensor<Scalar>(shape), [=](Scalar u, Scalar v, Scalar& first, Scalar& second) {
      const Scalar radius = standard_deviation * std::sqrt(Scalar(-2) * std::log(Scalar(1) - u));
      const Scalar angle = 2 * std::numbers::pi_v<Scalar> * v;
      first = mean + radius * std::cos(angle);
      second = mean + radius * std::sin(angle);
    });
  }
  /// 1 with probability p, else 0. Throws ValueError unless 0 <= p <= 1.
  template <class Scalar = float>
  Tensor<Scalar> bernoulli(const Shape& shape, double p) {
    require(p >= 0 && p <= 1, "Random::bernoulli: expected a probability in [0, 1], got ", p);
    return fill(Tensor<Scalar>(shape), [=](Scalar u) { return static_cast<double>(u) < p ? Scalar(1) : Scalar(0); });
  }

  /// One value: U[0, 1) with 53 bits; N(0, 1); an integer in [0, n), n >= 1.
  /// @{
  double uniform() { return to_uniform<double>(next(), 0); }
  double normal() { return normal<double>(Shape{}).item(); }
  Index below(Index n) {
    require(n >= 1, "Random::below: expected n >= 1, got ", n);
    return std::min(n - 1, static_cast<Index>(uniform() * static_cast<double>(n)));
  }
  /// @}

  /// One value in [0, 1] of the beta distribution, with density proportional to x^(a - 1) (1 - x)^(b - 1). Throws
  /// ValueError unless a and b are positive.
  double beta(double a, double b) {
    require(a > 0 && b > 0, "Random::beta: expected a and b above 0, got ", a, " and ", b);
    const double x = log_gamma_value(a), y = log_gamma_value(b);
    return 1 / (1 + std::exp(y - x));
  }

  /// 0..n-1 in random order (Fisher and Yates).
  std::vector<Index> permutation(Index n) {
    std::vector<Index> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), Index{0});
    for (Index i = n - 1; i > 0; --i)
      std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(below(i + 1))]);
    return order;
  }

  /// The same seed at the same position.
  friend bool operator==(const Random&, const Random&) = default;

 private:
  using Block = std::array<std::uint32_t, 4>;
  static constexpr Index grain = 1 << 14;

  static std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
  static std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

  static Block philox(Block counter, std::uint64_t key) {
    std::uint32_t k0 = low(key), k1 = high(key);
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
      const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
      counter = {high(b) ^ counter[1] ^ k0, low(b), high(a) ^ counter[3] ^ k1, low(a)};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    return counter;
  }

  Block block(std::uint64_t position) const { return philox({low(position), high(position), 0, 0}, seed_); }
  Block next() { return block(position_++); }

  /// The logarithm of a value of the gamma distribution (Marsaglia and Tsang 2000): itself it would be 0 for small
  /// shapes.
  double log_gamma_value(double shape) {
    if (shape < 1) {
      const double boost = std::log(1 - uniform()) / shape;
      return boost + log_gamma_value(shape + 1);
    }
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    while (true) {
      const double x = normal(), root = 1 + c * x;
      if (root <= 0) continue;
      const double v = root * root * root;
      if (std::log(1 - uniform()) < x * x / 2 + d - d * v + d * std::log(v)) return std::log(d * v);
    }
  }

  /// Value i of a block as U[0, 1): four of 24 bits in single precision, two of 53 bits in double.
  template <class Scalar>
  static constexpr Index per_block = sizeof(Scalar) == 4 ? 4 : 2;
  template <class Scalar>
  static Scalar to_uniform(const Block& words, Index i) {
    static_assert(std::is_floating_point_v<Scalar>);
    const auto at = static_cast<std::size_t>(i);
    if constexpr (sizeof(Scalar) == 4)
      return static_cast<Scalar>(words[at] >> 8) * Scalar(0x1p-24);
    else
      return static_cast<Scalar>((words[2 * at] | std::uint64_t{words[2 * at + 1]} << 32) >> 11) * Scalar(0x1p-53);
  }

  /// The tensor with f(u, v, first, second) applied to pairs of uniforms.
  template <class Scalar, class F>
  Tensor<Scalar> fill_pairs(Tensor<Scalar> result, F f) {
    constexpr Index per = per_block<Scalar>;
    const Index n = result.numel();
    const Index blocks = (n + per - 1) / per;
    Scalar* out = result.data();
    parallel_for(0, blocks, grain, [&](Index first, Index last) {
      for (Index b = first; b < last; ++b) {
        const Block words = block(position_ + static_cast<std::uint64_t>(b));
        std::array<Scalar, per> values;
        for (Index i = 0; i < per; i += 2)
          f(to_uniform<Scalar>(words, i), to_uniform<Scalar>(words, i + 1), values[static_cast<std::size_t>(i)],
            values[static_cast<std::size_t>(i + 1)]);
        std::copy_n(values.begin(), std::min(per, n - b * per), out + b * per);
      }
    });
    position_ += static_cast<std::uint64_t>(blocks);
    return result;
  }
  template <class Scalar, class F>
  Tensor<Scalar> fill(Tensor<Scalar> result, F f) {
    return fill_pairs(std::move(result), [&](Scalar u, Scalar v, Scalar& first, Scalar& second) {
      first = f(u);
      second = f(v);
    });
  }

  std::uint64_t seed_;
  std::uint64_t position_;
};

/// The generator from which layers draw their initial weights; one for each thread, seeded with 0.
inline Random& default_random() {
  thread_local Random random;
  return random;
}

/// Restarts this thread's default_random(): models built after the same seed are equal.
inline void manual_seed(std::uint64_t seed) { default_random() = Random(seed); }

}  // namespace lamina
