#include <doctest/doctest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "lamina/compile/plan.hpp"
#include "lamina/models/clip.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/models/inn.hpp"
#include "lamina/models/pixelcnn.hpp"
#include "lamina/models/rednet.hpp"
#include "lamina/nn/concat.hpp"
#include "message.hpp"
#include "models/networks.hpp"

using namespace lamina;
using testing::message;

namespace {

double distance(const Tensor<float>& y, const Tensor<float>& z) {
  REQUIRE(y.shape() == z.shape());
  double difference = 0, size = 0;
  for (Index i = 0; i < y.numel(); ++i) {
    const double a = static_cast<double>(y.data()[i]), b = static_cast<double>(z.data()[i]);
    difference += (a - b) * (a - b);
    size += a * a;
  }
  REQUIRE(size > 0);
  return std::sqrt(difference / size);
}

/// Draws the running statistics and shifts of all norms; the other weights stay as they begin.
void draw_statistics(Module<float>& net) {
  Random random(11);
  for_each<BatchNorm2d<float>>(net, [&](BatchNorm2d<float>& norm) {
    norm.running_mean = random.normal(norm.running_mean.shape());
    norm.bias.value = random.normal(norm.bias.value.shape());
    norm.running_var = random.uniform<float>(norm.running_var.shape());
    norm.running_var += Tensor<float>::full(norm.running_var.shape(), 0.5f);
  });
}

/// The error of a network's plan for n images; for fewer the bits are the same as far as they go.
double error_of(Module<float>& net, const Shape& shape) {
  const Tensor<float> x = testing::images<float>(shape), y = net.infer(x);
  const Plan plan = compile(net, shape);
  const Tensor<float> z = plan(x);
  if (shape[0] > 1) {
    CHECK(plan(x.slice(0, 1)) == z.slice(0, 1));
    CHECK(plan(x.slice(1, shape[0])) == z.slice(1, shape[0]));
  }
  return distance(y, z);
}

Labels ids(const Shape& shape, std::int32_t vocabulary) {
  Labels result(shape);
  Random random(3);
  for (std::int32_t& id : result.values())
    id = static_cast<std::int32_t>(1 + random.below(static_cast<std::uint64_t>(vocabulary - 1)));
  return result;
}

const DistilBertOptions bert{.vocabulary = 50, .positions = 16, .layers = 2, .features = 24, .heads = 3, .hidden = 40};

}  // namespace

TEST_CASE("the plan of a classic network is its infer, for drawn statistics") {
  struct Case {
    const char* name;
    Shape shape;
  };
  for (const auto& [name, shape] : std::vector<Case>{{"alexnet", {2, 3, 127, 127}},
                                                     {"alexnet_two_towers", {2, 3, 95, 95}},
                                                     {"vgg_a_bn", {1, 3, 64, 64}},
                                                     {"vgg_a_lrn", {1, 3, 32, 32}},
                                                     {"googlenet", {2, 3, 96, 96}},
                                                     {"googlenet_listing", {1, 1, 96, 96}},
                                                     {"nin", {1, 1, 96, 96}},
                                                     {"resnet18", {3, 3, 64, 64}},
                                                     {"resnet18_listing", {1, 1, 64, 64}},
                                                     {"resnet50", {2, 3, 96, 96}},
                                                     {"resnet50_hamnet8", {1, 3, 65, 65}},
                                                     {"densenet121", {2, 3, 64, 64}},
                                                     {"densenet_listing", {1, 1, 64, 64}},
                                                     {"mobilenet", {2, 3, 64, 64}},
                                                     {"mobilenet_v2", {3, 3, 96, 96}},
                                                     {"mobilenet_v2_narrow", {1, 3, 64, 64}},
                                                     {"mobilenet_v3_large", {3, 3, 96, 96}},
                                                     {"mobilenet_v3_small", {1, 3, 64, 64}}}) {
    CAPTURE(name);
    const auto net = testing::filled_network<float>(name);
    CHECK(error_of(*net, shape) < 1e-5);
  }
}

TEST_CASE("every other model compiles: involution, hams, masks, transformers") {
  manual_seed(1);
  auto red = rednet(26, {.classes = 10});  // products of drawn statistics would soon be infinite
  CHECK(error_of(red, {2, 3, 64, 64}) < 1e-5);
  auto involutions = inn({.in_channels = 3, .classes = 7, .side = 28});
  for_each<Linear<float>>(involutions, [](Linear<float>& linear) { linear.bias.value.fill(0.1f); });
  CHECK(error_of(involutions, {2, 3, 28, 28}) < 1e-5);
  auto pixels = pixelcnn();
  draw_statistics(pixels);
  CHECK(error_of(pixels, {2, 1, 12, 12}) < 1e-5);
  for (const Context context : {Context::nmf, Context::cd, Context::none}) {
    HamNetOptions options{.classes = 4, .depth = 18, .channels = 32, .aligned = 16, .context = context};
    options.hamburger.ham.rank = 8;
    auto ham = hamnet<float>(options);
    draw_statistics(ham);
    CHECK(error_of(ham, {2, 3, 65, 49}) < 1e-5);
  }
}

TEST_CASE("dilated convolutions: Winograd's tiles of the phases, with everything that is done in the store") {
  for (const Size2 dilation : {Size2{2, 2}, Size2{3, 3}, Size2{1, 2}, Size2{4, 2}})
    for (const Index size : {11, 16}) {
      const Size2 padding = size == 11 ? dilation : Size2{1, 3};
      const Conv2dOptions options{.padding = {padding.h, padding.w}, .dilation = dilation};
      Sequential<float> net{Conv2d(8, 24, 3),
                            BatchNorm2d(24),
                            GELU(),
                            Conv2d(24, 40, 3, options),
                            BatchNorm2d(40),
                            GELU(),
                            Sum{Conv2d(40, 40, 3, {.padding = 2, .dilation = 2}), Identity()},
                            ReLU(),
                            Conv2d(40, 16, 3, options),
                            BatchNorm2d(16),
                            ReLU6()};
      draw_statistics(net);
      CAPTURE(dilation.h);
      CAPTURE(dilation.w);
      CAPTURE(size);
      CHECK(error_of(net, {3, 8, size + 6, size + 9}) < 1e-5);
    }
}

TEST_CASE("a plan of token ids, dense and packed: fewer tokens and other lengths than compiled for") {
  manual_seed(2);
  const DistilBert<float> net(bert);
  const Labels dense = ids({3, 9}, 50);
  const Plan plan = compile(net, {4, 9});
  CHECK(distance(net.infer(dense), plan(dense)) < 1e-5);

  const auto packed =
      compile(net, Values<float>(Value<float>::of_shape({40}, std::make_shared<const Sequences>(Index{4}, Index{10}))));
  for (const std::vector<Index>& lengths : {std::vector<Index>{9, 4, 7}, std::vector<Index>{1}}) {
    const PackedTokens tokens = pack(ids({static_cast<Index>(lengths.size()), 9}, 50), lengths);
    CHECK(distance(net.infer(tokens), packed(tokens)) < 1e-5);
  }
  CHECK(message([&] { packed(dense); }).find("Plan: compiled for inputs of shape [40]") == 0);
  CHECK(message([&] { packed(ids({7}, 50)); }) == "Plan: compiled for a packed batch, got a dense one");
  CHECK(message([&] { plan(Labels::full({1, 9}, 50)); }).find("embeddings.word_embeddings: Embedding(") == 0);

  TextEncoder<float> text(bert);
  const auto encoder = compile(
      text, Values<float>(Value<float>::of_shape({40}, std::make_shared<const Sequences>(Index{4}, Index{10}))));
  const PackedTokens tokens = pack(dense, std::vector<Index>{9, 2, 5});
  CHECK(distance(text.infer(tokens), encoder(tokens)) < 1e-5);
}

TEST_CASE("a plan outlives its net, is a value, and is used by many threads with the same bits") {
  auto net = testing::filled_network<float>("mobilenet_v3_small");
  const Tensor<float> x = testing::images<float>({2, 3, 64, 64});
  const Plan first = compile(*net, {2, 3, 64, 64});
  const Tensor<float> y = first(x);
  for (const auto& parameter : parameters(*net)) parameter.parameter->value.fill(0);
  net.reset();
  const Plan plan = first;  // NOLINT: a copy
  CHECK(plan(x) == y);
  CHECK(plan.infer(x) == y);
  const int before = num_threads();
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    CHECK(plan(x) == y);
  }
  set_num_threads(before);
  std::vector<std::thread> callers;
  std::vector<int> equal(4, 0);
  for (std::size_t t = 0; t < equal.size(); ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) equal[t] += plan(x.slice(0, 1 + i % 2)) == y.slice(0, 1 + i % 2);
    });
  for (auto& caller : callers) caller.join();
  CHECK(equal == std::vector<int>(4, 5));
}

TEST_CASE("a plan asks the system for nothing after its first call, and reports its steps") {
  const auto net = testing::network<float>("resnet18");
  const Plan plan = compile(*net, {1, 3, 64, 64});
  const Tensor<float> x = testing::images<float>({1, 3, 64, 64});
  plan(x);
  const auto before = storage_statistics().system_allocations;
  for (int i = 0; i < 3; ++i) plan(x);
  CHECK(storage_statistics().system_allocations == before);

  const std::string report = plan.report(1);
  CHECK(report.find("convolution (direct) + relu  [conv1: Conv2d(3, 64, 7") != std::string::npos);
  CHECK(report.find("  all\n") != std::string::npos);
  CHECK(message([&] { plan.report(0); }) == "Plan::report: runs must be at least 1, got 0");
  const std::string dot = plan.to_dot();
  CHECK(dot.find("digraph plan {") == 0);
  CHECK(dot.find("layer1.0") != std::string::npos);
  CHECK(dot.find(" -> output [label=\"[1, 1000]\"]") != std::string::npos);
}

TEST_CASE("a call's memory is at most a tenth more than what must be live at once") {
  for (const char* name : {"alexnet", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2"}) {
    CAPTURE(name);
    const auto net = testing::network<float>(name);
    const compiler::Executable<float> plan(compiler::optimized(record(*net, Shape{1, 3, 224, 224})), {}, false);
    CHECK(static_cast<double>(plan.arena_size()) <= 1.1 * static_cast<double>(plan.live_size()));
  }
}

TEST_CASE("profile: a row for each layer of the eager path, and the sum") {
  const auto net = testing::network<float>("mobilenet_v3_small");
  const Tensor<float> x = testing::images<float>({1, 3, 64, 64});
  const std::string table = profile(*net, x, 2);
  CHECK(table.find("features.0.0: Conv2d(3, 16, 3, stride=2, padding=1, bias=false)\n") != std::string::npos);
  CHECK(table.find("BatchNorm2d(16, eps=0.001, momentum=0.01)\n") != std::string::npos);
  CHECK(table.ends_with("  all\n"));
  CHECK(message([&] { profile(*net, x, 0); }) == "profile: runs must be at least 1, got 0");
  CHECK(message([&] { profile(*net, Tensor<float>({1, 4, 8, 8})); }).find("features.0.0: Conv2d(3, 16") == 0);
}

TEST_CASE("bfloat16 weights of linear layers, and what a plan refuses") {
  const auto net = testing::filled_network<float>("alexnet_small_images");
  const Tensor<float> x = testing::images<float>({1, 3, 64, 64});
  const Plan narrow = compile(*net, {1, 3, 64, 64}, {.weights = Precision::bfloat16});
  const double error = distance(net->infer(x), narrow(x));
  CHECK(error < 1e-2);
  CHECK(error > 1e-6);

  const Plan plan = compile(*net, {2, 3, 64, 64});
  CHECK(message([&] {
          plan(testing::images<float>({3, 3, 64, 64}));
        }) == "Plan: compiled for at most 2 samples, got shape [3, 3, 64, 64]");
  CHECK(message([&] {
          plan(testing::images<float>({1, 3, 64, 65}));
        }) ==
        "Plan: compiled for inputs of shape [2, 3, 64, 64], or fewer along the first axis, got shape [1, 3, 64, 65]");
  CHECK(message([&] { compile(*net, {1, 4, 64, 64}); }).find("features.0: Conv2d(3, 64, 11") == 0);
  CHECK(message([&] {
          compile(*net, {0, 3, 64, 64});
        }) == "compile: expected inputs with at least one element, got shape [0, 3, 64, 64]");
  CHECK(message([&] {
          compile(Linear<double>(2, 2), Shape{1, 2}, {.weights = Precision::bfloat16});
        }) == "compile: weights can be bfloat16 in networks of float only");
  const Tensor<float> none = plan(Tensor<float>({0, 3, 64, 64}));
  CHECK(none.shape() == Shape{0, 1000});
}
