#include "lamina/io/safetensors.hpp"

#include "safetensors.hpp"

FUZZ_TARGET(safetensors, const std::uint8_t* data, std::size_t size) {
  static fuzz::InputFile file;
  const std::string& path = file.put(fuzz::safetensors({data, size}));
  fuzz::attempt(path, [&] {
    const lamina::SafetensorsFile tensors(path);
    for (const std::string& key : tensors.keys()) fuzz::attempt(path, [&] { tensors.any(key); });
    lamina::load_safetensors<double>(path);
  });
  return 0;
}
