#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/normalize_relu.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/relu.hpp"

namespace lamina {

struct DenseBlockOptions {
  Index growth = 32;     ///< k, the channels that each layer adds
  Index bottleneck = 4;  ///< a 1x1 convolution to bottleneck * growth channels in each layer; 0: none
  bool bias = false;     ///< in the convolutions
  double dropout = 0;    ///< of what each layer adds
};

/// A dense block (Huang et al. 2017): layer i sees the input and what all layers before it made, and adds k channels,
///
///   y_0 = x,   y_i = [y_(i-1), conv2(relu(norm2(conv1(relu(norm1(y_(i-1)))))))],   y = y_L
///
/// with a 1x1 conv1 and a 3x3 conv2, or without bottleneck a 3x3 conv1 alone. Shapes: x [N, C, H, W],
/// y [N, C + L k, H, W]. Children are denselayer1, ..., with torchvision's names inside. Throws ValueError for sizes
/// below 1, ShapeError for another input, or in training for one value to a channel.
///
/// Memory grows with the number of layers, not with its square (Pleiss et al. 2017): all y_i are the first channels of
/// y, which exists once; the moments of a channel are computed once, for all norms that see it; and what conv1 sees is
/// computed again in backward by one pass, not kept.
template <class Scalar = float>
class DenseBlock : public Layer<DenseBlock<Scalar>, Scalar> {
 public:
  DenseBlock(Index in_channels, Index layers, const DenseBlockOptions& options = {})
      : in_(in_channels), size_(layers), options_(options) {
    const auto check = [&](bool valid, const auto&... parts) { require(valid, *this, ": ", parts...); };
    check(in_ >= 1 && size_ >= 1, "needs at least 1 channel and 1 layer");
    check(options_.growth >= 1, "growth must be at least 1, got ", options_.growth);
    check(options_.bottleneck >= 0, "bottleneck must not be negative, got ", options_.bottleneck);
    for (Index i = 0; i < size_; ++i) layers_.push_back(dense_layer(channels(i)));
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() == 4 && input[1] == in_, *this, ": expected an input [N, ", in_,
                        ", H, W], got shape ", input);
    return input.with(1, channels(size_));
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (Index i = 0; i < size_; ++i) result.push_back({layer_name(i), &layer(i)});
    return result;
  }

  std::string name() const override {
    const DenseBlockOptions defaults;
    std::string out = text("DenseBlock(", in_, ", ", size_);
    if (options_.growth != defaults.growth) out += text(", growth=", options_.growth);
    if (options_.bottleneck != defaults.bottleneck) out += text(", bottleneck=", options_.bottleneck);
    if (options_.bias) out += ", bias=true";
    if (options_.dropout != defaults.dropout) out += text(", dropout=", options_.dropout);
    return out + ")";
  }

  Index multiply_adds(const Shape& input) const override {
    output_shape(input);
    Index total = 0;
    for (Index i = 0; i < size_; ++i) total += layer(i).multiply_adds(input.with(1, channels(i)));
    return total;
  }

  /// The layers denselayer1, ..., each of what it adds.
  const std::vector<Sequential<Scalar>>& layers() const { return layers_; }

 private:
  Sequential<Scalar>& layer(Index i) { return layers_[static_cast<std::size_t>(i)]; }
  const Sequential<Scalar>& layer(Index i) const { return layers_[static_cast<std::size_t>(i)]; }
  static std::string layer_name(Index i) { return "denselayer" + std::to_string(i + 1); }

  /// What layer i sees.
  Index channels(Index i) const { return in_ + i * options_.growth; }

  /// norm1, relu1 and conv1, which the block runs itself; behind them, from `tail` on, modules that it calls.
  static constexpr Index tail = 3;
  Sequential<Scalar> dense_layer(Index in) const {
    const Index k = options_.growth, inside = options_.bottleneck * k;
    const Conv2dOptions pointwise{.bias = options_.bias}, spatial{.padding = 1, .bias = options_.bias};
    Sequential<Scalar> result{{"norm1", BatchNorm2d<Scalar>(in)}, {"relu1", ReLU<Scalar>()}};
    if (inside > 0) {
      result.add("conv1", Conv2d<Scalar>(in, inside, 1, pointwise));
      result.add("norm2", BatchNorm2d<Scalar>(inside));
      result.add("relu2", ReLU<Scalar>());
      result.add("conv2", Conv2d<Scalar>(inside, k, 3, spatial));
    } else {
      result.add("conv1", Conv2d<Scalar>(in, k, 3, spatial));
    }
    if (options_.dropout > 0) result.add("", Dropout<Scalar>(options_.dropout));
    return result;
  }
  static BatchNorm2d<Scalar>& norm_of(Sequential<Scalar>& layer) { return layer.template get<BatchNorm2d<Scalar>>(0); }
  static Conv2d<Scalar>& convolution_of(Sequential<Scalar>& layer) { return layer.template get<Conv2d<Scalar>>(2); }

  /// The sizes of c channels of images.
  static kernels::ChannelShape sizes(const Shape& images, Index c) { return {images[0], c, images[2] * images[3]}; }

  /// n channels of every image.
  static void copy_channels(const Tensor<Scalar>& from, Tensor<Scalar>& to, Index from_first, Index to_first, Index n) {
    const Index pixels = to.dim(2) * to.dim(3);
    kernels::copy_rows(to.dim(0), n * pixels, from.data() + from_first * pixels, from.dim(1) * pixels,
                       to.data() + to_first * pixels, to.dim(1) * pixels);
  }

  /// relu1(norm1(.)) of the first channels of y.
  static Tensor<Scalar> normalized(const Tensor<Scalar>& y, const Tensor<Scalar>& coefficients) {
    const Index c = coefficients.dim(1);
    Tensor<Scalar> result(y.shape().with(1, c));
    const Scalar* const mean = coefficients.data();
    kernels::normalize_relu(sizes(y.shape(), c), y.data(), y.shape().product(1, 4), mean, mean + c, mean + 2 * c,
                            result.data());
    return result;
  }

  /// x and room for what the layers add.
  Tensor<Scalar> widened(const Tensor<Scalar>& x) const {
    Tensor<Scalar> y(output_shape(x.shape()));
    copy_channels(x, y, 0, 0, in_);
    return y;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y = widened(x);
    x = {};
    if (y.empty()) return y;
    for (Index i = 0; i < size_; ++i) {
      const Sequential<Scalar>& layer = this->layer(i);
      const auto& norm = static_cast<const BatchNorm2d<Scalar>&>(layer[0]);
      Tensor<Scalar> z = normalized(y, norm.running_coefficients());
      for (Index j = tail - 1; j < layer.size(); ++j) z = layer[j].infer(std::move(z));
      copy_channels(z, y, 0, channels(i), options_.growth);
    }
    return y;
  }

  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y = widened(x);
    const kernels::ChannelShape first = sizes(x.shape(), in_), added = sizes(x.shape(), options_.growth);
    std::vector<bool> still;  // by layer: whether norm1 goes by its running statistics
    for (Sequential<Scalar>& layer : layers_) still.push_back(norm_of(layer).stands_still());
    require<ShapeError>(first.count() > 1 || std::find(still.begin(), still.end(), false) == still.end(), *this,
                        ": expected more than 1 value per channel when training, got shape ", x.shape());
    Tensor<double> moments({2, channels(size_)});
    double* const mean = moments.data();
    double* const variance = mean + moments.dim(1);
    const auto measure = [&](const kernels::ChannelShape& s, const Tensor<Scalar>& channels, Index c) {
      if (s.count() > 0) kernels::channel_moments(s, channels.data(), mean + c, variance + c);
    };
    measure(first, x, 0);
    x = {};
    for (Index i = 0; i < size_; ++i) {
      Sequential<Scalar>& layer = this->layer(i);
      BatchNorm2d<Scalar>& norm = norm_of(layer);
      const bool tracks = !still[static_cast<std::size_t>(i)];
      if (tracks) {
        const auto track = norm.tracking(first.count(), !tape.replays());
        for (Index c = 0; c < channels(i); ++c) track(c, mean[c], variance[c]);
      }
      Tensor<Scalar> z = normalized(y, tracks ? norm.coefficients(mean, variance) : norm.running_coefficients());
      z = convolution_of(layer).infer(std::move(z));
      for (Index j = tail; j < layer.size(); ++j) z = layer[j].forward(std::move(z), tape);
      const Index c = channels(i);
      measure(added, z, c);
      copy_channels(z, y, 0, c, options_.growth);
    }
    tape.push(y, std::move(moments), std::move(still));
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [y, moments, still] = tape.pop<Tensor<Scalar>, Tensor<double>, std::vector<bool>>();
    const double* const mean = moments.data();
    const double* const variance = mean + moments.dim(1);
    std::vector<double> dy_sum(static_cast<std::size_t>(channels(size_))), product_sum(dy_sum.size());
    for (Index i = size_; i-- > 0;) {  // dy becomes the gradient of y_i in its first channels
      Sequential<Scalar>& layer = this->layer(i);
      const Index c = channels(i);
      Tensor<Scalar> dz(y.shape().with(1, options_.growth));
      copy_channels(dy, dz, c, 0, options_.growth);
      for (Index j = layer.size(); j-- > tail;) dz = layer[j].backward(std::move(dz), tape);

      BatchNorm2d<Scalar>& norm = norm_of(layer);
      const bool stands = still[static_cast<std::size_t>(i)];
      const Tensor<Scalar> coefficients = stands ? norm.running_coefficients() : norm.coefficients(mean, variance);
      const Tensor<Scalar> h = normalized(y, coefficients);
      const Tensor<Scalar> dh = convolution_of(layer).backward_of(h, std::move(dz), InputGrad::compute);
      const kernels::ChannelShape s = sizes(y.shape(), c);
      const Index stride = y.shape().product(1, 4);
      const Scalar* const means = coefficients.data();
      kernels::normalize_relu_gradient_sums(s, y.data(), stride, means, h.data(), dh.data(), dy_sum.data(),
                                            product_sum.data());
      Tensor<Scalar> terms({2, c});
      const auto add = norm.gradient_terms(coefficients, stands ? 0 : s.count(), terms.data());
      for (std::size_t j = 0; j < static_cast<std::size_t>(c); ++j)
        add(static_cast<Index>(j), dy_sum[j], product_sum[j]);
      kernels::normalize_relu_backward(s, y.data(), stride, means, h.data(), dh.data(), means + c,
                                       std::as_const(terms).data(), std::as_const(terms).data() + c, dy.data());
    }
    Tensor<Scalar> dx(y.shape().with(1, in_));
    copy_channels(dy, dx, 0, 0, in_);
    return dx;
  }

  Index in_, size_;
  DenseBlockOptions options_;
  std::vector<Sequential<Scalar>> layers_;
};

}  // namespace lamina
