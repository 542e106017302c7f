#include "fuzz.hpp"
#include "lamina/io/image.hpp"

FUZZ_TARGET(jpeg, const std::uint8_t* data, std::size_t size) {
  fuzz::attempt("f", [&] { lamina::decode_image({data, size}, "f", {.channels = 3, .max_pixels = 1 << 18}); });
  return 0;
}
