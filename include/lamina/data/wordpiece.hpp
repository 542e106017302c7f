#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/data/detail/characters.hpp"
#include "lamina/data/encoded_texts.hpp"
#include "lamina/data/lines.hpp"

namespace lamina::inline LAMINA_ABI {

/// Whose rules a WordPiece follows where they differ.
enum class WordPieceRules {
  hugging_face,  ///< the special tokens' names in a text are those tokens; characters that are private or not assigned
                 ///< are left out; every capital sigma becomes the same small letter
  google         ///< the names have no meaning in a text; such characters are kept; a sigma at the end of a word is the
                 ///< letter that ends words (Python's str.lower())
};

/// Options of WordPiece.
struct WordPieceOptions {
  bool lower_case = true;                               ///< lower-case and without accents, as BERT's uncased models
  Index longest_word = 100;                             ///< words of more characters are [UNK]
  WordPieceRules rules = WordPieceRules::hugging_face;  ///< as the tokenizers of Hugging Face's models
};

namespace detail {

namespace unicode {

constexpr bool is_cjk(char32_t c) {
  constexpr std::array<char32_t, 16> blocks{0x3400,  0x4dc0,  0x4e00,  0xa000,  0xf900,  0xfb00,  0x20000, 0x2a6e0,
                                            0x2a700, 0x2b740, 0x2b740, 0x2b820, 0x2b820, 0x2ceb0, 0x2f800, 0x2fa20};
  return contains(blocks, c);
}

/// Calls f for every character of a character's lower case, decomposed, without marks.
template <class F>
void fold(char32_t c, F& f) {
  if (c < 0x80) return f(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (c >= 0xac00 && c < 0xac00 + 11172) {  // Hangul syllables are made of two or three letters
    const char32_t index = c - 0xac00, last = index % 28;
    f(0x1100 + index / 588);
    f(0x1161 + index % 588 / 28);
    if (last) f(0x11a7 + last);
    return;
  }
  if (contains(marks, c)) return;
  for (const LongFolding& entry : long_foldings)
    if (entry.from == c) {
      fold(entry.first, f);
      return f(entry.second);
    }
  const auto after =
      std::upper_bound(foldings.begin(), foldings.end(), c, [](char32_t x, const Folding& y) { return x < y.first; });
  if (after == foldings.begin() || c - (after - 1)->first >= (after - 1)->count) return f(c);
  f((after - 1)->to[c - (after - 1)->first]);
}

}  // namespace unicode

}  // namespace detail

/// Calls f(word, characters) for the words of a text until it returns false: BERT's basic tokenizer. Control
/// characters and what is not UTF-8 are left out, white space separates, punctuation marks and CJK ideographs are words
/// by themselves. Returns whether f never returned false.
template <class F>
bool for_each_word(std::string_view text, bool lower_case, F f, WordPieceRules rules = WordPieceRules::hugging_face) {
  namespace unicode = detail::unicode;
  const bool google = rules == WordPieceRules::google;
  std::string word, lower;
  if (google && lower_case && text.find("\xce\xa3") != std::string_view::npos) text = lower = unicode::lower_case(text);
  Index characters = 0;
  bool wanted = true;
  const auto flush = [&] {
    if (characters > 0 && wanted) wanted = f(std::string_view(word), characters);
    word.clear();
    characters = 0;
  };
  const auto add = [&](char32_t c) {
    const bool alone = unicode::contains(unicode::punctuation, c);
    if (alone) flush();
    unicode::append(word, c);
    ++characters;
    if (alone) flush();
  };
  const auto left_out = [&](char32_t c) {
    return c == 0xfffd || unicode::contains(unicode::controls, c) ||
           (!google && c >= 0x80 && unicode::contains(unicode::unassigned, c));
  };
  while (!text.empty() && wanted) {
    if (const char c = text[0]; c >= 'a' && c <= 'z') {
      word += c;
      ++characters;
      text.remove_prefix(1);
      continue;
    }
    const char32_t c = unicode::take(text);
    if (c == ' ' || unicode::contains(unicode::spaces, c)) {
      flush();
    } else if (!left_out(c)) {
      const bool alone = unicode::is_cjk(c);
      if (alone) flush();
      if (lower_case)
        unicode::fold(c, add);
      else
        add(c);
      if (alone) flush();
    }
  }
  flush();
  return wanted;
}

/// BERT's tokenizer (Devlin et al. 2019): a text is cut into words, lower-cased and stripped of accents, and each word
/// into the longest pieces that the vocabulary has, from its beginning on. Pieces that continue a word are written with
/// "##" before them. A word that cannot be put together is [UNK].
///
/// Where the tokenizers of Google and of Hugging Face differ, options say which is followed; see WordPieceRules.
class WordPiece {
 public:
  /// A token's id is its place. Throws ValueError for a vocabulary without [PAD], [UNK], [CLS] or [SEP], and for a
  /// token that is empty or comes twice.
  explicit WordPiece(std::vector<std::string> vocabulary, const WordPieceOptions& options = {})
      : options_(options), tokens_(std::move(vocabulary)) {
    require(options.longest_word >= 1, "WordPiece: longest_word must be at least 1, got ", options.longest_word);
    std::size_t slots = 16;
    while (slots < 2 * tokens_.size()) slots *= 2;
    slots_.assign(slots, -1);
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const std::string& token = tokens_[i];
      require(!token.empty(), "WordPiece: token ", i, " of the vocabulary is empty");
      const std::size_t slot = find(token, {}, hash(start, token));
      require(slots_[slot] < 0, "WordPiece: token '", token, "' comes twice in the vocabulary: ", slots_[slot], " and ",
              i);
      slots_[slot] = static_cast<std::int32_t>(i);
      longest_ = std::max(longest_, token.size());
    }
    for (std::size_t i = 0; i < required; ++i) {
      const auto found = id(special_names[i]);
      require(found.has_value(), "WordPiece: the vocabulary of ", size(), " tokens has no ", special_names[i]);
      special_[i] = *found;
    }
    special_[required] = id(special_names[required]).value_or(-1);  // [MASK], which need not be there
  }

  /// The number of tokens.
  Index size() const { return static_cast<Index>(tokens_.size()); }
  /// The tokens, in the order of their ids.
  const std::vector<std::string>& vocabulary() const { return tokens_; }
  /// What it was made with.
  const WordPieceOptions& options() const { return options_; }
  /// A token's id, if it has one.
  std::optional<std::int32_t> id(std::string_view token) const {
    const std::int32_t found = slots_[find(token, {}, hash(start, token))];
    return found < 0 ? std::nullopt : std::optional(found);
  }
  /// The id of [PAD], [UNK], [CLS], [SEP].
  /// @{
  std::int32_t padding() const { return special_[0]; }
  std::int32_t unknown() const { return special_[1]; }
  std::int32_t cls() const { return special_[2]; }
  std::int32_t sep() const { return special_[3]; }
  /// @}

  /// The ids of [CLS], the text's pieces and [SEP]; pieces beyond max_length ids in all are cut off. Throws ValueError
  /// unless max_length >= 2.
  std::vector<std::int32_t> encode(std::string_view text, Index max_length = 512) const {
    require(max_length >= 2, "WordPiece: max_length must be at least 2, got ", max_length);
    std::vector<std::int32_t> ids{cls()};
    const auto room = static_cast<std::size_t>(max_length) - 1;
    const auto add_words = [&](std::string_view part) {
      return for_each_word(
          part, options_.lower_case,
          [&](std::string_view word, Index characters) {
            add_pieces(word, characters, ids);
            return ids.size() < room;
          },
          options_.rules);
    };
    bool wanted = true;
    while (wanted) {
      const auto [at, name] = find_special(text);
      wanted = add_words(text.substr(0, at));
      if (at == text.size()) break;
      if (wanted) ids.push_back(special_[name]);
      wanted = wanted && ids.size() < room;
      text.remove_prefix(at + special_names[name].size());
    }
    ids.resize(std::min(ids.size(), room));
    ids.push_back(sep());
    return ids;
  }

  /// The tokens of many texts, padded to the longest of them, or to `length` if that is given.
  EncodedTexts encode(std::span<const std::string> texts, Index max_length = 512,
                      std::optional<Index> length = {}) const {
    std::vector<std::vector<std::int32_t>> rows;
    for (const std::string& text : texts)
      rows.push_back(encode(text, std::min(max_length, length.value_or(max_length))));
    return padded(rows, padding(), length.value_or(0));
  }

  /// The pieces as words again, separated by spaces; [PAD], [CLS] and [SEP] are left out. Throws ValueError for an id
  /// that is not in the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t i : ids) {
      require(i >= 0 && i < size(), "WordPiece: no token ", i, ", the vocabulary has ", size());
      if (i == padding() || i == cls() || i == sep()) continue;
      const std::string_view token = tokens_[static_cast<std::size_t>(i)];
      if (!text.empty() && !token.starts_with(continuation)) text += ' ';
      text += token.substr(token.starts_with(continuation) && token.size() > continuation.size() ? 2 : 0);
    }
    return text;
  }

 private:
  static constexpr std::array<std::string_view, 5> special_names{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  static constexpr std::size_t required = 4;
  static constexpr std::string_view continuation = "##";

  /// FNV-1a, which the hashes of all beginnings of a word come by on the way.
  static constexpr std::uint64_t start = 0xcbf29ce484222325;
  static constexpr std::uint64_t mix(std::uint64_t state, char c) {
    return (state ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  static constexpr std::uint64_t hash(std::uint64_t state, std::string_view text) {
    for (const char c : text) state = mix(state, c);
    return state;
  }

  /// The slot of the token `prefix` + `rest`, or the empty one where it would be.
  std::size_t find(std::string_view prefix, std::string_view rest, std::uint64_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = (hash ^ hash >> 32) & mask;
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      const std::string_view token = tokens_[static_cast<std::size_t>(slots_[slot])];
      if (token.size() == prefix.size() + rest.size() && token.starts_with(prefix) && token.ends_with(rest)) break;
    }
    return slot;
  }

  /// Where the first name of a special token is in a text, and which it is; the text's size if there is none that
  /// counts.
  std::pair<std::size_t, std::size_t> find_special(std::string_view text) const {
    if (options_.rules == WordPieceRules::hugging_face)
      for (std::size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at + 1))
        for (std::size_t name = 0; name < special_names.size(); ++name)
          if (special_[name] >= 0 && text.substr(at).starts_with(special_names[name])) return {at, name};
    return {text.size(), 0};
  }

  void add_pieces(std::string_view word, Index characters, std::vector<std::int32_t>& ids) const {
    const std::size_t before = ids.size();
    if (characters > options_.longest_word) return ids.push_back(unknown());
    thread_local std::vector<std::uint64_t> hashes;
    constexpr std::uint64_t continued = hash(start, continuation);
    for (std::size_t begin = 0; begin < word.size();) {
      const std::string_view prefix = begin ? continuation : std::string_view();
      const std::string_view rest = word.substr(begin, longest_);
      hashes.clear();
      std::uint64_t state = begin ? continued : start;
      for (const char c : rest) hashes.push_back(state = mix(state, c));
      std::int32_t found = -1;
      std::size_t length = rest.size();
      for (; length > 0 && found < 0; --length)
        found = slots_[find(prefix, rest.substr(0, length), hashes[length - 1])];
      if (found < 0) {
        ids.resize(before);
        return ids.push_back(unknown());
      }
      ids.push_back(found);
      begin += length + 1;
    }
  }

  WordPieceOptions options_;
  std::vector<std::string> tokens_;
  std::vector<std::int32_t> slots_;  // ids by hash; -1: empty
  std::size_t longest_ = 0;          // bytes of a token
  std::array<std::int32_t, 5> special_{};
};

/// A vocabulary from the text of a vocab.txt, one token a line. `source` is the file's path, for messages. Throws
/// FileError for an empty text, an empty line between others, and what WordPiece does not take.
inline WordPiece decode_vocabulary(std::string_view text, const std::string& source,
                                   const WordPieceOptions& options = {}) {
  std::vector<std::string> tokens;
  for (text = without_byte_order_mark(text); !text.empty();) tokens.emplace_back(take_line(text));
  require<FileError>(!tokens.empty(), source, ": expected a vocabulary, one token a line; the file is empty");
  try {
    return WordPiece(std::move(tokens), options);
  } catch (const ValueError& error) {
    throw FileError(lamina::text(source, ": ", error.what()));
  }
}

/// The text of a vocab.txt.
inline std::string encode_vocabulary(const WordPiece& tokenizer) {
  std::string text;
  for (const std::string& token : tokenizer.vocabulary()) text += token + '\n';
  return text;
}

/// Options of train_wordpiece.
struct WordPieceTraining {
  Index size = 8000;                ///< most tokens that the vocabulary may have
  Index min_count = 2;              ///< how often two pieces must be neighbours to become one
  WordPieceOptions tokenizer = {};  ///< of the tokenizer that comes out
};

namespace detail {

/// Words as pieces, of which neighbours are joined. (A template, so that it costs only those who train.)
template <class Texts>
class PieceMerger {
 public:
  PieceMerger(const Texts& texts, const WordPieceTraining& options) : options_(options) {
    for (const char* name : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) piece(name);
    std::unordered_map<std::string, Index> counts;
    for (const std::string_view text : texts)
      for_each_word(
          text, options.tokenizer.lower_case,
          [&](std::string_view word, Index characters) {
            if (characters <= options.tokenizer.longest_word) ++counts[std::string(word)];
            return true;
          },
          options.tokenizer.rules);
    require(!counts.empty(), "train_wordpiece: there are no words in the texts");
    // By name, so that nothing depends on the order in a hash table.
    std::vector<std::pair<std::string, Index>> sorted(counts.begin(), counts.end());
    std::sort(sorted.begin(), sorted.end());
    for (const auto& [text, count] : sorted) {
      Word word{{}, count};
      std::string_view rest = text;
      while (!rest.empty()) {
        const std::string_view before = rest;
        unicode::take(rest);
        const std::string character(before.substr(0, before.size() - rest.size()));
        word.pieces.push_back(piece(word.pieces.empty() ? character : "##" + character));
      }
      words_.push_back(std::move(word));
    }
    require(static_cast<Index>(tokens_.size()) <= options.size,
            "train_wordpiece: the special tokens and characters are ", tokens_.size(),
            " tokens, more than the size of ", options.size);
    for (std::size_t i = 0; i < words_.size(); ++i) count(i, 1);
  }

  std::vector<std::string> run() {
    while (static_cast<Index>(tokens_.size()) < options_.size && !queue_.empty()) {
      const auto [times, key] = queue_.top();
      queue_.pop();
      const std::uint64_t pair = ~key;
      Neighbours& neighbours = pairs_[pair];
      if (times != neighbours.count) {  // it has changed since
        if (neighbours.count > 0 && neighbours.count < times) queue_.emplace(neighbours.count, key);
        continue;
      }
      if (times < options_.min_count) break;
      join(static_cast<std::int32_t>(pair >> 32), static_cast<std::int32_t>(pair & 0xffffffff),
           std::exchange(neighbours.words, {}));
    }
    return std::move(tokens_);
  }

 private:
  struct Word {
    std::vector<std::int32_t> pieces;
    Index count;
  };
  struct Neighbours {
    Index count = 0;
    std::vector<std::size_t> words = {};  // where they are, or have been
  };

  std::int32_t piece(const std::string& text) {
    const auto [entry, added] = ids_.emplace(text, static_cast<std::int32_t>(tokens_.size()));
    if (added) tokens_.push_back(text);
    return entry->second;
  }

  /// Adds a word's neighbours to the counts (1) or takes them away (-1).
  void count(std::size_t i, Index sign) {
    const Word& word = words_[i];
    for (std::size_t k = 0; k + 1 < word.pieces.size(); ++k) {
      const std::uint64_t pair =
          static_cast<std::uint64_t>(word.pieces[k]) << 32 | static_cast<std::uint32_t>(word.pieces[k + 1]);
      Neighbours& neighbours = pairs_[pair];
      neighbours.count += sign * word.count;
      if (sign < 0) continue;
      if (neighbours.words.empty() || neighbours.words.back() != i) neighbours.words.push_back(i);
      queue_.emplace(neighbours.count, ~pair);  // among equals, the pair that was seen first
    }
  }

  void join(std::int32_t a, std::int32_t b, const std::vector<std::size_t>& where) {
    const std::int32_t joined =
        piece(tokens_[static_cast<std::size_t>(a)] + tokens_[static_cast<std::size_t>(b)].substr(2));
    for (const std::size_t i : where) {
      std::vector<std::int32_t>& pieces = words_[i].pieces;
      const auto here = std::adjacent_find(pieces.begin(), pieces.end(),
                                           [&](std::int32_t x, std::int32_t y) { return x == a && y == b; });
      if (here == pieces.end()) continue;  // joined with others since
      count(i, -1);
      std::size_t out = 0;
      for (std::size_t k = 0; k < pieces.size(); ++k) {
        const bool both = k + 1 < pieces.size() && pieces[k] == a && pieces[k + 1] == b;
        pieces[out++] = both ? joined : pieces[k];
        k += both;
      }
      pieces.resize(out);
      count(i, 1);
    }
  }

  const WordPieceTraining& options_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, Neighbours> pairs_;
  std::priority_queue<std::pair<Index, std::uint64_t>> queue_;  // counts as they were, and complements of pairs
};

}  // namespace detail

/// Learns a vocabulary from texts: all their characters, and then, as often as there is room, the two neighbouring
/// pieces that are seen most often become one (byte-pair encoding: Sennrich, Haddow, Birch 2016, algorithm 1, on
/// characters). [PAD] is 0, then [UNK], [CLS], [SEP], [MASK]. The result depends on the texts alone. Throws ValueError
/// for texts without words, and for a size that does not hold the characters.
template <class Texts>
WordPiece train_wordpiece(const Texts& texts, const WordPieceTraining& options = {}) {
  return WordPiece(detail::PieceMerger<Texts>(texts, options).run(), options.tokenizer);
}

}  // namespace lamina::inline LAMINA_ABI
