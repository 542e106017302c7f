// Trains a small network on matrices that you have in Eigen: two interleaved half-moons in the plane.

#include <Eigen/Core>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "lamina/data/loader.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/fit.hpp"

using namespace lamina;

/// n points, one in each row, and their moons: 0 (upper) or 1 (lower).
std::pair<Eigen::MatrixXf, Eigen::VectorXi> two_moons(Eigen::Index n, Random random) {
  Eigen::MatrixXf points(n, 2);
  Eigen::VectorXi moons(n);
  for (Eigen::Index i = 0; i < n; ++i) {
    moons(i) = static_cast<int>(i % 2);
    const double angle = std::numbers::pi * random.uniform();
    const double x = moons(i) ? 1 - std::cos(angle) : std::cos(angle);
    const double y = moons(i) ? 0.5 - std::sin(angle) : std::sin(angle);
    points(i, 0) = static_cast<float>(x + 0.1 * random.normal());
    points(i, 1) = static_cast<float>(y + 0.1 * random.normal());
  }
  return {points, moons};
}

int main() {
  const auto [points, moons] = two_moons(2000, Random(1));
  const auto [new_points, new_moons] = two_moons(1000, Random(2));

  Sequential net{Linear(2, 32), Tanh(), Linear(32, 32), Tanh(), Linear(32, 2)};
  Adam optimizer(parameters(net), {.lr = 0.01});

  // A Tensor made from an Eigen matrix is a copy of it: rows become samples.
  DataLoader train(TensorDataset{Tensor(points), Labels(moons)}, {.batch_size = 50, .shuffle = true});
  const History history = fit(net, optimizer, train, {.epochs = 20, .progress = false});
  std::printf("loss after epoch 1: %.3f, after epoch %zu: %.3f\n", history.epochs.front().train_loss,
              history.epochs.size(), history.epochs.back().train_loss);

  // And a tensor is seen by Eigen as a matrix without a copy.
  const Tensor<float> probabilities = softmax(net(Tensor(new_points)));
  Eigen::Index right = 0;
  for (Eigen::Index i = 0; i < new_points.rows(); ++i) {
    Eigen::Index moon;
    probabilities.matrix().row(i).maxCoeff(&moon);
    right += moon == new_moons(i);
  }
  std::printf("right on %td of %td new points\n", right, new_points.rows());
  for (Eigen::Index i = 0; i < 4; ++i)
    std::printf("(%5.2f, %5.2f): %3.0f %% upper moon, %3.0f %% lower; it is of the %s\n",
                static_cast<double>(new_points(i, 0)), static_cast<double>(new_points(i, 1)),
                static_cast<double>(100 * probabilities(i, 0)), static_cast<double>(100 * probabilities(i, 1)),
                new_moons(i) ? "lower" : "upper");
  return right * 100 >= 95 * new_points.rows() ? 0 : 1;
}
