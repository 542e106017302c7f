#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "lamina/io/safetensors.hpp"
#include "lamina/models/googlenet.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/summary.hpp"
#include "models/networks.hpp"

// Every network against torchvision or the listing in PyTorch; make_models.py says what the fixture holds.

using namespace lamina;

namespace {

const std::map<std::string, Tensor<double>>& fixture() {
  static const auto tensors = [] {
    std::map<std::string, Tensor<double>> result;
    for (auto& [key, value] : load_safetensors<double>(LAMINA_GOLDEN_DIR "/models.safetensors"))
      if (auto* counter = std::get_if<Tensor<std::int64_t>>(&value); counter && !key.ends_with("/keys"))
        result.emplace(key, counter->cast<double>());
      else if (!counter)
        result.emplace(key, std::get<Tensor<double>>(value));
    return result;
  }();
  return tensors;
}
std::uint64_t hash_in_fixture(const std::string& name) {
  static const auto tensors = load_safetensors<double>(LAMINA_GOLDEN_DIR "/models.safetensors");
  for (const auto& [key, value] : tensors)
    if (key == name + "/keys") return static_cast<std::uint64_t>(std::get<Tensor<std::int64_t>>(value).item());
  return 0;
}

/// The names of the cases that have this entry.
std::vector<std::string> cases(const std::string& entry) {
  std::vector<std::string> result;
  for (const auto& [key, value] : fixture())
    if (key.ends_with("/" + entry)) result.push_back(key.substr(0, key.size() - entry.size() - 1));
  return result;
}

/// "resnet18" of "resnet18@193x225".
std::string without_size(const std::string& name) { return name.substr(0, name.find('@')); }

Shape shape_of(const std::string& name) {
  std::vector<Index> extents;
  for (const double extent : fixture().at(name + "/x").values()) extents.push_back(static_cast<Index>(extent));
  return Shape(extents);
}

/// As make_models.py --keys prints them.
std::string keys_and_shapes(const Module<float>& net) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : state_dict(net))
    lines.push_back(key + " " + std::visit([](const auto& tensor) { return tensor.shape().to_string(); }, value) +
                    "\n");
  std::sort(lines.begin(), lines.end());
  std::string result;
  for (const std::string& line : lines) result += line;
  return result;
}

/// The norm of the difference that a tensor has from what the fixture says of it, as far as that tells.
double difference(const std::string& name, const std::string& key, const Tensor<double>& got) {
  const Tensor<double>& expected = fixture().at(name);
  const auto [squares, product] = testing::Uniform(key + ".direction").squares_and_product(got.values());
  return std::max(std::abs(std::sqrt(squares) - expected(0)), std::abs(product - expected(1)));
}

Loss<double> classify(Tensor<double> logits) {
  Labels labels({logits.dim(0)});
  for (Index i = 0; i < labels.numel(); ++i) labels.data()[i] = static_cast<std::int32_t>(i % 10);
  return cross_entropy(std::move(logits), labels);
}

}  // namespace

TEST_CASE("networks have PyTorch's parameters, keys and shapes, and its logits for the same weights") {
  CHECK(cases("logits").size() == 55);
  for (const std::string& name : cases("logits")) {
    const std::string model = without_size(name);
    INFO(name, ": compare with tests/golden/make_models.py --keys ", model);
    const auto net = testing::filled_network<float>(model);
    CHECK(count_parameters(*net).total == static_cast<Index>(fixture().at(name + "/parameters").item()));
    const std::string keys = keys_and_shapes(*net);
    CHECK(testing::fnv1a(keys) == hash_in_fixture(name));

    const Tensor<float> logits = net->infer(testing::images<float>(shape_of(name)));
    CHECK(net->output_shape(shape_of(name)) == logits.shape());
    const Tensor<double>& expected = fixture().at(name + "/logits");
    const Index step = std::max<Index>(1, logits.dim(1) / 40);
    double difference = 0, norm = 0;
    for (Index i = 0; i < expected.dim(0); ++i)
      for (Index j = 0; j < expected.dim(1); ++j) {
        const double d = static_cast<double>(logits(i, j * step)) - expected(i, j);
        difference += d * d;
        norm += expected(i, j) * expected(i, j);
      }
    CHECK(std::sqrt(difference / norm) < 1e-5);
  }
}

// In double: where a ReLU's input is nearly 0, single precision takes the other side now and then, PyTorch's too, and
// the gradients behind differ by a hundredth.
TEST_CASE("networks have PyTorch's loss, gradients and running statistics") {
  CHECK(cases("loss").size() == 33);
  for (const std::string& name : cases("loss")) {
    const std::string model = name.substr(std::string("train/").size());
    const bool sized = without_size(model) != model;  // with the published classes, and gradients of a few weights
    CAPTURE(model);
    const auto net =
        testing::filled_network<double>(without_size(model), {.classes = sized ? 0 : 10, .dropout = false});
    Tape tape;
    const Tensor<double> x = testing::images<double>(shape_of(name));
    const auto results = net->forward(Values<double>(x), tape);  // several from GoogLeNet's heads
    double loss = 0;
    Few<Tensor<double>> gradients;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const double share = i == 0 ? 1 : 0.3;
      auto [value, grad] = classify(results[i]);
      loss += share * value;
      gradients.push_back(grad *= share);
    }
    const Tensor<double> dx = net->backward(gradients, tape)[0];
    CHECK(tape.empty());
    CHECK(loss == doctest::Approx(fixture().at(name + "/loss").item()).epsilon(1e-9));

    double largest = 0;  // a bias before a normalisation has gradient 0, with rounding errors of the others' size
    Index expected_entries = 0;
    for (const auto& [key, value] : fixture()) {
      if (key.starts_with(name + "/grad.")) largest = std::max(largest, value(0));
      if (key.starts_with(name + "/grad.") || key.starts_with(name + "/after.")) ++expected_entries;
    }
    double worst = difference(name + "/dx", "dx", dx) / largest;
    std::string where = "dx";
    Index entries = 0;
    const auto compare = [&](const std::string& part, const std::string& key, const Tensor<double>& got) {
      if (sized && !fixture().contains(name + part + key)) return;
      ++entries;
      const double scale = std::max(fixture().at(name + part + key)(0), 1e-4 * largest);
      const double error = difference(name + part + key, key, got) / scale;
      if (error > worst) {
        worst = error;
        where = part + key;
      }
    };
    for (const auto& [key, parameter, owner] : parameters(*net)) compare("/grad.", key, parameter->grad);
    for (const auto& [key, value] : state_dict(*net))
      if (key.find(".running_") != std::string::npos || key.starts_with("running_"))
        compare("/after.", key, std::get<Tensor<double>>(value));
    CAPTURE(where);
    CHECK(worst < 1e-7);
    CHECK(entries == expected_entries);
  }
}
