#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lamina/kernels/gemm.hpp"
#include "lamina/kernels/softmax.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Multi-head attention of one query for each sequence: with q, k and v cut into `heads` parts of size d,
///
///   y[n] = [head_1, ..., head_h],   head_i = softmax(q_i[n] k_i[n]ᵀ / sqrt(d)) v_i[n]
///
/// Takes queries [N, features], keys and values [N, L, features] and gives y [N, features]. Throws ValueError when
/// heads does not divide features, ShapeError for other shapes.
template <class Scalar = float>
class QueryAttention : public JointLayer<QueryAttention<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  QueryAttention(Index features, Index heads) : features_(features), heads_(heads) {
    require(heads >= 1 && features % heads == 0, *this, ": ", heads, " heads do not divide ", features, " features");
  }

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes queries, keys and values, got ", x.size(), " values");
    const Shape &q = x[0].shape(), &k = x[1].shape(), &v = x[2].shape();
    const bool fits =
        q.rank() == 2 && k.rank() == 3 && q[1] == features_ && k[2] == features_ && k[0] == q[0] && k[1] >= 1 && k == v;
    require<ShapeError>(fits, *this, ": expected queries [N, ", features_, "], keys and values [N, L, ", features_,
                        "], got shapes ", q, ", ", k, " and ", v);
    return q;
  }
  Fields fields() const override {
    return Fields("QueryAttention").argument("features", features_).argument("heads", heads_);
  }
  Index multiply_adds_of(const Values<Scalar>& x) const override { return 2 * x[1].shape().numel(); }

  /// What it was made with.
  Index heads() const { return heads_; }

 private:
  /// The head of one query, its keys and values, with memory for the probabilities.
  struct Head {
    Index begin, length, sequence, size;
    Scalar scale;
  };
  /// f(head, its probabilities, memory of their size) for all heads of all queries.
  template <class F>
  void each(const Tensor<Scalar>& queries, const Tensor<Scalar>& keys, F f) const {
    const Index length = keys.dim(1), size = features_ / heads_;
    parallel_for(
        0, queries.dim(0) * heads_, std::max<Index>(1, (1 << 14) / (length * size)), [&](Index first, Index last) {
          Tensor<Scalar> scratch({2, length});
          Scalar* const p = scratch.data();
          for (Index task = first; task < last; ++task) {
            const Index column = task % heads_ * size, n = task / heads_;
            const Head head{n * features_ + column, length, n * length * features_ + column, size,
                            Scalar(1) / std::sqrt(static_cast<Scalar>(size))};
            for (Index l = 0; l < length; ++l)
              p[l] = head.scale * dot(queries.data() + head.begin, keys.data() + head.sequence + l * features_, size);
            kernels::softmax<false>(1, length, 1, p, p);
            f(head, p, p + length);
          }
        });
  }
  static Scalar dot(const Scalar* a, const Scalar* b, Index n) {
    Scalar sum(0);
    for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Tensor<Scalar>&queries = std::as_const(x)[0].tensor, &keys = std::as_const(x)[1].tensor,
          &values = std::as_const(x)[2].tensor;
    Tensor<Scalar> y = Tensor<Scalar>::zeros(output_shapes(x)[0]);
    Scalar* const out = y.data();
    each(queries, keys, [&](const Head& head, const Scalar* p, Scalar*) {
      for (Index l = 0; l < head.length; ++l)
        for (Index i = 0; i < head.size; ++i)
          out[head.begin + i] += p[l] * values.data()[head.sequence + l * features_ + i];
    });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor, x[2].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [queries, keys, values] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>, Tensor<Scalar>>();
    Tensor<Scalar> dq = Tensor<Scalar>::zeros(queries.shape()), dk(keys.shape()), dv(values.shape());
    Scalar *const to_q = dq.data(), *const to_k = dk.data(), *const to_v = dv.data();
    const Scalar *const gradient = std::as_const(dy).data(), *const q = queries.data(), *const k = keys.data(),
                        *const v = values.data();
    each(queries, keys, [&](const Head& head, const Scalar* p, Scalar* dp) {
      for (Index l = 0; l < head.length; ++l) {
        const Index row = head.sequence + l * features_;
        dp[l] = dot(gradient + head.begin, v + row, head.size);
        for (Index i = 0; i < head.size; ++i) to_v[row + i] = p[l] * gradient[head.begin + i];
      }
      kernels::softmax_backward<false>(1, head.length, 1, p, dp, dp);
      for (Index l = 0; l < head.length; ++l) {
        const Index row = head.sequence + l * features_;
        const Scalar factor = dp[l] * head.scale;
        for (Index i = 0; i < head.size; ++i) {
          to_q[head.begin + i] += factor * k[row + i];
          to_k[row + i] = factor * q[head.begin + i];
        }
      }
    });
    return {std::move(dq), std::move(dk), std::move(dv)};
  }

  Index features_, heads_;
};

}  // namespace lamina::inline LAMINA_ABI
