#include <doctest/doctest.h>

#include "lamina/nn/cat.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/mean.hpp"
#include "lamina/nn/negative_log_likelihood.hpp"
#include "lamina/nn/softplus.hpp"
#include "lamina/nn/tensor/combine.hpp"
#include "lamina/nn/tensor/constant.hpp"
#include "lamina/nn/tensor/map.hpp"
#include "lamina/nn/tensor/matmul.hpp"
#include "lamina/nn/tensor/reduce.hpp"
#include "lamina/nn/tensor/reshape.hpp"
#include "lamina/nn/tensor/select.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// y = layer(x, other(x)), with any number of others.
template <class Layer>
class With : public Block<With<Layer>, double> {
 public:
  With(Layer layer, std::vector<Child<double>> others) : layer_(std::move(layer)), others_(std::move(others)) {}

  Members<double> members() override {
    Members<double> result{{"", layer_}};
    for (auto& other : others_) result.push_back({other.name, other.module.get()});
    return result;
  }
  Value<double> flow(Flow<double>& run, Value<double> x) const {
    Values<double> values(x);
    for (const auto& other : others_)
      values.push_back(std::move(run.all(*other.module, other.module->template as<Constant<double>>() != nullptr
                                                            ? Values<double>()
                                                            : Values<double>(x))[0]));
    return std::move(run.all(layer_, std::move(values))[0]);
  }

 private:
  Layer layer_;
  std::vector<Child<double>> others_;
};

Tensor<double> numbers(const Shape& shape, const std::vector<double>& values) { return {shape, values}; }

/// Not a whole batch: the first axis is no batch's, or there are constants.
const ConformanceOptions whole{.batched = false};

}  // namespace

TEST_CASE("Map conforms for every function, where it is defined") {
  for (int i = 0; i <= static_cast<int>(Function::shrink); ++i) {
    const auto f = static_cast<Function>(i);
    ConformanceOptions options;
    if (f == Function::sqrt || f == Function::log || f == Function::reciprocal) options = {.scale = 0.3, .offset = 4};
    if (f == Function::acosh) options = {.scale = 0.3, .offset = 4};
    if (f == Function::asin || f == Function::acos || f == Function::atanh || f == Function::tan) options.scale = 0.2;
    CAPTURE(i);
    CHECK(conforms(Map<double>(f, f == Function::clamp ? -0.5 : 0.6, 0.7), {2, 3, 5}, options));
  }
}

TEST_CASE("Map: values at the edges") {
  const auto at = [](Function f, double x, double a = 0, double b = 0) {
    return Map<double>(f, a, b)(numbers({1}, {x})).item();
  };
  for (const auto& [x, y] : {std::pair{0.5, 0.0}, {1.5, 2.0}, {2.5, 2.0}, {-0.5, 0.0}, {-1.5, -2.0}, {2.4, 2.0}})
    CHECK(at(Function::round, x) == y);
  CHECK(at(Function::truncate, -1.7) == -1);
  CHECK(at(Function::clamp, 5, -1, 1) == 1);
  CHECK(at(Function::clamp, 0, 2, 1) == 1);  // as NumPy's
  CHECK(at(Function::sign, -0.2) == -1);
  CHECK(at(Function::logical_not, 0) == 1);
}

TEST_CASE("Combine conforms for every operation, whichever operand is repeated") {
  for (int i = 0; i <= static_cast<int>(Operation::logical_xor); ++i) {
    const auto operation = static_cast<Operation>(i);
    ConformanceOptions options = whole;
    if (operation == Operation::divide || operation == Operation::power)
      options = {.batched = false, .scale = 0.2, .offset = 2};
    if (operation == Operation::remainder || operation == Operation::fmod)
      options = {.batched = false, .scale = 0.05, .offset = 2};
    // Away from where the functions jump.
    const Combine<double> layer(operation);
    CAPTURE(i);
    const Sequential<double> row{Slice<double>({{0, 0, 1}}), Map<double>(Function::celu, 0.7), Softplus<double>()};
    CHECK(conforms(With(layer, {{"", row}}), {3, 4}, options));
    const Sequential<double> vector{Slice<double>({{0, 0, 1}}), Squeeze<double>({0}), Softplus<double>()};
    CHECK(conforms(With(layer, {{"", vector}}), {3, 4}, options));
    CHECK(conforms(With(layer, {{"", Sequential<double>{Reshape<double>({2, 1, 3}), Softplus<double>()}}}), {2, 3},
                   options));
  }
  CHECK_THROWS_WITH_AS(
      Combine<double>(Operation::add).infer(Values<double>(Tensor<double>({2, 3}), Tensor<double>({2}))),
      "Combine(add): expected shapes that agree where neither is 1, got [2, 3] and [2]", ShapeError);
}

TEST_CASE("Combine: whole quotients, remainders, comparisons") {
  const auto of = [](Operation operation, double a, double b) {
    return Combine<double>(operation).infer(Values<double>(numbers({}, {a}), numbers({}, {b})))[0].item();
  };
  CHECK(of(Operation::divide_whole, -7, 2) == -3);
  CHECK(of(Operation::remainder, -7, 3) == 2);
  CHECK(of(Operation::remainder, 7, -3) == -2);
  CHECK(of(Operation::fmod, -7, 3) == -1);
  CHECK(of(Operation::prelu, -2, 0.25) == -0.5);
  CHECK(of(Operation::less_or_equal, 2, 2) == 1);
  CHECK(of(Operation::logical_xor, 2, 3) == 0);
}

TEST_CASE("Where, MatMul, Gather and NegativeLogLikelihood conform") {
  CHECK(conforms(With(Where<double>(), {{"", Map<double>(Function::exp)}, {"", Map<double>(Function::sin)}}), {3, 4}));
  CHECK(conforms(With(MatMul<double>(), {{"", Permute<double>({1, 0})}}), {3, 4}, whole));
  CHECK(conforms(
      With(MatMul<double>(), {{"", Sequential<double>{Slice<double>({{0, 0, 1}}), Permute<double>({0, 2, 1})}}}),
      {2, 3, 4}, whole));
  CHECK(conforms(With(Gather<double>(1), {{"", Constant<double>(numbers({2, 2}, {0, 2, -1, 0}))}}), {2, 3, 4}));
  CHECK(conforms(With(Combine<double>(Operation::multiply), {{"", Constant<double>(numbers({4}, {1, 2, 3, 4}), "w")}}),
                 {3, 4}));
  for (const char* const reduction : {"mean", "sum", "none"}) {
    const NegativeLogLikelihood<double> layer({reduction, 2});
    CHECK(conforms(With(layer, {{"", Constant<double>(numbers({2, 4}, {0, 1, 2, 0, 1, 1, 2, 0}))},
                                {"", Constant<double>(numbers({3}, {1, 0.5, 2}))}}),
                   {2, 3, 4}, whole));
  }
  CHECK_THROWS_WITH_AS(NegativeLogLikelihood<double>().infer(Values<double>(Tensor<double>({1, 3}), numbers({1}, {3}))),
                       "NegativeLogLikelihood(): label 3 at position 0 is not one of 3 classes", ValueError);
  CHECK_THROWS_WITH_AS(Gather<double>(0).infer(Values<double>(Tensor<double>({2}), numbers({1}, {-3}))),
                       "Gather(0): index -3 at position 0 is not one of 2 entries", ValueError);
}

TEST_CASE("layers of shapes conform") {
  CHECK(conforms(Reshape<double>({0, -1, 2}), {2, 3, 4}));
  CHECK(conforms(Unsqueeze<double>({1, -1}), {2, 3}));
  CHECK(conforms(Squeeze<double>({1}), {2, 1, 3}));
  CHECK(conforms(Permute<double>({0, 3, 1, 2}), {2, 3, 4, 5}));
  CHECK(conforms(Permute<double>(), {2, 3, 4}, whole));
  CHECK(Permute<double>().infer(numbers({2, 2}, {1, 2, 3, 4})) == numbers({2, 2}, {1, 3, 2, 4}));
  CHECK(Squeeze<double>().output_shape({1, 3, 1}) == Shape{3});
  CHECK_THROWS_WITH_AS(Reshape<double>({5, -1}).output_shape({2, 3}),
                       "Reshape([5, -1]): does not fit the elements of shape [2, 3]", ShapeError);
  CHECK_THROWS_AS(Permute<double>({0, 0}).output_shape({2, 3}), ShapeError);
  CHECK_THROWS_AS(Squeeze<double>({0}).output_shape({2, 3}), ShapeError);
}

TEST_CASE("layers that take entries conform") {
  CHECK(conforms(Slice<double>({{1, 0, 2}, {2, -1, -9, -2}}), {2, 3, 4}));
  CHECK(conforms(Pad<double>({0, 1, 2}, {0, -1, 1}, PadMode::constant, 0.5), {2, 3, 4}));
  CHECK(conforms(Pad<double>({0, 2, 1}, {0, 1, 3}, PadMode::reflect), {2, 3, 4}));
  CHECK(conforms(Pad<double>({0, 1, 2}, {0, 2, 0}, PadMode::edge), {2, 3, 4}));
  CHECK(conforms(IndexSelect<double>(-1, {2, 0, -1, 2}), {2, 3, 4}));
  CHECK(conforms(Tile<double>({1, 2, 3}), {2, 3, 4}));
  CHECK(conforms(Mix<double>(1, 3, {{{0, 0.25}, {2, 0.75}}, {{1, 1}}, {}, {{2, 2}}}), {2, 3, 4}));
  const Tensor<double> x = numbers({4}, {1, 2, 3, 4});
  CHECK(Slice<double>({{0, 3, -100, -2}})(x) == numbers({2}, {4, 2}));
  CHECK(Slice<double>({{0, -3, std::numeric_limits<Index>::max(), 2}})(x) == numbers({2}, {2, 4}));
  CHECK(Pad<double>({2}, {1}, PadMode::reflect)(x) == numbers({7}, {3, 2, 1, 2, 3, 4, 3}));
  CHECK(Pad<double>({1}, {2}, PadMode::edge)(x) == numbers({7}, {1, 1, 2, 3, 4, 4, 4}));
  CHECK(Pad<double>({1}, {2}, "edge")(x) == Pad<double>({1}, {2}, PadMode::edge)(x));
  CHECK_THROWS_WITH_AS(Pad<double>({1}, {2}, "wrap"), "mode: expected constant, reflect or edge, got 'wrap'",
                       ValueError);
  CHECK_THROWS_WITH_AS(Pad<double>({4}, {0}, PadMode::reflect)(x),
                       "Pad([4], [0], mode=reflect): axis 0 is too short, got shape [4]", ShapeError);
  CHECK_THROWS_AS(Slice<double>({{0, 0, 1, 0}}), ValueError);
  CHECK_THROWS_AS(IndexSelect<double>(0, {4})(x), ShapeError);
}

TEST_CASE("Reduce conforms for every aggregate") {
  for (int i = 0; i <= static_cast<int>(Aggregate::log_sum_exp); ++i)
    for (const bool keep : {true, false}) {
      CAPTURE(i);
      ConformanceOptions options{.scale = 0.3, .offset = 2};
      CHECK(conforms(Reduce<double>(static_cast<Aggregate>(i), {{1, -1}, keep}), {2, 3, 4, 2}, options));
      options.batched = false;
      CHECK(conforms(Reduce<double>(static_cast<Aggregate>(i), {{}, keep}), {2, 3}, options));
    }
  CHECK_THROWS_AS(Reduce<double>(Aggregate::max).output_shape({0, 2}), ShapeError);
}

TEST_CASE("Mean conforms; of a packed batch it is that of each sequence's tokens") {
  for (const bool keepdim : {true, false}) {
    CHECK(conforms(Mean<double>(1, {.keepdim = keepdim}), {2, 3, 4}));
    CHECK(conforms(Mean<double>(-1, {.keepdim = keepdim}), {2, 3, 19}));
    CHECK(conforms(Mean<double>(2, {.keepdim = keepdim}), {2, 3, 4, 5}));
    CHECK(conforms(Mean<double>(0, {.keepdim = keepdim}), {5, 3}, whole));
  }
  const Tensor<double> tokens = numbers({4, 2}, {1, 2, 3, 4, 5, 6, 9, 8});
  const Value<double> batch(tokens, Sequences(std::vector<Index>{1, 3}));
  Mean<double> mean;
  Tape tape;
  CHECK(mean.forward(batch, tape) == numbers({2, 2}, {1, 2, (3.0 + 5 + 9) / 3, 6}));
  CHECK(mean.backward(numbers({2, 2}, {1, 2, 3, 6}), tape) == numbers({4, 2}, {1, 2, 1, 2, 1, 2, 1, 2}));
  CHECK(Mean<double>(-2, {.keepdim = true})(batch).shape() == Shape{2, 1, 2});
  CHECK_THROWS_WITH_AS(Mean<double>(0)(batch),
                       "Mean(0): of a packed batch [tokens, D] there is the mean over the tokens, Mean(1), got shape "
                       "[4, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Mean<double>(2)(tokens), "Mean(2): no axis 2 in shape [4, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(Mean<double>(1, {.keepdim = true}).output_shape({2, 0}),
                       "Mean(1, keepdim=true): of nothing, got shape [2, 0]", ShapeError);
}

TEST_CASE("concat: tensors of any type, one behind the other along an axis") {
  const Tensor<double> a = numbers({2, 2}, {1, 2, 3, 4}), b = numbers({2, 1}, {5, 6});
  CHECK(concat({a, b}, 1) == numbers({2, 3}, {1, 2, 5, 3, 4, 6}));
  CHECK(concat({a, b}, -1) == Cat<double>(1).infer(Values<double>(a, b))[0]);
  CHECK(concat({a, a}) == numbers({4, 2}, {1, 2, 3, 4, 1, 2, 3, 4}));
  CHECK(concat(std::vector<Labels>{Labels({2}, {1, 2}), Labels({0}), Labels({1}, {3})}) == Labels({3}, {1, 2, 3}));
  CHECK_THROWS_WITH_AS(concat({a, b}), "concat: shapes may differ in axis 0 only, got [2, 2] and [2, 1]", ShapeError);
  CHECK_THROWS_WITH_AS(concat({a, b}, 2), "concat: no axis 2 in shape [2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(concat(std::vector<Labels>()), "concat: takes at least one tensor", ValueError);
}

TEST_CASE("ConvTranspose2d conforms, and is the gradient of a convolution") {
  CHECK(conforms(ConvTranspose2d<double>(3, 4, 3), {2, 3, 4, 5}));
  CHECK(conforms(ConvTranspose2d<double>(2, 3, 3, {.stride = {1, 2}, .output_padding = {2, 3}, .dilation = {3, 4}}),
                 {2, 2, 4, 3}));
  CHECK(conforms(ConvTranspose2d<double>(4, 6, {3, 2},
                                         {.stride = {2, 3},
                                          .padding = {1, 0, 0, 1},
                                          .output_padding = {1, 2},
                                          .dilation = {1, 2},
                                          .groups = 2,
                                          .bias = false}),
                 {2, 4, 3, 4}));
  CHECK(conforms(ConvTranspose2d<double>(3, 3, 4, {.stride = 2, .padding = 1, .groups = 3}), {1, 3, 5, 4}));
  // y[i S + a] += w[a] x[i], as PyTorch's conv_transpose1d([1, 2], [1, 10, 100], stride=2).
  ConvTranspose2d<double> row(1, 1, {1, 3}, {.stride = {1, 2}, .bias = false});
  row.weight.value = numbers({1, 1, 1, 3}, {1, 10, 100});
  CHECK(row(numbers({1, 1, 1, 2}, {1, 2})) == numbers({1, 1, 1, 5}, {1, 10, 102, 20, 200}));
  CHECK_THROWS_WITH_AS(
      ConvTranspose2d<double>(2, 2, 3, {.output_padding = 1}),
      "ConvTranspose2d(2, 2, 3, output_padding=1): output_padding must be below the stride or the dilation, got 1",
      ValueError);
  CHECK_THROWS_AS(ConvTranspose2d<double>(2, 3, 3, {.groups = 2}), ValueError);
  CHECK_THROWS_AS(ConvTranspose2d<double>(2, 2, 3).output_shape({1, 3, 4, 4}), ShapeError);
}
