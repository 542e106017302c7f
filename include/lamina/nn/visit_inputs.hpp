#pragma once

#include <utility>

#include "lamina/nn/concat.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/sum.hpp"

namespace lamina {

/// net(x), and on the way f(layer, input) for every Layer in the net, in order, wherever it stands in Sequentials,
/// Sums, Products and Concats: what a picture of a network's insides needs. Layer is a type of module, such as
/// Involution<float>.
template <class Layer, class Scalar, class F>
Tensor<Scalar> visit_inputs(const Module<Scalar>& net, Tensor<Scalar> x, const F& f) {
  if (const auto* layer = dynamic_cast<const Layer*>(&net)) f(*layer, std::as_const(x));
  if (const auto* chain = dynamic_cast<const Sequential<Scalar>*>(&net)) {
    for (Index i = 0; i < chain->size(); ++i) x = visit_inputs<Layer>((*chain)[i], std::move(x), f);
    return x;
  }
  const auto branches = [&](const auto* container) {
    if (!container) return;
    for (Index i = 0; i < container->size(); ++i) visit_inputs<Layer>((*container)[i], x, f);
  };
  branches(dynamic_cast<const Sum<Scalar>*>(&net));
  branches(dynamic_cast<const Product<Scalar>*>(&net));
  branches(dynamic_cast<const Concat<Scalar>*>(&net));
  return net(std::move(x));
}

}  // namespace lamina
