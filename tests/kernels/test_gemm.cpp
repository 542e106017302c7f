#include <doctest/doctest.h>

#include "lamina/core/random.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/reduce.hpp"

using namespace lamina;
using namespace lamina::kernels;

namespace {

template <class T>
void check(Index m, Index n, Index k, double tolerance) {
  INFO("m ", m, " n ", n, " k ", k);
  Random random(static_cast<std::uint64_t>(m * 10007 + n * 101 + k));
  using Matrix = typename Tensor<T>::Matrix;
  const auto a = random.normal<T>({m, k}), b = random.normal<T>({k, n}), bias = random.normal<T>({n});
  const Tensor<T> at = Tensor<T>(Matrix(a.matrix().transpose())), bt = Tensor<T>(Matrix(b.matrix().transpose()));
  Eigen::MatrixXd expected = Eigen::MatrixXd::Zero(m, n);
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j)
      for (Index l = 0; l < k; ++l) expected(i, j) += static_cast<double>(a(i, l)) * static_cast<double>(b(l, j));
  const auto error = [&](const Tensor<T>& c) {
    return (c.matrix().template cast<double>() - expected).norm() / (1 + expected.norm());
  };
  const auto an = row_major(a.data(), k), ax = transposed(at.data(), m);
  const auto bn = row_major(b.data(), n), bx = transposed(bt.data(), k);
  for (const auto& left : {an, ax})
    for (const auto& right : {bn, bx}) {
      auto c = Tensor<T>::full({m, n}, 7);
      gemm(m, n, k, left, right, c.data());
      CHECK(error(c) < tolerance);
    }
  auto c = Tensor<T>::full({m, n}, 2);
  gemm(m, n, k, an, bn, c.data(), Store::add, bias.data());
  c.matrix().rowwise() -= bias.vector().transpose();
  c.array() -= 2;
  CHECK(error(c) < 4 * tolerance);
}

}  // namespace

TEST_CASE("gemm equals the definition for every remainder of its blocks, transposed or not") {
  for (Index m : {1, 2, 5, 11, 12, 13, 25, 96, 100})
    for (Index n : {1, 3, 16, 31, 33, 64, 130}) {
      check<double>(m, n, 1 + (m * n) % 40, 1e-14);
      check<float>(m, n, 1 + (m + n) % 60, 1e-6);
    }
  check<float>(13, 40, 384, 1e-6);
  check<float>(13, 40, 385, 1e-6);
  check<double>(97, 129, 900, 1e-14);
}

TEST_CASE("gemm over no terms is zero, or leaves the sum") {
  const Tensor<float> none({1});
  auto c = Tensor<float>::full({3, 4}, 5);
  gemm(3, 4, 0, row_major(none.data(), 0), row_major(none.data(), 4), c.data(), Store::add);
  CHECK(c == Tensor<float>::full({3, 4}, 5));
  gemm(3, 4, 0, row_major(none.data(), 0), row_major(none.data(), 4), c.data());
  CHECK(c == Tensor<float>::zeros({3, 4}));
}

TEST_CASE("gemm gives the same bits for any number of threads") {
  const int before = num_threads();
  Random random(1);
  const auto a = random.normal({300, 700}), b = random.normal({700, 300});
  const auto run = [&](int threads) {
    set_num_threads(threads);
    Tensor<float> c({300, 300});
    gemm(300, 300, 700, row_major(a.data(), 700), row_major(b.data(), 300), c.data());
    return c;
  };
  CHECK(run(1) == run(2));
  CHECK(run(1) == run(3));
  set_num_threads(before);
}

TEST_CASE("sums over vectors, channels and columns") {
  const Tensor<double> x({2, 3, 37}, Random(2).uniform<double>({2 * 3 * 37}).values());
  auto channels = Tensor<double>::ones({3}), columns = Tensor<double>::ones({37});
  add_channel_sums(2, 3, 37, x.data(), channels.data());
  add_column_sums(6, 37, x.data(), columns.data());
  for (Index m = 0; m < 3; ++m) {
    double expected = 1;
    for (Index n = 0; n < 2; ++n)
      for (Index p = 0; p < 37; ++p) expected += x(n, m, p);
    CHECK(channels(m) == doctest::Approx(expected).epsilon(1e-14));
  }
  for (Index p = 0; p < 37; ++p) CHECK(columns(p) == doctest::Approx(1 + x.matrix(6, 37).col(p).sum()).epsilon(1e-14));
  CHECK(vector_sum(x.data(), x.numel()) == doctest::Approx(x.array().sum()).epsilon(1e-14));
}
