#pragma once

#include <cstdint>
#include <string>

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

 private:
  std::uint64_t hash_;
};
std::uint64_t fnv1a(const std::string& text);

}  // namespace lamina::inline LAMINA_ABI::testing
