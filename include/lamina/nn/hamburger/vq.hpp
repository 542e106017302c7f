#pragma once

#include "lamina/nn/hamburger/soft_assignment.hpp"

namespace lamina::inline LAMINA_ABI {

/// Vector quantisation, soft k-means with cosines (Gray and Neuhoff 1998), as a layer (Geng et al. 2021, algorithm 1):
/// for every sample and head, the n columns of X [d, n] are replaced by means of the basis, X̄ = D Cᵀ, from
/// D ~ N(0, 1) with normalised columns by rounds of
///
///   C = softmax over r of cosine(x_n, d_r) / T,   d_r = sum over n of x_n C_nr / (1e-6 + sum over n of C_nr)
///
/// and C once more, the cosine then being (x_n / (1e-6 + |x_n|)) · (d_r / |d_r|). One-step gradient: that last C is
/// differentiated with D and the norms |x_n| constant. With HamGradient::bptt nothing but the first bases is constant.
/// Shapes and errors as for NMF, but for the sign of the input. An input of zeros gives zeros.
template <class Scalar = float>
class VQ : public detail::Ham<VQ<Scalar>, Scalar> {
  using Base = detail::Ham<VQ, Scalar>;

 public:
  static constexpr const char* type_name = "VQ";  ///< its name in messages
  /// Shapes, defaults and errors are said at the class.
  explicit VQ(const HamOptions& options = {}) : Base(options) {}

 private:
  friend Base;
  using typename Base::History;
  using typename Base::Saved;
  using typename Base::Shapes;
  using Gradient = detail::SoftAssignmentGradient<Scalar>;

  struct Algorithm : detail::SoftAssignment<Scalar> {
    using Soft = detail::SoftAssignment<Scalar>;
    Tensor<Scalar> saved;  ///< 1 / (1e-6 + |x_n|), [items, n]

    Algorithm(const HamOptions& options, const Shapes& s, const Scalar* x, bool training) : Soft(options, s, x) {
      if (training) saved = Soft::scales(this->norms, Soft::last_scale);
    }
    void finish_coefficients(bool, const typename Soft::Rows& rows, const Scalar* squares, Scalar* c) const {
      this->assign(rows, squares, c, Soft::last_scale);
    }
    void prepare(const Tensor<Scalar>&) const {}
  };

  static Tensor<Scalar> draw(Random& random, const Shape& shape) { return random.normal<Scalar>(shape); }

  static Index products(const Shapes& s, Index steps) { return (2 * steps + 2) * s.size() * s.rank; }

  void check(const Tensor<Scalar>&) const {}
  static const Tensor<Scalar>& found_bases(const Shapes&, const Tensor<Scalar>& bases) { return bases; }

  void one_step_backward(const Saved& saved, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const Tensor<Scalar> d = saved.factors.bases[item], c = saved.factors.coefficients[item];
    Tensor<Scalar> dcosines = Gradient::through_softmax(c, detail::HamMatrix<Scalar>{s, dy}.project(item, d),
                                                        this->options().inverse_temperature);
    dcosines = kernels::multiply(std::move(dcosines), saved.last[item].reshape({s.n, 1}));
    detail::outer(s, item, Gradient::scaled(d, Gradient::base_scales(d)), dcosines, dx);
  }

  void full_backward(const Saved& saved, const History& history, Index item, const Scalar* dy, Scalar* dx) const {
    const Shapes& s = saved.shape;
    const detail::HamMatrix<Scalar> incoming{s, dy};
    const Tensor<Scalar> d = saved.factors.bases[item], c = saved.factors.coefficients[item];
    const Tensor<Scalar> dc = incoming.project(item, d);
    Tensor<Scalar> dd = incoming.combine(item, c);
    std::fill_n(dx + item * s.size(), s.size(), Scalar(0));
    Gradient gradient(s, history.x.data(), item, this->options().inverse_temperature, dx);
    gradient.assignment(d, c, dc, true, dd);
    detail::soft_steps_backward(gradient, history, item, std::move(dd));
  }
};

}  // namespace lamina::inline LAMINA_ABI
