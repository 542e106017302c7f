#pragma once

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/safetensors.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Parses and checks a safetensors header; every message begins with the path.
class SafetensorsReader {
 public:
  SafetensorsReader(const std::string& path, std::span<const std::uint8_t> file) : path_(path) {
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

  SafetensorsHeader found;

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
    const bool is_new =
        is_metadata ? !std::exchange(has_metadata_, true) : found.places.emplace(name, found.tensors.size()).second;
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
      found.metadata[key] = entry.get<std::string>();
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
    found.tensors.push_back({name, static_cast<DType>(dtype), shape, data_ + offsets[0], data_ + offsets[1]});
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
    for (const TensorInfo& tensor : found.tensors) order.push_back(&tensor);
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

LAMINA_IO_INLINE SafetensorsHeader read_safetensors_header(const std::string& path,
                                                           std::span<const std::uint8_t> file) {
  return std::move(SafetensorsReader(path, file).found);
}

}  // namespace detail

LAMINA_IO_INLINE void write_safetensors(const std::string& path, const NamedTensors& tensors,
                                        const Metadata& metadata) {
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

}  // namespace lamina::inline LAMINA_ABI
