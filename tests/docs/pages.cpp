// What the pages show, in one source, since the templates are what takes the time: fragments.inc has their fragments,
// as functions that are compiled; rows.inc the rows of examples/coming_from_pytorch.md, as functions that are run. A
// row begins with SETTING, for the names that the page speaks of.
#include <cstdio>
#include <exception>
#include <functional>
#include <lamina/compiled/onnx.hpp>
#include <lamina/io.hpp>
#include <lamina/lamina.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace lamina;

#include "fragments.inc"

namespace {

/// What a row looks at: nothing is done with it.
template <class T>
void use(const std::string&, const T&) {}

/// A layer of somebody's own: y = 2 x.
class Twice : public Layer<Twice, float> {
 public:
  Fields fields() const override { return Fields("Twice"); }

 private:
  Tensor<float> do_infer(Tensor<float> x) const override { return x *= 2; }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return x *= 2; }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy *= 2; }
};

/// The names of the page.
struct Setting {
  Tensor<float> x = Random(1).uniform({8, 1, 28, 28});
  Labels labels = Labels({8}, {0, 1, 2, 3, 4, 5, 6, 7});
  Sequential<float> net{Conv2d(1, 4, 3, {.stride = 2}), ReLU(), Flatten(), Linear(4 * 13 * 13, 10)};
  SGD<float> optimizer{parameters(net), {.lr = 0.01}};
  DataLoader<float> loader{TensorDataset(x, labels), {.batch_size = 4}};
  Tensor<float> a = Random(2).normal({4, 4}), b = Random(3).normal({4, 4});
  std::vector<float> numbers = std::vector<float>(16, 1);
  float* memory = numbers.data();
  Tape tape;
};

#define SETTING                                         \
  [[maybe_unused]] auto& x = setting.x;                 \
  [[maybe_unused]] auto& labels = setting.labels;       \
  [[maybe_unused]] auto& net = setting.net;             \
  [[maybe_unused]] auto& optimizer = setting.optimizer; \
  [[maybe_unused]] auto& loader = setting.loader;       \
  [[maybe_unused]] auto& a = setting.a;                 \
  [[maybe_unused]] auto& b = setting.b;                 \
  [[maybe_unused]] auto& memory = setting.memory;       \
  [[maybe_unused]] auto& tape = setting.tape;

#include "rows.inc"

}  // namespace

int main() {
  for (const auto& [line, row] : rows) {
    try {
      Setting setting;
      row(setting);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "coming_from_pytorch.md:%d: %s\n", line, error.what());
      return 1;
    }
  }
  std::printf("%zu rows\n", rows.size());
}
