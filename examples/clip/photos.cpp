#include "clip/photos.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <unordered_map>

#include "clip/cache.hpp"
#include "clip/matches.hpp"
#include "clip/options.hpp"
#include "common/program.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
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
    throw FileError(text(error.path1().string(), ": cannot read: ", error.code().message()));
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

/// Files, and the embeddings of those that have one.
class Table {
 public:
  Table(std::vector<IndexedFile> files, const EmbeddingIndex& before)
      : files_(std::move(files)),
        rows_({static_cast<Index>(files_.size()), before.rows().dim(1)}),
        known_(files_.size(), false) {
    std::unordered_map<std::string, Index> places;
    for (Index i = 0; i < before.size(); ++i) places.emplace(before.files()[static_cast<std::size_t>(i)].name, i);
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto place = places.find(files_[i].name);
      in_before_ += place != places.end();
      if (place != places.end() && before.files()[static_cast<std::size_t>(place->second)] == files_[i])
        put(i, before.rows().data() + place->second * before.rows().dim(1));
      else
        changed_.push_back(i);
    }
  }

  const IndexedFile& file(std::size_t i) const { return files_[i]; }
  /// The places of those that are new or have changed.
  const std::vector<std::size_t>& changed() const { return changed_; }
  /// How many have been in the index before.
  Index in_before() const { return in_before_; }

  void put(std::size_t i, const float* embedding) {
    std::copy_n(embedding, rows_.dim(1), rows_.data() + static_cast<Index>(i) * rows_.dim(1));
    known_[i] = true;
  }
  /// Of those that have an embedding.
  EmbeddingIndex index(const std::string& model) const {
    std::vector<IndexedFile> files;
    const auto count = static_cast<Index>(std::count(known_.begin(), known_.end(), true));
    Tensor<float> rows({count, rows_.dim(1)});
    float* out = rows.data();
    for (std::size_t i = 0; i < files_.size(); ++i)
      if (known_[i]) {
        files.push_back(files_[i]);
        out = std::copy_n(rows_.data() + static_cast<Index>(i) * rows_.dim(1), rows_.dim(1), out);
      }
    return {model, std::move(files), std::move(rows)};
  }

 private:
  std::vector<IndexedFile> files_;
  Tensor<float> rows_;
  std::vector<bool> known_;
  std::vector<std::size_t> changed_;
  Index in_before_ = 0;
};

/// Embeds files of the table; appends the messages of those that cannot be read.
void embed_photos(const Encoder& encoder, const std::string& folder, std::span<const std::size_t> places, Table& table,
                  std::vector<std::string>& skipped) {
  std::vector<Tensor<float>> prepared(places.size());
  std::vector<std::string> problems(places.size());
  parallel_for(0, static_cast<Index>(places.size()), 1, [&](Index first, Index last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const std::string path = (fs::path(folder) / table.file(places[i]).name).string();
      try {
        Random unused;
        prepared[i] = encoder.prepare(to_float<float>(read_image(path, {.channels = 3})), unused);
      } catch (const FileError& error) {
        problems[i] = error.what();
      } catch (const std::exception& error) {
        problems[i] = text(path, ": ", error.what());
      }
    }
  });
  std::vector<std::size_t> readable;
  for (std::size_t i = 0; i < places.size(); ++i)
    if (problems[i].empty())
      readable.push_back(i);
    else
      skipped.push_back(problems[i]);
  if (readable.empty()) return;
  Tensor<float> images({static_cast<Index>(readable.size()), 3, encoder.image_size, encoder.image_size});
  float* out = images.data();
  for (const std::size_t i : readable) out = std::copy_n(std::as_const(prepared[i]).data(), prepared[i].numel(), out);
  const Tensor<float> embeddings = encoder.images(std::move(images));
  for (std::size_t k = 0; k < readable.size(); ++k)
    table.put(places[readable[k]], embeddings.data() + static_cast<Index>(k) * encoder.projection);
}

}  // namespace

void report_skipped(const std::vector<std::string>& skipped, Index others) {
  if (skipped.empty()) return;
  const auto count = static_cast<Index>(skipped.size());
  std::fprintf(stderr, "%s of %s images cannot be read and are skipped:\n", with_commas(count).c_str(),
               with_commas(count + others).c_str());
  for (const std::string& problem : skipped) std::fprintf(stderr, "  %s\n", problem.c_str());
}

EmbeddingIndex indexed_photos(const Encoder& encoder, const Settings& s) {
  const std::string folder = fs::absolute(s.images).lexically_normal().string();
  const std::string path = s.index.empty() ? text(s.model, ".", fingerprint_of_text(folder), ".index") : s.index;
  const EmbeddingIndex before = previous(path, encoder, s);
  Table table(list_photos(s.images), before);
  require<FileError>(s.index.empty() || before.size() == 0 || table.in_before() > 0, path,
                     ": an index of other images: none of its ", before.size(), " is in ", s.images);
  const std::vector<std::size_t>& changed = table.changed();
  if (!changed.empty()) AtomicFile probe(path);  // before any time is spent
  std::vector<std::string> skipped;
  Progress progress(static_cast<Index>(changed.size()));
  progress.section("embedding", static_cast<Index>(changed.size()));
  constexpr std::size_t batch = 32;
  double saved = seconds_now();
  for (std::size_t first = 0; first < changed.size(); first += batch) {
    const auto some = std::span(changed).subspan(first, std::min(batch, changed.size() - first));
    embed_photos(encoder, s.images, some, table, skipped);
    for (std::size_t i = 0; i < some.size(); ++i) progress.advance(1, "");
    if (seconds_now() - saved < 30) continue;
    table.index(encoder.fingerprint).save(path);
    saved = seconds_now();
  }
  progress.clear();
  const EmbeddingIndex index = table.index(encoder.fingerprint);
  report_skipped(skipped, index.size());
  require<FileError>(index.size() > 0, s.images, ": none of its ", skipped.size(), " images can be read");
  if (index.files() != before.files()) index.save(path);
  std::fprintf(stderr, "%s images, %s of them embedded now; %s\n", with_commas(index.size()).c_str(),
               with_commas(static_cast<Index>(changed.size() - skipped.size())).c_str(), path.c_str());
  return index;
}

void show_nearest(const EmbeddingIndex& index, const Tensor<float>& embeddings, const std::vector<std::string>& queries,
                  const Settings& s) {
  const auto match = [&](Index place, float similarity) {
    const std::string path = (fs::path(s.images) / index.files()[static_cast<std::size_t>(place)].name).string();
    return Match{path, "", similarity, to_float<float>(read_image(path, {.channels = 3}))};
  };
  show_matches(nearest(index, queries, embeddings, s.count, match), index.size(), s);
}

namespace {

void run_similar(Settings s) {
  examples::prepare_folder(s.out);
  const Encoder encoder = read_encoder(s);
  Random unused;
  Tensor<float> image = encoder.prepare(to_float<float>(read_image(s.image, {.channels = 3})), unused);
  show_nearest(indexed_photos(encoder, s), encoder.images(image.reshape(image.shape().batch(1))), {s.image}, s);
}

}  // namespace

void add_similar(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "similar", "The images most like one: matches.png, matches.json", run_similar);
  add_model(sub, s);
  add_photos(sub, s)->required();
  add_top(sub, s);
  sub->add_option("--image", s.image, "What to look for")->required();
  add_out(sub, s);
}

}  // namespace lamina::examples::clip
