#include <doctest/doctest.h>

#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/models/inn.hpp"
#include "lamina/models/rednet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/fit.hpp"

using namespace lamina;

namespace {

double learned_accuracy(Module<float>& net, const TensorDataset<float>& train_set, const TensorDataset<float>& test_set,
                        Index epochs, double lr) {
  DataLoader train(train_set, {.batch_size = 20, .shuffle = true}), test(test_set, {.batch_size = 100});
  Adam optimizer(parameters(net), {.lr = lr});
  fit(net, optimizer, train, {.epochs = epochs, .progress = false});
  return evaluate(std::as_const(net), test).accuracy;
}

}  // namespace

TEST_CASE("the networks of the listing have its parameters and shapes") {
  auto involutions = inn();
  CHECK(count_parameters(involutions).total == 13074);
  Index moments = 0;  // what Keras counts as not trainable
  for (const auto& [name, value] : state_dict(involutions))
    if (name.find(".running_") != std::string::npos)
      std::visit([&](const auto& tensor) { moments += tensor.numel(); }, value);
  CHECK(moments == 6);
  CHECK(count_parameters(inn_counterpart()).total == 319178);
  CHECK(involutions.output_shape({256, 3, 32, 32}) == Shape{256, 10});
  CHECK(inn_counterpart().output_shape({256, 3, 32, 32}) == Shape{256, 10});
  CHECK(involutions.get<Involution<float>>(0).kernels(Tensor<float>::ones({1, 3, 32, 32})).shape() ==
        Shape{1, 3, 3, 1, 32, 32});
  CHECK(summary(involutions, {1, 3, 32, 32}).find("  inv_3 ") != std::string::npos);
  CHECK(inn({.in_channels = 1, .classes = 7, .side = 28}).output_shape({2, 1, 28, 28}) == Shape{2, 7});
  CHECK_THROWS_WITH_AS(inn({.side = 3}), "inn: images of at least 4 x 4 are expected, got side 3", ValueError);
}

TEST_CASE("RedNets have the paper's parameters and multiply-adds") {
  struct {
    Index depth;
    double parameters, multiply_adds;  // millions, 10^9
  } const rows[] = {{26, 9.23, 1.73}, {38, 12.39, 2.22}, {50, 15.54, 2.71}, {101, 25.65, 4.74}, {152, 33.99, 6.79}};
  for (const auto& row : rows) {
    const auto net = rednet(row.depth);
    CHECK(static_cast<double>(count_parameters(net).total) == doctest::Approx(row.parameters * 1e6).epsilon(0.001));
    // The paper's counter takes a norm as two and an activation as one for each value, and the biases: 0.025 to 0.083
    // more, within 1.2 % of the table.
    CHECK(static_cast<double>(net.multiply_adds({1, 3, 224, 224})) ==
          doctest::Approx(row.multiply_adds * 1e9).epsilon(0.026));
  }
}

TEST_CASE("RedNet's options, keys and errors") {
  auto net = rednet(26, {.in_channels = 1, .classes = 5, .width = 0.25});
  CHECK(net.output_shape({2, 1, 65, 33}) == Shape{2, 5});
  const auto has = [names = [&] {
    std::string all = " ";
    for (auto& [name, parameter, owner] : parameters(net)) all += name + " ";
    return all;
  }()](const std::string& name) { return names.find(" " + name + " ") != std::string::npos; };
  CHECK(has("stem.0.conv.weight"));
  CHECK(has("stem.1.conv2.conv.bias"));
  CHECK(has("stem.2.weight"));
  CHECK(has("stem.4.bn.bias"));
  CHECK(has("layer1.0.conv1.weight"));
  CHECK(has("layer3.3.conv2.conv1.conv.weight"));
  CHECK(has("layer4.0.conv2.conv1.bn.weight"));
  CHECK(has("layer4.0.downsample.1.weight"));
  CHECK(has("fc.bias"));
  // The authors' initial values: bottlenecks are their shortcuts, fc is N(0, 0.01²) and zeros.
  const RedNetOptions authors{
      .in_channels = 1, .classes = 200, .width = 0.25, .zero_init_residual = true, .normal_fc = true};
  for (const bool as_authors : {true, false}) {
    auto start = rednet(26, as_authors ? authors : RedNetOptions{.in_channels = 1, .classes = 200, .width = 0.25});
    Index zeros = 0;
    for (const auto& [name, parameter, owner] : parameters(start)) {
      const auto values = std::as_const(parameter->value).array();
      if (name.ends_with("bn3.weight")) zeros += (values == 0).all();
      if (name.ends_with("bn2.weight")) CHECK((values == 1).all());
      if (name == "fc.bias") CHECK((values == 0).all() == as_authors);
      if (name == "fc.weight") CHECK((std::abs(std::sqrt(values.square().mean()) / 0.01f - 1) < 0.05f) == as_authors);
    }
    CHECK(zeros == (as_authors ? 1 + 2 + 4 + 1 : 0));
  }

  CHECK_THROWS_WITH_AS(rednet(18), "rednet: expected depth 26, 38, 50, 101 or 152, got 18", ValueError);
  CHECK_THROWS_WITH_AS(rednet(26, {.width = 0.01}), "rednet: width 0.01 leaves none of 2 channels", ValueError);
  CHECK_THROWS_WITH_AS(rednet(26, {.group_channels = 24}), "rednet: group_channels = 24 does not divide 32 channels",
                       ValueError);
}

TEST_CASE("small settings learn drawn digits") {
  const auto train = digits(600), test = digits(200, {.first = 1500});
  manual_seed(1);
  auto involutions = inn({.in_channels = 1, .side = 28});
  CHECK(learned_accuracy(involutions, train, test, 12, 0.004) > 0.5);
  auto reduced = rednet(26, {.in_channels = 1, .classes = 10, .width = 0.25, .kernel_size = 3});
  CHECK(learned_accuracy(reduced, train, test, 10, 0.004) > 0.5);
}
