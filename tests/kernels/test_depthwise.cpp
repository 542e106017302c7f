#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "difference.hpp"
#include "lamina/core/random.hpp"
#include "lamina/kernels/depthwise.hpp"

using namespace lamina;
using kernels::ConvolutionShape;
using testing::difference;

namespace test_depthwise {

namespace {

/// The definition, in loops and in double.
struct Naive {
  Tensor<double> y, dx, dweight, dbias;

  template <class T>
  Naive(const ConvolutionShape& s, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
        const Tensor<T>& dy)
      : y(dy.shape()),
        dx(Tensor<double>::zeros(x.shape())),
        dweight(Tensor<double>::zeros(weight.shape())),
        dbias(Tensor<double>::zeros(bias.shape())) {
    const auto value = [](T v) { return static_cast<double>(v); };
    for (Index n = 0; n < s.n; ++n)
      for (Index c = 0; c < s.c; ++c)
        for (Index i = 0; i < s.oh(); ++i)
          for (Index j = 0; j < s.ow(); ++j) {
            const double grad = value(dy(n, c, i, j));
            double sum = value(bias(c));
            dbias(c) += grad;
            for (Index a = 0; a < s.kh; ++a)
              for (Index b = 0; b < s.kw; ++b) {
                const Index p = i * s.sh + a * s.dh - s.top, q = j * s.sw + b * s.dw - s.left;
                if (p < 0 || p >= s.h || q < 0 || q >= s.w) continue;
                sum += value(weight(c, 0, a, b)) * value(x(n, c, p, q));
                dx(n, c, p, q) += value(weight(c, 0, a, b)) * grad;
                dweight(c, 0, a, b) += value(x(n, c, p, q)) * grad;
              }
            y(n, c, i, j) = sum;
          }
  }
};

/// A tensor's elements between others, which must stay as they are.
template <class T>
class Guarded {
 public:
  Guarded(const Shape& shape, T value) : shape_(shape), all_(Tensor<T>::full({shape.numel() + 2 * margin}, value)) {}
  T* data() { return all_.data() + margin; }
  Tensor<T> values() const { return all_.slice(margin, margin + shape_.numel()).reshape(shape_); }
  bool intact() const {
    for (Index i = 0; i < margin; ++i)
      if (all_.data()[i] != all_.data()[all_.numel() - 1 - i] || all_.data()[i] != all_.data()[0]) return false;
    return true;
  }

 private:
  static constexpr Index margin = 40;
  Shape shape_;
  Tensor<T> all_;
};

template <class T>
struct Results {
  Tensor<T> y, dx, dweight, dbias;
};

template <class T>
Results<T> run(const ConvolutionShape& s, const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias,
               const Tensor<T>& dy) {
  Guarded<T> y(dy.shape(), T(7)), dx(x.shape(), T(7)), dweight(weight.shape(), T(1)), dbias(bias.shape(), T(1));
  kernels::depthwise_forward(s, x.data(), weight.data(), bias.data(), y.data());
  kernels::depthwise_backward_input(s, dy.data(), weight.data(), dx.data());
  kernels::depthwise_backward_weight(s, x.data(), dy.data(), dweight.data(), dbias.data());
  CHECK((y.intact() && dx.intact() && dweight.intact() && dbias.intact()));
  Results<T> results{y.values(), dx.values(), dweight.values(), dbias.values()};
  results.dweight.array() -= T(1);  // they are added to
  results.dbias.array() -= T(1);
  return results;
}

template <class T>
void check(const ConvolutionShape& s, double tolerance) {
  INFO("n ", s.n, " c ", s.c, " h ", s.h, " w ", s.w, " k ", s.kh, "x", s.kw, " s ", s.sh, "x", s.sw, " d ", s.dh, "x",
       s.dw, " padding ", s.top, " ", s.bottom, " ", s.left, " ", s.right);
  Random random(static_cast<std::uint64_t>(s.h * 1000 + s.w * 10 + s.kh));
  const auto x = random.normal<T>({s.n, s.c, s.h, s.w}), dy = random.normal<T>({s.n, s.c, s.oh(), s.ow()});
  const auto weight = random.normal<T>({s.c, 1, s.kh, s.kw}), bias = random.normal<T>({s.c});
  const Naive naive(s, x, weight, bias, dy);
  const Results<T> results = run(s, x, weight, bias, dy);
  CHECK(difference(results.y, naive.y) < tolerance);
  CHECK(difference(results.dx, naive.dx) < tolerance);
  CHECK(difference(results.dweight, naive.dweight) < tolerance);
  CHECK(difference(results.dbias, naive.dbias) < tolerance);
}

void check_both(const ConvolutionShape& s) {
  if (s.h + s.top + s.bottom < s.dh * (s.kh - 1) + 1 || s.w + s.left + s.right < s.dw * (s.kw - 1) + 1) return;
  check<double>(s, 1e-12);
  check<float>(s, 2e-5);
}

ConvolutionShape square(Index n, Index c, Index size, Index kernel, Index stride) {
  const Index pad = kernel / 2;
  return {.n = n,
          .c = c,
          .h = size,
          .w = size,
          .m = c,
          .kh = kernel,
          .kw = kernel,
          .sh = stride,
          .sw = stride,
          .top = pad,
          .bottom = pad,
          .left = pad,
          .right = pad,
          .groups = c};
}

}  // namespace

TEST_CASE("depthwise convolution equals the definition for every width, kernel and stride of the networks") {
  for (Index kernel : {1, 2, 3, 5, 7, 9})
    for (Index stride : {1, 2})
      for (Index w = 1; w <= 70; w += w < 36 ? 1 : 5) {
        ConvolutionShape s = square(1 + w % 2, 1 + w % 3, w, kernel, stride);
        s.h = 1 + w * 5 % 23;
        check_both(s);
      }
}

TEST_CASE("depthwise convolution equals the definition over a grid of options") {
  Random random(7);
  const auto pick = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  for (int trial = 0; trial < 600; ++trial) {
    ConvolutionShape s{};
    s.n = pick(1, 3), s.c = s.m = s.groups = pick(1, 5), s.h = pick(1, 30), s.w = pick(1, 40);
    s.kh = pick(1, 8), s.kw = trial % 2 ? s.kh : pick(1, 8);
    s.sh = pick(1, 4), s.sw = trial % 3 ? s.sh : pick(1, 4);
    if (trial % 4 == 0) s.dh = pick(1, 3), s.dw = pick(1, 3);
    s.top = pick(0, 5), s.bottom = pick(0, 5), s.left = pick(0, 5), s.right = pick(0, 5);
    check_both(s);
  }
}

TEST_CASE("depthwise convolution in bands of rows, and windows that see only padding") {
  for (Index kernel : {3, 4, 5, 7})
    for (Index stride : {1, 2}) {
      ConvolutionShape s = square(1, 2, 130, kernel, stride);
      check_both(s);
      s = square(2, 1, 5, kernel, stride);
      s.w = 700;
      s.top = s.bottom = 11, s.left = 13, s.right = 6;
      check_both(s);
      s.h = 1, s.w = 40;
      s.top = s.bottom = 60;
      check_both(s);
    }
}

TEST_CASE("depthwise convolution gives the same bits for any number of threads") {
  const int before = num_threads();
  for (Index stride : {1, 2}) {
    const ConvolutionShape s = square(5, 6, 112, 3, stride);
    Random random(1);
    const auto x = random.normal({s.n, s.c, s.h, s.w}), dy = random.normal({s.n, s.c, s.oh(), s.ow()});
    const auto weight = random.normal({s.c, 1, s.kh, s.kw}), bias = random.normal({s.c});
    set_num_threads(1);
    const auto one = run(s, x, weight, bias, dy);
    set_num_threads(3);
    const auto three = run(s, x, weight, bias, dy);
    CHECK(one.y == three.y);
    CHECK(one.dx == three.dx);
    CHECK(one.dweight == three.dweight);
    CHECK(one.dbias == three.dbias);
  }
  set_num_threads(before);
}

TEST_CASE("in depthwise convolution a NaN reaches what depends on it; the weight's gradient in its channel only") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (Index kernel : {2, 3, 5})
    for (Index stride : {1, 2})
      for (Index w : {8, 14, 33}) {
        ConvolutionShape s = square(1, 2, w, kernel, stride);
        s.top = s.bottom = s.right = 0;  // with stride 2, a last row or column that nothing sees
        Random random(1);
        const auto weight = random.normal({s.c, 1, s.kh, s.kw}), bias = random.normal({s.c});
        const auto x = random.normal({s.n, s.c, s.h, s.w}), dy = random.normal({s.n, s.c, s.oh(), s.ow()});
        for (Index at : {Index{0}, w - 1, w * w / 2, w * w - 1}) {
          auto bad_x = x, bad_dy = dy;
          bad_x.data()[at] = bad_dy.data()[at * s.oh() * s.ow() / (w * w)] = nan;
          const Naive from_x(s, bad_x, weight, bias, dy), from_dy(s, x, weight, bias, bad_dy);
          const auto by_x = run(s, bad_x, weight, bias, dy), by_dy = run(s, x, weight, bias, bad_dy);
          CHECK(difference(by_x.y, from_x.y) < 1e-5);
          CHECK(difference(by_dy.dx, from_dy.dx) < 1e-5);
          CHECK(difference(by_dy.dbias, from_dy.dbias) < 1e-4);
          // Other taps of the filter may meet the NaN in the padding.
          for (const auto& [ours, exact] :
               {std::pair(&by_x.dweight, &from_x.dweight), std::pair(&by_dy.dweight, &from_dy.dweight)}) {
            bool seen = false;
            for (Index i = 0; i < weight.numel(); ++i) {
              const bool expected = std::isnan(exact->data()[i]);
              seen = seen || expected;
              if (expected) CHECK(std::isnan(ours->data()[i]));
            }
            for (Index i = seen ? s.taps() : 0; i < weight.numel(); ++i) CHECK(std::isfinite(ours->data()[i]));
          }
        }
      }
}

}  // namespace test_depthwise
