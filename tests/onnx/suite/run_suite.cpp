// Runs the cases of ONNX's own test suite (Debian's libonnx-testdata) through load_onnx: run_suite FOLDER [CASE].
//
// A case is a model with inputs and the outputs that belong to them. Inputs that must be constants in Lamina (weights,
// shapes) are given as such. Prints what ran and what was refused, by operator, and the messages of refusal. Fails when
// a case that is taken gives other values (tolerances of the suite), throws anything but the FileError of a refusal, or
// when fewer cases or operators run than are known to.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lamina/compiled/onnx.hpp"

using namespace lamina;
namespace fs = std::filesystem;

namespace {

constexpr double relative_tolerance = 1e-3, absolute_tolerance = 1e-7;  // onnx/backend/test/runner
constexpr int fewest_cases = 730;

/// Operators of which at least one case runs.
const std::set<std::string> wanted{"Add",
                                   "AveragePool",
                                   "BatchNormalization",
                                   "Cast",
                                   "Clip",
                                   "Concat",
                                   "Constant",
                                   "Conv",
                                   "ConvTranspose",
                                   "Div",
                                   "Dropout",
                                   "Elu",
                                   "Equal",
                                   "Erf",
                                   "Exp",
                                   "Expand",
                                   "Flatten",
                                   "Gather",
                                   "Gemm",
                                   "GlobalAveragePool",
                                   "GlobalMaxPool",
                                   "HardSigmoid",
                                   "HardSwish",
                                   "Identity",
                                   "InstanceNormalization",
                                   "LRN",
                                   "LayerNormalization",
                                   "LeakyRelu",
                                   "Log",
                                   "LogSoftmax",
                                   "MatMul",
                                   "Max",
                                   "MaxPool",
                                   "Mean",
                                   "Min",
                                   "Mul",
                                   "Neg",
                                   "NegativeLogLikelihoodLoss",
                                   "PRelu",
                                   "Pad",
                                   "Pow",
                                   "Range",
                                   "ReduceMean",
                                   "ReduceSum",
                                   "Relu",
                                   "Reshape",
                                   "Resize",
                                   "Selu",
                                   "Shape",
                                   "Sigmoid",
                                   "Slice",
                                   "Softmax",
                                   "SoftmaxCrossEntropyLoss",
                                   "Softplus",
                                   "Softsign",
                                   "Split",
                                   "Sqrt",
                                   "Squeeze",
                                   "Sub",
                                   "Sum",
                                   "Tanh",
                                   "Tile",
                                   "Transpose",
                                   "Unsqueeze",
                                   "Upsample",
                                   "Where"};

struct Data {
  onnx::ElementType type;
  Tensor<double> values;
};

Data read_data(const fs::path& path) {
  const Bytes bytes = read_file(path.string());
  const std::string source = path.string();
  const onnx::TensorMessage message = onnx::detail::read_tensor(protobuf::Reader(source, bytes));
  // The suite writes bfloat16 as the bits alone.
  if (message.type == onnx::ElementType::uint16 && path.string().find("BFLOAT16") != std::string::npos) {
    onnx::TensorMessage bits = message;
    bits.type = onnx::ElementType::bfloat16;
    return {bits.type, onnx::detail::elements<double>(source, bits)};
  }
  if (onnx::is_integral(message.type))
    return {message.type, onnx::detail::elements<std::int64_t>(source, message).cast<double>()};
  return {message.type, onnx::detail::elements<double>(source, message)};
}

/// The tensors of a data set, "input_0.pb", "input_1.pb", ...
std::vector<Data> read_all(const fs::path& folder, const std::string& kind) {
  std::vector<Data> result;
  for (int i = 0; fs::exists(folder / text(kind, "_", i, ".pb")); ++i)
    result.push_back(read_data(folder / text(kind, "_", i, ".pb")));
  return result;
}

/// What is wrong with an output, or "".
template <class Scalar>
std::string difference(const Tensor<Scalar>& got, const Tensor<double>& expected) {
  if (got.shape() != expected.shape()) return text("shape ", got.shape(), ", expected ", expected.shape());
  for (Index i = 0; i < got.numel(); ++i) {
    const auto a = static_cast<double>(got.values()[static_cast<std::size_t>(i)]);
    const double b = expected.values()[static_cast<std::size_t>(i)];
    if (a == b || (a != a && b != b)) continue;
    if (!(std::abs(a - b) <= absolute_tolerance + relative_tolerance * std::abs(b)))
      return text("element ", i, " is ", a, ", expected ", b);
  }
  return "";
}

struct Outcome {
  enum { passed, refused, failed } kind;
  std::string message = {};
  std::string node = {};   // the operator that was refused
  bool constants = false;  // whether inputs were given as constants
};

/// Inputs from `first_constant` on are constants.
template <class Scalar>
OnnxModel<Scalar> load(const std::string& path, const onnx::GraphMessage& graph, const std::vector<Data>& inputs,
                       std::size_t first_constant) {
  LoadOnnxOptions options;
  for (std::size_t i = 0; i < graph.inputs.size() && i < inputs.size(); ++i)
    if (i >= first_constant) options.constants.emplace_back(graph.inputs[i].name, inputs[i].values);
  return load_onnx<Scalar>(path, options);
}

/// Runs a case, and gives what is wrong or "". Throws what load_onnx and infer throw.
template <class Scalar>
std::string run(const std::string& path, const onnx::GraphMessage& graph, const std::vector<Data>& inputs,
                const std::vector<Data>& outputs, std::size_t first_constant) {
  const OnnxModel<Scalar> model = load<Scalar>(path, graph, inputs, first_constant);
  Values<Scalar> values;
  for (std::size_t i = 0; i < model.inputs().size(); ++i) values.push_back(inputs[i].values.cast<Scalar>());
  const Few<Tensor<Scalar>> got = model.infer(std::move(values));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (model.outputs()[i].type != outputs[i].type) return text("output ", i, " is of another type");
    if (const std::string what = difference(got[i], outputs[i].values); !what.empty())
      return text("output ", i, ": ", what);
  }
  return "";
}

Outcome run_case(const fs::path& folder) {
  const std::string path = (folder / "model.onnx").string();
  const Bytes bytes = read_file(path);
  const onnx::ModelMessage message = onnx::read_model(path, bytes);
  std::string refusal;
  for (int set = 0; fs::exists(folder / text("test_data_set_", set)); ++set) {
    const fs::path data = folder / text("test_data_set_", set);
    std::vector<Data> inputs, outputs;
    try {
      inputs = read_all(data, "input");
      outputs = read_all(data, "output");
    } catch (const FileError& error) {  // sequences, texts: such a model must be refused
      try {
        load_onnx(path);
      } catch (const FileError& why) {
        return {Outcome::refused, why.what()};
      }
      return {Outcome::refused, text(path, ": the suite's data is of another kind: ", error.what())};
    }
    for (std::size_t i = 0; i < inputs.size() && i < message.graph.inputs.size(); ++i) {
      const onnx::ValueInfo& info = message.graph.inputs[i];
      const Shape& shape = inputs[i].values.shape();
      bool fits = !info.has_shape || static_cast<int>(info.dims.size()) == shape.rank();
      for (int axis = 0; fits && info.has_shape && axis < shape.rank(); ++axis) {
        const std::int64_t extent = info.dims[static_cast<std::size_t>(axis)];
        fits = extent < 0 || extent == shape[axis];
      }
      if (!fits) return {Outcome::refused, path + ": the suite's data is of another shape than the model says"};
    }
    bool ran = false;
    std::set<std::size_t> attempts{inputs.size(), std::min<std::size_t>(1, inputs.size()), 0};
    for (auto first = attempts.rbegin(); first != attempts.rend() && !ran; ++first) {
      try {
        const bool wide = !inputs.empty() && inputs[0].type == onnx::ElementType::float64;
        const std::string what = (wide ? run<double> : run<float>)(path, message.graph, inputs, outputs, *first);
        if (!what.empty()) return {Outcome::failed, what};
        ran = true;
      } catch (const FileError& error) {
        refusal = error.what();
        if (refusal.find("LoadOnnxOptions::constants") == std::string::npos) return {Outcome::refused, refusal};
      } catch (const std::exception& error) {
        return {Outcome::failed, text("threw ", error.what())};
      }
    }
    if (!ran) return {Outcome::refused, refusal};
  }
  return {Outcome::passed, "", "", !refusal.empty()};
}

/// "PATH: node 'name' (Op): why" as Op and why.
void split(Outcome& outcome) {
  const std::string& message = outcome.message;
  const std::size_t open = message.find(" ("), close = message.find("): ");
  if (open == std::string::npos || close == std::string::npos || close < open) {
    const std::size_t colon = message.find(": ");
    outcome.message = colon == std::string::npos ? message : message.substr(colon + 2);
    return;
  }
  outcome.node = message.substr(open + 2, close - open - 2);
  outcome.message = message.substr(close + 3);
}

struct Row {
  int cases = 0, passed = 0, constants = 0;
  std::map<std::string, int> refusals;
};

}  // namespace

int main(int argc, char** argv) {
  const fs::path root = argc > 1 ? argv[1] : "";
  if (!fs::is_directory(root / "node")) {
    std::printf("no suite in %s\n", root.c_str());
    return 2;
  }
  const std::string only = argc > 2 ? argv[2] : "";
  std::map<std::string, Row> rows;
  int passed = 0, refused = 0, failed = 0;
  for (const char* kind : {"node", "pytorch-operator", "pytorch-converted"}) {
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(root / kind)) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    for (const fs::path& folder : folders) {
      if (!only.empty() && folder.filename() != only) continue;
      Outcome outcome = run_case(folder);
      split(outcome);
      const std::string model = (folder / "model.onnx").string();
      const Bytes bytes = read_file(model);
      std::set<std::string> operators;
      for (const auto& node : onnx::read_model(model, bytes).graph.nodes) operators.insert(node.op);
      if (outcome.kind == Outcome::refused && !outcome.node.empty()) operators = {outcome.node};
      for (const std::string& op : operators) {
        Row& row = rows[op];
        ++row.cases;
        row.passed += outcome.kind == Outcome::passed;
        row.constants += outcome.kind == Outcome::passed && outcome.constants;
        if (outcome.kind == Outcome::refused) ++row.refusals[outcome.message];
      }
      passed += outcome.kind == Outcome::passed;
      refused += outcome.kind == Outcome::refused;
      failed += outcome.kind == Outcome::failed;
      if (outcome.kind == Outcome::failed)
        std::printf("FAILED %s/%s: %s\n", kind, folder.filename().c_str(), outcome.message.c_str());
      else if (!only.empty())
        std::printf("%s: %s %s\n", folder.filename().c_str(),
                    outcome.kind == Outcome::passed ? "passed" : "refused:", outcome.message.c_str());
    }
  }
  if (!only.empty()) return failed > 0;
  std::printf("%-28s %6s %6s %10s  refused\n", "operator", "cases", "pass", "constants");
  for (const auto& [op, row] : rows) {
    std::printf("%-28s %6d %6d %10d", op.c_str(), row.cases, row.passed, row.constants);
    const char* separator = "  ";
    for (const auto& [message, count] : row.refusals) {
      std::printf("%s%d: %s", separator, count, message.c_str());
      separator = "; ";
    }
    std::printf("\n");
  }
  std::printf("%d passed, %d refused, %d failed\n", passed, refused, failed);
  bool complete = passed >= fewest_cases;
  for (const std::string& op : wanted)
    if (rows[op].passed == 0) {
      std::printf("no case of %s runs\n", op.c_str());
      complete = false;
    }
  if (passed < fewest_cases) std::printf("expected at least %d cases to pass\n", fewest_cases);
  return failed == 0 && complete ? 0 : 1;
}
