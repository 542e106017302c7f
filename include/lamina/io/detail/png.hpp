#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lamina/core/error.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/io/file.hpp"

namespace lamina::inline LAMINA_ABI::detail {

inline constexpr std::array<std::uint8_t, 8> png_signature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/// Checks that a PNG file is whole and that each chunk has its checksum, which stb does not. Returns its width and
/// height.
inline std::pair<Index, Index> check_png(std::span<const std::uint8_t> bytes, const std::string& source) {
  std::pair<Index, Index> size;
  std::size_t at = png_signature.size();
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
    if (type == "IHDR" && length >= 8) size = {number(8), number(12)};
    ended = type == "IEND";
    at += length + 12;
  }
  return size;
}

/// Writes a row's difference from what its neighbours predict (PNG specification, section 9). Both rows, this and the
/// one above, begin with a pixel of `step` zeros. Returns the sum of the differences' magnitudes, by which encoders
/// choose the kind, and stops where that has come to `enough`.
inline std::size_t filter_row(int kind, std::span<const std::uint8_t> row, std::span<const std::uint8_t> row_above,
                              std::size_t step, std::size_t enough, std::uint8_t* out) {
  const auto differences = [&](auto predict) {
    const std::uint8_t *const x = row.data(), *const above = row_above.data();
    std::size_t sum = 0;
    for (std::size_t begin = step; begin < row.size() && sum < enough; begin += 256)
      for (std::size_t i = begin, end = std::min(row.size(), begin + 256); i < end; ++i) {
        const auto difference = static_cast<std::uint8_t>(x[i] - predict(x[i - step], above[i], above[i - step]));
        out[i - step] = difference;
        sum += difference < 128 ? difference : 256u - difference;
      }
    return sum;
  };
  switch (kind) {
    case 0:
      return differences([](int, int, int) { return 0; });
    case 1:
      return differences([](int left, int, int) { return left; });
    case 2:
      return differences([](int, int up, int) { return up; });
    case 3:
      return differences([](int left, int up, int) { return (left + up) / 2; });
    default:
      return differences([](int left, int up, int corner) {
        const int dl = std::abs(up - corner), du = std::abs(left - corner), dc = std::abs(left + up - 2 * corner);
        return dl <= du && dl <= dc ? left : du <= dc ? up : corner;
      });
  }
}

/// The rows of an image [C, H, W], its channels interleaved, each as that difference which has the least magnitude and
/// behind the number of its kind.
inline Bytes filtered_rows(const Tensor<std::uint8_t>& image) {
  const auto channels = static_cast<std::size_t>(image.dim(0));
  const auto height = static_cast<std::size_t>(image.dim(1)), width = static_cast<std::size_t>(image.dim(2));
  const std::size_t size = width * channels;
  Bytes rows(height * (1 + size)), row(channels + size), above(row.size()), attempt(size);
  const std::uint8_t* const pixels = image.data();
  std::uint8_t* out = rows.data();
  for (std::size_t y = 0; y < height; ++y, out += 1 + size) {
    for (std::size_t c = 0; c < channels; ++c) {
      const std::uint8_t* const in = pixels + (c * height + y) * width;
      std::uint8_t* const interleaved = row.data() + channels + c;
      for (std::size_t x = 0; x < width; ++x) interleaved[x * channels] = in[x];
    }
    std::size_t least = std::numeric_limits<std::size_t>::max();
    for (int kind = 0; kind < 5 && least > 0; ++kind) {
      const std::size_t sum = filter_row(kind, row, above, channels, least, attempt.data());
      if (sum >= least) continue;
      least = sum;
      out[0] = static_cast<std::uint8_t>(kind);
      std::copy(attempt.begin(), attempt.end(), out + 1);
    }
    std::swap(row, above);
  }
  return rows;
}

/// A PNG file of bytes [C, H, W], C from 1 to 4. Throws std::bad_alloc where memory ends.
inline Bytes encode_png(const Tensor<std::uint8_t>& image) {
  Bytes file(png_signature.begin(), png_signature.end());
  const auto add_number = [](Bytes& out, std::size_t value) {
    for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<std::uint8_t>(value >> shift));
  };
  const auto add_chunk = [&](std::string_view type, std::span<const std::uint8_t> data) {
    add_number(file, data.size());
    const std::size_t begin = file.size();
    file.insert(file.end(), type.begin(), type.end());
    file.insert(file.end(), data.begin(), data.end());
    add_number(file, crc32_z(0, file.data() + begin, file.size() - begin));
  };
  constexpr std::array<std::uint8_t, 5> color_types = {0, 0, 4, 2, 6};  // by channels
  Bytes header;
  add_number(header, static_cast<std::size_t>(image.dim(2)));
  add_number(header, static_cast<std::size_t>(image.dim(1)));
  header.insert(header.end(), {8, color_types[static_cast<std::size_t>(image.dim(0))], 0, 0, 0});
  add_chunk("IHDR", header);

  const Bytes rows = filtered_rows(image);
  Bytes data(compressBound(static_cast<uLong>(rows.size())));
  uLong size = static_cast<uLong>(data.size());
  if (compress(data.data(), &size, rows.data(), static_cast<uLong>(rows.size())) != Z_OK) throw std::bad_alloc();
  add_chunk("IDAT", std::span(data).first(size));
  add_chunk("IEND", {});
  return file;
}

}  // namespace lamina::inline LAMINA_ABI::detail
