#pragma once

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/hamburger/ham.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Lee and Seung's multiplicative updates, on rows of either factor.
template <class Scalar>
struct MultiplicativeUpdates {
  static constexpr double eps = 1e-6;

  Index statistic, pitch;
  Index n;
  Tensor<Scalar> saved;  ///< C / (C DᵀD + eps) of the last coefficients, [items, n, pitch]
  Scalar* ratios = nullptr;

  MultiplicativeUpdates(const HamOptions&, const kernels::DecompositionShape& s, const Scalar*, bool training)
      : statistic(s.rank), pitch(s.pitch), n(s.n) {
    if (!training) return;
    saved = Tensor<Scalar>({s.items, s.n, s.pitch});
    ratios = saved.data();
  }

  using Rows = kernels::FactorRows<Scalar>;

  /// C <- C * (XᵀD) / (C DᵀD + eps), from C = softmax(XᵀD); `gram` is DᵀD.
  void update_coefficients(Index step, const Rows& rows, const Scalar* gram, Scalar* c) const {
    if (step == 0) start(rows, c);
    update_bases(rows, gram, c);
  }
  /// D <- D * (XC) / (D CᵀC + eps), the same.
  void update_bases(const Rows& rows, const Scalar* gram, Scalar* factor) const {
    denominators(rows, gram, factor);
    kernels::multiply_and_divide(rows.count * pitch, rows.products, rows.scratch, Scalar(eps), factor);
  }
  void finish_coefficients(bool first, const Rows& rows, const Scalar* gram, Scalar* c) const {
    if (first) start(rows, c);
    denominators(rows, gram, c);
    Scalar* const ratio = ratios ? ratios + (rows.item * n + rows.first) * pitch : nullptr;
    kernels::divide_and_multiply(rows.count * pitch, rows.products, rows.scratch, Scalar(eps), c, ratio);
  }

  void add_statistic_of_coefficients(Index count, const Scalar* c, Scalar* gram) const {
    kernels::add_gram(count, statistic, c, pitch, gram);
  }
  void add_statistic_of_bases(Index count, const Scalar* d, Scalar* gram) const {
    kernels::add_gram(count, statistic, d, pitch, gram);
  }
  void prepare(const Tensor<Scalar>&) const {}

 private:
  void start(const Rows& rows, Scalar* c) const {
    std::copy_n(rows.products, rows.count * pitch, c);
    kernels::softmax_rows(rows.count, statistic, c, pitch);
  }
  /// Of some rows of a factor, without eps.
  void denominators(const Rows& rows, const Scalar* gram, const Scalar* factor) const {
    kernels::thin_product<Scalar>(rows.count, statistic, {factor, pitch, 1}, gram, pitch, rows.scratch, false);
  }
};

}  // namespace detail

/// Non-negative matrix factorisation (Lee and Seung 2001) as a layer (Geng et al. 2021, algorithm 2): for every sample
/// and head, the n columns of X [d, n] are replaced by their approximation
///
///   X̄ = D Cᵀ,  D [d, R] >= 0,  C [n, R] >= 0
///
/// from D ~ U(0, 1) with normalised columns and C = softmax(XᵀD), by rounds of
///
///   C <- C * (XᵀD) / (C DᵀD + 1e-6),   D <- D * (XC) / (D CᵀC + 1e-6)
///
/// and C once more. One-step gradient: the last update of C is differentiated with D and the C before it constant, so
/// with dC = dX̄ᵀ D
///
///   dX = D (dC * C / (C DᵀD + 1e-6))ᵀ.
///
/// With HamGradient::bptt nothing but the first bases is constant.
/// Shapes: x and y [N, C, H, W]; d = C / heads and n = H W, the other way round if not spatial. Throws ShapeError for
/// another rank of input, no pixels, channels that the heads do not divide, kept bases of another size; ValueError for
/// a negative input (put a ReLU before it). An input of zeros gives zeros. R may be above d and n.
template <class Scalar = float>
class NMF : public detail::Ham<NMF<Scalar>, Scalar> {
  using Base = detail::Ham<NMF, Scalar>;

 public:
  static constexpr const char* type_name = "NMF";  ///< its name in messages
  /// Shapes, defaults and errors are said at the class.
  explicit NMF(const HamOptions& options = {}) : Base(options) {}

 private:
  friend Base;
  using typename Base::History;
  using typename Base::Saved;
  using typename Base::Shapes;
  using Algorithm = detail::MultiplicativeUpdates<Scalar>;

  static Tensor<Scalar> draw(Random& random, const Shape& shape) { return random.uniform<Scalar>(shape); }

  static Index products(const Shapes& s, Index steps) {
    const Index step = (s.d + s.n) * s.rank * s.rank;  // a factor times a Gram matrix, and as much for those
    return (2 * steps + 3) * s.size() * s.rank + 2 * steps * step + step;
  }

  void check(const Tensor<Scalar>& x) const {
    require(!kernels::any_negative(x.numel(), x.data()), *this,
            ": the input has negative values; put a ReLU before it");
  }
  static const Tensor<Scalar>& found_bases(const Shapes&, const Tensor<Scalar>& bases) { return bases; }

  void one_step_backward(const Saved& saved, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const Tensor<Scalar> d = saved.factors.bases[item];
    const Tensor<Scalar> dc = detail::HamMatrix<Scalar>{s, dy}.project(item, d) * saved.last[item];
    detail::outer(s, item, d, dc, dx);
  }

  void full_backward(const Saved& saved, const History& history, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const detail::HamMatrix<Scalar> x{s, history.x.data()}, gradient{s, dy};
    Tensor<Scalar> dc = gradient.project(item, saved.factors.bases[item]);
    Tensor<Scalar> dd = gradient.combine(item, saved.factors.coefficients[item]);
    std::fill_n(dx + item * s.size(), s.size(), Scalar(0));

    const bool whole = history.first_coefficients.empty();
    Tensor<Scalar> first = whole ? x.project(item, history.bases(0, item)) : history.first_coefficients[item];
    if (whole) kernels::softmax_rows(s.n, s.rank, first.data(), s.pitch);
    const auto coefficients = [&](Index t) { return t == 0 ? first : history.coefficients(t - 1, item); };
    for (Index t = history.size();; --t) {
      const Tensor<Scalar> d = history.bases(t, item);
      const Tensor<Scalar> dproducts = update_backward(coefficients(t), d, x.project(item, d), dc, dd);
      dd += x.combine(item, dproducts);
      detail::outer(s, item, d, dproducts, dx, kernels::Store::add);
      if (t == 0) break;
      const Tensor<Scalar> c = coefficients(t);
      const Tensor<Scalar> dbase_products = update_backward(history.bases(t - 1, item), c, x.combine(item, c), dd, dc);
      dc += x.project(item, dbase_products);
      detail::outer(s, item, dbase_products, c, dx, kernels::Store::add);
    }
    if (!whole) return;
    Tensor<Scalar> dz(dc.shape());
    kernels::softmax_backward<false>(s.n, s.pitch, 1, std::as_const(first).data(), std::as_const(dc).data(), dz.data());
    detail::outer(s, item, history.bases(0, item), dz, dx, kernels::Store::add);
  }

  /// Of F' = F * P / (F OᵀO + eps), where P are the products: from d(loss)/d(F') in df to d(loss)/d(F), adding to
  /// d(loss)/d(O) what comes by way of OᵀO; the result is d(loss)/d(P).
  static Tensor<Scalar> update_backward(const Tensor<Scalar>& factor, const Tensor<Scalar>& other,
                                        const Tensor<Scalar>& products, Tensor<Scalar>& df, Tensor<Scalar>& dother) {
    const Tensor<Scalar> gram = detail::inner(other, other);
    Tensor<Scalar> denominator = detail::product(factor.dim(0), detail::rows_of(factor), gram);
    denominator = kernels::transform(std::move(denominator), kernels::Added<Scalar>{Scalar(Algorithm::eps)});
    const Tensor<Scalar> dproducts = kernels::transform(factor * df, kernels::Quotient(), denominator);
    const Tensor<Scalar> ratio = kernels::transform(products, kernels::Quotient(), denominator);
    Tensor<Scalar> ddenominator = dproducts * ratio;
    ddenominator *= Scalar(-1);
    df *= ratio;
    df += detail::product(factor.dim(0), detail::rows_of(ddenominator), gram);
    const Tensor<Scalar> dgram = kernels::plus_transpose(detail::inner(factor, ddenominator));
    dother += detail::product(other.dim(0), detail::rows_of(other), dgram);
    return dproducts;
  }
};

}  // namespace lamina::inline LAMINA_ABI
