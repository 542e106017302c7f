#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_module {

namespace {

/// Pushes and pops as it is told, to show what the tape says.
class Sloppy : public Layer<Sloppy, float> {
 public:
  Sloppy(int pushes, int pops) : pushes_(pushes), pops_(pops) {}

 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape& tape) override {
    for (int i = 0; i < pushes_; ++i) tape.push(x);
    return x;
  }
  Tensor<float> do_backward(Tensor<float> dy, Tape& tape, InputGrad) override {
    for (int i = 0; i < pops_; ++i) tape.pop<Tensor<float>>();
    return dy;
  }
  int pushes_, pops_;
};

/// Throws in the middle of forward or backward.
class Faulty : public Layer<Faulty, float> {
 public:
  explicit Faulty(bool in_forward) : in_forward_(in_forward) {}

 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape& tape) override {
    tape.push(x);
    if (in_forward_) throw NumericalError("forward failed");
    return x;
  }
  Tensor<float> do_backward(Tensor<float>, Tape&, InputGrad) override { throw NumericalError("backward failed"); }
  bool in_forward_;
};

/// Counts the calls of backward, and whether dx was asked for.
class Probe : public Layer<Probe, float> {
 public:
  explicit Probe(std::vector<int>* log) : log_(log) {}
  Shape output_shape(const Shape& input) const override { return input; }
  Members<float> members() override { return {}; }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape& tape) override {
    tape.push(x);
    return x;
  }
  Tensor<float> do_backward(Tensor<float> dy, Tape& tape, InputGrad input_grad) override {
    tape.pop<Tensor<float>>();
    log_->push_back(input_grad == InputGrad::compute);
    return dy;
  }
  std::vector<int>* log_;
};

}  // namespace

TEST_CASE("the tape names the module that does not take back what it pushed") {
  const auto x = Tensor<float>::ones({2});
  const auto run = [&](auto layer) {
    Sequential<float> net{Identity(), layer};
    Tape tape;
    net.forward(x, tape);
    net.backward(x, tape);
  };
  CHECK_NOTHROW(run(Sloppy(2, 2)));
  CHECK_THROWS_WITH_AS(run(Sloppy(2, 1)), "1: Tape: Sloppy() pops less in backward than it pushed in forward",
                       StateError);
  CHECK_THROWS_WITH_AS(run(Sloppy(1, 2)), "1: Tape: Sloppy() pops more in backward than it pushed in forward",
                       StateError);

  Tape tape;
  tape.push(1);
  CHECK_THROWS_WITH_AS(tape.pop<double>(), "Tape: the caller pops values of other types than it pushed", StateError);
  tape.clear();
  CHECK_THROWS_WITH_AS(tape.pop<int>(), "Tape: the caller pops more in backward than it pushed in forward", StateError);
}

TEST_CASE("backward out of order, twice, or with another shape") {
  ReLU a;
  Identity b;
  Tape tape;
  const auto x = Tensor<float>::ones({2, 3});
  a.forward(x, tape);
  b.forward(x, tape);
  CHECK_THROWS_WITH_AS(a.backward(x, tape), "Tape: backward of ReLU(), but the last forward was of Identity()",
                       StateError);
  b.backward(x, tape);
  CHECK_THROWS_WITH_AS(a.backward(x.reshape({6}), tape),
                       "ReLU(): backward expected a gradient of shape [2, 3], got shape [6]", ShapeError);
  CHECK_THROWS_WITH_AS(a.backward(x, tape), "Tape: backward of ReLU() without a forward on this tape", StateError);
  CHECK(tape.empty());
}

TEST_CASE("after an exception the tape holds nothing of the call that threw") {
  const auto x = Tensor<float>::ones({2});
  Tape tape;
  ReLU before;
  before.forward(x, tape);
  Sequential<float> forward{ReLU(), Faulty(true)};
  CHECK_THROWS_AS(forward.forward(x, tape), NumericalError);
  Sequential<float> backward{ReLU(), Faulty(false)};
  backward.forward(x, tape);
  CHECK_THROWS_AS(backward.backward(x, tape), NumericalError);
  CHECK_NOTHROW(before.backward(x, tape));
  CHECK(tape.empty());
}

TEST_CASE("a thousand forwards without a backward are taken for a mistake") {
  const Tensor<float> x({2, 2}, {1, 2, 3, 4});
  Sequential<float> net{Linear(2, 3), ReLU()};
  Linear<float> other(2, 1);
  Tape tape;
  for (int i = 0; i < 1000; ++i) {
    net.forward(x, tape);
    if (i % 2) other.forward(x, tape);  // counted by itself
  }
  const char* const message =
      "Tape: 1000 forwards of Sequential(Linear(2, 3), ReLU()) wait for their backwards, and what they saved is kept: "
      "to evaluate, call the module (infer), which needs no tape; to forget them, clear() the tape; if so many are "
      "meant, set_limit()";
  CHECK_THROWS_WITH_AS(net.forward(x, tape), message, StateError);
  other.backward(other.forward(x, tape), tape);  // the tape is as it was
  CHECK_THROWS_WITH_AS(net.forward(x, tape), message, StateError);

  tape.set_limit(1001);
  const Tensor<float> y = net.forward(x, tape);
  CHECK_THROWS_AS(net.forward(x, tape), StateError);
  for (int i = 0; i < 3; ++i) {  // what was taken back, thrown away or failed waits no longer
    net.backward(y, tape);
    net.forward(x, tape);
    CHECK_THROWS_AS(net.forward(x, tape), StateError);
    net.discard(tape);
    CHECK_THROWS_AS(net.forward(Tensor<float>({2, 5}), tape), ShapeError);
    net.forward(x, tape);
  }
  tape.clear();
  for (int i = 0; i < 1001; ++i) net.forward(x, tape);
  CHECK_THROWS_AS(net.forward(x, tape), StateError);
  CHECK_THROWS_WITH_AS(tape.set_limit(0), "Tape: the limit must be at least 1, got 0", ValueError);

  Tape training;  // a loop that takes back what it runs never meets the limit
  for (int i = 0; i < 2500; ++i) net.backward(net.forward(x, training), training);
  CHECK(training.empty());
}

TEST_CASE("a model run twice before its backwards: a critic on real and fake") {
  Sequential net{Linear(3, 4), ReLU(), Linear(4, 1)};
  Sequential separate = net;
  Random random(1);
  const auto real = random.normal({5, 3}), fake = random.normal({5, 3});
  const auto ones = Tensor<float>::ones({5, 1});
  Tape tape;
  net.forward(real, tape);
  net.forward(fake, tape);
  const auto d_fake = net.backward(ones, tape);
  const auto d_real = net.backward(ones, tape);
  Tape a, b;
  separate.forward(fake, a);
  CHECK(separate.backward(ones, a) == d_fake);
  separate.forward(real, b);
  CHECK(separate.backward(ones, b) == d_real);
  CHECK(net.get<Linear<float>>(0).weight.grad == separate.get<Linear<float>>(0).weight.grad);
}

TEST_CASE("Sequential conforms, nested, and computes no gradient that nobody needs") {
  CHECK(conforms(Sequential<double>{Conv2d<double>(2, 3, 3), ReLU<double>(),
                                    Sequential<double>{Conv2d<double>(3, 2, 1), Identity<double>()}},
                 {2, 2, 5, 4}));
  CHECK(conforms(Sequential<double>{}, {2, 3}));

  std::vector<int> log;
  Sequential<float> net{Probe(&log), Linear(2, 2), Probe(&log)};
  const auto x = Tensor<float>::ones({1, 2});
  const auto train = [&](InputGrad input_grad) {
    log.clear();
    Tape tape;
    net.forward(x, tape);
    const auto dx = net.backward(x, tape, input_grad);
    CHECK(tape.empty());
    CHECK(dx.empty() == (input_grad == InputGrad::skip));
    return log;
  };
  CHECK(train(InputGrad::compute) == std::vector<int>{1, 1});
  CHECK(train(InputGrad::skip) == std::vector<int>{1});  // nothing is learned below the Linear
  set_requires_grad(net, false);
  CHECK(train(InputGrad::skip).empty());
  CHECK(train(InputGrad::compute) == std::vector<int>{1, 1});
}

TEST_CASE("children by position and kind; copies are deep") {
  Sequential net{Linear(3, 4), ReLU()};
  CHECK(net.size() == 2);
  CHECK(net[1].name() == "ReLU()");
  CHECK(net.name() == "Sequential(Linear(3, 4), ReLU())");
  CHECK_THROWS_WITH_AS(net[2], "Sequential: no child 2, there are 2", ValueError);
  CHECK_THROWS_WITH_AS(net.get<Linear<float>>(1), "Sequential(Linear(3, 4), ReLU()): child 1 is a ReLU()", ValueError);
  Sequential copy = net;
  copy.get<Linear<float>>(0).bias.value.fill(5);
  CHECK(net.get<Linear<float>>(0).bias.value(0) != 5);
  net.add(Linear(4, 2));
  CHECK(net.output_shape({7, 3}) == Shape{7, 2});
  CHECK(net.multiply_adds({7, 3}) == 7 * (12 + 8));
}

TEST_CASE("inference from many threads at once") {
  const Sequential net{Conv2d(1, 4, 3), ReLU(), Conv2d(4, 2, 3)};
  const auto x = Random(1).normal({2, 1, 12, 12});
  const auto expected = net(x);
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) right[static_cast<std::size_t>(t)] += net(x) == expected;
    });
  for (auto& thread : threads) thread.join();
  CHECK(right == std::vector<int>(4, 20));
}

}  // namespace test_module
