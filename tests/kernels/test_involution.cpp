#include <doctest/doctest.h>

#include <limits>

#include "difference.hpp"
#include "lamina/core/random.hpp"
#include "lamina/kernels/involution.hpp"

using namespace lamina;
using kernels::InvolutionShape;
using testing::difference;

namespace test_involution {

namespace {

Shape input(const InvolutionShape& s) { return {s.n, s.c, s.h, s.w}; }
Shape output(const InvolutionShape& s) { return {s.n, s.c, s.oh(), s.ow()}; }
Shape taps(const InvolutionShape& s) { return {s.n, s.groups * s.taps(), s.oh(), s.ow()}; }

/// Zeros before the image: as many as behind it, or with groups_innermost TensorFlow's SAME.
Index before(const InvolutionShape& s, Index in, Index out) {
  if (!s.groups_innermost) return s.kernel / 2 * s.dilation;
  Index all = 0;
  while ((out - 1) * s.stride + (s.kernel - 1) * s.dilation + 1 > in + all) ++all;
  return all / 2;
}

/// The definition, in loops and in double.
struct Naive {
  Tensor<double> y, dx, dkernels;

  template <class T>
  Naive(const InvolutionShape& s, const Tensor<T>& x, const Tensor<T>& kernels, const Tensor<T>& dy)
      : y(Tensor<double>::zeros(dy.shape())),
        dx(Tensor<double>::zeros(x.shape())),
        dkernels(Tensor<double>::zeros(kernels.shape())) {
    const auto value = [](T v) { return static_cast<double>(v); };
    for (Index n = 0; n < s.n; ++n)
      for (Index c = 0; c < s.c; ++c)
        for (Index i = 0; i < s.oh(); ++i)
          for (Index j = 0; j < s.ow(); ++j)
            for (Index a = 0; a < s.kernel; ++a)
              for (Index b = 0; b < s.kernel; ++b) {
                const Index p = i * s.stride + a * s.dilation - before(s, s.h, s.oh());
                const Index q = j * s.stride + b * s.dilation - before(s, s.w, s.ow());
                const bool inside = p >= 0 && p < s.h && q >= 0 && q < s.w;
                const Index tap = a * s.kernel + b;
                const Index k =
                    s.groups_innermost ? tap * s.groups + c % s.groups : c / (s.c / s.groups) * s.taps() + tap;
                const double pixel = inside ? value(x(n, c, p, q)) : 0.0;
                y(n, c, i, j) += value(kernels(n, k, i, j)) * pixel;
                dkernels(n, k, i, j) += pixel * value(dy(n, c, i, j));
                if (inside) dx(n, c, p, q) += value(kernels(n, k, i, j)) * value(dy(n, c, i, j));
              }
  }
};

template <class T>
struct Results {
  Tensor<T> y, dx, dkernels;
};
template <class T>
Results<T> run(const InvolutionShape& s, const Tensor<T>& x, const Tensor<T>& kernels, const Tensor<T>& dy) {
  const T nan = std::numeric_limits<T>::quiet_NaN();  // what is only assigned may hold anything
  Results<T> r{Tensor<T>::full(dy.shape(), nan), Tensor<T>::ones(x.shape()), Tensor<T>::full(kernels.shape(), nan)};
  kernels::involution_forward(s, x.data(), kernels.data(), r.y.data());
  kernels::involution_backward_kernels(s, x.data(), dy.data(), r.dkernels.data());
  kernels::involution_backward_input(s, kernels.data(), dy.data(), r.dx.data());
  r.dx.array() -= T(1);  // it is added to
  return r;
}

template <class T>
void check(const InvolutionShape& s, double tolerance) {
  INFO("n ", s.n, " c ", s.c, " h ", s.h, " w ", s.w, " groups ", s.groups, " k ", s.kernel, " s ", s.stride, " d ",
       s.dilation, s.groups_innermost ? " groups innermost" : "");
  Random random(static_cast<std::uint64_t>(s.h * 1000 + s.w * 10 + s.kernel));
  const auto x = random.normal<T>(input(s)), dy = random.normal<T>(output(s)), kernels = random.normal<T>(taps(s));
  const Naive naive(s, x, kernels, dy);
  const Results<T> results = run(s, x, kernels, dy);
  CHECK(difference(results.y, naive.y) < tolerance);
  CHECK(difference(results.dx, naive.dx) < tolerance);
  CHECK(difference(results.dkernels, naive.dkernels) < tolerance);
}
void check_both(const InvolutionShape& s) {
  check<double>(s, 1e-12);
  check<float>(s, 2e-5);
}

}  // namespace

TEST_CASE("involution equals the definition for every width, and for kernels and strides of the networks") {
  for (Index kernel : {1, 3, 5, 7})
    for (Index stride : {1, 2})
      for (Index w = 1; w <= 40; w += w < 36 ? 1 : 4)
        check_both({.n = 1 + w % 2, .c = 1 + w % 5, .h = 1 + w * 5 % 11, .w = w, .kernel = kernel, .stride = stride});
}

TEST_CASE("involution equals the definition over a grid of options") {
  Random random(7);
  const auto pick = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  for (int trial = 0; trial < 300; ++trial) {
    InvolutionShape s{};
    s.groups = pick(1, 4);
    s.n = pick(1, 3), s.c = s.groups * pick(1, trial % 3 ? 4 : 20), s.h = pick(1, 14), s.w = pick(1, 24);
    s.kernel = 2 * pick(0, 4) + 1, s.stride = pick(1, 4), s.dilation = trial % 2 ? 1 : pick(1, 3);
    s.groups_innermost = pick(0, 1);
    check_both(s);
  }
}

TEST_CASE("involution in bands of rows") {
  for (Index stride : {1, 2, 3})
    for (bool innermost : {false, true}) {
      check_both({.n = 1,
                  .c = 18,
                  .h = 70,
                  .w = 61,
                  .groups = 2,
                  .kernel = 5,
                  .stride = stride,
                  .groups_innermost = innermost});
      check_both({.n = 1, .c = 1, .h = 9, .w = 700, .kernel = 7, .stride = stride, .dilation = 2});
      check_both({.n = 1, .c = 2, .h = 400, .w = 3, .kernel = 7, .stride = stride});
    }
}

TEST_CASE("involution gives the same bits for any number of threads") {
  const int before = num_threads();
  const InvolutionShape s{.n = 3, .c = 32, .h = 41, .w = 37, .groups = 2, .kernel = 7};
  Random random(1);
  const auto x = random.normal(input(s)), dy = random.normal(output(s)), kernels = random.normal(taps(s));
  set_num_threads(1);
  const auto one = run(s, x, kernels, dy);
  set_num_threads(3);
  const auto three = run(s, x, kernels, dy);
  set_num_threads(before);
  CHECK(one.y == three.y);
  CHECK(one.dx == three.dx);
  CHECK(one.dkernels == three.dkernels);
}

TEST_CASE("in involution a NaN reaches what depends on it") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (Index w : {5, 20, 33})
    for (Index stride : {1, 2}) {
      const InvolutionShape s{.n = 1, .c = 9, .h = 6, .w = w, .kernel = 3, .stride = stride};
      Random random(1);
      const auto x = random.normal(input(s)), dy = random.normal(output(s)), kernels = random.normal(taps(s));
      for (double place : {0.0, 0.4, 0.7, 1.0}) {
        auto bad_x = x, bad_dy = dy, bad_kernels = kernels;
        for (auto* bad : {&bad_x, &bad_dy, &bad_kernels})
          bad->data()[static_cast<Index>(place * static_cast<double>(bad->numel() - 1))] = nan;
        const auto by_x = run(s, bad_x, kernels, dy), by_dy = run(s, x, kernels, bad_dy);
        const auto by_kernels = run(s, x, bad_kernels, dy);
        CHECK(difference(by_x.y, Naive(s, bad_x, kernels, dy).y) < 1e-5);
        CHECK(difference(by_kernels.y, Naive(s, x, bad_kernels, dy).y) < 1e-5);
        CHECK(difference(by_kernels.dx, Naive(s, x, bad_kernels, dy).dx) < 1e-5);
        CHECK(difference(by_dy.dx, Naive(s, x, kernels, bad_dy).dx) < 1e-5);
        CHECK(difference(by_dy.dkernels, Naive(s, x, kernels, bad_dy).dkernels) < 1e-5);
        CHECK(difference(by_x.dkernels, Naive(s, bad_x, kernels, dy).dkernels) < 1e-5);
      }
    }
}

}  // namespace test_involution
