#include <lamina/core/tensor.hpp>
#include <lamina/version.hpp>
#include <string_view>

// The package says the version that its headers say.
#ifdef EXPECTED_VERSION
static_assert(std::string_view(lamina::version) == EXPECTED_VERSION);
#endif

int main() {
  const lamina::Tensor<float> tensor({2, 2}, {1, 2, 3, 4});
  return tensor(1, 0) > 2 && tensor.matrix(2, 2).sum() > 9 ? 0 : 1;
}
