#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>
#include <utility>

#include "lamina/lamina.hpp"

/// What the benchmark programs time. A case NAME becomes two benchmarks, NAME/infer and NAME/train:
///
///   infer   net(x)
///   plan    a network: plan(x) for plan = compile(net, x's shape); plan_bfloat16 with linear weights in bfloat16
///   train   a layer: forward, and backward with the gradient of the input; a network: forward, cross entropy, backward
///           without the gradient of the images, and a step of plain SGD
///
/// Both start with zeroed gradients and work on one batch that stays in memory, after one run that is not timed: the
/// first takes its memory from the system. compare_torch.py does the same with PyTorch.
namespace lamina::bench {

/// Registers the cases of a program; each has its own.
void add_cases();

enum class Kind { layer, network };

/// Keeps a result. (data() of a tensor that is not const copies what it shares with another, such as what Identity
/// gives.)
inline void keep(const Tensor<float>& result) { benchmark::DoNotOptimize(result.data()); }

/// Shows how many GFLOP an iteration is, counting a multiplication with an addition as two: `passes` times what infer
/// does. (Google Benchmark's rates would count the main thread's time only.)
template <class Net>
void count_arithmetic(benchmark::State& state, const Net& net, const Shape& shape, double passes) {
  state.counters["GFLOP"] = 2e-9 * passes * static_cast<double>(net.multiply_adds(shape));
  state.SetItemsProcessed(state.iterations() * shape[0]);
}

template <class Make>
void infer(benchmark::State& state, const Make& make, const Shape& shape) {
  manual_seed(0);
  const auto net = make();
  const Tensor<float> x = Random(1).normal(shape);
  const auto run = [&] { keep(net(x)); };
  run();
  for (auto _ : state) run();
  count_arithmetic(state, net, shape, 1);
}

template <class Make>
void run_plan(benchmark::State& state, const Make& make, const Shape& shape, const CompileOptions& options) {
  manual_seed(0);
  const auto net = make();
  const Plan<float> plan = compile(net, shape, options);
  const Tensor<float> x = Random(1).normal(shape);
  const auto run = [&] { keep(plan(x)); };
  run();
  for (auto _ : state) run();
  count_arithmetic(state, net, shape, 1);
}

template <class Make>
void train_layer(benchmark::State& state, const Make& make, const Shape& shape) {
  manual_seed(0);
  auto layer = make();
  const Tensor<float> x = Random(1).normal(shape);
  const auto dy = Tensor<float>::ones(layer.output_shape(shape));
  Tape tape;
  const auto run = [&] {
    zero_grad(layer);
    layer.forward(x, tape);
    keep(layer.backward(dy, tape));
  };
  run();
  for (auto _ : state) run();
  count_arithmetic(state, layer, shape, 3);  // forward, and as much for each of the two gradients
}

template <class Make>
void train_network(benchmark::State& state, const Make& make, const Shape& shape) {
  manual_seed(0);
  auto net = make();
  const Tensor<float> x = Random(1).normal(shape);
  const Labels labels = Labels::zeros({shape[0]});
  SGD optimizer(parameters(net), {.lr = 1e-3});
  Tape tape;
  const auto run = [&] {
    auto [loss, grad] = cross_entropy(net.forward(x, tape), labels);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();  // zeroes the gradients as well
    benchmark::DoNotOptimize(loss);
  };
  run();
  for (auto _ : state) run();
  count_arithmetic(state, net, shape, 3);
}

/// Registers NAME/infer and NAME/train, and for a network NAME/plan and NAME/plan_bfloat16, for the module that make()
/// returns, with inputs of these shapes.
template <class Make>
void add_case(Kind kind, const std::string& name, Make make, const Shape& infer_shape, const Shape& train_shape) {
  const auto add = [](const std::string& full_name, std::function<void(benchmark::State&)> run) {
    benchmark::RegisterBenchmark(full_name.c_str(), std::move(run))->Unit(benchmark::kMillisecond);
  };
  add(name + "/infer", [=](benchmark::State& state) { infer(state, make, infer_shape); });
  if (kind == Kind::layer) {
    add(name + "/train", [=](benchmark::State& state) { train_layer(state, make, train_shape); });
    return;
  }
  add(name + "/train", [=](benchmark::State& state) { train_network(state, make, train_shape); });
  add(name + "/plan", [=](benchmark::State& state) { run_plan(state, make, infer_shape, {}); });
  add(name + "/plan_bfloat16",
      [=](benchmark::State& state) { run_plan(state, make, infer_shape, {.weights = Precision::bfloat16}); });
}
template <class Make>
void add_case(Kind kind, const std::string& name, Make make, const Shape& shape) {
  add_case(kind, name, make, shape, shape);
}

}  // namespace lamina::bench
