#pragma once

#include <cmath>
#include <limits>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI::testing {

/// The largest |a - b| / (1 + |b|); infinite when a NaN is on one side only.
template <class T>
double difference(const Tensor<T>& a, const Tensor<double>& b) {
  double worst = 0;
  for (Index i = 0; i < b.numel(); ++i) {
    const double u = static_cast<double>(a.data()[i]), v = b.data()[i];
    if (u == v || (std::isnan(u) && std::isnan(v))) continue;
    const double error = std::abs(u - v) / (1 + std::abs(v));
    worst = error <= worst ? worst : std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }
  return worst;
}

}  // namespace lamina::inline LAMINA_ABI::testing
