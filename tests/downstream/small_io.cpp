#include <lamina/io/image.hpp>

#if !__has_include(<nlohmann/json.hpp>)
#error "lamina::io brings nlohmann-json, zlib and stb"
#endif

// An image survives a PNG file: zlib writes it, stb reads it.
int main() {
  const lamina::Tensor<std::uint8_t> image({1, 2, 2}, {1, 2, 3, 255});
  lamina::write_png("small.png", image);
  return lamina::read_image("small.png") == image ? 0 : 1;
}
