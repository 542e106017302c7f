#pragma once

#include <array>

#include "clip/model.hpp"
#include "common/metrics.hpp"

namespace lamina::examples::clip {

constexpr std::array<Index, 3> recall_ranks{1, 5, 10};

/// The shares of captions whose image is among the first 1, 5, 10, and of images with a caption of theirs among the
/// first; and what a random order comes to.
struct Recalls {
  std::array<double, 3> to_image{}, to_text{}, chance_to_image{}, chance_to_text{};
  Index images = 0, captions = 0;
};

/// Of embeddings: of the images [N, projection], and of all their captions in order.
Recalls recalls(Tensor<float> images, Tensor<float> texts, const CaptionDataset<float>& data);

/// Of images and their captions, by a model.
Recalls judge(const Clip& clip, const CaptionDataset<float>& data, const Settings& s);

/// As a table.
void print(const Recalls& r);
Json to_json(const Recalls& r);

}  // namespace lamina::examples::clip
