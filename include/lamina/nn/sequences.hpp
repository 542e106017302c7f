#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// How the rows of a packed batch [tokens, D] divide into sequences, one behind the other: there is no row for padding,
/// and nothing is computed for it. A copy is cheap.
class Sequences {
 public:
  /// Throws ValueError for a length below 1.
  explicit Sequences(std::span<const Index> lengths) : offsets_{0} {
    offsets_.reserve(lengths.size() + 1);
    for (const Index length : lengths) {
      require(length >= 1, "Sequences: sequence ", size(), " has ", length, " tokens, expected at least 1");
      offsets_.push_back(offsets_.back() + length);
    }
  }
  /// `count` sequences of the same length.
  Sequences(Index count, Index length) : Sequences(std::vector<Index>(static_cast<std::size_t>(count), length)) {}

  /// The number of sequences.
  Index size() const { return static_cast<Index>(offsets_.size()) - 1; }
  /// The tokens of all sequences together.
  Index tokens() const { return offsets_.back(); }
  /// The first row of sequence i; begin(size()) is tokens().
  Index begin(Index i) const { return offsets_[static_cast<std::size_t>(i)]; }
  /// The tokens of sequence i.
  Index length(Index i) const { return begin(i + 1) - begin(i); }
  /// begin(0) to begin(size()).
  std::span<const Index> offsets() const { return offsets_; }

 private:
  std::vector<Index> offsets_;
};

namespace detail {

/// The sequences of a dense batch: x [L, D] is one, [N, L, D] are N, maybe none. Throws ShapeError, naming the caller,
/// for another shape.
template <class Caller>
Sequences dense_sequences(const Caller& caller, const Shape& x, Index features) {
  require<ShapeError>((x.rank() == 2 || x.rank() == 3) && x[-1] == features && x[-2] > 0, caller,
                      ": expected shape [L, ", features, "] or [N, L, ", features, "], got shape ", x);
  return {x.rank() == 3 ? x[0] : 1, x[-2]};
}
}  // namespace detail

/// Those of a value: its own, or those of a dense batch. Throws ShapeError unless it has `features` values for each of
/// their tokens.
template <class Caller, class V>
Sequences sequences_of(const Caller& caller, const V& value, Index features) {
  const Shape& x = value.shape();
  if (!value.sequences) return detail::dense_sequences(caller, x, features);
  require<ShapeError>(x.rank() >= 1 && x[-1] == features && x.numel() == features * value.sequences->tokens(), caller,
                      ": expected ", value.sequences->tokens(), " tokens of ", features, " features, got shape ", x);
  return *value.sequences;
}

/// Token ids of several sequences, one behind the other.
struct PackedTokens {
  Labels ids;           ///< [sequences.tokens()]
  Sequences sequences;  ///< how the ids are divided
};

/// The first lengths[i] ids of every row of ids [N, L]. Throws ShapeError for another rank or number of lengths,
/// ValueError for a length outside 1..L.
inline PackedTokens pack(const Labels& ids, std::span<const Index> lengths) {
  require<ShapeError>(ids.rank() == 2 && ids.dim(0) == static_cast<Index>(lengths.size()),
                      "pack: expected ids [N, L] and N lengths, got shape ", ids.shape(), " and ", lengths.size(),
                      " lengths");
  PackedTokens result{{}, Sequences(lengths)};
  result.ids = Labels(Shape{result.sequences.tokens()});
  std::int32_t* const out = result.ids.data();
  for (Index i = 0; i < ids.dim(0); ++i) {
    const Index length = result.sequences.length(i);
    require(length <= ids.dim(1), "pack: sequence ", i, " has length ", length, ", but ids is ", ids.shape());
    std::copy_n(ids.data() + i * ids.dim(1), length, out + result.sequences.begin(i));
  }
  return result;
}

/// The rows of ids [N, L] without the padding at their ends; one token is left of a row that is nothing else.
inline PackedTokens pack(const Labels& ids, std::int32_t padding = 0) {
  require<ShapeError>(ids.rank() == 2 && ids.dim(1) >= 1, "pack: expected ids [N, L], got shape ", ids.shape());
  std::vector<Index> lengths;
  for (Index i = 0; i < ids.dim(0); ++i) {
    const std::int32_t* const row = ids.data() + i * ids.dim(1);
    Index length = ids.dim(1);
    while (length > 1 && row[length - 1] == padding) --length;
    lengths.push_back(length);
  }
  return pack(ids, lengths);
}

}  // namespace lamina::inline LAMINA_ABI
