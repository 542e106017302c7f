#include "models/uniform.hpp"

namespace lamina::inline LAMINA_ABI::testing {

std::uint64_t fnv1a(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

Uniform::Uniform(const std::string& key) : hash_(fnv1a(key)) {}

double Uniform::operator()(Index i) const {
  std::uint64_t z = hash_ + static_cast<std::uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z = z ^ (z >> 31);
  return static_cast<double>(z >> 40) * 0x1p-23 - 1;
}

template <class Scalar>
void Uniform::fill(double center, double scale, Index n, Scalar* out) const {
  for (Index i = 0; i < n; ++i) out[i] = static_cast<Scalar>(static_cast<float>(center + scale * (*this)(i)));
}
template void Uniform::fill(double, double, Index, float*) const;
template void Uniform::fill(double, double, Index, double*) const;

std::pair<double, double> Uniform::squares_and_product(std::span<const double> x) const {
  double squares = 0, product = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    squares += x[i] * x[i];
    product += x[i] * (*this)(static_cast<Index>(i));
  }
  return {squares, product};
}

}  // namespace lamina::inline LAMINA_ABI::testing
