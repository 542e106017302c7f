#pragma once

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/detail/png.hpp"
#include "lamina/io/image-inl.hpp"
#include "lamina/io/segmentation.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

LAMINA_IO_INLINE std::vector<std::string> png_files(const std::string& dir) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error))
    if (entry.path().extension() == ".png") names.push_back(entry.path().filename().string());
  require<FileError>(!error, dir, ": cannot read the folder: ", error.message());
  require<FileError>(!names.empty(), dir, ": there are no PNG images");
  std::sort(names.begin(), names.end());
  return names;
}

/// A PNG file whose palette, if it has one, is 0, 1, 2, ... in grey, so that its pixels are its indices; else as it is.
/// (Checksums are looked at before, not after.)
LAMINA_IO_INLINE Bytes with_plain_palette(Bytes png) {
  std::size_t at = png_signature.size();
  while (at + 12 <= png.size()) {
    const auto number = [&](std::size_t i) {
      return std::size_t{png[at + i]} << 24 | std::size_t{png[at + i + 1]} << 16 | std::size_t{png[at + i + 2]} << 8 |
             png[at + i + 3];
    };
    const std::size_t length = number(0);
    const std::string_view type(reinterpret_cast<const char*>(png.data()) + at + 4, 4);
    if (type == "IDAT") break;
    if (type == "IHDR" && length >= 10 && png[at + 17] != 3) break;  // no palette
    if (type == "PLTE") {
      Bytes chunk = {0, 0, 3, 0, 'P', 'L', 'T', 'E'};
      for (int i = 0; i < 256; ++i) chunk.insert(chunk.end(), 3, static_cast<std::uint8_t>(i));
      chunk.insert(chunk.end(), 4, 0);
      const auto begin = png.begin() + static_cast<std::ptrdiff_t>(at);
      const auto behind = png.erase(begin, begin + static_cast<std::ptrdiff_t>(length + 12));
      png.insert(behind, chunk.begin(), chunk.end());
      break;
    }
    at += length + 12;
  }
  return png;
}

}  // namespace detail

LAMINA_IO_INLINE Labels read_label_image(const std::string& path) {
  Bytes bytes = read_file(path);
  require<FileError>(
      bytes.size() >= 8 && std::equal(detail::png_signature.begin(), detail::png_signature.end(), bytes.begin()), path,
      ": expected a PNG image with a number for every pixel");
  const auto [width, height] = detail::check_png(bytes, path);
  // A palette's colours are three channels, which then are equal.
  const bool palette = bytes.size() > 25 && bytes[25] == 3;
  require<FileError>(palette || (bytes.size() > 25 && bytes[25] == 0 && bytes[24] == 8), path,
                     ": expected grey values of 8 bits or a palette's indices");
  require<FileError>(height == 0 || width <= ImageOptions{}.max_pixels / height, path, ": the image of ", width, " x ",
                     height, " pixels is too large");
  const Tensor<std::uint8_t> image =
      detail::decode_by_stb(detail::with_plain_palette(std::move(bytes)), path, width, height, palette ? 3 : 1);
  Labels labels({image.dim(1), image.dim(2)});
  std::copy_n(image.data(), labels.numel(), labels.data());
  return labels;
}

}  // namespace lamina::inline LAMINA_ABI
