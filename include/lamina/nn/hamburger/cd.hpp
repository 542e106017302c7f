#pragma once

#include "lamina/nn/hamburger/soft_assignment.hpp"

namespace lamina::inline LAMINA_ABI {

/// Concept decomposition (Dhillon and Modha 2001) as a layer (Geng et al. 2021, appendix B): for every sample and head,
/// the n columns of X [d, n] are replaced by their approximation X̄ = D Cᵀ, where the concepts D ~ N(0, 1) are found as
/// in VQ, but normalised, and the coefficients solve a ridge regression:
///
///   Cᵀ = (DᵀD + beta I)⁻¹ Dᵀ X.
///
/// One-step gradient: D is constant, so that X̄ is linear in X and backward is the same symmetric map. With
/// HamGradient::bptt nothing but the first bases is constant.
/// Shapes and errors as for NMF, but for the sign of the input. An input of zeros gives zeros.
template <class Scalar = float>
class CD : public detail::Ham<CD<Scalar>, Scalar> {
  using Base = detail::Ham<CD, Scalar>;

 public:
  static constexpr const char* type_name = "CD";  ///< its name in messages
  /// Shapes, defaults and errors are said at the class.
  explicit CD(const HamOptions& options = {}) : Base(options) {}

 private:
  friend Base;
  using typename Base::History;
  using typename Base::Saved;
  using typename Base::Shapes;
  using Gradient = detail::SoftAssignmentGradient<Scalar>;

  struct Algorithm : detail::SoftAssignment<Scalar> {
    using Soft = detail::SoftAssignment<Scalar>;
    Shapes shape;
    double beta;
    Tensor<Scalar> saved;  ///< S (S DᵀD S + beta I)⁻¹ S, [items, R, pitch], where the columns of D S are normalised

    Algorithm(const HamOptions& options, const Shapes& s, const Scalar* x, bool)
        : Soft(options, s, x), shape(s), beta(options.beta) {}
    void prepare(const Tensor<Scalar>& bases) {
      const Index size = shape.rank * shape.pitch;
      saved = Tensor<Scalar>::zeros({shape.items, shape.rank, shape.pitch});
      Scalar* const to = saved.data();
      parallel_for(0, shape.items, 1, [&](Index item, Index) {
        const Tensor<Scalar> d = bases[item];
        const Tensor<Scalar> s = Gradient::base_scales(d);
        const Tensor<Scalar> inverse = ridge(Gradient::scaled(d, s), shape.rank, beta);
        for (Index i = 0; i < shape.rank; ++i)
          for (Index j = 0; j < shape.rank; ++j)
            to[item * size + i * shape.pitch + j] = s.data()[i] * inverse.data()[i * shape.pitch + j] * s.data()[j];
      });
    }
    void finish_coefficients(bool, const typename Soft::Rows& rows, const Scalar*, Scalar* c) const {
      kernels::thin_product(rows.count, shape.rank, {rows.products, shape.pitch, 1},
                            std::as_const(saved).data() + rows.item * shape.rank * shape.pitch, shape.pitch, c, false);
    }
  };

  /// (DᵀD + beta I)⁻¹, [pitch, pitch] with zeros beyond the rank.
  static Tensor<Scalar> ridge(const Tensor<Scalar>& d, Index rank, double beta) {
    const Tensor<Scalar> gram = detail::inner(d, d);
    const Index pitch = d.dim(1);
    std::vector<double> a(static_cast<std::size_t>(rank * rank)), inverse(a.size());
    for (Index i = 0; i < rank; ++i)
      for (Index j = 0; j < rank; ++j)
        a[static_cast<std::size_t>(i * rank + j)] =
            static_cast<double>(gram.data()[i * pitch + j]) + (i == j ? beta : 0);
    kernels::invert_positive_definite(rank, a.data(), inverse.data());
    Tensor<Scalar> result = Tensor<Scalar>::zeros({pitch, pitch});
    for (Index i = 0; i < rank; ++i)
      for (Index j = 0; j < rank; ++j)
        result.data()[i * pitch + j] = static_cast<Scalar>(inverse[static_cast<std::size_t>(i * rank + j)]);
    return result;
  }

  static Tensor<Scalar> draw(Random& random, const Shape& shape) { return random.normal<Scalar>(shape); }

  static Index products(const Shapes& s, Index steps) {
    return (2 * steps + 2) * s.size() * s.rank + (s.d + s.n) * s.rank * s.rank;
  }

  void check(const Tensor<Scalar>&) const {}
  static Tensor<Scalar> found_bases(const Shapes& s, const Tensor<Scalar>& bases) {
    Tensor<Scalar> result(bases.shape());
    for (Index item = 0; item < s.items; ++item) {
      const Tensor<Scalar> d = bases[item], unit = Gradient::scaled(d, Gradient::base_scales(d));
      std::copy_n(unit.data(), unit.numel(), result.data() + item * unit.numel());
    }
    return result;
  }

  /// dX = D K Dᵀ dX̄ with the symmetric K of X̄ = D K Dᵀ X.
  void one_step_backward(const Saved& saved, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const Tensor<Scalar> d = saved.factors.bases[item];
    const Tensor<Scalar> products = detail::HamMatrix<Scalar>{s, dy}.project(item, d);
    const kernels::MatrixView<const Scalar> factor{d.data(), s.pitch, 1};
    Tensor<Scalar> left({s.d, s.pitch});
    kernels::gemm(s.d, s.pitch, s.rank, factor, detail::rows_of(saved.last[item]), left.data());
    detail::outer(s, item, left, products, dx);
  }

  void full_backward(const Saved& saved, const History& history, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const detail::HamMatrix<Scalar> x{s, history.x.data()}, incoming{s, dy};
    const Tensor<Scalar> d = saved.factors.bases[item];
    const Tensor<Scalar> scale = Gradient::base_scales(d);
    const Tensor<Scalar> unit = Gradient::scaled(d, scale);
    // X̄ = U A Pᵀ with the normalised bases U, P = XᵀU and A = (UᵀU + beta I)⁻¹.
    const Tensor<Scalar> a = ridge(unit, s.rank, this->options().beta), p = x.project(item, unit);
    const Tensor<Scalar> dproducts = incoming.project(item, unit);  // dX̄ᵀ U
    const Tensor<Scalar> dp = detail::product(s.n, detail::rows_of(dproducts), a);
    const Tensor<Scalar> da = detail::inner(p, dproducts);
    const Tensor<Scalar> dgram = kernels::plus_transpose(
        detail::product(s.pitch, detail::rows_of(detail::product(s.pitch, detail::rows_of(a), da)), a));
    Tensor<Scalar> dunit = incoming.combine(item, detail::product(s.n, detail::rows_of(p), a));
    dunit -= detail::product(s.d, detail::rows_of(unit), dgram);
    detail::outer(s, item, unit, dp, dx);
    dunit += x.combine(item, dp);
    dunit -= Gradient::scaled(unit, Gradient::unless_clamped(Gradient::column_sums(unit * dunit), scale));
    Gradient gradient(s, history.x.data(), item, this->options().inverse_temperature, dx);
    detail::soft_steps_backward(gradient, history, item, Gradient::scaled(std::move(dunit), scale));
  }
};

}  // namespace lamina::inline LAMINA_ABI
