#pragma once

#include <memory>
#include <string>

#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"
#include "models/uniform.hpp"

/// The networks of make_models.py by their names there, compiled once, for the tests to use as Modules: for float and
/// double.
namespace lamina::inline LAMINA_ABI::testing {

struct NetworkOptions {
  Index classes = 0;  ///< 0: the network's own
  bool dropout = true;
};

/// Throws ValueError for a name that is not in the table.
template <class Scalar>
std::unique_ptr<Module<Scalar>> network(const std::string& name, const NetworkOptions& options = {});

/// Gives a network the weights of make_models.py's `fill`.
template <class Scalar>
void fill(Module<Scalar>& net);
/// A network with these weights.
template <class Scalar>
std::unique_ptr<Module<Scalar>> filled_network(const std::string& name, const NetworkOptions& options = {}) {
  const SkipInit skip;
  auto net = network<Scalar>(name, options);
  fill(*net);
  return net;
}
/// The images of make_models.py.
template <class Scalar>
Tensor<Scalar> images(const Shape& shape);

}  // namespace lamina::inline LAMINA_ABI::testing
