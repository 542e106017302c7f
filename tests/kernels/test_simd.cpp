#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/kernels/simd.hpp"

using namespace lamina;

namespace {

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

/// The largest |f(x) - reference(x)| / max(|reference(x)|, floor) over evenly spaced x of [low, high].
template <class T, class F, class Reference>
double worst_error(F f, Reference reference, double low, double high, double floor = 0) {
  constexpr Index width = simd::width<T>;
  const Index count = 400000 / width * width;
  double worst = 0;
  for (Index i = 0; i < count; i += width) {
    T x[width], y[width];
    for (Index j = 0; j < width; ++j)
      x[j] = static_cast<T>(low + (high - low) * static_cast<double>(i + j) / static_cast<double>(count - 1));
    f(simd::Pack<T>::load(x)).store(y);
    for (Index j = 0; j < width; ++j) {
      const double expected = reference(static_cast<double>(x[j]));
      const double error = std::abs(static_cast<double>(y[j]) - expected) / std::max(std::abs(expected), floor);
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

/// f of one number, the same in every lane.
template <class T, class F>
T at(F f, T x) {
  const simd::Pack<T> y = f(simd::Pack<T>(x));
  for (Index i = 1; i < simd::width<T>; ++i) CHECK((y[i] == y[0] || (std::isnan(y[i]) && std::isnan(y[0]))));
  return y[0];
}

const auto pack_exp = [](auto x) { return simd::exp(x); };
const auto pack_sigmoid = [](auto x) { return simd::sigmoid(x); };
const auto pack_tanh = [](auto x) { return simd::tanh(x); };
const auto pack_erf = [](auto x) { return simd::erf(x); };

double exact_exp(double x) { return std::exp(x); }
double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double exact_tanh(double x) { return std::tanh(x); }
double exact_erf(double x) { return std::erf(x); }

}  // namespace

TEST_CASE("packs load and store whole and in part") {
  constexpr Index width = simd::width<float>;
  std::vector<float> numbers(static_cast<std::size_t>(2 * width));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i + 1);
  for (Index n = 0; n <= width; ++n) {
    const auto zeros = simd::Pack<float>::load(numbers.data() + 1, n);
    const auto rest = simd::Pack<float>::load(numbers.data() + 1, n, -7.0f);
    std::vector<float> out(static_cast<std::size_t>(width), -1.0f);
    zeros.store(out.data(), n);
    for (Index i = 0; i < width; ++i) {
      CHECK(zeros[i] == (i < n ? static_cast<float>(i + 2) : 0));
      CHECK(rest[i] == (i < n ? static_cast<float>(i + 2) : -7));
      CHECK(out[static_cast<std::size_t>(i)] == (i < n ? static_cast<float>(i + 2) : -1));
    }
  }
}

TEST_CASE_TEMPLATE("packs do arithmetic, comparison and reduction by element", T, float, double) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  T a[width], b[width];
  T total = 0;
  for (Index i = 0; i < width; ++i) {
    a[i] = static_cast<T>(i * i) - T(3);
    b[i] = static_cast<T>(5 - i);
    total += a[i];
  }
  const Pack x = Pack::load(a), y = Pack::load(b);
  for (Index i = 0; i < width; ++i) {
    CHECK((x + y)[i] == a[i] + b[i]);
    CHECK((x - y)[i] == a[i] - b[i]);
    CHECK((x * y)[i] == a[i] * b[i]);
    CHECK((y / T(4))[i] == b[i] / 4);
    CHECK((-x)[i] == -a[i]);
    CHECK(max(x, y)[i] == std::max(a[i], b[i]));
    CHECK(min(x, y)[i] == std::min(a[i], b[i]));
    CHECK(abs(y)[i] == std::abs(b[i]));
    CHECK(sqrt(x * x)[i] == std::abs(a[i]));
    CHECK(select(x < y, x, y)[i] == std::min(a[i], b[i]));
    CHECK(select(x >= y, Pack(1), T(0))[i] == (a[i] >= b[i] ? 1 : 0));
  }
  CHECK(simd::sum(x) == total);
  CHECK(simd::max(x) == std::max(a[0], a[width - 1]));
  CHECK(simd::polynomial(Pack(2), T(3), T(-1), T(5))[0] == 3 * 4 - 2 + 5);
}

TEST_CASE_TEMPLATE("a NaN stays in the first operand of max and min", T, float, double) {
  using Pack = simd::Pack<T>;
  CHECK(std::isnan(max(Pack(not_a_number<T>), T(0))[0]));
  CHECK(std::isnan(min(Pack(not_a_number<T>), T(0))[0]));
  CHECK(max(Pack(2), not_a_number<T>)[0] == 2);
}

TEST_CASE("single precision: relative errors against double") {
  CHECK(worst_error<float>(pack_exp, exact_exp, -87, 88.7) < 2e-7);
  CHECK(worst_error<float>(pack_exp, exact_exp, -1, 1) < 1.2e-7);
  CHECK(worst_error<float>(pack_sigmoid, exact_sigmoid, -87, 30) < 3e-7);
  CHECK(worst_error<float>(pack_tanh, exact_tanh, -12, 12) < 3e-7);
  CHECK(worst_error<float>(pack_tanh, exact_tanh, -1e-3, 1e-3) < 1.2e-7);
  CHECK(worst_error<float>(pack_erf, exact_erf, -6, 6) < 3e-7);
  CHECK(worst_error<float>(pack_erf, exact_erf, -1e-3, 1e-3) < 3e-7);
}

TEST_CASE("single precision: absolute errors beyond, where results underflow") {
  CHECK(worst_error<float>(pack_exp, exact_exp, -200, -80, 1) < 1e-34);
  CHECK(worst_error<float>(pack_sigmoid, exact_sigmoid, -200, -80, 1) < 1e-34);
  CHECK(worst_error<float>(pack_sigmoid, exact_sigmoid, 20, 200, 1) < 1e-7);
  CHECK(worst_error<float>(pack_tanh, exact_tanh, -1000, 1000, 1) < 2e-7);
  CHECK(worst_error<float>(pack_erf, exact_erf, -1000, 1000, 1) < 2e-7);
}

TEST_CASE("double precision: relative errors") {
  CHECK(worst_error<double>(pack_exp, exact_exp, -700, 700) < 1e-15);
  CHECK(worst_error<double>(pack_sigmoid, exact_sigmoid, -700, 40) < 1e-15);
  CHECK(worst_error<double>(pack_tanh, exact_tanh, -20, 20) < 1e-15);
  CHECK(worst_error<double>(pack_erf, exact_erf, -6, 6) < 1e-15);
}

TEST_CASE_TEMPLATE("special values", T, float, double) {
  const T largest = std::numeric_limits<T>::max();
  CHECK(at<T>(pack_exp, 0) == 1);
  CHECK(at<T>(pack_exp, infinity<T>) == infinity<T>);
  CHECK(at<T>(pack_exp, largest) == infinity<T>);
  CHECK(at<T>(pack_exp, -infinity<T>) == 0);
  CHECK(at<T>(pack_exp, -largest) == 0);
  CHECK(at<T>(pack_sigmoid, 0) == T(0.5));
  CHECK(at<T>(pack_sigmoid, infinity<T>) == 1);
  CHECK(at<T>(pack_sigmoid, -infinity<T>) == 0);
  CHECK(at<T>(pack_sigmoid, largest) == 1);
  CHECK(at<T>(pack_sigmoid, -largest) == 0);
  CHECK(at<T>(pack_tanh, 0) == 0);
  CHECK(at<T>(pack_erf, 0) == 0);
  for (T sign : {T(1), T(-1)}) {
    CHECK(at<T>(pack_tanh, sign * infinity<T>) == sign);
    CHECK(at<T>(pack_tanh, sign * largest) == sign);
    CHECK(at<T>(pack_erf, sign * infinity<T>) == sign);
    CHECK(at<T>(pack_erf, sign * largest) == sign);
    CHECK(at<T>(pack_tanh, sign * T(1e-30)) == sign * T(1e-30));
  }
  CHECK(std::isnan(at<T>(pack_exp, not_a_number<T>)));
  CHECK(std::isnan(at<T>(pack_sigmoid, not_a_number<T>)));
  CHECK(std::isnan(at<T>(pack_tanh, not_a_number<T>)));
  CHECK(std::isnan(at<T>(pack_erf, not_a_number<T>)));
}

TEST_CASE("a NaN does not disturb its neighbours") {
  constexpr Index width = simd::width<float>;
  float x[width];
  for (Index i = 0; i < width; ++i) x[i] = i % 2 ? not_a_number<float> : static_cast<float>(i);
  const auto y = simd::exp(simd::Pack<float>::load(x));
  for (Index i = 0; i < width; i += 2) CHECK(y[i] == doctest::Approx(std::exp(static_cast<double>(i))));
  for (Index i = 1; i < width; i += 2) CHECK(std::isnan(y[i]));
}
