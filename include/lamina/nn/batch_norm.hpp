#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina {

struct BatchNormOptions {
  double eps = 1e-5;                     ///< added to the variance
  std::optional<double> momentum = 0.1;  ///< share of a new batch in the running statistics; none: cumulative average
  bool affine = true;                    ///< learn weight and bias
  bool track_running_stats = true;       ///< keep running statistics for infer; otherwise it uses the batch's, too
};

namespace detail {

/// What BatchNorm1d and BatchNorm2d share: everything but the accepted ranks and the name.
template <class Derived, class Scalar>
class BatchNorm : public Layer<Derived, Scalar> {
 public:
  Parameter<Scalar> weight;                  ///< [C], starts as ones; empty with {.affine = false}
  Parameter<Scalar> bias;                    ///< [C], starts as zeros; likewise
  Tensor<Scalar> running_mean, running_var;  ///< [C], start as zeros and ones; empty without track_running_stats
  Tensor<std::int64_t> num_batches_tracked;  ///< rank 0; likewise

  Members<Scalar> members() override {
    Members<Scalar> result;
    if (options_.affine) result = {{"weight", &weight}, {"bias", &bias}};
    if (options_.track_running_stats) {
      result.push_back({"running_mean", &running_mean});
      result.push_back({"running_var", &running_var});
      result.push_back({"num_batches_tracked", &num_batches_tracked});
    }
    return result;
  }

  std::string name() const override {
    const BatchNormOptions defaults;
    std::string out = text(Derived::kind, "(", channels_);
    if (options_.eps != defaults.eps) out += text(", eps=", options_.eps);
    if (!options_.momentum)
      out += ", momentum=none";
    else if (options_.momentum != defaults.momentum)
      out += text(", momentum=", *options_.momentum);
    if (!options_.affine) out += ", affine=false";
    if (!options_.track_running_stats) out += ", track_running_stats=false";
    return out + ")";
  }

  Index multiply_adds(const Shape&) const override { return 0; }

  // The pieces of forward and backward, for a module that computes them together with something else (DenseBlock).

  /// Moves the running statistics towards a batch's means and biased variances, of `count` values to a channel.
  void track(const double* mean, const double* variance, Index count) {
    if (!options_.track_running_stats) return;
    const std::int64_t batches = ++*num_batches_tracked.data();
    const double share = options_.momentum.value_or(1.0 / static_cast<double>(batches));
    const double unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
    Scalar* const means = running_mean.data();
    Scalar* const variances = running_var.data();
    for (Index c = 0; c < channels_; ++c) {
      means[c] = static_cast<Scalar>((1 - share) * static_cast<double>(means[c]) + share * mean[c]);
      variances[c] =
          static_cast<Scalar>((1 - share) * static_cast<double>(variances[c]) + share * unbiased * variance[c]);
    }
  }

  /// [4, C]: for every channel the mean, the scale and the shift of y = (x - mean) * scale + shift, and
  /// 1 / sqrt(variance + eps).
  template <class M>
  Tensor<Scalar> coefficients(const M* mean, const M* variance) const {
    Tensor<Scalar> result({4, channels_});
    Scalar* const out = result.data();
    for (Index c = 0; c < channels_; ++c) {
      const double inverse = 1 / std::sqrt(static_cast<double>(variance[c]) + options_.eps);
      const double factor = options_.affine ? static_cast<double>(weight.value.data()[c]) : 1;
      out[c] = static_cast<Scalar>(mean[c]);
      out[channels_ + c] = static_cast<Scalar>(factor * inverse);
      out[2 * channels_ + c] = options_.affine ? bias.value.data()[c] : Scalar(0);
      out[3 * channels_ + c] = static_cast<Scalar>(inverse);
    }
    return result;
  }

  /// Given coefficients and for every channel the sums of dy and of dy (x - mean), adds to the gradients of weight and
  /// bias; returns [2, C], slope and offset of dx = dy * scale - (x - mean) * slope - offset.
  Tensor<Scalar> backward_terms(const Tensor<Scalar>& coefficients, const double* dy_sum, const double* product_sum,
                                Index count) {
    const Scalar* const scale = coefficients.data() + channels_;
    const Scalar* const inverse = scale + 2 * channels_;
    Scalar* const weight_grad = options_.affine && weight.requires_grad ? weight.gradient().data() : nullptr;
    Scalar* const bias_grad = options_.affine && bias.requires_grad ? bias.gradient().data() : nullptr;
    Tensor<Scalar> terms({2, channels_});
    Scalar* const slope = terms.data();
    Scalar* const offset = slope + channels_;
    for (Index c = 0; c < channels_; ++c) {
      const double invd = static_cast<double>(inverse[c]), factor = static_cast<double>(scale[c]);
      if (weight_grad) weight_grad[c] += static_cast<Scalar>(product_sum[c] * invd);
      if (bias_grad) bias_grad[c] += static_cast<Scalar>(dy_sum[c]);
      slope[c] = static_cast<Scalar>(factor * invd * invd * product_sum[c] / static_cast<double>(count));
      offset[c] = static_cast<Scalar>(factor * dy_sum[c] / static_cast<double>(count));
    }
    return terms;
  }

 protected:
  BatchNorm(Index num_features, const BatchNormOptions& options) : channels_(num_features), options_(options) {
    require(channels_ >= 1, name(), ": num_features must be at least 1, got ", channels_);
    require(options_.eps >= 0, name(), ": eps must not be negative, got ", options_.eps);
    const double momentum = options_.momentum.value_or(0);
    require(momentum >= 0 && momentum <= 1, name(), ": momentum must be in [0, 1], got ", momentum);
    if (options_.affine) {
      weight = Tensor<Scalar>::ones({channels_});
      bias = Tensor<Scalar>::zeros({channels_});
    }
    if (options_.track_running_stats) {
      running_mean = Tensor<Scalar>::zeros({channels_});
      running_var = Tensor<Scalar>::ones({channels_});
      num_batches_tracked = Tensor<std::int64_t>::zeros(Shape{});
    }
  }

  Shape checked(const Shape& input, bool rank_fits, const char* expected) const {
    require<ShapeError>(rank_fits, name(), ": expected an input ", expected, ", got shape ", input);
    require<ShapeError>(input[1] == channels_, name(), ": expected ", channels_, " channels, got shape ", input);
    return input;
  }

 private:
  /// Per channel, in double: means and biased variances.
  struct Moments {
    std::vector<double> mean, variance;
  };

  kernels::ChannelShape sizes(const Shape& shape) const { return {shape[0], shape[1], shape.product(2, shape.rank())}; }

  Moments batch_moments(const Tensor<Scalar>& x) const {
    const kernels::ChannelShape s = sizes(x.shape());
    require<ShapeError>(s.count() > 1, name(), ": expected more than 1 value per channel when training, got shape ",
                        x.shape());
    const auto n = static_cast<std::size_t>(channels_);
    Moments moments{std::vector<double>(n), std::vector<double>(n)};
    kernels::channel_moments(s, x.data(), moments.mean.data(), moments.variance.data());
    return moments;
  }

  Tensor<Scalar> coefficients_of(const Moments& moments) const {
    return coefficients(moments.mean.data(), moments.variance.data());
  }

  void normalize(const Tensor<Scalar>& coefficients, const Shape& shape, const Scalar* x, Scalar* y) const {
    const Scalar* const mean = coefficients.data();
    kernels::normalize_channels(sizes(shape), x, mean, mean + channels_, mean + 2 * channels_, y);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    this->output_shape(x.shape());
    const Tensor<Scalar> c = options_.track_running_stats ? coefficients(running_mean.data(), running_var.data())
                                                          : coefficients_of(batch_moments(x));
    if (x.empty()) return x;
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    normalize(c, y.shape(), in, y.data());
    return y;
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y(this->output_shape(x.shape()));
    const Moments moments = batch_moments(x);
    track(moments.mean.data(), moments.variance.data(), sizes(x.shape()).count());
    Tensor<Scalar> c = coefficients_of(moments);
    normalize(c, x.shape(), std::as_const(x).data(), y.data());
    tape.push(std::move(x), std::move(c));
    return y;
  }

  /// With g = dy, m values to a channel and n(x) = (x - mean) / deviation:
  ///   d bias = sum g, d weight = sum g n(x), dx = weight / deviation * (g - (d bias + n(x) * d weight) / m).
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x, saved] = tape.pop<Tensor<Scalar>, Tensor<Scalar>>();
    const bool learns = options_.affine && (weight.requires_grad || bias.requires_grad);
    if (input_grad == InputGrad::skip && !learns) return {};
    const kernels::ChannelShape s = sizes(x.shape());
    const Scalar* const mean = saved.data();
    const auto n = static_cast<std::size_t>(channels_);
    std::vector<double> dy_sum(n), product_sum(n);
    kernels::channel_gradient_sums(s, x.data(), std::as_const(dy).data(), mean, dy_sum.data(), product_sum.data());
    const Tensor<Scalar> terms = backward_terms(saved, dy_sum.data(), product_sum.data(), s.count());
    if (input_grad == InputGrad::skip) return {};
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(x.shape());
    kernels::normalize_channels_backward(s, x.data(), gradient, mean, mean + channels_, terms.data(),
                                         terms.data() + channels_, dx.data());
    return dx;
  }

  Index channels_;
  BatchNormOptions options_;
};

}  // namespace detail

/// Batch normalisation of images (Ioffe and Szegedy 2015):
///
///   y = (x - mean) / sqrt(variance + eps) * weight + bias, for each channel
///
/// forward takes mean and (biased) variance over N, H and W of the batch and moves the running statistics towards
/// them: running = (1 - momentum) * running + momentum * batch, the variance there unbiased; without a momentum they
/// are the average over all batches. infer takes the running statistics, or the batch's without track_running_stats.
/// Shapes: x and y [N, C, H, W]. Throws ValueError for C below 1, a negative eps or a momentum outside [0, 1];
/// ShapeError for another rank or number of channels, or when the batch has only one value for a channel.
template <class Scalar = float>
class BatchNorm2d : public detail::BatchNorm<BatchNorm2d<Scalar>, Scalar> {
 public:
  static constexpr const char* kind = "BatchNorm2d";
  explicit BatchNorm2d(Index num_features, const BatchNormOptions& options = {})
      : detail::BatchNorm<BatchNorm2d, Scalar>(num_features, options) {}

  Shape output_shape(const Shape& input) const override {
    return this->checked(input, input.rank() == 4, "[N, C, H, W]");
  }
};

/// Batch normalisation of features [N, C] or sequences [N, C, L]: as BatchNorm2d, over N and L.
template <class Scalar = float>
class BatchNorm1d : public detail::BatchNorm<BatchNorm1d<Scalar>, Scalar> {
 public:
  static constexpr const char* kind = "BatchNorm1d";
  explicit BatchNorm1d(Index num_features, const BatchNormOptions& options = {})
      : detail::BatchNorm<BatchNorm1d, Scalar>(num_features, options) {}

  Shape output_shape(const Shape& input) const override {
    return this->checked(input, input.rank() == 2 || input.rank() == 3, "[N, C] or [N, C, L]");
  }
};

}  // namespace lamina
