#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/blocks.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of BatchNorm1d and BatchNorm2d.
struct BatchNormOptions {
  double eps = 1e-5;                     ///< added to the variance
  std::optional<double> momentum = 0.1;  ///< share of a new batch in the running statistics; none: cumulative average
  bool affine = true;                    ///< learn weight and bias
  bool track_running_stats = true;       ///< keep running statistics for infer; otherwise it uses the batch's, too
};

/// Adds up numbers over all processes that train one model, in place: each gets the sums, with the same bits. All must
/// call it, in the same order.
using SumOverRanks = std::function<void(std::span<double>)>;

namespace detail {

/// What BatchNorm1d and BatchNorm2d share: everything but the accepted ranks and the name.
template <class Derived, class Scalar>
class BatchNorm : public Cloned<Derived, Scalar, Primitive<Scalar>> {
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

  Fields fields() const override {
    const BatchNormOptions usual;
    return Fields(Derived::kind)
        .argument("num_features", channels_)
        .option("eps", options_.eps, usual.eps)
        .option("momentum", options_.momentum, usual.momentum)
        .option("affine", options_.affine, true)
        .option("track_running_stats", options_.track_running_stats, true);
  }

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 1, *this, ": takes one value, got ", x.size());
    return this->output_shape(x[0].shape());
  }

  const BatchNormOptions& options() const { return options_; }

  /// In training, takes the statistics over the batches of all ranks (see Shard): forward and backward are then those
  /// of one process with all of their samples, but that each rank's d weight and d bias are its own part of the sum. A
  /// rank may have no sample. All ranks must run the same layers in the same order, and with the same running
  /// statistics. Null: of its own batch alone, as at first.
  void synchronize(std::shared_ptr<const SumOverRanks> sum) { sum_ = std::move(sum); }
  /// What was set.
  const std::shared_ptr<const SumOverRanks>& synchronized() const { return sum_; }

  bool applies(Activation activation) const override { return activation != Activation::none; }
  Joins joins() const override { return Joins::inputs; }
  /// Of images, whose parts fill their blocks.
  Blocks blocks(const Values<Scalar>& x) const override {
    if (x.size() != 1 || x[0].shape().rank() != 4) return Blocks::no;
    if (const Values<Scalar>* parts = x[0].parts(); parts && !fill_blocks(*parts)) return Blocks::no;
    return Blocks::keeps;
  }
  /// With running statistics; those of a batch are of all of it.
  Locality locality() const override { return options_.track_running_stats ? Locality::element : Locality::image; }

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
  static kernels::Clamp clamp_of(Activation activation) {
    return activation == Activation::relu    ? kernels::Clamp::relu
           : activation == Activation::relu6 ? kernels::Clamp::relu6
                                             : kernels::Clamp::none;
  }

  /// Of a tensor of inputs.
  kernels::ChannelShape sizes(const Shape& shape) const {
    if (shape.rank() == 5) return {shape[0], channels_, shape[2] * shape[3], true};
    return {shape[0], shape[1], shape.product(2, shape.rank())};
  }

  /// (c, mean, biased variance): moves channel c's running statistics towards those of a batch of `count` values to a
  /// channel. For every channel once; or not, if it does not count.
  auto tracking(Index count, bool counts = true) {
    Scalar *means = nullptr, *variances = nullptr;
    double share = 0;
    if (options_.track_running_stats && counts) {
      means = running_mean.data();
      variances = running_var.data();
      std::int64_t& batches = *num_batches_tracked.data();
      count_up(batches);
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

  /// Whether forward normalises by the running statistics, as infer does, and leaves them alone.
  bool stands_still() const { return this->frozen() && options_.track_running_stats; }
  /// (c, sum of dy, sum of dy (x - mean)): adds to channel c's gradients of weight and bias.
  auto parameter_gradients(const Tensor<Scalar>& coefficients) {
    const Scalar* const inverse = coefficients.data() + 3 * channels_;
    Scalar* const weight_grad = options_.affine && weight.requires_grad ? weight.gradient().data() : nullptr;
    Scalar* const bias_grad = options_.affine && bias.requires_grad ? bias.gradient().data() : nullptr;
    return [=](Index c, double dy_sum, double product_sum) {
      if (weight_grad) weight_grad[c] += static_cast<Scalar>(product_sum * static_cast<double>(inverse[c]));
      if (bias_grad) bias_grad[c] += static_cast<Scalar>(dy_sum);
    };
  }
  /// The same numbers: writes slope and offset of dx = dy * scale - (x - mean) * slope - offset to terms [2, C];
  /// `count` values to a channel, from which mean and deviation came. 0: they came from elsewhere and do not depend on
  /// x, slope and offset are 0.
  auto gradient_terms(const Tensor<Scalar>& coefficients, Index count, Scalar* terms) const {
    const Scalar* const scale = coefficients.data() + channels_;
    const Scalar* const inverse = scale + 2 * channels_;
    const double share = count > 0 ? 1 / static_cast<double>(count) : 0;
    return [=, offset = terms + channels_](Index c, double dy_sum, double product_sum) {
      const double invd = static_cast<double>(inverse[c]), factor = static_cast<double>(scale[c]);
      terms[c] = static_cast<Scalar>(factor * invd * invd * product_sum * share);
      offset[c] = static_cast<Scalar>(factor * dy_sum * share);
    };
  }

  /// The map of coefficients [4, C]: for every channel the mean, the scale and the shift of y = (x - mean) * scale +
  /// shift, and 1 / sqrt(variance + eps).
  kernels::ChannelMap<Scalar> map(const Tensor<Scalar>& coefficients, kernels::Clamp clamp) const {
    const Scalar* const mean = coefficients.data();
    return {mean, mean + channels_, mean + 2 * channels_, clamp};
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

  /// What is known of the moments of the input's parts, and where the rest is noted.
  using Known = Few<std::shared_ptr<std::vector<double>>>;
  static Known known_of(const Value<Scalar>& x) {
    if (!x.parts()) return x.moments();
    Known known;
    for (std::size_t i = 0; i < x.parts()->size(); ++i) known.push_back((*x.parts())[i].moments());
    return known;
  }
  /// The input in the parts in which it comes.
  static Few<Tensor<Scalar>> parts_of(Value<Scalar> x) {
    if (const Values<Scalar>* parts = x.parts()) return tensors_of(*parts);
    return std::move(x.tensor);
  }
  /// y as what x has become.
  static Value<Scalar> result_of(Tensor<Scalar> y, std::shared_ptr<const Sequences> sequences) {
    Value<Scalar> result(std::move(y));
    result.sequences = std::move(sequences);
    return result;
  }
  kernels::ChannelParts<Scalar> channels_of(const Few<Tensor<Scalar>>& x) const {
    kernels::ChannelParts<Scalar> parts;
    for (std::size_t i = 0; i < x.size(); ++i)
      parts.push_back({x.size() == 1     ? channels_
                       : in_blocks(x[i]) ? x[i].dim(1) * x[i].dim(4)
                                         : x[i].dim(1),
                       x[i].data()});
    return parts;
  }
  kernels::ChannelParts<Scalar> channels_of(const Few<Tensor<Scalar>>& x, const Known& known) const {
    kernels::ChannelParts<Scalar> parts = channels_of(x);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!known[i]) continue;
      const auto size = static_cast<std::size_t>(2 * parts[i].channels);
      parts[i].known = known[i]->size() == size;
      known[i]->resize(size);
      parts[i].moments = known[i]->data();
    }
    return parts;
  }

  /// y = x normalised by its own moments, activated; calls moments(c, mean, variance) for every channel. Returns the
  /// coefficients.
  template <class F>
  Tensor<Scalar> normalize_batch(const kernels::ChannelParts<Scalar>& x, kernels::Clamp clamp, F moments,
                                 Tensor<Scalar>& y) const {
    Tensor<Scalar> result({4, channels_});
    const auto write = [&, out = result.data()](Index c, double mean, double variance) {
      set(out, c, mean, variance);
      moments(c, mean, variance);
    };
    kernels::batch_norm(sizes(y.shape()), x, map(result, clamp), write, y.data());
    return result;
  }
  /// y = x normalised by the running statistics, activated. Returns the coefficients.
  Tensor<Scalar> normalize_running(const kernels::ChannelParts<Scalar>& x, kernels::Clamp clamp,
                                   Tensor<Scalar>& y) const {
    Tensor<Scalar> result({4, channels_});
    Scalar* const coefficients = result.data();
    for (Index c = 0; c < channels_; ++c) set(coefficients, c, running_mean.data()[c], running_var.data()[c]);
    const kernels::ChannelShape s = sizes(y.shape());
    Index first = 0;
    for (const auto& part : x) {
      auto own = map(result, clamp);
      for (const Scalar** p : {&own.mean, &own.scale, &own.shift}) *p += first;
      kernels::normalize_channels({s.samples, part.channels, s.length, s.blocked}, part.x, own,
                                  y.data() + first * s.length, y.shape().product(1, y.rank()));
      first += part.channels;
    }
    return result;
  }

  void check_batch(const Shape& shape) const { check_batch(shape, sizes(shape).count()); }
  void check_batch(const Shape& shape, Index count) const {
    require<ShapeError>(count > 1, *this, ": expected more than 1 value per channel when training, got shape ",
                        images_shape(shape, channels_));
  }

  /// y = x normalised by the moments of all ranks' values, activated. Returns the coefficients; `count` becomes the
  /// number of those values for a channel. What is summed are distances to the running means, which all ranks share:
  /// the variance of values far from 0 keeps its digits.
  Tensor<Scalar> normalize_together(const kernels::ChannelParts<Scalar>& x, kernels::Clamp clamp, bool counts,
                                    Tensor<Scalar>& y, Index& count) {
    const kernels::ChannelShape s = sizes(y.shape());
    const auto channels = static_cast<std::size_t>(channels_);
    const auto own = static_cast<double>(s.count());
    Tensor<Scalar> result({4, channels_});
    std::vector<double> centers(channels), sums(2 * channels + 1);
    for (std::size_t c = 0; options_.track_running_stats && c < channels; ++c)
      centers[c] = static_cast<double>(std::as_const(running_mean).data()[c]);
    const auto note = [&](Index channel, double mean, double variance) {
      const auto c = static_cast<std::size_t>(channel);
      const double distance = mean - centers[c];
      sums[c] = own * distance;
      sums[channels + c] = own * (variance + distance * distance);
    };
    if (s.count() > 0) kernels::batch_norm(s, x, map(result, clamp), note, static_cast<Scalar*>(nullptr));
    sums.back() = own;
    (*sum_)(sums);
    count = static_cast<Index>(sums.back());
    check_batch(y.shape(), count);
    const auto track = tracking(count, counts);
    Scalar* const coefficients = result.data();
    for (std::size_t c = 0; c < channels; ++c) {
      const double distance = sums[c] / sums.back(), square = sums[channels + c] / sums.back() - distance * distance;
      const double mean = centers[c] + distance, variance = square < 0 ? 0 : square;
      set(coefficients, static_cast<Index>(c), mean, variance);
      track(static_cast<Index>(c), mean, variance);
    }
    if (s.count() > 0) kernels::batch_norm(s, x, map(result, clamp), {}, y.data());
    return result;
  }

  /// As kernels::batch_norm_backward, with terms by all ranks' sums. Whether dx is wanted is the same on all.
  void backward_together(const kernels::ChannelShape& s, kernels::ChannelParts<Scalar> parts, const Scalar* gradient,
                         const kernels::ChannelMap<Scalar>& map, const Tensor<Scalar>& coefficients, Index count,
                         bool wants_dx, Tensor<Scalar>& terms) {
    const auto channels = static_cast<std::size_t>(channels_);
    std::vector<double> sums(2 * channels);
    const auto own = [&, add = parameter_gradients(coefficients)](Index c, double dy_sum, double product_sum) {
      sums[static_cast<std::size_t>(c)] = dy_sum;
      sums[channels + static_cast<std::size_t>(c)] = product_sum;
      add(c, dy_sum, product_sum);
    };
    auto without = parts;
    for (auto& part : without) part.dx = nullptr;
    if (s.count() > 0) kernels::batch_norm_backward(s, without, gradient, map, own, gradient, gradient);
    if (!wants_dx) return;
    (*sum_)(sums);
    const auto write = gradient_terms(coefficients, count, terms.data());
    for (std::size_t c = 0; c < channels; ++c) write(static_cast<Index>(c), sums[c], sums[channels + c]);
    const Scalar* const slope = std::as_const(terms).data();
    if (s.count() > 0) kernels::batch_norm_backward(s, parts, gradient, map, {}, slope, slope + channels_);
  }

  Values<Scalar> infer_values(Values<Scalar> x, Activation next) const override {
    const Shape shape = output_shapes(x)[0];
    if (!options_.track_running_stats) check_batch(shape);
    auto sequences = x[0].sequences;
    Few<Tensor<Scalar>> in = parts_of(std::move(x[0]));
    const kernels::ChannelParts<Scalar> parts = channels_of(in);
    Tensor<Scalar> y = in.size() == 1 && in[0].exclusive() ? std::move(in[0]) : Tensor<Scalar>(shape);
    if (!options_.track_running_stats)
      normalize_batch(
          parts, clamp_of(next), [](Index, double, double) {}, y);
    else if (!y.empty())
      normalize_running(parts, clamp_of(next), y);
    return result_of(std::move(y), std::move(sequences));
  }

  /// Of the result's tensor: in blocks if the input, or its parts, are.
  Shape result_shape(const Values<Scalar>& x) const {
    const Shape shape = output_shapes(x)[0];
    const Values<Scalar>* const parts = x[0].parts();
    return (parts ? (*parts)[0] : x[0]).blocked() ? blocked_shape<Scalar>(shape) : shape;
  }

  Values<Scalar> forward_values(Values<Scalar> x, Tape& tape, Activation next) override {
    Tensor<Scalar> y(result_shape(x));
    const bool still = stands_still(), together = !still && sum_;
    Index count = still ? 0 : sizes(y.shape()).count();  // of what the moments come from
    if (!still && !together) check_batch(y.shape());
    auto sequences = x[0].sequences;
    const Known known = known_of(x[0]);
    Few<Tensor<Scalar>> in = parts_of(std::move(x[0]));
    const kernels::Clamp clamp = clamp_of(next);
    const auto parts = still ? channels_of(in) : channels_of(in, known);
    Tensor<Scalar> coefficients = still      ? normalize_running(parts, clamp, y)
                                  : together ? normalize_together(parts, clamp, !tape.replays(), y, count)
                                             : normalize_batch(parts, clamp, tracking(count, !tape.replays()), y);
    tape.push(std::move(in), std::move(coefficients), clamp, count);
    return result_of(std::move(y), std::move(sequences));
  }

  /// With g = dy (times the activation's derivative), m values to a channel and n(x) = (x - mean) / deviation:
  ///   d bias = sum g, d weight = sum g n(x), dx = weight / deviation * (g - (d bias + n(x) * d weight) / m),
  /// or with statistics that stand still dx = weight / deviation * g.
  Few<Tensor<Scalar>> backward_values(Few<Tensor<Scalar>> dy, Tape& tape, const Few<InputGrad>& needs) override {
    auto [x, coefficients, clamp, count] = tape.pop<Few<Tensor<Scalar>>, Tensor<Scalar>, kernels::Clamp, Index>();
    Tensor<Scalar> gradient = std::move(dy[0]);
    const kernels::ChannelShape s = sizes(gradient.shape());
    kernels::ChannelParts<Scalar> parts = channels_of(x);
    const Scalar* const from = std::as_const(gradient).data();
    Few<Tensor<Scalar>> dx, before;
    bool wanted = options_.affine && (weight.requires_grad || bias.requires_grad), wants_dx = false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      dx.push_back({});
      before.push_back({});
      if (needs[i] == InputGrad::skip) continue;
      wanted = wants_dx = true;
      before[i] = tape.template take_gradient<Scalar>(i);
      if (!before[i].empty()) parts[i].sum = std::as_const(before[i]).data();
      Tensor<Scalar>& reused = !before[i].empty() && before[i].exclusive() ? before[i]
                               : x.size() == 1 && gradient.exclusive()     ? gradient
                                                                           : x[i];
      dx[i] = reused.exclusive() ? std::move(reused) : Tensor<Scalar>(x[i].shape());
      parts[i].dx = dx[i].data();
    }
    const bool together = count > 0 && sum_;
    if ((s.count() == 0 && !together) || !wanted) return dx;
    Tensor<Scalar> terms({2, channels_});
    if (together) {
      backward_together(s, parts, from, map(coefficients, clamp), coefficients, count, wants_dx, terms);
      return dx;
    }
    const auto sums = [add = parameter_gradients(coefficients),
                       write = gradient_terms(coefficients, count, terms.data())](Index c, double dy_sum,
                                                                                  double product_sum) {
      add(c, dy_sum, product_sum);
      write(c, dy_sum, product_sum);
    };
    const Scalar* const slope = std::as_const(terms).data();
    kernels::batch_norm_backward(s, parts, from, map(coefficients, clamp), sums, slope, slope + channels_);
    return dx;
  }

  Index channels_;
  BatchNormOptions options_;
  std::shared_ptr<const SumOverRanks> sum_;
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
  static constexpr const char* kind = "BatchNorm2d";  ///< its name in messages
  /// Shapes, defaults and errors are said at the class.
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
  static constexpr const char* kind = "BatchNorm1d";  ///< its name in messages
  /// Shapes, defaults and errors are said at the class.
  explicit BatchNorm1d(Index num_features, const BatchNormOptions& options = {})
      : detail::BatchNorm<BatchNorm1d, Scalar>(num_features, options) {}

  Shape output_shape(const Shape& input) const override {
    return this->checked(input, input.rank() == 2 || input.rank() == 3, "[N, C] or [N, C, L]");
  }
};

}  // namespace lamina::inline LAMINA_ABI
