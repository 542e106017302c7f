#pragma once

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/layout.hpp"

/// Images with their channels in blocks (kernels/layout.hpp), as forward and backward hand them from layer to layer.
namespace lamina::inline LAMINA_ABI::detail {

/// The shape of images [N, C, H, W] in blocks: [N, ceil(C / L), H, W, L].
template <class Scalar>
Shape blocked_shape(const Shape& images) {
  const Index lanes = kernels::block_lanes<Scalar>();
  return {images[0], parts_of(images[1], lanes), images[2], images[3], lanes};
}

/// Whether a tensor of a layer of images [N, C, H, W] has them in blocks; and what it then is for the shape rules of a
/// layer of C channels.
/// @{
template <class Scalar>
bool in_blocks(const Tensor<Scalar>& images) {
  return images.rank() == 5;
}
inline Shape images_shape(const Shape& tensor, Index channels) {
  return tensor.rank() == 5 ? Shape{tensor[0], channels, tensor[2], tensor[3]} : tensor;
}
/// @}

/// Whether blocks hold so many channels with at most a quarter of their lanes empty.
template <class Scalar>
bool fits_blocks(Index channels) {
  const Index lanes = kernels::block_lanes<Scalar>();
  return 4 * channels >= 3 * parts_of(channels, lanes) * lanes;
}

/// Whether images [N, C, H, W] fill their blocks, as does each of so many equal parts of their channels.
template <class Scalar>
bool fill_blocks(const Shape& images, Index parts = 1) {
  return images.rank() == 4 && images[1] % (parts * kernels::block_lanes<Scalar>()) == 0;
}

/// Whether each of these images fills its blocks, so that they can be joined.
template <class Values>
bool fill_blocks(const Values& images) {
  using Scalar = typename std::remove_cvref_t<decltype(images[0].tensor)>::value_type;
  bool fill = true;
  for (std::size_t i = 0; i < images.size(); ++i) fill = fill && fill_blocks<Scalar>(images[i].shape());
  return fill;
}

/// Whether two values are images of the same channels.
template <class Values>
bool same_channels(const Values& x) {
  return x.size() == 2 && x[0].shape().rank() == 4 && x[1].shape().rank() == 4 && x[0].shape()[1] == x[1].shape()[1];
}

/// Images [N, C, H, W] in blocks, and back.
/// @{
template <class Scalar>
Tensor<Scalar> to_blocks(const Tensor<Scalar>& x) {
  Tensor<Scalar> y(blocked_shape<Scalar>(x.shape()));
  if (x.empty()) return y;
  kernels::planes_to_blocks(x.dim(0), x.dim(1), x.dim(2) * x.dim(3), x.data(), y.data());
  return y;
}
template <class Scalar>
Tensor<Scalar> to_planes(const Tensor<Scalar>& x, const Shape& images) {
  Tensor<Scalar> y(images);
  if (y.empty()) return y;
  kernels::blocks_to_planes(images[0], images[1], images[2] * images[3], x.data(), y.data());
  return y;
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::detail
