#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/sum.hpp"
#include "lamina/nn/tanh.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// Remembers the order in which its copies run, and that they ran at all.
class Probe : public Layer<Probe, float> {
 public:
  Probe(std::string label, std::vector<std::string>& log) : label_(std::move(label)), log_(&log) {}
  Fields fields() const override { return Fields("Probe").argument("label", label_); }

 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape& tape) override {
    log_->push_back("forward " + label_);
    tape.push(label_);
    return x;
  }
  Tensor<float> do_backward(Tensor<float> dy, Tape& tape, InputGrad) override {
    const auto [label] = tape.pop<std::string>();
    log_->push_back("backward " + label);
    return dy;
  }
  std::string label_;
  std::vector<std::string>* log_;
};

template <class L>
std::vector<std::string> keys(L& net) {
  std::vector<std::string> result;
  for (const auto& entry : state_dict(net)) result.push_back(entry.first);
  return result;
}
using Keys = std::vector<std::string>;

/// Squeeze-and-excitation (Hu et al. 2018).
Product<double> squeeze_excitation(Index channels) {
  return {Identity<double>(), Sequential<double>{AdaptiveAvgPool2d<double>(1), Conv2d<double>(channels, 2, 1),
                                                 ReLU<double>(), Conv2d<double>(2, channels, 1), Sigmoid<double>()}};
}

}  // namespace

TEST_CASE("Sum, Concat and Product compute what they say") {
  const Tensor<float> x({1, 2, 2}, {-1, 2, 3, -4});
  CHECK(Sum{Identity(), ReLU(), Identity()}(x) == Tensor<float>({1, 2, 2}, {-2, 6, 9, -8}));
  CHECK(Product{Identity(), ReLU(), Identity()}(x) == Tensor<float>({1, 2, 2}, {0, 8, 27, 0}));
  CHECK(Concat{Identity(), ReLU()}(x) == Tensor<float>({1, 4, 2}, {-1, 2, 3, -4, 0, 2, 3, 0}));
  CHECK(Concat<float>({Identity(), ReLU()}, {.dim = -1})(x) == Tensor<float>({1, 2, 4}, {-1, 2, 0, 2, 3, -4, 3, 0}));
  CHECK(Concat<float>({ReLU(), Identity()}, {.dim = 0})(x) == Tensor<float>({2, 2, 2}, {0, 2, 3, 0, -1, 2, 3, -4}));
  for (const Tensor<float>& y : {Sum{ReLU()}(x), Product{ReLU()}(x), Concat{ReLU()}(x)}) CHECK(y == ReLU()(x));
  CHECK(x == Tensor<float>({1, 2, 2}, {-1, 2, 3, -4}));
}

TEST_CASE("Sum conforms") {
  CHECK(conforms(Sum<double>{Conv2d<double>(3, 3, 3, {.padding = 1}), Identity<double>()}, {2, 3, 5, 4}));
  CHECK(conforms(Sum<double>{Identity<double>(), Linear<double>(5, 5), Tanh<double>()}, {1, 5}));
  CHECK(conforms(Sum<double>{Linear<double>(3, 4)}, {2, 3}));
  CHECK(conforms(Sum<double>{Identity<double>(), Identity<double>()}, {3, 7}));
  CHECK(conforms(Sum<double>{Sum<double>{Tanh<double>(), Identity<double>()}, Sigmoid<double>()}, {2, 2, 3}));
  CHECK(conforms(Sum<double>{Identity<double>(), Linear<double>(5, 5)}, {0, 5}));
}

TEST_CASE("Concat conforms") {
  const Sequential<double> tower{Conv2d<double>(3, 2, 1), Tanh<double>(), Conv2d<double>(2, 4, 3, {.padding = 1})};
  CHECK(conforms(Concat<double>{Conv2d<double>(3, 1, 1), tower, Identity<double>()}, {2, 3, 3, 5}));
  CHECK(conforms(Concat<double>{Identity<double>(), Identity<double>()}, {1, 4}));
  CHECK(conforms(Concat<double>{Linear<double>(4, 3)}, {2, 4}));
  CHECK(conforms(Concat<double>({Linear<double>(4, 3), Identity<double>()}, {.dim = -1}), {2, 3, 4}));
  CHECK(conforms(Concat<double>({Tanh<double>(), Identity<double>()}, {.dim = 0}), {3, 2}, {.batched = false}));
}

TEST_CASE("Product conforms") {
  CHECK(conforms(Product<double>{Tanh<double>(), Identity<double>()}, {3, 5}));
  CHECK(conforms(Product<double>{Identity<double>(), Identity<double>(), Sigmoid<double>()}, {2, 7}));
  CHECK(conforms(Product<double>{Linear<double>(4, 2)}, {3, 4}));
  CHECK(conforms(squeeze_excitation(3), {2, 3, 4, 5}));
  CHECK(conforms(squeeze_excitation(5), {1, 5, 1, 1}));
  CHECK(
      conforms(Product<double>{AdaptiveAvgPool2d<double>({-1, 1}), AdaptiveAvgPool2d<double>({1, -1})}, {2, 3, 4, 5}));
  CHECK(conforms(Product<double>{AdaptiveAvgPool2d<double>(1), Conv2d<double>(3, 1, 1), Identity<double>()},
                 {2, 3, 3, 4}));
  CHECK(conforms(Product<double>{Linear<double>(4, 1), Linear<double>(4, 3), Linear<double>(4, 1)}, {5, 4}));
}

TEST_CASE("output shapes, multiply-adds and scopes of branches") {
  const Concat net{Conv2d(3, 2, 1), Sequential{Conv2d(3, 4, 3, {.padding = 1}), ReLU()}, Identity()};
  CHECK(net.output_shape({2, 3, 8, 8}) == Shape{2, 9, 8, 8});
  CHECK(net.multiply_adds({2, 3, 8, 8}) == 2 * 64 * (2 * 3 + 4 * 3 * 9));
  CHECK(squeeze_excitation(4).output_shape({2, 4, 7, 9}) == Shape{2, 4, 7, 9});
  const Sequential<float> model{{"block", net}};
  const Graph<float> graph = record(model, {2, 3, 8, 8});
  Keys paths;
  for (const auto& scope : graph.scopes) paths.push_back(scope.path + " " + scope.output.to_string());
  CHECK(paths == Keys{" [2, 9, 8, 8]", "block [2, 9, 8, 8]", "block.0 [2, 2, 8, 8]", "block.1 [2, 4, 8, 8]",
                      "block.1.0 [2, 4, 8, 8]", "block.1.1 [2, 4, 8, 8]", "block.2 [2, 3, 8, 8]",
                      "block [2, 9, 8, 8]"});
}

TEST_CASE("branches are named as Sequential's children are") {
  Sum net{Linear(2, 2), Identity(), Linear(2, 2)};
  CHECK(keys(net) == Keys{"0.weight", "0.bias", "2.weight", "2.bias"});
  Sum<float> named{{"", Sequential<float>{{"conv1", Linear(2, 2)}}}, {"downsample", Linear(2, 2)}};
  CHECK(keys(named) == Keys{"conv1.weight", "conv1.bias", "downsample.weight", "downsample.bias"});
  CHECK(named.get<Linear<float>>(1).name() == "Linear(2, 2)");
  Concat<float> grown;
  grown.add(Linear(2, 2));
  grown.add("skip", Identity());
  CHECK(grown.size() == 2);
  CHECK(grown.output_shape({1, 2}) == Shape{1, 4});
}

TEST_CASE("branches run in order, and backward in reverse") {
  std::vector<std::string> log;
  const auto probes = [&](auto net) {
    log.clear();
    Tape tape;
    const Tensor<float> x = Tensor<float>::ones({1, 2});
    const Tensor<float> y = net.forward(x, tape);
    net.backward(Tensor<float>::ones(y.shape()), tape);
    CHECK(tape.empty());
    return log;
  };
  const Keys expected{"forward a", "forward b", "forward c", "backward c", "backward b", "backward a"};
  const Probe a("a", log), b("b", log), c("c", log);
  CHECK(probes(Sum{a, b, c}) == expected);
  CHECK(probes(Concat{a, b, c}) == expected);
  CHECK(probes(Product{a, b, c}) == expected);
}

TEST_CASE("without need for dx, branches that learn nothing are not run backward") {
  std::vector<std::string> log;
  const auto backwards = [&](auto net) {
    Tape tape;
    const Tensor<float> y = net.forward(Tensor<float>::ones({1, 2}), tape);
    log.clear();
    CHECK(net.backward(Tensor<float>::ones(y.shape()), tape, InputGrad::skip).empty());
    CHECK(tape.empty());
    CHECK(net.template get<Linear<float>>(0).weight.grad.numel() == 4);
    return log;
  };
  const Probe probe("p", log);
  CHECK(backwards(Sum{Linear(2, 2), probe}).empty());
  CHECK(backwards(Concat{Linear(2, 2), probe}).empty());
  CHECK(backwards(Product{Linear(2, 2), probe}).empty());
  CHECK(backwards(Sum{Linear(2, 2), Sequential{probe, Linear(2, 2), probe}}) == Keys{"backward p"});
}

TEST_CASE("branches write where nobody else looks") {
  const auto peak = [](const auto& net) {  // in tensors of x's size
    Tensor<float> x = Tensor<float>::ones({1, 100000});
    release_cached_storage();  // so that blocks have the sizes that are asked for
    const std::size_t before = storage_statistics().bytes_in_use - 400000;
    reset_peak_storage();
    const Tensor<float> y = net(std::move(x));
    return (storage_statistics().peak_bytes - before) / 400000;
  };
  CHECK(peak(Sum{Tanh(), Identity()}) == 2);
  CHECK(peak(Sum{Identity(), Tanh(), Identity()}) == 2);
  CHECK(peak(Product{Identity(), Tanh()}) == 2);
  const Tensor<float> x = Random(1).normal<float>({4, 8});
  const Tensor<float> kept(x.shape(), x.values());
  Sum{Identity(), Identity()}(x);
  Product{Identity(), ReLU()}(x);
  CHECK(x == kept);
}

TEST_CASE("branches do not depend on the number of threads") {
  const int before = num_threads();
  const Tensor<float> x = Random(1).normal<float>({3, 6, 61, 57}), dy = Random(2).normal<float>({3, 12, 61, 57});
  const auto run = [&](int threads) {
    set_num_threads(threads);
    manual_seed(1);
    Concat net{Product{Identity(), Sequential{AdaptiveAvgPool2d(1), Conv2d(6, 6, 1), Sigmoid()}},
               Sum{ReLU(), Tanh(), Identity()}};
    Tape tape;
    std::vector<Tensor<float>> results{net.forward(x, tape)};
    results.push_back(net.backward(dy, tape));
    for (auto& parameter : parameters(net)) results.push_back(parameter.parameter->grad);
    return results;
  };
  CHECK(run(1) == run(2));
  set_num_threads(before);
}

TEST_CASE("errors of branches name the branch and both shapes") {
  const Tensor<float> x({2, 3, 5, 5});
  CHECK_THROWS_WITH_AS((Sum{Conv2d(3, 8, 3), Identity()}(x)),
                       "Sum(Conv2d(3, 8, 3), Identity()): branches must give the same shape, but branch 0 "
                       "(Conv2d(3, 8, 3)) gives shape [2, 8, 3, 3] and branch 1 (Identity()) gives [2, 3, 5, 5]",
                       ShapeError);
  const Sum<float> named{{"", Identity()}, {"downsample", Conv2d(3, 3, 1, {.stride = 2})}};
  CHECK_THROWS_WITH_AS(named.output_shape({2, 3, 5, 5}),
                       "Sum(Identity(), Conv2d(3, 3, 1, stride=2)): branches must give the same shape, but branch 0 "
                       "(Identity()) gives shape [2, 3, 5, 5] and branch 1 (downsample) gives [2, 3, 3, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS((Concat{Identity(), Conv2d(3, 8, 3)}(x)),
                       "Concat(Identity(), Conv2d(3, 8, 3)): branches may differ in axis 1 only, but branch 0 "
                       "(Identity()) gives shape [2, 3, 5, 5] and branch 1 (Conv2d(3, 8, 3)) gives [2, 8, 3, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS((Concat<float>({Identity(), ReLU()}, {.dim = 4})(x)),
                       "Concat(Identity(), ReLU(), dim=4): no axis 4 in shape [2, 3, 5, 5]", ShapeError);
  CHECK_THROWS_WITH_AS((Product{Identity(), Conv2d(3, 2, 1)}(x)),
                       "Product(Identity(), Conv2d(3, 2, 1)): branches must give shapes that agree where neither is 1, "
                       "but branch 0 (Identity()) gives shape [2, 3, 5, 5] and branch 1 (Conv2d(3, 2, 1)) gives "
                       "[2, 2, 5, 5]",
                       ShapeError);
  CHECK_THROWS_WITH_AS((Product{Linear(4, 1), Linear(4, 3), Linear(4, 2)}.output_shape({5, 4})),
                       "Product(Linear(4, 1), Linear(4, 3), Linear(4, 2)): branches must give shapes that agree where "
                       "neither is 1, but branch 1 (Linear(4, 3)) gives shape [5, 3] and branch 2 (Linear(4, 2)) gives "
                       "[5, 2]",
                       ShapeError);
  Sum<float> empty;
  Tape tape;
  CHECK_THROWS_WITH_AS(empty(x), "Sum: has no branches", StateError);
  CHECK_THROWS_WITH_AS(empty.forward(x, tape), "Sum: has no branches", StateError);
  CHECK_THROWS_WITH_AS(Concat<float>().output_shape({1, 2}), "Concat: has no branches", StateError);
  CHECK_THROWS_WITH_AS(Product<float>()(x), "Product: has no branches", StateError);
  CHECK(tape.empty());
}
