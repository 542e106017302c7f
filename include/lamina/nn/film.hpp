#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "lamina/kernels/run.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/embedding.hpp"

namespace lamina::inline LAMINA_ABI {

/// Feature-wise linear modulation (Perez et al. 2018, equation 2): every channel of every sample has a factor and an
/// offset,
///
///   y[n, c, ...] = gamma[n, c] x[n, c, ...] + beta[n, c]
///
/// Takes x [N, C, ...], gamma [N, C] and beta [N, C], and gives y of x's shape. Throws ShapeError for other shapes.
template <class Scalar = float>
class FiLM : public JointLayer<FiLM<Scalar>, Scalar> {
 public:
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 3, *this, ": takes x, gamma and beta, got ", x.size(), " values");
    const Shape& shape = x[0].shape();
    require<ShapeError>(shape.rank() >= 2, *this, ": expected an input [N, C, ...], got shape ", shape);
    for (std::size_t i = 1; i < 3; ++i)
      require<ShapeError>(x[i].shape() == Shape{shape[0], shape[1]}, *this, ": expected ", i == 1 ? "gamma" : "beta",
                          " of shape ", Shape{shape[0], shape[1]}, ", got shape ", x[i].shape());
    return shape;
  }

 private:
  /// f(channel of a sample, place of its first element, number of elements) for all.
  template <class F>
  static void each(const Shape& shape, F f) {
    const Index rows = shape[0] * shape[1], size = shape.product(2, shape.rank());
    parallel_for(0, rows, std::max<Index>(1, (1 << 15) / std::max<Index>(size, 1)), [&](Index first, Index last) {
      for (Index row = first; row < last; ++row) f(row, row * size, size);
    });
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    output_shapes(x);
    const Tensor<Scalar> gamma = std::move(x[1].tensor), beta = std::move(x[2].tensor);
    Tensor<Scalar> in = std::move(x[0].tensor);
    const Scalar* const from = std::as_const(in).data();
    Tensor<Scalar> y = in.exclusive() ? std::move(in) : Tensor<Scalar>(in.shape());
    Scalar* const to = y.data();
    each(y.shape(), [&](Index row, Index at, Index size) {
      using Pack = simd::Pack<Scalar>;
      const Pack factor(gamma.data()[row]), offset(beta.data()[row]);
      if (size > 0) kernels::map_run(size, to + at, [&](auto load) { return factor * load(from + at) + offset; });
    });
    x[0].tensor = std::move(y);
    return std::move(x[0]);
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].tensor, x[1].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [x, gamma] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    Tensor<Scalar> dgamma(gamma.shape()), dbeta(gamma.shape()), dx(x.shape());
    const Scalar *const in = x.data(), *const gradient = std::as_const(dy).data(), *const gammas = gamma.data();
    Scalar *const factors = dgamma.data(), *const offsets = dbeta.data(), *const to = dx.data();
    each(x.shape(), [&](Index row, Index at, Index size) {
      using Pack = simd::Pack<Scalar>;
      const auto sums = kernels::sum_run<2, Scalar>(size, [&](auto load) {
        const Pack g = load(gradient + at);
        return std::array<Pack, 2>{g * load(in + at), g};
      });
      factors[row] = sum(sums[0]);
      offsets[row] = sum(sums[1]);
      const Pack factor(gammas[row]);
      if (size > 0) kernels::map_run(size, to + at, [&](auto load) { return factor * load(gradient + at); });
    });
    return {std::move(dx), std::move(dgamma), std::move(dbeta)};
  }
};

/// Batch normalisation with a factor and an offset for each class (Dumoulin et al. 2017; de Vries et al. 2017):
///
///   y[n, c] = gamma[label[n], c] (x[n, c] - mean[c]) / sqrt(variance[c] + eps) + beta[label[n], c]
///
/// with mean and variance as BatchNorm2d has them, running statistics for infer included. Takes x [N, C, H, W] and
/// labels [N], and gives y of x's shape. gamma [classes, C] starts as ones, beta as zeros. Keys "norm.running_mean",
/// ..., "gamma.weight", "beta.weight". Errors are those of BatchNorm2d, Embedding and FiLM.
template <class Scalar = float>
class ConditionalBatchNorm2d : public Block<ConditionalBatchNorm2d<Scalar>, Scalar> {
 public:
  BatchNorm2d<Scalar> norm;  ///< without weight and bias
  Embedding<Scalar> gamma;   ///< the factors, [classes, C]
  Embedding<Scalar> beta;    ///< the offsets, [classes, C]

  /// For so many channels and classes; options as BatchNorm2d's.
  ConditionalBatchNorm2d(Index num_features, Index classes, BatchNormOptions options = {})
      : norm(num_features, without_affine(options)), gamma(classes, num_features), beta(classes, num_features) {
    gamma.weight.value.fill(1);
    beta.weight.value.fill(0);
  }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x, Value<Scalar> labels) const {
    Value<Scalar> factors = run(gamma, labels), offsets = run(beta, std::move(labels));
    return run(film_, run(norm, std::move(x)), std::move(factors), std::move(offsets));
  }
  Members<Scalar> members() override { return {{"norm", norm}, {"gamma", gamma}, {"beta", beta}}; }

 private:
  static BatchNormOptions without_affine(BatchNormOptions options) {
    options.affine = false;
    return options;
  }
  FiLM<Scalar> film_;
};

}  // namespace lamina::inline LAMINA_ABI
