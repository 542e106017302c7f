#include "models/networks_impl.hpp"

namespace lamina::inline LAMINA_ABI::testing {

template std::unique_ptr<Module<double>> network(const std::string&, const NetworkOptions&);
template void fill(Module<double>&);
template Tensor<double> images(const Shape&);

}  // namespace lamina::inline LAMINA_ABI::testing
