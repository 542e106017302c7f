// Batch norm over several ranks, here threads that meet to add up their sums: the results of one batch of all, and the
// tape's word on which layers are done.
#include <doctest/doctest.h>

#include <barrier>
#include <cmath>
#include <memory>
#include <thread>

#include "lamina/lamina.hpp"
#include "message.hpp"

using namespace lamina;

namespace together {

/// Threads whose sums are added up when all have come.
class Threads {
 public:
  explicit Threads(std::size_t count) : parts_(count), barrier_(static_cast<std::ptrdiff_t>(count)) {}

  std::shared_ptr<const SumOverRanks> sum(std::size_t rank) {
    return std::make_shared<const SumOverRanks>([this, rank](std::span<double> values) {
      parts_[rank].assign(values.begin(), values.end());
      barrier_.arrive_and_wait();
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = 0;
        for (const auto& part : parts_) values[i] += part[i];
      }
      barrier_.arrive_and_wait();
    });
  }
  template <class F>
  static void run(std::size_t count, F f) {
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < count; ++rank) threads.emplace_back([=] { f(rank); });
    for (auto& thread : threads) thread.join();
  }

 private:
  std::vector<std::vector<double>> parts_;
  std::barrier<> barrier_;
};

template <class Scalar>
double difference(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  REQUIRE(a.shape() == b.shape());
  double most = 0;
  for (Index i = 0; i < a.numel(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
  return most;
}

/// A batch cut into `cuts`, through norms that are synchronised, against the whole through one that is not.
template <class Norm>
void compare(const Norm& start, const Shape& shape, const std::vector<Index>& cuts, double far) {
  using Tensors = std::vector<Tensor<double>>;
  Random random(3);
  Tensor<double> x(shape), dy(shape);
  for (double& value : x.values()) value = far + random.normal();
  for (double& value : dy.values()) value = random.normal();
  Sequential<double> whole{start, ReLU<double>()};
  Tape tape;
  Tensor<double> y, dx;
  for (int step = 0; step < 3; ++step) {
    y = whole.forward(x, tape);
    dx = whole.backward(dy, tape);
  }
  const std::size_t ranks = cuts.size();
  Threads threads(ranks);
  std::vector<Sequential<double>> nets(ranks, Sequential<double>{start, ReLU<double>()});
  Tensors ys(ranks), dxs(ranks);
  Threads::run(ranks, [&](std::size_t rank) {
    Index first = 0;
    for (std::size_t r = 0; r < rank; ++r) first += cuts[r];
    Sequential<double>& net = nets[rank];
    for_each<Norm>(net, [&](Norm& norm) { norm.synchronize(threads.sum(rank)); });
    Tape own;
    for (int step = 0; step < 3; ++step) {
      ys[rank] = net.forward(x.slice(first, first + cuts[rank]), own);
      dxs[rank] = net.backward(dy.slice(first, first + cuts[rank]), own);
    }
  });
  const double tolerance = 1e-10 * (1 + far * far);
  Index first = 0;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    CHECK(difference(ys[rank], y.slice(first, first + cuts[rank])) < tolerance);
    CHECK(difference(dxs[rank], dx.slice(first, first + cuts[rank])) < tolerance);
    first += cuts[rank];
  }
  const auto state = state_dict(std::as_const(whole));
  for (auto& net : nets) {
    const auto own = state_dict(std::as_const(net));
    for (std::size_t i = 0; i < state.size(); ++i)
      if (const auto* value = std::get_if<Tensor<double>>(&state[i].second))
        CHECK(difference(std::get<Tensor<double>>(own[i].second), *value) < tolerance);
      else
        CHECK(own[i].second == state[i].second);
  }
  // Each has its own part of the gradients of weight and bias.
  const auto list = parameters(static_cast<Module<double>&>(whole));
  for (std::size_t p = 0; p < list.size(); ++p) {
    Tensor<double> sum = Tensor<double>::zeros(list[p].parameter->value.shape());
    for (auto& net : nets) {
      const Tensor<double>& part = parameters(static_cast<Module<double>&>(net))[p].parameter->grad;
      for (Index i = 0; i < part.numel(); ++i) sum.data()[i] += part.data()[i];
    }
    CHECK(difference(sum, list[p].parameter->grad) < 1e-8);
  }
}

}  // namespace together

TEST_CASE("batch norms that are synchronised compute as one does with the batch of all") {
  using namespace together;
  for (const double far : {0.0, 100.0}) {
    compare(BatchNorm2d<double>(5), {7, 5, 3, 4}, {3, 4}, far);
    compare(BatchNorm2d<double>(5, {.momentum = {}}), {7, 5, 3, 4}, {1, 5, 1}, far);
    compare(BatchNorm2d<double>(5, {.affine = false, .track_running_stats = false}), {7, 5, 3, 4}, {2, 5}, far);
    compare(BatchNorm1d<double>(9), {6, 9}, {1, 1, 4}, far);  // one value to a channel
    compare(BatchNorm1d<double>(3), {6, 3, 5}, {6, 0}, far);  // and none
  }
}

TEST_CASE("a batch of one value over all ranks is refused") {
  BatchNorm1d<double> norm(3);
  norm.synchronize(std::make_shared<const SumOverRanks>([](std::span<double>) {}));
  Tape tape;
  CHECK(testing::message([&] {
          norm.forward(Tensor<double>::ones({1, 3}), tape);
        }) == "BatchNorm1d(3): expected more than 1 value per channel when training, got shape [1, 3]");
  CHECK(tape.empty());
  norm.synchronize(nullptr);
  CHECK(!norm.synchronized());
}

TEST_CASE("a tape names the layers that backward has gone through for the last time") {
  Sequential<double> net{Linear<double>(3, 3), Tanh<double>(), Checkpoint(Linear<double>(3, 3)), Linear<double>(3, 2)};
  Tape tape;
  std::vector<std::string> names;
  tape.observe([&](const ModuleBase& layer) { names.push_back(layer.name()); });
  const Tensor<double> x = Tensor<double>::ones({2, 3});
  using Names = std::vector<std::string>;
  const Names all{"Linear(3, 2)", "Checkpoint(Linear(3, 3))", "Tanh()", "Linear(3, 3)"};

  net.backward(net.forward(x, tape), tape);
  CHECK(names == all);
  // Twice forward: only the second backward is the last.
  names.clear();
  const Tensor<double> first = net.forward(x, tape), second = net.forward(x, tape);
  net.backward(second, tape);
  CHECK(names.empty());
  net.backward(first, tape);
  CHECK(names == all);
  // A layer that is used twice in a forward is done after its first use.
  names.clear();
  Linear<double> shared(3, 3);
  auto run = [&](auto& module) { module.backward(module.forward(x, tape), tape); };
  run(shared);
  CHECK(names == Names{"Linear(3, 3)"});
  tape.observe({});
  names.clear();
  run(net);
  CHECK(names.empty());
}
