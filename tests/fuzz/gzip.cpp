#include "fuzz.hpp"
#include "lamina/io/file.hpp"

FUZZ_TARGET(gzip, const std::uint8_t* data, std::size_t size) {
  static fuzz::InputFile file;
  const std::string& path = file.put({data, size});
  fuzz::attempt(path, [&] { lamina::read_file(path); });
  return 0;
}
