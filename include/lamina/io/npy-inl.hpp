#pragma once

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/npy.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Parses the header, a Python dict such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
class NpyParser {
 public:
  NpyParser(std::span<const std::uint8_t> bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  NpyArray parse() {
    check(bytes_.size() >= 10 && std::memcmp(bytes_.data(), "\x93NUMPY", 6) == 0,
          "not a .npy file: expected magic \\x93NUMPY at offset 0");
    const int version = bytes_[6];
    check(version >= 1 && version <= 3, ".npy version at offset 6: expected 1 to 3, found ", version);
    const std::size_t begin = version == 1 ? 10 : 12;
    check(bytes_.size() >= begin, "the .npy header is cut short at offset ", bytes_.size());
    std::size_t length = bytes_[8] | std::size_t{bytes_[9]} << 8;
    if (version > 1) length |= std::size_t{bytes_[10]} << 16 | std::size_t{bytes_[11]} << 24;
    check(length <= bytes_.size() - begin, "the .npy header is cut short: ", length, " bytes at offset ", begin, ", ",
          bytes_.size() - begin, " are left");
    header_ = {reinterpret_cast<const char*>(bytes_.data()) + begin, length};
    data_ = begin + length;
    read_dict();
    check(dtype_ && fortran_order_ && shape_, "the .npy header at offset ", begin,
          " must have descr, fortran_order and shape");
    const std::uint64_t size = static_cast<std::uint64_t>(shape_->numel()) * info(*dtype_).bits / 8;
    const std::size_t found = bytes_.size() - data_;
    check(found >= size, "cut short: shape ", *shape_, " needs ", size, " bytes from offset ", data_, ", found ",
          found);
    check(found == size, found - size, " bytes too many behind shape ", *shape_, ", at offset ", data_ + size);
    return {*dtype_, *shape_, *fortran_order_, swapped_, bytes_.subspan(data_)};
  }

 private:
  template <class... Parts>
  void check(bool condition, const Parts&... parts) const {
    if (!condition) throw FileError(text(source_, ": ", parts...));
  }
  template <class... Parts>
  void check_header(bool condition, const Parts&... parts) const {
    check(condition, "the .npy header at offset ", data_ - header_.size() + at_, ": ", parts...);
  }

  void skip_spaces() {
    while (at_ < header_.size() && (header_[at_] == ' ' || header_[at_] == '\n' || header_[at_] == '\t')) ++at_;
  }
  bool accept(std::string_view token) {
    skip_spaces();
    if (header_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) { check_header(accept(token), "expected '", token, "'"); }

  std::string_view quoted() {
    skip_spaces();
    const char quote = at_ < header_.size() ? header_[at_] : ' ';
    check_header(quote == '\'' || quote == '"', "expected a string");
    const std::size_t end = header_.find(quote, at_ + 1);
    check_header(end != std::string_view::npos, "a string without end");
    const std::string_view result = header_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return result;
  }

  void read_dict() {
    expect("{");
    while (!accept("}")) {
      const std::string_view key = quoted();
      expect(":");
      if (key == "descr") {
        check_header(!dtype_, "duplicate key 'descr'");
        check_header(!accept("["), "arrays of structures are not supported");
        read_type(quoted());
      } else if (key == "fortran_order") {
        check_header(!fortran_order_, "duplicate key 'fortran_order'");
        fortran_order_ = accept("True");
        if (!*fortran_order_) expect("False");
      } else if (key == "shape") {
        check_header(!shape_, "duplicate key 'shape'");
        read_shape();
      } else {
        check_header(false, "unknown key '", key, "'");
      }
      if (!accept(",")) {
        expect("}");
        break;
      }
    }
    skip_spaces();
    check_header(at_ == header_.size(), "expected the end of the header");
  }

  void read_type(std::string_view descr) {
    using enum DType;
    static constexpr std::pair<std::string_view, DType> types[] = {{"b1", BOOL}, {"u1", U8},  {"i1", I8},  {"u2", U16},
                                                                   {"i2", I16},  {"u4", U32}, {"i4", I32}, {"u8", U64},
                                                                   {"i8", I64},  {"f2", F16}, {"f4", F32}, {"f8", F64}};
    if (descr.size() == 3 && std::string_view("<>|=").find(descr[0]) != std::string_view::npos)
      for (const auto& [name, dtype] : types)
        if (descr.substr(1) == name) dtype_ = dtype;
    check_header(dtype_.has_value(), "dtype '", descr, "' is not supported");
    swapped_ = descr[0] == '>';
  }

  void read_shape() {
    std::vector<Index> extents;
    expect("(");
    while (!accept(")")) {
      skip_spaces();
      Index extent = 0;
      const std::size_t begin = at_;
      for (; at_ < header_.size() && header_[at_] >= '0' && header_[at_] <= '9'; ++at_) {
        check_header(extent <= (std::numeric_limits<Index>::max() - 9) / 10, "shape cannot be addressed");
        extent = 10 * extent + (header_[at_] - '0');
      }
      check_header(at_ > begin, "expected a number in shape");
      if (at_ < header_.size() && header_[at_] == 'L') ++at_;  // old Python's long: (2L, 3L)
      extents.push_back(extent);
      if (!accept(",")) {
        expect(")");
        break;
      }
    }
    try {
      shape_ = Shape(std::span<const Index>(extents));
    } catch (const ShapeError& error) {
      check_header(false, std::string_view(error.what()));
    }
  }

  std::span<const std::uint8_t> bytes_;
  const std::string& source_;
  std::string_view header_;
  std::size_t at_ = 0;    // within the header
  std::size_t data_ = 0;  // where the elements begin
  std::optional<DType> dtype_;
  std::optional<bool> fortran_order_;
  std::optional<Shape> shape_;
  bool swapped_ = false;
};

LAMINA_IO_INLINE NpyArray parse_npy(std::span<const std::uint8_t> bytes, const std::string& source) {
  return NpyParser(bytes, source).parse();
}

LAMINA_IO_INLINE Bytes normalised(const NpyArray& array) {
  const std::size_t size = info(array.dtype).bits / 8;
  Bytes bytes(array.data.begin(), array.data.end());
  if (array.swapped)
    for (std::size_t i = 0; i < bytes.size(); i += size) std::reverse(&bytes[i], &bytes[i] + size);
  if (!array.fortran_order || array.shape.rank() < 2) return bytes;
  const Bytes columns = bytes;
  std::array<Index, Shape::max_rank> position{};
  for (std::size_t to = 0; to < bytes.size(); to += size) {
    Index from = 0;
    for (int axis = array.shape.rank() - 1; axis >= 0; --axis)
      from = from * array.shape[axis] + position[static_cast<std::size_t>(axis)];
    std::memcpy(&bytes[to], &columns[static_cast<std::size_t>(from) * size], size);
    for (int axis = array.shape.rank() - 1; axis >= 0; --axis) {  // the next position, the last axis fastest
      Index& p = position[static_cast<std::size_t>(axis)];
      if (++p < array.shape[axis]) break;
      p = 0;
    }
  }
  return bytes;
}

/// Raw deflate, as zip archives hold.
LAMINA_IO_INLINE Bytes deflated(const Bytes& bytes) {
  z_stream stream{};
  require<Error>(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK,
                 "cannot start zlib");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, deflateEnd);
  Bytes out(deflateBound(&stream, static_cast<uLong>(bytes.size())));
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(std::min<std::size_t>(out.size(), 0xffffffff));
  require<Error>(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib cannot compress ", bytes.size(), " bytes");
  out.resize(stream.total_out);
  return out;
}

}  // namespace detail

LAMINA_IO_INLINE void NpzFile::read_directory() {
  const auto bytes = file_->bytes();
  const auto signature = [&](std::size_t at, std::uint32_t expected) {
    return at + 4 <= bytes.size() && number(at, 4) == expected;
  };
  constexpr std::size_t tail = 22;  // the end record, without the comment that may follow
  std::size_t end = bytes.size();
  for (std::size_t comment = 0; comment <= 0xffff && comment + tail <= bytes.size(); ++comment) {
    const std::size_t at = bytes.size() - tail - comment;
    if (signature(at, 0x06054b50) && number(at + 20, 2) == comment) {
      end = at;
      break;
    }
  }
  check(end < bytes.size(), "not a .npz file, or cut short: no end record of a zip archive");
  const std::size_t count = number(end + 10, 2);
  const std::size_t size = number(end + 12, 4), begin = number(end + 16, 4);
  check(!(end >= 20 && signature(end - 20, 0x07064b50)) && count != 0xffff && begin != 0xffffffff,
        "zip64 archives are not supported, at offset ", end);
  check(number(end + 4, 4) == 0 && number(end + 8, 2) == count, "zip archives in parts are not supported");
  check(begin <= end && size <= end - begin, "the zip directory of ", size, " bytes at offset ", begin,
        " does not fit before its end record at offset ", end);
  std::size_t at = begin;
  for (std::size_t i = 0; i < count; ++i) {
    check(at + 46 <= end && signature(at, 0x02014b50), "no zip directory entry at offset ", at);
    const std::size_t name_size = number(at + 28, 2);
    const std::size_t next = at + 46 + name_size + number(at + 30, 2) + number(at + 32, 2);
    check(next <= end, "the zip directory entry at offset ", at, " is cut short");
    std::string name(reinterpret_cast<const char*>(bytes.data()) + at + 46, name_size);
    const std::uint32_t method = number(at + 10, 2);
    check((number(at + 8, 2) & 1) == 0, "'", name, "' is encrypted");
    check(method == 0 || method == 8, "'", name, "': compression method ", method, " is not supported");
    Entry entry{name, method == 8, number(at + 16, 4), number(at + 20, 4), number(at + 24, 4), number(at + 42, 4)};
    check(entry.compressed != 0xffffffff && entry.size != 0xffffffff && entry.header != 0xffffffff, "'", name,
          "': zip64 archives are not supported");
    check(name.size() > 4 && name.ends_with(".npy"), "'", name, "' is not a .npy file");
    entry.name.resize(name.size() - 4);
    check(places_.emplace(entry.name, entries_.size()).second, "duplicate entry '", name, "'");
    entries_.push_back(std::move(entry));
    at = next;
  }
}

LAMINA_IO_INLINE NpzFile::Opened NpzFile::open(const std::string& key) const {
  const auto place = places_.find(key);
  check(place != places_.end(), "no array '", key, "'");
  const Entry* const entry = &entries_[place->second];
  const std::string source = text(path_, ": ", key, ".npy");
  const auto bytes = file_->bytes();
  const std::size_t at = entry->header;
  check(at + 30 <= bytes.size() && number(at, 4) == 0x04034b50, "no zip entry at offset ", at);
  const std::size_t data = at + 30 + number(at + 26, 2) + number(at + 28, 2);
  check(data <= bytes.size() && entry->compressed <= bytes.size() - data, "'", key, "' reaches beyond the file");
  detail::Inflated inflated{};
  std::span<const std::uint8_t> content = bytes.subspan(data, entry->compressed);
  if (entry->deflated) {
    check(entry->size <= options_.max_bytes, "'", key, "': ", entry->size,
          " bytes when decompressed exceed the limit of ", options_.max_bytes, " (ReadOptions::max_bytes)");
    inflated = detail::inflated(source, bytes.first(data + entry->compressed), data, detail::Deflated::raw, entry->size,
                                text("the ", entry->size, " bytes that the zip directory says"));
    check(inflated.end == data + entry->compressed, "'", key, "': the compressed data ends early, at offset ",
          inflated.end);
    content = inflated.data;
  }
  check(content.size() == entry->size, "'", key, "': expected ", entry->size, " bytes, found ", content.size());
  check(crc32_z(0, content.data(), content.size()) == entry->checksum, "'", key, "' is damaged: wrong checksum");
  const detail::NpyArray array = detail::parse_npy(content, source);
  return {std::move(inflated.data), source, array};
}

LAMINA_IO_INLINE void write_npz(const std::string& path, const NamedTensors& tensors, NpzOptions options) {
  AtomicFile file(path);
  std::string directory;
  std::uint64_t at = 0;
  const auto put = [](std::string& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
  };
  const auto check_size = [&](std::uint64_t bytes) {
    require<FileError>(bytes < 0xffffffff, path, ": a .npz file of more than 4 GB is not supported");
  };
  std::unordered_set<std::string> keys;
  for (const auto& [key, tensor] : tensors) {
    require(keys.insert(key).second, path, ": two arrays are named '", key, "'");
    const std::string name = key + ".npy";
    const std::string header = std::visit([](const auto& t) { return detail::npy_header(t); }, tensor);
    const auto data = std::visit([](const auto& t) { return detail::bytes_of(t); }, tensor);
    const std::uint64_t size = header.size() + data.size();
    check_size(size);
    Bytes content(header.begin(), header.end());
    content.insert(content.end(), data.begin(), data.end());
    const uLong checksum = crc32_z(0, content.data(), content.size());
    if (options.compress) content = detail::deflated(content);
    check_size(at + content.size());

    std::string fields;     // what the local header and the directory entry share
    put(fields, 20, 2);     // version needed: 2.0
    put(fields, 0x800, 2);  // the name is UTF-8
    put(fields, options.compress ? 8 : 0, 2);
    put(fields, 0, 2);
    put(fields, 0x21, 2);  // 1980-01-01 00:00
    put(fields, checksum, 4);
    put(fields, content.size(), 4);
    put(fields, size, 4);
    put(fields, name.size(), 2);
    put(fields, 0, 2);

    directory += "PK\x01\x02";
    put(directory, 20, 2);
    directory += fields;
    directory.append(10, '\0');  // no comment, first part, no attributes
    put(directory, at, 4);
    directory += name;

    file.write("PK\x03\x04");
    file.write(fields);
    file.write(name);
    file.write(content);
    at += 4 + fields.size() + name.size() + content.size();
  }
  check_size(at + directory.size());
  require<FileError>(tensors.size() < 0xffff, path, ": more than 65534 arrays are not supported");
  std::string end = "PK\x05\x06";
  put(end, 0, 4);
  put(end, tensors.size(), 2);
  put(end, tensors.size(), 2);
  put(end, directory.size(), 4);
  put(end, at, 4);
  put(end, 0, 2);
  file.write(directory);
  file.write(end);
  file.commit();
}

}  // namespace lamina::inline LAMINA_ABI
