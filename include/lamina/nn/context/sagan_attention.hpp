#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "lamina/nn/block.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/context/row_attention.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/scale.hpp"
#include "lamina/nn/spectral_norm.hpp"
#include "lamina/nn/sum.hpp"

namespace lamina::inline LAMINA_ABI {

/// Attention of the pixels of one image to those of another, usually a smaller one:
///
///   y_i = sum over j of softmax over j (q_i · k_j) v_j
///
/// Takes queries [N, K, H, W], keys [N, K, h, w] and values [N, V, h, w], and gives y [N, V, H, W]. The matrix of
/// weights is never there as a whole: see PixelAttention, which is that of an image to itself. Throws ShapeError for
/// other shapes.
template <class Scalar = float>
class PixelCrossAttention : public JointLayer<PixelCrossAttention<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes queries, keys and values, got ", x.size(), " values");
    const Shape &q = x[0].shape(), &k = x[1].shape(), &v = x[2].shape();
    const bool fits = q.rank() == 4 && k.rank() == 4 && v.rank() == 4 && k[0] == q[0] && v[0] == q[0] && k[1] == q[1] &&
                      k[2] == v[2] && k[3] == v[3] && k[1] * k[2] * k[3] > 0 && v[1] > 0;
    require<ShapeError>(fits, *this, ": expected queries [N, K, H, W], keys [N, K, h, w] and values [N, V, h, w], got ",
                        q, ", ", k, " and ", v);
    return q.with(1, v[1]);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    const Shape &q = x[0].shape(), &v = x[2].shape();
    return q[0] * q[2] * q[3] * v[2] * v[3] * (q[1] + v[1]);
  }

 private:
  using Core = detail::RowAttention<Scalar>;

  static Core core(const Tensor<Scalar>& q, const Tensor<Scalar>& k, const Tensor<Scalar>& v, Index image) {
    const Index n = q.dim(2) * q.dim(3), m = k.dim(2) * k.dim(3), keys = q.dim(1), values = v.dim(1);
    return {
        n, m, keys, values, 1, q.data() + image * keys * n, k.data() + image * keys * m, v.data() + image * values * m};
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const auto& in = std::as_const(x);
    Tensor<Scalar> y(output_shapes(x)[0]);
    Scalar* const out = y.data();
    const Index size = y.numel() / std::max<Index>(y.dim(0), 1);
    for (Index image = 0; image < y.dim(0); ++image)
      core(in[0].tensor, in[1].tensor, in[2].tensor, image).forward(out + image * size);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor, x[2].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [q, k, v] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>>();
    Tensor<Scalar> dq(q.shape()), dk(k.shape()), dv(v.shape());
    Scalar *const to_q = dq.data(), *const to_k = dk.data(), *const to_v = dv.data();
    for (Index image = 0; image < q.dim(0); ++image) {
      const Core c = core(q, k, v, image);
      c.backward(std::as_const(dy).data() + image * c.values * c.n, to_q + image * c.keys * c.n,
                 to_k + image * c.keys * c.m, to_v + image * c.values * c.m);
    }
    return {std::move(dq), std::move(dk), std::move(dv)};
  }
};

/// Options of SAGANAttention and YLGAttention.
struct GanAttentionOptions {
  bool spectral_norm = true;  ///< of the four convolutions
};

namespace detail {

/// What SAGANAttention and YLGAttention share: all but the core between the convolutions.
template <class Derived, class Core, class Scalar>
class GanAttention : public Block<Derived, Scalar> {
 public:
  Child<Scalar> theta, phi, g, o;  ///< 1x1 convolutions
  Scale<Scalar> gamma;             ///< starts as 0

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Shape& shape = x.shape();
    require<ShapeError>(shape.rank() == 4 && shape[2] % 2 == 0 && shape[3] % 2 == 0, *this,
                        ": expected an image [N, C, H, W] of even height and width, got shape ", shape);
    Value<Scalar> queries = run(*theta.module, x);
    Value<Scalar> keys = run(pool_, run(*phi.module, x)), values = run(pool_, run(*g.module, x));
    Value<Scalar> y = run(*o.module, run(core_, std::move(queries), std::move(keys), std::move(values)));
    return run(add_, run(gamma, std::move(y)), std::move(x));
  }
  Members<Scalar> members() override {
    return {{"theta", *theta.module}, {"phi", *phi.module}, {"g", *g.module}, {"o", *o.module}, {"", gamma}};
  }
  Fields fields() const override {
    return Fields(Derived::type_name).argument("channels", channels_).option("spectral_norm", spectral_norm_, true);
  }

 protected:
  GanAttention(Index channels, Index unit, const GanAttentionOptions& options)
      : theta(convolution("theta", channels, channels / 8, unit, options)),
        phi(convolution("phi", channels, channels / 8, unit, options)),
        g(convolution("g", channels, channels / 2, unit, options)),
        o(convolution("o", channels / 2, channels, unit, options)),
        gamma(0, "gamma"),
        channels_(channels),
        spectral_norm_(options.spectral_norm) {}

 private:
  static Child<Scalar> convolution(const char* key, Index in, Index out, Index unit,
                                   const GanAttentionOptions& options) {
    const Index channels = std::max(in, out);
    require(channels >= unit && channels % unit == 0, Derived::type_name, ": expected a multiple of ", unit,
            " channels, got ", channels);
    Conv2d<Scalar> layer(in, out, 1, {.bias = false});
    init::xavier_uniform(layer.weight.value);
    return spectral_norm_if(options.spectral_norm, key, std::move(layer));
  }

  Index channels_;
  bool spectral_norm_;
  MaxPool2d<Scalar> pool_{2};
  Core core_;
  Add<Scalar> add_;
};

}  // namespace detail

/// The self-attention of SAGAN (Zhang et al. 2019, section 3, as their program and BigGAN's have it): for an image x of
/// C channels
///
///   y = x + gamma o(attention),   attention_i = sum over j of softmax over j (theta(x)_i · phi(x)_j) g(x)_j
///
/// where theta, phi, g and o are 1x1 convolutions without biases to C / 8, C / 8, C / 2 and C channels, spectrally
/// normalised, phi(x) and g(x) are largest values of 2 x 2 pixels, and gamma [1] starts as 0. Shapes: x and y [N, C, H,
/// W], H and W even. State_dict keys "theta.weight_orig", ... Throws ValueError unless C is a multiple of 8, ShapeError
/// for other shapes. Multiply-adds for C = 256 at 32 x 32: 126 M.
template <class Scalar = float>
class SAGANAttention : public detail::GanAttention<SAGANAttention<Scalar>, PixelCrossAttention<Scalar>, Scalar> {
 public:
  static constexpr const char* type_name = "SAGANAttention";  ///< its name in messages
  /// For so many channels.
  explicit SAGANAttention(Index channels, const GanAttentionOptions& options = {})
      : detail::GanAttention<SAGANAttention<Scalar>, PixelCrossAttention<Scalar>, Scalar>(channels, 8, options) {}
};

}  // namespace lamina::inline LAMINA_ABI
