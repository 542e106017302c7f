#include "fuzz.hpp"
#include "lamina/io/npy.hpp"

FUZZ_TARGET(npz, const std::uint8_t* data, std::size_t size) {
  static fuzz::InputFile file;
  const std::string& path = file.put({data, size});
  fuzz::attempt(path, [&] {
    const lamina::NpzFile arrays(path);
    for (const std::string& key : arrays.keys()) fuzz::attempt(path, [&] { arrays.any(key); });
  });
  return 0;
}
