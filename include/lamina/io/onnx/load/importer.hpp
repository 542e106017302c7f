#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/io/onnx/model.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/tensor/constant.hpp"
#include "lamina/nn/tensor/reshape.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

/// A value while a file is read, as layers take it: a constant, or what the model computes.
template <class Scalar>
struct Term {
  Index slot = -1;                              ///< among the model's values; -1: a constant
  std::optional<Tensor<Scalar>> constant = {};  ///< its value, if it is one
  std::optional<Shape> shape = {};              ///< if it is known
  std::string key = {};                         ///< of an initialiser that is in the state under this name
  std::string transposed = {};                  ///< or the name of one whose transpose this is

  /// A constant, under a name if it has one in the file.
  static Term of(Tensor<Scalar> value, std::string name = "") {
    const Shape shape = value.shape();
    return {-1, std::move(value), shape, std::move(name), {}};
  }
};

/// An input of a node.
template <class Scalar>
struct Operand {
  bool given = false;                              ///< whether the node has it
  std::string name = {};                           ///< in the file
  ElementType type = ElementType::float32;         ///< in the file
  Term<Scalar> term = {};                          ///< what it is here
  std::optional<Tensor<std::int64_t>> whole = {};  ///< a constant of whole numbers or booleans

  /// Whether its value is known.
  bool constant() const { return term.constant || whole; }
};

/// A layer of a model that was read, with the values that it takes and gives.
template <class Scalar>
struct Step {
  Child<Scalar> layer;          ///< with its name
  std::vector<Index> inputs;    ///< slots that it reads
  Index output;                 ///< the slot that it makes
  std::vector<bool> last = {};  ///< whether nobody needs the input after this step
};

/// The steps of a model while it is made.
template <class Scalar>
struct Program {
  std::vector<Step<Scalar>> steps;  ///< in order
  Index slots = 0;                  ///< values so far
  /// Of layers, and of the state.
  /// @{
  std::set<std::string> names, keys;
  /// @}
  std::unordered_map<std::string, Index> numbers;  ///< behind names that came more than once

  /// The name, or with a number behind it if it is taken.
  std::string unique(const std::string& name) {
    std::string result = name;
    for (Index& i = numbers[name]; !names.insert(result).second;) result = text(name, "_", ++i);
    return result;
  }
  /// Appends a layer; the slot of its result.
  Index add(Child<Scalar> layer, std::vector<Index> inputs) {
    steps.push_back({std::move(layer), std::move(inputs), slots, {}});
    return slots++;
  }
};

/// What an operator's function sees of its node, and what it makes of it: layers that take terms, each giving one.
///
///   template <class Scalar>
///   void softsign(Importer<Scalar>& op) { op.result(op.apply(Map<Scalar>(Function::softsign), {op.in(0)})); }
///
/// A layer of constants is computed at once. Errors are ValueErrors; who calls the function adds the node's name.
template <class Scalar>
class Importer {
 public:
  /// An output of a node.
  struct Result {
    Term<Scalar> term;                               ///< what it is here
    ElementType type;                                ///< in the file
    std::optional<Tensor<std::int64_t>> whole = {};  ///< a constant of whole numbers
  };

  /// Of a node of a model with this opset.
  Importer(const Node& node, std::int64_t opset, std::vector<Operand<Scalar>> operands, Program<Scalar>& program)
      : node_(&node), opset_(opset), operands_(std::move(operands)), program_(&program) {}

  /// The version of ONNX's operators.
  std::int64_t opset() const { return opset_; }
  /// How many outputs the node has; those at the end that nobody has named do not count.
  std::size_t outputs() const {
    std::size_t count = node_->outputs.size();
    while (count > 0 && node_->outputs[count - 1].empty()) --count;
    return count;
  }
  /// Throws unless nobody names an output behind the first `most`.
  void only_outputs(std::size_t most) const {
    require(outputs() <= most, "its output ", most, " ('", node_->outputs[outputs() - 1], "') is not computed");
  }

  // Inputs.

  /// The number of inputs.
  std::size_t inputs() const { return operands_.size(); }
  /// Whether input i is given.
  bool has(std::size_t i) const { return i < operands_.size() && operands_[i].given; }
  /// The type of input i in the file.
  ElementType type(std::size_t i) const { return operand(i).type; }
  /// Input i; whole numbers as the scalar type, which must hold them.
  Term<Scalar> in(std::size_t i) const {
    const Operand<Scalar>& one = operand(i);
    if (!one.whole) return one.term;
    const Tensor<Scalar> numbers = one.whole->template cast<Scalar>();
    require(sizeof(Scalar) == 8 || numbers.template cast<std::int64_t>() == *one.whole, "a constant '", one.name,
            "' has whole numbers beyond those that a float holds");
    return Term<Scalar>::of(numbers);
  }
  /// Throws where the shape is not known.
  /// @{
  const Shape& shape(const Term<Scalar>& term) const {
    require(term.shape.has_value(),
            "the shapes of its inputs must be known: give those of the model's inputs (LoadOnnxOptions::shapes)");
    return *term.shape;
  }
  const Shape& shape(std::size_t i) const { return shape(operand(i).term); }
  /// @}
  /// The rank of input i.
  Index rank(std::size_t i) const { return shape(i).rank(); }

  /// The constant that an input must be.
  Tensor<Scalar> constant(std::size_t i) const {
    must_be_constant(i);
    return *in(i).constant;
  }
  /// Its whole numbers.
  std::vector<Index> whole(std::size_t i) const {
    must_be_constant(i);
    const Operand<Scalar>& one = operand(i);
    std::vector<Index> result;
    if (one.whole)
      result.assign(one.whole->values().begin(), one.whole->values().end());
    else
      for (const Scalar value : std::as_const(*one.term.constant).values()) {
        const Tensor<Scalar> number({}, {value});
        result.push_back(static_cast<Index>(number.template cast<std::int64_t>().item()));
      }
    return result;
  }
  /// A number that must be constant.
  double number_of(std::size_t i) const {
    const Tensor<Scalar> value = constant(i);
    require(value.numel() == 1, "expected one number in '", operand(i).name, "', got shape ", value.shape());
    return static_cast<double>(value.values()[0]);
  }

  // Attributes. Those that nobody asks for are errors.

  /// The attribute of this name, or null.
  const Attribute* find(const std::string& name) {
    read_.insert(name);
    for (const Attribute& attribute : node_->attributes)
      if (attribute.name == name) return &attribute;
    return nullptr;
  }
  /// The attribute of this name, or what it is without one.
  /// @{
  Index integer(const std::string& name, Index otherwise) {
    const Attribute* const found = find(name);
    return found ? static_cast<Index>(found->i) : otherwise;
  }
  double number(const std::string& name, double otherwise) {
    const Attribute* const found = find(name);
    return found ? static_cast<double>(found->f) : otherwise;
  }
  std::string word(const std::string& name, const std::string& otherwise) {
    const Attribute* const found = find(name);
    return found ? found->s : otherwise;
  }
  std::optional<std::vector<Index>> integers(const std::string& name) {
    const Attribute* const found = find(name);
    if (!found) return std::nullopt;
    return std::vector<Index>(found->ints.begin(), found->ints.end());
  }
  /// @}
  /// Throws for an attribute that nobody has asked for.
  void check_attributes() const {
    for (const Attribute& attribute : node_->attributes)
      require(read_.contains(attribute.name), "attribute '", attribute.name, "' is not known");
  }

  // Layers and results.

  /// What a layer gives. Its name is that of the initialiser `weight` without ".weight", or the node's.
  /// @{
  template <class Layer>
  Term<Scalar> apply(Layer layer, std::vector<Term<Scalar>> inputs, const std::string& weight = "") {
    return apply(std::unique_ptr<Primitive<Scalar>>(new Layer(std::move(layer))), std::move(inputs), weight);
  }
  Term<Scalar> apply(std::unique_ptr<Primitive<Scalar>> layer, std::vector<Term<Scalar>> inputs,
                     const std::string& weight) {
    bool constant = true, known = true;
    Values<Scalar> values;
    for (const auto& term : inputs) {
      constant = constant && term.constant;
      known = known && term.shape;
      values.push_back(term.constant ? Value<Scalar>(*term.constant)
                                     : Value<Scalar>::of_shape(term.shape.value_or(Shape{})));
    }
    if (constant) {
      limited(layer->output_shapes(values)[0].numel());
      return Term<Scalar>::of(std::move(layer->infer_values(std::move(values), Activation::none)[0].tensor));
    }
    std::optional<Shape> shape;
    if (known) shape = layer->output_shapes(values)[0];
    std::vector<Index> slots;
    for (auto& term : inputs) slots.push_back(slot_of(term));
    const std::string name = program_->unique(layer_name(weight));
    for (const auto& member : layer->members()) program_->keys.insert(name + "." + member.name);
    return {
        program_->add({name, std::unique_ptr<Module<Scalar>>(std::move(layer))}, std::move(slots)), {}, shape, {}, {}};
  }
  /// @}
  /// What is computed now must not be larger than what files in use have.
  static void limited(Index count) {
    require(count <= Index{1} << 28, "constants of ", count, " elements are not taken");
  }
  /// The slot of a term, whose constant becomes a layer.
  Index slot_of(const Term<Scalar>& term) {
    if (!term.constant) return term.slot;
    const bool learned = !term.key.empty() && program_->keys.insert(term.key).second;
    const std::string name = learned ? "" : program_->unique("constant");
    return program_->add({name, Constant<Scalar>(*term.constant, learned ? term.key : "")}, {});
  }

  /// Gives the next output.
  /// @{
  void result(Term<Scalar> term) { result(std::move(term), type(0)); }
  void result(Term<Scalar> term, ElementType type) { results_.push_back({std::move(term), type}); }
  void result(Tensor<std::int64_t> whole, ElementType type = ElementType::int64) {
    results_.push_back({{}, type, std::move(whole)});
  }
  /// @}
  /// The outputs so far.
  const std::vector<Result>& results() const { return results_; }

 private:
  const Operand<Scalar>& operand(std::size_t i) const {
    require(has(i), "its input ", i, " is missing");
    return operands_[i];
  }
  void must_be_constant(std::size_t i) const {
    require(operand(i).constant(), "its input '", operand(i).name,
            "' must be a constant: give it one (LoadOnnxOptions::constants)");
  }
  std::string layer_name(const std::string& weight) const {
    constexpr std::string_view suffix = ".weight";
    if (weight.ends_with(suffix)) return weight.substr(0, weight.size() - suffix.size());
    if (!node_->name.empty()) return node_->name;
    return node_->op;
  }

  const Node* node_;
  std::int64_t opset_;
  std::vector<Operand<Scalar>> operands_;
  Program<Scalar>* program_;
  std::vector<Result> results_;
  std::set<std::string> read_;
};

/// An operator: its function, and whether it takes whole numbers that the model computes, as well as it takes floats.
template <class Scalar>
struct Operator {
  void (*function)(Importer<Scalar>&);  ///< what reads the node
  bool whole = false;                   ///< see above
};
/// By their names.
template <class Scalar>
using Operators = std::unordered_map<std::string, Operator<Scalar>>;

}  // namespace lamina::inline LAMINA_ABI::onnx
