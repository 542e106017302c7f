#include "backwards.hpp"  // every header, in the opposite order

lamina::Sequential<float> model();

int main() {
  lamina::set_num_threads(1);
  const lamina::Sequential<float> net = model();
  return net(lamina::Tensor<float>::ones({3, 4})).shape() == lamina::Shape{3, 2} ? 0 : 1;
}
