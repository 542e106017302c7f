#pragma once

#include <algorithm>
#include <utility>

#include "lamina/core/numbers.hpp"
#include "lamina/kernels/broadcast.hpp"
#include "lamina/kernels/reduce.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/hamburger/ham.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// 1 / max(sqrt(x), eps).
template <class T>
struct InverseRoot {
  T eps;
  template <class V>
  V operator()(V square) const {
    return V(T(1)) / max(sqrt(square), eps);
  }
};
/// 1 / (x + eps).
template <class T>
struct Reciprocal {
  T eps;
  template <class V>
  V operator()(V sum) const {
    return V(T(1)) / (sum + V(eps));
  }
};
/// x where a scale is below its bound, 0 elsewhere.
template <class T>
struct UnlessClamped {
  T bound;
  template <class V>
  V operator()(V x, V scale) const {
    return select(scale < V(bound), x, T(0));
  }
};

/// What VQ and CD share, soft k-means on the sphere: with a_n = 1 / |x_n| and s_r = 1 / max(|d_r|, 1e-6)
///
///   C = softmax over r of T⁻¹ a_n (x_n · d_r) s_r,   d_r <- sum over n of x_n C_nr / (1e-6 + sum over n of C_nr).
///
/// (CD's listing normalises d_r after that; since only the cosine is used, it does not matter when.)
template <class Scalar>
struct SoftAssignment {
  static constexpr double eps = 1e-6;  ///< for sums of assignments and norms of bases
  static constexpr Index statistic = 1;

  using Rows = kernels::FactorRows<Scalar>;

  Index rank, pitch, n;
  Scalar inverse_temperature;
  Tensor<Scalar> norms;  ///< |x_n|, [items, n]

  SoftAssignment(const HamOptions& options, const kernels::DecompositionShape& s, const Scalar* x)
      : rank(s.rank),
        pitch(s.pitch),
        n(s.n),
        inverse_temperature(static_cast<Scalar>(options.inverse_temperature)),
        norms(kernels::vector_norms(s, x)) {}

  /// a_n of the iterations, and of VQ's last coefficients.
  static constexpr auto step_scale = [](Scalar norm) { return 1 / std::max(norm, Scalar(1e-12)); };
  static constexpr auto last_scale = [](Scalar norm) { return 1 / (Scalar(eps) + norm); };
  /// a_n of some norms.
  template <class Scale>
  static Tensor<Scalar> scales(const Tensor<Scalar>& norms, Scale scale) {
    Tensor<Scalar> result(norms.shape());
    const auto values = norms.values();
    std::transform(values.begin(), values.end(), result.data(), scale);
    return result;
  }

  /// C for rows of it, given the squared norms of the bases.
  template <class Scale>
  void assign(const Rows& rows, const Scalar* squares, Scalar* c, Scale scale) const {
    const Scalar* const norm = norms.data() + rows.item * n + rows.first;
    std::transform(norm, norm + rows.count, rows.scratch, scale);
    kernels::scale_to_cosines(rows.count, pitch, rows.products, rows.scratch, squares, Scalar(eps), inverse_temperature,
                              c);
    kernels::softmax_rows(rows.count, rank, c, pitch);
  }

  void update_coefficients(Index, const Rows& rows, const Scalar* squares, Scalar* c) const {
    assign(rows, squares, c, step_scale);
  }
  void update_bases(const Rows& rows, const Scalar* sums, Scalar* d) const {
    kernels::divide_columns(rows.count, pitch, rows.products, sums, Scalar(eps), d);
  }

  void add_statistic_of_coefficients(Index count, const Scalar* c, Scalar* sums) const {
    kernels::add_columns(count, pitch, c, false, sums);
  }
  void add_statistic_of_bases(Index count, const Scalar* d, Scalar* squares) const {
    kernels::add_columns(count, pitch, d, true, squares);
  }
};

/// The gradients of soft assignments, for one item. Factors of rows are tensors [rows, 1], of columns [1, columns].
template <class Scalar>
class SoftAssignmentGradient {
  using Soft = SoftAssignment<Scalar>;

 public:
  SoftAssignmentGradient(const kernels::DecompositionShape& s, const Scalar* x, Index item, double inverse_temperature,
                         Scalar* dx)
      : s_(s), x_{s, x}, item_(item), inverse_temperature_(static_cast<Scalar>(inverse_temperature)), dx_(dx) {
    const auto one = s.of_items(1);
    norms_ = kernels::vector_norms(one, x + item * s.size()).reshape({s.n, 1});
  }

  /// The cosines' gradient T⁻¹ c (dc - sum over r of dc c), from that of their softmax c.
  static Tensor<Scalar> through_softmax(const Tensor<Scalar>& c, const Tensor<Scalar>& dc, double inverse_temperature) {
    Tensor<Scalar> result(c.shape());
    kernels::softmax_backward<false>(c.dim(0), c.dim(1), 1, c.data(), dc.data(), result.data());
    result *= static_cast<Scalar>(inverse_temperature);
    return result;
  }
  /// 1 / max(|d_r|, 1e-6); and every basis vector times a factor.
  static Tensor<Scalar> base_scales(const Tensor<Scalar>& d) {
    return kernels::transform(column_sums(d * d), InverseRoot<Scalar>{Scalar(Soft::eps)});
  }
  static Tensor<Scalar> scaled(Tensor<Scalar> d, const Tensor<Scalar>& scales) {
    return kernels::multiply(std::move(d), scales);
  }
  static Tensor<Scalar> column_sums(const Tensor<Scalar>& x) { return kernels::sum_to({1, x.dim(1)}, x); }
  /// x, but 0 for basis vectors whose norm was taken for 1e-6.
  static Tensor<Scalar> unless_clamped(Tensor<Scalar> x, const Tensor<Scalar>& scales) {
    return kernels::transform(std::move(x), UnlessClamped<Scalar>{Scalar(1 / Soft::eps)}, scales);
  }

  /// Through C = softmax(T⁻¹ cosines of x and d): from dc, adds to dx and to dd. `last`: of VQ's last coefficients.
  void assignment(const Tensor<Scalar>& d, const Tensor<Scalar>& c, const Tensor<Scalar>& dc, bool last,
                  Tensor<Scalar>& dd) {
    const Tensor<Scalar> s = base_scales(d);
    const Tensor<Scalar> a = last ? Soft::scales(norms_, Soft::last_scale) : Soft::scales(norms_, Soft::step_scale);
    Tensor<Scalar> dcosines = through_softmax(c, dc, static_cast<double>(inverse_temperature_));
    const Tensor<Scalar> cosines = kernels::multiply(scaled(x_.project(item_, d), s), a);
    const Tensor<Scalar> weighted = dcosines * cosines;
    const Tensor<Scalar> q = kernels::sum_to(norms_.shape(), weighted);  // the part along x_n
    const Tensor<Scalar> p = column_sums(weighted);                      // and along d_r
    dcosines = kernels::multiply(std::move(dcosines), a);
    outer(s_, item_, scaled(d, s), dcosines, dx_, kernels::Store::add);
    add_along_x(q * a);
    Tensor<Scalar> direct = scaled(x_.combine(item_, dcosines), s);
    dd += direct;
    dd -= scaled(d, unless_clamped(s * s * p, s));
  }

  /// Through d = X C / (1e-6 + sum of C over n): from dd to dc, adding to dx.
  Tensor<Scalar> means(const Tensor<Scalar>& c, const Tensor<Scalar>& dd) {
    const Tensor<Scalar> share = kernels::transform(column_sums(c), Reciprocal<Scalar>{Scalar(Soft::eps)});
    outer(s_, item_, dd, scaled(c, share), dx_, kernels::Store::add);
    const Tensor<Scalar> dc = scaled(x_.project(item_, dd), share);
    Tensor<Scalar> along = column_sums(dc * c) * share;
    along *= Scalar(-1);
    return kernels::add(dc, std::move(along));
  }

 private:
  /// dx_n -= part_n / |x_n| x_n, where that is finite.
  void add_along_x(const Tensor<Scalar>& parts) {
    Tensor<Scalar> factors(parts.shape());
    const auto values = parts.values();
    std::transform(values.begin(), values.end(), std::as_const(norms_).data(), factors.data(),
                   [](Scalar part, Scalar norm) { return is_finite(part / norm) ? -part / norm : Scalar(0); });
    const Scalar* const factor = std::as_const(factors).data();
    Scalar* const to = dx_ + item_ * s_.size();
    const Scalar* const from = x_.x + item_ * s_.size();
    for (Index i = 0; i < s_.d; ++i)
      for (Index j = 0; j < s_.n; ++j) {
        const Index at = s_.transposed ? j * s_.d + i : i * s_.n + j;
        to[at] += factor[j] * from[at];
      }
  }

  const kernels::DecompositionShape& s_;
  HamMatrix<Scalar> x_;
  Index item_;
  Scalar inverse_temperature_;
  Scalar* dx_;
  Tensor<Scalar> norms_;
};

/// Back through all steps of a soft assignment: from dd, d(loss)/d(bases found), adds to dx.
template <class Scalar, class History>
void soft_steps_backward(SoftAssignmentGradient<Scalar>& gradient, const History& history, Index item,
                         Tensor<Scalar> dd) {
  for (Index t = history.size(); t-- > 0;) {
    const Tensor<Scalar> c = history.coefficients(t, item), dc = gradient.means(c, dd);
    dd.fill(0);
    gradient.assignment(history.bases(t, item), c, dc, false, dd);
  }
}

}  // namespace lamina::inline LAMINA_ABI::detail
