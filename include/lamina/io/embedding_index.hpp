#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/contrastive_loss.hpp"

namespace lamina::inline LAMINA_ABI {

/// A file whose embedding is kept, as it was when that was made.
struct IndexedFile {
  std::string name;           ///< below the indexed folder
  std::int64_t modified = 0;  ///< nanoseconds
  std::int64_t size = 0;      ///< bytes
  /// The same file, unchanged.
  bool operator==(const IndexedFile&) const = default;
};

/// What search finds: the place of a row and its scalar product with the query.
struct Neighbour {
  Index place;       ///< in the order of the rows
  float similarity;  ///< of the query and the row as they are
  /// The same place and similarity.
  bool operator==(const Neighbour&) const = default;
};

namespace detail {

/// sum of a[i] b[i] for bytes of -127..127. Two products fit into 16 bits together.
inline std::int32_t byte_product(const std::int8_t* a, const std::int8_t* b, Index n) {
  using Bytes [[gnu::vector_size(16)]] = std::int8_t;
  using Shorts [[gnu::vector_size(32)]] = std::int16_t;
  using Ints [[gnu::vector_size(64)]] = std::int32_t;
  const auto product = [&](Index i) {
    Bytes x, y;
    std::memcpy(&x, a + i, sizeof x);
    std::memcpy(&y, b + i, sizeof y);
    return __builtin_convertvector(x, Shorts) * __builtin_convertvector(y, Shorts);
  };
  Ints sums{};
  Index i = 0;
  for (; i + 32 <= n; i += 32) sums += __builtin_convertvector(product(i) + product(i + 16), Ints);
  std::int32_t sum = 0;
  for (int lane = 0; lane < 16; ++lane) sum += sums[lane];
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// A vector x as factor * codes, and the length of what that lacks.
struct ByteCode {
  float factor, error;
};
inline ByteCode encode_bytes(const float* x, Index n, std::int8_t* codes) {
  float largest = 0;
  for (Index i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  const float factor = largest / 127;
  double error = 0;
  for (Index i = 0; i < n; ++i) {
    codes[i] = static_cast<std::int8_t>(factor > 0 ? std::lround(x[i] / factor) : 0);
    const double lacks = static_cast<double>(x[i]) - static_cast<double>(factor) * codes[i];
    error += lacks * lacks;
  }
  return {factor, static_cast<float>(std::sqrt(error))};
}

}  // namespace detail

/// Embeddings of files, to be searched: rows of one length, each with its file. Beside the rows as they are their bytes
/// are kept, a quarter of the memory, by which search passes over nearly all of them.
class EmbeddingIndex {
 public:
  /// An empty one. `model` says what the embeddings come from; a search with those of another would mean nothing.
  EmbeddingIndex(std::string model, Index features) : model_(std::move(model)), rows_(Shape{0, features}) {
    require(features >= 1, "EmbeddingIndex: expected at least one feature, got ", features);
    encode();
  }
  /// With these rows [N, D]. Throws ShapeError unless there is a file for each, NumericalError for a row that is not
  /// finite, which is like nothing and unlike nothing.
  EmbeddingIndex(std::string model, std::vector<IndexedFile> files, Tensor<float> rows)
      : model_(std::move(model)), files_(std::move(files)), rows_(std::move(rows)) {
    require<ShapeError>(rows_.rank() == 2 && rows_.dim(0) == size() && rows_.dim(1) >= 1,
                        "EmbeddingIndex: expected a row for each of ", size(), " files, got shape ", rows_.shape());
    encode();
  }

  /// What the embeddings come from.
  const std::string& model() const { return model_; }
  /// The files, in the order of the rows.
  const std::vector<IndexedFile>& files() const { return files_; }
  /// The number of files.
  Index size() const { return static_cast<Index>(files_.size()); }
  /// [N, D]
  const Tensor<float>& rows() const { return rows_; }

  /// The k rows whose scalar products with a query [D] are the largest, the largest first, among equals by place. A row
  /// is passed over when its bytes show that it cannot be among them: the result is that of computing all. Throws
  /// ShapeError for a query of another length, ValueError for k < 1.
  std::vector<Neighbour> search(const Tensor<float>& query, Index k) const {
    const Index features = rows_.dim(1);
    require<ShapeError>(query.numel() == features, "EmbeddingIndex: expected a query of ", features,
                        " features, got shape ", query.shape());
    require(k >= 1, "EmbeddingIndex: k must be at least 1, got ", k);
    std::vector<std::int8_t> codes(static_cast<std::size_t>(features));
    const detail::ByteCode code = detail::encode_bytes(query.data(), features, codes.data());
    const auto length = static_cast<float>(std::sqrt(query.vector().squaredNorm()));
    // |q e - q' e'| <= |q - q'| |e'| + |q| |e - e'|, where e' is shorter than e + |e - e'|; and some for rounding.
    std::vector<float> least(files_.size()), most(files_.size());
    parallel_for(0, size(), 4096, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        const float about =
            code.factor * factors_.data()[i] *
            static_cast<float>(detail::byte_product(codes.data(), codes_.data() + i * features, features));
        const float reach = code.error * lengths_.data()[i] + length * errors_.data()[i];
        const float bound = reach + 1e-5f * length * lengths_.data()[i];
        least[static_cast<std::size_t>(i)] = about - bound;
        most[static_cast<std::size_t>(i)] = about + bound;
      }
    });
    const auto count = static_cast<std::size_t>(std::min(k, size()));
    if (count == 0) return {};
    std::nth_element(least.begin(), least.begin() + static_cast<std::ptrdiff_t>(count) - 1, least.end(),
                     std::greater<>());
    const float threshold = least[count - 1];
    std::vector<Neighbour> found;
    for (std::size_t i = 0; i < most.size(); ++i)
      if (most[i] >= threshold) {
        const auto place = static_cast<Index>(i);
        found.push_back({place, exact(query.data(), place)});
      }
    const auto before = [](const Neighbour& a, const Neighbour& b) {
      return std::pair(-a.similarity, a.place) < std::pair(-b.similarity, b.place);
    };
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(), before);
    found.resize(count);
    return found;
  }

  /// Writes it, whole or not at all.
  void save(const std::string& path) const {
    std::string names;
    for (const IndexedFile& file : files_) names += file.name + '\0';
    Tensor<std::uint8_t> text({static_cast<Index>(names.size())});
    std::copy(names.begin(), names.end(), text.data());
    Tensor<std::int64_t> times({size(), 2});
    for (Index i = 0; i < size(); ++i) {
      times(i, 0) = files_[static_cast<std::size_t>(i)].modified;
      times(i, 1) = files_[static_cast<std::size_t>(i)].size;
    }
    write_safetensors(path, {{"embeddings", AnyTensor(rows_)}, {"names", AnyTensor(text)}, {"times", AnyTensor(times)}},
                      {{"format", format}, {"model", model_}});
  }

  /// Reads one of `model`. Throws FileError for a file that is none, or of another model.
  static EmbeddingIndex load(const std::string& path, const std::string& model) {
    const SafetensorsFile file(path);
    const auto entry = [&](const char* key) {
      const auto found = file.metadata().find(key);
      return found == file.metadata().end() ? std::string() : found->second;
    };
    require<FileError>(entry("format") == format, path, ": not an index of embeddings");
    require<FileError>(entry("model") == model, path, ": an index of another model");
    Tensor<float> rows = file.tensor("embeddings");
    const Tensor<std::uint8_t> text = file.tensor<std::uint8_t>("names");
    const Tensor<std::int64_t> times = file.tensor<std::int64_t>("times");
    require<FileError>(rows.rank() == 2 && times.shape() == Shape{rows.dim(0), 2}, path, ": embeddings of shape ",
                       rows.shape(), " with times of shape ", times.shape());
    std::vector<IndexedFile> files;
    const std::uint8_t *at = text.data(), *const end = at + text.numel();
    for (Index i = 0; i < rows.dim(0); ++i) {
      const std::uint8_t* const stop = std::find(at, end, std::uint8_t{0});
      require<FileError>(stop != end, path, ": ", i, " names for ", rows.dim(0), " embeddings");
      files.push_back({std::string(at, stop), times(i, 0), times(i, 1)});
      at = stop + 1;
    }
    return {model, std::move(files), std::move(rows)};
  }

 private:
  static constexpr const char* format = "lamina embeddings 1";

  float exact(const float* query, Index place) const {
    const Index features = rows_.dim(1);
    const float* const row = rows_.data() + place * features;
    double sum = 0;
    for (Index i = 0; i < features; ++i) sum += static_cast<double>(query[i]) * static_cast<double>(row[i]);
    return static_cast<float>(sum);
  }

  void encode() {
    const Index features = rows_.dim(1);
    codes_.resize(static_cast<std::size_t>(rows_.numel()));
    factors_ = errors_ = lengths_ = Tensor<float>({size()});
    float *const factors = factors_.data(), *const errors = errors_.data(), *const lengths = lengths_.data();
    const float* const rows = std::as_const(rows_).data();
    parallel_for(0, size(), 1024, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) {
        double squares = 0;
        for (Index c = 0; c < features; ++c)
          squares += static_cast<double>(rows[i * features + c]) * static_cast<double>(rows[i * features + c]);
        require<NumericalError>(is_finite(squares), "EmbeddingIndex: the embedding of ",
                                files_[static_cast<std::size_t>(i)].name,
                                " is not finite; are the model's weights whole?");
        const detail::ByteCode code = detail::encode_bytes(rows + i * features, features, codes_.data() + i * features);
        factors[i] = code.factor;
        errors[i] = code.error;
        lengths[i] = static_cast<float>(std::sqrt(squares)) + code.error;
      }
    });
  }

  std::string model_;
  std::vector<IndexedFile> files_;
  Tensor<float> rows_;
  std::vector<std::int8_t> codes_;            // [N, D]
  Tensor<float> factors_, errors_, lengths_;  // of the codes; the last at least their length
};

}  // namespace lamina::inline LAMINA_ABI
