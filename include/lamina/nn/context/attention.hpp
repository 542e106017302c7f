#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/context/row_attention.hpp"
#include "lamina/nn/module.hpp"

/// The attentions of context modules, without their convolutions: they have no parameters, and see an image as a matrix
/// X [C, n] of n = H W pixels.
namespace lamina::inline LAMINA_ABI {

namespace detail {

/// What they share: Derived gives channels(C), of the result (0: they do not fit), channel_rule(), products(C, n), its
/// multiply-adds for an image, and for one image
///
///   attend(n, C, x, y) const                        y [channels(C), n] from x [C, n]
///   attend_backward(n, C, x, dy, dx) const          dx [C, n]
template <class Derived, class Scalar>
class ContextAttention : public Layer<Derived, Scalar> {
 public:
  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[2] > 0 && input[3] > 0, *this,
                        ": expected an input [N, C, H, W], got shape ", input);
    const Index channels = self().channels(input[1]);
    require<ShapeError>(channels > 0, *this, ": expected ", self().channel_rule(), ", got shape ", input);
    return input.with(1, channels);
  }
  Members<Scalar> members() override { return {}; }
  Index multiply_adds(const Shape& input) const override {
    output_shape(input);
    return input[0] * self().products(input[1], input[2] * input[3]);
  }

 protected:
  using View = kernels::MatrixView<const Scalar>;

  static View rows(const Scalar* x, Index columns) { return kernels::row_major(x, columns); }
  static View rows(const Tensor<Scalar>& x) { return kernels::row_major(x.data(), x.dim(1)); }
  static Tensor<Scalar> product(Index m, Index n, Index k, const View& a, const View& b) {
    Tensor<Scalar> c({m, n});
    kernels::gemm(m, n, k, a, b, c.data());
    return c;
  }
  static Tensor<Scalar> softmax_rows(Tensor<Scalar> x) {
    const Scalar* const in = std::as_const(x).data();
    kernels::softmax<false>(x.dim(0), x.dim(1), 1, in, x.data());
    return x;
  }
  /// From d(loss)/d(softmax) to that of its argument.
  static Tensor<Scalar> softmax_rows_backward(const Tensor<Scalar>& y, Tensor<Scalar> dy) {
    const Scalar* const in = std::as_const(dy).data();
    kernels::softmax_backward<false>(y.dim(0), y.dim(1), 1, y.data(), in, dy.data());
    return dy;
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Index n = x.dim(2) * x.dim(3), channels = x.dim(1);
    Scalar* const out = y.data();
    for (Index image = 0; image < x.dim(0); ++image)
      self().attend(n, channels, std::as_const(x).data() + image * channels * n, out + image * y.dim(1) * n);
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    if (input_grad == InputGrad::skip) return {};
    Tensor<Scalar> dx(x.shape());
    const Index n = x.dim(2) * x.dim(3), channels = x.dim(1);
    Scalar* const out = dx.data();
    for (Index image = 0; image < x.dim(0); ++image)
      self().attend_backward(n, channels, x.data() + image * channels * n,
                             std::as_const(dy).data() + image * dy.dim(1) * n, out + image * channels * n);
    return dx;
  }
};

}  // namespace detail

/// Attention of every pixel to all pixels (Vaswani et al. 2017, equation 1; Wang et al. 2018). The channels of x are
/// the queries Q and keys K, `keys` each, and the values V:
///
///   y_i = sum over j of softmax over j (scale Q_i · K_j) V_j
///
/// Shapes: x [N, 2 keys + values, H, W], y [N, values, H, W]. The n x n matrix is never there as a whole, neither in
/// inference nor in training: it is made for some rows at a time, and again in backward, so that memory is linear in n.
/// `scale` is usually 1 / sqrt(keys).
template <class Scalar = float>
class PixelAttention : public detail::ContextAttention<PixelAttention<Scalar>, Scalar> {
 public:
  /// Of queries and keys with `keys` channels; the products are multiplied by scale.
  explicit PixelAttention(Index keys, double scale = 1) : keys_(keys), scale_(scale) {
    require(keys >= 1, "PixelAttention: keys must be at least 1, got ", keys);
  }
  Fields fields() const override { return Fields("PixelAttention").argument("keys", keys_).field("scale", scale_, ""); }

  /// What it was made with.
  /// @{
  Index keys() const { return keys_; }
  double scale() const { return scale_; }
  /// @}

 private:
  using Base = detail::ContextAttention<PixelAttention, Scalar>;
  friend Base;

  Index channels(Index c) const { return c - 2 * keys_; }
  std::string channel_rule() const { return text("more than 2 * ", keys_, " channels"); }
  Index products(Index c, Index n) const { return n * n * (c - keys_); }

  detail::RowAttention<Scalar> core(Index n, Index c, const Scalar* x) const {
    return {n, n, keys_, channels(c), scale_, x, x + keys_ * n, x + 2 * keys_ * n};
  }
  void attend(Index n, Index c, const Scalar* x, Scalar* y) const { core(n, c, x).forward(y); }
  void attend_backward(Index n, Index c, const Scalar* x, const Scalar* dy, Scalar* dx) const {
    core(n, c, x).backward(dy, dx, dx + keys_ * n, dx + 2 * keys_ * n);
  }

  Index keys_;
  double scale_;
};

/// Attention between channels, where unlike ones attend to each other (Fu et al. 2019, section 3.3, as their code has
/// it): Y = softmax over rows (max - X Xᵀ) X. x and y are [N, C, H, W].
template <class Scalar = float>
class ChannelAttention : public detail::ContextAttention<ChannelAttention<Scalar>, Scalar> {
 private:
  using Base = detail::ContextAttention<ChannelAttention, Scalar>;
  friend Base;

  Index channels(Index c) const { return c; }
  std::string channel_rule() const { return "channels"; }
  Index products(Index c, Index n) const { return 2 * c * c * n; }

  /// The softmax takes the largest away in any case.
  Tensor<Scalar> weights(Index n, Index c, const Scalar* x) const {
    Tensor<Scalar> energy = Base::product(c, c, n, Base::rows(x, n), Base::rows(x, n).transpose());
    energy *= Scalar(-1);
    return Base::softmax_rows(std::move(energy));
  }
  void attend(Index n, Index c, const Scalar* x, Scalar* y) const {
    kernels::gemm(c, n, c, Base::rows(weights(n, c, x)), Base::rows(x, n), y);
  }
  void attend_backward(Index n, Index c, const Scalar* x, const Scalar* dy, Scalar* dx) const {
    const Tensor<Scalar> a = weights(n, c, x);
    const Tensor<Scalar> ds =
        Base::softmax_rows_backward(a, Base::product(c, c, n, Base::rows(dy, n), Base::rows(x, n).transpose()));
    Tensor<Scalar> symmetric = kernels::plus_transpose(ds);
    symmetric *= Scalar(-1);
    kernels::gemm(c, n, c, Base::rows(a).transpose(), Base::rows(dy, n), dx);
    kernels::gemm(c, n, c, Base::rows(symmetric), Base::rows(x, n), dx, kernels::Store::add);
  }
};

/// Double attention (Chen et al. 2018, "A²-Nets", equation 5): gather features over all pixels, then distribute them.
/// The channels of x are features A [m, n] and logits B, V [g, n] each:
///
///   Y = [A softmax over pixels (B)ᵀ] softmax over channels (V)
///
/// Shapes: x [N, m + 2 g, H, W], y [N, m, H, W].
template <class Scalar = float>
class GatherDistribute : public detail::ContextAttention<GatherDistribute<Scalar>, Scalar> {
 public:
  /// With `gathered` features that are taken from the whole image.
  explicit GatherDistribute(Index gathered) : gathered_(gathered) {
    require(gathered >= 1, "GatherDistribute: gathered must be at least 1, got ", gathered);
  }
  Fields fields() const override { return Fields("GatherDistribute").argument("gathered", gathered_); }

  /// What it was made with.
  Index gathered() const { return gathered_; }

 private:
  using Base = detail::ContextAttention<GatherDistribute, Scalar>;
  friend Base;

  Index channels(Index c) const { return c - 2 * gathered_; }
  std::string channel_rule() const { return text("more than 2 * ", gathered_, " channels"); }
  Index products(Index c, Index n) const { return 2 * channels(c) * gathered_ * n; }

  /// The weights that gather, whose rows sum to 1, and those that distribute, whose columns do, both [g, n].
  std::pair<Tensor<Scalar>, Tensor<Scalar>> weights(Index n, Index c, const Scalar* x) const {
    const Scalar *const b = x + channels(c) * n, *const v = b + gathered_ * n;
    std::pair result{Tensor<Scalar>({gathered_, n}), Tensor<Scalar>({gathered_, n})};
    kernels::softmax<false>(gathered_, n, 1, b, result.first.data());
    kernels::softmax<false>(1, gathered_, n, v, result.second.data());
    return result;
  }
  void attend(Index n, Index c, const Scalar* x, Scalar* y) const {
    const Index m = channels(c), g = gathered_;
    const auto [gather, distribute] = weights(n, c, x);
    const Tensor<Scalar> gathered = Base::product(m, g, n, Base::rows(x, n), Base::rows(gather).transpose());
    kernels::gemm(m, n, g, Base::rows(gathered), Base::rows(distribute), y);
  }
  void attend_backward(Index n, Index c, const Scalar* x, const Scalar* dy, Scalar* dx) const {
    const Index m = channels(c), g = gathered_;
    const auto [gather, distribute] = weights(n, c, x);
    const Tensor<Scalar> gathered = Base::product(m, g, n, Base::rows(x, n), Base::rows(gather).transpose());
    const Tensor<Scalar> dgathered = Base::product(m, g, n, Base::rows(dy, n), Base::rows(distribute).transpose());
    kernels::gemm(m, n, g, Base::rows(dgathered), Base::rows(gather), dx);
    Scalar *const db = dx + m * n, *const dv = db + g * n;
    kernels::gemm(g, n, m, Base::rows(dgathered).transpose(), Base::rows(x, n), db);
    kernels::softmax_backward<false>(g, n, 1, gather.data(), db, db);
    kernels::gemm(g, n, m, Base::rows(gathered).transpose(), Base::rows(dy, n), dv);
    kernels::softmax_backward<false>(1, g, n, distribute.data(), dv, dv);
  }

  Index gathered_;
};

}  // namespace lamina::inline LAMINA_ABI
