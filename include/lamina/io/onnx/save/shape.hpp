#pragma once

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/add.hpp"
#include "lamina/nn/at_input_size.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/gate.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/interpolate.hpp"
#include "lamina/nn/multiply.hpp"
#include "lamina/nn/narrow.hpp"
#include "lamina/nn/pad2d.hpp"
#include "lamina/nn/pixel_shuffle.hpp"
#include "lamina/nn/scale.hpp"
#include "lamina/nn/stack.hpp"
#include "lamina/nn/unflatten.hpp"
#include "lamina/nn/upsample.hpp"

/// Layers that join, cut, and arrange values, and those that do nothing in inference.
namespace lamina::inline LAMINA_ABI::onnx {

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Identity<Scalar>&) {
  return to.in();
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Dropout<Scalar>&) {
  return to.in();
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Dropout2d<Scalar>&) {
  return to.in();
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const DropPath<Scalar>&) {
  return to.in();
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Add<Scalar>&) {
  return to.add("Add", {to.in(0), to.in(1)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Multiply<Scalar>&) {
  return to.add("Mul", {to.in(0), to.in(1)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Scale<Scalar>& layer) {
  return to.add("Mul", {to.in(), to.parameter(layer.key(), layer.coefficient.value)});
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Cat<Scalar>& layer) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < to.inputs(); ++i) parts.push_back(to.in(i));
  return to.add("Concat", std::move(parts), {attribute("axis", layer.dim())});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Stack<Scalar>&) {
  const std::string axes = to.constant(Integers{0});
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < to.inputs(); ++i) parts.push_back(to.add("Unsqueeze", {to.in(i), axes}));
  return to.add("Concat", std::move(parts), {attribute("axis", 0)});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Narrow<Scalar>& layer) {
  return to.slice(to.in(), layer.dim(), layer.start(), layer.start() + layer.length());
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Flatten<Scalar>& layer) {
  if (layer.start_dim() == 1 && to.output_shape().rank() == 2)
    return to.add("Flatten", {to.in()}, {attribute("axis", 1)});
  return to.reshape(to.in(), extents(to.output_shape()));
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Unflatten<Scalar>&) {
  return to.reshape(to.in(), extents(to.output_shape()));
}

/// tanh of the first half of each group's channels times the sigmoid of the second.
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Gate<Scalar>& layer) {
  const Shape& y = to.output_shape();
  const Index parts = y[0] * layer.groups();
  const std::string x = to.reshape(to.in(), {parts, 2, parts == 0 ? 0 : y.numel() / parts});
  const std::string values = to.add("Tanh", {to.slice(x, 1, 0, 1)});
  const std::string gates = to.add("Sigmoid", {to.slice(x, 1, 1, 2)});
  return to.reshape(to.add("Mul", {values, gates}), extents(y));
}

namespace detail {

/// A nearest pixel is a Gather: ONNX's Resize rounds the quotient of the sizes, which is another pixel now and then.
template <class Scalar>
std::string interpolated(Exporter<Scalar>& to, const Shape& in, const ImageScale& scale,
                         const InterpolateOptions& options) {
  const Size2 image(in[2], in[3]), size = scale.size(image);
  if (scale.keeps(image)) return to.in();
  if (!options.mixes()) {
    const auto places = [&](Index from, Index count, const kernels::ResizeRatio& ratio) {
      Integers result;
      for (const auto& tap : lamina::detail::taps<float>(options, from, count, ratio)) result.push_back(tap.low);
      return to.constant(result);
    };
    const std::string rows =
        to.add("Gather", {to.in(), places(image.h, size.h, scale.rows(image))}, {attribute("axis", 2)});
    return to.add("Gather", {rows, places(image.w, size.w, scale.columns(image))}, {attribute("axis", 3)});
  }
  const std::string mode = options.align_corners ? "align_corners" : "half_pixel";
  std::vector<std::string> inputs{to.in(), "", "", ""};
  if (scale.factor() && !options.align_corners) {
    const auto h = static_cast<float>(scale.factor()->h), w = static_cast<float>(scale.factor()->w);
    inputs = {to.in(), "", to.constant(Tensor<float>({4}, {1, 1, h, w}))};
  } else {
    inputs[3] = to.constant(Integers{in[0], in[1], size.h, size.w});
  }
  return to.add("Resize", std::move(inputs),
                {attribute("mode", options.mode == InterpolateMode::bilinear ? "linear" : "cubic"),
                 attribute("coordinate_transformation_mode", mode.c_str())});
}

}  // namespace detail

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Interpolate<Scalar>& layer) {
  return detail::interpolated(to, to.shape(), layer.scale(), layer.options());
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const Upsample<Scalar>& layer) {
  return detail::interpolated(to, to.shape(), layer.scale(), layer.options());
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const PixelShuffle<Scalar>& layer) {
  return to.add("DepthToSpace", {to.in()},
                {attribute("blocksize", std::int64_t{layer.upscale_factor()}), attribute("mode", "CRD")});
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ConstantPad2d<Scalar>& layer) {
  return to.pad(to.in(), layer.padding(), static_cast<double>(layer.fill()));
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ZeroPad2d<Scalar>& layer) {
  return to.pad(to.in(), layer.padding());
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ReflectionPad2d<Scalar>& layer) {
  return to.pad(to.in(), layer.padding(), "reflect");
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const ReplicationPad2d<Scalar>& layer) {
  return to.pad(to.in(), layer.padding(), "edge");
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const PadToAligned<Scalar>&) {
  const Shape &in = to.shape(), &out = to.output_shape();
  if (in == out) return to.in();
  return to.pad(to.in(), Padding(0, out[2] - in[2], 0, out[3] - in[3]));
}
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const BackToImages<Scalar>& layer) {
  const Shape& out = to.output_shape();
  const Size2 aligned = aligned_size({out[2], out[3]}, layer.stride());
  std::string y = detail::interpolated(to, to.shape(0), ImageScale(aligned), layer.options());
  if (aligned.h != out[2]) y = to.slice(y, 2, 0, out[2]);
  if (aligned.w != out[3]) y = to.slice(y, 3, 0, out[3]);
  return y;
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
