#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "lamina/nn/add.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/context/row_attention.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/init.hpp"

namespace lamina::inline LAMINA_ABI {

/// Attention of pixels to those of another image, in `heads` groups of channels: queries [N, h d, H, W], keys [N, h d,
/// H', W'] and values [N, h e, H', W'] give y [N, h e, H, W],
///
///   y_i = sum over j of dropout(softmax over j (Q_i · K_j / sqrt(d))) V_j      for each head
///
/// The matrix of weights is never there as a whole. Throws ValueError for heads below 1 or a dropout outside [0, 1],
/// ShapeError for values that do not fit.
template <class Scalar = float>
class CrossAttention : public JointLayer<CrossAttention<Scalar>, Scalar> {
 public:
  /// `dropout` is that of the weights, in training.
  explicit CrossAttention(Index heads, double dropout = 0) : heads_(heads), dropout_(dropout) {
    require(heads >= 1, *this, ": heads must be at least 1");
    require(dropout >= 0 && dropout <= 1, *this, ": dropout must be in [0, 1]");
  }

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes queries, keys and values, got ", x.size(), " values");
    const Shape &q = x[0].shape(), &k = x[1].shape(), &v = x[2].shape();
    for (const Shape& shape : {q, k, v})
      require<ShapeError>(shape.rank() == 4 && shape[1] > 0 && shape[1] % heads_ == 0 && shape[2] > 0 && shape[3] > 0,
                          *this, ": expected images of channels for ", heads_, " equal heads, got shape ", shape);
    require<ShapeError>(q[0] == k[0] && k.with(1, q[1]) == k && v.with(1, k[1]) == k, *this,
                        ": expected keys with the queries' channels and values with the keys' size, got ", q, ", ", k,
                        " and ", v);
    return q.with(1, v[1]);
  }
  Fields fields() const override {
    return Fields("CrossAttention").argument("heads", heads_).option("dropout", dropout_, 0);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override {
    output_shapes(x);
    const Shape &q = x[0].shape(), &v = x[2].shape();
    return q[0] * q[2] * q[3] * v[2] * v[3] * (q[1] + v[1]);
  }

 private:
  using Core = detail::RowAttention<Scalar>;

  /// One head of one image; `item` counts them.
  Core core(Index item, const Tensor<Scalar>& q, const Tensor<Scalar>& k, const Tensor<Scalar>& v, double dropout,
            const Random& draws) const {
    const Index n = q.dim(2) * q.dim(3), m = k.dim(2) * k.dim(3), keys = q.dim(1) / heads_, values = v.dim(1) / heads_;
    return {n,
            m,
            keys,
            values,
            1 / std::sqrt(static_cast<double>(keys)),
            q.data() + item * keys * n,
            k.data() + item * keys * m,
            v.data() + item * values * m,
            dropout,
            draws.split(static_cast<std::uint64_t>(item))};
  }
  Tensor<Scalar> attend(const Shape& shape, const Tensor<Scalar>& q, const Tensor<Scalar>& k, const Tensor<Scalar>& v,
                        double dropout, const Random& draws) const {
    Tensor<Scalar> y(shape);
    Scalar* const out = y.data();
    for (Index item = 0; item < q.dim(0) * heads_; ++item) {
      const Core head = core(item, q, k, v, dropout, draws);
      head.forward(out + item * head.values * head.n);
    }
    return y;
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    return attend(output_shapes(x)[0], std::as_const(x)[0].tensor, std::as_const(x)[1].tensor,
                  std::as_const(x)[2].tensor, 0, Random());
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    double dropout = 0;
    Random draws;
    if (dropout_ > 0 && !this->frozen()) {
      dropout = dropout_;
      draws = tape.random().split(tape.random().position());
      tape.random().uniform();  // the next split is another
    }
    tape.push(x[0].tensor, x[1].tensor, x[2].tensor, dropout, draws);
    return attend(output_shapes(x)[0], std::as_const(x)[0].tensor, std::as_const(x)[1].tensor,
                  std::as_const(x)[2].tensor, dropout, draws);
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [q, k, v, dropout, draws] =
        tape.template pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>, double, Random>();
    Tensor<Scalar> dq(q.shape()), dk(k.shape()), dv(v.shape());
    Scalar *const to_q = dq.data(), *const to_k = dk.data(), *const to_v = dv.data();
    for (Index item = 0; item < q.dim(0) * heads_; ++item) {
      const Core head = core(item, q, k, v, dropout, draws);
      head.backward(std::as_const(dy).data() + item * head.values * head.n, to_q + item * head.keys * head.n,
                    to_k + item * head.keys * head.m, to_v + item * head.values * head.m);
    }
    return {std::move(dq), std::move(dk), std::move(dv)};
  }

  Index heads_;
  double dropout_;
};

/// Options of CoOccurrence.
struct CoOccurrenceOptions {
  Index heads = 8;             ///< of the attention
  double dropout = 0.1;        ///< of the attention's weights, in training
  double norm_momentum = 0.1;  ///< of the norm
};

/// CFNet's aggregated co-occurrent features (Zhang et al. 2019, section 3.2, with one component of the mixture, as its
/// authors' program ACFModule has it): every pixel attends to the pixels of a smaller image,
///
///   y = x + BatchNorm(conv attention(conv_qs x, conv_qs pool(x), conv_vs pool(x)))
///
/// where pool averages 3 x 3 pixels at stride 2 and the convolutions are 1x1. Queries and keys share their convolution.
/// Shapes: x and y [N, channels, H, W]. Keys of the state are the authors', without conv_ks, which is conv_qs again.
/// Throws ValueError when heads does not divide channels, and as CrossAttention.
template <class Scalar = float>
class CoOccurrence : public Block<CoOccurrence<Scalar>, Scalar> {
 public:
  /// Of queries and keys, of values, of the heads' results; of what is added to x.
  /// @{
  Conv2d<Scalar> conv_qs, conv_vs, conv;
  BatchNorm2d<Scalar> norm_layer;
  /// @}

  /// Shapes, defaults and errors are said at the class.
  explicit CoOccurrence(Index channels, const CoOccurrenceOptions& options = {})
      : conv_qs(channels, channels, 1),
        conv_vs(channels, channels, 1),
        conv(channels, channels, 1, {.bias = false}),
        norm_layer(channels, {.momentum = options.norm_momentum}),
        attend_(options.heads, options.dropout),
        channels_(channels) {
    require(channels % options.heads == 0, *this, ": ", options.heads, " heads do not divide ", channels, " channels");
    const double deviation = std::sqrt(2.0 / static_cast<double>(channels + channels / options.heads));
    init::normal(conv_qs.weight.value, 0, deviation);
    init::normal(conv_vs.weight.value, 0, deviation);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    const Value<Scalar> pooled = run(pool_, x);
    Value<Scalar> queries = run(conv_qs, x), keys = run(conv_qs, pooled), values = run(conv_vs, pooled);
    Value<Scalar> y = run(attend_, std::move(queries), std::move(keys), std::move(values));
    return run(add_, run(norm_layer, run(conv, std::move(y))), std::move(x));
  }
  Members<Scalar> members() override {
    return {{"", pool_},   {"conv_qs", conv_qs}, {"conv_vs", conv_vs},
            {"", attend_}, {"conv", conv},       {"norm_layer", norm_layer},
            {"", add_}};
  }
  Fields fields() const override { return Fields("CoOccurrence").argument("channels", channels_); }

 private:
  AvgPool2d<Scalar> pool_{3, {.stride = 2, .padding = 1, .count_include_pad = false}};
  CrossAttention<Scalar> attend_;
  Add<Scalar> add_;
  Index channels_;
};

}  // namespace lamina::inline LAMINA_ABI
