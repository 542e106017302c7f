#include <doctest/doctest.h>

#include <cmath>

#include "golden/golden.hpp"
#include "lamina/nn/linear.hpp"

using namespace lamina;
using testing::disagreement;
using testing::Golden;

namespace {

enum class Flaw { none, result, input_gradient, parameter_gradient, inference, throws };

/// A Linear with one planted error at a time, to prove that the comparison sees each.
class Flawed : public Layer<Flawed, double> {
 public:
  explicit Flawed(Flaw f) : flaw(f) {}
  Linear<double> linear{5, 4};
  Flaw flaw;
  Shape output_shape(const Shape& input) const override { return linear.output_shape(input); }
  Members<double> members() override { return {{"", &linear}}; }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<double> do_infer(Tensor<double> x) const override {
    x = linear.infer(std::move(x));
    if (flaw == Flaw::inference) x.data()[3] += 1e-8;
    return x;
  }
  Tensor<double> do_forward(Tensor<double> x, Tape& tape) override {
    require(flaw != Flaw::throws, "Flawed(): no");
    x = linear.forward(std::move(x), tape);
    if (flaw == Flaw::result) x.data()[11] = NAN;
    return x;
  }
  Tensor<double> do_backward(Tensor<double> dy, Tape& tape, InputGrad input_grad) override {
    dy = linear.backward(std::move(dy), tape, input_grad);
    if (flaw == Flaw::parameter_gradient) linear.bias.grad.data()[1] += 1e-8;
    if (flaw == Flaw::input_gradient) dy.data()[0] += 1e-8;
    return dy;
  }
};

std::string failure(Flaw flaw) { return Golden<double>("linear").layer("linear/rank2", Flawed(flaw)).failure; }

}  // namespace

TEST_CASE("a comparison with PyTorch sees every planted error") {
  const auto names = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(failure(Flaw::none) == "");
  CHECK(names(failure(Flaw::result), "Linear(in_features=5, out_features=4, bias=True)\n  y[2, 3] is nan, expected "));
  CHECK(names(failure(Flaw::input_gradient), "\n  dx[0, 0] is "));
  CHECK(names(failure(Flaw::parameter_gradient), "\n  grad.bias[1] is "));
  CHECK(names(failure(Flaw::inference), "\n  infer: y[0, 3] is "));
  CHECK(names(failure(Flaw::throws), "\n  Flawed(): no"));

  Golden<double> golden("linear");
  CHECK(names(golden.layer("linear/no_bias", Linear<double>(7, 2)).failure, "missing:\n  bias"));
  CHECK(names(golden.layer("linear/rank2", Linear<double>(5, 4, {.bias = false})).failure, "unexpected:\n  bias"));
  CHECK(names(golden.layer("linear/none", Linear<double>(5, 4)).failure, "no such case"));
  CHECK(names(golden.untested(), "linear/wide"));
  CHECK_FALSE(names(golden.untested(), "linear/rank2"));
}

TEST_CASE("every element counts, relative to the largest") {
  using T = Tensor<double>;
  CHECK(disagreement("y", T({2}, {100, 1e-9}), T({2}, {100, 0}), 1e-10) == "");
  CHECK(disagreement("y", T({2}, {100, 2e-8}), T({2}, {100, 0}), 1e-10) ==
        "\n  y[1] is 2e-08, expected 0, off by 2e-10 of the largest entry");
  CHECK(disagreement("y", T({1}, {NAN}), T({1}, {NAN}), 1e-10) == "");
  CHECK(disagreement("y", T({1}, {-INFINITY}), T({1}, {-INFINITY}), 1e-10) == "");
  CHECK(disagreement("y", T({1}, {INFINITY}), T({1}, {1e300}), 1e-10) != "");
  CHECK(disagreement("y", T({1}, {0}), T({1}, {NAN}), 1e-10) != "");
  CHECK(disagreement("y", T({2}, {1, 2}), T({1, 2}, {1, 2}), 1e-10) == "\n  y has shape [2], expected [1, 2]");
}
