#include "clip/matches.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "common/metrics.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/image.hpp"
#include "lamina/plot/charts.hpp"

namespace lamina::examples::clip {

void show_matches(const std::string& query, Index images, const std::vector<Match>& found, const Settings& s) {
  constexpr Index cell = 192;
  const Compose square{Resize(cell), CenterCrop(cell)};
  Json matches = Json::array();
  std::vector<std::string> labels;
  Tensor<float> shown({static_cast<Index>(found.size()), 3, cell, cell});
  float* out = shown.data();
  if (!s.json) std::printf("\n%s\n", query.c_str());
  for (const Match& match : found) {
    const auto similarity = static_cast<double>(match.similarity);
    matches.push_back({{"image", match.image}, {"similarity", similarity}});
    if (!match.caption.empty()) matches.back()["caption"] = match.caption;
    if (!s.json)
      std::printf("%4zu  %6.3f  %-28s %s\n", matches.size(), similarity, match.image.c_str(), match.caption.c_str());
    char label[16];
    std::snprintf(label, sizeof label, "%.3f", similarity);
    labels.emplace_back(label);
    Random unused;
    const Tensor<float> picture = square(match.picture, unused);
    out = std::copy_n(picture.data(), picture.numel(), out);
  }
  const Json result{{"query", query}, {"images", images}, {"matches", std::move(matches)}};
  write_json(s.file("matches.json"), result);
  const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(found.size()))));
  write_png(s.file("matches.png"), plot_images(shown, labels, {.title = query, .columns = columns, .cell = cell}));
  if (s.json)
    std::printf("%s\n", result.dump(2).c_str());
  else
    std::printf("\n  %s\n", s.file("matches.png").c_str());
}

}  // namespace lamina::examples::clip
