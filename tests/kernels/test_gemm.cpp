#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/reduce.hpp"

using namespace lamina;
using namespace lamina::kernels;

namespace {

/// A matrix of random values in memory that is laid out in one of these ways, surrounded by NaN where there is room.
enum class Layout { rows, columns, spaced };

template <class T>
struct Stored {
  Tensor<T> memory;
  MatrixView<T> view;

  Stored(Index m, Index n, Layout layout) {
    const Index step = layout == Layout::spaced ? 3 : 1,
                long_step = step * (layout == Layout::columns ? m : n) + step - 1;
    memory =
        Tensor<T>::full({(layout == Layout::columns ? n : m) * long_step + 1}, std::numeric_limits<T>::quiet_NaN());
    view = layout == Layout::columns ? MatrixView<T>{memory.data(), step, long_step}
                                     : MatrixView<T>{memory.data(), long_step, step};
  }
  Stored(Index m, Index n, Layout layout, Random& random) : Stored(m, n, layout) {
    const auto values = random.uniform<T>({m * n}, -1, 1);
    for (Index i = 0; i < m * n; ++i) *view.at(i / n, i % n) = values(i);
  }
};

/// a b by its definition.
template <class T>
Eigen::MatrixXd naive(Index m, Index n, Index k, const MatrixView<T>& a, const MatrixView<T>& b) {
  Eigen::MatrixXd c(m, n), rows(k, m), columns(k, n);
  for (Index l = 0; l < k; ++l) {
    for (Index i = 0; i < m; ++i) rows(l, i) = static_cast<double>(*a.at(i, l));
    for (Index j = 0; j < n; ++j) columns(l, j) = static_cast<double>(*b.at(l, j));
  }
  for (Index i = 0; i < m; ++i)
    for (Index j = 0; j < n; ++j) c(i, j) = rows.col(i).dot(columns.col(j));
  return c;
}

template <class T>
double relu(T x) {
  return x > 0 ? static_cast<double>(x) : 0;
}

/// All layouts of a and b, each with another way to store c.
template <class T>
void check_product(Index m, Index n, Index k) {
  INFO("m ", m, " n ", n, " k ", k);
  Random random(static_cast<std::uint64_t>(m * 1000003 + n * 1009 + k));
  const auto bias = random.normal<T>({n});
  int turn = static_cast<int>(m + n + k);
  for (Layout left : {Layout::rows, Layout::columns, Layout::spaced})
    for (Layout right : {Layout::rows, Layout::columns, Layout::spaced}) {
      if ((left == Layout::spaced || right == Layout::spaced) && m * n * k > 40000) continue;
      const Stored<T> a(m, k, left, random), b(k, n, right, random);
      Eigen::MatrixXd expected = naive(m, n, k, a.view, b.view);
      const Index stride = n + 5 * (turn % 2);
      auto c = Tensor<T>::full({m * stride}, 2);
      const MatrixView<T> out{c.data(), stride, 1};
      switch (++turn % 5) {
        case 0:
          gemm(m, n, k, a.view, b.view, out);
          break;
        case 1:
          gemm(m, n, k, a.view, b.view, out, Store::add);
          expected.array() += 2;
          break;
        case 2:
          gemm(m, n, k, a.view, b.view, out, Store::assign, bias.data());
          expected.rowwise() += bias.vector().transpose().template cast<double>();
          break;
        case 3:
          gemm(m, n, k, a.view, b.view, out, Store::add, bias.data());
          expected.array() += 2;
          expected.rowwise() += bias.vector().transpose().template cast<double>();
          break;
        default: {
          const PackedMatrix<T> packed = pack_matrix<T>(k, n, b.view);
          gemm(m, a.view, packed, out, Store::add, bias.data());
          expected.array() += 2;
          expected.rowwise() += bias.vector().transpose().template cast<double>();
        }
      }
      double worst = 0;
      bool outside = true;
      for (Index i = 0; i < m; ++i) {
        for (Index j = 0; j < n; ++j) {
          const double error = std::abs(static_cast<double>(*out.at(i, j)) - expected(i, j));
          if (!(error <= worst)) worst = error;  // a NaN too
        }
        for (Index j = n; j < stride; ++j) outside = outside && *out.at(i, j) == T(2);
      }
      INFO("layouts ", static_cast<int>(left), " ", static_cast<int>(right), " store ", turn % 6);
      CHECK(worst <= static_cast<double>(std::numeric_limits<T>::epsilon()) * (4 * static_cast<double>(k) + 64));
      CHECK(outside);
    }
}

/// Shapes that take every way there is: tiles with one and with many blocks, b from memory, dot products in one and
/// in many passes, with few rows and with few columns, the transposed product, the sum over k in pieces.
struct Case {
  Index m, n, k;
  Layout left, right;
};
const std::vector<Case> all_ways{
    {300, 300, 700, Layout::rows, Layout::rows},      {300, 130, 1100, Layout::columns, Layout::columns},
    {5, 2100, 300, Layout::rows, Layout::rows},       {20, 2100, 300, Layout::rows, Layout::rows},
    {1, 1000, 600, Layout::rows, Layout::columns},    {9, 333, 2048, Layout::rows, Layout::columns},
    {7, 333, 2050, Layout::columns, Layout::columns}, {700, 3, 400, Layout::rows, Layout::rows},
    {5000, 3, 100, Layout::columns, Layout::rows},    {5000, 1, 100, Layout::columns, Layout::rows},
    {60, 50, 9000, Layout::columns, Layout::rows},    {3, 5, 9001, Layout::rows, Layout::columns},
    {700, 600, 3, Layout::columns, Layout::rows},     {4, 3, 2, Layout::rows, Layout::rows},
    {100, 100, 700, Layout::spaced, Layout::spaced},  {9, 333, 600, Layout::spaced, Layout::columns}};

}  // namespace

TEST_CASE("gemm equals the definition") {
  const std::vector<Index> sizes{0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 385};
  for (Index m : sizes)
    for (Index n : sizes)
      for (Index k : sizes) {
        if (m * n * k > 200000) continue;
        check_product<float>(m, n, k);
        check_product<double>(m, n, k);
      }
  check_product<float>(385, 385, 385);
}

TEST_CASE("gemm equals the definition in every way that it can take") {
  for (const Case& s : all_ways) {
    INFO("m ", s.m, " n ", s.n, " k ", s.k);
    Random random(3);
    const Stored<double> a(s.m, s.k, s.left, random), b(s.k, s.n, s.right, random);
    const Eigen::MatrixXd expected = naive(s.m, s.n, s.k, a.view, b.view);
    const auto bias = random.normal<double>({s.n});
    auto c = Tensor<double>::ones({s.m, s.n});
    gemm(s.m, s.n, s.k, a.view, b.view, c.data(), Store::add);
    CHECK((c.matrix() - expected).array().isApproxToConstant(1, 1e-11));
    gemm(s.m, s.n, s.k, a.view, b.view, c.data(), Store::assign, bias.data());
    CHECK((c.matrix() - expected).rowwise().operator-(bias.vector().transpose()).cwiseAbs().maxCoeff() < 1e-11);
  }
}

TEST_CASE_TEMPLATE("gemm gives the same bits for any number of threads", T, float, double) {
  const int before = num_threads();
  for (const Case& s : all_ways) {
    INFO("m ", s.m, " n ", s.n, " k ", s.k);
    Random random(1);
    const Stored<T> a(s.m, s.k, s.left, random), b(s.k, s.n, s.right, random);
    const auto run = [&](int threads) {
      set_num_threads(threads);
      auto c = Tensor<T>::ones({s.m, s.n});
      gemm(s.m, s.n, s.k, a.view, b.view, c.data(), Store::add);
      return c;
    };
    const auto one = run(1);
    CHECK(one == run(2));
    CHECK(one == run(3));
    CHECK(one == run(8));
  }
  set_num_threads(before);
}

TEST_CASE("gemm hands NaN and infinity on, and to nobody else") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const Case& s : all_ways) {
    INFO("m ", s.m, " n ", s.n, " k ", s.k);
    Random random(2);
    const Stored<float> a(s.m, s.k, s.left, random), b(s.k, s.n, s.right, random);
    *a.view.at(s.m - 1, s.k - 1) = nan;
    *b.view.at(0, s.n - 1) = infinity;
    auto c = Tensor<float>::zeros({s.m, s.n});
    gemm(s.m, s.n, s.k, a.view, b.view, c.data());
    bool right = true;
    for (Index i = 0; i < s.m; ++i)
      for (Index j = 0; j < s.n; ++j)
        right = right && (i == s.m - 1   ? std::isnan(c(i, j))
                          : j == s.n - 1 ? std::isinf(c(i, j))
                                         : std::isfinite(c(i, j)));
    CHECK(right);
  }
}

TEST_CASE("gemm over no terms is zero, or leaves the sum") {
  const Tensor<float> none({1});
  auto c = Tensor<float>::full({3, 4}, 5);
  gemm(3, 4, 0, row_major(none.data(), 0), row_major(none.data(), 4), c.data(), Store::add);
  CHECK(c == Tensor<float>::full({3, 4}, 5));
  gemm(3, 4, 0, row_major(none.data(), 0), row_major(none.data(), 4), c.data());
  CHECK(c == Tensor<float>::zeros({3, 4}));
}

TEST_CASE("gemm asks the system for nothing the second time") {
  for (const Case& s : all_ways) {
    Random random(4);
    const Stored<float> a(s.m, s.k, s.left, random), b(s.k, s.n, s.right, random);
    Tensor<float> c({s.m, s.n});
    gemm(s.m, s.n, s.k, a.view, b.view, c.data());
    const auto before = storage_statistics().system_allocations;
    gemm(s.m, s.n, s.k, a.view, b.view, c.data());
    CHECK(storage_statistics().system_allocations == before);
  }
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
