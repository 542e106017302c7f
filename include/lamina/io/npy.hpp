#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/io/dtype.hpp"
#include "lamina/io/file.hpp"

/// NumPy's .npy (one array; format versions 1 to 3) and .npz (a zip archive of them).
namespace lamina::inline LAMINA_ABI {

namespace detail {

/// One array of a .npy file, in place.
struct NpyArray {
  DType dtype;
  Shape shape;
  bool fortran_order;
  bool swapped;  // big-endian
  std::span<const std::uint8_t> data;
};

/// Parses and checks a .npy file; `source` begins messages.
NpyArray parse_npy(std::span<const std::uint8_t> bytes, const std::string& source);

/// The elements as little-endian and row-major.
Bytes normalised(const NpyArray& array);

template <class T>
Tensor<T> npy_tensor(const NpyArray& array, const std::string& source) {
  if (!readable_as<T>(array.dtype))
    throw FileError(text(source, ": expected a dtype that reads as ", info(dtype_of<T>()).name, ", found ",
                         info(array.dtype).name));
  if (!array.swapped && !array.fortran_order) return to_tensor<T>(array.data.data(), array.dtype, array.shape);
  return to_tensor<T>(normalised(array).data(), array.dtype, array.shape);
}

/// The header of a .npy file of this tensor, padded so that the elements begin at a multiple of 64.
template <class T>
std::string npy_header(const Tensor<T>& tensor) {
  const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
  std::string shape;
  for (const Index extent : tensor.shape()) shape += text(extent, tensor.rank() == 1 ? "," : ", ");
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  std::string header = text("{'descr': '", sizeof(T) == 1 ? '|' : '<', kind, sizeof(T),
                            "', 'fortran_order': False, 'shape': (", shape, "), }");
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xff);
  prefix += static_cast<char>(header.size() >> 8);
  return prefix + header;
}

}  // namespace detail

/// Decodes a .npy file as float or double (from f2, f4 or f8, rounded to nearest), or as std::int64_t, std::int32_t or
/// std::uint8_t (from the integer types whose values it holds). Big-endian and Fortran-order arrays are rearranged.
/// `source` is the file's path, for messages. Throws FileError, naming path, offset and field, for what is not a .npy
/// file, another version, an element type that T does not read, more than six dimensions, missing or trailing bytes.
template <class T = float>
Tensor<T> decode_npy(std::span<const std::uint8_t> bytes, const std::string& source) {
  return within_memory(source, [&] { return detail::npy_tensor<T>(detail::parse_npy(bytes, source), source); });
}

/// Reads a .npy file; see decode_npy.
template <class T = float>
Tensor<T> read_npy(const std::string& path) {
  return decode_npy<T>(within_memory(path, [&] { return detail::read_all(path); }), path);
}

/// Writes a .npy file (format version 1), whole or not at all.
template <class T>
void write_npy(const std::string& path, const Tensor<T>& tensor) {
  AtomicFile file(path);
  file.write(detail::npy_header(tensor));
  file.write(detail::bytes_of(tensor));
  file.commit();
}

/// A .npz file: arrays by name, stored or deflated.
class NpzFile {
 public:
  /// Reads the archive's directory. Throws FileError for what is not a zip archive, a damaged or encrypted one, zip64
  /// (more than 4 GB), another compression, an entry that is not a .npy file, or a name given twice.
  explicit NpzFile(std::string path, const ReadOptions& options = {})
      : NpzFile(path, detail::MappedFile::open(path), options) {}
  /// The same for the bytes of a file; `source` begins messages as a path does.
  NpzFile(Bytes bytes, std::string source, const ReadOptions& options = {})
      : NpzFile(std::move(source), std::make_shared<detail::MappedFile>(std::move(bytes)), options) {}

  /// The arrays' names, without ".npy".
  std::vector<std::string> keys() const {
    std::vector<std::string> result;
    for (const Entry& entry : entries_) result.push_back(entry.name);
    return result;
  }
  /// Whether there is an array of this name.
  bool contains(const std::string& key) const { return places_.contains(key); }

  /// One array; as read_npy. Throws FileError for a name that is not there, for damage (the checksum is verified), and
  /// for a deflated array of more than ReadOptions::max_bytes.
  template <class T = float>
  Tensor<T> tensor(const std::string& key) const {
    return within_memory(path_, [&] {
      const Opened entry = open(key);
      return detail::npy_tensor<T>(entry.array, entry.source);
    });
  }

  /// An array in the nearest of AnyTensor's types. Throws FileError for u8 (64 bits without sign), which has none.
  AnyTensor any(const std::string& key) const {
    return within_memory(path_, [&] {
      const Opened entry = open(key);
      return detail::nearest(entry.array.dtype, [&](auto type) -> AnyTensor {
        return detail::npy_tensor<decltype(type)>(entry.array, entry.source);
      });
    });
  }

 private:
  struct Entry {
    std::string name;
    bool deflated;
    std::uint32_t checksum;
    std::size_t compressed, size;  // bytes
    std::size_t header;            // offset of the local header
  };
  struct Opened {
    Bytes inflated;  // what the array lies over, unless it is stored
    std::string source;
    detail::NpyArray array;
  };

  NpzFile(std::string path, std::shared_ptr<const detail::MappedFile> file, const ReadOptions& options)
      : path_(std::move(path)), file_(std::move(file)), options_(options) {
    within_memory(path_, [&] { read_directory(); });
  }

  template <class... Parts>
  void check(bool condition, const Parts&... parts) const {
    if (!condition) throw FileError(text(path_, ": ", parts...));
  }
  std::uint32_t number(std::size_t at, int bytes) const {
    std::uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) value = value << 8 | file_->bytes()[at + static_cast<std::size_t>(i)];
    return value;
  }

  void read_directory();
  Opened open(const std::string& key) const;

  std::string path_;
  std::shared_ptr<const detail::MappedFile> file_;
  ReadOptions options_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> places_;  // of the entries by name
};

/// Options of write_npz.
struct NpzOptions {
  bool compress = false;  ///< deflate, as numpy.savez_compressed
};

/// Writes arrays into a .npz file, whole or not at all. The bytes depend on the tensors alone (no time stamps). Throws
/// ValueError for a name given twice, FileError when the archive would exceed 4 GB or the file cannot be written.
void write_npz(const std::string& path, const NamedTensors& tensors, NpzOptions options = {});

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/npy-inl.hpp"
#endif
