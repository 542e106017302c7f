#pragma once

#include <span>

#include "gan/settings.hpp"
#include "lamina/data/dataset.hpp"

namespace lamina::examples::gan {

/// The dataset's images, [N, C, H, W] in [0, 1], with their classes.
TensorDataset<float> load_images(const Settings& s, bool train);

/// Channels of a dataset's images.
Index channels_of(const std::string& dataset);

/// Images as the networks see them: 2 x - 1, with a border of -1 up to the side.
Tensor<float> to_network(const Tensor<float>& images, Index side);
/// Back to images of another side in [0, 1]: the middle of them.
Tensor<float> from_network(const Tensor<float>& images, Index side);

/// Some images of a dataset, by their places.
Example<float> pick(const TensorDataset<float>& images, std::span<const Index> places);

/// The side of the dataset's own images: 28, or 32 for cifar10.
Index side_of(const std::string& dataset);

}  // namespace lamina::examples::gan
