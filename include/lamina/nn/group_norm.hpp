#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/normalization.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of GroupNorm.
struct GroupNormOptions {
  double eps = 1e-5;   ///< added to the variance
  bool affine = true;  ///< learn weight and bias
};

namespace detail {

/// What GroupNorm and InstanceNorm2d share: groups of neighbouring channels, each of a sample normalised for itself,
/// and a weight and a bias for each channel.
template <class Derived, class Scalar>
class GroupwiseNorm : public Layer<Derived, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [C], starts as ones; empty without affine
  Parameter<Scalar> bias;    ///< [C], starts as zeros; likewise

 protected:
  /// Makes weight and bias. `groups` divides the channels.
  void set(Index groups, Index channels, double eps, bool affine) {
    groups_ = groups;
    eps_ = eps;
    affine_ = affine;
    if (!affine) return;
    weight = Tensor<Scalar>::ones({channels});
    bias = Tensor<Scalar>::zeros({channels});
  }
  static kernels::ChannelShape sizes(const Shape& x) { return {x[0], x[1], x.product(2, x.rank())}; }

  /// y = x normalised; gives the moments [2, N, groups] if there is a place for them.
  void normalize(const Shape& shape, const Scalar* x, Scalar* y, Tensor<Scalar>* moments = nullptr) const {
    Scalar *mean = nullptr, *inverse = nullptr;
    if (moments) {
      *moments = Tensor<Scalar>({2, shape[0], groups_});
      mean = moments->data();
      inverse = mean + shape[0] * groups_;
    }
    kernels::normalize_groups(sizes(shape), groups_, static_cast<Scalar>(eps_), x,
                              affine_ ? weight.value.data() : nullptr, affine_ ? bias.value.data() : nullptr, y, mean,
                              inverse);
  }
  /// By the moments of normalize, or others (not x's `own`).
  Tensor<Scalar> backward_through(Tensor<Scalar> dy, const Tensor<Scalar>& x, const Tensor<Scalar>& moments, bool own,
                                  InputGrad input_grad) {
    const Scalar* const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx;
    if (input_grad == InputGrad::compute) dx = dy.exclusive() ? std::move(dy) : Tensor<Scalar>(x.shape());
    kernels::normalize_groups_backward(sizes(x.shape()), groups_, x.data(), gradient,
                                       affine_ ? std::as_const(weight).value.data() : nullptr, moments.data(),
                                       moments.data() + x.dim(0) * groups_, own,
                                       input_grad == InputGrad::compute ? dx.data() : nullptr,
                                       affine_ && weight.requires_grad ? weight.gradient().data() : nullptr,
                                       affine_ && bias.requires_grad ? bias.gradient().data() : nullptr);
    return dx;
  }

 private:
  Index groups_ = 1;
  double eps_ = 0;
  bool affine_ = false;
};

}  // namespace detail

/// Group normalisation (Wu and He 2018): the C channels in num_groups groups of neighbours,
///
///   y = (x - mean) / sqrt(variance + eps) * weight + bias
///
/// with mean and (biased) variance of each sample's group over its channels and all places, weight and bias for each
/// channel. Shapes: x and y [N, C, ...], weight and bias [C]; they start as ones and zeros. Throws ValueError for
/// numbers below 1, groups that do not divide the channels or a negative eps; ShapeError for another input.
template <class Scalar = float>
class GroupNorm : public detail::GroupwiseNorm<GroupNorm<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  GroupNorm(Index num_groups, Index num_channels, const GroupNormOptions& options = {})
      : groups_(num_groups), channels_(num_channels), options_(options) {
    require(groups_ >= 1 && channels_ >= 1, *this, ": groups and channels must be at least 1");
    require(channels_ % groups_ == 0, *this, ": the groups do not divide the channels");
    require(options_.eps >= 0, *this, ": eps must not be negative, got ", options_.eps);
    this->set(groups_, channels_, options_.eps, options_.affine);
  }

  Shape output_shape(const Shape& input) const override {
    require<ShapeError>(input.rank() >= 2 && input[1] == channels_, *this, ": expected [N, ", channels_,
                        ", ...], got shape ", input);
    return input;
  }
  Members<Scalar> members() override {
    if (!options_.affine) return {};
    return {{"weight", &this->weight}, {"bias", &this->bias}};
  }
  Fields fields() const override {
    return Fields("GroupNorm")
        .argument("num_groups", groups_)
        .argument("num_channels", channels_)
        .option("eps", options_.eps, GroupNormOptions{}.eps)
        .option("affine", options_.affine, true);
  }

  /// What it was made with.
  /// @{
  Index num_groups() const { return groups_; }
  Index num_channels() const { return channels_; }
  const GroupNormOptions& options() const { return options_; }
  /// @}

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = output_shape(x.shape());
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(shape);
    this->normalize(shape, in, y.data());
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y(output_shape(x.shape())), moments;
    this->normalize(x.shape(), std::as_const(x).data(), y.data(), &moments);
    tape.push(std::move(x), std::move(moments));
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [x, moments] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    return this->backward_through(std::move(dy), x, moments, true, input_grad);
  }

  Index groups_, channels_;
  GroupNormOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
