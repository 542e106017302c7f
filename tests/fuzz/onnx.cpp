#include "lamina/io/onnx.hpp"

#include "fuzz.hpp"
#include "lamina/lamina.hpp"  // layers are lamina::compiled's

FUZZ_TARGET(onnx, const std::uint8_t* data, std::size_t size) {
  static fuzz::InputFile file;
  lamina::set_storage_limit(std::size_t{1} << 28);  // a graph of a few bytes may ask for any tensor
  const std::string& path = file.put({data, size});
  fuzz::attempt(path, [&] { lamina::load_onnx(path); });
  return 0;
}
