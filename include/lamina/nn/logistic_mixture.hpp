#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/random.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/losses.hpp"

/// Mixtures of discretised logistics (Salimans, Karpathy, Chen and Kingma 2017, "PixelCNN++", section 2.1 and 2.2):
/// what a pixel of one or three colours may be, from K (3 or 10) parameters instead of a logit for each value. A value
/// is x = 2 level / (levels - 1) - 1, and given the K-th of the mixture and the colours before it, of colour c
///
///   P(level) = sigmoid((x + h - m) / s) - sigmoid((x - h - m) / s),   h = 1 / (levels - 1)
///   m = mean[c] + sum over the colours d before c of tanh(coefficient[c, d]) x[d],   s = exp(max(log_scale[c], -7))
///
/// where the first and the last level have all that lies beyond them. The parameters, by channels, are those of
/// OpenAI's pixel-cnn: K logits of the mixture; then for each colour K means and K log scales and, of three colours, K
/// coefficients: of R for G, of R for B, of G for B.
namespace lamina::inline LAMINA_ABI {

/// How many parameters a pixel has. Throws ValueError unless there are 1 or 3 colours and at least 1 mixture.
inline Index logistic_mixture_parameters(Index colours, Index mixtures) {
  require(colours == 1 || colours == 3, "logistic mixtures are of 1 or 3 colours, got ", colours);
  require(mixtures >= 1, "expected at least 1 logistic in a mixture, got ", mixtures);
  return mixtures * (colours == 1 ? 3 : 10);
}

/// Options of logistic_mixture_loss and logistic_mixture_probabilities.
struct LogisticMixtureOptions {
  Index levels = 256;  ///< values that a pixel can take
};

namespace detail {

inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
inline double logistic(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

/// log P(level), and its derivatives by m and log s.
struct LogMass {
  double value, by_mean, by_log_scale;
};

/// The mass of a level, without cancellation: with p and q the arguments of the two sigmoids and w = p - q,
/// sigmoid(p) - sigmoid(q) = sigmoid(p) sigmoid(-q) (1 - e^-w).
inline LogMass log_mass(Index level, Index levels, double mean, double log_scale) {
  const double h = 1 / static_cast<double>(levels - 1), inverse = std::exp(-log_scale);
  const double x = 2 * h * static_cast<double>(level) - 1;
  const double p = (x + h - mean) * inverse, q = (x - h - mean) * inverse, w = 2 * h * inverse;
  LogMass result{0, 0, 0};
  if (level < levels - 1) {
    const double slope = logistic(-p);
    result = {-softplus(-p), -slope * inverse, -slope * p};
  }
  if (level > 0) {
    const double slope = logistic(q);
    result.value -= softplus(q);
    result.by_mean += slope * inverse;
    result.by_log_scale += slope * q;
  }
  if (level == 0 || level == levels - 1) return result;
  result.value += w < 1e-5 ? std::log(2 * h) - log_scale - w / 2 : std::log(-std::expm1(-w));
  result.by_log_scale -= w < 1e-5 ? 1 - w / 2 : w / std::expm1(w);
  return result;
}

/// The parameters of a pixel, which lie `stride` apart.
template <class Scalar>
struct PixelMixture {
  const Scalar* data;
  Index stride, colours, mixtures;

  double at(Index i) const { return static_cast<double>(data[i * stride]); }

  /// Places of the parameters; `pair` counts (G, R), (B, R), (B, G).
  /// @{
  Index mean(Index c, Index k) const { return mixtures * (colours == 1 ? 1 : 1 + 3 * c) + k; }
  Index log_scale(Index c, Index k) const { return mean(c, k) + mixtures; }
  Index coefficient(Index pair, Index k) const { return mean(pair, k) + 2 * mixtures; }
  static Index pair(Index c, Index d) { return c == 1 ? 0 : 1 + d; }
  /// @}

  /// m, given the values of the colours before c.
  double shifted_mean(Index c, Index k, const std::array<double, 3>& x) const {
    double result = at(mean(c, k));
    for (Index d = 0; d < c; ++d) result += std::tanh(at(coefficient(pair(c, d), k))) * x[static_cast<std::size_t>(d)];
    return result;
  }
  double clamped_log_scale(Index c, Index k) const { return std::max(at(log_scale(c, k)), -7.0); }
};

inline double level_value(Index level, Index levels) {
  return 2 * static_cast<double>(level) / static_cast<double>(levels - 1) - 1;
}

/// log of the sum of exp, and the shares in it in place of x.
inline double to_shares(std::vector<double>& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& value : x) sum += value = std::exp(value - largest);
  for (double& value : x) value /= sum;
  return largest + std::log(sum);
}

/// The negative log-likelihood of a pixel's levels; its gradient times `factor` is written to grad, laid out as the
/// parameters are.
template <class Scalar>
double mixture_loss(const PixelMixture<Scalar>& mixture, const std::array<Index, 3>& level, Index levels, double factor,
                    Scalar* grad) {
  const Index mixtures = mixture.mixtures;
  const auto size = static_cast<std::size_t>(mixtures);
  std::array<double, 3> x{};
  for (Index c = 0; c < mixture.colours; ++c)
    x[static_cast<std::size_t>(c)] = level_value(level[static_cast<std::size_t>(c)], levels);
  std::vector<double> prior(size), posterior(size);
  std::vector<std::array<LogMass, 3>> masses(size);
  for (Index k = 0; k < mixtures; ++k) prior[static_cast<std::size_t>(k)] = mixture.at(k);
  const double all = to_shares(prior);
  for (Index k = 0; k < mixtures; ++k) {
    double& sum = posterior[static_cast<std::size_t>(k)] = mixture.at(k) - all;
    for (Index c = 0; c < mixture.colours; ++c) {
      const auto i = static_cast<std::size_t>(c);
      const LogMass mass = log_mass(level[i], levels, mixture.shifted_mean(c, k, x), mixture.clamped_log_scale(c, k));
      masses[static_cast<std::size_t>(k)][i] = mass;
      sum += mass.value;
    }
  }
  const double likelihood = to_shares(posterior);
  const auto write = [&](Index i, double value) { grad[i * mixture.stride] = static_cast<Scalar>(-factor * value); };
  for (Index k = 0; k < mixtures; ++k) {
    const double share = posterior[static_cast<std::size_t>(k)];
    write(k, share - prior[static_cast<std::size_t>(k)]);
    for (Index c = 0; c < mixture.colours; ++c) {
      const LogMass& mass = masses[static_cast<std::size_t>(k)][static_cast<std::size_t>(c)];
      write(mixture.mean(c, k), share * mass.by_mean);
      const bool clamped = mixture.at(mixture.log_scale(c, k)) < -7;
      write(mixture.log_scale(c, k), clamped ? 0 : share * mass.by_log_scale);
      for (Index d = 0; d < c; ++d) {
        const Index pair = mixture.pair(c, d);
        const double coefficient = std::tanh(mixture.at(mixture.coefficient(pair, k)));
        write(mixture.coefficient(pair, k),
              share * mass.by_mean * x[static_cast<std::size_t>(d)] * (1 - coefficient * coefficient));
      }
    }
  }
  return -likelihood;
}

/// Checks parameters [N, P, H, W] of levels [N, C, H, W]; the number of logistics in a mixture.
template <class Scalar>
Index checked_mixtures(const char* what, const Tensor<Scalar>& parameters, const Labels& targets, Index levels) {
  const Shape &shape = parameters.shape(), &pixels = targets.shape();
  require(levels >= 2, what, ": expected at least 2 levels, got ", levels);
  require<ShapeError>(pixels.rank() == 4 && (pixels[1] == 1 || pixels[1] == 3), what,
                      ": expected levels [N, 1 or 3, H, W], got shape ", pixels);
  const Index each = logistic_mixture_parameters(pixels[1], 1);
  require<ShapeError>(shape.rank() == 4 && shape[0] == pixels[0] && shape[1] % each == 0 && shape[1] > 0 &&
                          shape.tail(2) == pixels.tail(2),
                      what, ": expected parameters [N, ", each, " mixtures, H, W] for levels ", pixels, ", got shape ",
                      shape);
  for (Index i = 0; i < targets.numel(); ++i)
    require(targets.data()[i] >= 0 && targets.data()[i] < levels, what, ": level ", targets.data()[i], " at position ",
            i, " is not in [0, ", levels, ")");
  return shape[1] / each;
}

/// f(sample, pixel of the plane, its mixture, its levels) for every pixel, in parallel.
template <class Scalar, class F>
void for_each_mixture(const Tensor<Scalar>& parameters, const Labels& targets, Index mixtures, F f) {
  const Index colours = targets.dim(1), plane = targets.dim(2) * targets.dim(3);
  parallel_for(0, targets.dim(0) * plane, 64, [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      const Index sample = i / plane, pixel = i % plane;
      std::array<Index, 3> level{};
      for (Index c = 0; c < colours; ++c)
        level[static_cast<std::size_t>(c)] = targets.data()[(sample * colours + c) * plane + pixel];
      const Scalar* const from = parameters.data() + sample * parameters.dim(1) * plane + pixel;
      f(sample, pixel, PixelMixture<Scalar>{from, plane, colours, mixtures}, level);
    }
  });
}

}  // namespace detail

/// The negative log-likelihood of a batch under mixtures of discretised logistics, and its gradient with respect to the
/// parameters [N, P, H, W], P = logistic_mixture_parameters(C, K), in nats for an image: the sum over its pixels,
/// averaged over the batch. `targets` are pixel_levels(images), [N, C, H, W].
///
/// Computed in double, in closed form. Where a level's mass vanishes it is exact; OpenAI's code takes the density in
/// the middle of the bin for masses below 1e-5, which is another number for small scales. Throws ShapeError for other
/// shapes, ValueError for levels out of range.
template <class Scalar>
Loss<Scalar> logistic_mixture_loss(const Tensor<Scalar>& parameters, const Labels& targets,
                                   const LogisticMixtureOptions& options = {}) {
  const Index mixtures = detail::checked_mixtures("logistic_mixture_loss", parameters, targets, options.levels);
  Tensor<Scalar> grad(parameters.shape());
  const Index plane = targets.dim(2) * targets.dim(3);
  std::vector<double> losses(static_cast<std::size_t>(targets.dim(0) * plane));
  const double factor = 1 / static_cast<double>(std::max<Index>(1, targets.dim(0)));
  Scalar* const out = grad.data();
  detail::for_each_mixture(
      parameters, targets, mixtures, [&](Index sample, Index pixel, const auto& mixture, const auto& level) {
        losses[static_cast<std::size_t>(sample * plane + pixel)] = detail::mixture_loss(
            mixture, level, options.levels, factor, out + sample * parameters.dim(1) * plane + pixel);
      });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return {sum * factor, std::move(grad)};
}

/// The probabilities [N, C, levels, H, W] of every level of every colour, given the colours before it as they are in
/// `targets`. Throws as logistic_mixture_loss does.
template <class Scalar>
Tensor<double> logistic_mixture_probabilities(const Tensor<Scalar>& parameters, const Labels& targets,
                                              const LogisticMixtureOptions& options = {}) {
  const Index levels = options.levels;
  const Index mixtures = detail::checked_mixtures("logistic_mixture_probabilities", parameters, targets, levels);
  const Index colours = targets.dim(1), plane = targets.dim(2) * targets.dim(3);
  Tensor<double> result({targets.dim(0), colours, levels, targets.dim(2), targets.dim(3)});
  double* const out = result.data();
  detail::for_each_mixture(parameters, targets, mixtures,
                           [&](Index sample, Index pixel, const auto& mixture, const auto& level) {
                             std::array<double, 3> x{};
                             std::vector<double> log_weights(
                                 static_cast<std::size_t>(mixtures));  // of the mixture, given the colours before
                             for (Index k = 0; k < mixtures; ++k)
                               log_weights[static_cast<std::size_t>(k)] = mixture.at(k);
                             for (Index c = 0; c < colours; ++c) {
                               std::vector<double> shares = log_weights;
                               detail::to_shares(shares);
                               const auto mass = [&](Index k, Index of) {
                                 const double mean = mixture.shifted_mean(c, k, x);
                                 return detail::log_mass(of, levels, mean, mixture.clamped_log_scale(c, k)).value;
                               };
                               for (Index of = 0; of < levels; ++of) {
                                 double sum = 0;
                                 for (Index k = 0; k < mixtures; ++k)
                                   sum += shares[static_cast<std::size_t>(k)] * std::exp(mass(k, of));
                                 out[((sample * colours + c) * levels + of) * plane + pixel] = sum;
                               }
                               const Index given = level[static_cast<std::size_t>(c)];
                               for (Index k = 0; k < mixtures; ++k)
                                 log_weights[static_cast<std::size_t>(k)] += mass(k, given);
                               x[static_cast<std::size_t>(c)] = detail::level_value(given, levels);
                             }
                           });
  return result;
}

/// Draws the levels of a pixel's colours from its parameters [P]: which logistic, then colour by colour a value,
/// rounded to its level; -1 if a parameter is NaN or infinite. `temperature` divides the logits and multiplies the
/// scales.
template <class Scalar>
std::array<Index, 3> draw_logistic_mixture(const Scalar* parameters, Index colours, Index mixtures, Index levels,
                                           double temperature, Random random) {
  const detail::PixelMixture<Scalar> mixture{parameters, 1, colours, mixtures};
  for (Index i = 0, count = logistic_mixture_parameters(colours, mixtures); i < count; ++i)
    if (is_nan(mixture.at(i)) || !is_finite(mixture.at(i))) return {-1, -1, -1};
  std::array<Index, 3> level{};
  std::vector<double> shares(static_cast<std::size_t>(mixtures));
  for (std::size_t k = 0; k < shares.size(); ++k) shares[k] = mixture.at(static_cast<Index>(k)) / temperature;
  detail::to_shares(shares);
  double u = random.uniform();
  Index k = 0;
  for (; k + 1 < mixtures && u >= shares[static_cast<std::size_t>(k)]; ++k) u -= shares[static_cast<std::size_t>(k)];
  std::array<double, 3> x{};
  for (Index c = 0; c < colours; ++c) {
    const double v = random.uniform(), scale = std::exp(mixture.clamped_log_scale(c, k)) * temperature;
    const double value = mixture.shifted_mean(c, k, x) + scale * (std::log(v) - std::log1p(-v));
    const double place = (std::clamp(value, -1.0, 1.0) + 1) / 2 * static_cast<double>(levels - 1);
    const auto i = static_cast<std::size_t>(c);
    level[i] = static_cast<Index>(std::lround(place));
    x[i] = detail::level_value(level[i], levels);
  }
  return level;
}

}  // namespace lamina::inline LAMINA_ABI
