#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/io/onnx/model.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/options.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

/// A constant list, such as axes.
using Integers = std::vector<std::int64_t>;

/// An attribute of a node: attribute("axis", 1), attribute("pads", {1, 1, 1, 1}), attribute("alpha", 0.01f),
/// attribute("mode", "linear").
/// @{
inline Attribute attribute(std::string name, std::int64_t value) {
  Attribute result{.name = std::move(name), .type = Attribute::int_type};
  result.i = value;
  return result;
}
inline Attribute attribute(std::string name, int value) { return attribute(std::move(name), std::int64_t{value}); }
inline Attribute attribute(std::string name, double value) {
  Attribute result{.name = std::move(name), .type = Attribute::float_type};
  result.f = static_cast<float>(value);
  return result;
}
inline Attribute attribute(std::string name, const char* value) {
  Attribute result{.name = std::move(name), .type = Attribute::string_type};
  result.s = value;
  return result;
}
inline Attribute attribute(std::string name, Integers values) {
  Attribute result{.name = std::move(name), .type = Attribute::ints_type};
  result.ints = std::move(values);
  return result;
}
/// @}

/// Height and width.
inline Integers pair(const Size2& size) { return {size.h, size.w}; }
/// A shape's extents.
inline Integers extents(const Shape& shape) { return {shape.begin(), shape.end()}; }

/// Turns a recorded graph into an ONNX graph. A layer's function sees through it the layer's inputs and writes nodes:
///
///   template <class Scalar>
///   std::string exported(Exporter<Scalar>& to, const Softmax<Scalar>& layer) {
///     return to.add("Softmax", {to.in()}, {attribute("axis", layer.dim())});
///   }
///
/// Values are names; a function returns that of the layer's result.
template <class Scalar>
class Exporter {
 public:
  using Value = std::string;                                    ///< the name of one
  using Emit = Value (*)(Exporter&, const Primitive<Scalar>&);  ///< a layer's function
  /// The function of a layer, or null.
  using Find = Emit (*)(const Primitive<Scalar>&);

  /// With the function that finds those of layers.
  explicit Exporter(Find find) : find_(find) {}

  // What a layer's function asks.

  /// Its inputs, and the shapes of those and of its result.
  /// @{
  const Value& in(std::size_t i = 0) const { return instead_ ? *instead_ : values_->at(node_->inputs.at(i)); }
  std::size_t inputs() const { return node_->inputs.size(); }
  const Shape& shape(std::size_t i = 0) const { return graph_->shape(node_->inputs.at(i)); }
  const Shape& output_shape() const { return graph_->shape(node_->outputs[0]); }
  /// @}
  /// Its path, as in state_dict keys.
  const std::string& path() const { return path_; }

  // What it writes.

  /// A parameter or buffer of the layer, under its state_dict key.
  Value parameter(const std::string& name, const Tensor<Scalar>& value) {
    const std::string key = path_.empty() || name.empty() ? path_ + name : path_ + "." + name;
    if (keys_.insert(key).second) initializer(unique(key), value.template cast<float>());
    return key;
  }
  /// A tensor that is none.
  /// @{
  Value constant(const Tensor<float>& value) { return initializer(unique(place("constant")), value); }
  Value constant(double value) { return constant(Tensor<float>::full({}, static_cast<float>(value))); }
  Value constant(const Integers& values) {
    return initializer(unique(place("constant")), Tensor<std::int64_t>({static_cast<Index>(values.size())}, values));
  }
  Value constant(const Tensor<double>& value) { return initializer(unique(place("constant")), value); }
  /// @}

  /// A node of one result.
  Value add(const char* op, std::vector<Value> inputs, std::vector<Attribute> attributes = {}) {
    Value result = unique(place(op));
    model_.nodes.push_back({.name = result,
                            .op = op,
                            .domain = "",
                            .inputs = std::move(inputs),
                            .outputs = {result},
                            .attributes = std::move(attributes)});
    return result;
  }

  /// The nodes of another layer, which has no parameters, for x: of a part of this one. Throws ValueError, with the
  /// path, if it has no function.
  Value apply(const Primitive<Scalar>& layer, const Value& x) {
    const Emit emit = function_of(layer);
    instead_ = &x;
    Value result = emit(*this, layer);
    instead_ = nullptr;
    return result;
  }

  // Nodes that many functions need.

  /// Nodes of these names.
  /// @{
  Value reshape(const Value& x, const Integers& shape) { return add("Reshape", {x, constant(shape)}); }
  Value transpose(const Value& x, const Integers& axes) { return add("Transpose", {x}, {attribute("perm", axes)}); }
  /// @}
  /// Entries first .. last - 1 along an axis.
  Value slice(const Value& x, Index axis, Index first, Index last, Index step = 1) {
    return add("Slice", {x, constant(Integers{first}), constant(Integers{last}), constant(Integers{axis}),
                         constant(Integers{step})});
  }
  /// `value` around the last two axes of images, or by one of ONNX's modes.
  /// @{
  Value pad(const Value& x, const Padding& p, double value = 0) {
    return add("Pad", {x, constant(Integers{0, 0, p.top, p.left, 0, 0, p.bottom, p.right}), constant(value)});
  }
  Value pad(const Value& x, const Padding& p, const char* mode) {
    return add("Pad", {x, constant(Integers{0, 0, p.top, p.left, 0, 0, p.bottom, p.right})}, {attribute("mode", mode)});
  }
  /// @}
  /// The sum along axes.
  Value sum(const Value& x, const Integers& axes, bool keep = true) {
    return add("ReduceSum", {x, constant(axes)}, {attribute("keepdims", keep ? 1 : 0)});
  }

  /// Marks that the input is whole numbers, ids; the file's input is then of type int64. Else they are converted.
  Value ids(std::size_t i = 0) {
    const Value& x = in(i);
    for (ValueInfo& input : model_.inputs)
      if (input.name == x) {
        input.type = ElementType::int64;
        return x;
      }
    return add("Cast", {x}, {attribute("to", static_cast<int>(ElementType::int64))});
  }

  /// Writes the nodes of a graph, whose paths are below `base`, for inputs of these names; gives the names of its
  /// outputs. Throws ValueError, with the path, for a layer that has no function.
  std::vector<Value> run(const Graph<Scalar>& graph, const std::string& base, const std::vector<Value>& inputs) {
    std::unordered_map<Index, Value> values;
    for (std::size_t i = 0; i < inputs.size(); ++i) values[graph.inputs[i]] = inputs[i];
    for (const auto& node : graph.nodes) {
      graph_ = &graph;
      node_ = &node;
      values_ = &values;
      path_ = base + (base.empty() || node.path.empty() ? "" : ".") + node.path;
      const Emit emit = function_of(*node.layer);
      require(!node.sequences, where(*node.layer),
              ": packed sequences cannot be said in ONNX: give ids of shape [N, L]");
      values[node.outputs[0]] = emit(*this, *node.layer);
    }
    std::vector<Value> outputs;
    for (const Index edge : graph.outputs) outputs.push_back(values.at(edge));
    return outputs;
  }

  /// The graph for inputs of these names and shapes.
  GraphMessage finish(const Graph<Scalar>& graph, const std::string& name, const std::vector<std::string>& inputs,
                      const std::vector<std::string>& outputs) {
    model_.name = name;
    for (const auto& each : inputs) reserve(each);
    for (const auto& each : outputs) reserve(each);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      model_.inputs.push_back(info(inputs[i], graph.shape(graph.inputs[i])));
    const std::vector<Value> results = run(graph, "", inputs);
    for (std::size_t i = 0; i < results.size(); ++i) {
      path_ = "";
      name_output(results[i], outputs[i]);
      model_.outputs.push_back(info(outputs[i], graph.shape(graph.outputs[i])));
    }
    return std::move(model_);
  }

 private:
  std::string where(const Primitive<Scalar>& layer) const {
    return path_.empty() ? layer.name() : path_ + ": " + layer.name();
  }
  Emit function_of(const Primitive<Scalar>& layer) const {
    const Emit emit = find_(layer);
    require(emit != nullptr, where(layer), ": ONNX has no operators for this layer, or save_onnx does not know them");
    return emit;
  }

  static ValueInfo info(const std::string& name, const Shape& shape) {
    return {.name = name, .type = ElementType::float32, .has_shape = true, .dims = extents(shape)};
  }

  /// The last name of a value, which may be an input itself or an output already.
  void name_output(const Value& value, const std::string& name) {
    for (Node& node : model_.nodes)
      if (node.outputs[0] == value && !renamed_.contains(value)) {
        renamed_.insert(name);
        node.outputs[0] = name;
        for (Node& reader : model_.nodes) std::replace(reader.inputs.begin(), reader.inputs.end(), value, name);
        return;
      }
    model_.nodes.push_back({.name = name, .op = "Identity", .domain = "", .inputs = {value}, .outputs = {name}});
  }

  std::string place(const char* what) const { return path_.empty() ? what : path_ + "/" + what; }
  void reserve(const std::string& name) {
    require(used_.insert(name).second, "save_onnx: two values are to be named '", name, "'");
  }
  /// The name, or with a number behind it if it is taken.
  std::string unique(const std::string& name) {
    std::string result = name;
    for (Index& i = numbers_[name]; !used_.insert(result).second;) result = text(name, "_", ++i);
    return result;
  }

  template <class T>
  Value initializer(std::string name, const Tensor<T>& value) {
    auto kept = std::make_shared<const Tensor<T>>(value);
    TensorMessage message{.name = name, .dims = extents(value.shape()), .type = detail::element_type_of<T>()};
    message.raw = lamina::detail::bytes_of(*kept);
    message.has_raw = true;
    model_.initializers.push_back(std::move(message));
    keep_alive_.push_back(std::move(kept));
    return name;
  }

  Find find_;
  GraphMessage model_;
  std::vector<std::shared_ptr<const void>> keep_alive_;
  std::set<std::string> used_, keys_, renamed_;
  std::unordered_map<std::string, Index> numbers_;

  // Where run() is.
  const Graph<Scalar>* graph_ = nullptr;
  const lamina::Node<Scalar>* node_ = nullptr;
  const std::unordered_map<Index, Value>* values_ = nullptr;
  const Value* instead_ = nullptr;  // of the input, in apply()
  std::string path_;
};

}  // namespace lamina::inline LAMINA_ABI::onnx
