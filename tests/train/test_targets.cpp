#include <doctest/doctest.h>

#include <Eigen/Core>
#include <cmath>
#include <vector>

#include "lamina/data/loader.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/fit.hpp"

using namespace lamina;

TEST_CASE("linear regression of Eigen's matrices finds the weights; a vector is a column") {
  Random random(1);
  const Eigen::MatrixXd x = random.normal<double>({200, 3}).matrix();
  const Eigen::VectorXd y = (x * Eigen::Vector3d(2, -1, 0.5)).array() + 3;
  const TensorDataset data(x, y);
  static_assert(std::is_same_v<decltype(data), const TensorDataset<double, Tensor<double>>>);
  CHECK(data.targets().shape() == Shape{200, 1});
  DataLoader train(data, {.batch_size = 20, .shuffle = true}), test(data, {.batch_size = 64});
  Linear<double> net(3, 1);
  SGD optimizer(parameters(net), {.lr = 0.2});
  const History history = fit(net, optimizer, train, {.epochs = 60, .test = &test, .progress = false});
  const double expected[] = {2, -1, 0.5};
  for (Index j = 0; j < 3; ++j) CHECK(std::abs(net.weight.value(0, j) - expected[j]) < 1e-3);
  CHECK(std::abs(net.bias.value(0) - 3) < 1e-3);
  CHECK(history.epochs.back().test_loss < 1e-6);
  CHECK(is_nan(history.epochs.back().test_accuracy));  // numbers have none
  const Evaluation result = evaluate(net, test);
  CHECK(result.loss == doctest::Approx(history.epochs.back().test_loss));
}

TEST_CASE("twenty steps with the mean squared error lose what PyTorch loses") {
  // torch.nn.Linear(3, 4), Tanh, Linear(4, 2) in float64 by SGD(lr=0.1, momentum=0.9) on the same three batches of
  // eight (PyTorch 1.13); values by formula on both sides.
  const double expected[] = {0.802416806250878, 0.358926413445791, 0.456493818332265, 0.575739351675857,
                             0.478620534691857, 0.478837313926534, 0.465491040826456, 0.587217169562796,
                             0.459245646509226, 0.495394222188401, 0.529840596787933, 0.402184678081401,
                             0.595536866828206, 0.437038484232216, 0.396869219821785, 0.66509262343091,
                             0.402551024170959, 0.415277643026179, 0.629776144421287, 0.424155394365097};
  const Index n = 24;
  Tensor<double> x({n, 3}), y({n, 2});
  for (Index i = 0; i < n; ++i) {
    for (Index j = 0; j < 3; ++j) x(i, j) = std::sin(static_cast<double>(1 + 3 * i + j * j));
    y(i, 0) = std::cos(0.5 * static_cast<double>(i));
    y(i, 1) = std::sin(0.3 * static_cast<double>(i));
  }
  Sequential<double> net{Linear<double>(3, 4), Tanh<double>(), Linear<double>(4, 2)};
  int k = 0;
  for (const auto& named : parameters(net)) {
    auto values = named.parameter->value.values();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.3 * std::sin(static_cast<double>(i) + 1 + 7 * k);
    ++k;
  }
  SGD optimizer(parameters(net), {.lr = 0.1, .momentum = 0.9});
  DataLoader train(TensorDataset(x, y), {.batch_size = 8});
  std::vector<double> losses;
  fit(net, optimizer, train,
      {.epochs = 7, .progress = false, .on_batch = [&](const BatchRecord& record) { losses.push_back(record.loss); }});
  REQUIRE(losses.size() == 21);
  for (std::size_t i = 0; i < 20; ++i) CHECK(std::abs(losses[i] - expected[i]) < 1e-6);
}

TEST_CASE("a dataset that is one function, its images being their own targets") {
  const FunctionDataset squares(10, [](Index i) {
    const auto image = Tensor<float>::full({1, 2, 2}, static_cast<float>(i));
    return Example<float, Tensor<float>>{image, image};
  });
  DataLoader loader(squares, {.batch_size = 4, .transform = [](Tensor<float> x, Random&) { return x += x; }});
  Index seen = 0;
  for (auto& [images, targets] : loader) {
    CHECK(images.shape() == targets.shape());
    for (Index k = 0; k < images.dim(0); ++k, ++seen) {
      CHECK(images(k, 0, 1, 1) == 2 * static_cast<float>(seen));
      CHECK(targets(k, 0, 1, 1) == static_cast<float>(seen));
    }
  }
  CHECK(seen == 10);
  CHECK_THROWS_WITH_AS(squares.get(10), "FunctionDataset: no sample 10, there are 10", ValueError);
  CHECK_THROWS_WITH_AS(Subset(squares, 11), "Subset: expected 0 to 10 samples, got 11", ValueError);
  CHECK(Subset(squares, {3, 1}).get(0).target(0, 0, 0) == 3);
}

TEST_CASE("targets that do not fit are refused with their shapes") {
  CHECK_THROWS_WITH_AS(
      TensorDataset(Tensor<float>({3, 2}), Tensor<float>({4, 1})),
      "TensorDataset: expected as many inputs as targets along the first axis, got shapes [3, 2] and [4, 1]",
      ShapeError);
  Sequential net{Flatten(), Linear(2, 2)};
  SGD optimizer(parameters(net), {.lr = 0.1});
  DataLoader train(TensorDataset(Tensor<float>::zeros({3, 2}), Tensor<float>::zeros({3, 1})));
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, {.epochs = 1, .progress = false}),
                       "mse_loss: expected a target of shape [1, 2], got shape [1, 1]", ShapeError);
}
