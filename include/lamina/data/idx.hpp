#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// Names of Fashion-MNIST's ten classes (Xiao, Rasul, Vollgraf 2017).
inline constexpr std::array<std::string_view, 10> fashion_mnist_classes = {
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"};

/// Decodes an IDX file of bytes, the format of MNIST and Fashion-MNIST: two zero bytes, the element type (0x08), the
/// rank, the extents as big-endian 32-bit numbers, and the elements. `source` is the file's path, for messages. Throws
/// FileError for another magic number or type, more than six dimensions, missing or trailing bytes.
inline Tensor<std::uint8_t> decode_idx(std::span<const std::uint8_t> bytes, const std::string& source) {
  const auto check = [&](bool condition, const auto&... parts) {
    if (!condition) throw FileError(text(source, ": ", parts...));
  };
  check(bytes.size() >= 4, "not an IDX file: ", bytes.size(), " bytes, expected at least 4");
  if (bytes[0] != 0 || bytes[1] != 0 || bytes[2] < 0x08 || bytes[2] > 0x0e) {
    std::array<char, 16> found;
    std::snprintf(found.data(), found.size(), "%02x %02x %02x %02x", bytes[0], bytes[1], bytes[2], bytes[3]);
    check(false, "not an IDX file: expected magic 00 00 08 at offset 0, found ", std::string_view(found.data()));
  }
  check(bytes[2] == 0x08, "IDX element type at offset 2: expected 8 (unsigned byte), found ", int{bytes[2]});
  const std::size_t rank = bytes[3], header = 4 + 4 * rank;
  check(rank <= Shape::max_rank, "IDX rank at offset 3: expected at most ", Shape::max_rank, ", found ", rank);
  check(bytes.size() >= header, "IDX header of rank ", rank, " needs ", header, " bytes, the file has ", bytes.size());

  std::vector<Index> extents;
  for (std::size_t at = 4; at < header; at += 4)
    extents.push_back(Index{bytes[at]} << 24 | Index{bytes[at + 1]} << 16 | Index{bytes[at + 2]} << 8 |
                      Index{bytes[at + 3]});
  Shape shape;
  try {
    shape = Shape(std::span<const Index>(extents));
  } catch (const ShapeError& error) {
    check(false, "IDX extents at offset 4: ", std::string_view(error.what()));
  }
  const auto found = static_cast<Index>(bytes.size() - header);
  check(found >= shape.numel(), "cut short: shape ", shape, " needs ", shape.numel(), " bytes from offset ", header,
        ", found ", found);
  check(found == shape.numel(), found - shape.numel(), " bytes too many behind shape ", shape, ", at offset ",
        static_cast<Index>(header) + shape.numel());
  return Tensor<std::uint8_t>(shape, bytes.subspan(header));
}

}  // namespace lamina::inline LAMINA_ABI
