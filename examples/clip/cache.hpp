#pragma once

#include <string>
#include <utility>

#include "clip/images.hpp"
#include "clip/model.hpp"

namespace lamina::examples::clip {

/// A hash, in hexadecimal digits.
/// @{
std::string fingerprint_of_file(const std::string& path);
std::string fingerprint_of_text(const std::string& text);
/// @}

/// The model, and the images that it is asked about: those it was trained on, unless others are named.
std::pair<Clip, Data> open(Settings& s);

/// The images' embeddings from the cache beside the model, which is made anew when it is of another model or of other
/// images, or cannot be read.
Tensor<float> cached_embeddings(const Clip& clip, const CaptionDataset<float>& images, const std::string& folder,
                                const Settings& s);

}  // namespace lamina::examples::clip
