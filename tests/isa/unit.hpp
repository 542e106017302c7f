#pragma once

#include <lamina/core/tensor.hpp>
#include <vector>

/// The same computation in units that are compiled for different instruction sets: training and inference. Tensors pass
/// from one unit to another.
namespace isa {

using Results = std::vector<lamina::Tensor<float>>;

/// Of images [N, 2, 12, 12] with N labels below 5.
Results generic(const lamina::Tensor<float>& images, const lamina::Labels& labels);
Results avx2(const lamina::Tensor<float>& images, const lamina::Labels& labels);
Results avx512(const lamina::Tensor<float>& images, const lamina::Labels& labels);

}  // namespace isa
