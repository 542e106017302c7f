#include "lamina/data/cifar.hpp"

#include <vector>

#include "fuzz.hpp"

// The input stands for a record's first bytes; a record has 3073 or 3074, and most inputs of other sizes say nothing.
FUZZ_TARGET(cifar, const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  for (const lamina::Index classes : {10, 100}) {
    const std::size_t record = classes == 10 ? 3073 : 3074;
    fuzz::attempt("f", [&] { lamina::decode_cifar(bytes, classes, "f"); });
    bytes.resize((size / record + 1) * record);
    fuzz::attempt("f", [&] { lamina::decode_cifar(bytes, classes, "f"); });
  }
  return 0;
}
