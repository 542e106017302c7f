#include "lamina/io/npy.hpp"

#include "fuzz.hpp"

FUZZ_TARGET(npy, const std::uint8_t* data, std::size_t size) {
  static fuzz::InputFile file;
  const std::string& path = file.put({data, size});
  fuzz::attempt(path, [&] { lamina::read_npy<float>(path); });
  fuzz::attempt(path, [&] { lamina::read_npy<std::int64_t>(path); });
  return 0;
}
