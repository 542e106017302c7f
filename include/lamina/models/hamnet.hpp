#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/nn/context/context.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/interpolate.hpp"
#include "lamina/nn/losses.hpp"

namespace lamina::inline LAMINA_ABI {

/// The smallest size not below this one whose sides are k stride + 1: pixels 0, stride, ... reach the border.
inline Size2 aligned_size(Size2 size, Index stride) {
  const auto aligned = [stride](Index side) { return (side + stride - 2) / stride * stride + 1; };
  return {aligned(size.h), aligned(size.w)};
}

namespace detail {

/// x in the upper left corner of images of another height and width, zeros beyond it.
template <class Scalar>
Tensor<Scalar> framed(Tensor<Scalar> x, Size2 size) {
  const Index planes = x.dim(0) * x.dim(1), h = x.dim(2), w = x.dim(3);
  if (h == size.h && w == size.w) return x;
  Tensor<Scalar> y = Tensor<Scalar>::zeros({x.dim(0), x.dim(1), size.h, size.w});
  Scalar* const to = y.data();
  for (Index plane = 0; plane < planes; ++plane)
    kernels::copy_rows(std::min(h, size.h), std::min(w, size.w), std::as_const(x).data() + plane * h * w, w,
                       to + plane * size.h * size.w, size.w);
  return y;
}
inline Size2 size_of(const Shape& images) { return {images[2], images[3]}; }

}  // namespace detail

/// Images [N, C, H, W] with zeros below and to the right up to their aligned_size. Throws ValueError for a stride below
/// 1, ShapeError for an input that is not [N, C, H, W] with a pixel.
template <class Scalar = float>
class PadToAligned : public Layer<PadToAligned<Scalar>, Scalar> {
 public:
  /// Throws ValueError for a stride below 1.
  explicit PadToAligned(Index stride) : stride_(stride) {
    require(stride >= 1, *this, ": stride must be at least 1, got ", stride);
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    check_interpolated(*this, input);
    const Size2 size = aligned_size(detail::size_of(input), stride_);
    return input.with(2, size.h).with(3, size.w);
  }
  Fields fields() const override { return Fields("PadToAligned").argument("stride", stride_); }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = output_shape(x.shape());
    return detail::framed(std::move(x), detail::size_of(shape));
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad input_grad) override {
    const auto [shape] = tape.pop<Shape>();
    if (input_grad == InputGrad::skip) return {};
    return detail::framed(std::move(dy), detail::size_of(shape));
  }

  Index stride_;
};

/// Coarse features [N, K, h, w] interpolated to the aligned_size of images [N, C, H, W], and cut to H x W. Of the
/// images only the size is looked at; there is no gradient for them. Throws ValueError for a stride below 1 and for
/// align_corners with nearest, ShapeError for other inputs.
template <class Scalar = float>
class BackToImages : public JointLayer<BackToImages<Scalar>, Scalar> {
 public:
  /// Throws ValueError for a stride below 1, and for align_corners with nearest.
  explicit BackToImages(const InterpolateOptions& options = {}, Index stride = 1) : options_(options), stride_(stride) {
    check_interpolation("BackToImages", options);
    require(stride >= 1, *this, ": stride must be at least 1, got ", stride);
  }

  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes features and images, got ", x.size(), " values");
    const Shape &coarse = x[0].shape(), &images = x[1].shape();
    check_interpolated(*this, coarse);
    check_interpolated(*this, images);
    return coarse.with(2, images[2]).with(3, images[3]);
  }
  Fields fields() const override { return add_fields(Fields("BackToImages"), options_).option("stride", stride_, 1); }

  /// What it was made with.
  /// @{
  const InterpolateOptions& options() const { return options_; }
  Index stride() const { return stride_; }
  /// @}

 private:
  Size2 aligned(Size2 size) const { return aligned_size(size, stride_); }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    const Size2 size = detail::size_of(output_shapes(x)[0]);
    return detail::framed(interpolate(x[0].tensor, aligned(size), options_), size);
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].shape());
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [coarse] = tape.template pop<Shape>();
    const Size2 size = aligned(detail::size_of(dy.shape()));
    return interpolate_backward(detail::framed(std::move(dy), size), coarse, options_);
  }

  InterpolateOptions options_;
  Index stride_;
};

/// y = net(x), brought to the height and width of x: a network whose features are coarser than its images gives a
/// value for every pixel. Shapes: x [N, C, H, W], y [N, K, H, W]. The net is transparent in state_dict keys.
///
/// The features of a network of stride s are those of pixels 0, s, 2 s, ... With align_corners they come back to where
/// they were only if the last one is that of the last pixel, that is for sides of k s + 1. So with `stride` s > 1 the
/// images get zeros below and to the right up to their aligned_size, and y is cut to the size of x.
/// Errors are those of PadToAligned and BackToImages.
template <class Scalar = float>
class AtInputSize : public Block<AtInputSize<Scalar>, Scalar> {
 public:
  Sequential<Scalar> net;  ///< what is computed at the aligned size

  /// Shapes, defaults and errors are said at the class.
  explicit AtInputSize(Sequential<Scalar> network, const InterpolateOptions& options = {}, Index stride = 1)
      : net(std::move(network)), pad_(stride), back_(options, stride) {}

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    Value<Scalar> coarse = run(net, run(pad_, x));
    return run(back_, std::move(coarse), std::move(x));
  }
  Members<Scalar> members() override { return {{"", pad_}, {"", net}, {"", back_}}; }
  Fields fields() const override { return back_.fields().as("AtInputSize"); }

  /// The images as the net sees them.
  Tensor<Scalar> padded(Tensor<Scalar> x) const { return pad_.infer(std::move(x)); }

 private:
  PadToAligned<Scalar> pad_;
  BackToImages<Scalar> back_;
};

/// What HamNet has between squeeze and align.
enum class Context { none, nmf, vq, cd, self_attention, dual_attention, double_attention };
/// The Hamburgers of Geng et al. 2021 and of their program.
enum class HamburgerVersion { v1, v2, v2_plus };

/// Options of HamNet; the listing's names in brackets.
struct HamNetOptions {
  Index classes = 21;  ///< K
  Index depth = 50;    ///< of the ResNet
  ResNetOptions backbone{.output_stride = 8,
                         .multi_grid = {1, 2, 4},
                         .deep_stem = true,
                         .norm = {.momentum = 3e-4}};  ///< [STRIDE, BN_MOM]
  Index channels = 512;                                ///< [CHANNELS] of the context
  Index aligned = 256;                                 ///< of the features that are classified
  Context context = Context::nmf;                      ///< between squeeze and align
  HamburgerVersion version = HamburgerVersion::v1;     ///< [VERSION]
  /// For the contexts nmf, vq and cd. `context` goes before its kind, and the momentum of backbone.norm before its
  /// norm_momentum.
  HamburgerOptions hamburger{};
  double dropout = 0.1;  ///< before the classifier
};

namespace detail {

template <class Scalar>
Sequential<Scalar> hamburger(HamburgerVersion version, Index channels, const HamburgerOptions& options) {
  if (version == HamburgerVersion::v1) return hamburger_v1<Scalar>(channels, options);
  if (version == HamburgerVersion::v2) return hamburger_v2<Scalar>(channels, options);
  return hamburger_v2_plus<Scalar>(channels, options);
}

template <class Scalar>
Child<Scalar> context_module(const HamNetOptions& options) {
  const double momentum = options.backbone.norm.momentum.value_or(0.1);
  switch (options.context) {
    case Context::none:
      return {"", Identity<Scalar>()};
    case Context::self_attention:
      return {"context", self_attention<Scalar>(options.channels, momentum)};
    case Context::dual_attention:
      return {"context", dual_attention<Scalar>(options.channels, momentum)};
    case Context::double_attention:
      return {"context", double_attention<Scalar>(options.channels, momentum)};
    default:
      HamburgerOptions ham = options.hamburger;
      ham.norm_momentum = momentum;
      ham.kind = options.context == Context::nmf  ? HamKind::nmf
                 : options.context == Context::vq ? HamKind::vq
                                                  : HamKind::cd;
      return {"hamburger", hamburger<Scalar>(options.version, options.channels, ham)};
  }
}

}  // namespace detail

/// HamNet (Geng et al. 2021, section 3.4; the listing of their code) for semantic segmentation: images [N, 3, H, W] ->
/// logits [N, classes, H, W].
///
///   backbone     ResNet, dilated to an output stride of 8 or 16, with a deep stem and a multi-grid of 1, 2, 4
///   squeeze      3x3, channels, BatchNorm, ReLU
///   hamburger    or another context, or none
///   align        3x3, aligned, BatchNorm, ReLU
///   fc           Dropout2d, 1x1, classes
///   bilinear to H x W with align_corners
///
/// Images whose sides are not k S + 1, where S is the output stride, are padded to the next such size, see AtInputSize;
/// the recipe trains with crops of such a size. Keys of the state are the listing's. Errors are those of the parts.
template <class Scalar = float>
AtInputSize<Scalar> hamnet(const HamNetOptions& options = {}) {
  auto [features, width] = detail::resnet_features<Scalar>(options.depth, options.backbone);
  const detail::ConvNormOptions conv_norm{.norm = options.backbone.norm, .keys = {"conv", "bn", "act"}};
  const auto conv_bn_relu = [&](Index in, Index out) {
    return detail::conv_norm<Scalar>(in, out, 3, conv_norm, ReLU<Scalar>());
  };
  Sequential<Scalar> backbone;  // by number, as in the listing
  for (Index i = 0; i < features.size(); ++i) backbone.add(Child<Scalar>(features[i].clone()));
  return AtInputSize<Scalar>(
      {{"backbone", std::move(backbone)},
       {"squeeze", conv_bn_relu(width, options.channels)},
       detail::context_module<Scalar>(options),
       {"align", conv_bn_relu(options.channels, options.aligned)},
       {"fc",
        Sequential<Scalar>{Dropout2d<Scalar>(options.dropout), Conv2d<Scalar>(options.aligned, options.classes, 1)}}},
      {.mode = InterpolateMode::bilinear, .align_corners = true}, options.backbone.output_stride);
}

/// Options of pixel_cross_entropy.
struct PixelCrossEntropyOptions {
  std::int32_t ignore_index = 255;  ///< pixels with this label have no loss and no gradient
  bool over_all = true;  ///< average over all pixels, as the listing does, or over those that are not ignored
};

/// The average cross entropy of pixels: logits [N, K, H, W], labels [N, H, W]. Throws ShapeError for images and labels
/// that differ in number or size, ValueError for a label that is no class, naming it and its place.
template <class Scalar>
Loss<Scalar> pixel_cross_entropy(Tensor<Scalar> logits, const Labels& labels,
                                 const PixelCrossEntropyOptions& options = {}) {
  CrossEntropyOptions<Scalar> entropy;
  entropy.ignore_index = options.ignore_index;
  if (options.over_all) entropy.reduction = Reduction::sum;
  Loss<Scalar> loss = cross_entropy(std::move(logits), labels, entropy);
  if (!options.over_all) return loss;
  const double share = 1 / static_cast<double>(labels.numel());
  loss.value *= share;
  loss.grad *= static_cast<Scalar>(share);
  return loss;
}

}  // namespace lamina::inline LAMINA_ABI
