#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/attention.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/dense_block.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/hamburger/cd.hpp"
#include "lamina/nn/hamburger/nmf.hpp"
#include "lamina/nn/hamburger/vq.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/transformer_block.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// Running statistics that a trained model might have.
template <class S>
void stir(Module<S>& net) {
  Random random(5);
  const auto fill = [&](auto& norm) {
    norm.running_mean = random.normal<S>(norm.running_mean.shape(), 0, S(0.3));
    norm.running_var = random.uniform<S>(norm.running_var.shape(), S(0.5), S(2));
  };
  for_each<BatchNorm1d<S>>(net, fill);
  for_each<BatchNorm2d<S>>(net, fill);
}

/// Layers whose forward is another function than infer, and inputs of theirs. Those whose backward is the exact
/// derivative come first, `exact` of them.
template <class S>
std::pair<std::vector<std::pair<std::unique_ptr<Module<S>>, Shape>>, std::size_t> cases() {
  std::vector<std::pair<std::unique_ptr<Module<S>>, Shape>> list;
  const auto add = [&](auto module, const Shape& shape) {
    stir<S>(module);
    list.emplace_back(std::make_unique<decltype(module)>(std::move(module)), shape);
  };
  add(BatchNorm2d<S>(3), {2, 3, 4, 5});
  add(BatchNorm2d<S>(3), {1, 3, 1, 1});  // one value for a channel: nothing to take moments of
  add(BatchNorm2d<S>(3, {.momentum = {}, .affine = false}), {2, 3, 4, 5});
  add(BatchNorm1d<S>(4), {3, 4});
  add(Sequential<S>{Conv2d<S>(2, 3, 3), BatchNorm2d<S>(3), ReLU<S>(), Dropout<S>(0.4)}, {2, 2, 5, 5});
  add(Dropout<S>(0.5), {3, 7});
  add(Dropout2d<S>(0.5), {2, 6, 2, 2});
  add(MultiHeadAttention<S>(6, 2, {.dropout = 0.5}), {2, 4, 6});
  add(TransformerBlock<S>(6, 2, 8, {.dropout = 0.5, .attention = {.dropout = 0.5}}), {2, 4, 6});
  add(DenseBlock<S>(3, 2, {.growth = 2, .bottleneck = 2, .dropout = 0.5}), {2, 3, 4, 4});
  add(DenseBlock<S>(3, 2, {.growth = 2, .bottleneck = 0}), {2, 3, 4, 4});
  const std::size_t exact = list.size();
  for (const bool random_bases : {true, false}) {
    const HamOptions options{
        .rank = 3, .train_steps = 2, .eval_steps = 4, .random_bases = random_bases, .dimension = random_bases ? 0 : 5};
    add(NMF<S>(options), {2, 5, 3, 4});
    add(VQ<S>(options), {2, 5, 3, 4});
    add(CD<S>(options), {2, 5, 3, 4});
  }
  return {std::move(list), exact};
}

}  // namespace

TEST_CASE("a frozen module computes in forward what infer does, and stays as it is") {
  for (auto& [module, shape] : cases<float>().first) {
    CAPTURE(module->name());
    const Tensor<float> x = Random(3).uniform<float>(shape, 0.1f, 1);  // NMF takes no negative values
    const auto free = module->clone(), thawed = module->clone();
    freeze(*module);
    const auto before = state_dict(std::as_const(*module));
    const Tensor<float> inferred = module->infer(x);
    Tape tape(7);
    for (int step = 0; step < 2; ++step) {
      const Tensor<float> y = module->forward(x, tape);
      CHECK(y == inferred);
      const Tensor<float> dx = module->backward(Tensor<float>::ones(y.shape()), tape);
      CHECK(dx.shape() == shape);
    }
    CHECK(tape.empty());
    CHECK(tape.random() == Random(7));  // nothing was drawn
    CHECK(state_dict(std::as_const(*module)) == before);
    for (const auto& named : parameters(*module)) CHECK(named.parameter->grad.empty());

    Tensor<float> y_free;
    if (shape.numel() > shape[1]) y_free = free->forward(x, tape);
    CHECK(y_free != inferred);  // so that this test sees something
    const auto copy = module->clone();
    CHECK(copy->frozen());
    freeze(*thawed);
    unfreeze(*thawed);
    Tape again(7);
    if (shape.numel() > shape[1])
      CHECK(thawed->forward(x, again) == y_free);
    else
      CHECK_THROWS_AS(thawed->forward(x, again), ShapeError);
  }
}

TEST_CASE("gradients through frozen modules") {
  auto [list, exact] = cases<double>();
  for (std::size_t i = 0; i < exact; ++i) {
    auto& [module, shape] = list[i];
    freeze(*module);
    set_requires_grad(*module, true);  // as in inference, but learned
    CHECK(conforms(*module, shape));
  }
}

TEST_CASE("only what was frozen is") {
  const Tensor<float> x = Random(3).normal<float>({4, 2, 6, 6});
  Sequential<float> net{Sequential<float>{Conv2d(2, 3, 3), BatchNorm2d(3), ReLU()}, Dropout(0.5), BatchNorm2d(3)};
  auto& below = net.get<Sequential<float>>(0);
  const Tensor<float> mean = below.get<BatchNorm2d<float>>(1).running_mean;
  const auto forward = [&] {
    Tape tape(1);
    return net.forward(x, tape);
  };

  // PyTorch's requires_grad of single parameters, or of all: the statistics move.
  set_requires_grad(below, false);
  CHECK_FALSE(below.frozen());
  forward();
  CHECK(below.get<BatchNorm2d<float>>(1).running_mean != mean);

  // Dropout has no parameter that is learned; it is not frozen because of that.
  freeze(below);
  CHECK(below[2].frozen());
  CHECK_FALSE(net.frozen());
  CHECK_FALSE(net[1].frozen());
  const Tensor<float> frozen_mean = below.get<BatchNorm2d<float>>(1).running_mean,
                      upper_mean = net.get<BatchNorm2d<float>>(2).running_mean;
  const Tensor<float> y = forward();
  CHECK(y != net.infer(x));
  CHECK(below.get<BatchNorm2d<float>>(1).running_mean == frozen_mean);
  CHECK(net.get<BatchNorm2d<float>>(2).running_mean != upper_mean);

  // A part of what is frozen is freed.
  freeze(net);
  CHECK(forward() == net.infer(x));
  unfreeze(net[2]);
  CHECK(parameters(net[2])[0].parameter->requires_grad);
  CHECK_FALSE(parameters(net[0])[0].parameter->requires_grad);
  const Tensor<float> freed_mean = net.get<BatchNorm2d<float>>(2).running_mean;
  forward();
  CHECK(net.get<BatchNorm2d<float>>(2).running_mean != freed_mean);
  CHECK(below.get<BatchNorm2d<float>>(1).running_mean == frozen_mean);
}

TEST_CASE("whether a forward was frozen is remembered until its backward") {
  const Tensor<float> x = Random(3).normal<float>({2, 3, 4, 4}), dy = Random(4).normal<float>({2, 3, 4, 4});
  BatchNorm2d<float> norm(3);
  Dropout<float> dropout(0.5);
  freeze(norm);
  freeze(dropout);
  Tape tape;
  norm.forward(x, tape);
  const Tensor<float> wanted = norm.backward(dy, tape);
  norm.forward(dropout.forward(x, tape), tape);
  unfreeze(norm);
  unfreeze(dropout);
  const Tensor<float> dx = norm.backward(dy, tape);
  CHECK(dx == wanted);
  CHECK(dropout.backward(dx, tape) == dx);
}

TEST_CASE("forward with InputGrad::skip saves nothing below the lowest trainable layer") {
  Sequential<float> net{Linear(1000, 1000), Dropout(0.5), Linear(1000, 1000), Linear(1000, 4)};
  freeze(net[0]);
  freeze(net[2]);
  const auto x = Random(1).normal<float>({100, 1000}), dy = Random(2).normal<float>({100, 4});
  const auto saved = [&](InputGrad input_grad) {  // in tensors of x's size
    for (auto& [name, parameter, owner] : parameters(net)) parameter->grad = {};
    Tape tape(3);
    release_cached_storage();  // so that blocks have the sizes that are asked for
    const std::size_t before = storage_statistics().bytes_in_use;
    net.forward(x, tape, input_grad);
    const double used = static_cast<double>(storage_statistics().bytes_in_use - before) / 400000;
    net.backward(dy, tape, InputGrad::skip);
    CHECK(tape.empty());
    return std::pair(used, net.get<Linear<float>>(3).weight.grad);
  };
  const auto [all, expected] = saved(InputGrad::compute);
  const auto [little, gradient] = saved(InputGrad::skip);
  CHECK(all > 2);
  CHECK(little < 1.1);
  CHECK(gradient == expected);

  Tape tape;
  net.forward(x, tape, InputGrad::skip);
  CHECK_THROWS_WITH_AS(net.backward(dy, tape),
                       doctest::Contains("backward wants dx, but forward was told InputGrad::skip"), StateError);
  CHECK(tape.empty());
}
