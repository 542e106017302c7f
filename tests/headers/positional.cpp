#include <lamina/nn/avg_pool2d.hpp>
#include <lamina/nn/conv1d.hpp>
#include <lamina/nn/conv2d.hpp>
#include <lamina/nn/conv_transpose2d.hpp>
#include <lamina/nn/max_pool2d.hpp>

// As PyTorch has it: a message says how it is written here.
const auto convolution = lamina::Conv2d(3, 8, 3, 2, 1);
const auto line = lamina::Conv1d(3, 8, 3, 2, 1);
const auto transposed = lamina::ConvTranspose2d(3, 8, 3, 2, 1);
const auto largest = lamina::MaxPool2d(3, 2, 1);
const auto average = lamina::AvgPool2d(3, 2, 1);
