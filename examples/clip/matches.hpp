#pragma once

#include <functional>
#include <string>
#include <vector>

#include "clip/settings.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/io/embedding_index.hpp"

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

/// For each query, of which there is an embedding [N, D], the `count` images of the index that are most like it;
/// match(place, similarity) makes them.
std::vector<Answer> nearest(const EmbeddingIndex& index, const std::vector<std::string>& queries,
                            const Tensor<float>& embeddings, Index count,
                            const std::function<Match(Index, float)>& match);

/// Prints what was found among so many images, or as JSON with --json, and writes matches.png, a row for each of
/// several queries, and matches.json, of several queries an array.
void show_matches(const std::vector<Answer>& answers, Index images, const Settings& s);

}  // namespace lamina::examples::clip
