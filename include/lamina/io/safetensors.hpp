#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <unordered_map>
#include <unordered_set>
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

/// Parses and checks a safetensors header; every message begins with the path.
class SafetensorsHeader {
 public:
  SafetensorsHeader(const std::string& path, std::span<const std::uint8_t> file) : path_(path) {
    constexpr std::uint64_t largest = 100'000'000;  // as the reference implementation
    check(file.size() >= 8, "not a safetensors file: ", file.size(), " bytes, expected at least 8");
    std::uint64_t length;
    std::memcpy(&length, file.data(), 8);
    check(length <= largest, "not a safetensors file: header length ", length, " at offset 0 exceeds the limit of ",
          largest);
    check(length <= file.size() - 8, "header length ", length, " at offset 0 exceeds the file's ", file.size() - 8,
          " bytes behind it (cut short?)");
    data_ = 8 + static_cast<std::size_t>(length);
    parse(file.subspan(8, static_cast<std::size_t>(length)));
    check_places(file.size());
  }

  std::vector<TensorInfo> tensors;
  std::unordered_map<std::string, std::size_t> places;  // of the tensors by name
  Metadata metadata;

 private:
  using Json = nlohmann::ordered_json;

  template <class... Parts>
  void check(bool condition, const Parts&... parts) const {
    if (!condition) throw FileError(text(path_, ": ", parts...));
  }

  /// A value of the header as it is written there, the beginning of a long one.
  struct Excerpt {
    const Json& value;
    std::string to_string() const {
      std::string dump = value.dump();
      if (dump.size() > 200) dump.replace(200, std::string::npos, "...");
      return dump;
    }
  };

  /// Entries are read, and forgotten, as they come: however many there are, little is kept. The parser would take any
  /// depth, and keep the last of equal keys.
  void parse(std::span<const std::uint8_t> header) {
    constexpr int deepest = 8;  // three are used
    std::string entry;
    std::unordered_set<std::string> keys;  // of the entry
    const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
      using Event = Json::parse_event_t;
      const bool begins = event == Event::object_start || event == Event::array_start;
      check(!begins || depth < deepest, "header at offset 8: nested more than ", deepest, " deep");
      if (event == Event::key) {
        const auto& name = value.get_ref<const std::string&>();
        if (depth == 1) entry = name;
        if (depth == 1) keys.clear();
        check(depth != 2 || keys.insert(name).second, "header: duplicate key '", name, "'");
      } else if (!begins && depth == 1) {
        read_entry(entry, value);
        return false;
      }
      return true;
    };
    check(!header.empty() && header[0] == '{', "header at offset 8: expected '{' of a JSON object");
    try {
      const auto* const characters = reinterpret_cast<const char*>(header.data());  // libc++ has no traits of bytes
      const Json rest = Json::parse(characters, characters + header.size(), watch);
    } catch (const Json::exception& error) {
      throw FileError(text(path_, ": header at offset 8 is not JSON: ", error.what()));
    }
  }

  void read_entry(const std::string& name, const Json& value) {
    const bool is_metadata = name == "__metadata__";
    const bool is_new = is_metadata ? !std::exchange(has_metadata_, true) : places.emplace(name, tensors.size()).second;
    check(is_new, "header: duplicate key '", name, "'");
    if (is_metadata)
      read_metadata(value);
    else
      read_tensor(name, value);
  }

  void read_metadata(const Json& value) {
    check(value.is_object(), "header: __metadata__ must be an object of strings");
    for (const auto& [key, entry] : value.items()) {
      check(entry.is_string(), "header: __metadata__: '", key, "' must be a string");
      metadata[key] = entry.get<std::string>();
    }
  }

  void read_tensor(const std::string& name, const Json& value) {
    const std::string where = text("tensor '", name, "': ");
    check(value.is_object(), where, "expected an object with dtype, shape and data_offsets");
    for (const char* key : {"dtype", "shape", "data_offsets"})
      check(value.contains(key), where, "the header has no ", key);
    check(value.size() == 3, where, "the header has fields other than dtype, shape and data_offsets");

    check(value["dtype"].is_string(), where, "dtype must be a string");
    const auto dtype_name = value["dtype"].get<std::string>();
    std::size_t dtype = 0;
    while (dtype < dtypes.size() && dtypes[dtype].name != dtype_name) ++dtype;
    check(dtype < dtypes.size(), where, "unknown dtype '", dtype_name, "'");

    const Shape shape = shape_of(where, value["shape"]);
    const std::uint64_t bits = static_cast<std::uint64_t>(shape.numel()) * dtypes[dtype].bits;
    check(bits % 8 == 0, where, "shape ", shape, " of dtype ", dtype_name, " does not fill whole bytes");
    const Json& places_in_data = value["data_offsets"];
    const std::vector<std::uint64_t> offsets = numbers(where, "data_offsets", places_in_data);
    check(offsets.size() == 2, where, "data_offsets must be two numbers");
    check(offsets[0] <= offsets[1], where, "data_offsets ", Excerpt{places_in_data}, " end before they begin");
    check(offsets[1] - offsets[0] == bits / 8, where, "data_offsets ", Excerpt{places_in_data}, " span ",
          offsets[1] - offsets[0], " bytes, but dtype ", dtype_name, " and shape ", Excerpt{value["shape"]}, " need ",
          bits / 8);
    check(offsets[1] <= std::numeric_limits<std::uint64_t>::max() - data_, where, "data_offsets ",
          Excerpt{places_in_data}, " are beyond the end of the file");
    tensors.push_back({name, static_cast<DType>(dtype), shape, data_ + offsets[0], data_ + offsets[1]});
  }

  Shape shape_of(const std::string& where, const Json& value) const {
    std::vector<Index> shape;
    check(!value.is_array() || value.size() <= Shape::max_rank, where, "Shape: at most ", Shape::max_rank,
          " dimensions, got ", value.size());
    for (const std::uint64_t extent : numbers(where, "shape", value)) {
      check(extent <= std::numeric_limits<Index>::max(), where, "shape ", Excerpt{value}, " cannot be addressed");
      shape.push_back(static_cast<Index>(extent));
    }
    try {
      return Shape(std::span<const Index>(shape));
    } catch (const ShapeError& error) {
      throw FileError(text(path_, ": ", where, error.what()));
    }
  }

  std::vector<std::uint64_t> numbers(const std::string& where, const char* field, const Json& value) const {
    bool valid = value.is_array();
    std::vector<std::uint64_t> result;
    if (valid)
      for (const Json& entry : value) {
        valid = valid && entry.is_number_unsigned();
        if (valid) result.push_back(entry.get<std::uint64_t>());
      }
    check(valid, where, field, " must be an array of non-negative integers, found ", Excerpt{value});
    return result;
  }

  /// The tensors must fill the rest of the file without holes or overlap.
  void check_places(std::size_t file_size) const {
    std::vector<const TensorInfo*> order;
    for (const TensorInfo& tensor : tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
      return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
    });
    std::size_t at = data_;
    const TensorInfo* before = nullptr;
    for (const TensorInfo* tensor : order) {
      if (tensor->begin != at || tensor->end > file_size) {
        const std::string where =
            text("tensor '", tensor->name, "': data_offsets [", tensor->begin - data_, ",", tensor->end - data_, "]");
        check(tensor->end <= file_size, where, " end beyond the file's ", file_size - data_,
              " bytes of data (cut short?)");
        check(tensor->begin >= at, where, " overlap those of '", before ? before->name : "", "'");
        check(false, where, " leave a gap of ", tensor->begin - at, " bytes at offset ", at);
      }
      at = tensor->end;
      before = tensor;
    }
    check(at == file_size, file_size - at, " bytes at offset ", at, " belong to no tensor");
  }

  const std::string& path_;
  std::size_t data_ = 0;  // offset of the tensors' bytes
  bool has_metadata_ = false;
};

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
  struct Header {
    std::vector<TensorInfo> tensors;
    std::unordered_map<std::string, std::size_t> places;
    Metadata metadata;
  };
  SafetensorsFile(std::string path, std::shared_ptr<const detail::MappedFile> file)
      : path_(std::move(path)), file_(std::move(file)), header_(within_memory(path_, [&] {
          detail::SafetensorsHeader header(path_, file_->bytes());
          return Header{std::move(header.tensors), std::move(header.places), std::move(header.metadata)};
        })) {}
  const TensorInfo* find(const std::string& key) const {
    const auto place = header_.places.find(key);
    return place == header_.places.end() ? nullptr : &header_.tensors[place->second];
  }

  std::string path_;
  std::shared_ptr<const detail::MappedFile> file_;
  Header header_;
};

/// Writes tensors and metadata into one file, whole or not at all (AtomicFile). Tensors of wider types come first in
/// the file, which keeps every one aligned; the header lists them as given. Throws ValueError for a name given twice,
/// FileError when the file cannot be written.
inline void write_safetensors(const std::string& path, const NamedTensors& tensors, const Metadata& metadata = {}) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto element = [&](std::size_t i) {
    return std::visit([]<class T>(const Tensor<T>&) { return sizeof(T); }, tensors[i].second);
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return element(a) > element(b); });
  std::vector<std::size_t> begin(tensors.size());
  std::size_t at = 0;
  const auto bytes = [&](std::size_t i) {
    return std::visit([](const auto& tensor) { return detail::bytes_of(tensor); }, tensors[i].second);
  };
  for (const std::size_t i : order) {
    begin[i] = at;
    at += bytes(i).size();
  }
  std::unordered_set<std::string> names{"__metadata__"};
  std::string text = "{";
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata).dump();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string& name = tensors[i].first;  // not a structured binding: clang 14 does not capture those
      require(names.insert(name).second, path, ": tensor name '", name, "' is taken already");
      std::visit(
          [&]<class T>(const Tensor<T>& tensor) {
            const nlohmann::ordered_json entry{
                {"dtype", detail::info(detail::dtype_of<T>()).name},
                {"shape", std::vector<Index>(tensor.shape().begin(), tensor.shape().end())},
                {"data_offsets", {begin[i], begin[i] + bytes(i).size()}}};
            text += (text.size() > 1 ? "," : "") + nlohmann::json(name).dump() + ":" + entry.dump();
          },
          tensors[i].second);
    }
  } catch (const nlohmann::json::exception& error) {
    throw ValueError(lamina::text(path, ": names and metadata must be UTF-8: ", error.what()));
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');

  AtomicFile file(path);
  const std::uint64_t length = text.size();
  char prefix[8];
  std::memcpy(prefix, &length, sizeof prefix);
  file.write(std::string_view(prefix, sizeof prefix));
  file.write(text);
  for (const std::size_t i : order) file.write(bytes(i));
  file.commit();
}

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
