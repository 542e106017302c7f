#include <lamina/nn/layer_norm.hpp>
#include <lamina/nn/linear.hpp>
#include <lamina/optim/adam.hpp>
#include <lamina/optim/rmsprop.hpp>

// Layers and optimisers whose kernels take roots, for a compiler that looks for values left undefined.
int main() {
  lamina::Linear<float> net(2, 2);
  lamina::LayerNorm<float> norm(2);
  norm.infer(net.infer(lamina::Tensor<float>::zeros({1, 2})));
  lamina::Adam<float> adam(lamina::parameters<float>(net));
  lamina::RMSprop<float> rmsprop(lamina::parameters<float>(net));
  adam.step();
  rmsprop.step();
  lamina::Linear<double> wide(2, 2);
  lamina::Adam<double>(lamina::parameters<double>(wide)).step();
}
