#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "lamina/lamina.hpp"

using namespace lamina;

namespace {
/// A layer that says no fields.
class Plain : public Layer<Plain, float> {
  Tensor<float> do_infer(Tensor<float> x) const override { return x; }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return x; }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy; }
};
}  // namespace

TEST_CASE("A layer's options are read by name and type, the usual ones too") {
  const Fields conv = Conv2d(3, 64, {7, 5}, {.padding = "same", .bias = false}).fields();
  CHECK(conv.type() == "Conv2d");
  CHECK(conv.get<Index>("in_channels") == 3);
  CHECK(conv.get<Size2>("kernel_size") == Size2(7, 5));
  CHECK(conv.get<Size2>("dilation") == Size2(1));
  CHECK(conv.get<Padding>("padding") == Padding(3, 2));  // what "same" comes to
  CHECK_FALSE(conv.get<bool>("bias"));
  CHECK(GELU().fields().get<std::string>("approximate") == "none");
  CHECK(LayerNorm({3, 4}).fields().get<Shape>("normalized_shape") == Shape{3, 4});
  CHECK(BatchNorm2d(4).fields().get<double>("eps") == 1e-5);
  CHECK(BatchNorm2d(4).fields().get<std::optional<double>>("momentum") == 0.1);
  CHECK(BatchNorm2d(4, {.momentum = std::nullopt}).fields().get<std::optional<double>>("momentum") == std::nullopt);
}

TEST_CASE("A field that is not there, or is of another type, is an error that names it") {
  const Fields linear = Linear(3, 4).fields();
  CHECK_THROWS_WITH_AS(linear.get<Index>("features"),
                       "Linear(3, 4): has no field features, it has in_features, out_features, bias", ValueError);
  CHECK_THROWS_WITH_AS(Sequential<float>{ReLU()}.fields().get<Index>("dim"),
                       "Sequential(ReLU()): has no field dim, it has none", ValueError);
  CHECK_THROWS_WITH_AS(linear.get<double>("in_features"),
                       "Linear(3, 4): field in_features is of another type, its value is 3", ValueError);
  CHECK_THROWS_WITH_AS(BatchNorm1d(2, {.momentum = std::nullopt}).fields().get<double>("momentum"),
                       "BatchNorm1d(2, momentum=none): field momentum is of another type, its value is none",
                       ValueError);
}

TEST_CASE("Fields are equal if the type and all options are, as they are, not as they are printed") {
  CHECK(Conv2d(3, 4, 3).fields() == Conv2d(3, 4, {3, 3}, {.stride = 1}).fields());
  CHECK(Conv2d(3, 4, 3).fields() != Conv2d(3, 4, 3, {.groups = 1, .bias = false}).fields());
  CHECK(MaxPool2d(2).fields() != AvgPool2d(2).fields());
  const BatchNorm2d norm(4, {.eps = 1.00000001e-3}), other(4, {.eps = 1e-3});
  CHECK(norm.name() == other.name());
  CHECK(norm.fields() != other.fields());
}

TEST_CASE("A module without options is named by its type") {
  CHECK(Plain().name() == "Plain()");
  CHECK(Plain().fields() == Fields("Plain"));
}
