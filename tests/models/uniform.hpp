#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lamina/core/isa.hpp"
#include "lamina/core/shape.hpp"

namespace lamina::inline LAMINA_ABI::testing {

/// U[-1, 1), value i of the sequence called `key`: make_models.py's `uniform`.
class Uniform {
 public:
  explicit Uniform(const std::string& key);
  double operator()(Index i) const;
  /// out[i] = center + scale * value i, rounded to float, for i < n.
  template <class Scalar>
  void fill(double center, double scale, Index n, Scalar* out) const;
  /// The sum of the squares of x, and of x[i] times value i.
  std::pair<double, double> squares_and_product(std::span<const double> x) const;

 private:
  std::uint64_t hash_;
};
std::uint64_t fnv1a(const std::string& text);

}  // namespace lamina::inline LAMINA_ABI::testing
