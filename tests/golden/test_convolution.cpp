#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/conv1d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("Conv2d as in PyTorch", S, float, double) {
  Golden<S> golden("convolution");
  using Conv = Conv2d<S>;

  CHECK(golden.layer("conv2d/plain", Conv(3, 4, 3)));
  CHECK(golden.layer("conv2d/no_bias", Conv(2, 3, 3, {.bias = false})));
  CHECK(golden.layer("conv2d/one_channel", Conv(1, 3, 5, {.padding = 2})));
  CHECK(golden.layer("conv2d/window_is_image", Conv(2, 5, {3, 4})));

  CHECK(golden.layer("conv2d/1x1", Conv(5, 3, 1)));
  CHECK(golden.layer("conv2d/1x1_stride", Conv(3, 4, 1, {.stride = 2, .bias = false})));
  CHECK(golden.layer("conv2d/1x1_padding", Conv(3, 2, 1, {.padding = 1})));
  CHECK(golden.layer("conv2d/1x1_groups", Conv(6, 4, 1, {.groups = 2})));

  CHECK(golden.layer("conv2d/stride", Conv(3, 4, 3, {.stride = 2})));
  CHECK(golden.layer("conv2d/stride_padding", Conv(3, 4, 3, {.stride = 2, .padding = 1})));
  CHECK(golden.layer("conv2d/stride_beyond_window", Conv(2, 3, 2, {.stride = 3})));
  CHECK(golden.layer("conv2d/stride_rectangular", Conv(2, 3, {3, 2}, {.stride = {2, 3}, .padding = {1, 0}})));
  CHECK(golden.layer("conv2d/padding_rectangular", Conv(2, 3, {3, 5}, {.padding = {1, 2}})));
  CHECK(golden.layer("conv2d/padding_beyond_half", Conv(2, 3, 3, {.padding = 3})));
  CHECK(golden.layer("conv2d/padding_1x7", Conv(3, 2, {1, 7}, {.padding = {0, 3}})));
  CHECK(golden.layer("conv2d/padding_7x1", Conv(3, 2, {7, 1}, {.padding = {3, 0}})));
  CHECK(golden.layer("conv2d/dilation", Conv(2, 3, 3, {.dilation = 2})));
  CHECK(golden.layer("conv2d/dilation_padding", Conv(2, 3, 3, {.padding = 2, .dilation = 2})));
  CHECK(golden.layer("conv2d/dilation_rectangular_stride",
                     Conv(2, 3, {3, 2}, {.stride = {2, 1}, .padding = {2, 1}, .dilation = {2, 3}})));
  CHECK(golden.layer("conv2d/first_of_alexnet", Conv(3, 4, 11, {.stride = 4, .padding = 2})));

  CHECK(golden.layer("conv2d/same_3", Conv(2, 3, 3, {.padding = "same"})));
  CHECK(golden.layer("conv2d/same_2", Conv(2, 3, 2, {.padding = "same"})));
  CHECK(golden.layer("conv2d/same_4x5", Conv(2, 3, {4, 5}, {.padding = "same"})));
  CHECK(golden.layer("conv2d/same_4_dilation", Conv(2, 3, 4, {.padding = "same", .dilation = {1, 3}})));
  CHECK(golden.layer("conv2d/same_groups", Conv(4, 4, 2, {.padding = "same", .groups = 2})));
  CHECK(golden.layer("conv2d/four_paddings", Conv(2, 3, 3, {.stride = 2, .padding = {2, 0, 1, 3}})));

  CHECK(golden.layer("conv2d/groups", Conv(4, 6, 3, {.padding = 1, .groups = 2})));
  CHECK(golden.layer("conv2d/groups_stride", Conv(6, 3, 3, {.stride = 2, .groups = 3, .bias = false})));
  CHECK(golden.layer("conv2d/depthwise", Conv(4, 4, 3, {.padding = 1, .groups = 4})));
  CHECK(golden.layer("conv2d/depthwise_wide", Conv(3, 3, 3, {.padding = 1, .groups = 3, .bias = false})));
  CHECK(golden.layer("conv2d/depthwise_stride", Conv(3, 3, 3, {.stride = 2, .padding = 1, .groups = 3})));
  CHECK(golden.layer("conv2d/depthwise_5", Conv(3, 3, 5, {.padding = 2, .groups = 3})));
  CHECK(golden.layer("conv2d/depthwise_dilation", Conv(3, 3, 3, {.padding = 2, .dilation = 2, .groups = 3})));
  CHECK(golden.layer("conv2d/depthwise_multiplier", Conv(3, 6, 3, {.padding = 1, .groups = 3})));
  CHECK(golden.layer("conv2d/depthwise_rectangular",
                     Conv(2, 2, {1, 5}, {.stride = {1, 2}, .padding = {0, 2}, .groups = 2})));

  CHECK(golden.layer("conv2d/3x3_blocks", Conv(9, 17, 3, {.padding = 1, .bias = false})));
  CHECK(golden.layer("conv2d/3x3_batch", Conv(8, 8, 3)));
  CHECK(golden.layer("conv2d/5x5_blocks", Conv(6, 13, 5, {.padding = 2})));
  CHECK(golden.layer("conv2d/3x3_winograd", Conv(16, 17, 3, {.padding = 1})));
  CHECK(golden.layer("conv2d/5x5_winograd", Conv(16, 16, 5, {.padding = 2})));
  CHECK(golden.layer("conv2d/3x3_stride_blocks", Conv(16, 17, 3, {.stride = 2, .padding = 1})));

  CHECK(golden.layer("conv2d/tensorflow_same", Conv2d<S>(3, 4, 3, {.stride = 2, .padding = "same"})));
  CHECK(golden.layer("conv2d/tensorflow_same_7", Conv2d<S>(3, 4, 7, {.stride = 2, .padding = "same"})));
  CHECK(golden.layer("conv2d/tensorflow_same_rectangular",
                     Conv2d<S>(2, 3, {2, 5}, {.stride = {3, 2}, .padding = "same", .dilation = {2, 1}})));
  CHECK(golden.layer("conv2d/tensorflow_same_depthwise",
                     Conv2d<S>(4, 4, 3, {.stride = 2, .padding = "same", .groups = 4})));

  CHECK(golden.layer("conv1d/plain", Conv1d<S>(3, 4, 3)));
  CHECK(golden.layer("conv1d/no_bias", Conv1d<S>(2, 3, 5, {.bias = false})));
  CHECK(golden.layer("conv1d/stride_padding", Conv1d<S>(3, 4, 4, {.stride = 3, .padding = 2})));
  CHECK(golden.layer("conv1d/dilation", Conv1d<S>(2, 3, 3, {.padding = 4, .dilation = 4})));
  CHECK(golden.layer("conv1d/same", Conv1d<S>(2, 3, 4, {.padding = "same"})));
  CHECK(golden.layer("conv1d/groups", Conv1d<S>(6, 4, 3, {.groups = 2})));
  CHECK(golden.layer("conv1d/depthwise", Conv1d<S>(5, 5, 3, {.padding = 1, .groups = 5})));
  CHECK(golden.layer("conv1d/blocks", Conv1d<S>(17, 33, 3, {.padding = 1})));

  using Transposed = ConvTranspose2d<S>;
  CHECK(golden.layer("conv_transpose2d/plain", Transposed(3, 4, 3)));
  CHECK(golden.layer("conv_transpose2d/no_bias", Transposed(3, 2, 2, {.bias = false})));
  CHECK(golden.layer("conv_transpose2d/stride", Transposed(3, 4, 2, {.stride = 2})));
  CHECK(golden.layer("conv_transpose2d/stride_padding", Transposed(4, 3, 4, {.stride = 2, .padding = 1})));
  CHECK(golden.layer("conv_transpose2d/output_padding",
                     Transposed(2, 3, 3, {.stride = 2, .padding = 1, .output_padding = 1})));
  CHECK(golden.layer("conv_transpose2d/output_padding_of_dilation",
                     Transposed(2, 3, 3, {.output_padding = 1, .dilation = 2})));
  CHECK(golden.layer("conv_transpose2d/rectangular",
                     Transposed(2, 3, {2, 3}, {.stride = {1, 3}, .padding = {0, 1}, .output_padding = {0, 2}})));
  CHECK(golden.layer("conv_transpose2d/dilation", Transposed(2, 3, 3, {.stride = 2, .padding = 2, .dilation = 2})));
  CHECK(golden.layer("conv_transpose2d/groups", Transposed(6, 4, 3, {.stride = 2, .groups = 2})));
  CHECK(golden.layer("conv_transpose2d/depthwise", Transposed(4, 4, 4, {.stride = 2, .padding = 1, .groups = 4})));
  CHECK(golden.layer("conv_transpose2d/blocks", Transposed(17, 19, 4, {.stride = 2, .padding = 1})));

  CHECK(golden.untested() == "");
}
