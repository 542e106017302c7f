#include "lamina/lamina.hpp"

using namespace lamina;

/// The plugin's whole work: a network on two threads.
extern "C" __attribute__((visibility("default"))) float process(float value) {
  set_num_threads(2);
  const Sequential<float> net{Conv2d(3, 8, 3, {.padding = 1}), ReLU(), MaxPool2d(2)};
  return net(Tensor<float>::full({4, 3, 64, 64}, value))(0, 0, 0, 0);
}
