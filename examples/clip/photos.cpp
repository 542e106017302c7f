#include "clip/photos.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <unordered_map>

#include "clip/cache.hpp"
#include "clip/options.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::examples::clip {

namespace {

namespace fs = std::filesystem;

/// All images below a folder, by name.
std::vector<IndexedFile> list_photos(const std::string& folder) {
  std::vector<IndexedFile> files;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && has_image_extension(entry.path()))
        files.push_back({entry.path().lexically_relative(folder).string(),
                         std::chrono::nanoseconds(entry.last_write_time().time_since_epoch()).count(),
                         static_cast<std::int64_t>(entry.file_size())});
  } catch (const fs::filesystem_error& error) {
    throw FileError(text(folder, ": cannot read: ", error.code().message()));
  }
  require<FileError>(!files.empty(), folder, ": no PNG or JPEG image in it");
  std::sort(files.begin(), files.end(), [](const IndexedFile& a, const IndexedFile& b) { return a.name < b.name; });
  return files;
}

/// The index of before, or an empty one.
EmbeddingIndex previous(const std::string& path, const Encoder& encoder, const Settings& s) {
  if (!file_exists(path)) return {encoder.fingerprint, encoder.projection};
  try {
    return EmbeddingIndex::load(path, encoder.fingerprint);
  } catch (const FileError& error) {
    if (!s.index.empty()) throw;  // somebody's own file is not written over
    std::fprintf(stderr, "%s; embedding again\n", error.what());
    return {encoder.fingerprint, encoder.projection};
  }
}

/// A batch of prepared images [N, 3, side, side] of those that can be read; the others' messages.
struct Decoded {
  Tensor<float> images;
  std::vector<IndexedFile> files;
  std::vector<std::string> skipped;
};
Decoded decode(const Encoder& encoder, const std::string& folder, std::span<const IndexedFile> files) {
  std::vector<Tensor<float>> images(files.size());
  std::vector<std::string> problems(files.size());
  parallel_for(0, static_cast<Index>(files.size()), 1, [&](Index first, Index last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) try {
        Random unused;
        const auto pixels = read_image((fs::path(folder) / files[i].name).string(), {.channels = 3});
        images[i] = encoder.prepare(to_float<float>(pixels), unused);
      } catch (const FileError& error) {
        problems[i] = error.what();
      }
  });
  Decoded result;
  for (std::size_t i = 0; i < files.size(); ++i)
    if (problems[i].empty())
      result.files.push_back(files[i]);
    else
      result.skipped.push_back(problems[i]);
  result.images = Tensor<float>({static_cast<Index>(result.files.size()), 3, encoder.image_size, encoder.image_size});
  float* out = result.images.data();
  for (const Tensor<float>& image : images) out = std::copy_n(image.data(), image.numel(), out);
  return result;
}

}  // namespace

EmbeddingIndex indexed_photos(const Encoder& encoder, const Settings& s) {
  const std::string folder = fs::absolute(s.images).lexically_normal().string();
  const std::string path = s.index.empty() ? text(s.model, ".", fingerprint_of_text(folder), ".index") : s.index;
  const std::vector<IndexedFile> files = list_photos(s.images);
  const EmbeddingIndex before = previous(path, encoder, s);
  std::unordered_map<std::string, Index> places;
  for (Index i = 0; i < before.size(); ++i) places.emplace(before.files()[static_cast<std::size_t>(i)].name, i);
  std::vector<IndexedFile> kept, changed;
  std::vector<Index> rows;
  for (const IndexedFile& file : files) {
    const auto place = places.find(file.name);
    if (place != places.end() && before.files()[static_cast<std::size_t>(place->second)] == file) {
      kept.push_back(file);
      rows.push_back(place->second);
    } else {
      changed.push_back(file);
    }
  }
  std::vector<float> embeddings;
  for (const Index row : rows) {
    const float* const from = before.rows().data() + row * encoder.projection;
    embeddings.insert(embeddings.end(), from, from + encoder.projection);
  }
  std::vector<std::string> skipped;
  Progress progress(static_cast<Index>(changed.size()));
  progress.section("embedding", static_cast<Index>(changed.size()));
  const auto batch = static_cast<std::size_t>(std::min<Index>(s.batch_size, 32));
  for (std::size_t first = 0; first < changed.size(); first += batch) {
    const std::size_t count = std::min(batch, changed.size() - first);
    Decoded decoded = decode(encoder, s.images, {changed.data() + first, count});
    skipped.insert(skipped.end(), decoded.skipped.begin(), decoded.skipped.end());
    kept.insert(kept.end(), decoded.files.begin(), decoded.files.end());
    if (!decoded.files.empty()) {
      const Tensor<float> some = encoder.images(std::move(decoded.images));
      embeddings.insert(embeddings.end(), some.data(), some.data() + some.numel());
    }
    progress.advance(static_cast<Index>(count), "");
  }
  progress.clear();
  if (!skipped.empty())
    std::fprintf(stderr, "%s of %s images cannot be read and are skipped:\n",
                 with_commas(static_cast<Index>(skipped.size())).c_str(),
                 with_commas(static_cast<Index>(files.size())).c_str());
  for (const std::string& problem : skipped) std::fprintf(stderr, "  %s\n", problem.c_str());
  require<FileError>(!kept.empty(), s.images, ": none of its ", files.size(), " images can be read");
  const auto known = static_cast<Index>(kept.size());
  const EmbeddingIndex index(encoder.fingerprint, std::move(kept),
                             Tensor<float>({known, encoder.projection}, std::move(embeddings)));
  if (index.files() != before.files()) index.save(path);
  std::fprintf(stderr, "%s images, %s of them embedded now; %s\n", with_commas(known).c_str(),
               with_commas(known - static_cast<Index>(rows.size())).c_str(), path.c_str());
  return index;
}

void show_matches(const EmbeddingIndex& index, const std::vector<Neighbour>& found, const std::string& title,
                  const Settings& s) {
  constexpr Index cell = 192;
  Json matches = Json::array();
  std::vector<std::string> labels;
  Tensor<float> shown({static_cast<Index>(found.size()), 3, cell, cell});
  float* out = shown.data();
  if (!s.json) std::printf("\n%s\n", title.c_str());
  for (std::size_t k = 0; k < found.size(); ++k) {
    const std::string path =
        (fs::path(s.images) / index.files()[static_cast<std::size_t>(found[k].place)].name).string();
    const auto similarity = static_cast<double>(found[k].similarity);
    matches.push_back({{"image", path}, {"similarity", similarity}});
    if (!s.json) std::printf("%4zu  %6.3f  %s\n", k + 1, similarity, path.c_str());
    char label[16];
    std::snprintf(label, sizeof label, "%.3f", similarity);
    labels.emplace_back(label);
    const Tensor<float> image = Resize(Size2(cell, cell))(to_float<float>(read_image(path, {.channels = 3})));
    out = std::copy_n(image.data(), image.numel(), out);
  }
  const Json result{{"query", title}, {"images", index.size()}, {"matches", std::move(matches)}};
  write_json(s.file("matches.json"), result);
  const auto columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(found.size()))));
  write_png(s.file("matches.png"), plot_images(shown, labels, {.title = title, .columns = columns, .cell = cell}));
  if (s.json)
    std::printf("%s\n", result.dump(2).c_str());
  else
    std::printf("\n  %s\n", s.file("matches.png").c_str());
}

namespace {

void run_similar(Settings s) {
  examples::prepare_folder(s.out);
  const Encoder encoder = read_encoder(s);
  Random unused;
  Tensor<float> image = encoder.prepare(to_float<float>(read_image(s.image, {.channels = 3})), unused);
  const Tensor<float> query = encoder.images(image.reshape(image.shape().batch(1)));
  const EmbeddingIndex index = indexed_photos(encoder, s);
  show_matches(index, index.search(query[0], s.count), s.image, s);
}

}  // namespace

void add_similar(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "similar", "The images most like one: matches.png, matches.json", run_similar);
  add_model(sub, s);
  add_photos(sub, s);
  sub->get_option("--images")->required();
  sub->add_option("--image", s.image, "What to look for")->required();
  add_out(sub, s);
}

}  // namespace lamina::examples::clip
