// Says which kernels lamina::compiled has chosen, and lets them learn.
#include <cstdio>
#include <lamina/lamina.hpp>

namespace {

using namespace lamina;

/// The loss of a small network before and after some steps.
std::pair<double, double> learn() {
  manual_seed(0);
  Sequential net{Conv2d(1, 6, 5), ReLU(), BatchNorm2d(6), MaxPool2d(2), Flatten(), Linear(864, 10)};
  Adam optimizer(parameters(net), {.lr = 0.003});
  DataLoader loader(digits(640), {.batch_size = 64});
  Tape tape;
  std::vector<double> losses;
  for (int epoch = 0; epoch < 4; ++epoch)
    for (auto& [images, labels] : loader) {
      auto [loss, grad] = cross_entropy(net.forward(images, tape), labels);
      net.backward(grad, tape);
      optimizer.step();
      losses.push_back(loss);
    }
  return {losses.front(), losses.back()};
}

}  // namespace

int main() {
  try {
    std::printf("%s kernels of %ld bytes", instruction_set(),
                static_cast<long>(kernels::block_lanes<float>()) * static_cast<long>(sizeof(float)));
    const auto [before, after] = learn();
    std::printf(", loss %.3f, then %.3f\n", before, after);
    return after < before / 2 ? 0 : 1;
  } catch (const Error& error) {
    std::puts(error.what());
    return 1;
  }
}
