#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
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

/// A PNG file of this header data and these rows, deflated.
std::string png(const std::string& header, const std::string& rows) {
  const auto number = [](std::size_t value) {
    std::string bytes;
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift);
    return bytes;
  };
  const auto chunk = [&](const std::string& type, const std::string& data) {
    const std::string body = type + data;
    return number(data.size()) + body + number(crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size()));
  };
  std::string deflated(compressBound(rows.size()), '\0');
  uLong size = deflated.size();
  REQUIRE(compress(reinterpret_cast<Bytef*>(deflated.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
                   rows.size()) == Z_OK);
  deflated.resize(size);
  return hex("89504e470d0a1a0a") + chunk("IHDR", header) + chunk("IDAT", deflated) + chunk("IEND", "");
}

/// The 8 x 8 JPEG with another size in its header.
std::string jpeg_of_size(const std::string& size) {
  std::string result = jpeg;
  return result.replace(result.find(hex("ffc0")) + 5, 4, hex(size));
}

/// A JPEG's end, and its scan: header and data.
const std::string jpeg_end = hex("ffd9"),
                  jpeg_scan = jpeg.substr(jpeg.find(hex("ffda")), jpeg.size() - 2 - jpeg.find(hex("ffda")));

std::string before_end(const std::string& bytes) { return jpeg.substr(0, jpeg.size() - 2) + bytes + jpeg_end; }

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

TEST_CASE("markers that stand alone and padding in a JPEG mean nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.jpg";
  put(path, jpeg);
  const auto x = read_image(path);
  for (const char* stray : {"ffd1", "ffd0ffd7", "ffffffd3", "ffd0ffff", "ffff"}) {
    CAPTURE(stray);
    put(path, before_end(hex(stray)));  // restart markers before the end, as cameras write them
    CHECK(read_image(path) == x);
    put(path, hex("ffd8") + hex(stray) + jpeg.substr(2));
    CHECK(read_image(path) == x);
  }
  std::string padded = jpeg;
  padded.insert(padded.find(hex("ffc4")), hex("ffff"));
  put(path, padded);
  CHECK(read_image(path) == x);
}

TEST_CASE("a JPEG that stb would misread is refused with what is wrong") {
  const auto decode = [](const std::string& bytes) {
    decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "f");
  };
  const std::string too_many = hex("0013") + hex("00") + std::string(16, '\xff');
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffc4") + too_many + jpeg_end),
                       "f: the JPEG image is damaged: Huffman table of 4080 codes at offset 6", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffffc4") + too_many + jpeg_end),
                       "f: the JPEG image is damaged: Huffman table of 4080 codes at offset 7", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffffd8ffc40fff00") + std::string(16, '\xff')),
                       "f: not a readable PNG or JPEG image: unknown image type", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffc4000601") + jpeg_end),
                       "f: the JPEG image is cut short: a segment of 6 bytes at offset 2, 5 are left", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffc4000501ffff") + jpeg_end),
                       "f: the JPEG image is damaged: a Huffman table of 3 bytes at offset 6", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffe00001") + jpeg_end),
                       "f: the JPEG image is damaged: a segment of 1 bytes at offset 2", FileError);
  CHECK_THROWS_WITH_AS(decode(hex("ffd8ffc900021234") + jpeg_end),
                       "f: the JPEG image has a part of a kind that is not supported (lossless, arithmetic or "
                       "hierarchical coding?): marker 201 at offset 2",
                       FileError);
  std::string scans;
  for (int i = 1; i < 100; ++i) scans += jpeg_scan;
  decode(before_end(scans));
  CHECK_THROWS_WITH_AS(
      decode(before_end(scans + jpeg_scan)),
      ("f: the JPEG image has more than 100 scans, at offset " + std::to_string(jpeg.size() - 2 + scans.size()))
          .c_str(),
      FileError);
}

TEST_CASE("images that claim more than they have are refused before memory is taken") {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  put(path, jpeg_of_size("b3b0b3b0"));
  CHECK_THROWS_WITH_AS(
      read_image(path),
      (path + ": the image of 46000 x 46000 pixels exceeds the limit of 67108864 (ImageOptions::max_pixels)").c_str(),
      FileError);
  put(path, jpeg_of_size("1f401f40"));
  CHECK_THROWS_WITH_AS(
      read_image(path),
      (path + ": the JPEG image is cut short: 11 bytes of compressed data for 8000 x 8000 pixels").c_str(), FileError);
  put(path, png(hex("0000800000008000") + hex("0800000000"), ""));
  CHECK_THROWS_WITH_AS(
      read_image(path),
      (path + ": the image of 32768 x 32768 pixels exceeds the limit of 67108864 (ImageOptions::max_pixels)").c_str(),
      FileError);
  put(path, png(hex("ffffffffffffffff") + hex("0800000000"), ""));
  CHECK_THROWS_AS(read_image(path), FileError);
  put(path, png(hex("0000000100000001") + hex("0800000000"), std::string(std::size_t{1} << 24, '\0')));
  CHECK_THROWS_WITH_AS(read_image(path),
                       (path + ": not a readable PNG or JPEG image: more data than its size needs").c_str(), FileError);

  put(path, rgb);  // 3 x 2
  CHECK(read_image(path, {.max_pixels = 6}).shape() == Shape{3, 2, 3});
  CHECK_THROWS_WITH_AS(read_image(path, {.max_pixels = 5}),
                       (path + ": the image of 3 x 2 pixels exceeds the limit of 5 (ImageOptions::max_pixels)").c_str(),
                       FileError);
  CHECK_THROWS_WITH_AS(read_image(path, {.max_pixels = 0}), "decode_image: max_pixels must be at least 1, got 0",
                       ValueError);
}

TEST_CASE("the largest rows, and every depth and kind of PNG, stay within stb's memory") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  put(path, png(hex("0000000100030000") + hex("1006000001"), std::string(9 * 0x30000, '\1')));  // interlaced, 16 bits
  CHECK(read_image(path).shape() == Shape{4, 0x30000, 1});
  put(path, png(hex("0003000000000001") + hex("1006000001"), std::string(7 + 8 * 0x30000, '\1')));
  CHECK(read_image(path, {.channels = 3}).shape() == Shape{3, 1, 0x30000});
  put(path, png(hex("0000000100030000") + hex("0100000000"), std::string(2 * 0x30000, '\1')));
  CHECK(read_image(path, {.channels = 4}).shape() == Shape{4, 0x30000, 1});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

/// Takes all memory that this process has at hand and lets it have that much more.
void leave_memory(rlim_t bytes) {
  rlim_t pages = 0;  // of address space in use
  std::ifstream("/proc/self/statm") >> pages;
  rlimit limit{pages * 4096, RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &limit);
  for (std::size_t size = 1 << 24; size > 0; size /= 2)
    while (std::malloc(size)) {
    }
  limit.rlim_cur += bytes;
  ::setrlimit(RLIMIT_AS, &limit);
}

}  // namespace

TEST_CASE("when memory ends, images are written and read whole or refused") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.png";
  Tensor<std::uint8_t> image({4, 300, 500});
  for (Index i = 0; i < image.numel(); ++i) image.data()[i] = static_cast<std::uint8_t>(i * i >> 7);
  write_png(path, image);
  int refused = 0, done = 0;
  for (rlim_t extra = 1 << 18; extra <= 6 << 20; extra += 1 << 17) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      leave_memory(extra);
      try {
        write_png(path, image);
        ::_exit(read_image(path) == image ? 0 : 2);
      } catch (const FileError&) {
        ::_exit(1);
      } catch (...) {
        ::_exit(3);
      }
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CAPTURE(extra);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) <= 1);
    refused += WEXITSTATUS(status) == 1;
    done += WEXITSTATUS(status) == 0;
  }
  CHECK(refused > 0);
  CHECK(done > 0);
  CHECK(read_image(path) == image);
}
#endif

TEST_CASE("no truncation and no damaged byte does worse than FileError") {
  const TemporaryFolder folder;
  for (const std::string& whole : {rgb, grey, jpeg}) {
    CHECK(refuses_truncations(folder / "x", whole, [](const std::string& p) { read_image(p); }));
    survives_damage(folder / "x", whole, [](const std::string& p) { read_image(p); });
  }
}
