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

/// What was found for a query, the nearest first.
struct Answer {
  std::string query;
  std::vector<Match> matches;
};

/// Prints what was found among so many images, or as JSON with --json, and writes matches.png, a row for each of
/// several queries, and matches.json, of several queries an array.
void show_matches(const std::vector<Answer>& answers, Index images, const Settings& s);

}  // namespace lamina::examples::clip
