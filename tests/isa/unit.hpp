#pragma once

#include <lamina/core/tensor.hpp>
#include <vector>

/// The same computation in units that are compiled for different instruction sets: inference, training, a Plan, in
/// single and double precision. Tensors pass from one unit to another.
namespace isa {

using Results = std::vector<lamina::Tensor<double>>;

/// Of images [N, 2, 12, 12] with N labels below 5.
Results generic(const lamina::Tensor<double>& images, const lamina::Labels& labels);
Results avx2(const lamina::Tensor<double>& images, const lamina::Labels& labels);
Results avx512(const lamina::Tensor<double>& images, const lamina::Labels& labels);

}  // namespace isa
