#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "lamina/core/tensor.hpp"
#include "lamina/io/file.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of reading an image.
struct ImageOptions {
  int channels = 0;                   ///< convert to 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); 0: as in the file
  Index max_pixels = Index{1} << 26;  ///< height times width; a few hundred bytes may claim gigabytes
};

/// Decodes a PNG or JPEG image in memory to [C, H, W]. `source` is the file's path, for messages. Throws ValueError for
/// other channels, FileError, with the decoder's reason, for what is not such an image, is damaged, or is larger than
/// the limit, which is found before memory is taken.
Tensor<std::uint8_t> decode_image(std::span<const std::uint8_t> bytes, const std::string& source,
                                  ImageOptions options = {});

/// Reads a PNG or JPEG file to [C, H, W]; see decode_image.
Tensor<std::uint8_t> read_image(const std::string& path, ImageOptions options = {});

/// Writes bytes [H, W] or [C, H, W], C from 1 to 4 (grey, grey and alpha, RGB, RGBA), as a PNG file, whole or not at
/// all. Throws ShapeError for another shape, FileError when the file cannot be written.
void write_png(const std::string& path, const Tensor<std::uint8_t>& image);

/// The same for values in [0, 1], rounded to bytes; smaller and larger values are clamped, NaN is black.
template <class Scalar>
requires std::is_floating_point_v<Scalar>
void write_png(const std::string& path, const Tensor<Scalar>& image) {
  Tensor<std::uint8_t> bytes(image.shape());
  std::transform(image.data(), image.data() + image.numel(), bytes.data(), [](Scalar value) {
    const Scalar scaled = value * 255 + Scalar(0.5);
    return static_cast<std::uint8_t>(scaled > 0 ? std::min(scaled, Scalar(255)) : Scalar(0));
  });
  write_png(path, bytes);
}

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/image-inl.hpp"
#endif
