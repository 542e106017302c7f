#include <doctest/doctest.h>

#include <string>

#include "lamina/data/transforms.hpp"
#include "lamina/io/safetensors.hpp"

using namespace lamina;

TEST_CASE("Resize and clip_preprocessing give the bytes of Pillow and the values of torchvision") {
  const SafetensorsFile file(std::string(LAMINA_GOLDEN_DIR) + "/clip_images.safetensors");
  Random random;
  for (const std::string name : {"shrunk", "wide", "grown", "same", "tall"}) {
    CAPTURE(name);
    const Tensor<std::uint8_t> bytes = file.tensor<std::uint8_t>(name + "/image");
    Tensor<float> image(bytes.shape());
    for (Index i = 0; i < image.numel(); ++i) image.data()[i] = static_cast<float>(bytes.data()[i]) / 255;
    const Index side = file.tensor<std::int64_t>(name + "/side").item();
    const auto worst = [](const Tensor<float>& a, const Tensor<float>& b) {
      REQUIRE(a.shape() == b.shape());
      return (a.array() - b.array()).abs().maxCoeff();
    };

    const Tensor<float> resized = Resize(side, {.bicubic = true, .bytes = true})(image);
    const Tensor<std::uint8_t> expected = file.tensor<std::uint8_t>(name + "/resized");
    REQUIRE(resized.shape() == expected.shape());
    Index different = 0;
    for (Index i = 0; i < resized.numel(); ++i) different += std::lround(resized.data()[i] * 255) != expected.data()[i];
    CHECK(different == 0);
    CHECK(worst(Resize(side, {.bicubic = true})(image), file.tensor(name + "/smooth")) < 1e-5f);
    CHECK(worst(clip_preprocessing(side)(image, random), file.tensor(name + "/preprocessed")) < 1e-6f);
  }
  CHECK_THROWS_WITH_AS(Resize(8, {.antialias = false, .bicubic = true}),
                       "Resize: bicubic and bytes are there with antialias only", ValueError);
}
