#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lamina/nn/module.hpp"

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

/// U[-1, 1), value i of the sequence called `key`: make_models.py's `uniform`.
class Uniform {
 public:
  explicit Uniform(const std::string& key);
  double operator()(Index i) const;

 private:
  std::uint64_t hash_;
};
std::uint64_t fnv1a(const std::string& text);

/// Gives a network the weights of make_models.py's `fill`.
template <class Scalar>
void fill(Module<Scalar>& net);
/// Its images.
template <class Scalar>
Tensor<Scalar> images(const Shape& shape);

}  // namespace lamina::inline LAMINA_ABI::testing
