#pragma once

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/io/dtype.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/onnx/protobuf.hpp"

/// The messages of an ONNX file (github.com/onnx/onnx, onnx.proto), as far as Lamina reads and writes them.
namespace lamina::inline LAMINA_ABI::onnx {

/// ONNX's TensorProto.DataType.
enum class ElementType : int {
  undefined = 0,
  float32,
  uint8,
  int8,
  uint16,
  int16,
  int32,
  int64,
  string,
  boolean,
  float16,
  float64,
  uint32,
  uint64,
  complex64,
  complex128,
  bfloat16
};

/// The name of a type, as in ONNX.
inline std::string to_text(ElementType type) {
  static constexpr std::array<const char*, 17> names{
      "undefined", "float32", "uint8",   "int8",   "uint16", "int16",     "int32",      "int64",   "string",
      "bool",      "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"};
  const auto i = static_cast<std::size_t>(type);
  return i < names.size() ? names[i] : text("type ", static_cast<int>(type));
}

/// Whether it has fractions.
inline bool is_floating(ElementType type) {
  return type == ElementType::float32 || type == ElementType::float64 || type == ElementType::float16 ||
         type == ElementType::bfloat16;
}
/// Whole numbers and booleans.
inline bool is_integral(ElementType type) {
  return (type >= ElementType::uint8 && type <= ElementType::int64) || type == ElementType::boolean ||
         type == ElementType::uint32 || type == ElementType::uint64;
}

/// A tensor with its elements as they lie in the file.
struct TensorMessage {
  std::string name = {};                      ///< of the initialiser
  std::vector<std::int64_t> dims = {};        ///< extents, outermost first
  ElementType type = ElementType::undefined;  ///< of its elements
  std::span<const std::uint8_t> raw = {};     ///< little-endian elements, if they are given so
  bool has_raw = false;                       ///< whether `raw` is given
  std::vector<float> floats = {};             ///< or in the list that belongs to the type
  std::vector<std::int64_t> integers = {};    ///< of all types of whole numbers, halves as their bits
  std::vector<double> doubles = {};           ///< of doubles
  std::optional<std::string> external = {};   ///< the file that holds them
};

struct Node;
struct GraphMessage;

/// An attribute of a node: one of these values, by its type.
struct Attribute {
  std::string name = {};  ///< as in the operator's description
  int type = 0;           ///< ONNX's AttributeProto.AttributeType
  /// The value.
  /// @{
  float f = 0;
  std::int64_t i = 0;
  std::string s = {};
  TensorMessage tensor = {};
  std::vector<float> floats = {};
  std::vector<std::int64_t> ints = {};
  std::vector<std::string> strings = {};
  /// @}

  /// The values of `type`.
  /// @{
  static constexpr int float_type = 1, int_type = 2, string_type = 3, tensor_type = 4, floats_type = 6, ints_type = 7,
                       strings_type = 8;
  /// @}
};

/// A node of a graph.
struct Node {
  /// Its own name, the operator's, and that of the operator's set ("" for ONNX's own).
  /// @{
  std::string name = {}, op = {}, domain = {};
  /// @}
  /// Names of values; "" for one that is left out.
  /// @{
  std::vector<std::string> inputs = {}, outputs = {};
  /// @}
  std::vector<Attribute> attributes = {};  ///< in the file's order
};

/// The name and type of an input or output of a graph.
struct ValueInfo {
  std::string name = {};                      ///< of the value
  ElementType type = ElementType::undefined;  ///< of its elements
  bool has_shape = false;                     ///< whether a shape is given
  std::vector<std::int64_t> dims = {};        ///< -1: unknown
  std::vector<std::string> dim_names = {};    ///< of those that are unknown, "" of others
};

/// A graph: nodes in an order in which they can run.
struct GraphMessage {
  std::string name = {};                         ///< of the graph
  std::vector<Node> nodes = {};                  ///< in order
  std::vector<TensorMessage> initializers = {};  ///< constants by name
  /// Of the graph.
  /// @{
  std::vector<ValueInfo> inputs = {}, outputs = {};
  /// @}
  bool sparse = false;  ///< whether there are sparse initialisers
};

/// The version of a set of operators.
struct OperatorSet {
  std::string domain = {};   ///< "" for ONNX's own
  std::int64_t version = 0;  ///< of the set
};

/// A model's file.
struct ModelMessage {
  std::int64_t ir_version = 0;           ///< of the format
  std::vector<OperatorSet> opsets = {};  ///< that its nodes are of
  /// The program that wrote it.
  /// @{
  std::string producer = {}, producer_version = {};
  /// @}
  GraphMessage graph = {};     ///< the model's graph
  bool has_graph = false;      ///< whether there is one
  bool has_functions = false;  ///< whether it defines operators of its own
};

namespace detail {

using protobuf::Field;
using protobuf::Reader;
using protobuf::Writer;

/// Calls visit(field) for all fields of a message.
template <class Visit>
void for_each_field(Reader reader, Visit visit) {
  while (!reader.done()) visit(reader, reader.next());
}

inline TensorMessage read_tensor(const Reader& message) {
  TensorMessage result;
  std::string location;
  bool external = false;
  for_each_field(message, [&](const Reader& r, const Field& f) {
    switch (f.number) {
      case 1:
        return r.append(f, result.dims);
      case 2:
        result.type = static_cast<ElementType>(r.integer(f));
        return;
      case 4:
        return r.append(f, result.floats);
      case 5:
      case 7:
      case 11:
        return r.append(f, result.integers);
      case 8:
        result.name = r.text(f);
        return;
      case 9:
        result.raw = r.bytes(f);
        result.has_raw = true;
        return;
      case 10:
        return r.append(f, result.doubles);
      case 13: {
        std::string key, value;
        for_each_field(r.message(f), [&](const Reader& entry, const Field& part) {
          if (part.number == 1) key = entry.text(part);
          if (part.number == 2) value = entry.text(part);
        });
        if (key == "location") location = value;
        return;
      }
      case 14:
        external = r.integer(f) == 1;
        return;
      default:
        return;
    }
  });
  if (external) result.external = location;
  return result;
}

inline Attribute read_attribute(const Reader& message) {
  Attribute result;
  for_each_field(message, [&](const Reader& r, const Field& f) {
    switch (f.number) {
      case 1:
        result.name = r.text(f);
        return;
      case 2:
        result.f = r.float32(f);
        return;
      case 3:
        result.i = r.integer(f);
        return;
      case 4:
        result.s = r.text(f);
        return;
      case 5:
        result.tensor = read_tensor(r.message(f));
        return;
      case 7:
        return r.append(f, result.floats);
      case 8:
        return r.append(f, result.ints);
      case 9:
        result.strings.push_back(r.text(f));
        return;
      case 20:
        result.type = static_cast<int>(r.integer(f));
        return;
      default:
        return;
    }
  });
  return result;
}

inline Node read_node(const Reader& message) {
  Node result;
  for_each_field(message, [&](const Reader& r, const Field& f) {
    switch (f.number) {
      case 1:
        result.inputs.push_back(r.text(f));
        return;
      case 2:
        result.outputs.push_back(r.text(f));
        return;
      case 3:
        result.name = r.text(f);
        return;
      case 4:
        result.op = r.text(f);
        return;
      case 5:
        result.attributes.push_back(read_attribute(r.message(f)));
        return;
      case 7:
        result.domain = r.text(f);
        return;
      default:
        return;
    }
  });
  return result;
}

inline void read_dimensions(const Reader& shape, ValueInfo& result) {
  result.has_shape = true;
  for_each_field(shape, [&](const Reader& r, const Field& f) {
    if (f.number != 1) return;
    std::int64_t extent = -1;
    std::string name = {};
    for_each_field(r.message(f), [&](const Reader& d, const Field& part) {
      if (part.number == 1) extent = d.integer(part);
      if (part.number == 2) name = d.text(part);
    });
    result.dims.push_back(extent);
    result.dim_names.push_back(name);
  });
}

inline ValueInfo read_value_info(const Reader& message) {
  ValueInfo result;
  for_each_field(message, [&](const Reader& r, const Field& f) {
    if (f.number == 1) result.name = r.text(f);
    if (f.number != 2) return;
    for_each_field(r.message(f), [&](const Reader& type, const Field& kind) {
      if (kind.number != 1) return;  // a sequence, a map: the type stays undefined
      for_each_field(type.message(kind), [&](const Reader& tensor, const Field& part) {
        if (part.number == 1) result.type = static_cast<ElementType>(tensor.integer(part));
        if (part.number == 2) read_dimensions(tensor.message(part), result);
      });
    });
  });
  return result;
}

inline GraphMessage read_graph(const Reader& message) {
  GraphMessage result;
  for_each_field(message, [&](const Reader& r, const Field& f) {
    switch (f.number) {
      case 1:
        result.nodes.push_back(read_node(r.message(f)));
        return;
      case 2:
        result.name = r.text(f);
        return;
      case 5:
        result.initializers.push_back(read_tensor(r.message(f)));
        return;
      case 11:
        result.inputs.push_back(read_value_info(r.message(f)));
        return;
      case 12:
        result.outputs.push_back(read_value_info(r.message(f)));
        return;
      case 15:
        result.sparse = true;
        return;
      default:
        return;
    }
  });
  return result;
}

}  // namespace detail

/// The messages of a file's bytes, which must live as long as the tensors' elements are looked at. Throws FileError for
/// bytes that are no such message, with the offset.
inline ModelMessage read_model(const std::string& source, std::span<const std::uint8_t> bytes) {
  ModelMessage result;
  detail::for_each_field(detail::Reader(source, bytes), [&](const detail::Reader& r, const detail::Field& f) {
    switch (f.number) {
      case 1:
        result.ir_version = r.integer(f);
        return;
      case 2:
        result.producer = r.text(f);
        return;
      case 3:
        result.producer_version = r.text(f);
        return;
      case 7:
        result.graph = detail::read_graph(r.message(f));
        result.has_graph = true;
        return;
      case 8: {
        OperatorSet set;
        detail::for_each_field(r.message(f), [&](const detail::Reader& entry, const detail::Field& part) {
          if (part.number == 1) set.domain = entry.text(part);
          if (part.number == 2) set.version = entry.integer(part);
        });
        result.opsets.push_back(set);
        return;
      }
      case 25:
        result.has_functions = true;
        return;
      default:
        return;
    }
  });
  return result;
}

namespace detail {

/// The type in a file of elements of type T.
template <class T>
constexpr ElementType element_type_of() {
  if constexpr (std::is_same_v<T, float>)
    return ElementType::float32;
  else if constexpr (std::is_same_v<T, double>)
    return ElementType::float64;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return ElementType::int64;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return ElementType::int32;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>);
    return ElementType::uint8;
  }
}

/// How elements of a type are named among all that files hold; none for texts and complex numbers.
inline std::optional<DType> dtype_of(ElementType type) {
  constexpr std::array<DType, 17> table{DType::C64, DType::F32, DType::U8,  DType::I8,   DType::U16, DType::I16,
                                        DType::I32, DType::I64, DType::C64, DType::BOOL, DType::F16, DType::F64,
                                        DType::U32, DType::U64, DType::C64, DType::C64,  DType::BF16};
  const auto i = static_cast<std::size_t>(type);
  if (i >= table.size() || table[i] == DType::C64) return std::nullopt;
  return table[i];
}

/// A tensor message's elements as T: float or double of floating-point types, int64 of whole ones. `where` names the
/// tensor in errors, which are FileErrors.
template <class T>
Tensor<T> elements(const std::string& where, const TensorMessage& message,
                   const std::shared_ptr<const void>& keep_alive = nullptr) {
  require<FileError>(!message.external, where, ": its elements are in another file, '",
                     message.external.value_or(std::string()), "', which is not read: save the model as one file");
  const std::optional<DType> dtype = dtype_of(message.type);
  require<FileError>(dtype && (std::is_integral_v<T> ? is_integral(message.type) : is_floating(message.type)), where,
                     ": elements of type ", to_text(message.type), " are not taken");
  Shape shape;
  try {
    const std::vector<Index> extents(message.dims.begin(), message.dims.end());
    shape = Shape(std::span<const Index>(extents));
  } catch (const ShapeError& error) {
    fail<FileError>(where, ": ", error.what());
  }
  const auto count = static_cast<std::size_t>(shape.numel());
  const auto expect = [&](std::size_t have) {
    require<FileError>(have == count, where, ": shape ", shape, " needs ", count, " elements, the file has ", have);
  };
  if (message.has_raw) {
    const std::size_t each = lamina::detail::info(*dtype).bits / 8;
    require<FileError>(message.raw.size() == count * each, where, ": shape ", shape, " needs ", count * each,
                       " bytes, the file has ", message.raw.size());
    if (*dtype == DType::U64) {
      if constexpr (std::is_integral_v<T>) return lamina::detail::convert<T, std::uint64_t>(message.raw.data(), shape);
    }
    return lamina::detail::to_tensor<T>(message.raw.data(), *dtype, shape, keep_alive);
  }
  Tensor<T> result;
  const auto put = [&](const auto& list, auto convert) {
    expect(list.size());
    result = Tensor<T>(shape);
    T* const to = result.data();
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<T>(convert(list[i]));
  };
  const auto same = [](auto value) { return value; };
  const auto bits = [](std::int64_t value) { return static_cast<std::uint16_t>(value); };
  if (message.type == ElementType::float32)
    put(message.floats, same);
  else if (message.type == ElementType::float64)
    put(message.doubles, same);
  else if (message.type == ElementType::float16)
    put(message.integers, [&](auto v) { return lamina::detail::to_number(lamina::detail::Half{bits(v)}); });
  else if (message.type == ElementType::bfloat16)
    put(message.integers, [&](auto v) { return lamina::detail::to_number(lamina::detail::BFloat{bits(v)}); });
  else
    put(message.integers, same);
  return result;
}

inline Writer written(const TensorMessage& tensor) {
  Writer out;
  for (const std::int64_t extent : tensor.dims) out.integer(1, extent);
  out.integer(2, static_cast<int>(tensor.type));
  if (!tensor.name.empty()) out.text(8, tensor.name);
  out.bytes(9, tensor.raw);
  return out;
}

inline Writer written(const Attribute& attribute) {
  Writer out;
  out.text(1, attribute.name);
  switch (attribute.type) {
    case Attribute::float_type:
      out.float32(2, attribute.f);
      break;
    case Attribute::int_type:
      out.integer(3, attribute.i);
      break;
    case Attribute::string_type:
      out.text(4, attribute.s);
      break;
    case Attribute::tensor_type:
      out.message(5, written(attribute.tensor));
      break;
    case Attribute::floats_type:
      out.floats(7, attribute.floats);
      break;
    default:
      for (const std::int64_t value : attribute.ints) out.integer(8, value);
  }
  out.integer(20, attribute.type);
  return out;
}

inline Writer written(const Node& node) {
  Writer out;
  for (const auto& name : node.inputs) out.text(1, name);
  for (const auto& name : node.outputs) out.text(2, name);
  out.text(3, node.name);
  out.text(4, node.op);
  for (const auto& attribute : node.attributes) out.message(5, written(attribute));
  return out;
}

inline Writer written(const ValueInfo& value) {
  Writer shape;
  for (const std::int64_t extent : value.dims) {
    Writer dimension;
    dimension.integer(1, extent);
    shape.message(1, dimension);
  }
  Writer tensor, type, out;
  tensor.integer(1, static_cast<int>(value.type));
  tensor.message(2, shape);
  type.message(1, tensor);
  out.text(1, value.name);
  out.message(2, type);
  return out;
}

inline Writer written(const GraphMessage& graph) {
  Writer out;
  for (const auto& node : graph.nodes) out.message(1, written(node));
  out.text(2, graph.name);
  for (const auto& tensor : graph.initializers) out.message(5, written(tensor));
  for (const auto& value : graph.inputs) out.message(11, written(value));
  for (const auto& value : graph.outputs) out.message(12, written(value));
  return out;
}

}  // namespace detail

/// Writes a model as a file, whole or not at all. Throws FileError when it cannot be written, or would have 2 GB or
/// more, which no reader of protocol buffers takes.
inline void write_model(const std::string& path, const ModelMessage& model) {
  detail::Writer out;
  out.integer(1, model.ir_version);
  out.text(2, model.producer);
  if (!model.producer_version.empty()) out.text(3, model.producer_version);
  out.message(7, detail::written(model.graph));
  for (const OperatorSet& set : model.opsets) {
    detail::Writer entry;
    entry.text(1, set.domain);
    entry.integer(2, set.version);
    out.message(8, entry);
  }
  constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
  require<FileError>(out.size() <= most, path, ": cannot write: the model has ", out.size(),
                     " bytes, and an ONNX file at most ", most);
  AtomicFile file(path);
  out.for_each_piece([&](std::span<const std::uint8_t> bytes) { file.write(bytes); });
  file.commit();
}

}  // namespace lamina::inline LAMINA_ABI::onnx
