#include <lamina/lamina.hpp>

// Layers and optimisers whose kernels take roots, for a compiler that looks for values left undefined.
int main() {
  lamina::Sequential<float> net{lamina::Linear(2, 2), lamina::LayerNorm<float>(2)};
  lamina::Adam<float> adam(lamina::parameters<float>(net));
  lamina::RMSprop<float> rmsprop(lamina::parameters<float>(net));
  adam.step();
  rmsprop.step();
  lamina::Linear<double> wide(2, 2);
  lamina::Adam<double>(lamina::parameters<double>(wide)).step();
}
