#include <doctest/doctest.h>

#include "lamina/nn/container.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// y = scale * x^2, with one planted error at a time, to prove that the checker sees each.
enum class Flaw {
  none,
  input_gradient,
  parameter_gradient,
  overwrites,
  reads_saved_twice,
  infer,
  shape,
  frozen,
  place,
  batch_size,
  empty_batch
};

class Square : public Layer<Square, double> {
 public:
  explicit Square(Flaw f) : scale(Tensor<double>({1}, {1.5})), flaw(f) {}
  Parameter<double> scale;
  Flaw flaw;
  Shape output_shape(const Shape& input) const override { return flaw == Flaw::shape ? input.batch(1) : input; }
  Members<double> members() override { return {{"scale", &scale}}; }
  Index multiply_adds(const Shape&) const override { return 0; }

 private:
  Tensor<double> do_infer(Tensor<double> x) const override {
    x.array() = scale.value.item() * x.array().square() + (flaw == Flaw::infer ? 1e-9 : 0.0);
    spoil(x);
    return x;
  }
  Tensor<double> do_forward(Tensor<double> x, Tape& tape) override {
    tape.push(x);
    if (flaw == Flaw::reads_saved_twice) tape.push(x);
    x.array() = scale.value.item() * x.array().square();
    spoil(x);
    return x;
  }
  /// Results that depend on the batch.
  void spoil(Tensor<double>& y) const {
    const Index n = y.dim(0);
    if (flaw == Flaw::place && n > 4) y.data()[4 * y.numel() / n] *= 1 + 1e-15;
    if (flaw == Flaw::batch_size && n > 16) y.array() *= 1 + 1e-15;
    if (flaw == Flaw::empty_batch && n == 0) y = Tensor<double>({1});
  }
  Tensor<double> do_backward(Tensor<double> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.pop<Tensor<double>>();
    if (scale.requires_grad || flaw == Flaw::frozen) {
      const double slope = (dy.array() * x.array().square()).sum() * (flaw == Flaw::parameter_gradient ? 1.00001 : 1);
      if (flaw == Flaw::overwrites)
        scale.gradient().fill(slope);
      else
        scale.gradient().array() += slope;
    }
    dy.array() *= 2 * scale.value.item() * x.array();
    if (flaw == Flaw::input_gradient) dy.data()[3] += 1e-5;
    return dy;
  }
};

std::string failure(Flaw flaw) { return conforms(Square(flaw), {2, 3}).failure; }

}  // namespace

TEST_CASE("the conformance suite accepts right layers and sees every planted error") {
  CHECK(failure(Flaw::none) == "");
  CHECK(failure(Flaw::input_gradient).find("gradient of the input, entry 3 of [2, 3]") != std::string::npos);
  CHECK(failure(Flaw::parameter_gradient).find("gradient of scale, entry 0 of [1]") != std::string::npos);
  CHECK(failure(Flaw::overwrites).find("do not accumulate") != std::string::npos);
  CHECK(failure(Flaw::infer).find("infer differs from forward") != std::string::npos);
  CHECK(failure(Flaw::shape).find("output_shape says [1, 2, 3], infer gives [2, 3]") != std::string::npos);
  CHECK(failure(Flaw::frozen).find("computed for the frozen scale") != std::string::npos);
  CHECK(failure(Flaw::place).find("infer of a sample differs between alone and place 4 of 5") != std::string::npos);
  CHECK(failure(Flaw::batch_size).find("infer of a sample differs between alone and place 0 of 17") !=
        std::string::npos);
  CHECK(failure(Flaw::empty_batch).find("an empty batch [0, 3] gives [1]") != std::string::npos);
  CHECK_THROWS_WITH_AS(failure(Flaw::reads_saved_twice),
                       "Tape: Square() pops less in backward than it pushed in forward", StateError);
  CHECK(conforms(ReLU<double>(), {2, 3, 5}));
  CHECK(conforms(Sequential<double>{Identity<double>(), ReLU<double>()}, {7}));
}
