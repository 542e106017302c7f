// Compiled once for each instruction set, with its function of unit.hpp as ISA_UNIT and the bytes of a vector as
// ISA_BYTES.
#include "unit.hpp"

#include <lamina/lamina.hpp>

using namespace lamina;

static_assert(simd::vector_bytes == ISA_BYTES);

namespace {

template <class Scalar>
void compute(const Tensor<double>& given, const Labels& labels, isa::Results& results) {
  manual_seed(7);
  const Tensor<Scalar> images = given.cast<Scalar>();
  Sequential<Scalar> net{Conv2d<Scalar>(2, 24, 3, {.padding = 1}),
                         BatchNorm2d<Scalar>(24),
                         ReLU<Scalar>(),
                         NMF<Scalar>({.rank = 5}),
                         Conv2d<Scalar>(24, 24, 3, {.padding = 1, .groups = 24}),
                         GELU<Scalar>(),
                         MaxPool2d<Scalar>(2),
                         Conv2d<Scalar>(24, 20, 1),
                         Sigmoid<Scalar>(),
                         Flatten<Scalar>(),
                         Linear<Scalar>(720, 33),
                         LayerNorm<Scalar>(33),
                         Tanh<Scalar>(),
                         Linear<Scalar>(33, 5)};
  Adam<Scalar> optimizer(parameters(net), {.lr = 1e-3});
  Tape tape;
  for (int step = 0; step < 3; ++step) {
    const auto [loss, gradient] = cross_entropy(net.forward(images, tape), labels);
    net.backward(gradient, tape);
    optimizer.step();
    results.push_back(Tensor<double>::full({1}, static_cast<double>(loss)));
  }
  results.push_back(net(images).template cast<double>());
  results.push_back(compile(net, images.shape())(images).template cast<double>());
  for (const auto& [name, parameter, owner] : parameters(net))
    results.push_back(parameter->value.template cast<double>());
}

}  // namespace

isa::Results isa::ISA_UNIT(const Tensor<double>& images, const Labels& labels) {
  Results results;
  compute<double>(images, labels, results);
  compute<float>(images, labels, results);
  return results;
}
