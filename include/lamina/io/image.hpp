#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lamina/core/tensor.hpp"
#include "lamina/io/detail/stb.hpp"
#include "lamina/io/file.hpp"

namespace lamina {

struct ImageOptions {
  int channels = 0;  ///< convert to 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); 0: as in the file
};

namespace detail {

/// Checks that a PNG file is whole and that each chunk has its checksum, which stb does not.
inline void check_png(std::span<const std::uint8_t> bytes, const std::string& source) {
  std::size_t at = 8;
  for (bool ended = false; !ended;) {
    const auto left = bytes.subspan(at);
    require<FileError>(left.size() >= 12, source, ": the PNG image is cut short at offset ", bytes.size());
    const auto number = [&](std::size_t i) {
      return std::uint32_t{left[i]} << 24 | std::uint32_t{left[i + 1]} << 16 | std::uint32_t{left[i + 2]} << 8 |
             left[i + 3];
    };
    const std::size_t length = number(0);
    const std::string_view type(reinterpret_cast<const char*>(left.data()) + 4, 4);
    require<FileError>(length <= left.size() - 12, source, ": the PNG image is cut short: chunk ", type, " at offset ",
                       at, " has ", length, " bytes of data, ", left.size() - 12, " are left");
    require<FileError>(crc32(0, left.data() + 4, static_cast<uInt>(length + 4)) == number(length + 8), source,
                       ": the PNG image is damaged: chunk ", type, " at offset ", at, " has a wrong checksum");
    ended = type == "IEND";
    at += length + 12;
  }
}

/// Checks that a JPEG file reaches its end marker (stb makes up what is missing) and that its Huffman tables have no
/// more than the 256 codes for which stb has room.
inline void check_jpeg(std::span<const std::uint8_t> bytes, const std::string& source) {
  std::size_t at = 2;
  while (at + 2 <= bytes.size()) {
    const std::uint8_t marker = bytes[at + 1];
    if (bytes[at] != 0xff || marker == 0 || marker == 0xff || (marker >= 0xd0 && marker <= 0xd7)) {
      ++at;  // within compressed data, or padding
      continue;
    }
    if (marker == 0xd9) return;
    if (at + 4 > bytes.size()) break;
    const std::size_t end = at + 2 + (std::size_t{bytes[at + 2]} << 8 | bytes[at + 3]);
    for (std::size_t table = at + 4; marker == 0xc4 && table < end;) {
      int codes = 0;  // the last table may reach beyond its segment, as far as stb reads
      for (std::size_t i = table + 1; i < std::min(table + 17, bytes.size()); ++i) codes += bytes[i];
      require<FileError>(codes <= 256, source, ": the JPEG image is damaged: Huffman table of ", codes,
                         " codes at offset ", table);
      table += 17 + static_cast<std::size_t>(codes);
    }
    at = end;
  }
  throw FileError(text(source, ": the JPEG image is cut short at offset ", bytes.size()));
}

}  // namespace detail

/// Decodes a PNG or JPEG image in memory to [C, H, W]. `source` is the file's path, for messages. Throws ValueError for
/// other channels, FileError, with the decoder's reason, for what is not such an image or is damaged.
inline Tensor<std::uint8_t> decode_image(std::span<const std::uint8_t> bytes, const std::string& source,
                                         ImageOptions options = {}) {
  detail::require(options.channels >= 0 && options.channels <= 4, "decode_image: channels must be 0 to 4, got ",
                  options.channels);
  detail::require<FileError>(bytes.size() <= 0x7fffffff, source, ": larger than 2 GB");
  if (bytes.size() >= 8 && bytes[0] == 0x89 && bytes[1] == 'P' && bytes[2] == 'N' && bytes[3] == 'G')
    detail::check_png(bytes, source);
  if (bytes.size() >= 2 && bytes[0] == 0xff && bytes[1] == 0xd8) detail::check_jpeg(bytes, source);
  int width = 0, height = 0, stored = 0;
  std::unique_ptr<std::uint8_t, void (*)(void*)> pixels(nullptr, stbi_image_free);
  const char* reason = "contradictory data";
  try {
    pixels.reset(stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &stored,
                                       options.channels));
    if (!pixels) reason = stbi_failure_reason();
  } catch (const detail::DamagedImage&) {
  }
  detail::require<FileError>(pixels != nullptr, source, ": not a readable PNG or JPEG image: ", reason);
  const Index channels = options.channels ? options.channels : stored, plane = Index{width} * height;
  Tensor<std::uint8_t> result({channels, height, width});
  std::uint8_t* out = result.data();
  for (Index c = 0; c < channels; ++c)
    for (Index i = 0; i < plane; ++i) *out++ = pixels.get()[i * channels + c];
  return result;
}

/// Reads a PNG or JPEG file to [C, H, W]; see decode_image.
inline Tensor<std::uint8_t> read_image(const std::string& path, ImageOptions options = {}) {
  return decode_image(read_file(path), path, options);
}

/// Writes bytes [H, W] or [C, H, W], C from 1 to 4 (grey, grey and alpha, RGB, RGBA), as a PNG file, whole or not at
/// all. Throws ShapeError for another shape, FileError when the file cannot be written.
inline void write_png(const std::string& path, const Tensor<std::uint8_t>& image) {
  const int rank = image.rank();
  const Index channels = rank == 3 ? image.dim(0) : 1;
  if ((rank != 2 && rank != 3) || image.empty() || channels > 4 || image.numel() > 0x7fffffff)
    throw ShapeError(
        detail::text("write_png: expected [H, W] or [C, H, W] with 1 to 4 channels, got shape ", image.shape()));
  const Index height = image.dim(-2), width = image.dim(-1), plane = height * width;
  Bytes pixels(static_cast<std::size_t>(image.numel()));
  for (Index c = 0; c < channels; ++c)
    for (Index i = 0; i < plane; ++i) pixels[static_cast<std::size_t>(i * channels + c)] = image.data()[c * plane + i];
  int size = 0;
  const std::unique_ptr<std::uint8_t, void (*)(void*)> png(
      stbi_write_png_to_mem(pixels.data(), static_cast<int>(width * channels), static_cast<int>(width),
                            static_cast<int>(height), static_cast<int>(channels), &size),
      std::free);
  detail::require<FileError>(png != nullptr, path, ": cannot encode the image: out of memory");
  write_file_atomically(path, {png.get(), static_cast<std::size_t>(size)});
}

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

}  // namespace lamina
