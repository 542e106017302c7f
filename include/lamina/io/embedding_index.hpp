#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/core/random.hpp"
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

/// Rows of D features in half a byte each, to estimate their products with a query from an eighth of the memory:
///
///   x[c] = center[c] + step[c] (code[c] - 7.5) + e[c],   |e[c]| <= step[c] / 2 unless x lies beyond all codes
///
/// step is half the feature's standard deviation, so that the codes reach over four of them to both sides. Centers are
/// shifted by parts of a step that are as if drawn (subtractive dither, Schuchman 1964): so the e[c] of a row are as
/// independent uniform numbers, whatever the data. By how much a row lies beyond the codes is kept beside it.
class HalfByteRows {
 public:
  HalfByteRows() = default;
  explicit HalfByteRows(const Tensor<float>& rows)
      : features_(rows.dim(1)),
        groups_((features_ + group - 1) / group),
        centers_({features_}),
        steps_({features_}),
        beyond_({rows.dim(0)}),
        codes_(Tensor<std::uint8_t>::zeros({rows.dim(0), groups_ * group / 2})) {
    choose_steps(rows);
    const float* const x = rows.data();
    float* const beyond = beyond_.data();
    std::uint8_t* const codes = codes_.data();
    parallel_for(0, rows.dim(0), 1024, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) beyond[i] = encode(x + i * features_, codes + i * codes_.dim(1));
    });
  }

  /// A query as estimates() takes it.
  struct Query {
    std::vector<std::int16_t> factors;  // of the codes, in their order
    float unit = 0, base = 0;           // an estimate is base + unit * the sum of the factors times the codes
    float length = 0, margin = 0;       // an estimate is off by margin + length * beyond(row) at most
  };
  Query prepare(const float* query) const {
    constexpr double many = 8, largest_factor = 63;  // standard deviations; see sum_of_codes
    const auto count = static_cast<double>(features_);
    double squares = 0, scaled_squares = 0, scaled_sum = 0, largest = 0, at_center = 0, reach = 0;
    std::vector<double> scaled;
    for (Index c = 0; c < features_; ++c) {
      const auto q = static_cast<double>(query[c]), step = static_cast<double>(steps_(c));
      scaled.push_back(q * step);
      largest = std::max(largest, std::abs(scaled.back()));
      squares += q * q;
      scaled_squares += scaled.back() * scaled.back();
      scaled_sum += std::abs(scaled.back());
      at_center += q * static_cast<double>(centers_(c));
      reach += std::pow(std::abs(static_cast<double>(centers_(c))) + 8 * step, 2);
    }
    const double unit = largest / largest_factor;
    Query result;
    result.factors.resize(static_cast<std::size_t>(groups_ * group));
    result.unit = static_cast<float>(unit);
    double sum = 0;
    for (Index c = 0; c < features_; ++c) {
      const auto factor = unit > 0 ? std::lround(scaled[static_cast<std::size_t>(c)] / unit) : 0;
      result.factors[static_cast<std::size_t>(c)] = static_cast<std::int16_t>(factor);
      sum += static_cast<double>(factor);
    }
    result.base = static_cast<float>(at_center - 7.5 * unit * sum);
    result.length = static_cast<float>(std::sqrt(squares));
    // Rounded off are the rows, uniformly in a step, and the factors, in a unit, for codes of up to 7.5.
    const double deviation = std::sqrt((scaled_squares + count * std::pow(7.5 * unit, 2)) / 12);
    const double most = (scaled_sum + count * 7.5 * unit) / 2;
    result.margin = static_cast<float>(std::min(many * deviation, most) + 1e-5 * std::sqrt(squares * reach));
    return result;
  }

  /// Of rows first..last-1. They are read in four places together, which is faster than one after the other.
  void estimates(const Query& query, Index first, Index last, float* out) const {
    const Index part = (last - first) / 4;
    for (Index i = first; i < first + part; ++i) estimate<4>(query, i, part, out);
    for (Index i = first + 4 * part; i < last; ++i) estimate<1>(query, i, 0, out);
  }
  /// By how much row i lies beyond the codes.
  float beyond(Index i) const { return beyond_.data()[i]; }

 private:
  static constexpr Index lanes = 16, group = 4 * lanes;  // features of 16 pairs of bytes

  /// Of rows first, first + apart, ... Pair l of group g has the codes of features 64 g + l, + 16, + 32 and + 48, the
  /// lowest bits first. 32 products of up to 15 times 63 fit into 16 bits together.
  template <int rows>
  void estimate(const Query& query, Index first, Index apart, float* out) const {
    using Pairs [[gnu::vector_size(2 * lanes)]] = std::uint16_t;
    using Ints [[gnu::vector_size(2 * lanes)]] = std::int32_t;
    const auto load = [](Pairs& pairs, const void* from) { std::memcpy(&pairs, from, sizeof pairs); };
    const std::uint8_t* codes[rows];
    for (int r = 0; r < rows; ++r) codes[r] = codes_.data() + (first + r * apart) * codes_.dim(1);
    const std::int16_t* factors = query.factors.data();
    Ints all[rows]{};
    for (Index g = 0; g < groups_;) {
      Pairs sums[rows]{};
      for (const Index end = std::min(groups_, g + 8); g < end; ++g, factors += group) {
        Pairs a, b, c, d, four;
        load(a, factors);
        load(b, factors + lanes);
        load(c, factors + 2 * lanes);
        load(d, factors + 3 * lanes);
        for (int r = 0; r < rows; ++r) {
          load(four, codes[r] + g * 2 * lanes);
          sums[r] += ((four & 15) * a + (four >> 4 & 15) * b) + ((four >> 8 & 15) * c + (four >> 12) * d);
        }
      }
      for (int r = 0; r < rows; ++r) {
        const Ints both = (Ints)sums[r];
        all[r] += (both << 16 >> 16) + (both >> 16);
      }
    }
    for (int r = 0; r < rows; ++r) {
      std::int32_t sum = 0;
      for (int lane = 0; lane < lanes / 2; ++lane) sum += all[r][lane];
      out[first + r * apart] = query.base + query.unit * static_cast<float>(sum);
    }
  }

  /// Centers and steps by the features' means and deviations, in sums that do not depend on the threads.
  void choose_steps(const Tensor<float>& rows) {
    constexpr Index part = 4096;
    const Index count = rows.dim(0), parts = (count + part - 1) / part;
    Tensor<double> sums = Tensor<double>::zeros({std::max<Index>(1, parts), 2, features_});
    const float* const x = rows.data();
    double* const out = sums.data();
    parallel_for(0, parts, 1, [&](Index first, Index last) {
      for (Index i = first * part; i < std::min(count, last * part); ++i) {
        double* const to = out + i / part * 2 * features_;
        for (Index c = 0; c < features_; ++c) {
          const auto value = static_cast<double>(x[i * features_ + c]);
          to[c] += value;
          to[features_ + c] += value * value;
        }
      }
    });
    for (Index p = 1; p < parts; ++p)
      for (Index k = 0; k < 2 * features_; ++k) out[k] += out[p * 2 * features_ + k];
    const auto number = static_cast<double>(std::max<Index>(1, count));
    Random dither(0x5eed);
    for (Index c = 0; c < features_; ++c) {
      const double mean = out[c] / number;
      const double variance = std::max(0.0, out[features_ + c] / number - mean * mean);
      steps_(c) = static_cast<float>(std::sqrt(variance) / 2);
      centers_(c) = static_cast<float>(mean + (dither.uniform() - 0.5) * static_cast<double>(steps_(c)));
    }
  }

  /// Writes a row's codes; by how much it lies beyond them: the length of what is off in those features.
  float encode(const float* x, std::uint8_t* codes) const {
    double squares = 0;
    for (Index c = 0; c < features_; ++c) {
      const float step = steps_.data()[c], from_center = x[c] - centers_.data()[c];
      const float place = step > 0 ? std::floor(from_center / step) + 8 : 8.0f, code = std::clamp(place, 0.0f, 15.0f);
      const double off =
          static_cast<double>(from_center) - static_cast<double>(step) * static_cast<double>(code - 7.5f);
      if (code != place) squares += off * off;
      const Index within = c % group, byte = c / group * 2 * lanes + within % lanes * 2 + within / (2 * lanes);
      codes[byte] = static_cast<std::uint8_t>(codes[byte] | static_cast<int>(code) << (within / lanes % 2 * 4));
    }
    return static_cast<float>(std::sqrt(squares));
  }

  Index features_ = 0, groups_ = 0;
  Tensor<float> centers_, steps_;  // [D]
  Tensor<float> beyond_;           // [N]
  Tensor<std::uint8_t> codes_;     // [N, D / 2], with zeros behind
};

}  // namespace detail

/// Embeddings of files, to be searched: rows of one length, each with its file. Beside the rows as they are, codes of
/// four bits are kept, by which search passes over nearly all of them: it is memory that takes the time.
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

  /// The k rows whose scalar products with a query [D] are the largest, the largest first, among equals by place. They
  /// are computed for the rows that can be among them by their estimates; one that is among them is passed over only if
  /// its estimate is off by more than eight standard deviations, of which the odds are below 1e-13. Throws ShapeError
  /// for a query of another length, NumericalError for one that is not finite, ValueError for k < 1.
  std::vector<Neighbour> search(const Tensor<float>& query, Index k) const {
    const Index features = rows_.dim(1);
    require<ShapeError>(query.numel() == features, "EmbeddingIndex: expected a query of ", features,
                        " features, got shape ", query.shape());
    require(k >= 1, "EmbeddingIndex: k must be at least 1, got ", k);
    require<NumericalError>(query.array().isFinite().all(), "EmbeddingIndex: the query is not finite");
    const Index count = std::min(k, size());
    if (count == 0) return {};
    const float* const q = query.data();
    if (count > size() / 16) return best(q, count, [](Index) { return true; });
    const auto prepared = codes_.prepare(q);
    Tensor<float> estimates({size()});
    float* const about = estimates.data();
    parallel_for(0, size(), 4096, [&](Index first, Index last) { codes_.estimates(prepared, first, last, about); });
    // The k rows of the largest estimates: what the last of them comes to, k rows come to.
    std::vector<std::pair<float, Index>> largest;  // a heap, the least first
    for (Index i = 0; i < size(); ++i) {
      if (static_cast<Index>(largest.size()) == count) {
        if (about[i] <= largest.front().first) continue;
        std::pop_heap(largest.begin(), largest.end(), std::greater<>());
        largest.pop_back();
      }
      largest.emplace_back(about[i], i);
      std::push_heap(largest.begin(), largest.end(), std::greater<>());
    }
    float least = std::numeric_limits<float>::infinity();
    for (const auto& [estimate, place] : largest) {
      least = std::min(least, exact(q, place));
      about[place] = std::numeric_limits<float>::infinity();  // it is among those that are compared
    }
    return best(q, count,
                [&](Index i) { return about[i] + prepared.margin + prepared.length * codes_.beyond(i) >= least; });
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

  /// The `count` best of the rows that may be among them.
  template <class MayBe>
  std::vector<Neighbour> best(const float* query, Index count, MayBe may_be) const {
    std::vector<Neighbour> found;
    for (Index i = 0; i < size(); ++i)
      if (may_be(i)) found.push_back({i, 0});
    parallel_for(0, static_cast<Index>(found.size()), 256, [&](Index first, Index last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
        found[i].similarity = exact(query, found[i].place);
    });
    const auto before = [](const Neighbour& a, const Neighbour& b) {
      return std::pair(-a.similarity, a.place) < std::pair(-b.similarity, b.place);
    };
    std::partial_sort(found.begin(), found.begin() + count, found.end(), before);
    found.resize(static_cast<std::size_t>(count));
    return found;
  }

  void encode() {
    const Index features = rows_.dim(1);
    const float* const rows = std::as_const(rows_).data();
    parallel_for(0, size(), 1024, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i)
        require<NumericalError>(Tensor<float>::wrap(rows + i * features, {features}).array().isFinite().all(),
                                "EmbeddingIndex: the embedding of ", files_[static_cast<std::size_t>(i)].name,
                                " is not finite; are the model's weights whole?");
    });
    codes_ = detail::HalfByteRows(rows_);
  }

  std::string model_;
  std::vector<IndexedFile> files_;
  Tensor<float> rows_;
  detail::HalfByteRows codes_;
};

}  // namespace lamina::inline LAMINA_ABI
