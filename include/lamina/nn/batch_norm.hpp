#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"

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

  const BatchNormOptions& options() const { return options_; }

  bool applies(Activation activation) const override { return activation != Activation::none; }
  /// With running statistics; those of a batch are of all of it.
  Locality locality() const override { return options_.track_running_stats ? Locality::element : Locality::image; }

  // The pieces of forward and backward, for a module that computes them together with something else (DenseBlock).

  /// (c, mean, biased variance): moves channel c's running statistics towards those of a batch of `count` values to a
  /// channel. For every channel once; or not, if it does not count.
  auto tracking(Index count, bool counts = true) {
    Scalar *means = nullptr, *variances = nullptr;
    double share = 0;
    if (options_.track_running_stats && counts) {
      means = running_mean.data();
      variances = running_var.data();
      std::int64_t& batches = *num_batches_tracked.data();
      detail::count_up(batches);
      share = options_.momentum.value_or(1.0 / static_cast<double>(batches));
    }
    return [=, n = static_cast<double>(count)](Index c, double mean, double variance) {
      if (!means) return;
      const auto move = [share](Scalar& to, double value) {
        to = static_cast<Scalar>((1 - share) * static_cast<double>(to) + share * value);
      };
      move(means[c], mean);
      move(variances[c], variance * (n / (n - 1)));
    };
  }

  /// [4, C]: for every channel the mean, the scale and the shift of y = (x - mean) * scale + shift, and
  /// 1 / sqrt(variance + eps).
  template <class M>
  Tensor<Scalar> coefficients(const M* mean, const M* variance) const {
    Tensor<Scalar> result({4, channels_});
    for (Index c = 0; c < channels_; ++c) set(result.data(), c, mean[c], variance[c]);
    return result;
  }

  /// Whether forward normalises by the running statistics, as infer does, and leaves them alone.
  bool stands_still() const { return this->frozen() && options_.track_running_stats; }
  /// The coefficients of the running statistics.
  Tensor<Scalar> running_coefficients() const { return coefficients(running_mean.data(), running_var.data()); }

  /// (c, sum of dy, sum of dy (x - mean)): adds to channel c's gradients of weight and bias, and writes slope and
  /// offset of dx = dy * scale - (x - mean) * slope - offset to terms [2, C]; `count` values to a channel, from which
  /// mean and deviation came. 0: they came from elsewhere and do not depend on x, slope and offset are 0.
  auto gradient_terms(const Tensor<Scalar>& coefficients, Index count, Scalar* terms) {
    const Scalar* const scale = coefficients.data() + channels_;
    const Scalar* const inverse = scale + 2 * channels_;
    Scalar* const weight_grad = options_.affine && weight.requires_grad ? weight.gradient().data() : nullptr;
    Scalar* const bias_grad = options_.affine && bias.requires_grad ? bias.gradient().data() : nullptr;
    const double share = count > 0 ? 1 / static_cast<double>(count) : 0;
    return [=, offset = terms + channels_](Index c, double dy_sum, double product_sum) {
      const double invd = static_cast<double>(inverse[c]), factor = static_cast<double>(scale[c]);
      if (weight_grad) weight_grad[c] += static_cast<Scalar>(product_sum * invd);
      if (bias_grad) bias_grad[c] += static_cast<Scalar>(dy_sum);
      terms[c] = static_cast<Scalar>(factor * invd * invd * product_sum * share);
      offset[c] = static_cast<Scalar>(factor * dy_sum * share);
    };
  }

 protected:
  BatchNorm(Index num_features, const BatchNormOptions& options) : channels_(num_features), options_(options) {
    require(channels_ >= 1, *this, ": num_features must be at least 1, got ", channels_);
    require(options_.eps >= 0, *this, ": eps must not be negative, got ", options_.eps);
    const double momentum = options_.momentum.value_or(0);
    require(momentum >= 0 && momentum <= 1, *this, ": momentum must be in [0, 1], got ", momentum);
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
    require<ShapeError>(rank_fits, *this, ": expected an input ", expected, ", got shape ", input);
    require<ShapeError>(input[1] == channels_, *this, ": expected ", channels_, " channels, got shape ", input);
    return input;
  }

 private:
  /// What it can apply to its own result.
  using Applied = std::variant<kernels::NoActivation, ReLU<Scalar>, ReLU6<Scalar>>;

  static Applied applied(Activation activation) {
    if (activation == Activation::relu) return ReLU<Scalar>();
    if (activation == Activation::relu6) return ReLU6<Scalar>();
    return kernels::NoActivation();
  }

  kernels::ChannelShape sizes(const Shape& shape) const { return {shape[0], shape[1], shape.product(2, shape.rank())}; }

  /// The map of coefficients [4, C]: for every channel the mean, the scale and the shift of y = (x - mean) * scale +
  /// shift, and 1 / sqrt(variance + eps).
  template <class A>
  kernels::ChannelMap<Scalar, A> map(const Tensor<Scalar>& coefficients, const A& activation) const {
    const Scalar* const mean = coefficients.data();
    return {mean, mean + channels_, mean + 2 * channels_, activation};
  }
  /// Writes those of channel c.
  template <class M>
  void set(Scalar* coefficients, Index c, M mean, M variance) const {
    const double inverse = 1 / std::sqrt(static_cast<double>(variance) + options_.eps);
    const double factor = options_.affine ? static_cast<double>(weight.value.data()[c]) : 1;
    coefficients[c] = static_cast<Scalar>(mean);
    coefficients[channels_ + c] = static_cast<Scalar>(factor * inverse);
    coefficients[2 * channels_ + c] = options_.affine ? bias.value.data()[c] : Scalar(0);
    coefficients[3 * channels_ + c] = static_cast<Scalar>(inverse);
  }

  /// y = the batch normalised by its own moments, activated; calls moments(c, mean, variance) for every channel.
  /// Returns the coefficients.
  template <class F>
  Tensor<Scalar> normalize_batch(const Tensor<Scalar>& x, const Applied& activation, F moments, Scalar* y) const {
    const kernels::ChannelShape s = sizes(x.shape());
    Tensor<Scalar> result({4, channels_});
    const auto write = [&, out = result.data()](Index c, double mean, double variance) {
      set(out, c, mean, variance);
      moments(c, mean, variance);
    };
    std::visit([&](const auto& f) { kernels::batch_norm(s, x.data(), map(result, f), write, y); }, activation);
    return result;
  }

  void check_batch(const Shape& shape) const {
    require<ShapeError>(sizes(shape).count() > 1, *this,
                        ": expected more than 1 value per channel when training, got shape ", shape);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return do_infer_with(std::move(x), Activation::none); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    return do_forward_with(std::move(x), tape, Activation::none);
  }

  Tensor<Scalar> do_infer_with(Tensor<Scalar> x, Activation next) const override {
    this->output_shape(x.shape());
    const Applied activation = applied(next);
    if (!options_.track_running_stats) {
      check_batch(x.shape());
      const Tensor<Scalar> in = x;
      Tensor<Scalar> y(x.shape());
      normalize_batch(
          in, activation, [](Index, double, double) {}, y.data());
      return y;
    }
    if (x.empty()) return x;
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    normalize_running(in, activation, y);
    return y;
  }

  /// y = x, of y's shape, normalised by the running statistics, activated. Returns the coefficients.
  Tensor<Scalar> normalize_running(const Scalar* x, const Applied& activation, Tensor<Scalar>& y) const {
    Tensor<Scalar> running = running_coefficients();
    std::visit([&](const auto& f) { kernels::normalize_channels(sizes(y.shape()), x, map(running, f), y.data()); },
               activation);
    return running;
  }

  Tensor<Scalar> do_forward_with(Tensor<Scalar> x, Tape& tape, Activation next) override {
    Tensor<Scalar> y(this->output_shape(x.shape()));
    const bool still = stands_still();
    if (!still) check_batch(x.shape());
    const Applied activation = applied(next);
    Tensor<Scalar> coefficients =
        still ? normalize_running(std::as_const(x).data(), activation, y)
              : normalize_batch(x, activation, tracking(sizes(x.shape()).count(), !tape.replays()), y.data());
    tape.push(std::move(x), std::move(coefficients), activation, still);
    return y;
  }

  /// With g = dy (times the activation's derivative), m values to a channel and n(x) = (x - mean) / deviation:
  ///   d bias = sum g, d weight = sum g n(x), dx = weight / deviation * (g - (d bias + n(x) * d weight) / m),
  /// or with statistics that stand still dx = weight / deviation * g.
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    auto [x, coefficients, activation, still] = tape.pop<Tensor<Scalar>, Tensor<Scalar>, Applied, bool>();
    if (x.empty()) return dy;
    const kernels::ChannelShape s = sizes(x.shape());
    const bool learns = options_.affine && (weight.requires_grad || bias.requires_grad);
    if (input_grad == InputGrad::skip && !learns) return {};
    Tensor<Scalar> terms({2, channels_});
    const auto sums = gradient_terms(coefficients, still ? 0 : s.count(), terms.data());
    const Scalar* const in = std::as_const(x).data();
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx;
    if (input_grad == InputGrad::compute)
      dx = dy.exclusive() ? std::move(dy) : x.exclusive() ? std::move(x) : Tensor<Scalar>(dy.shape());
    std::visit(
        [&, &map_of = coefficients, slope = std::as_const(terms).data()](const auto& f) {
          kernels::batch_norm_backward(s, in, gradient, map(map_of, f), sums, slope, slope + channels_, dx.data());
        },
        activation);
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
