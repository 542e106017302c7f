#pragma once

#include <new>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/detail/jpeg.hpp"
#include "lamina/io/detail/png.hpp"
#include "lamina/io/detail/stb.hpp"
#include "lamina/io/image.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Decodes a file that was looked at: its bytes in the form that stb gets, and how large it says the image is.
LAMINA_IO_INLINE Tensor<std::uint8_t> decode_by_stb(std::span<const std::uint8_t> bytes, const std::string& source,
                                                    Index width, Index height, int channels) {
  // stb holds at most 32 bytes for a pixel, of a JPEG for one in whole blocks of up to 32 x 32, and twice the file.
  const Index blocks = bytes[0] == 0xff ? 32 * (width + height + 32) : 0;
  StbMemory memory((1 << 20) + 2 * bytes.size() + 48 * static_cast<std::size_t>(width * height + blocks));
  int w = 0, h = 0, stored = 0;
  const std::uint8_t* pixels = nullptr;
  const char* reason = "contradictory data";
  try {
    pixels = stb::stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &w, &h, &stored, channels);
    if (!pixels) reason = stb::stbi_failure_reason();
  } catch (const DamagedImage&) {
  } catch (const std::bad_alloc&) {
    if (!memory.exhausted()) throw;
    reason = "more data than its size needs";
  }
  require<FileError>(pixels != nullptr, source, ": not a readable PNG or JPEG image: ", reason);
  Tensor<std::uint8_t> result({channels ? channels : stored, h, w});
  const Index plane = Index{w} * h, step = result.dim(0);
  std::uint8_t* out = result.data();
  for (Index c = 0; c < step; ++c)
    for (Index i = 0; i < plane; ++i) *out++ = pixels[i * step + c];
  return result;
}

LAMINA_IO_INLINE Tensor<std::uint8_t> decode_png_or_jpeg(std::span<const std::uint8_t> bytes, const std::string& source,
                                                         const ImageOptions& options) {
  const auto check_size = [&](Index width, Index height) {
    require<FileError>(height == 0 || width <= options.max_pixels / height, source, ": the image of ", width, " x ",
                       height, " pixels exceeds the limit of ", options.max_pixels, " (ImageOptions::max_pixels)");
  };
  if (bytes.size() >= 8 && std::equal(png_signature.begin(), png_signature.end(), bytes.begin())) {
    const auto [width, height] = check_png(bytes, source);
    check_size(width, height);
    return decode_by_stb(bytes, source, width, height, options.channels);
  }
  require<FileError>(bytes.size() >= 2 && bytes[0] == 0xff && bytes[1] == 0xd8, source,
                     ": not a readable PNG or JPEG image: unknown image type");
  const PlainJpeg jpeg = JpegReader(bytes, source).run();
  check_size(jpeg.width, jpeg.height);
  // A block of 8 x 8 takes a bit at least, and some component has four blocks or more for 32 x 32 pixels (its factor is
  // the highest possible, 4, in one direction): 2048 pixels for a byte at most.
  require<FileError>(jpeg.width * jpeg.height <= 2048 * jpeg.compressed, source,
                     ": the JPEG image is cut short: ", jpeg.compressed, " bytes of compressed data for ", jpeg.width,
                     " x ", jpeg.height, " pixels");
  return decode_by_stb(jpeg.bytes, source, jpeg.width, jpeg.height, options.channels);
}

}  // namespace detail

LAMINA_IO_INLINE Tensor<std::uint8_t> decode_image(std::span<const std::uint8_t> bytes, const std::string& source,
                                                   ImageOptions options) {
  require(options.channels >= 0 && options.channels <= 4, "decode_image: channels must be 0 to 4, got ",
          options.channels);
  require(options.max_pixels >= 1, "decode_image: max_pixels must be at least 1, got ", options.max_pixels);
  require<FileError>(bytes.size() <= 0x7fffffff, source, ": larger than 2 GB");
  try {
    return detail::decode_png_or_jpeg(bytes, source, options);
  } catch (const std::bad_alloc&) {
    throw FileError(text(source, ": cannot decode the image: out of memory"));
  } catch (const OutOfMemory& error) {
    throw FileError(text(source, ": cannot decode the image: ", error.what()));
  }
}

LAMINA_IO_INLINE Tensor<std::uint8_t> read_image(const std::string& path, ImageOptions options) {
  return decode_image(read_file(path), path, options);
}

LAMINA_IO_INLINE void write_png(const std::string& path, const Tensor<std::uint8_t>& image) {
  const int rank = image.rank();
  const Index channels = rank == 3 ? image.dim(0) : 1;
  if ((rank != 2 && rank != 3) || image.empty() || channels > 4 || image.numel() > 0x7fffffff)
    throw ShapeError(text("write_png: expected [H, W] or [C, H, W] with 1 to 4 channels, got shape ", image.shape()));
  try {
    write_file_atomically(path, detail::encode_png(image.reshape({channels, image.dim(-2), image.dim(-1)})));
  } catch (const std::bad_alloc&) {
    throw FileError(text(path, ": cannot encode the image: out of memory"));
  } catch (const OutOfMemory& error) {
    throw FileError(text(path, ": cannot encode the image: ", error.what()));
  }
}

}  // namespace lamina::inline LAMINA_ABI
