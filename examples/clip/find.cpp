#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "clip/cache.hpp"
#include "clip/options.hpp"
#include "clip/photos.hpp"
#include "common/program.hpp"
#include "lamina/io/image.hpp"
#include "lamina/plot/charts.hpp"

namespace lamina::examples::clip {

namespace {

void run_search(Settings s) {
  require(s.query.find_first_not_of(" \t\r\n") != std::string::npos, "find: the query is empty");
  examples::prepare_folder(s.out);
  if (!s.images.empty()) {
    const Encoder encoder = read_encoder(s);
    const Tensor<float> query = encoder.texts({s.query});
    const EmbeddingIndex index = indexed_photos(encoder, s);
    return show_matches(index, index.search(query[0], s.count), s.query, s);
  }
  const auto [clip, data] = open(s);
  const CaptionDataset<float>& images = data.part(s.split);
  const Tensor<float> embeddings = cached_embeddings(clip, images, data.folder, s);
  const Tensor<float> query = l2_normalize(embed(clip, {s.query}));
  const Eigen::VectorXf similarity = embeddings.matrix() * query.vector();

  std::vector<Index> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), Index{0});
  const Index shown_count = std::min(s.count, images.size());
  std::partial_sort(order.begin(), order.begin() + shown_count, order.end(),
                    [&](Index a, Index b) { return std::pair(-similarity(a), a) < std::pair(-similarity(b), b); });
  order.resize(static_cast<std::size_t>(shown_count));
  constexpr Index cell = 192;
  Tensor<float> shown({static_cast<Index>(order.size()), 3, cell, cell});
  std::vector<std::string> labels;
  float* out = shown.data();
  std::printf("\n%s\n", s.query.c_str());
  for (std::size_t k = 0; k < order.size(); ++k) {
    const Index i = order[k];
    const auto value = static_cast<double>(similarity(i));
    std::printf("%4zu  %6.3f  %-28s %s\n", k + 1, value, images.name(i).c_str(), images.captions(i)[0].c_str());
    char label[16];
    std::snprintf(label, sizeof label, "%.3f", value);
    labels.emplace_back(label);
    const Tensor<float> image = Resize(Size2(cell, cell))(images.get(i).input);
    out = std::copy_n(image.data(), image.numel(), out);
  }
  const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(order.size()))));
  write_png(s.file("matches.png"), plot_images(shown, labels, {.title = s.query, .columns = columns, .cell = cell}));
  std::printf("\n  %s\n", s.file("matches.png").c_str());
}

}  // namespace

void add_find(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "find", "The images that fit a sentence best: matches.png", run_search);
  add_model(sub, s);
  add_images(sub, s, "the model's");
  add_split(sub, s);
  add_photos(sub, s);
  sub->add_option("--query", s.query, "What to look for")->required();
  add_out(sub, s);
}

}  // namespace lamina::examples::clip
