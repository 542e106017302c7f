#pragma once

#include "lamina/core/numbers.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/hamburger/ham.hpp"

namespace lamina::detail {

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
  using Pack = simd::Pack<Scalar>;
  static constexpr Index width = simd::width<Scalar>;

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
  /// s_r, given |d_r|².
  static Pack base_scale(Pack square) { return Pack(Scalar(1)) / max(sqrt(square), Scalar(eps)); }

  /// C for rows of it, given the squared norms of the bases.
  template <class Scale>
  void assign(const Rows& rows, const Scalar* squares, Scalar* c, Scale scale) const {
    const Scalar* const norm = norms.data() + rows.item * n + rows.first;
    for (Index j = 0; j < pitch; j += width) {
      const Pack base = base_scale(Pack::load(squares + j)) * inverse_temperature;
      for (Index i = 0; i < rows.count; ++i)
        (Pack::load(rows.products + i * pitch + j) * (base * scale(norm[i]))).store(c + i * pitch + j);
    }
    kernels::softmax_rows(rows.count, rank, c, pitch);
  }

  void update_coefficients(Index, const Rows& rows, const Scalar* squares, Scalar* c) const {
    assign(rows, squares, c, step_scale);
  }
  void update_bases(const Rows& rows, const Scalar* sums, Scalar* d) const {
    for (Index j = 0; j < pitch; j += width) {
      const Pack share = Pack(Scalar(1)) / (Pack::load(sums + j) + Pack(Scalar(eps)));
      for (Index i = 0; i < rows.count; ++i)
        (Pack::load(rows.products + i * pitch + j) * share).store(d + i * pitch + j);
    }
  }

  void add_statistic_of_coefficients(Index count, const Scalar* c, Scalar* sums) const {
    add_columns(count, c, sums, [](Pack value) { return value; });
  }
  void add_statistic_of_bases(Index count, const Scalar* d, Scalar* squares) const {
    add_columns(count, d, squares, [](Pack value) { return value * value; });
  }

 private:
  template <class F>
  void add_columns(Index count, const Scalar* rows, Scalar* sums, F f) const {
    for (Index j = 0; j < pitch; j += width) {
      Pack sum = Pack::load(sums + j);
      for (Index i = 0; i < count; ++i) sum += f(Pack::load(rows + i * pitch + j));
      sum.store(sums + j);
    }
  }
};

/// The gradients of soft assignments, for one item.
template <class Scalar>
class SoftAssignmentGradient {
  using Soft = SoftAssignment<Scalar>;

 public:
  using Column = Eigen::Array<Scalar, Eigen::Dynamic, 1>;
  using Row = Eigen::Array<Scalar, 1, Eigen::Dynamic>;

  SoftAssignmentGradient(const kernels::DecompositionShape& s, const Scalar* x, Index item, double inverse_temperature,
                         Scalar* dx)
      : s_(s), x_{s, x}, item_(item), inverse_temperature_(static_cast<Scalar>(inverse_temperature)), dx_(dx) {
    const auto one = s.of_items(1);
    norms_ = kernels::vector_norms(one, x + item * s.size()).array();
  }

  /// The cosines' gradient T⁻¹ c (dc - sum over r of dc c), from that of their softmax c.
  static Tensor<Scalar> through_softmax(const Tensor<Scalar>& c, const Tensor<Scalar>& dc, double inverse_temperature) {
    Tensor<Scalar> result(c.shape());
    kernels::softmax_backward<false>(c.dim(0), c.dim(1), 1, c.data(), dc.data(), result.data());
    result *= static_cast<Scalar>(inverse_temperature);
    return result;
  }
  /// 1 / max(|d_r|, 1e-6); and every basis vector times a factor.
  static Row base_scales(const Tensor<Scalar>& d) {
    return 1 / d.matrix().array().square().colwise().sum().sqrt().max(Scalar(Soft::eps));
  }
  static Tensor<Scalar> scaled(Tensor<Scalar> d, const Row& scales) {
    d.matrix().array().rowwise() *= scales;
    return d;
  }

  /// Through C = softmax(T⁻¹ cosines of x and d): from dc, adds to dx and to dd. `last`: of VQ's last coefficients.
  void assignment(const Tensor<Scalar>& d, const Tensor<Scalar>& c, const Tensor<Scalar>& dc, bool last,
                  Tensor<Scalar>& dd) {
    const Row s = base_scales(d);
    const Column a = last ? Column(norms_.unaryExpr(Soft::last_scale)) : Column(norms_.unaryExpr(Soft::step_scale));
    Tensor<Scalar> dcosines = through_softmax(c, dc, static_cast<double>(inverse_temperature_));
    Tensor<Scalar> cosines = scaled(x_.project(item_, d), s);
    cosines.matrix().array().colwise() *= a;
    const Tensor<Scalar> weighted = dcosines * cosines;
    const Column q = weighted.matrix().array().rowwise().sum();  // the part along x_n
    const Row p = weighted.matrix().array().colwise().sum();     // and along d_r
    dcosines.matrix().array().colwise() *= a;
    outer(s_, item_, scaled(d, s), dcosines, dx_, kernels::Store::add);
    add_along_x(-(q * a / norms_).unaryExpr([](Scalar v) { return is_finite(v) ? v : Scalar(0); }));
    Tensor<Scalar> direct = scaled(x_.combine(item_, dcosines), s);
    dd += direct;
    const Row clamped = (s < Scalar(1 / Soft::eps)).select(s.square() * p, Scalar(0));
    dd -= scaled(d, clamped);
  }

  /// Through d = X C / (1e-6 + sum of C over n): from dd to dc, adding to dx.
  Tensor<Scalar> means(const Tensor<Scalar>& c, const Tensor<Scalar>& dd) {
    const Row share = 1 / (Scalar(Soft::eps) + c.matrix().array().colwise().sum());
    outer(s_, item_, dd, scaled(c, share), dx_, kernels::Store::add);
    Tensor<Scalar> dc = scaled(x_.project(item_, dd), share);
    const Row along = (dc * c).matrix().array().colwise().sum() * share;
    dc.matrix().array().rowwise() -= along;
    return dc;
  }

 private:
  /// dx_n += factor_n x_n.
  void add_along_x(const Column& factors) {
    Scalar* const to = dx_ + item_ * s_.size();
    const Scalar* const from = x_.x + item_ * s_.size();
    for (Index i = 0; i < s_.d; ++i)
      for (Index j = 0; j < s_.n; ++j) {
        const Index at = s_.transposed ? j * s_.d + i : i * s_.n + j;
        to[at] += factors[j] * from[at];
      }
  }

  const kernels::DecompositionShape& s_;
  HamMatrix<Scalar> x_;
  Index item_;
  Scalar inverse_temperature_;
  Scalar* dx_;
  Column norms_;
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

}  // namespace lamina::detail
