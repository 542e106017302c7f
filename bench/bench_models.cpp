#include "cases.hpp"

namespace lamina::bench {

namespace {
/// The LeNet of the README.
Sequential<float> lenet() {
  return Sequential{Conv2d(1, 6, 5, {.padding = 2}),
                    Sigmoid(),
                    AvgPool2d(2),
                    Conv2d(6, 16, 5),
                    Sigmoid(),
                    AvgPool2d(2),
                    Flatten(),
                    Linear(400, 120),
                    Sigmoid(),
                    Linear(120, 84),
                    Sigmoid(),
                    Linear(84, 10)};
}
}  // namespace

void add_cases() { add_case(Kind::network, "net/lenet_b256", lenet, {256, 1, 28, 28}); }

}  // namespace lamina::bench
