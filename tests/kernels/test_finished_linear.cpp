#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/kernels/finished_linear.hpp"

using namespace lamina;
using namespace lamina::kernels;

namespace {

/// y by all units of FinishedLinear, with the filters as Weight.
template <class T, class Weight>
std::vector<T> run(const FinishedLinear<T>& linear, Index rows, Index out, const T* x, const Weight* filters,
                   const Finish<T>& finish) {
  std::vector<T> y(static_cast<std::size_t>(rows * out));
  Tensor<T> scratch({std::max<Index>(linear.scratch(), 1)});
  for (Index unit = 0; unit < linear.units(rows); ++unit)
    linear.run(unit, rows, x, filters, y.data(), finish, scratch.data());
  return y;
}

template <class T>
void check(Index rows, Index out, Index in) {
  CAPTURE(rows);
  CAPTURE(out);
  CAPTURE(in);
  Random random(static_cast<std::uint64_t>(rows * 1000003 + out * 1009 + in));
  const Index whole = simd::whole_vectors<T>(out) + simd::width<T>;
  const Tensor<T> x = random.normal<T>({rows, in}), weight = random.normal<T>({out, in}),
                  residual = random.normal<T>({rows, out});
  Tensor<T> bias = random.normal<T>({whole});
  const FinishedLinear<T> linear(in, out);
  Tensor<T> filters({linear.filters_size()});
  linear.pack_filters(weight.data(), filters.data());
  const Finish<T> finish{.bias = std::as_const(bias).data(), .residual = residual.data(), .lowest = T(0)};
  const std::vector<T> y = run(linear, rows, out, x.data(), std::as_const(filters).data(), finish);

  double worst = 0;
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < out; ++j) {
      double sum = static_cast<double>(std::as_const(bias).data()[j]) + static_cast<double>(residual(i, j));
      for (Index k = 0; k < in; ++k) sum += static_cast<double>(x(i, k)) * static_cast<double>(weight(j, k));
      worst =
          std::max(worst, std::abs(static_cast<double>(y[static_cast<std::size_t>(i * out + j)]) - std::max(sum, 0.)));
    }
  const double epsilon = std::is_same_v<T, float> ? 1e-7 : 1e-15;
  CHECK(worst < 30 * epsilon * std::sqrt(static_cast<double>(in + 1)) * 3);

  // A row alone, which goes another way, has the bits that it has among others.
  for (Index i = 0; i < rows; ++i) {
    const Finish<T> of_row{.bias = finish.bias, .residual = residual.data() + i * out, .lowest = T(0)};
    const std::vector<T> alone = run(linear, 1, out, x.data() + i * in, std::as_const(filters).data(), of_row);
    CHECK(std::equal(alone.begin(), alone.end(), y.begin() + i * out));
  }

  if constexpr (std::is_same_v<T, float>) {  // weights that bfloat16 holds exactly
    std::vector<BFloat16> narrow;
    Tensor<float> rounded(filters.shape());
    for (Index i = 0; i < filters.numel(); ++i) {
      narrow.push_back(BFloat16::from(std::as_const(filters).data()[i]));
      rounded.data()[i] = narrow.back().value();
    }
    CHECK(run(linear, rows, out, x.data(), narrow.data(), finish) ==
          run(linear, rows, out, x.data(), std::as_const(rounded).data(), finish));
  }
}

}  // namespace

TEST_CASE("FinishedLinear is x weightᵀ + bias + residual, clamped, for any sizes") {
  for (const Index rows : {1, 2, 3, 7, 13, 200})
    for (const Index out : {1, 8, 10, 16, 33, 64, 100, 160, 300})
      for (const Index in : {1, 5, 64, 700}) {
        if (rows == 200 && in > 64) continue;
        check<float>(rows, out, in);
        check<double>(rows, out, in);
      }
}
