#include <list>
#include <map>

#include "../io/files.hpp"
#include "lamina/compiled/onnx.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;
using onnx::attribute;
using onnx::ElementType;

namespace {

/// The bytes of a model; write_model writes tensors raw, so lists become raw here.
class Model {
 public:
  onnx::ModelMessage message{.ir_version = 8, .opsets = {{"", 17}}};

  Model() {
    message.graph.name = "test";
    message.graph.inputs = {{"x", ElementType::float32, true, {1, 2, 4, 4}}};
    message.graph.outputs = {{"y", ElementType::float32}};
  }
  Model& node(const std::string& name, const std::string& op, const std::vector<std::string>& inputs,
              std::vector<onnx::Attribute> attributes = {}, const std::vector<std::string>& outputs = {"y"}) {
    message.graph.nodes.push_back({name, op, "", inputs, outputs, std::move(attributes)});
    return *this;
  }
  Model& constant(const std::string& name, const std::vector<std::int64_t>& dims, const std::vector<float>& values) {
    keep_.push_back(values);
    onnx::TensorMessage tensor{.name = name, .dims = dims, .type = ElementType::float32};
    tensor.raw = {reinterpret_cast<const std::uint8_t*>(keep_.back().data()), values.size() * sizeof(float)};
    message.graph.initializers.push_back(tensor);
    return *this;
  }
  std::string write(const TemporaryFolder& folder) const {
    const std::string path = folder / "f.onnx";
    onnx::write_model(path, message);
    return path;
  }
  /// The message of the FileError of load_onnx, without the path.
  std::string complaint(const LoadOnnxOptions& options = {}) const {
    const TemporaryFolder folder;
    const std::string path = write(folder);
    return complaint_of(path, [&] { load_onnx(path, options); });
  }

 private:
  std::list<std::vector<float>> keep_;
};

Sequential<float> small_net() {
  return {{"features", Sequential<float>{Conv2d<float>(2, 4, 3, {.padding = 1, .bias = false}), BatchNorm2d<float>(4),
                                         ReLU<float>(), MaxPool2d<float>(2)}},
          {"", Sum<float>{{"", Identity<float>()}, {"side", Conv2d<float>(4, 4, 1)}}},
          {"", Flatten<float>()},
          {"fc", Linear<float>(16, 3)}};
}

/// A layer that nobody knows.
class Unknown : public Layer<Unknown, float> {
 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return x; }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy; }
};

}  // namespace

TEST_CASE("save_onnx: opset, names of weights, nodes, inputs and outputs") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.onnx";
  const Sequential<float> net = small_net();
  save_onnx(path, net, {1, 2, 4, 4}, {.inputs = {"images"}, .outputs = {"logits"}, .name = "small"});
  CHECK(folder.entries() == 1);
  const std::string bytes = contents(path);
  const onnx::ModelMessage model =
      onnx::read_model(path, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  CHECK(model.ir_version == 8);
  REQUIRE(model.opsets.size() == 1);
  CHECK(model.opsets[0].version == 17);
  CHECK(model.graph.name == "small");
  CHECK(model.graph.inputs[0].name == "images");
  CHECK(model.graph.inputs[0].dims == std::vector<std::int64_t>{1, 2, 4, 4});
  CHECK(model.graph.outputs[0].name == "logits");
  CHECK(model.graph.outputs[0].dims == std::vector<std::int64_t>{1, 3});
  std::map<std::string, Tensor<float>> weights;
  for (const auto& tensor : model.graph.initializers)
    weights.emplace(tensor.name, onnx::detail::elements<float>(path, tensor));
  for (const auto& [key, value] : state_dict(net)) {
    if (key.ends_with("num_batches_tracked")) continue;
    REQUIRE(weights.contains(key));
    CHECK(weights[key] == std::get<Tensor<float>>(value));
  }
  CHECK(weights.size() == 9);
  std::vector<std::string> ops;
  for (const auto& node : model.graph.nodes) ops.push_back(node.name + ":" + node.op);
  CHECK(ops == std::vector<std::string>{"features.0/Conv:Conv", "features.1/BatchNormalization:BatchNormalization",
                                        "features.2/Relu:Relu", "features.3/MaxPool:MaxPool", "side/Conv:Conv",
                                        "Add:Add", "Flatten:Flatten", "fc/Gemm:Gemm"});
  CHECK(model.graph.nodes.back().outputs == std::vector<std::string>{"logits"});
}

TEST_CASE("load_onnx: a saved net comes back with its layers, values, and state") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.onnx";
  const Sequential<float> net = small_net();
  save_onnx(path, net, {2, 2, 4, 4});
  OnnxModel<float> loaded = load_onnx(path);
  CHECK(loaded.size() == 8);
  CHECK(loaded[0].as<Conv2d<float>>() != nullptr);
  CHECK(loaded[7].as<Linear<float>>() != nullptr);
  CHECK(loaded.inputs()[0].name == "x");
  CHECK(loaded.outputs()[0].name == "y");
  const Tensor<float> x = Random(1).normal<float>({2, 2, 4, 4});
  CHECK(testing::worst_difference(loaded(x), net(x)).error < 1e-6);
  CHECK(state_dict(loaded).size() == state_dict(net).size());
  Sequential<float> other = small_net();
  load_state_dict<float>(other, state_dict(loaded));
  CHECK(testing::worst_difference(other(x), net(x)).error < 1e-6);
  // The file was mapped; training writes to a copy.
  const std::string before = contents(path);
  for (auto& [name, parameter, owner] : parameters(loaded)) parameter->value.fill(0);
  CHECK(contents(path) == before);
  const OnnxModel<float> copy = loaded;
  CHECK(copy(x) == loaded(x));
  // Saved again, it is the same model.
  save_onnx(folder / "again.onnx", load_onnx(path), {2, 2, 4, 4});
  CHECK(testing::worst_difference(load_onnx(folder / "again.onnx")(x), net(x)).error < 1e-6);
  CHECK_THROWS_WITH_AS(loaded(Tensor<float>({1, 2, 4, 4})),
                       "OnnxModel(lamina): expected input 'x' of shape [2, 2, 4, 4], got shape [1, 2, 4, 4]",
                       ShapeError);
}

TEST_CASE("load_onnx: a model has gradients") {
  const TemporaryFolder folder;
  save_onnx(folder / "net.onnx", small_net(), {2, 2, 4, 4});
  CHECK(conforms(load_onnx<double>(folder / "net.onnx"), {2, 2, 4, 4}, {.training_differs = true, .batched = false}));
  Model model;
  model.constant("w", {4, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -2, -3}).constant("c", {3}, {0.5f, 1, -1});
  model.node("a", "Transpose", {"x"}, {attribute("perm", {0, 2, 3, 1})}, {"a"})
      .node("b", "Reshape", {"a", "shape"}, {}, {"b"})
      .node("d", "MatMul", {"b", "w"}, {}, {"d"})
      .node("e", "Mul", {"d", "c"}, {}, {"e"})
      .node("f", "Sub", {"e", "d"}, {}, {"f"})
      .node("g", "ReduceMean", {"f"}, {attribute("axes", {1}), attribute("keepdims", 1)}, {"g"})
      .node("h", "Sigmoid", {"g"});
  const std::int64_t extents[] = {8, 4};
  model.message.graph.initializers.push_back({.name = "shape", .dims = {2}, .type = ElementType::int64});
  model.message.graph.initializers.back().raw = {reinterpret_cast<const std::uint8_t*>(extents), sizeof extents};
  CHECK(conforms(load_onnx<double>(model.write(folder)), {1, 2, 4, 4}, {.batched = false}));
}

TEST_CASE("save_onnx: what ONNX cannot say is an error that names the path, and no file is touched") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.onnx";
  put(path, "old");
  const Sequential<float> net{{"body", Sequential<float>{ReLU<float>(), Unknown()}}};
  CHECK_THROWS_WITH_AS(save_onnx(path, net, {1, 2}),
                       "body.1: Unknown(): ONNX has no operators for this layer, or save_onnx does not know them",
                       ValueError);
  const DistilBert<float> bert({.vocabulary = 9, .positions = 4, .layers = 1, .features = 4, .heads = 1, .hidden = 4});
  CHECK_THROWS_WITH_AS(
      save_onnx(path, bert,
                Values<float>(Value<float>::of_shape(
                    {5}, std::make_shared<const Sequences>(Sequences(std::vector<Index>{2, 3}))))),
      "embeddings.word_embeddings: Embedding(9, 4, padding_idx=0): packed sequences cannot be said in ONNX: give ids "
      "of shape [N, L]",
      ValueError);
  CHECK_THROWS_WITH_AS(
      save_onnx(path, small_net(), {1, 3, 4, 4}),
      "features.0: Conv2d(2, 4, 3, padding=1, bias=false): expected 2 input channels, got shape [1, 3, "
      "4, 4]",
      ShapeError);
  CHECK_THROWS_WITH_AS(save_onnx(path, small_net(), {1, 2, 4, 4}, {.outputs = {"a", "b"}}),
                       "save_onnx: 2 names for 1 outputs", ValueError);
  CHECK_THROWS_WITH_AS(save_onnx(path, small_net(), {1, 2, 4, 4}, {.inputs = {"a"}, .outputs = {"a"}}),
                       "save_onnx: two values are to be named 'a'", ValueError);
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);
  CHECK_THROWS_AS(save_onnx(folder / "none/net.onnx", small_net(), {1, 2, 4, 4}), FileError);
}

TEST_CASE("load_onnx: a file that is cut short or damaged is an error") {
  const TemporaryFolder folder;
  const Sequential<float> net{Conv2d<float>(1, 2, 3), ReLU<float>(), AdaptiveAvgPool2d<float>(1), Flatten<float>()};
  save_onnx(folder / "net.onnx", net, {1, 1, 4, 4});
  const std::string content = contents(folder / "net.onnx"), path = folder / "damaged.onnx";
  const auto read = [](const std::string& file) { load_onnx(file); };
  CHECK(refuses_truncations(path, content, read));
  survives_damage(path, content, read);
  put(path, "no model");
  CHECK_THROWS_AS(load_onnx(path), FileError);
  CHECK_THROWS_AS(load_onnx(folder / "none.onnx"), FileError);
}

TEST_CASE("load_onnx: what is not taken is an error that names the node") {
  Model empty;
  empty.message.graph.outputs.clear();
  CHECK(empty.node("a", "Relu", {"x"}).complaint() == "the graph has no outputs");
  CHECK(Model().complaint() == "no node computes the output 'y'");
  CHECK(Model().node("act", "Foo", {"x"}).complaint() == "node 'act' (Foo): the operator Foo is not known");
  CHECK(Model().node("", "Foo", {"x"}).complaint() == "node 0 (Foo): the operator Foo is not known");
  CHECK(Model().node("act", "Relu", {"x"}, {attribute("slope", 1)}).complaint() ==
        "node 'act' (Relu): attribute 'slope' is not known");
  CHECK(Model().node("act", "Relu", {"z"}).complaint() == "node 'act' (Relu): no node before computes its input 'z'");
  CHECK(Model().node("act", "Relu", {}).complaint() == "node 'act' (Relu): its input 0 is missing");
  CHECK(Model().node("pool", "MaxPool", {"x"}, {attribute("kernel_shape", {2, 2})}, {"y", "places"}).complaint() ==
        "node 'pool' (MaxPool): its output 1 ('places') is not computed");
  CHECK(Model().node("c", "Conv", {"x", "x"}).complaint() ==
        "node 'c' (Conv): its input 'x' must be a constant: give it one (LoadOnnxOptions::constants)");
  Model conv;
  conv.constant("w", {1, 3, 1, 1}, {1, 2, 3}).node("c", "Conv", {"x", "w"});
  CHECK(conv.complaint() ==
        "node 'c' (Conv): Conv2d(3, 1, 1, bias=false): expected 3 input channels, got shape "
        "[1, 2, 4, 4]");
  Model short_weight;
  short_weight.constant("w", {1, 2, 1, 1}, {1}).node("c", "Conv", {"x", "w"});
  CHECK(short_weight.complaint() == "initialiser 'w': shape [1, 2, 1, 1] needs 8 bytes, the file has 4");
  Model drops;
  drops.message.opsets[0].version = 6;
  CHECK(drops.node("d", "Dropout", {"x"}).complaint() == "node 'd' (Dropout): dropout in training is not taken");
}

TEST_CASE("load_onnx: other opsets, domains, kinds of inputs and elements elsewhere") {
  for (const std::int64_t version : {0, 18}) {
    Model model;
    model.message.opsets[0].version = version;
    CHECK(model.node("a", "Relu", {"x"}).complaint() ==
          (version == 0 ? "the file does not say which opset it uses" : "opset 18 is not taken, only 1 to 17"));
  }
  Model text;
  text.message.graph.inputs[0].type = ElementType::string;
  CHECK(text.node("a", "Identity", {"x"}).complaint() == "input 'x' of type string is not taken");
  Model whole;
  whole.message.graph.inputs[0].type = ElementType::int64;
  CHECK(whole.node("a", "Exp", {"x"}).complaint() ==
        "node 'a' (Exp): its input 'x' is of type int64, but it is taken with floats alone");

  // A tensor whose elements are in another file, as large models have them.
  protobuf::Writer entry, tensor, graph, opset, model;
  entry.text(1, "location");
  entry.text(2, "weights.bin");
  tensor.integer(1, 3);
  tensor.integer(2, 1);
  tensor.text(8, "w");
  tensor.message(13, entry);
  tensor.integer(14, 1);
  graph.message(5, tensor);
  opset.integer(2, 17);
  model.message(7, graph);
  model.message(8, opset);
  std::string bytes;
  model.for_each_piece([&](auto piece) { bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size()); });
  const TemporaryFolder folder;
  put(folder / "f.onnx", bytes);
  CHECK(complaint_of(folder / "f.onnx", [&] { load_onnx(folder / "f.onnx"); }) ==
        "initialiser 'w': its elements are in another file, 'weights.bin', which is not read: save the model as one "
        "file");
}

TEST_CASE("load_onnx: extents that a file leaves open, and inputs that are constants") {
  const TemporaryFolder folder;
  Model model;
  model.message.graph.inputs[0].dims = {-1, 2, 4, 4};
  model.node("a", "Relu", {"x"});
  const OnnxModel<float> any = load_onnx(model.write(folder));
  CHECK(any(Tensor<float>::ones({3, 2, 4, 4})).shape() == Shape{3, 2, 4, 4});
  CHECK_THROWS_AS(any(Tensor<float>::ones({3, 2, 4, 5})), ShapeError);

  Model shaped;
  shaped.message.graph.inputs[0].dims = {-1, 2, 4, 4};
  shaped.node("s", "Shape", {"x"}, {}, {"s"}).node("a", "Reshape", {"x", "s"});
  CHECK(shaped.complaint() ==
        "node 's' (Shape): the shapes of its inputs must be known: give those of the model's inputs "
        "(LoadOnnxOptions::shapes)");
  const std::string path = shaped.write(folder);
  CHECK(load_onnx(path, {.shapes = {{"x", {5, 2, 4, 4}}}}).inputs()[0].extents == std::vector<Index>{5, 2, 4, 4});
  CHECK_THROWS_WITH_AS(load_onnx(path, {.shapes = {{"x", {5, 2, 4, 5}}}}),
                       ("load_onnx: " + path + ": input 'x' is [-1, 2, 4, 4], not [5, 2, 4, 5]").c_str(), ValueError);
  CHECK_THROWS_WITH_AS(load_onnx(path, {.shapes = {{"z", {1}}}}),
                       ("load_onnx: " + path + " has no input 'z', which LoadOnnxOptions::shapes names").c_str(),
                       ValueError);

  Model weights;
  weights.message.graph.inputs.push_back({"w", ElementType::float32, true, {1, 2, 1, 1}});
  weights.node("c", "Conv", {"x", "w"});
  const OnnxModel<float> net =
      load_onnx(weights.write(folder), {.constants = {{"w", Tensor<float>({1, 2, 1, 1}, {1, 3})}}});
  CHECK(net(Tensor<float>::ones({1, 2, 4, 4})) == Tensor<float>::full({1, 1, 4, 4}, 4));
}
