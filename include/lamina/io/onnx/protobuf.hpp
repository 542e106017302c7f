#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/core/error.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/core/shape.hpp"

/// The wire format of protocol buffers (developers.google.com/protocol-buffers/docs/encoding), as much as messages of
/// numbers, texts and messages need: a message is a row of fields, each a number and a value of one of four kinds.
namespace lamina::inline LAMINA_ABI::protobuf {

/// The kinds of values.
enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

/// One field as it lies in a message.
struct Field {
  std::uint32_t number;                      ///< by which a message knows its fields
  Wire wire;                                 ///< what its value is
  std::uint64_t value = 0;                   ///< of a varint or a fixed number
  std::span<const std::uint8_t> bytes = {};  ///< of a text, a message or packed numbers
};

/// Reads the fields of a message one after the other. Errors are FileErrors "SOURCE: ... at offset N", counted from
/// the beginning of the file.
class Reader {
 public:
  /// `file` is the whole file, `message` lies in it.
  Reader(const std::string& source, std::span<const std::uint8_t> file, std::span<const std::uint8_t> message)
      : source_(&source), file_(file), rest_(message) {}
  /// The message is the whole file.
  Reader(const std::string& source, std::span<const std::uint8_t> file) : Reader(source, file, file) {}

  /// Whether all fields are read.
  bool done() const { return rest_.empty(); }

  /// The next field. Groups, which nobody writes any more, are errors.
  Field next() {
    const std::uint64_t key = varint();
    const std::uint64_t number = key >> 3;
    if (number == 0 || number >> 29) damaged("a field has number ", number);
    Field field{static_cast<std::uint32_t>(number), static_cast<Wire>(key & 7)};
    switch (field.wire) {
      case Wire::varint:
        field.value = varint();
        break;
      case Wire::fixed64:
        field.value = fixed<std::uint64_t>();
        break;
      case Wire::fixed32:
        field.value = fixed<std::uint32_t>();
        break;
      case Wire::bytes:
        field.bytes = take(varint());
        break;
      default:
        damaged("field ", number, " has wire type ", key & 7);
    }
    return field;
  }

  /// What a field is read as; an error if it is of another kind.
  /// @{
  std::int64_t integer(const Field& field) const { return static_cast<std::int64_t>(number(field, Wire::varint)); }
  float float32(const Field& field) const {
    return lamina::bit_cast<float>(static_cast<std::uint32_t>(number(field, Wire::fixed32)));
  }
  std::span<const std::uint8_t> bytes(const Field& field) const {
    expect(field, Wire::bytes);
    return field.bytes;
  }
  std::string text(const Field& field) const {
    const auto view = bytes(field);
    return {reinterpret_cast<const char*>(view.data()), view.size()};
  }
  Reader message(const Field& field) const { return {*source_, file_, bytes(field)}; }
  /// @}

  /// Appends the numbers of a repeated field, which come one by one or packed.
  template <class T>
  void append(const Field& field, std::vector<T>& numbers) const {
    constexpr bool integral = std::is_integral_v<T>;
    constexpr Wire single = integral ? Wire::varint : sizeof(T) == 4 ? Wire::fixed32 : Wire::fixed64;
    if (field.wire == single) return numbers.push_back(converted<T>(field.value));
    Reader packed = message(field);
    while (!packed.done()) {
      if constexpr (integral)
        numbers.push_back(converted<T>(packed.varint()));
      else
        numbers.push_back(packed.fixed<T>());
    }
  }

  /// Throws the FileError of a file that does not hold what it should.
  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail<FileError>(*source_, ": ", lamina::text(parts...), ", at offset ", offset());
  }
  /// The place in the file.
  std::size_t offset() const { return static_cast<std::size_t>(rest_.data() - file_.data()); }

 private:
  void expect(const Field& field, Wire wire) const {
    if (field.wire != wire)
      damaged("field ", field.number, " has wire type ", static_cast<int>(field.wire), ", expected ",
              static_cast<int>(wire), ", before what stands");
  }
  std::uint64_t number(const Field& field, Wire wire) const {
    expect(field, wire);
    return field.value;
  }

  template <class T>
  static T converted(std::uint64_t value) {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(value);
    else if constexpr (sizeof(T) == 4)
      return lamina::bit_cast<T>(static_cast<std::uint32_t>(value));
    else
      return lamina::bit_cast<T>(value);
  }

  std::span<const std::uint8_t> take(std::uint64_t size) {
    if (size > rest_.size()) damaged("the file is cut short: ", size, " bytes are announced, ", rest_.size(), " left");
    const auto taken = rest_.first(static_cast<std::size_t>(size));
    rest_ = rest_.subspan(static_cast<std::size_t>(size));
    return taken;
  }
  /// Seven bits to a byte, the lowest first; the highest bit of a byte says that more follow.
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = take(1)[0];
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    damaged("a number has more than ten bytes");
  }
  template <class T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  const std::string* source_;
  std::span<const std::uint8_t> file_, rest_;
};

/// Writes a message. Large bytes are not copied: they are noted, and must live until the pieces are taken.
class Writer {
 public:
  /// Appends a field.
  /// @{
  void integer(std::uint32_t number, std::int64_t value) {
    key(number, Wire::varint);
    varint(static_cast<std::uint64_t>(value));
  }
  void float32(std::uint32_t number, float value) {
    key(number, Wire::fixed32);
    raw(value);
  }
  void text(std::uint32_t number, std::string_view value) {
    key(number, Wire::bytes);
    varint(value.size());
    own_.append(value);
  }
  void bytes(std::uint32_t number, std::span<const std::uint8_t> value) {
    key(number, Wire::bytes);
    varint(value.size());
    if (value.empty()) return;
    pieces_.push_back({own_.size(), value});
    foreign_ += value.size();
  }
  void message(std::uint32_t number, const Writer& message) {
    key(number, Wire::bytes);
    varint(message.size());
    for (const Piece& piece : message.pieces_) pieces_.push_back({own_.size() + piece.at, piece.bytes});
    own_ += message.own_;
    foreign_ += message.foreign_;
  }
  /// @}
  /// Packed, as readers of all ages take them.
  void integers(std::uint32_t number, std::span<const std::int64_t> values) {
    Writer packed;
    for (const std::int64_t value : values) packed.varint(static_cast<std::uint64_t>(value));
    message(number, packed);
  }
  /// Packed.
  void floats(std::uint32_t number, std::span<const float> values) {
    Writer packed;
    for (const float value : values) packed.raw(value);
    message(number, packed);
  }

  /// Bytes of the message.
  std::size_t size() const { return own_.size() + foreign_; }

  /// put(bytes) for all pieces in order.
  template <class Put>
  void for_each_piece(Put put) const {
    const auto own = [this](std::size_t begin, std::size_t end) {
      return std::span(reinterpret_cast<const std::uint8_t*>(own_.data()) + begin, end - begin);
    };
    std::size_t at = 0;
    for (const Piece& piece : pieces_) {
      put(own(at, piece.at));
      put(piece.bytes);
      at = piece.at;
    }
    put(own(at, own_.size()));
  }

 private:
  struct Piece {
    std::size_t at;  // in own_, before which the bytes go
    std::span<const std::uint8_t> bytes;
  };

  void key(std::uint32_t number, Wire wire) {
    varint(static_cast<std::uint64_t>(number) << 3 | static_cast<std::uint64_t>(wire));
  }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) own_ += static_cast<char>(value | 0x80);
    own_ += static_cast<char>(value);
  }
  template <class T>
  void raw(T value) {
    char buffer[sizeof(T)];
    std::memcpy(buffer, &value, sizeof(T));
    own_.append(buffer, sizeof(T));
  }

  std::string own_;
  std::vector<Piece> pieces_;
  std::size_t foreign_ = 0;
};

}  // namespace lamina::inline LAMINA_ABI::protobuf
