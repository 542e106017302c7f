#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lamina/io/captions.hpp"
#include "lamina/io/embedding_index.hpp"

using namespace lamina;

namespace {

EmbeddingIndex index_of(Tensor<float> rows) {
  std::vector<IndexedFile> files;
  for (Index i = 0; i < rows.dim(0); ++i) files.push_back({text("photo ", i, ".jpg"), 7 * i, i});
  return {"model", std::move(files), std::move(rows)};
}

/// Whether search gives what computing all gives, for a few k.
void check_search(const EmbeddingIndex& index, const Tensor<float>& query) {
  std::vector<Neighbour> all;
  for (Index i = 0; i < index.size(); ++i) {
    double sum = 0;
    for (Index c = 0; c < query.numel(); ++c)
      sum += static_cast<double>(query(c)) * static_cast<double>(index.rows()(i, c));
    all.push_back({i, static_cast<float>(sum)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Neighbour& a, const Neighbour& b) { return a.similarity > b.similarity; });
  for (const Index k : {Index{1}, Index{9}, index.size(), index.size() + 100}) {
    CAPTURE(k);
    const std::vector<Neighbour> found = index.search(query, k);
    REQUIRE(static_cast<Index>(found.size()) == std::min(k, index.size()));
    for (std::size_t i = 0; i < found.size(); ++i) {
      CAPTURE(i);
      REQUIRE(found[i].place == all[i].place);
      REQUIRE(found[i].similarity == all[i].similarity);
    }
  }
}

}  // namespace

TEST_CASE("EmbeddingIndex finds the rows that computing all would find") {
  for (const Index features : {1, 5, 32, 100, 700}) {
    CAPTURE(features);
    Tensor<float> rows = Random(4).normal<float>({501, features});
    for (Index c = 0; c < features; ++c) rows(17, c) = rows(400, c);  // equals come in order
    if (features == 100)
      for (Index i = 0; i < 501; ++i) rows(i, 3) *= 40;  // a feature as CLIP's, before which others have few steps
    const EmbeddingIndex index = index_of(l2_normalize(rows));
    for (std::uint64_t seed = 5; seed < 15; ++seed) check_search(index, Random(seed).normal<float>({features}));
    check_search(index, Tensor<float>::zeros({features}));
  }
}

TEST_CASE("EmbeddingIndex finds them in data that are made to be rounded badly") {
  constexpr Index features = 256;
  const Tensor<float> drawn = Random(1).normal<float>({1000, features});
  Tensor<float> signs = drawn, few = drawn, far = drawn, close = drawn, constant = drawn;
  for (float& x : signs.values()) x = x < 0 ? -1.0f : 1.0f;  // all on the edges of steps that are not shifted
  for (float& x : few.values()) x = x < 2.5f ? 0.0f : x;     // nearly all alike
  for (Index c = 0; c < features; ++c) far(300, c) *= 1e4f;  // beyond all codes, and makes the steps large
  for (float& x : close.values()) x = 5 + 1e-3f * x;         // far from zero
  for (Index i = 0; i < 1000; ++i)
    for (Index c = 1; c < features; ++c) constant(i, c) = 1;
  int kind = 0;
  for (const Tensor<float>& rows : {drawn, signs, few, far, close, constant}) {
    CAPTURE(kind++);
    const EmbeddingIndex index = index_of(rows);
    check_search(index, Tensor<float>::ones({features}));
    for (std::uint64_t seed = 20; seed < 23; ++seed) check_search(index, Random(seed).normal<float>({features}));
    check_search(index, rows[300]);
  }
}

TEST_CASE("EmbeddingIndex says what it cannot search") {
  CHECK(EmbeddingIndex("model", 4).search(Tensor<float>::ones({4}), 3).empty());
  const EmbeddingIndex zeros = index_of(Tensor<float>::zeros({3, 4}));
  CHECK(zeros.search(Tensor<float>::ones({4}), 2) == std::vector<Neighbour>{{0, 0.0f}, {1, 0.0f}});
  CHECK_THROWS_WITH_AS(zeros.search(Tensor<float>::ones({5}), 1),
                       "EmbeddingIndex: expected a query of 4 features, got shape [5]", ShapeError);
  CHECK_THROWS_WITH_AS(zeros.search(Tensor<float>::full({4}, std::numeric_limits<float>::infinity()), 1),
                       "EmbeddingIndex: the query is not finite", NumericalError);
  CHECK_THROWS_WITH_AS(zeros.search(Tensor<float>::ones({4}), 0), "EmbeddingIndex: k must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(EmbeddingIndex("model", {{"a.jpg", 1, 1}}, Tensor<float>::ones({2, 3})),
                       "EmbeddingIndex: expected a row for each of 1 files, got shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(
      EmbeddingIndex("model", {{"a.jpg", 1, 1}}, Tensor<float>::full({1, 3}, std::numeric_limits<float>::quiet_NaN())),
      "EmbeddingIndex: the embedding of a.jpg is not finite; are the model's weights whole?", NumericalError);
}

TEST_CASE("EmbeddingIndex is written and read, of the model that it is of") {
  const TemporaryFolder folder;
  const std::string path = folder / "photos.index";
  const EmbeddingIndex index = index_of(l2_normalize(Random(1).normal<float>({6, 8})));
  index.save(path);
  const EmbeddingIndex read = EmbeddingIndex::load(path, "model");
  CHECK(read.files() == index.files());
  CHECK(read.rows() == index.rows());
  CHECK(read.search(index.rows()[2], 1)[0].place == 2);
  CHECK(complaint_of(path, [&] { EmbeddingIndex::load(path, "another"); }) == "an index of another model");
  const std::string whole = contents(path);
  CHECK(refuses_truncations(path, whole, [](const std::string& cut) { EmbeddingIndex::load(cut, "model"); }));
  write_safetensors(path, {{"x", AnyTensor(Tensor<float>::ones({1}))}});
  CHECK(complaint_of(path, [&] { EmbeddingIndex::load(path, "model"); }) == "not an index of embeddings");
}

TEST_CASE("COCO's captions") {
  const auto read = [](const std::string& json) { return decode_coco_captions(json, "a.json"); };
  const auto entries = read(R"({"info": {}, "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 3, "file_name": "3.jpg"},
      {"id": 5, "file_name": "5.jpg"}], "annotations": [{"image_id": 5, "id": 1, "caption": " A dog. "},
      {"image_id": 7, "id": 2, "caption": "A cat."}, {"image_id": 5, "id": 3, "caption": "Two dogs."}]})");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].image == "7.jpg");
  CHECK(entries[1].captions == std::vector<std::string>{"A dog.", "Two dogs."});
  const auto fails = [&](const std::string& json, const char* message) {
    CHECK_THROWS_WITH_AS(read(json), message, FileError);
  };
  fails("[]", "a.json: expected an object with images and annotations");
  fails(R"({"images": [], "annotations": []})", "a.json: there are no captions in it");
  fails(R"({"images": [], "annotations": [{"image_id": 5, "caption": "x"}]})",
        "a.json: a caption of image 5, which is not listed");
  fails(R"({"images": [{"id": 5, "file_name": "5.jpg"}], "annotations": [{"image_id": 5, "caption": " "}]})",
        "a.json: a caption of 5.jpg is empty");
  fails(R"({"images": [{"id": 5, "file_name": "a"}, {"id": 5, "file_name": "b"}], "annotations": []})",
        "a.json: image 5 is listed twice");
  CHECK_THROWS_WITH_AS(read("{\"images\": ["), doctest::Contains("a.json: not COCO's captions (cut short?): "),
                       FileError);
  CHECK_THROWS_WITH_AS(read(R"({"images": [{"id": 5}], "annotations": []})"),
                       doctest::Contains("not COCO's captions (cut short?): "), FileError);
}
