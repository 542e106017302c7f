#pragma once

#include <string>
#include <vector>

#include "clip/settings.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::examples::clip {

/// An image that was found.
struct Match {
  std::string image;  // its file or name
  std::string caption;
  float similarity;
  Tensor<float> picture;  // [3, H, W]
};

/// Prints what was found among so many images, or as JSON with --json, and writes matches.png and matches.json.
void show_matches(const std::string& query, Index images, const std::vector<Match>& found, const Settings& s);

}  // namespace lamina::examples::clip
