// A program's own stb after Lamina's headers; files and all formats are there, which Lamina's stb leaves out.
#include "lamina/io/image.hpp"
// After them:
#include <stb_image.h>

lamina::Tensor<std::uint8_t> by_lamina(const std::string& path);

int main() {
  lamina::Tensor<std::uint8_t> image({3, 5, 7});
  for (lamina::Index i = 0; i < image.numel(); ++i) image.data()[i] = static_cast<std::uint8_t>(i);
  const std::string path = "stb_beside_lamina.png";
  lamina::write_png(path, image);
  int width = 0, height = 0, channels = 0;
  stbi_set_flip_vertically_on_load(1);  // of this stb, not of Lamina's
  stbi_uc* const pixels = stbi_load(path.c_str(), &width, &height, &channels, 0);
  bool equal = pixels && width == 7 && height == 5 && channels == 3;
  for (int y = 0; equal && y < 5; ++y)
    for (int x = 0; x < 7; ++x)
      for (int c = 0; c < 3; ++c) equal = equal && pixels[((4 - y) * 7 + x) * 3 + c] == image(c, y, x);
  stbi_image_free(pixels);
  equal = equal && lamina::read_image(path) == image && by_lamina(path) == image;
  return std::remove(path.c_str()) == 0 && equal ? 0 : 1;
}
