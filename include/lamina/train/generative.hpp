#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/kernels/gemm.hpp"

/// How near the samples of a generative model are to real ones, told by features of both, [N, D] from a network that
/// stays the same. Numbers for different networks do not compare.
namespace lamina::inline LAMINA_ABI {

/// Mean [D] and covariance [D, D] of features, in double precision.
struct FeatureMoments {
  Tensor<double> mean;        ///< [D]
  Tensor<double> covariance;  ///< [D, D], with N - 1 in the denominator
};

/// Options of precision_recall.
struct PrecisionRecallOptions {
  Index neighbours = 3;  ///< k: a sample's sphere reaches to its k-th nearest neighbour of its own kind
};

/// What precision_recall gives.
struct PrecisionRecall {
  double precision;  ///< the share of generated samples that lie among the real ones
  double recall;     ///< the share of real samples that lie among the generated ones
};

namespace detail {

// Templates, as what they call is much to compile: only for those who call them.
inline void check_features(const char* function, const Shape& shape, Index least) {
  require<ShapeError>(shape.rank() == 2 && shape[0] >= least && shape[1] >= 1, function,
                      ": expected features [N, D] of at least ", least, " samples, got shape ", shape);
}

/// L with C = L Lᵀ for a symmetric C that is positive semidefinite but for rounding; columns whose pivot is rounding
/// are zero.
template <class T>
Tensor<T> semidefinite_root(const Tensor<T>& c) {
  const Index n = c.dim(0);
  Tensor<double> root = Tensor<double>::zeros({n, n});
  double* const l = root.data();
  double largest = 0;
  for (Index i = 0; i < n; ++i) largest = std::max(largest, c.data()[i * n + i]);
  for (Index j = 0; j < n; ++j) {
    const auto rest = [&](Index i) {
      double sum = c.data()[i * n + j];
      for (Index k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
      return sum;
    };
    const double pivot = rest(j);
    if (!(pivot > 1e-13 * largest)) continue;
    l[j * n + j] = std::sqrt(pivot);
    parallel_for(j + 1, n, std::max<Index>(1, (1 << 14) / (j + 1)), [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) l[i * n + j] = rest(i) / l[j * n + j];
    });
  }
  return root;
}

/// Diagonal and the elements beside it (the first is 0) of a tridiagonal matrix with a symmetric one's eigenvalues, by
/// Householder's reflections (Martin, Reinsch and Wilkinson 1968).
template <class T>
std::pair<std::vector<double>, std::vector<double>> tridiagonal(Tensor<T> matrix) {
  const Index n = matrix.dim(0);
  double* const a = matrix.data();
  std::vector<double> diagonal(static_cast<std::size_t>(n)), beside(diagonal.size()), v(diagonal.size()),
      p(diagonal.size());
  const auto at = [](std::vector<double>& x, Index i) -> double& { return x[static_cast<std::size_t>(i)]; };
  for (Index i = n - 1; i >= 0; --i) {
    at(diagonal, i) = a[i * n + i];
    if (i == 0) break;
    // A reflection of the row's first i elements onto the last of them.
    double squares = 0;
    for (Index j = 0; j < i; ++j) squares += a[i * n + j] * a[i * n + j];
    const double last = a[i * n + i - 1], length = std::sqrt(squares), sign = last >= 0 ? 1 : -1;
    at(beside, i) = -sign * length;
    for (Index j = 0; j < i; ++j) at(v, j) = a[i * n + j];
    at(v, i - 1) += sign * length;
    const double half = squares + std::abs(last) * length;  // |v|² / 2
    if (!(half > 0)) continue;
    parallel_for(0, i, std::max<Index>(1, (1 << 14) / i), [&](Index first, Index end) {
      for (Index j = first; j < end; ++j) {
        double sum = 0;
        for (Index k = 0; k < i; ++k) sum += a[j * n + k] * at(v, k);
        at(p, j) = sum / half;
      }
    });
    double along = 0;
    for (Index j = 0; j < i; ++j) along += at(v, j) * at(p, j);
    for (Index j = 0; j < i; ++j) at(p, j) -= along / (2 * half) * at(v, j);
    parallel_for(0, i, std::max<Index>(1, (1 << 14) / i), [&](Index first, Index end) {
      for (Index j = first; j < end; ++j)
        for (Index k = 0; k < i; ++k) a[j * n + k] -= at(v, j) * at(p, k) + at(p, j) * at(v, k);
    });
  }
  return {std::move(diagonal), std::move(beside)};
}

/// The eigenvalues of a symmetric matrix, in any order, by QL steps with implicit shifts (Bowdler et al. 1968). Throws
/// NumericalError if they do not converge, as for a NaN.
template <class T>
std::vector<double> symmetric_eigenvalues(Tensor<T> matrix) {
  const Index n = matrix.dim(0);
  auto [d, e] = tridiagonal(std::move(matrix));
  if (n > 0) std::rotate(e.begin(), e.begin() + 1, e.end());  // e[i] beside d[i] and d[i + 1]
  const auto size = static_cast<std::size_t>(n);
  for (std::size_t l = 0; l < size; ++l)
    for (int step = 0;; ++step) {
      std::size_t m = l;
      while (m + 1 < size && std::abs(e[m]) > 1e-16 * (std::abs(d[m]) + std::abs(d[m + 1]))) ++m;
      if (m == l) break;
      require<NumericalError>(step < 60, "frechet_distance: the eigenvalues of the covariances do not converge");
      double g = (d[l + 1] - d[l]) / (2 * e[l]), r = std::hypot(g, 1.0);
      g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r));
      double s = 1, c = 1, p = 0;
      bool split = false;
      for (std::size_t i = m; i-- > l;) {
        const double f = s * e[i], b = c * e[i];
        e[i + 1] = r = std::hypot(f, g);
        if (r == 0) {
          d[i + 1] -= p;
          e[m] = 0;
          split = true;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        r = (d[i] - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
      }
      if (split) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  return d;
}

/// |x|² of every row.
template <class T>
std::vector<double> squared_lengths(const Tensor<T>& x) {
  std::vector<double> result(static_cast<std::size_t>(x.dim(0)));
  for (Index i = 0; i < x.dim(0); ++i)
    for (Index j = 0; j < x.dim(1); ++j)
      result[static_cast<std::size_t>(i)] += x.data()[i * x.dim(1) + j] * x.data()[i * x.dim(1) + j];
  return result;
}

/// f(row of a, its squared distances to all rows of b) for every row.
template <class F>
void each_distances(const Tensor<double>& a, const Tensor<double>& b, F f) {
  const std::vector<double> as = squared_lengths(a), bs = squared_lengths(b);
  const Index depth = a.dim(1), count = b.dim(0);
  parallel_for(0, a.dim(0), 64, [&](Index first, Index last) {
    Tensor<double> products({last - first, count});
    double* const row = products.data();
    kernels::gemm(last - first, count, depth, kernels::row_major(a.data() + first * depth, depth),
                  kernels::transposed(b.data(), depth), row);
    for (Index i = first; i < last; ++i) {
      double* const distance = row + (i - first) * count;
      for (Index j = 0; j < count; ++j)
        distance[j] =
            std::max(0.0, as[static_cast<std::size_t>(i)] + bs[static_cast<std::size_t>(j)] - 2 * distance[j]);
      f(i, distance);
    }
  });
}

/// The squared distance of every row to its k-th nearest other one.
template <class T>
std::vector<double> squared_radii(const Tensor<T>& x, Index k) {
  std::vector<double> result(static_cast<std::size_t>(x.dim(0)));
  each_distances(x, x, [&](Index i, double* distance) {
    distance[i] = -1;  // itself comes first
    std::nth_element(distance, distance + k, distance + x.dim(0));
    result[static_cast<std::size_t>(i)] = distance[k];
  });
  return result;
}

/// The share of the rows of `samples` that lie in the sphere of a row of `among`.
template <class T>
double share_within(const Tensor<T>& samples, const Tensor<T>& among, const std::vector<double>& radii) {
  std::vector<char> inside(static_cast<std::size_t>(samples.dim(0)));
  each_distances(samples, among, [&](Index i, const double* distance) {
    for (std::size_t j = 0; j < radii.size(); ++j)
      if (distance[j] <= radii[j]) inside[static_cast<std::size_t>(i)] = 1;
  });
  return static_cast<double>(std::count(inside.begin(), inside.end(), 1)) / static_cast<double>(inside.size());
}

}  // namespace detail

/// Mean and covariance of features [N, D]. Throws ShapeError for another rank or fewer than two samples.
template <class Scalar>
FeatureMoments feature_moments(const Tensor<Scalar>& features) {
  detail::check_features("feature_moments", features.shape(), 2);
  const Index n = features.dim(0), depth = features.dim(1);
  Tensor<double> centred = features.template cast<double>();
  FeatureMoments result{Tensor<double>::zeros({depth}), Tensor<double>({depth, depth})};
  double *const x = centred.data(), *const mean = result.mean.data();
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < depth; ++j) mean[j] += x[i * depth + j];
  for (Index j = 0; j < depth; ++j) mean[j] /= static_cast<double>(n);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < depth; ++j) x[i * depth + j] -= mean[j];
  const auto rows = kernels::row_major(std::as_const(centred).data(), depth);
  kernels::gemm(depth, depth, n, rows.transpose(), rows, result.covariance.data());
  result.covariance *= 1 / static_cast<double>(n - 1);
  return result;
}

/// The Fréchet distance between two normal distributions (Dowson and Landau 1982; Heusel et al. 2017, equation 6, the
/// "FID" if the features are those of Inception v3):
///
///   |mean_a - mean_b|² + trace(C_a + C_b - 2 (C_a C_b)^(1/2))
///
/// At least 0 but for rounding. Biased upwards for few samples: compare for equally many, several times D. Throws
/// ShapeError for moments of different D, NumericalError for moments that are not finite.
template <std::same_as<FeatureMoments> Moments>
double frechet_distance(const Moments& a, const Moments& b) {
  const Index n = a.mean.numel();
  require<ShapeError>(
      b.mean.numel() == n && a.covariance.shape() == Shape{n, n} && b.covariance.shape() == a.covariance.shape(),
      "frechet_distance: expected moments of equally many features, got covariances of shapes ", a.covariance.shape(),
      " and ", b.covariance.shape());
  double distance = 0;
  for (Index i = 0; i < n; ++i) {
    const double difference = a.mean.data()[i] - b.mean.data()[i];
    distance += difference * difference + a.covariance.data()[i * n + i] + b.covariance.data()[i * n + i];
  }
  require<NumericalError>(is_finite(distance), "frechet_distance: the features are not finite");
  // C_a C_b has the eigenvalues of Lᵀ C_b L, where C_a = L Lᵀ.
  const Tensor<double> root = detail::semidefinite_root(a.covariance);
  Tensor<double> product({n, n}), symmetric({n, n});
  const auto l = kernels::row_major(root.data(), n);
  kernels::gemm(n, n, n, kernels::row_major(b.covariance.data(), n), l, product.data());
  kernels::gemm(n, n, n, l.transpose(), kernels::row_major(std::as_const(product).data(), n), symmetric.data());
  for (const double eigenvalue : detail::symmetric_eigenvalues(std::move(symmetric)))
    distance -= 2 * std::sqrt(std::max(eigenvalue, 0.0));
  return distance;
}
/// Of the features of real and of generated samples, [N, D] and [M, D].
template <class Scalar>
double frechet_distance(const Tensor<Scalar>& real, const Tensor<Scalar>& generated) {
  return frechet_distance(feature_moments(real), feature_moments(generated));
}

/// Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2): a sample lies among others if it is in
/// the sphere of at least one of them, which reaches to that one's k-th nearest neighbour of its own kind. Throws
/// ShapeError for features that are not [N, D] and [M, D], ValueError unless 1 <= k < N, M.
template <class Scalar>
PrecisionRecall precision_recall(const Tensor<Scalar>& real, const Tensor<Scalar>& generated,
                                 const PrecisionRecallOptions& options = {}) {
  for (const Tensor<Scalar>* features : {&real, &generated})
    detail::check_features("precision_recall", features->shape(), 2);
  require<ShapeError>(real.dim(1) == generated.dim(1), "precision_recall: expected equally many features, got shapes ",
                      real.shape(), " and ", generated.shape());
  const Index k = options.neighbours;
  require(k >= 1 && k < std::min(real.dim(0), generated.dim(0)),
          "precision_recall: neighbours must be at least 1 and below the number of samples, got ", k);
  const Tensor<double> a = real.template cast<double>(), b = generated.template cast<double>();
  return {detail::share_within(b, a, detail::squared_radii(a, k)),
          detail::share_within(a, b, detail::squared_radii(b, k))};
}

}  // namespace lamina::inline LAMINA_ABI
