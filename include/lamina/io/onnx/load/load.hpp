#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/io/onnx/load/convolution.hpp"
#include "lamina/io/onnx/load/elementwise.hpp"
#include "lamina/io/onnx/load/normalization.hpp"
#include "lamina/io/onnx/load/pooling.hpp"
#include "lamina/io/onnx/load/resize.hpp"
#include "lamina/io/onnx/load/shape.hpp"
#include "lamina/nn/init.hpp"

namespace lamina::inline LAMINA_ABI {

/// A model read from an ONNX file: its layers in order, and which values they take and give. Its inputs and outputs are
/// those of the file, in the file's order; the extents that the file gives are checked, those that it leaves open
/// (a name in place of a number) are not.
///
/// Everything is computed in Scalar, ids and other whole numbers too, which a float holds up to 2^24; where the file
/// has booleans there are ones and zeros. Keys of the state are the names of the file's weights, where they end in
/// ".weight", else begin with the node's.
template <class Scalar = float>
class OnnxModel : public Block<OnnxModel<Scalar>, Scalar> {
 public:
  /// An input or output: its name, type, and shape, whose open extents are -1.
  struct Port {
    std::string name;            ///< as in the file
    onnx::ElementType type;      ///< as in the file
    bool has_shape;              ///< whether the file gives a shape
    std::vector<Index> extents;  ///< -1 where the file leaves one open
  };

  /// Made by load_onnx.
  OnnxModel(std::string name, onnx::Program<Scalar> program, std::vector<Port> inputs, std::vector<Port> outputs,
            std::vector<Index> results)
      : name_(std::move(name)),
        steps_(std::move(program.steps)),
        slots_(program.slots),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)),
        results_(std::move(results)) {
    drop_unused();
  }

  /// Of the file's graph, in the file's order.
  /// @{
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  /// @}
  /// The layers in order.
  Index size() const { return static_cast<Index>(steps_.size()); }
  /// A layer by its position. Throws ValueError if there is none.
  const Module<Scalar>& operator[](Index i) const {
    require(i >= 0 && i < size(), *this, ": no layer ", i, ", there are ", size());
    return *steps_[static_cast<std::size_t>(i)].layer.module;
  }

  Members<Scalar> members() override {
    Members<Scalar> result;
    for (auto& step : steps_) result.push_back({step.layer.name, step.layer.module.get()});
    return result;
  }
  Fields fields() const override { return Fields("OnnxModel").argument("name", name_); }

  /// The layers in order, see Block.
  Values<Scalar> flow(Flow<Scalar>& run, Values<Scalar> in) const {
    require(in.size() == inputs_.size(), *this, ": takes ", inputs_.size(), " values, got ", in.size());
    std::vector<Value<Scalar>> values(static_cast<std::size_t>(slots_));
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      check(inputs_[i], in[i].shape());
      values[i] = std::move(in[i]);
    }
    for (const auto& step : steps_) {
      Values<Scalar> taken;
      for (std::size_t i = 0; i < step.inputs.size(); ++i) {
        auto& value = values[static_cast<std::size_t>(step.inputs[i])];
        taken.push_back(step.last[i] ? std::move(value) : value);
      }
      values[static_cast<std::size_t>(step.output)] = std::move(run.all(*step.layer.module, std::move(taken))[0]);
    }
    Values<Scalar> results;
    for (const Index slot : results_) results.push_back(values[static_cast<std::size_t>(slot)]);
    return results;
  }

 private:
  void check(const Port& port, const Shape& shape) const {
    if (!port.has_shape) return;
    bool fits = shape.rank() == static_cast<int>(port.extents.size());
    for (int axis = 0; fits && axis < shape.rank(); ++axis) {
      const Index expected = port.extents[static_cast<std::size_t>(axis)];
      fits = expected < 0 || expected == shape[axis];
    }
    require<ShapeError>(fits, *this, ": expected input '", port.name, "' of shape ", detail::list(port.extents),
                        ", got shape ", shape);
  }

  /// Layers whose results nobody needs go; the others learn what they need last.
  void drop_unused() {
    std::vector<bool> needed(static_cast<std::size_t>(slots_), false);
    for (const Index slot : results_) needed[static_cast<std::size_t>(slot)] = true;
    std::vector<onnx::Step<Scalar>> kept;
    for (std::size_t i = steps_.size(); i-- > 0;) {
      auto& step = steps_[i];
      if (!needed[static_cast<std::size_t>(step.output)]) continue;
      step.last.assign(step.inputs.size(), false);
      for (std::size_t j = step.inputs.size(); j-- > 0;) {
        auto used = needed[static_cast<std::size_t>(step.inputs[j])];
        step.last[j] = !used;
        used = true;
      }
      kept.push_back(std::move(step));
    }
    steps_.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
  }

  std::string name_;
  std::vector<onnx::Step<Scalar>> steps_;
  Index slots_;
  std::vector<Port> inputs_, outputs_;
  std::vector<Index> results_;
};

/// Options of load_onnx.
struct LoadOnnxOptions {
  /// Shapes of inputs, by name, in place of the file's: where a node needs an extent that the file leaves open.
  std::vector<std::pair<std::string, Shape>> shapes = {};
  /// Values of inputs, by name, which then are none: weights and shapes must be known.
  NamedTensors constants = {};
};

namespace onnx {

/// Versions of ONNX's operators that are read.
/// @{
inline constexpr std::int64_t oldest_opset = 1, newest_opset = 17;
/// @}

namespace detail {

/// Operators that whole numbers which only describe shapes may go through; and all.
template <class Scalar>
const Operators<Scalar>& shape_operators() {
  static const Operators<Scalar> table = [] {
    Operators<Scalar> result;
    add_elementwise(result);
    add_shapes(result);
    return result;
  }();
  return table;
}
template <class Scalar>
const Operators<Scalar>& operators() {
  static const Operators<Scalar> table = [] {
    Operators<Scalar> result = shape_operators<Scalar>();
    add_convolutions(result);
    add_pooling(result);
    add_norms(result);
    add_resize(result);
    return result;
  }();
  return table;
}

template <class Scalar>
class Loader {
 public:
  Loader(std::string path, const LoadOnnxOptions& options)
      : path_(std::move(path)), options_(options), file_(lamina::detail::MappedFile::open(path_)) {}

  OnnxModel<Scalar> load() {
    const ModelMessage model = read_model(path_, file_->bytes());
    check(model);
    for (const auto& tensor : model.graph.initializers) initializer(tensor);
    std::vector<typename OnnxModel<Scalar>::Port> inputs, outputs;
    for (const ValueInfo& input : model.graph.inputs)
      if (auto port = this->input(input)) inputs.push_back(*port);
    unused_options(model.graph);
    for (std::size_t i = 0; i < model.graph.nodes.size(); ++i) node(model.graph.nodes[i], i);
    std::vector<Index> results;
    for (const ValueInfo& output : model.graph.outputs) {
      require<FileError>(values_.contains(output.name), path_, ": no node computes the output '", output.name, "'");
      const Operand<Scalar>& value = values_.at(output.name);
      outputs.push_back({output.name, output.type, output.has_shape, {output.dims.begin(), output.dims.end()}});
      results.push_back(slot_of(value));
    }
    require<FileError>(!results.empty(), path_, ": the graph has no outputs");
    return {model.graph.name, std::move(program_), std::move(inputs), std::move(outputs), std::move(results)};
  }

 private:
  /// What the file as a whole must be.
  void check(const ModelMessage& model) {
    require<FileError>(model.has_graph, path_, ": this is no ONNX model: there is no graph");
    require<FileError>(!model.has_functions, path_, ": functions of a model's own are not taken");
    require<FileError>(!model.graph.sparse, path_, ": sparse initialisers are not taken");
    for (const OperatorSet& set : model.opsets)
      if (set.domain.empty() || set.domain == "ai.onnx") opset_ = set.version;
    require<FileError>(opset_ > 0, path_, ": the file does not say which opset it uses");
    require<FileError>(opset_ >= oldest_opset && opset_ <= newest_opset, path_, ": opset ", opset_,
                       " is not taken, only ", oldest_opset, " to ", newest_opset);
  }

  void initializer(const TensorMessage& tensor) {
    const std::string where = path_ + ": initialiser '" + tensor.name + "'";
    Operand<Scalar> value{.given = true, .name = tensor.name, .type = tensor.type};
    if (is_integral(tensor.type)) {
      value.whole = elements<std::int64_t>(where, tensor, file_);
      value.term.shape = value.whole->shape();
    } else {
      value.term = Term<Scalar>::of(elements<Scalar>(where, tensor, file_), tensor.name);
    }
    values_.insert_or_assign(tensor.name, std::move(value));
  }

  const AnyTensor* constant_for(const std::string& name) const {
    for (const auto& [known, tensor] : options_.constants)
      if (known == name) return &tensor;
    return nullptr;
  }
  std::optional<Shape> shape_for(const std::string& name) const {
    for (const auto& [known, shape] : options_.shapes)
      if (known == name) return shape;
    return std::nullopt;
  }
  void unused_options(const GraphMessage& graph) const {
    const auto check = [&](const char* what, const std::string& name) {
      const bool known = std::any_of(graph.inputs.begin(), graph.inputs.end(),
                                     [&](const ValueInfo& input) { return input.name == name; });
      require(known, "load_onnx: ", path_, " has no input '", name, "', which LoadOnnxOptions::", what, " names");
    };
    for (const auto& [name, shape] : options_.shapes) check("shapes", name);
    for (const auto& [name, tensor] : options_.constants) check("constants", name);
  }

  /// An input of the model; none if it is a constant.
  std::optional<typename OnnxModel<Scalar>::Port> input(const ValueInfo& info) {
    if (const AnyTensor* const tensor = constant_for(info.name)) {
      Operand<Scalar> value{.given = true, .name = info.name, .type = info.type};
      std::visit(
          [&](const auto& numbers) {
            if (is_integral(info.type))
              value.whole = numbers.template cast<std::int64_t>();
            else
              value.term = Term<Scalar>::of(numbers.template cast<Scalar>());
            value.term.shape = numbers.shape();
          },
          *tensor);
      values_.insert_or_assign(info.name, std::move(value));
      return std::nullopt;
    }
    if (values_.contains(info.name)) return std::nullopt;  // its default value is an initialiser
    require<FileError>(is_floating(info.type) || is_integral(info.type), path_, ": input '", info.name, "' of type ",
                       to_text(info.type), " is not taken");
    typename OnnxModel<Scalar>::Port port{info.name, info.type, info.has_shape, {info.dims.begin(), info.dims.end()}};
    if (const auto shape = shape_for(info.name)) {
      bool fits = !port.has_shape || static_cast<int>(port.extents.size()) == shape->rank();
      for (int axis = 0; fits && port.has_shape && axis < shape->rank(); ++axis) {
        const Index extent = port.extents[static_cast<std::size_t>(axis)];
        fits = extent < 0 || extent == (*shape)[axis];
      }
      require(fits, "load_onnx: ", path_, ": input '", info.name, "' is ", lamina::detail::list(port.extents), ", not ",
              *shape);
      port.has_shape = true;
      port.extents.assign(shape->begin(), shape->end());
    }
    Operand<Scalar> value{.given = true, .name = info.name, .type = info.type};
    value.term.slot = program_.slots++;
    const bool known = port.has_shape &&
                       std::none_of(port.extents.begin(), port.extents.end(), [](Index extent) { return extent < 0; });
    try {
      if (known) value.term.shape = Shape(std::span<const Index>(port.extents));
    } catch (const ShapeError& error) {
      fail<FileError>(path_, ": input '", info.name, "': ", error.what());
    }
    values_.emplace(info.name, std::move(value));
    return port;
  }

  /// What a node makes, or why it cannot be: "PATH: node 'conv1' (Conv): ...".
  void node(const Node& node, std::size_t number) {
    const std::string called = node.name.empty() ? text("node ", number) : "node '" + node.name + "'";
    const std::string where = path_ + ": " + called + " (" + node.op + "): ";
    try {
      const bool standard = node.domain.empty() || node.domain == "ai.onnx";
      const auto found = operators<Scalar>().find(node.op);
      require(standard && found != operators<Scalar>().end(), "the operator ", standard ? "" : node.domain + ".",
              node.op, " is not known");
      std::vector<Operand<Scalar>> operands;
      bool constant = true, whole = false;
      for (const std::string& name : node.inputs) {
        Operand<Scalar> operand;
        if (!name.empty()) {
          require(values_.contains(name), "no node before computes its input '", name, "'");
          operand = values_.at(name);
          constant = constant && operand.constant();
          whole = whole || operand.whole;
          require(found->second.whole || operand.constant() || is_floating(operand.type) || !operands.empty(),
                  "its input '", name, "' is of type ", to_text(operand.type), ", but it is taken with floats alone");
        }
        operands.push_back(std::move(operand));
      }
      const auto folded = shape_operators<double>().find(node.op);
      if (constant && whole && folded != shape_operators<double>().end())
        fold(node, folded->second, operands);
      else
        keep(node, run(node, found->second, std::move(operands), program_));
    } catch (const Error& error) {
      fail<FileError>(where, error.what());
    }
  }

  template <class S>
  std::vector<typename Importer<S>::Result> run(const Node& node, const Operator<S>& op,
                                                std::vector<Operand<S>> operands, Program<S>& program) {
    Importer<S> importer(node, opset_, std::move(operands), program);
    op.function(importer);
    importer.check_attributes();
    require(importer.results().size() >= importer.outputs(), "it has ", importer.outputs(), " outputs, of which ",
            importer.results().size(), " are computed");
    return importer.results();
  }

  void keep(const Node& node, std::vector<typename Importer<Scalar>::Result> results) {
    for (std::size_t i = 0; i < results.size() && i < node.outputs.size(); ++i) {
      auto& [term, type, whole] = results[i];
      Operand<Scalar> value{
          .given = true, .name = node.outputs[i], .type = type, .term = std::move(term), .whole = std::move(whole)};
      if (value.whole) value.term.shape = value.whole->shape();
      if (!value.whole && value.term.constant && is_integral(type)) {
        value.whole = value.term.constant->template cast<std::int64_t>();
        value.term.constant.reset();
      }
      values_.insert_or_assign(node.outputs[i], std::move(value));
    }
  }

  /// A node of constants with whole numbers among them is computed at once, in double precision.
  void fold(const Node& node, const Operator<double>& op, const std::vector<Operand<Scalar>>& operands) {
    std::vector<Operand<double>> doubles;
    for (const auto& operand : operands) {
      Operand<double> one{
          .given = operand.given, .name = operand.name, .type = operand.type, .term = {}, .whole = operand.whole};
      if (operand.term.constant) one.term = Term<double>::of(operand.term.constant->template cast<double>());
      one.term.shape = operand.term.shape;
      doubles.push_back(std::move(one));
    }
    Program<double> nothing;
    std::vector<typename Importer<Scalar>::Result> results;
    for (auto& result : run(node, op, std::move(doubles), nothing)) {
      typename Importer<Scalar>::Result one{{}, result.type, std::move(result.whole)};
      if (result.term.constant && is_integral(result.type))
        one.whole = result.term.constant->template cast<std::int64_t>();
      else if (result.term.constant)
        one.term = Term<Scalar>::of(result.term.constant->template cast<Scalar>());
      results.push_back(std::move(one));
    }
    keep(node, std::move(results));
  }

  Index slot_of(const Operand<Scalar>& value) {
    Node none;
    Importer<Scalar> importer(none, opset_, {value}, program_);
    return importer.slot_of(importer.in(0));
  }

  std::string path_;
  const LoadOnnxOptions& options_;
  std::shared_ptr<const lamina::detail::MappedFile> file_;
  std::int64_t opset_ = 0;
  Program<Scalar> program_;
  std::unordered_map<std::string, Operand<Scalar>> values_;
};

}  // namespace detail
}  // namespace onnx

/// The model of an ONNX file of opset 1 to 17, as a module that can be used, trained, compiled and saved like any
/// other:
///
///   const OnnxModel<> net = load_onnx("resnet18.onnx");
///   Tensor logits = net(images);
///
/// It is made of Lamina's layers; nodes that only compute shapes, and all that follow from constants alone, are
/// computed now. Weights lie over the mapped file until they are written. Operators: those that save_onnx writes, those
/// of torchvision's networks, and what tests/onnx lists. Dropout and batch normalisation are those of inference.
///
/// Throws FileError, naming the path and the node, for a file that is damaged, cut short, of another opset, with
/// operators, attributes or types that are not known, elements in other files, or weights that are not constants;
/// ValueError for options that name no input of the file.
template <class Scalar = float>
OnnxModel<Scalar> load_onnx(const std::string& path, const LoadOnnxOptions& options = {}) {
  const SkipInit skip;
  return lamina::within_memory(path, [&] { return onnx::detail::Loader<Scalar>(path, options).load(); });
}

}  // namespace lamina::inline LAMINA_ABI
