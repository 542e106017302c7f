#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/checkpoint.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/dot.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/multiply.hpp"
#include "lamina/nn/named_modules.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/silu.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/nn/visit_inputs.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// f(x) * g(x) + x, and 2 f(x) beside it: a value that is used three times, and two results.
class Twin : public Block<Twin, double> {
 public:
  Linear<double> f{3, 3}, g{3, 3};
  Multiply<double> multiply;
  Add<double> add;

  Members<double> members() override { return {{"f", f}, {"g", g}}; }
  Values<double> flow(Flow<double>& run, Value<double> x) const {
    const Value<double> y = run(f, x);
    return {run(add, run(multiply, y, run(g, x)), x), run(add, y, y)};
  }
};

/// a b + a, of two values.
class OfTwo : public Block<OfTwo, double> {
 public:
  Multiply<double> multiply;
  Add<double> add;

  Members<double> members() override { return {}; }
  Value<double> flow(Flow<double>& run, Value<double> a, Value<double> b) const {
    return run(add, run(multiply, a, std::move(b)), a);
  }
};

}  // namespace

TEST_CASE("a block with several results: their gradients are summed, those that nobody gives are none") {
  CHECK(conforms(Twin(), {4, 3}));
  CHECK(Twin().name() == "Twin()");
  Twin net;
  const auto x = Random(1).normal<double>({4, 3}), dy = Random(2).normal<double>({4, 3});
  Tape tape;
  const auto y = net.forward(Values<double>(x), tape);
  REQUIRE(y.size() == 2);
  const Tensor<double> both = net.backward({dy, dy}, tape)[0];
  net.forward(x, tape);
  const Tensor<double> first = net.backward(dy, tape);
  net.forward(x, tape);
  const Tensor<double> second = net.backward({Tensor<double>::zeros({4, 3}), dy}, tape)[0];
  CHECK(tape.empty());
  CHECK((both.array() - first.array() - second.array()).abs().maxCoeff() < 1e-12);
}

TEST_CASE("a block of two values") {
  OfTwo net;
  const auto a = Random(1).normal<double>({4, 3}), b = Random(2).normal<double>({4, 3});
  Tape tape;
  const Tensor<double> y = net.forward({a, b}, tape)[0];
  CHECK((y.array() - a.array() * (b.array() + 1)).abs().maxCoeff() < 1e-12);
  const auto dx = net.backward(Few<Tensor<double>>(Tensor<double>::ones({4, 3})), tape);
  CHECK((dx[0].array() - b.array() - 1).abs().maxCoeff() < 1e-12);
  CHECK(dx[1] == a);
  CHECK_THROWS_WITH_AS(net.infer(a), "OfTwo(): does not take 1 values", ValueError);
  CHECK_THROWS_WITH_AS(net.output_shape({4, 3}), "OfTwo(): does not take 1 values", ValueError);
}

TEST_CASE("the graph of a model: nodes, edges, shapes, paths") {
  const Sequential<float> net{{"stem", Conv2d(3, 4, 3, {.padding = 1})},
                              {"body", Sum<float>{{"skip", Identity()}, {"conv", Conv2d(4, 4, 1)}}}};
  const Graph<float> graph = record(net, {2, 3, 5, 6});
  REQUIRE(graph.nodes.size() == 4);
  CHECK(graph.nodes[0].path == "stem");
  CHECK(graph.nodes[0].as<Conv2d<float>>() == &net[0]);
  CHECK(graph.nodes[0].as<Linear<float>>() == nullptr);
  CHECK(graph.nodes[2].path == "body.conv");
  CHECK(graph.nodes[1].inputs == graph.nodes[0].outputs);
  CHECK(graph.nodes[2].inputs == graph.nodes[0].outputs);
  CHECK(graph.nodes[3].inputs == std::vector<Index>{graph.nodes[1].outputs[0], graph.nodes[2].outputs[0]});
  CHECK(graph.outputs == graph.nodes[3].outputs);
  CHECK(graph.shape(graph.outputs[0]) == Shape{2, 4, 5, 6});
  CHECK(graph.multiply_adds() == 2 * 30 * (4 * 27 + 16));
  CHECK(to_dot(graph) ==
        "digraph {\n  node [shape=box];\n  input0 [shape=ellipse];\n"
        "  n0 [label=\"stem: Conv2d(3, 4, 3, padding=1)\"];\n  input0 -> n0 [label=\"[2, 3, 5, 6]\"];\n"
        "  n1 [label=\"body.skip: Identity()\"];\n  n0 -> n1 [label=\"[2, 4, 5, 6]\"];\n"
        "  n2 [label=\"body.conv: Conv2d(4, 4, 1)\"];\n  n0 -> n2 [label=\"[2, 4, 5, 6]\"];\n"
        "  n3 [label=\"body: Add()\"];\n  n1 -> n3 [label=\"[2, 4, 5, 6]\"];\n  n2 -> n3 [label=\"[2, 4, 5, 6]\"];\n"
        "  output0 [shape=ellipse];\n  n3 -> output0 [label=\"[2, 4, 5, 6]\"];\n}\n");
}

TEST_CASE("errors say where in the model they happened") {
  Sequential<float> net{{"features", Sequential<float>{Conv2d(3, 4, 3), ReLU(), Sequential{Conv2d(5, 4, 3), ReLU()}}}};
  const Tensor<float> x = Tensor<float>::zeros({1, 3, 9, 9});
  const char* const expected = "features.2.0: Conv2d(5, 4, 3): expected 5 input channels, got shape [1, 4, 7, 7]";
  Tape tape;
  CHECK_THROWS_WITH_AS(net(x), expected, ShapeError);
  CHECK_THROWS_WITH_AS(net.forward(x, tape), expected, ShapeError);
  CHECK_THROWS_WITH_AS(net.output_shape(x.shape()), expected, ShapeError);
  CHECK_THROWS_WITH_AS(record(net, x.shape()), expected, ShapeError);
  CHECK(tape.empty());
  // One that waits for its activation is named itself.
  Sequential<float> norms{{"bn", BatchNorm2d(3)}, {"relu", ReLU()}};
  CHECK_THROWS_WITH_AS(norms.forward(Tensor<float>::zeros({1, 3, 1, 1}), tape),
                       "bn: BatchNorm2d(3): expected more than 1 value per channel when training, got shape "
                       "[1, 3, 1, 1]",
                       ShapeError);
}

TEST_CASE("containers can be edited, modules found by their paths") {
  Sequential<float> net{Linear(4, 3), ReLU(), Linear(3, 2)};
  net.replace(1, Tanh());
  CHECK(net[1].name() == "Tanh()");
  net.insert(1, BatchNorm1d(3));
  CHECK(net.size() == 4);
  CHECK(state_dict(net).back().first == "3.bias");
  net.erase(1);
  CHECK(state_dict(net).back().first == "2.bias");
  net.replace(2, Child<float>("head", Linear(3, 7)));
  CHECK(net.output_shape({1, 4}) == Shape{1, 7});
  CHECK(&find(net, "head") == &net[2]);
  CHECK(&find(net, "") == &net);
  CHECK_THROWS_WITH_AS(find(net, "head.0"),
                       "find: Sequential(Linear(4, 3), Tanh(), Linear(3, 7)) has no module 'head.0'", ValueError);
  CHECK_THROWS_WITH_AS(net.replace(3, ReLU()), "Sequential: no child 3, there are 3", ValueError);
  CHECK_THROWS_WITH_AS(net.insert(4, ReLU()), "Sequential: cannot insert at 4, there are 3", ValueError);
  CHECK_THROWS_WITH_AS(net.erase(-1), "Sequential: no child -1, there are 3", ValueError);
  std::string paths;
  for (const auto& [path, module] : named_modules(net)) paths += path + ";";
  CHECK(paths == ";0;1;head;");
}

TEST_CASE("Checkpoint runs a module again instead of saving it") {
  const Sequential<double> body{Linear<double>(4, 6), SiLU<double>(), Linear<double>(6, 4)};
  CHECK(conforms(Checkpoint(body), {5, 4}));
  CHECK(conforms(Sequential<double>{Linear<double>(4, 4), Checkpoint(body), Checkpoint(Checkpoint(body))}, {5, 4}));

  // The same gradients, units dropped and statistics as without.
  const Sequential<double> random{Linear<double>(4, 6), BatchNorm1d<double>(6), ReLU<double>(), Dropout<double>(0.5)};
  Sequential<double> plain{random, Dropout<double>(0.5)}, again{Checkpoint(random), Dropout<double>(0.5)};
  const auto x = Random(1).normal<double>({5, 4}), dy = Random(2).normal<double>({5, 6});
  Tape tape(7), other(7);
  CHECK(plain.forward(x, tape) == again.forward(x, other));
  CHECK(plain.backward(dy, tape) == again.backward(dy, other));
  CHECK(state_dict(plain) == state_dict(again));
  const auto expected = parameters(plain), found = parameters(again);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(expected[i].parameter->grad == found[i].parameter->grad);
  CHECK(summary(again, {5, 4}).find("BatchNorm1d(6)") != std::string::npos);

  // The tape holds the input alone.
  Sequential<float> deep{Linear(1000, 1000), Tanh(), Linear(1000, 1000), Tanh(), Linear(1000, 1000)};
  Checkpoint<float> light(deep);
  const auto saved = [](auto& net) {
    const auto input = Random(3).normal<float>({100, 1000});
    Tape own;
    release_cached_storage();  // so that blocks have the sizes that are asked for
    const std::size_t before = storage_statistics().bytes_in_use;
    net.forward(input, own);
    return static_cast<double>(storage_statistics().bytes_in_use - before) / 400000;
  };
  CHECK(saved(deep) > 2);
  CHECK(saved(light) < 0.5);
}

namespace {
/// The convolution's saved input, if any: bytes that a forward of net leaves behind, in multiples of its input.
double saved_inputs(Sequential<float> net) {
  const auto x = Random(3).normal({8, 16, 16, 16});
  Tape tape;
  release_cached_storage();  // so that blocks have the sizes that are asked for
  const std::size_t before = storage_statistics().bytes_in_use;
  const auto y = net.forward(x, tape);
  return static_cast<double>(storage_statistics().bytes_in_use - before) / static_cast<double>(x.numel() * 4) - 1;
}
}  // namespace

TEST_CASE("What a Checkpoint gives is computed again, not saved, for the layer that would save it") {
  const Sequential<float> cheap{BatchNorm2d(16), ReLU()};
  const Conv2d convolution(16, 16, 1);
  CHECK(saved_inputs({Child<float>(cheap), Child<float>(convolution)}) > 0.9);
  CHECK(saved_inputs({Child<float>(Checkpoint(cheap)), Child<float>(convolution)}) < 0.2);

  // Of several layers that see it, each gets it; one that works in place does not change it.
  const Sequential<double> inner{Linear<double>(4, 6), Tanh<double>()};
  const auto net = [](auto first) {
    return Sequential<double>{
        first, Sum<double>{Linear<double>(6, 5), Sequential<double>{SiLU<double>(), Linear<double>(6, 5)},
                           Sequential<double>{Dropout<double>(0.4), Linear<double>(6, 5)}}};
  };
  manual_seed(3);
  Sequential<double> plain = net(inner);
  Sequential<double> spared = net(Checkpoint(inner));
  load_state_dict(spared, state_dict(plain));
  const auto x = Random(1).normal<double>({7, 4}), dy = Random(2).normal<double>({7, 5});
  Tape tape(5), other(5);
  CHECK(plain.forward(x, tape) == spared.forward(x, other));
  CHECK(plain.backward(dy, tape) == spared.backward(dy, other));
  CHECK(other.empty());
  const auto expected = parameters(plain), found = parameters(spared);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(expected[i].parameter->grad == found[i].parameter->grad);
}

namespace {
/// A join that a norm, another join, a Checkpoint and a convolution see.
class Joined : public Block<Joined, double> {
 public:
  Cat<double> cat;
  BatchNorm2d<double> norm{5};
  Checkpoint<double> again{Sequential<double>{BatchNorm2d<double>(7), ReLU<double>()}};
  Conv2d<double> whole{5, 2, 1}, last{7, 3, 1};
  Add<double> add;

  explicit Joined(bool whole_first) : whole_first_(whole_first) {}

  Members<double> members() override { return {{"norm", norm}, {"again", again}, {"whole", whole}, {"last", last}}; }
  Value<double> flow(Flow<double>& run, Value<double> a, Value<double> b) const {
    const Value<double> joined = run(cat, a, b);
    Value<double> y = whole_first_ ? run(whole, joined) : Value<double>();
    const Value<double> normal = run(norm, joined);
    if (!whole_first_) y = run(whole, joined);
    return run(cat, run(last, run(again, run(cat, joined, y))), normal);
  }

 private:
  bool whole_first_;
};
}  // namespace

TEST_CASE("A join is the same in parts and as a whole") {
  const auto a = Random(1).normal<double>({2, 2, 3, 4}), b = Random(2).normal<double>({2, 3, 3, 4});
  const auto dy = Random(3).normal<double>({2, 8, 3, 4});
  Joined parts(false), whole(true);
  load_state_dict(whole, state_dict(parts));
  Tape tape, other;
  const Tensor<double> y = parts.forward(a, b, tape);
  CHECK(y == whole.forward(a, b, other));
  const auto dx = parts.backward(Few<Tensor<double>>(dy), tape),
             expected = whole.backward(Few<Tensor<double>>(dy), other);
  for (std::size_t i = 0; i < 2; ++i) CHECK(testing::worst_difference(dx[i], expected[i]).error < 1e-12);
  CHECK(parts.infer(Values<double>(a, b))[0] == whole.infer(Values<double>(a, b))[0]);
  // A visitor sees it as a whole, and so does the norm then.
  Index channels = 0;
  const Sequential<double> net{Concat<double>{Identity<double>(), Identity<double>()}, BatchNorm2d<double>(4)};
  const auto shown =
      visit_inputs<BatchNorm2d<double>>(net, a, [&](const auto&, const Tensor<double>& x) { channels = x.dim(1); });
  CHECK(channels == 4);
  CHECK(shown == net.infer(a));
}
