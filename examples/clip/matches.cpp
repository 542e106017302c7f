#include "clip/matches.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/metrics.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/image.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/plot/charts.hpp"

namespace lamina::examples::clip {

namespace {

/// The images of an answer with their similarities, in a square, or in one row.
Tensor<std::uint8_t> picture_of(const Answer& answer, bool in_a_row) {
  constexpr Index cell = 192;
  const Compose square{Resize(cell), CenterCrop(cell)};
  const auto count = static_cast<Index>(answer.matches.size());
  std::vector<std::string> labels;
  Tensor<float> shown({count, 3, cell, cell});
  float* out = shown.data();
  for (const Match& match : answer.matches) {
    char label[16];
    std::snprintf(label, sizeof label, "%.3f", static_cast<double>(match.similarity));
    labels.emplace_back(label);
    Random unused;
    const Tensor<float> picture = square(match.picture, unused);
    out = std::copy_n(picture.data(), picture.numel(), out);
  }
  const Index columns = in_a_row ? count : static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(count))));
  return plot_images(shown, labels, {.title = answer.query, .columns = columns, .cell = cell});
}

}  // namespace

std::vector<Answer> nearest(const EmbeddingIndex& index, const std::vector<std::string>& queries,
                            const Tensor<float>& embeddings, Index count,
                            const std::function<Match(Index, float)>& match) {
  std::vector<Answer> answers;
  for (std::size_t k = 0; k < queries.size(); ++k) {
    answers.push_back({queries[k], {}});
    for (const auto& [place, similarity] : index.search(embeddings[static_cast<Index>(k)], count))
      answers[k].matches.push_back(match(place, similarity));
  }
  return answers;
}

void show_matches(const std::vector<Answer>& answers, Index images, const Settings& s) {
  Json results = Json::array();
  std::vector<Tensor<std::uint8_t>> pictures;
  for (const Answer& answer : answers) {
    Json matches = Json::array();
    if (!s.json) std::printf("\n%s\n", answer.query.c_str());
    for (const Match& match : answer.matches) {
      const auto similarity = static_cast<double>(match.similarity);
      matches.push_back({{"image", match.image}, {"similarity", similarity}});
      if (!match.caption.empty()) matches.back()["caption"] = match.caption;
      if (!s.json)
        std::printf("%4zu  %6.3f  %-28s %s\n", matches.size(), similarity, match.image.c_str(), match.caption.c_str());
    }
    results.push_back({{"query", answer.query}, {"images", images}, {"matches", std::move(matches)}});
    pictures.push_back(picture_of(answer, answers.size() > 1));
  }
  const Json result = results.size() == 1 ? Json(results[0]) : std::move(results);
  write_json(s.file("matches.json"), result);
  write_png(s.file("matches.png"), concat(pictures, 1));
  if (s.json)
    std::printf("%s\n", result.dump(2).c_str());
  else
    std::printf("\n  %s\n", s.file("matches.png").c_str());
}

}  // namespace lamina::examples::clip
