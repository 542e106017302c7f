#include <limits>

#include "files.hpp"
#include "lamina/io/image.hpp"

using namespace lamina;

namespace {

// Written by Pillow 9.4: 3 x 2 RGB of (13 i mod 256); the same, first channel only; 8 x 8 grey, columns of 30 x.
const std::string rgb =
    hex("89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001749444154789c6364e0955257575757576729"
        "2d2d85"
        "b0001d760360723241290000000049454e44ae426082");
const std::string grey =
    hex("89504e470d0a1a0a0000000d4948445200000003000000020800000000b81f39c60000001049444154789c63645057672c555707000395"
        "0114e1"
        "bf0ce10000000049454e44ae426082");
const std::string jpeg =
    hex("ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c"
        "0b0a0b"
        "0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffc0000b080008000801011100ffc4001f00000105010101"
        "010101"
        "00000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d010203000411051221314106135161"
        "072271"
        "14328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a"
        "636465"
        "666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8"
        "c9cad2"
        "d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00e0bfe09ddff30cff0080d7ffd9");

}  // namespace

TEST_CASE("read_image reads PNG as [C, H, W]") {
  const TemporaryFolder folder;
  put(folder / "rgb.png", rgb);
  put(folder / "grey.png", grey);
  const auto x = read_image(folder / "rgb.png");
  REQUIRE(x.shape() == Shape{3, 2, 3});
  for (Index c = 0; c < 3; ++c)
    for (Index r = 0; r < 2; ++r)
      for (Index w = 0; w < 3; ++w) CHECK(int{x(c, r, w)} == (r * 9 + w * 3 + c) * 13 % 256);
  const auto y = read_image(folder / "grey.png");
  CHECK(y == Tensor<std::uint8_t>({1, 2, 3}, {0, 39, 78, 117, 156, 195}));
  const auto three = read_image(folder / "grey.png", {.channels = 3});
  REQUIRE(three.shape() == Shape{3, 2, 3});
  for (Index c = 0; c < 3; ++c) CHECK(three[c].reshape({1, 2, 3}) == y);
  CHECK(read_image(folder / "rgb.png", {.channels = 1}).shape() == Shape{1, 2, 3});
  CHECK_THROWS_WITH_AS(read_image(folder / "rgb.png", {.channels = 5}), "decode_image: channels must be 0 to 4, got 5",
                       ValueError);
}

TEST_CASE("read_image reads JPEG") {
  const TemporaryFolder folder;
  put(folder / "x.jpg", jpeg);
  const auto x = read_image(folder / "x.jpg");
  REQUIRE(x.shape() == Shape{1, 8, 8});
  const int pillow[] = {1, 30, 61, 90, 121, 149, 181, 210};  // decoders may differ by rounding
  for (Index r = 0; r < 8; ++r)
    for (Index c = 0; c < 8; ++c) CHECK(std::abs(int{x(0, r, c)} - pillow[c]) <= 2);
  put(folder / "trailing.jpg", jpeg + "more");
  CHECK(read_image(folder / "trailing.jpg") == x);
}

TEST_CASE("write_png round-trips, from bytes and from [0, 1]") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  for (const Index channels : {1, 2, 3, 4}) {
    Tensor<std::uint8_t> x({channels, 5, 7});
    for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<std::uint8_t>(i * 89);
    write_png(path, x);
    CHECK(read_image(path) == x);
  }
  write_png(path, Tensor<std::uint8_t>({1, 2}, {3, 4}));
  CHECK(read_image(path) == Tensor<std::uint8_t>({1, 1, 2}, {3, 4}));
  write_png(path, Tensor<float>({1, 6}, {-1, 0, 0.5f, 1, 7, std::numeric_limits<float>::quiet_NaN()}));
  CHECK(read_image(path) == Tensor<std::uint8_t>({1, 1, 6}, {0, 0, 128, 255, 255, 0}));
  for (const Shape& shape : {Shape{5, 2, 2}, Shape{3}, Shape{1, 1, 2, 2}, Shape{3, 0, 2}})
    CHECK_THROWS_WITH_AS(
        write_png(path, Tensor<std::uint8_t>(shape)),
        ("write_png: expected [H, W] or [C, H, W] with 1 to 4 channels, got shape " + shape.to_string()).c_str(),
        ShapeError);
  CHECK_THROWS_WITH_AS(write_png("/dev/full", Tensor<float>::zeros({2, 2})),
                       "/dev/full: cannot write: No space left on device", FileError);
}

TEST_CASE("broken and foreign images are named with the reason") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  put(path, "GIF89a, perhaps");
  CHECK_THROWS_WITH_AS(read_image(path), (path + ": not a readable PNG or JPEG image: unknown image type").c_str(),
                       FileError);
  put(path, "");
  CHECK_THROWS_AS(read_image(path), FileError);
  put(path, rgb.substr(0, 40));
  CHECK_THROWS_WITH_AS(read_image(path), (path + ": the PNG image is cut short at offset 40").c_str(), FileError);
  put(path, rgb.substr(0, 60));
  CHECK_THROWS_WITH_AS(
      read_image(path),
      (path + ": the PNG image is cut short: chunk IDAT at offset 33 has 23 bytes of data, 15 are left").c_str(),
      FileError);
  std::string damaged = rgb;
  damaged[50] ^= 1;
  put(path, damaged);
  CHECK_THROWS_WITH_AS(read_image(path),
                       (path + ": the PNG image is damaged: chunk IDAT at offset 33 has a wrong checksum").c_str(),
                       FileError);
  put(path, jpeg.substr(0, jpeg.size() - 2));
  CHECK_THROWS_WITH_AS(read_image(path), (path + ": the JPEG image is cut short at offset 339").c_str(), FileError);
}

TEST_CASE("no truncation and no damaged byte does worse than FileError") {
  const TemporaryFolder folder;
  for (const std::string& whole : {rgb, grey, jpeg}) {
    CHECK(refuses_truncations(folder / "x", whole, [](const std::string& p) { read_image(p); }));
    survives_damage(folder / "x", whole, [](const std::string& p) { read_image(p); });
  }
}
