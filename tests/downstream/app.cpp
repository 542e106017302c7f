#include <lamina/lamina.hpp>

using namespace lamina;

// Learns exclusive or; fails unless all four answers are right.
int main() {
  const Tensor inputs({4, 2}, {0.f, 0.f, 0.f, 1.f, 1.f, 0.f, 1.f, 1.f});
  const Labels labels({4}, {0, 1, 1, 0});

  manual_seed(0);
  Sequential net{Linear(2, 16), Tanh(), Linear(16, 2)};
  SGD optimizer(parameters(net), {.lr = 0.5});
  Tape tape;
  for (int step = 0; step < 500; ++step) {
    auto [loss, grad] = cross_entropy(net.forward(inputs, tape), labels);
    net.backward(grad, tape);
    optimizer.step();
  }
  const Tensor<float> logits = net(inputs);
  for (Index i = 0; i < 4; ++i)
    if ((logits(i, 1) > logits(i, 0)) != (labels(i) == 1)) return 1;
  return 0;
}
