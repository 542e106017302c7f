#pragma once

#include <algorithm>
#include <utility>

#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/block.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/interpolate.hpp"

/// Networks whose features are coarser than their images, at the images' size.
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

}  // namespace lamina::inline LAMINA_ABI
