#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/lamina.hpp"
#include "message.hpp"

// This program is built with -ffast-math. Its compiler folds std::isnan, x != x and comparisons with infinity: what is
// expected is told by the bits.
using namespace lamina;

namespace {

#if defined(__GNUC__) && !defined(__clang__)
static_assert(__FAST_MATH__ && __ASSOCIATIVE_MATH__, "this test proves nothing unless it is built with -ffast-math");
#else
static_assert(__FAST_MATH__, "this test proves nothing unless it is built with -ffast-math");
#endif

// Not constants, which the compiler would know.
volatile double unknown_nan = std::numeric_limits<double>::quiet_NaN();
volatile double unknown_infinity = std::numeric_limits<double>::infinity();

/// The largest relative error of f in units of epsilon, at first, first + step, ..., last.
template <class T, class F>
double worst(F f, double (*exact)(double), double first, double last, double step) {
  double result = 0;
  for (double at = first; at <= last; at += step) {
    const T x = static_cast<T>(at);
    const double expected = exact(static_cast<double>(x));
    const double error = std::abs(static_cast<double>(f(simd::Pack<T>(x))[0]) - expected) / std::abs(expected);
    result = std::max(result, error / static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
  return result;
}

template <class T, class F>
T at(F f, double x) {
  return f(simd::Pack<T>(static_cast<T>(x)))[0];
}

const auto pack_exp = [](auto x) { return simd::exp(x); };
const auto pack_log = [](auto x) { return simd::log(x); };
const auto pack_sigmoid = [](auto x) { return simd::sigmoid(x); };
const auto pack_tanh = [](auto x) { return simd::tanh(x); };
const auto pack_erf = [](auto x) { return simd::erf(x); };

}  // namespace

TEST_CASE_TEMPLATE("fast math: exp, log, sigmoid, tanh and erf keep their precision", T, float, double) {
  constexpr double most = 6;  // approximate divisions cost some
  CHECK(worst<T>(
            pack_exp, [](double x) { return std::exp(x); }, -86, 88, 0.0625 + 1e-3) < most);
  CHECK(worst<T>(
            pack_log, [](double x) { return std::log(x); }, 1e-3, 60, 0.03) < most);
  CHECK(worst<T>(
            pack_sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80, 0.07) < most);
  CHECK(worst<T>(
            pack_tanh, [](double x) { return std::tanh(x); }, 1e-3, 100, 0.03) < most);
  CHECK(worst<T>(
            pack_erf, [](double x) { return std::erf(x); }, 1e-3, 10, 0.01) < most);
}

TEST_CASE_TEMPLATE("fast math: special values are where they belong", T, float, double) {
  const double infinity = unknown_infinity, nan = unknown_nan;
  CHECK(is_infinite(at<T>(pack_exp, 1000)));
  CHECK(at<T>(pack_exp, -infinity) == 0);
  CHECK(is_nan(at<T>(pack_exp, nan)));
  CHECK(is_infinite(at<T>(pack_log, 0)));
  CHECK(is_infinite(at<T>(pack_log, infinity)));
  CHECK(is_nan(at<T>(pack_log, -1)));
  CHECK(is_nan(at<T>(pack_log, nan)));
  CHECK(at<T>(pack_sigmoid, -infinity) == 0);
  CHECK(at<T>(pack_sigmoid, infinity) == doctest::Approx(1).epsilon(1e-6));  // an approximate division
  CHECK(at<T>(pack_tanh, -infinity) == -1);
  CHECK(at<T>(pack_tanh, 50) == 1);
  CHECK(is_nan(at<T>(pack_tanh, nan)));
  CHECK(at<T>(pack_erf, infinity) == 1);
  CHECK(is_nan(at<T>(pack_erf, nan)));
}

TEST_CASE("fast math: is_nan, is_infinite, is_finite") {
  const double nan = unknown_nan, infinity = unknown_infinity;
  CHECK((is_nan(nan) && is_nan(-nan) && !is_infinite(nan) && !is_finite(nan)));
  CHECK((!is_nan(infinity) && is_infinite(infinity) && is_infinite(-infinity) && !is_finite(infinity)));
  CHECK((!is_nan(-0.0f) && !is_infinite(1e38f) && is_finite(-1e38f) && is_finite(0.0f)));
}

TEST_CASE("fast math: softmax, GELU and cross entropy") {
  const Tensor x({5}, {-2.f, -0.3f, 0.3f, 1.f, 3.f});
  double sum = 0;
  for (float v : x.values()) sum += std::exp(static_cast<double>(v));
  const Tensor<float> p = softmax(x, 0), g = GELU<float>()(x);
  for (Index i = 0; i < 5; ++i) {
    const double v = static_cast<double>(x(i));
    CHECK(static_cast<double>(p(i)) == doctest::Approx(std::exp(v) / sum).epsilon(1e-6));
    CHECK(static_cast<double>(g(i)) == doctest::Approx(v / 2 * (1 + std::erf(v / std::sqrt(2.0)))).epsilon(1e-6));
  }
  for (Index classes : {5, 37}) {  // the second more than one vector
    Tensor<float> logits({2, classes});
    for (Index i = 0; i < logits.numel(); ++i) logits.values()[static_cast<std::size_t>(i)] = static_cast<float>(i % 7);
    double expected = 0;
    for (Index n = 0; n < 2; ++n) {
      double total = 0;
      for (Index k = 0; k < classes; ++k) total += std::exp(static_cast<double>(logits(n, k)));
      expected += (std::log(total) - static_cast<double>(logits(n, 1))) / 2;
    }
    CHECK(static_cast<double>(cross_entropy(logits, Labels({2}, {1, 1})).value) ==
          doctest::Approx(expected).epsilon(1e-6));
  }
}

TEST_CASE("fast math: a NaN comes through activations and max pooling, whatever its place") {
  const float nan = static_cast<float>(unknown_nan);
  for (Index place = 0; place < 36; ++place) {
    Tensor<float> x = Tensor<float>::full({1, 1, 6, 6}, -1.0f);
    x.values()[static_cast<std::size_t>(place)] = nan;
    CHECK(is_nan(ReLU<float>()(x).values()[static_cast<std::size_t>(place)]));
    CHECK(is_nan(ReLU6<float>()(x).values()[static_cast<std::size_t>(place)]));
    const Tensor<float> y = MaxPool2d<float>(2)(x);
    for (Index i = 0; i < 9; ++i)
      CHECK(is_nan(y.values()[static_cast<std::size_t>(i)]) == (i == place / 12 * 3 + place % 6 / 2));
  }
}

TEST_CASE("fast math: a loss or an option that is not finite is refused") {
  Linear<float> net(2, 2);
  CHECK(testing::message([&] { SGD<float>(parameters<float>(net), {.lr = unknown_infinity}); }) ==
        "SGD: lr must be finite and not negative, got inf");
  CHECK(testing::message([&] { SGD<float>(parameters<float>(net), {.lr = unknown_nan}); }) ==
        "SGD: lr must be finite and not negative, got nan");

  TensorDataset<float> data(Tensor<float>::full({2, 2}, static_cast<float>(unknown_nan)), Labels::zeros({2}));
  DataLoader<float> train(data, {.batch_size = 2});
  SGD<float> optimizer(parameters<float>(net), {.lr = 0.1});
  Sequential<float> model{net};
  CHECK(testing::message([&] { fit(model, optimizer, train, {.epochs = 1, .progress = false}); }) ==
        "fit: the loss is nan in epoch 1, batch 1 of 1");
}
