#include "lamina/data/idx.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(idx, const std::uint8_t* data, std::size_t size) {
  fuzz::attempt("f", [&] { lamina::decode_idx({data, size}, "f"); });
  return 0;
}
