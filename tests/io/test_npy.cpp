#include <cstring>

#include "files.hpp"
#include "lamina/io/npy.hpp"

using namespace lamina;

namespace {

/// A .npy file with this header text, padded as NumPy does.
std::string npy(std::string header, const std::string& data, char version = 1) {
  const std::size_t prefix = version == 1 ? 10 : 12;
  header.resize((prefix + header.size() + 64) / 64 * 64 - prefix - 1, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += version;
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  if (version > 1) bytes += std::string(2, '\0');
  return bytes + header + data;
}

std::string header(const std::string& descr, const std::string& fortran, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

std::string complaint(const std::string& content) {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npy";
  put(path, content);
  try {
    read_npy(path);
  } catch (const FileError& error) {
    REQUIRE(std::string(error.what()).starts_with(path + ": "));
    return std::string(error.what()).substr(path.size() + 2);
  }
  return "";
}

// numpy.savez_compressed(a=arange(4, dtype=int32), b=ones((2, 2), float32)), NumPy 1.24
const std::string compressed =
    hex("504b030414000000080000002100fe741ed44e0000009000000005001400612e6e70790100100090000000000000004e00000000000000"
        "9bec17"
        "ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a26"
        "3a9a3a"
        "0ab50a14002e0620600462262066066200504b03041400000008000000210"
        "04cfbef164c0000009000000005001400622e6e70790100100090000000000000004c000000000000009bec17ea1b10c9c850c650ad9e9"
        "25a9c5c"
        "a46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a463a0a469a3a0ab50a64032e068606"
        "7b640c0"
        "0504b0102140314000000080000002100fe741ed44e00000090000000050000000000000000000000800100000000612e6e7079504b010"
        "2140314"
        "00000008000000210"
        "04cfbef164c00000090000000050000000000000000000000800185000000622e6e7079504b05060000000002000200660000000801000"
        "00000");

}  // namespace

TEST_CASE("read_npy reads what NumPy writes") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npy";
  const auto reading = [&](const std::string& content) -> const std::string& {
    put(path, content);
    return path;
  };
  CHECK(read_npy(reading(npy(header("<f4", "False", "(2, 2)"), hex("0000c03f000000c00000404000008040")))) ==
        Tensor<float>({2, 2}, {1.5f, -2, 3, 4}));
  CHECK(read_npy(reading(npy(header("<f8", "False", "()"), hex("0000000000000440")))) == Tensor<float>({}, {2.5f}));
  CHECK(read_npy<double>(reading(npy(header("<f2", "False", "(5,)"), hex("003c003800c00100007c")))) ==
        Tensor<double>({5}, {1, 0.5, -2, 0x1p-24, INFINITY}));
  CHECK(read_npy<std::int32_t>(reading(npy(header(">i2", "False", "(3,)"), hex("0001fffe012c")))) ==
        Tensor<std::int32_t>({3}, {1, -2, 300}));
  CHECK(read_npy<std::uint8_t>(reading(npy(header("|b1", "False", "(2,)"), hex("0100")))) ==
        Tensor<std::uint8_t>({2}, {1, 0}));
  for (const char version : {'\2', '\3'})
    CHECK(read_npy<std::uint8_t>(reading(npy(header("|u1", "False", "(2,)"), hex("0708"), version))) ==
          Tensor<std::uint8_t>({2}, {7, 8}));
  CHECK(read_npy<std::uint8_t>(reading(npy(header("|u1", "False", "(2L, 3L)"), hex("010203040506")))) ==
        Tensor<std::uint8_t>({2, 3}, {1, 2, 3, 4, 5, 6}));  // as old Python wrote long numbers
  CHECK(read_npy<std::uint8_t>(reading(npy(header("|u1", "False", "(2L,)"), hex("0102")))).shape() == Shape{2});
  CHECK(read_npy(reading(npy("{\"shape\":(0,3),\"fortran_order\":False,\"descr\":\"<f4\"}", ""))).shape() ==
        Shape{0, 3});
}

TEST_CASE("Fortran order is transposed") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npy";
  put(path, npy(header("<f4", "True", "(2, 3)"), hex("00000000000040400000803f00008040000000400000a040")));
  CHECK(read_npy(path) == Tensor<float>({2, 3}, {0, 1, 2, 3, 4, 5}));
  // arange(24).reshape(2, 3, 4), element (i, j, k) at i + 2 j + 6 k
  std::string data;
  for (std::int64_t at = 0; at < 24; ++at) {
    const std::int64_t value = at % 2 * 12 + at / 2 % 3 * 4 + at / 6;
    data.append(reinterpret_cast<const char*>(&value), 8);
  }
  put(path, npy(header("<i8", "True", "(2, 3, 4)"), data));
  const auto x = read_npy<std::int64_t>(path);
  for (Index i = 0; i < 24; ++i) CHECK(x.data()[i] == i);
  put(path, npy(header(">u2", "True", "(2, 2)"), hex("0001000300020004")));
  CHECK(read_npy<std::int32_t>(path) == Tensor<std::int32_t>({2, 2}, {1, 2, 3, 4}));
}

TEST_CASE("write_npy writes NumPy's bytes, and everything comes back") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npy";
  write_npy(path, Tensor<float>({2, 2}, {1.5f, -2, 3, 4}));
  CHECK(contents(path) == npy(header("<f4", "False", "(2, 2)"), hex("0000c03f000000c00000404000008040")));
  write_npy(path, Tensor<std::uint8_t>({3}, {1, 2, 3}));
  CHECK(contents(path) == npy(header("|u1", "False", "(3,)"), hex("010203")));
  write_npy(path, Tensor<double>({}, {2.5}));
  CHECK(contents(path) == npy(header("<f8", "False", "()"), hex("0000000000000440")));
  const Tensor<std::int64_t> deep({1, 2, 1, 1, 1, 2}, {1, -2, 3, -4});
  write_npy(path, deep);
  CHECK(read_npy<std::int64_t>(path) == deep);
  CHECK(contents(path).size() % 32 == 0);
}

TEST_CASE("a bad .npy file is named with path, offset and field") {
  const std::string good = header("<f4", "False", "(1,)"), four(4, '\0');
  CHECK(complaint(npy(good, four)) == "");
  CHECK(complaint("PK\x03\x04 and more") == "not a .npy file: expected magic \\x93NUMPY at offset 0");
  CHECK(complaint(npy(good, four, 4)) == ".npy version at offset 6: expected 1 to 3, found 4");
  CHECK(complaint(npy(good, "abc")) == "cut short: shape [1] needs 4 bytes from offset 128, found 3");
  CHECK(complaint(npy(good, four + "x")) == "1 bytes too many behind shape [1], at offset 132");
  CHECK(complaint(npy(good, four).substr(0, 60)) ==
        "the .npy header is cut short: 118 bytes at offset 10, 50 are left");
  CHECK(complaint(npy(header("<c8", "False", "(1,)"), four)) ==
        "the .npy header at offset 25: dtype '<c8' is not supported");
  CHECK(complaint(npy(header("|O", "False", "(1,)"), four)).ends_with("dtype '|O' is not supported"));
  CHECK(complaint(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", four))
            .ends_with("arrays of structures are not supported"));
  CHECK(complaint(npy(header("<i4", "False", "(1,)"), four)) == "expected a dtype that reads as F32, found I32");
  CHECK(complaint(npy(header("<f4", "Maybe", "(1,)"), four)).ends_with("expected 'False'"));
  CHECK(complaint(npy(header("<f4", "False", "(-1,)"), four)).ends_with("expected a number in shape"));
  CHECK(complaint(npy(header("<f4", "False", "(1 2)"), four)).ends_with("expected ')'"));
  CHECK(complaint(npy(header("<f4", "False", "(L,)"), four)).ends_with("expected a number in shape"));
  CHECK(complaint(npy(header("<f4", "False", "(1LL,)"), four)).ends_with("expected ')'"));
  CHECK(complaint(npy(header("<f4", "False", "(99999999999999999999,)"), four)).ends_with("shape cannot be addressed"));
  CHECK(complaint(npy(header("<f4", "False", "(9999999999, 9999999999)"), four))
            .ends_with("has more elements than can be addressed"));
  CHECK(complaint(npy(header("<f4", "False", "(1,1,1,1,1,1,1)"), four)).ends_with("at most 6 dimensions, got 7"));
  CHECK(complaint(npy("{'descr': '<f4', 'descr': '<f4', }", four)).ends_with("duplicate key 'descr'"));
  CHECK(complaint(npy("{'descr': '<f4', 'shape': (1,)}", four)) ==
        "the .npy header at offset 10 must have descr, fortran_order and shape");
  CHECK(complaint(npy("{'other': 1}", four)).ends_with("unknown key 'other'"));
  CHECK(complaint(npy(good + "x", four)).ends_with("expected the end of the header"));
}

TEST_CASE("no truncation and no damaged byte of .npy or .npz does worse than FileError") {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  const std::string array = npy(header("<f4", "True", "(2, 1)"), std::string(8, '\1'));
  CHECK(refuses_truncations(path, array, [](const std::string& p) { read_npy(p); }));
  survives_damage(path, array, [](const std::string& p) { read_npy(p); });
  const auto read_all = [](const std::string& p) {
    const NpzFile file(p);
    for (const std::string& key : file.keys()) file.any(key);
  };
  CHECK(refuses_truncations(path, compressed, read_all));
  survives_damage(path, compressed, read_all);
  write_npz(path, {{"a", Tensor<float>({2}, {1, 2})}});
  const std::string stored = contents(path);
  CHECK(refuses_truncations(path, stored, read_all));
  survives_damage(path, stored, read_all);
}

TEST_CASE(".npz archives come back, stored and deflated") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npz";
  put(path, compressed);
  const NpzFile file(path);
  CHECK(file.keys() == std::vector<std::string>{"a", "b"});
  CHECK(file.tensor<std::int32_t>("a") == Tensor<std::int32_t>({4}, {0, 1, 2, 3}));
  CHECK(file.tensor("b") == Tensor<float>::ones({2, 2}));
  CHECK_THROWS_WITH_AS(file.tensor("c"), (path + ": no array 'c'").c_str(), FileError);
  CHECK_THROWS_WITH_AS(file.tensor("a"), (path + ": a.npy: expected a dtype that reads as F32, found I32").c_str(),
                       FileError);

  const NamedTensors tensors{{"weights/w", Tensor<double>::full({50, 40}, 0.5)},
                             {"n", Tensor<std::int64_t>({}, {-5})},
                             {"none", Tensor<float>({0})}};
  for (const bool compress : {false, true}) {
    write_npz(path, tensors, {.compress = compress});
    const NpzFile back(path);
    for (const auto& [name, tensor] : tensors) CHECK(back.any(name) == tensor);
    CHECK((contents(path).size() < 2000) == compress);
    const std::string first = contents(path);
    write_npz(path, tensors, {.compress = compress});
    CHECK(contents(path) == first);
  }
  write_npz(path, {});
  CHECK(NpzFile(path).keys().empty());
  CHECK_THROWS_WITH_AS(write_npz(path, {{"a", Tensor<float>()}, {"a", Tensor<float>()}}),
                       (path + ": two arrays are named 'a'").c_str(), ValueError);
}

TEST_CASE("a bad archive is named with what is wrong") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npz";
  const auto message = [&](std::string content, std::size_t at, const std::string& bytes) {
    content.replace(at, bytes.size(), bytes);
    put(path, content);
    try {
      const NpzFile file(path);
      for (const std::string& key : file.keys()) file.any(key);
    } catch (const FileError& error) {
      return std::string(error.what()).substr(path.size() + 2);
    }
    return std::string();
  };
  const std::size_t directory = 0x108, end = compressed.size() - 22;
  CHECK(message(compressed, 0, "") == "");
  CHECK(message("not a zip archive at all, surely", 0, "") ==
        "not a .npz file, or cut short: no end record of a zip archive");
  CHECK(message(compressed, end + 16, "\xff\xff\xff\xff") ==
        "zip64 archives are not supported, at offset " + std::to_string(end));
  CHECK(message(compressed, directory + 20, "\xff\xff\xff\xff") == "'a.npy': zip64 archives are not supported");
  CHECK(message(compressed, directory + 8, "\1") == "'a.npy' is encrypted");
  CHECK(message(compressed, directory + 10, "\x0c") == "'a.npy': compression method 12 is not supported");
  CHECK(message(compressed, directory + 46, "a.txt") == "'a.txt' is not a .npy file");
  CHECK(message(compressed, directory + 46 + 5 + 46, "a") == "duplicate entry 'a.npy'");
  CHECK(message(compressed, directory + 16, "\1") == "'a' is damaged: wrong checksum");
  CHECK(message(compressed, directory, "QK") == "no zip directory entry at offset 264");
  CHECK(message(compressed, directory + 42, "\1") == "no zip entry at offset 1");
  CHECK(message(compressed, directory + 24, "\x91") == "'a': expected 145 bytes, found 144");
  CHECK(message(compressed, directory + 24, "\x8f") ==
        "a.npy: the decompressed data exceeds the 143 bytes that the zip directory says");
  CHECK(message(compressed, 60, "\xff\xff\xff\xff").find("the compressed data is") != std::string::npos);
}

TEST_CASE("bytes in memory are read as files are") {
  const Bytes bytes(compressed.begin(), compressed.end());
  CHECK(NpzFile(bytes, "memory").tensor("b") == Tensor<float>::ones({2, 2}));
  CHECK_THROWS_WITH_AS(NpzFile(Bytes{}, "memory"),
                       "memory: not a .npz file, or cut short: no end record of a zip archive", FileError);
  const std::string array = npy(header("|u1", "False", "(2,)"), hex("0708"));
  CHECK(decode_npy<std::uint8_t>(Bytes(array.begin(), array.end()), "memory") == Tensor<std::uint8_t>({2}, {7, 8}));
}

TEST_CASE("an array of an archive has a limit, which the message names, and no more than the directory says") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npz";
  write_npz(path, {{"large", Tensor<float>::zeros({1 << 20})}, {"small", Tensor<float>::ones({2})}},
            {.compress = true});
  CHECK(contents(path).size() < 10000);
  CHECK(NpzFile(path).tensor("large").numel() == 1 << 20);
  const NpzFile limited(path, {.max_bytes = 1 << 22});
  CHECK(complaint_of(path, [&] { limited.tensor("large"); }) ==
        "'large': 4194432 bytes when decompressed exceed the limit of 4194304 (ReadOptions::max_bytes)");
  CHECK(complaint_of(path, [&] { limited.any("large"); }).starts_with("'large': 4194432 bytes"));
  CHECK(limited.tensor("small")(1) == 1);
  // A directory that says 3 GB of what is small is refused before anything is made of that size.
  std::string content = contents(path);
  const std::size_t entry = content.find("PK\x01\x02");
  content.replace(entry + 24, 4, hex("000000c0"));
  put(path, content);
  CHECK(complaint_of(path, [&] { NpzFile(path).tensor("large"); }) ==
        "'large': 3221225472 bytes when decompressed exceed the limit of 1073741824 (ReadOptions::max_bytes)");
}

TEST_CASE("sixty thousand arrays are written and read in a moment") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.npz";
  NamedTensors tensors;
  for (int i = 0; i < 60000; ++i) tensors.emplace_back(std::to_string(i), Tensor<std::uint8_t>({}, {1}));
  CHECK(seconds([&] {
          write_npz(path, tensors);
          const NpzFile file(path);
          Index sum = 0;
          for (const std::string& key : file.keys()) sum += file.tensor<std::uint8_t>(key).item();
          CHECK(sum == 60000);
        }) < 20);
}
