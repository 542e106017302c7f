#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/io/dtype.hpp"
#include "lamina/io/file.hpp"
#include "lamina/nn/state.hpp"

/// The safetensors format (github.com/huggingface/safetensors): eight bytes with the length of a header, a JSON header
/// with each tensor's type, shape and place, and the tensors' bytes.
namespace lamina::inline LAMINA_ABI {

/// Text stored beside the tensors, under the header's "__metadata__".
using Metadata = std::map<std::string, std::string>;

/// What the header says about one tensor.
struct TensorInfo {
  std::string name;   ///< the key
  DType dtype;        ///< the type of its elements in the file
  Shape shape;        ///< extents, outermost first
  std::size_t begin;  ///< first byte within the file
  std::size_t end;    ///< the byte behind its last
};

namespace detail {

/// What a file's header says.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string, std::size_t> places;  // of the tensors by name
  Metadata metadata;
};
/// Parses and checks it; every message begins with the path.
SafetensorsHeader read_safetensors_header(const std::string& path, std::span<const std::uint8_t> file);

}  // namespace detail

/// A safetensors file, mapped into memory: tensors of matching type lie over the mapping, without a copy, and keep it
/// alive; the first write to one copies it. A file that is mapped must be replaced, not written in place (all of
/// Lamina's writers replace).
class SafetensorsFile {
 public:
  /// Opens and checks the whole header: its length, JSON, duplicate keys, types, shapes, and that the tensors' places
  /// match their shapes and fill the file without holes or overlap. Throws FileError, naming the path and the tensor
  /// and field or the offset.
  explicit SafetensorsFile(std::string path) : SafetensorsFile(path, detail::MappedFile::open(path)) {}
  /// The same for the bytes of a file; `source` begins messages as a path does.
  SafetensorsFile(Bytes bytes, std::string source)
      : SafetensorsFile(std::move(source), std::make_shared<detail::MappedFile>(std::move(bytes))) {}

  /// As it was given.
  const std::string& path() const { return path_; }
  /// Texts by name, from the header's "__metadata__".
  const Metadata& metadata() const { return header_.metadata; }
  /// All tensors, as in the header.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  /// The tensors' names, as in the header.
  std::vector<std::string> keys() const {
    std::vector<std::string> result;
    for (const TensorInfo& tensor : tensors()) result.push_back(tensor.name);
    return result;
  }
  /// Whether there is a tensor of this name.
  bool contains(const std::string& key) const { return find(key) != nullptr; }
  /// Throws FileError when there is no such tensor.
  const TensorInfo& info(const std::string& key) const {
    const TensorInfo* tensor = find(key);
    if (!tensor) throw FileError(text(path_, ": no tensor '", key, "'"));
    return *tensor;
  }

  /// A tensor as float or double (from F16, BF16, F32 or F64, rounded to nearest), or as std::int64_t, std::int32_t or
  /// std::uint8_t (from the integer types whose values it holds). Throws FileError for another stored type, which it
  /// names, or key. Tensors of types that Lamina does not read (F8, F4, C64, ...) stand in the way of no other.
  template <class T = float>
  Tensor<T> tensor(const std::string& key) const {
    const TensorInfo& tensor = info(key);
    if (!detail::readable_as<T>(tensor.dtype))
      throw FileError(text(path_, ": tensor '", key, "': expected a dtype that reads as ",
                           detail::info(detail::dtype_of<T>()).name, ", found ", detail::info(tensor.dtype).name));
    return within_memory(path_, [&] {
      return detail::to_tensor<T>(file_->bytes().data() + tensor.begin, tensor.dtype, tensor.shape, file_);
    });
  }

  /// A tensor in the nearest of AnyTensor's types. Throws FileError for U64 and for the types that are
  /// named only, which have none.
  AnyTensor any(const std::string& key) const {
    return detail::nearest(info(key).dtype, [&](auto type) -> AnyTensor { return tensor<decltype(type)>(key); });
  }

 private:
  SafetensorsFile(std::string path, std::shared_ptr<const detail::MappedFile> file)
      : path_(std::move(path)),
        file_(std::move(file)),
        header_(within_memory(path_, [&] { return detail::read_safetensors_header(path_, file_->bytes()); })) {}
  const TensorInfo* find(const std::string& key) const {
    const auto place = header_.places.find(key);
    return place == header_.places.end() ? nullptr : &header_.tensors[place->second];
  }

  std::string path_;
  std::shared_ptr<const detail::MappedFile> file_;
  detail::SafetensorsHeader header_;
};

/// Writes tensors and metadata into one file, whole or not at all (AtomicFile). Tensors of wider types come first in
/// the file, which keeps every one aligned; the header lists them as given. Throws ValueError for a name given twice,
/// FileError when the file cannot be written.
void write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {});

/// Writes a model: `save_state_dict("model.safetensors", state_dict(net))`.
template <class Scalar>
void save_state_dict(const std::string& path, const StateDict<Scalar>& state, const Metadata& metadata = {}) {
  NamedTensors tensors;
  for (const auto& [name, value] : state)
    tensors.emplace_back(name, std::visit([](const auto& tensor) { return AnyTensor(tensor); }, value));
  write_safetensors(path, tensors, metadata);
}

/// Options of load_safetensors.
struct LoadSafetensorsOptions {
  bool skip_unreadable = false;  ///< leave out tensors of types that Lamina does not read (F8, F4, C64, U64, ...)
};

/// Reads a model's parameters and buffers: `load_state_dict(net, load_safetensors("model.safetensors"))`.
/// Floating-point tensors become Scalar, integers std::int64_t. Tensors of the file's own type lie over the mapped
/// file. Throws FileError, naming the tensor and its type, for one of a type that Lamina does not read, unless such
/// tensors are to be left out.
template <class Scalar = float>
StateDict<Scalar> load_safetensors(const std::string& path, const LoadSafetensorsOptions& options = {}) {
  const SafetensorsFile file(path);
  StateDict<Scalar> state;
  for (const TensorInfo& tensor : file.tensors()) {
    if (detail::readable_as<Scalar>(tensor.dtype))
      state.emplace_back(tensor.name, file.tensor<Scalar>(tensor.name));
    else if (!options.skip_unreadable || detail::readable_as<std::int64_t>(tensor.dtype))
      state.emplace_back(tensor.name, file.tensor<std::int64_t>(tensor.name));
  }
  return state;
}

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/safetensors-inl.hpp"
#endif
