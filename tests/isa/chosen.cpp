// Says which kernels lamina::compiled has chosen, and lets them compute.
#include <cstdio>
#include <lamina/lamina.hpp>

int main() {
  try {
    const lamina::Linear layer(3, 2);
    std::printf("%s kernels of %ld bytes\n", lamina::instruction_set(),
                static_cast<long>(lamina::kernels::block_lanes<float>()) * static_cast<long>(sizeof(float)));
    return layer(lamina::Tensor<float>::ones({4, 3})).shape() == lamina::Shape{4, 2} ? 0 : 1;
  } catch (const lamina::Error& error) {
    std::puts(error.what());
    return 1;
  }
}
