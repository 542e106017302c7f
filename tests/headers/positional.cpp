#include <lamina/nn/conv2d.hpp>

// As PyTorch has it: a message says how it is written here.
const auto layer = lamina::Conv2d(3, 8, 3, 2, 1);
