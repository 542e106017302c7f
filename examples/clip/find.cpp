#include "clip/cache.hpp"
#include "clip/matches.hpp"
#include "clip/options.hpp"
#include "clip/photos.hpp"
#include "common/program.hpp"

namespace lamina::examples::clip {

namespace {

/// Among images of a dataset, with the cache of their embeddings.
void search_dataset(Settings s) {
  const auto [clip, data] = open(s);
  const CaptionDataset<float>& images = data.part(s.split);
  std::vector<IndexedFile> names;
  for (Index i = 0; i < images.size(); ++i) names.push_back({images.name(i)});
  const EmbeddingIndex index("", std::move(names), cached_embeddings(clip, images, data.folder(s.split), s));
  const auto match = [&](Index i, float similarity) {
    return Match{images.name(i), images.captions(i)[0], similarity, images.get(i).input};
  };
  show_matches(nearest(index, s.queries, l2_normalize(embed(clip, s.queries)), s.count, match), images.size(), s);
}

void run_search(Settings s) {
  for (const std::string& query : s.queries)
    require(query.find_first_not_of(" \t\r\n") != std::string::npos, "find: the query is empty");
  examples::prepare_folder(s.out);
  if (s.images.empty()) return search_dataset(s);
  const Encoder encoder = read_encoder(s);
  show_nearest(indexed_photos(encoder, s), encoder.texts(s.queries), s.queries, s);
}

}  // namespace

void add_find(CLI::App& app, Settings& s) {
  CLI::App* sub =
      add_command(app, s, "find", "The images that fit a sentence best: matches.png, matches.json", run_search);
  add_model(sub, s);
  add_images(sub, s, "the model's");
  add_split(sub, s);
  add_photos(sub, s)->excludes("--dataset");
  add_top(sub, s);
  sub->add_option("--query", s.queries, "What to look for; of several sentences a row each")->required();
  add_out(sub, s);
}

}  // namespace lamina::examples::clip
