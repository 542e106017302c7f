// Compiled once for each instruction set, with its function of unit.hpp as ISA_UNIT and the bytes of a vector as
// ISA_BYTES.
#include "unit.hpp"

#include <lamina/nn/batch_norm.hpp>
#include <lamina/nn/container.hpp>
#include <lamina/nn/conv2d.hpp>
#include <lamina/nn/flatten.hpp>
#include <lamina/nn/gelu.hpp>
#include <lamina/nn/hamburger/nmf.hpp>
#include <lamina/nn/layer_norm.hpp>
#include <lamina/nn/linear.hpp>
#include <lamina/nn/losses.hpp>
#include <lamina/nn/max_pool2d.hpp>
#include <lamina/nn/relu.hpp>
#include <lamina/nn/sigmoid.hpp>
#include <lamina/optim/sgd.hpp>

using namespace lamina;

static_assert(simd::vector_bytes == ISA_BYTES);

isa::Results isa::ISA_UNIT(const Tensor<float>& images, const Labels& labels) {
  manual_seed(7);
  Sequential net{Conv2d(2, 24, 3, {.padding = 1}),
                 BatchNorm2d(24),
                 ReLU(),
                 NMF({.rank = 5}),
                 Conv2d(24, 24, 3, {.padding = 1, .groups = 24}),
                 GELU(),
                 MaxPool2d(2),
                 Conv2d(24, 20, 1),
                 Sigmoid(),
                 Flatten(),
                 Linear(720, 33),
                 LayerNorm(33),
                 Linear(33, 5)};
  SGD optimizer(parameters(net), {.lr = 0.05, .momentum = 0.9});
  Tape tape;
  Results results;
  for (int step = 0; step < 3; ++step) {
    const auto [loss, gradient] = cross_entropy(net.forward(images, tape), labels);
    net.backward(gradient, tape);
    optimizer.step();
    results.push_back(gradient);
  }
  results.push_back(images * images - images);
  results.push_back(net(images));
  for (const auto& [name, parameter, owner] : parameters(net)) results.push_back(parameter->value);
  return results;
}
