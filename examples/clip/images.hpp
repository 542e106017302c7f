#pragma once

#include <string>

#include "clip/settings.hpp"
#include "lamina/data/captions.hpp"
#include "lamina/data/loader.hpp"

namespace lamina::examples::clip {

/// Images to learn from, to choose the best epoch by, and to judge by.
struct Data {
  CaptionDataset<float> train, validation, held_out;
  std::string train_folder = {}, validation_folder = {}, held_out_folder = {};  // of the image files; empty: drawn

  const CaptionDataset<float>& part(const std::string& name) const {
    return name == "train" ? train : name == "validation" ? validation : held_out;
  }
  const std::string& folder(const std::string& name) const {
    return name == "train" ? train_folder : name == "validation" ? validation_folder : held_out_folder;
  }
};

/// Drawn scenes are judged by arrangements that neither training nor validation has; photographs for validation and to
/// judge by are those of --validation and --test, or as many of the dataset's as --held-out says.
Data load(const Settings& s);

/// What brings images to n.image_size, normalised as the image encoder takes them.
Transform<float> prepared_images(const Architecture& n);

/// Batches of prepared images in order, whose targets are the images' numbers.
DataLoader<float> make_loader(const CaptionDataset<float>& images, const Settings& s);

}  // namespace lamina::examples::clip
