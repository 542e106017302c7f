#include <string>

#include "../io/files.hpp"
#include "lamina/io/onnx/model.hpp"

using namespace lamina;
using protobuf::Field;
using protobuf::Reader;
using protobuf::Wire;
using protobuf::Writer;

namespace {

std::string bytes_of(const Writer& writer) {
  std::string result;
  writer.for_each_piece([&](std::span<const std::uint8_t> piece) {
    result.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return result;
}
std::span<const std::uint8_t> view(const std::string& bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}
const std::string source = "f.onnx";

/// The message of the FileError for reading all fields of these bytes.
std::string complaint(const std::string& bytes) {
  try {
    for (Reader reader(source, view(bytes)); !reader.done();) reader.next();
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("protobuf: the encoding is that of the specification's examples") {
  Writer number, word, nested, packed, negative;
  number.integer(1, 150);
  CHECK(bytes_of(number) == hex("089601"));
  word.text(2, "testing");
  CHECK(bytes_of(word) == hex("120774657374696e67"));
  nested.message(3, number);
  CHECK(bytes_of(nested) == hex("1a03089601"));
  packed.integers(6, std::vector<std::int64_t>{3, 270, 86942});
  CHECK(bytes_of(packed) == hex("3206038e029ea705"));
  negative.integer(1, -2);
  CHECK(bytes_of(negative) == hex("08feffffffffffffffff01"));
  Writer real;
  real.float32(2, 1.5f);
  CHECK(bytes_of(real) == hex("150000c03f"));
}

TEST_CASE("protobuf: what is written is read again, in order, nested and with foreign bytes in between") {
  const std::vector<std::uint8_t> data{1, 2, 3, 0, 255};
  Writer inner, outer;
  inner.bytes(7, data);
  inner.integer(1, std::numeric_limits<std::int64_t>::min());
  outer.text(1, "before");
  outer.message(2, inner);
  outer.float32(3, -0.25f);
  outer.bytes(4, {});
  outer.floats(5, std::vector<float>{1, 2});
  CHECK(outer.size() == bytes_of(outer).size());

  const std::string bytes = bytes_of(outer);
  Reader reader(source, view(bytes));
  CHECK(reader.text(reader.next()) == "before");
  Reader message = reader.message(reader.next());
  const Field first = message.next();
  CHECK(first.number == 7);
  CHECK(std::ranges::equal(message.bytes(first), data));
  CHECK(message.integer(message.next()) == std::numeric_limits<std::int64_t>::min());
  CHECK(message.done());
  CHECK(reader.float32(reader.next()) == -0.25f);
  CHECK(reader.bytes(reader.next()).empty());
  std::vector<float> floats;
  reader.append(reader.next(), floats);
  CHECK(floats == std::vector<float>{1, 2});
  CHECK(reader.done());
}

TEST_CASE("protobuf: repeated numbers may come one by one, as integers, floats and doubles") {
  const std::string bytes = hex("0805080a") + hex("150000803f") + hex("19000000000000f03f");
  Reader reader(source, view(bytes));
  std::vector<std::int64_t> integers;
  reader.append(reader.next(), integers);
  reader.append(reader.next(), integers);
  CHECK(integers == std::vector<std::int64_t>{5, 10});
  std::vector<float> floats;
  reader.append(reader.next(), floats);
  CHECK(floats == std::vector<float>{1});
  std::vector<double> doubles;
  reader.append(reader.next(), doubles);
  CHECK(doubles == std::vector<double>{1});
}

TEST_CASE("protobuf: damage is an error with its offset") {
  CHECK(complaint(hex("0896")) == "f.onnx: the file is cut short: 1 bytes are announced, 0 left, at offset 2");
  CHECK(complaint(hex("120774")) == "f.onnx: the file is cut short: 7 bytes are announced, 1 left, at offset 2");
  CHECK(complaint(hex("0d0000")) == "f.onnx: the file is cut short: 4 bytes are announced, 2 left, at offset 1");
  CHECK(complaint(hex("08ffffffffffffffffffffff")) == "f.onnx: a number has more than ten bytes, at offset 11");
  CHECK(complaint(hex("00")) == "f.onnx: a field has number 0, at offset 1");
  CHECK(complaint(hex("0b")) == "f.onnx: field 1 has wire type 3, at offset 1");
  const std::string bytes = hex("089601");
  Reader reader(source, view(bytes));
  const Field field = reader.next();
  CHECK_THROWS_WITH_AS(reader.text(field),
                       "f.onnx: field 1 has wire type 0, expected 2, before what stands, at offset 3", FileError);
}

TEST_CASE("ONNX tensors: elements of every type, raw or listed") {
  const auto tensor = [](onnx::ElementType type, const std::string& raw) {
    onnx::TensorMessage message{.name = "t", .dims = {2}, .type = type, .raw = view(raw), .has_raw = true};
    return message;
  };
  using Type = onnx::ElementType;
  using onnx::detail::elements;
  CHECK(elements<float>("t", tensor(Type::float32, hex("0000803f000000c0"))) == Tensor<float>({2}, {1, -2}));
  CHECK(elements<float>("t", tensor(Type::float16, hex("003c00c0"))) == Tensor<float>({2}, {1, -2}));
  CHECK(elements<float>("t", tensor(Type::bfloat16, hex("803f00c0"))) == Tensor<float>({2}, {1, -2}));
  CHECK(elements<double>("t", tensor(Type::float64, hex("000000000000f03f00000000000000c0"))) ==
        Tensor<double>({2}, {1, -2}));
  CHECK(elements<std::int64_t>("t", tensor(Type::int8, hex("01fe"))) == Tensor<std::int64_t>({2}, {1, -2}));
  CHECK(elements<std::int64_t>("t", tensor(Type::boolean, hex("0100"))) == Tensor<std::int64_t>({2}, {1, 0}));
  CHECK(elements<std::int64_t>("t", tensor(Type::uint64, hex("0100000000000000feffffff00000000"))) ==
        Tensor<std::int64_t>({2}, {1, 4294967294}));
  onnx::TensorMessage listed{.dims = {2}, .type = Type::float16, .integers = {0x3c00, 0xc000}};
  CHECK(elements<float>("t", listed) == Tensor<float>({2}, {1, -2}));
  listed.type = Type::int32;
  CHECK(elements<std::int64_t>("t", listed) == Tensor<std::int64_t>({2}, {0x3c00, 0xc000}));

  CHECK_THROWS_WITH_AS(elements<float>("t", tensor(Type::float32, hex("0000803f"))),
                       "t: shape [2] needs 8 bytes, the file has 4", FileError);
  listed.dims = {std::int64_t{1} << 40};
  CHECK_THROWS_WITH_AS(elements<std::int64_t>("t", listed),
                       "t: shape [1099511627776] needs 1099511627776 elements, the file has 2", FileError);
  listed.dims = {-1};
  CHECK_THROWS_WITH_AS(elements<std::int64_t>("t", listed), "t: Shape: extents must not be negative, got [-1]",
                       FileError);
  listed.type = Type::string;
  CHECK_THROWS_WITH_AS(elements<float>("t", listed), "t: elements of type string are not taken", FileError);
  CHECK_THROWS_WITH_AS(elements<float>("t", tensor(Type::int8, hex("0102"))), "t: elements of type int8 are not taken",
                       FileError);
  onnx::TensorMessage external{.dims = {2}, .type = Type::float32, .external = "weights.bin"};
  CHECK_THROWS_WITH_AS(elements<float>("t", external),
                       "t: its elements are in another file, 'weights.bin', which is not read: save the model as one "
                       "file",
                       FileError);
}
