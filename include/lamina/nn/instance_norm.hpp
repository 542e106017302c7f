#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

#include "lamina/nn/group_norm.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of InstanceNorm2d.
struct InstanceNormOptions {
  double eps = 1e-5;                 ///< added to the variance
  double momentum = 0.1;             ///< share of a new batch in the running statistics
  bool affine = false;               ///< learn weight and bias
  bool track_running_stats = false;  ///< keep running statistics for infer; otherwise it uses the image's, too
};

/// Instance normalisation of images (Ulyanov, Vedaldi and Lempitsky 2016):
///
///   y = (x - mean) / sqrt(variance + eps) * weight + bias, for each channel of each image
///
/// with mean and (biased) variance over H and W. With running statistics forward moves them towards the mean over the
/// images, running = (1 - momentum) * running + momentum * batch, the variances there unbiased, and infer, like a
/// frozen layer, normalises by them. Shapes: x and y [N, C, H, W]. Throws ValueError for C below 1, a negative eps or a
/// momentum outside [0, 1]; ShapeError for another input, or where one pixel is to be normalised by itself.
template <class Scalar = float>
class InstanceNorm2d : public detail::GroupwiseNorm<InstanceNorm2d<Scalar>, Scalar> {
 public:
  Tensor<Scalar> running_mean;               ///< [C], starts as zeros; empty without track_running_stats
  Tensor<Scalar> running_var;                ///< [C], starts as ones; likewise
  Tensor<std::int64_t> num_batches_tracked;  ///< rank 0; likewise. It stays 0, as in PyTorch

  /// Shapes, defaults and errors are said at the class.
  explicit InstanceNorm2d(Index num_features, const InstanceNormOptions& options = {})
      : channels_(num_features), options_(options) {
    require(channels_ >= 1, *this, ": num_features must be at least 1, got ", channels_);
    require(options_.eps >= 0, *this, ": eps must not be negative, got ", options_.eps);
    require(options_.momentum >= 0 && options_.momentum <= 1, *this, ": momentum must be in [0, 1], got ",
            options_.momentum);
    this->set(channels_, channels_, options_.eps, options_.affine);
    if (!options_.track_running_stats) return;
    running_mean = Tensor<Scalar>::zeros({channels_});
    running_var = Tensor<Scalar>::ones({channels_});
    num_batches_tracked = Tensor<std::int64_t>::zeros(Shape{});
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[1] == channels_, *this, ": expected [N, ", channels_,
                        ", H, W], got shape ", input);
    return input;
  }
  Members<Scalar> members() override {
    Members<Scalar> result;
    if (options_.affine) result = {{"weight", &this->weight}, {"bias", &this->bias}};
    if (options_.track_running_stats) {
      result.push_back({"running_mean", &running_mean});
      result.push_back({"running_var", &running_var});
      result.push_back({"num_batches_tracked", &num_batches_tracked});
    }
    return result;
  }
  Fields fields() const override {
    const InstanceNormOptions usual;
    return Fields("InstanceNorm2d")
        .argument("num_features", channels_)
        .option("eps", options_.eps, usual.eps)
        .option("momentum", options_.momentum, usual.momentum)
        .option("affine", options_.affine, usual.affine)
        .option("track_running_stats", options_.track_running_stats, usual.track_running_stats);
  }
  /// With running statistics; those of an image are of all of it.
  Locality locality() const override { return options_.track_running_stats ? Locality::element : Locality::image; }

  /// What it was made with.
  /// @{
  Index num_features() const { return channels_; }
  const InstanceNormOptions& options() const { return options_; }
  /// @}

 private:
  void check_image(const Shape& shape) const {
    require<ShapeError>(shape[2] * shape[3] != 1, *this, ": expected more than 1 pixel, got shape ", shape);
  }

  /// y = x normalised by the running statistics.
  void normalize_running(const Shape& shape, const Scalar* x, Scalar* y) const {
    Tensor<Scalar> coefficients({3, channels_});
    Scalar *const mean = coefficients.data(), *const scale = mean + channels_, *const shift = scale + channels_;
    for (Index c = 0; c < channels_; ++c) {
      mean[c] = running_mean.data()[c];
      scale[c] = inverse_deviation(c) * (options_.affine ? this->weight.value.data()[c] : Scalar(1));
      shift[c] = options_.affine ? this->bias.value.data()[c] : Scalar(0);
    }
    const kernels::ChannelMap<Scalar> map{mean, scale, shift};
    const auto s = this->sizes(shape);
    if (s.count() > 0) kernels::normalize_channels(s, x, map, y, s.channels * s.length);
  }
  Scalar inverse_deviation(Index c) const {
    return static_cast<Scalar>(1 / std::sqrt(static_cast<double>(running_var.data()[c]) + options_.eps));
  }
  /// The running statistics as the moments of each of n images.
  Tensor<Scalar> running_moments(Index n) const {
    Tensor<Scalar> moments({2, n, channels_});
    for (Index i = 0; i < n * channels_; ++i) {
      moments.data()[i] = running_mean.data()[i % channels_];
      moments.data()[n * channels_ + i] = inverse_deviation(i % channels_);
    }
    return moments;
  }
  /// Moves the running statistics towards those of a batch, from its moments [2, N, C].
  void track(const Tensor<Scalar>& moments, Index pixels) {
    const Index n = moments.dim(1);
    if (n == 0) return;
    const double unbiased = static_cast<double>(pixels) / static_cast<double>(pixels - 1);
    for (Index c = 0; c < channels_; ++c) {
      double mean = 0, variance = 0;
      for (Index i = 0; i < n; ++i) {
        mean += static_cast<double>(moments(0, i, c));
        variance += 1 / std::pow(static_cast<double>(moments(1, i, c)), 2) - options_.eps;
      }
      const auto move = [&](Scalar& to, double value) {
        to = static_cast<Scalar>((1 - options_.momentum) * static_cast<double>(to) + options_.momentum * value);
      };
      move(running_mean.data()[c], mean / static_cast<double>(n));
      move(running_var.data()[c], variance / static_cast<double>(n) * unbiased);
    }
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = output_shape(x.shape());
    if (!options_.track_running_stats) check_image(shape);
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(shape);
    if (options_.track_running_stats)
      normalize_running(shape, in, y.data());
    else
      this->normalize(shape, in, y.data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Shape shape = output_shape(x.shape());
    const bool still = this->frozen() && options_.track_running_stats;
    if (!still) check_image(shape);
    Tensor<Scalar> y(shape), moments;
    if (still) {
      normalize_running(shape, std::as_const(x).data(), y.data());
      moments = running_moments(shape[0]);
    } else {
      this->normalize(shape, std::as_const(x).data(), y.data(), &moments);
      if (options_.track_running_stats && !tape.replays()) track(moments, shape[2] * shape[3]);
    }
    tape.push(std::move(x), std::move(moments), still);
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x, moments, still] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>, bool>();
    return this->backward_through(std::move(dy), x, moments, !still, input_grad);
  }

  Index channels_;
  InstanceNormOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
