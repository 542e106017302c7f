#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lamina/data/cifar.hpp"
#include "lamina/data/idx.hpp"

using namespace lamina;

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes small_idx() { return {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60}; }

}  // namespace

TEST_CASE("decode_idx reads bytes of any rank") {
  CHECK(decode_idx(small_idx(), "f") == Tensor<std::uint8_t>({2, 1, 3}, {10, 20, 30, 40, 50, 60}));
  CHECK(decode_idx(Bytes{0, 0, 8, 1, 0, 0, 0, 2, 7, 9}, "f") == Tensor<std::uint8_t>({2}, {7, 9}));
  CHECK(decode_idx(Bytes{0, 0, 8, 1, 0, 0, 0, 0}, "f").numel() == 0);
}

TEST_CASE("decode_idx refuses every truncation and says where") {
  const Bytes whole = small_idx();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_THROWS_AS(decode_idx(cut, "f"), FileError);
  }
  CHECK_THROWS_WITH_AS(decode_idx(Bytes{0, 0}, "a/b"), "a/b: not an IDX file: 2 bytes, expected at least 4", FileError);
  CHECK_THROWS_WITH_AS(decode_idx(Bytes{0x1f, 0x8b, 8, 0, 0}, "a/b"),
                       "a/b: not an IDX file: expected magic 00 00 08 at offset 0, found 1f 8b 08 00", FileError);
  CHECK_THROWS_WITH_AS(decode_idx(Bytes{0, 0, 13, 1, 0, 0, 0, 0}, "f"),
                       "f: IDX element type at offset 2: expected 8 (unsigned byte), found 13", FileError);
  CHECK_THROWS_WITH_AS(decode_idx(Bytes{0, 0, 8, 7, 0}, "f"), "f: IDX rank at offset 3: expected at most 6, found 7",
                       FileError);
  CHECK_THROWS_WITH_AS(decode_idx(Bytes{0, 0, 8, 2, 0, 0, 0, 1}, "f"),
                       "f: IDX header of rank 2 needs 12 bytes, the file has 8", FileError);
  Bytes bytes = small_idx();
  bytes.pop_back();
  CHECK_THROWS_WITH_AS(decode_idx(bytes, "f"), "f: cut short: shape [2, 1, 3] needs 6 bytes from offset 16, found 5",
                       FileError);
  bytes = small_idx();
  bytes.resize(25);
  CHECK_THROWS_WITH_AS(decode_idx(bytes, "f"), "f: 3 bytes too many behind shape [2, 1, 3], at offset 22", FileError);
  CHECK_THROWS_WITH_AS(
      decode_idx(Bytes{0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, "f"),
      "f: IDX extents at offset 4: Shape: [4294967295, 4294967295, 4294967295] has more elements than can be addressed",
      FileError);
}

TEST_CASE("decode_cifar reads records of 10 and of 100 classes") {
  Bytes ten(2 * 3073), hundred(3074);
  ten[0] = 3;
  ten[1] = 11;
  ten[3073] = 9;
  ten[2 * 3073 - 1] = 77;
  const CifarRecords two = decode_cifar(ten, 10, "f");
  CHECK(two.labels == Labels({2}, {3, 9}));
  CHECK(two.images.shape() == Shape{2, 3, 32, 32});
  CHECK(two.images(0, 0, 0, 0) == 11);
  CHECK(two.images(1, 2, 31, 31) == 77);
  hundred[0] = 19;  // the coarse class
  hundred[1] = 99;
  hundred[2] = 5;
  const CifarRecords one = decode_cifar(hundred, 100, "f");
  CHECK(one.labels == Labels({1}, {99}));
  CHECK(one.images(0, 0, 0, 0) == 5);

  CHECK(cifar100_classes[99] == "worm");
  CHECK(cifar100_classes[58] == "pickup_truck");

  CHECK_THROWS_WITH_AS(
      decode_cifar(Bytes(3074), 10, "f"),
      "f: expected CIFAR-10 records of 3073 bytes each, found 3074 bytes, which is 1 records and 1 bytes", FileError);
  CHECK_THROWS_AS(decode_cifar(Bytes(), 10, "f"), FileError);
  ten[3073] = 10;
  CHECK_THROWS_WITH_AS(decode_cifar(ten, 10, "f"), "f: record 1 at offset 3073: label 10 is not a class of CIFAR-10",
                       FileError);
  CHECK_THROWS_WITH_AS(decode_cifar(ten, 20, "f"), "decode_cifar: classes must be 10 or 100, got 20", ValueError);
}
