#include <doctest/doctest.h>

#include "lamina/models/hamnet.hpp"
#include "lamina/nn/receptive_field.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_receptive_field {

namespace {

/// The first and last row and column of the image with a derivative, for a pixel of a linear model's result.
std::array<SeenRange, 2> seen(Module<double>& net, const Tensor<double>& x, Index i, Index j) {
  Tape tape;
  Tensor<double> dy = Tensor<double>::zeros(net.forward(x, tape).shape());
  dy(0, 0, i, j) = 1;
  const Tensor<double> dx = net.backward(std::move(dy), tape);
  std::array<SeenRange, 2> result;
  for (Index c = 0; c < dx.dim(1); ++c)
    for (Index row = 0; row < dx.dim(2); ++row)
      for (Index column = 0; column < dx.dim(3); ++column)
        if (dx(0, c, row, column) != 0) {
          result[0] = result[0] | SeenRange{row, row};
          result[1] = result[1] | SeenRange{column, column};
        }
  return result;
}

}  // namespace

TEST_CASE("the receptive field is where a linear model has derivatives") {
  const InterpolateOptions corners{.mode = InterpolateMode::bilinear, .align_corners = true};
  Sequential<double> net{
      Conv2d<double>(2, 3, 3, {.stride = 2, .padding = 1}),
      Concat<double>{Conv2d<double>(3, 2, {1, 3}, {.padding = {0, 2}, .dilation = {1, 2}}), Identity<double>()},
      AvgPool2d<double>(3, {.stride = 2, .padding = 1, .count_include_pad = false}),
      Sum<double>{Conv2d<double>(5, 2, 1), Conv2d<double>(5, 2, {3, 1}, {.padding = {1, 0}})},
      Interpolate<double>({9, 11}, corners)};
  const AtInputSize<double> framed(net, corners, 4);
  for (const bool frame : {false, true}) {
    auto model = frame ? framed.clone() : net.clone();
    const Tensor<double> x = Random(1).normal<double>({1, 2, 22, 27});
    const ReceptiveField field = receptive_field(record(*model, x.shape()));
    const Shape y = model->output_shape(x.shape());
    REQUIRE(static_cast<Index>(field.rows.size()) == y[2]);
    REQUIRE(static_cast<Index>(field.columns.size()) == y[3]);
    for (Index i = 0; i < y[2]; ++i)
      for (Index j = i % 3; j < y[3]; j += 3) {
        const auto [rows, columns] = seen(*model, x, i, j);
        CHECK(field.rows[static_cast<std::size_t>(i)].first == rows.first);
        CHECK(field.rows[static_cast<std::size_t>(i)].last == rows.last);
        CHECK(field.columns[static_cast<std::size_t>(j)].first == columns.first);
        CHECK(field.columns[static_cast<std::size_t>(j)].last == columns.last);
      }
  }
}

TEST_CASE("a context module sees the whole image, a network without one does not") {
  const auto reach = [](Context context) {
    HamNetOptions options{.classes = 4, .channels = 16, .aligned = 8, .context = context};
    options.hamburger = {.D = 16, .ham = {.rank = 4}};
    const auto net =
        hamnet<float>(Sequential<float>{{"0", Conv2d<float>(3, 8, 3, {.stride = 2, .padding = 1})}}, 8, 2, options);
    return receptive_field(record(net, {1, 3, 65, 65})).reach();
  };
  // 3x3 at stride 1, then two of them at stride 2, then the neighbour of a pixel between two features.
  CHECK(reach(Context::none) == 1 + 2 * 2 + 1);
  CHECK(reach(Context::nmf) == 64);
  CHECK(reach(Context::co_occurrence) == 64);
  const MaxPool2d<float> pool(3, {.stride = 1, .padding = 1});
  CHECK(receptive_field(record(pool, {1, 2, 8, 8})).reach() == 1);
  const AdaptiveAvgPool2d<float> mean(1);
  CHECK(receptive_field(record(mean, {1, 2, 8, 6})).rows[0].last == 7);
  CHECK_THROWS_WITH_AS(receptive_field(record(Linear<float>(3, 2), {4, 3})),
                       "receptive_field: expected images [N, C, H, W], got shape [4, 3]", ShapeError);
}

}  // namespace test_receptive_field
