#include "clip/cache.hpp"
#include "clip/options.hpp"
#include "clip/photos.hpp"

namespace lamina::examples::clip {

namespace {

void run_embedding(Settings s) {
  if (!s.images.empty()) {
    indexed_photos(read_encoder(s), s);
    return;
  }
  const auto [clip, data] = open(s);
  cached_embeddings(clip, data.part(s.split), data.folder(s.split), s);
}

}  // namespace

void add_embed(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "embed", "Fills the cache of embeddings beside the model", run_embedding);
  add_model(sub, s);
  add_images(sub, s, "the model's");
  add_split(sub, s);
  add_photos(sub, s)->excludes("--dataset");
}

}  // namespace lamina::examples::clip
