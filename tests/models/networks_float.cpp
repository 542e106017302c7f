#include "models/networks_impl.hpp"

namespace lamina::inline LAMINA_ABI::testing {

template std::unique_ptr<Module<float>> network(const std::string&, const NetworkOptions&);
template void fill(Module<float>&);
template Tensor<float> images(const Shape&);

}  // namespace lamina::inline LAMINA_ABI::testing
