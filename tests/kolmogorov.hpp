#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

/// The test of Kolmogorov and Smirnov: how likely values of the distribution function F are to lie as far from it as
/// these do, or farther (Kolmogorov's series, with Stephens's correction for finite numbers of values).
template <class F>
double kolmogorov_smirnov(std::vector<double> values, F distribution) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  double distance = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double f = distribution(values[i]), at = static_cast<double>(i);
    distance = std::max({distance, f - at / n, (at + 1) / n - f});
  }
  const double x = (std::sqrt(n) + 0.12 + 0.11 / std::sqrt(n)) * distance;
  if (x < 0.2) return 1;
  double p = 0;
  for (int k = 1; k <= 100; ++k) p += (k % 2 == 1 ? 2 : -2) * std::exp(-2.0 * k * k * x * x);
  return p;
}
