#include "golden/golden.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "lamina/io/safetensors.hpp"

namespace lamina::inline LAMINA_ABI::testing {

const Fixtures& fixtures(const std::string& area) {
  static std::map<std::string, Fixtures> areas;
  const auto [entry, fresh] = areas.try_emplace(area);
  if (fresh) {
    const std::string path = std::string(LAMINA_GOLDEN_DIR) + "/" + area + ".safetensors";
    const SafetensorsFile file(path);
    for (auto& [key, value] : load_safetensors<double>(path)) entry->second.tensors.emplace(key, std::move(value));
    entry->second.cases = file.metadata();
  }
  return entry->second;
}

double largest(const Tensor<double>& x) {
  double result = 0;
  for (double value : x.values())
    if (std::isfinite(value)) result = std::max(result, std::abs(value));
  return result;
}

std::string disagreement(const std::string& what, const Tensor<double>& got, const Tensor<double>& expected,
                         double tolerance, double noise_scale) {
  using lamina::text;
  if (got.shape() != expected.shape())
    return text("\n  ", what, " has shape ", got.shape(), ", expected ", expected.shape());
  const double size = largest(expected), scale = size > 1e-9 ? size : noise_scale;
  double worst = tolerance;
  Index at = -1;
  for (Index i = 0; i < expected.numel(); ++i) {
    const double a = got.data()[i], b = expected.data()[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double error = std::isfinite(a) && std::isfinite(b) ? std::abs(a - b) / scale : INFINITY;
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  if (at < 0) return "";
  Shape position = expected.shape();
  for (Index axis = position.rank() - 1, rest = at; axis >= 0; --axis) {
    const int i = static_cast<int>(axis);
    position = position.with(i, rest % expected.dim(i));
    rest /= expected.dim(i);
  }
  char values[128];
  std::snprintf(values, sizeof values, "%.17g, expected %.17g", got.data()[at], expected.data()[at]);
  return text("\n  ", what, position, " is ", std::string_view(values), ", off by ", worst, " of the largest entry");
}

}  // namespace lamina::inline LAMINA_ABI::testing
