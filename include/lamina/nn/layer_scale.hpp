#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// y[n, c] = weight[c] x[n, c] with a learned number for every channel (Touvron, Cord, Sablayrolles, Synnaeve and Jégou
/// 2021, "Going deeper with image transformers"): the scale of a residual branch, which starts small. The parameter's
/// key is `key`.
///
/// Shapes: x and y [N, C, ...], weight [C]. Throws ValueError for less than 1 channel, ShapeError for another input.
template <class Scalar = float>
class LayerScale : public Layer<LayerScale<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [C]

  /// Starts from `initial` everywhere.
  explicit LayerScale(Index channels, double initial = 1e-2, std::string key = "weight")
      : channels_(channels), key_(std::move(key)) {
    require(channels >= 1, *this, ": channels must be at least 1");
    weight = Tensor<Scalar>::full({channels}, static_cast<Scalar>(initial));
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 2 && input[1] == channels_, *this, ": expected [N, ", channels_,
                        ", ...], got shape ", input);
    return input;
  }
  Members<Scalar> members() override { return {{key_, &weight}}; }
  Fields fields() const override { return Fields("LayerScale").argument("channels", channels_).field("key", key_, ""); }
  Locality locality() const override { return Locality::element; }

 private:
  static kernels::ChannelShape sizes(const Shape& x) { return {x[0], x[1], x.product(2, x.rank())}; }

  /// In x's storage if nobody else holds it.
  Tensor<Scalar> scaled(Tensor<Scalar> x) const {
    const Shape shape = x.shape();
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(shape);
    kernels::map_channels(sizes(shape), y.data(), weight.value.data(), kernels::Product(), in);
    return y;
  }
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    output_shape(x.shape());
    return scaled(std::move(x));
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    output_shape(x.shape());
    tape.push(x);
    return scaled(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    if (weight.requires_grad)
      kernels::channel_sums(sizes(x.shape()), x.data(), std::as_const(dy).data(), kernels::Product(),
                            weight.gradient().data());
    return input_grad == InputGrad::skip ? Tensor<Scalar>() : scaled(std::move(dy));
  }

  Index channels_;
  std::string key_;
};

}  // namespace lamina::inline LAMINA_ABI
