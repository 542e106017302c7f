#include <cstring>
#include <map>

#include "../../examples/common/described.hpp"
#include "files.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/container.hpp"

using namespace lamina;

namespace {

/// A safetensors file of this header and data.
std::string file_of(const std::string& header, const std::string& data) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

/// The message for a file of this header and data, without the path.
std::string complaint(const std::string& header, const std::string& data) {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  put(path, file_of(header, data));
  try {
    SafetensorsFile file(path);
  } catch (const FileError& error) {
    REQUIRE(std::string(error.what()).starts_with(path + ": "));
    return std::string(error.what()).substr(path.size() + 2);
  }
  return "";
}

}  // namespace

TEST_CASE("tensors, names, order and metadata come back") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  const NamedTensors tensors{{"bytes", Tensor<std::uint8_t>({3}, {1, 2, 255})},
                             {"w", Tensor<float>({2, 3}, {1, 2, 3, 4, 5, -6})},
                             {"empty", Tensor<float>({0, 4})},
                             {"counter", Tensor<std::int64_t>({}, {1234567890123})},
                             {"d", Tensor<double>({1}, {0.1})},
                             {"i \"quoted\" é", Tensor<std::int32_t>({2}, {-1, 7})}};
  write_safetensors(path, tensors, {{"epoch", "3"}, {"json", "{\"a\": [1]}"}});
  const SafetensorsFile file(path);
  CHECK(file.metadata() == Metadata{{"epoch", "3"}, {"json", "{\"a\": [1]}"}});
  CHECK(file.keys() == std::vector<std::string>{"bytes", "w", "empty", "counter", "d", "i \"quoted\" é"});
  for (const auto& [name, tensor] : tensors) CHECK(file.any(name) == tensor);
  CHECK(file.info("w").shape == Shape{2, 3});
  CHECK(file.contains("d"));
  CHECK_FALSE(file.contains("e"));
  CHECK_THROWS_WITH_AS(file.tensor("e"), (path + ": no tensor 'e'").c_str(), FileError);
  CHECK_THROWS_WITH_AS(file.tensor<std::int64_t>("w"),
                       (path + ": tensor 'w': expected a dtype that reads as I64, found F32").c_str(), FileError);
  CHECK_THROWS_WITH_AS(file.tensor<std::int32_t>("counter"),
                       (path + ": tensor 'counter': expected a dtype that reads as I32, found I64").c_str(), FileError);
  CHECK(file.tensor<double>("w")(1, 2) == -6);
  CHECK(file.tensor<float>("d").item() == 0.1f);
  CHECK(file.tensor<std::int64_t>("bytes")(2) == 255);
}

TEST_CASE("an empty file of tensors is a file") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {});
  CHECK(SafetensorsFile(folder / "f").keys().empty());
}

TEST_CASE("tensors lie over the mapped file until they are written") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  // The bytes come first in the list, but not in the file, where they would misalign the rest.
  write_safetensors(path, {{"b", Tensor<std::uint8_t>({1}, {9})}, {"w", Tensor<float>({2}, {1, 2})}});
  Tensor<float> first, second;
  {
    const SafetensorsFile file(path);
    first = file.tensor("w");
    second = file.tensor("w");
    CHECK(std::as_const(first).data() == std::as_const(second).data());
  }
  std::filesystem::remove(path);
  second.data()[0] = 5;
  CHECK(first(0) == 1);
  CHECK(second(0) == 5);

  // Misaligned data, as other writers may leave it, is copied.
  put(path, file_of("{" + entry("b", "U8", "[1]", "[0,1]") + "," + entry("w", "F32", "[1]", "[1,5]") + "}",
                    hex("09") + hex("0000c03f")));
  CHECK(SafetensorsFile(path).tensor("w").item() == 1.5f);
}

TEST_CASE("half precision and small integers are converted") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  const std::string header = "{" + entry("h", "F16", "[9]", "[0,18]") + "," + entry("b", "BF16", "[3]", "[18,24]") +
                             "," + entry("i8", "I8", "[1]", "[24,25]") + "," + entry("u16", "U16", "[1]", "[25,27]") +
                             "," + entry("i16", "I16", "[1]", "[27,29]") + "," +
                             entry("flag", "BOOL", "[2]", "[29,31]") + "," + entry("u32", "U32", "[1]", "[31,35]") +
                             "," + entry("u64", "U64", "[1]", "[35,43]") + "," +
                             entry("f8", "F8_E4M3", "[1]", "[43,44]") + "}";
  put(path,
      file_of(header, hex("003c00c0ff7b0004ff030100007c0080007e") + hex("803f20c1807f") + hex("ff") + hex("ffff") +
                          hex("feff") + hex("0100") + hex("ffffffff") + hex("0100000000000000") + hex("38")));
  const SafetensorsFile file(path);
  const Tensor<float> h = file.tensor("h");
  const float expected[] = {1,        -2,   65504, 6.103515625e-05f, 6.097555160522461e-05f, 5.960464477539063e-08f,
                            INFINITY, -0.0f};
  for (std::size_t i = 0; i < 8; ++i) CHECK(h.values()[i] == expected[i]);
  CHECK(std::signbit(h(7)));
  CHECK(std::isnan(h(8)));
  CHECK(file.tensor<double>("b") == Tensor<double>({3}, {1, -10, INFINITY}));
  CHECK(file.tensor<std::int32_t>("i8").item() == -1);
  CHECK(file.tensor<std::int32_t>("u16").item() == 65535);
  CHECK(file.tensor<std::int64_t>("i16").item() == -2);
  CHECK(file.tensor<std::uint8_t>("flag") == Tensor<std::uint8_t>({2}, {1, 0}));
  CHECK(file.tensor<std::int64_t>("u32").item() == 4294967295);
  CHECK(std::holds_alternative<Tensor<std::int32_t>>(file.any("i16")));
  CHECK_THROWS_WITH_AS(file.any("u64"),
                       doctest::Contains("tensor 'u64': expected a dtype that reads as I64, found U64"), FileError);
  CHECK_THROWS_WITH_AS(file.any("f8"),
                       doctest::Contains("tensor 'f8': expected a dtype that reads as F32, found F8_E4M3"), FileError);
}

TEST_CASE("a model's state goes through a file") {
  const TemporaryFolder folder;
  const std::string path = folder / "model.safetensors";
  const StateDict<float> state{{"conv.weight", Tensor<float>({2, 1}, {1, 2})},
                               {"bn.num_batches_tracked", Tensor<std::int64_t>({}, {3})},
                               {"bn.bias", Tensor<float>({1}, {0.5f})}};
  save_state_dict(path, state, {{"format", "pt"}});
  CHECK(load_safetensors(path) == state);
  const StateDict<double> wide = load_safetensors<double>(path);
  CHECK(std::get<0>(wide[0].second) == Tensor<double>({2, 1}, {1, 2}));
  CHECK(std::get<1>(wide[1].second).item() == 3);
}

TEST_CASE("every damage to the header is named with path and field") {
  const std::string four(4, '\0'), eight(8, '\0');
  const std::string a = entry("a", "F32", "[1]", "[0,4]");
  CHECK(complaint("{" + a + "}", four) == "");
  CHECK(complaint("{" + a + "}   ", four) == "");
  CHECK(complaint("", "") == "header at offset 8: expected '{' of a JSON object");
  CHECK(complaint("[1]", "") == "header at offset 8: expected '{' of a JSON object");
  CHECK(complaint("{\"a\":", "").starts_with("header at offset 8 is not JSON: "));
  CHECK(complaint("{" + a + "}x", four).starts_with("header at offset 8 is not JSON: "));
  CHECK(complaint("{\"\xff\":1}", "").starts_with("header at offset 8 is not JSON: "));
  CHECK(complaint("{" + a + "," + a + "}", four) == "header: duplicate key 'a'");
  CHECK(complaint("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", four) ==
        "header: duplicate key 'dtype'");
  CHECK(complaint("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", "") == "header: duplicate key 'k'");
  CHECK(complaint("{\"__metadata__\":3}", "") == "header: __metadata__ must be an object of strings");
  CHECK(complaint("{\"__metadata__\":{\"k\":3}}", "") == "header: __metadata__: 'k' must be a string");
  CHECK(complaint("{\"a\":3}", "") == "tensor 'a': expected an object with dtype, shape and data_offsets");
  CHECK(complaint("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", four) == "tensor 'a': the header has no data_offsets");
  CHECK(complaint("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", four) ==
        "tensor 'a': the header has fields other than dtype, shape and data_offsets");
  CHECK(complaint("{" + entry("a", "F33", "[1]", "[0,4]") + "}", four) == "tensor 'a': unknown dtype 'F33'");
  CHECK(complaint("{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", four) ==
        "tensor 'a': dtype must be a string");
  CHECK(complaint("{" + entry("a", "F32", "[-1]", "[0,4]") + "}", four) ==
        "tensor 'a': shape must be an array of non-negative integers, found [-1]");
  CHECK(complaint("{" + entry("a", "F32", "[1.5]", "[0,4]") + "}", four) ==
        "tensor 'a': shape must be an array of non-negative integers, found [1.5]");
  CHECK(complaint("{" + entry("a", "F32", "1", "[0,4]") + "}", four) ==
        "tensor 'a': shape must be an array of non-negative integers, found 1");
  CHECK(complaint("{" + entry("a", "F32", "[1,1,1,1,1,1,1]", "[0,4]") + "}", four) ==
        "tensor 'a': Shape: at most 6 dimensions, got 7");
  CHECK(complaint("{" + entry("a", "F32", "[4294967296,4294967296]", "[0,4]") + "}", four) ==
        "tensor 'a': Shape: [4294967296, 4294967296] has more elements than can be addressed");
  CHECK(complaint("{" + entry("a", "F32", "[18446744073709551615]", "[0,4]") + "}", four) ==
        "tensor 'a': shape [18446744073709551615] cannot be addressed");
  CHECK(complaint("{" + entry("a", "F32", "[2]", "[0,4]") + "}", four) ==
        "tensor 'a': data_offsets [0,4] span 4 bytes, but dtype F32 and shape [2] need 8");
  CHECK(complaint("{" + entry("a", "F32", "[1]", "[4,0]") + "}", four) ==
        "tensor 'a': data_offsets [4,0] end before they begin");
  CHECK(complaint("{" + entry("a", "F32", "[1]", "[0]") + "}", four) == "tensor 'a': data_offsets must be two numbers");
  CHECK(complaint("{" + entry("a", "F32", "[1]", "[0,-4]") + "}", four) ==
        "tensor 'a': data_offsets must be an array of non-negative integers, found [0,-4]");
  CHECK(complaint("{" + a + "}", "abc") ==
        "tensor 'a': data_offsets [0,4] end beyond the file's 3 bytes of data (cut short?)");
  CHECK(complaint("{" + entry("a", "F32", "[1]", "[18446744073709551611,18446744073709551615]") + "}", four) ==
        "tensor 'a': data_offsets [18446744073709551611,18446744073709551615] are beyond the end of the file");
  CHECK(complaint("{" + a + "," + entry("b", "F32", "[1]", "[2,6]") + "}", four + "ab") ==
        "tensor 'b': data_offsets [2,6] overlap those of 'a'");
  CHECK(complaint("{" + a + "," + entry("b", "F32", "[1]", "[0,4]") + "}", four) ==
        "tensor 'b': data_offsets [0,4] overlap those of 'a'");
  CHECK(complaint("{" + entry("a", "F32", "[1]", "[4,8]") + "}", eight)
            .starts_with("tensor 'a': data_offsets [4,8] leave a gap of 4 bytes at offset "));
  CHECK(complaint("{" + a + "}", eight).starts_with("4 bytes at offset "));
}

TEST_CASE("a wrong header length is named with both numbers") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  const auto message = [&](std::uint64_t length, const std::string& rest) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    put(path, bytes + rest);
    try {
      SafetensorsFile file(path);
    } catch (const FileError& error) {
      return std::string(error.what()).substr(path.size() + 2);
    }
    return std::string();
  };
  CHECK(message(10, "{}") == "header length 10 at offset 0 exceeds the file's 2 bytes behind it (cut short?)");
  CHECK(message(0xffffffffffffffff, "{}") ==
        "not a safetensors file: header length 18446744073709551615 at offset 0 exceeds the limit of 100000000");
  CHECK(message(100000001, "{}") ==
        "not a safetensors file: header length 100000001 at offset 0 exceeds the limit of 100000000");
  put(path, "1234567");
  CHECK_THROWS_WITH_AS(SafetensorsFile{path}, (path + ": not a safetensors file: 7 bytes, expected at least 8").c_str(),
                       FileError);
}

TEST_CASE("no truncation and no single damaged byte does worse than FileError") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  write_safetensors(path, {{"a", Tensor<float>({2}, {1, 2})}, {"n", Tensor<std::int64_t>({}, {3})}}, {{"k", "v"}});
  const std::string whole = contents(path);
  CHECK(refuses_truncations(path, whole, [](const std::string& p) { SafetensorsFile file(p); }));
  survives_damage(path, whole, [](const std::string& p) {
    const SafetensorsFile file(p);
    for (const std::string& key : file.keys()) file.any(key);
  });
}

TEST_CASE("what cannot be written is refused before the old file is touched") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  put(path, "old");
  const Tensor<float> x({1}, {1});
  CHECK_THROWS_WITH_AS(write_safetensors(path, {{"a", x}, {"a", x}}),
                       (path + ": tensor name 'a' is taken already").c_str(), ValueError);
  CHECK_THROWS_AS(write_safetensors(path, {{"__metadata__", x}}), ValueError);
  CHECK_THROWS_WITH_AS(write_safetensors(path, {{"\xff", x}}), doctest::Contains("names and metadata must be UTF-8"),
                       ValueError);
  CHECK_THROWS_WITH_AS(write_safetensors("/dev/full", {{"a", x}}), "/dev/full: cannot write: No space left on device",
                       FileError);
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("types that Lamina does not read stand in the way of no other tensor") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  const std::string header =
      "{" + entry("w", "F32", "[1]", "[0,4]") + "," + entry("scale", "F8_E8M0", "[2]", "[4,6]") + "," +
      entry("c", "C64", "[1]", "[6,14]") + "," + entry("f4", "F4", "[2,2]", "[14,16]") + "," +
      entry("f6", "F6_E2M3", "[4]", "[16,19]") + "," + entry("g6", "F6_E3M2", "[0]", "[19,19]") + "," +
      entry("e4", "F8_E4M3FNUZ", "[1]", "[19,20]") + "," + entry("e5", "F8_E5M2FNUZ", "[1]", "[20,21]") + "}";
  put(path, file_of(header, hex("0000c03f") + std::string(17, '\1')));
  const SafetensorsFile file(path);
  CHECK(file.keys().size() == 8);
  CHECK(file.tensor("w").item() == 1.5f);
  CHECK(file.info("f4").shape == Shape{2, 2});
  const std::map<std::string, std::string> types{{"scale", "F8_E8M0"}, {"c", "C64"},      {"f4", "F4"},
                                                 {"f6", "F6_E2M3"},    {"g6", "F6_E3M2"}, {"e4", "F8_E4M3FNUZ"},
                                                 {"e5", "F8_E5M2FNUZ"}};
  for (const auto& [name, type] : types) {
    const std::string wrong = "tensor '" + name + "': expected a dtype that reads as F32, found " + type;
    CHECK(complaint_of(path, [&] { file.tensor(name); }) == wrong);
    CHECK(complaint_of(path, [&] { file.any(name); }) == wrong);
  }
  CHECK(complaint_of(path, [&] { load_safetensors(path); }).ends_with("found F8_E8M0"));
  const StateDict<float> state = load_safetensors(path, {.skip_unreadable = true});
  REQUIRE(state.size() == 1);
  CHECK(state[0].first == "w");
  CHECK(complaint("{" + entry("a", "F4", "[3]", "[0,1]") + "}", "x") ==
        "tensor 'a': shape [3] of dtype F4 does not fill whole bytes");
}

TEST_CASE("bytes in memory are read as a file is") {
  const std::string file = file_of("{" + entry("w", "F32", "[1]", "[0,4]") + "}", hex("0000c03f"));
  const Bytes bytes(file.begin(), file.end());
  CHECK(SafetensorsFile(bytes, "memory").tensor("w").item() == 1.5f);
  CHECK_THROWS_WITH_AS(SafetensorsFile(Bytes{1}, "memory"),
                       "memory: not a safetensors file: 1 bytes, expected at least 8", FileError);
}

TEST_CASE("hostile headers are refused soon, with little memory") {
  const auto nested = [](int depth) { return std::string(static_cast<std::size_t>(depth), '['); };
  const std::string deep = "header at offset 8: nested more than 8 deep";
  CHECK(complaint("{\"a\":" + nested(48000), "") == deep);
  CHECK(complaint("{\"a\":" + nested(1000000) + std::string(1000000, ']') + "}", "") == deep);
  std::string objects;
  for (int i = 0; i < 48000; ++i) objects += "{\"a\":";
  CHECK(complaint(objects, "") == deep);
  CHECK(complaint("{\"__metadata__\":{\"a\":" + nested(48000), "") == deep);
  CHECK(complaint("{" + entry("a", "F32", "[[1]]", "[0,4]") + "}", "1234") ==
        "tensor 'a': shape must be an array of non-negative integers, found [[1]]");

  std::string ones = "1";
  for (int i = 1; i < 1000000; ++i) ones += ",1";
  CHECK(seconds([&] {
          CHECK(complaint("{" + entry("a", "F32", "[" + ones + "]", "[0,4]") + "}", "1234") ==
                "tensor 'a': Shape: at most 6 dimensions, got 1000000");
          CHECK(complaint("{" + entry("a", "F32", "[1]", "[" + ones + "]") + "}", "1234") ==
                "tensor 'a': data_offsets must be two numbers");
          // A message shows the beginning of what it found.
          CHECK(complaint("{" + entry("a", "F32", "[1]", "[-1," + ones + "]") + "}", "1234").size() < 400);
        }) < 10);
}

TEST_CASE("a hundred thousand tensors are written and read in a moment") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  NamedTensors tensors;
  for (int i = 0; i < 100000; ++i)
    tensors.emplace_back("tensor " + std::to_string(i), Tensor<float>({}, {static_cast<float>(i)}));
  CHECK(seconds([&] {
          write_safetensors(path, tensors);
          const StateDict<float> state = load_safetensors(path);
          REQUIRE(state.size() == 100000);
          CHECK(std::get<Tensor<float>>(state[99999].second).item() == 99999);
          Sequential<float> net;
          CHECK(load_state_dict(net, state, {.strict = false}).unexpected.size() == 100000);
        }) < 20);
}

TEST_CASE("metadata that describe a larger network than the file holds are refused before it is built") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.safetensors";
  write_safetensors(path, {{"a", Tensor<float>({2, 3})}, {"n", Tensor<std::int64_t>({4})}});
  const SafetensorsFile file(path);
  const auto build = [&](double least, auto make) {
    return complaint_of(path, [&] { examples::described_network(file, least, make); });
  };
  const auto never = []() -> Sequential<float> { throw StateError("built"); };
  CHECK(build(1e18, never) ==
        "the metadata describes a network of 1e+18 parameters or more, but the file holds 10 numbers");
  CHECK(build(std::nan(""), never).starts_with("the metadata describes a network of nan"));
  CHECK(build(10, never) == "built");
  CHECK(build(10, []() -> Sequential<float> { throw std::bad_alloc(); }) == "cannot read: Cannot allocate memory");
  CHECK(build(10, [] { return Sequential<float>(); }).starts_with("load_state_dict: the state does not fit"));
}
