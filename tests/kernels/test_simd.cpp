#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/kernels/simd.hpp"

using namespace lamina;

namespace {

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();

/// Whose result is told from whose: the next wider type.
template <class T>
using Wider = std::conditional_t<sizeof(T) == 4, double, long double>;

/// |y - expected| in units in the last place of T at the expected result; infinities and NaN must be where they belong.
template <class T>
double ulps(T y, Wider<T> expected) {
  using Limits = std::numeric_limits<T>;
  if (std::isnan(expected)) return std::isnan(y) ? 0 : infinity<double>;
  const T rounded = static_cast<T>(expected);
  if (std::isinf(y) || std::isinf(rounded)) {
    const bool at_edge = std::abs(expected) > 0.999999 * static_cast<Wider<T>>(Limits::max());
    return y == rounded || (at_edge && std::abs(y) >= Limits::max() && std::abs(rounded) >= Limits::max())
               ? 0
               : infinity<double>;
  }
  int exponent = 0;
  std::frexp(expected, &exponent);
  const int unit = std::max(exponent, Limits::min_exponent) - Limits::digits;
  return static_cast<double>(std::ldexp(std::abs(static_cast<Wider<T>>(y) - expected), -unit));
}

/// The largest error of f in units in the last place, over numbers of every sign, exponent and kind: in single
/// precision every 4093rd, in double precision drawn bits, half of them with exponents where something happens.
template <class T, class F>
double worst_ulps(F f, Wider<T> (*reference)(Wider<T>)) {
  constexpr Index width = simd::width<T>;
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  Random random(1);
  double worst = 0;
  const Index count = sizeof(T) == 4 ? static_cast<Index>((std::int64_t{1} << 32) / 4093) : Index(1) << 20;
  for (Index i = 0; i < count; i += width) {
    std::array<T, static_cast<std::size_t>(width)> x, y;
    for (Index j = 0; j < width; ++j) {
      Bits bits;
      if constexpr (sizeof(T) == 4) {
        bits = static_cast<Bits>((i + j) * 4093);
      } else {
        const auto draw = [&] {
          return static_cast<Bits>(random.below(Index(1) << 16)) << 16 |
                 static_cast<Bits>(random.below(Index(1) << 16));
        };
        bits = draw() << 32 | draw();
        if (j % 2) bits = (bits & ~(Bits(0x7ff) << 52)) | (Bits(1023 - 30) + bits % 41) << 52;  // 2^-30 to 2^10
      }
      std::memcpy(&x[static_cast<std::size_t>(j)], &bits, sizeof bits);
    }
    f(simd::Pack<T>::load(x.data())).store(y.data());
    for (std::size_t j = 0; j < x.size(); ++j) {
      const double error = ulps(y[j], reference(static_cast<Wider<T>>(x[j])));
      if (error > worst) {
        CAPTURE(x[j]);
        CAPTURE(y[j]);
        CHECK(error <= 4);
        worst = error;
      }
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
const auto pack_expm1 = [](auto x) { return simd::expm1(x); };
const auto pack_sigmoid = [](auto x) { return simd::sigmoid(x); };
const auto pack_tanh = [](auto x) { return simd::tanh(x); };
const auto pack_erf = [](auto x) { return simd::erf(x); };

const auto pack_log = [](auto x) { return simd::log(x); };

template <class W>
W exact_sigmoid(W x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

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
    CHECK(copysign(x, y)[i] == std::copysign(a[i], b[i]));
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
  for (Index i = 0; i < simd::width<T>; ++i) {
    Pack mixed(T(-3));
    mixed.v[i] = not_a_number<T>;
    CHECK(simd::max(mixed) == T(-3));
    mixed.v[i] = T(4);
    CHECK(simd::max(mixed) == T(4));
  }
  CHECK(simd::max(Pack(not_a_number<T>)) == -infinity<T>);
}

TEST_CASE_TEMPLATE("exp, expm1, log, sigmoid, tanh and erf are as accurate as they say, on numbers of all kinds", T,
                   float, double) {
  using W = Wider<T>;
#if defined(__EMSCRIPTEN__)
  // Its functions of long double are those of double, themselves off by up to half a unit and more.
  constexpr double reference = sizeof(T) == 4 ? 0 : 0.7;
#else
  constexpr double reference = 0;
#endif
  CHECK(worst_ulps<T>(pack_exp, [](W x) { return std::exp(x); }) < 1.1 + reference);
  CHECK(worst_ulps<T>(pack_expm1, [](W x) { return std::expm1(x); }) < 2 + reference);
  CHECK(worst_ulps<T>(pack_log, [](W x) { return std::log(x); }) < 0.9 + reference);
  CHECK(worst_ulps<T>(pack_sigmoid, exact_sigmoid<W>) < 2.5 + reference);
  CHECK(worst_ulps<T>(pack_tanh, [](W x) { return std::tanh(x); }) < 1.4 + reference);
  CHECK(worst_ulps<T>(pack_erf, [](W x) { return std::erf(x); }) < 3 + reference);
}

TEST_CASE_TEMPLATE("overflow, underflow and denormal numbers", T, float, double) {
  using W = Wider<T>;
  using Limits = std::numeric_limits<T>;
  const auto check = [](auto f, W (*reference)(W), T x) {
    for (T towards : {-infinity<T>, infinity<T>}) {
      T at_x = x;
      for (int i = 0; i < 50; ++i, at_x = std::nextafter(at_x, towards)) {
        CAPTURE(at_x);
        CHECK(ulps<T>(at<T>(f, at_x), reference(static_cast<W>(at_x))) < 3);
      }
    }
  };
  const auto exact_exp = [](W x) { return std::exp(x); };
  const auto exact_log = [](W x) { return std::log(x); };
  const auto exact_tanh = [](W x) { return std::tanh(x); };
  const auto exact_erf = [](W x) { return std::erf(x); };
  for (T edge : {std::log(Limits::max()), std::log(Limits::min()), std::log(Limits::denorm_min()),
                 std::log(Limits::denorm_min()) - std::log(T(2))}) {
    check(pack_exp, exact_exp, edge);
    check(pack_sigmoid, exact_sigmoid<W>, edge);
    check(pack_sigmoid, exact_sigmoid<W>, -edge);
  }
  for (T edge : {T(1), std::sqrt(T(0.5)), std::sqrt(T(2)), Limits::min(), Limits::denorm_min(), Limits::max()})
    check(pack_log, exact_log, edge);
  for (T edge : {T(0), T(0.625), T(-0.625), Limits::min()}) check(pack_tanh, exact_tanh, edge);
  for (T edge : {T(0), T(1), T(-1), T(2), T(-2), T(6.5), Limits::min()}) check(pack_erf, exact_erf, edge);
}

TEST_CASE_TEMPLATE("special values", T, float, double) {
  const T largest = std::numeric_limits<T>::max();
  CHECK(at<T>(pack_exp, 0) == 1);
  CHECK(at<T>(pack_exp, infinity<T>) == infinity<T>);
  CHECK(at<T>(pack_exp, largest) == infinity<T>);
  CHECK(at<T>(pack_exp, -infinity<T>) == 0);
  CHECK(at<T>(pack_expm1, infinity<T>) == infinity<T>);
  CHECK(at<T>(pack_expm1, -infinity<T>) == -1);
  CHECK(at<T>(pack_exp, -largest) == 0);
  CHECK(at<T>(pack_sigmoid, 0) == T(0.5));
  CHECK(at<T>(pack_sigmoid, infinity<T>) == 1);
  CHECK(at<T>(pack_sigmoid, -infinity<T>) == 0);
  CHECK(at<T>(pack_sigmoid, largest) == 1);
  CHECK(at<T>(pack_sigmoid, -largest) == 0);
  for (T zero : {T(0), T(-0.0)}) {
    CHECK(at<T>(pack_tanh, zero) == 0);
    CHECK(std::signbit(at<T>(pack_tanh, zero)) == std::signbit(zero));
    CHECK(at<T>(pack_erf, zero) == 0);
    CHECK(std::signbit(at<T>(pack_erf, zero)) == std::signbit(zero));
    CHECK(at<T>(pack_exp, zero) == 1);
    CHECK(at<T>(pack_expm1, zero) == 0);
    CHECK(at<T>(pack_sigmoid, zero) == T(0.5));
    CHECK(at<T>(pack_log, zero) == -infinity<T>);
  }
  CHECK(at<T>(pack_log, 1) == 0);
  CHECK(at<T>(pack_log, infinity<T>) == infinity<T>);
  CHECK(std::isnan(at<T>(pack_log, -1)));
  CHECK(std::isnan(at<T>(pack_log, -infinity<T>)));
  CHECK(std::isnan(at<T>(pack_log, not_a_number<T>)));
  for (T sign : {T(1), T(-1)}) {
    CHECK(at<T>(pack_tanh, sign * infinity<T>) == sign);
    CHECK(at<T>(pack_tanh, sign * largest) == sign);
    CHECK(at<T>(pack_erf, sign * infinity<T>) == sign);
    CHECK(at<T>(pack_erf, sign * largest) == sign);
    CHECK(at<T>(pack_tanh, sign * T(1e-30)) == sign * T(1e-30));
  }
  CHECK(std::isnan(at<T>(pack_exp, not_a_number<T>)));
  CHECK(std::isnan(at<T>(pack_expm1, not_a_number<T>)));
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
