#include <vector>

#include "fuzz.hpp"
#include "lamina/io/image.hpp"

namespace {

constexpr lamina::ImageOptions options{.max_pixels = 1 << 18};

/// Gives every chunk the checksum of its data, without which a mutation of it is only ever refused.
void mend_checksums(std::vector<std::uint8_t>& png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length =
        std::size_t{png[at]} << 24 | std::size_t{png[at + 1]} << 16 | std::size_t{png[at + 2]} << 8 | png[at + 3];
    if (length > png.size() - at - 12) return;
    const auto sum = ::crc32_z(0, png.data() + at + 4, length + 4);
    at += length + 12;
    for (std::size_t byte = 1; byte <= 4; ++byte) png[at - byte] = static_cast<std::uint8_t>(sum >> 8 * (byte - 1));
  }
}

}  // namespace

FUZZ_TARGET(png, const std::uint8_t* data, std::size_t size) {
  fuzz::attempt("f", [&] { lamina::decode_image({data, size}, "f", options); });
  std::vector<std::uint8_t> mended(data, data + size);
  mend_checksums(mended);
  fuzz::attempt("f", [&] { lamina::decode_image(mended, "f", options); });
  return 0;
}
