#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/parallel.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/data/detail/html.hpp"
#include "lamina/data/encoded_texts.hpp"
#include "lamina/data/lines.hpp"

namespace lamina::inline LAMINA_ABI {

/// How a BytePair cuts a text into words.
enum class BytePairForm {
  clip,  ///< CLIP's: lower case, without white space; the last piece of a word is marked "</w>"
  gpt2   ///< GPT-2's: as it is; a word begins with the space before it
};

/// Options of BytePair.
struct BytePairOptions {
  BytePairForm form = BytePairForm::clip;  ///< how texts are cut into words
  bool truncate = false;                   ///< cut off what is too long; otherwise that is an error
};

namespace detail {

/// The pieces of a text that are encoded by themselves.
namespace pieces {

enum class Kind : std::uint8_t { letter, number, space, other };

inline constexpr std::array<Kind, 128> ascii_kinds = [] {
  std::array<Kind, 128> kinds{};
  for (char32_t c = 0; c < 128; ++c)
    kinds[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? Kind::letter
               : c >= '0' && c <= '9'                           ? Kind::number
               : unicode::is_white_space(c)                     ? Kind::space
                                                                : Kind::other;
  return kinds;
}();

inline Kind kind(char32_t c) {
  if (c < 0x80) return ascii_kinds[c];
  if (unicode::contains(unicode::letters, c)) return Kind::letter;
  if (unicode::contains(unicode::numbers, c)) return Kind::number;
  return unicode::is_white_space(c) ? Kind::space : Kind::other;
}

/// The kind of the character at `begin`, and where the next one is.
inline std::pair<Kind, std::size_t> at(std::string_view text, std::size_t begin) {
  if (const auto c = static_cast<unsigned char>(text[begin]); c < 0x80) return {ascii_kinds[c], begin + 1};
  std::string_view rest = text.substr(begin);
  const char32_t c = unicode::take(rest);
  return {kind(c), text.size() - rest.size()};
}

/// Where characters of one kind end, from `begin` on.
inline std::size_t run_end(std::string_view text, std::size_t begin, Kind wanted) {
  while (begin < text.size()) {
    if (const auto c = static_cast<unsigned char>(text[begin]); c < 0x80) {
      if (ascii_kinds[c] != wanted) break;
      ++begin;
      continue;
    }
    const auto [found, next] = at(text, begin);
    if (found != wanted) break;
    begin = next;
  }
  return begin;
}

/// The length of `word` at the beginning of a text; 0 if it is not there. CLIP's expression ignores case, for which the
/// long s is an s.
inline std::size_t matched(std::string_view text, std::string_view word, bool long_s) {
  constexpr std::string_view long_one = "\xc5\xbf";
  std::size_t at = 0;
  for (const char c : word) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with(c))
      ++at;
    else if (long_s && c == 's' && rest.starts_with(long_one))
      at += long_one.size();
    else
      return 0;
  }
  return at;
}

/// The length of one of several words at the beginning of a text; 0 if none is there.
inline std::size_t first_match(std::string_view text, std::span<const std::string_view> words, bool long_s) {
  for (const std::string_view word : words)
    if (const std::size_t length = matched(text, word, long_s)) return length;
  return 0;
}

inline constexpr std::array<std::string_view, 7> contractions{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
inline constexpr std::array<std::string_view, 2> clip_specials{"<|startoftext|>", "<|endoftext|>"};

/// f(piece) for the matches of CLIP's expression in a lower-case text, all but white space:
///   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
template <class F>
void for_each_clip(std::string_view text, F f) {
  while (!text.empty()) {
    const auto [kind, next] = at(text, 0);
    std::size_t length = 0;
    if (text[0] == '<') length = first_match(text, clip_specials, true);
    if (text[0] == '\'') length = first_match(text, contractions, true);
    if (length == 0) length = kind == Kind::letter || kind == Kind::other ? run_end(text, next, kind) : next;
    if (kind != Kind::space) f(text.substr(0, length));
    text.remove_prefix(length);
  }
}

/// f(piece) for the matches of GPT-2's expression, and the end-of-text name by itself:
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
template <class F>
void for_each_gpt2(std::string_view whole, F f) {
  constexpr std::string_view special = "<|endoftext|>";
  while (!whole.empty()) {
    std::string_view text = whole.substr(0, whole.find(special));
    whole.remove_prefix(text.size());
    while (!text.empty()) {
      std::size_t length = text[0] == '\'' ? first_match(text, contractions, false) : 0;
      const std::size_t begin = text[0] == ' ' && text.size() > 1;
      if (const auto [kind, next] = at(text, begin); length == 0 && kind != Kind::space)
        length = run_end(text, next, kind);
      if (length == 0) {  // all white space but the last character of it, if something follows
        std::size_t last = 0;
        for (std::size_t end = 0; end < text.size();) {
          const auto [kind, next] = at(text, end);
          if (kind != Kind::space) break;
          last = std::exchange(end, next);
          length = end;
        }
        if (length < text.size() && last > 0) length = last;
      }
      f(text.substr(0, length));
      text.remove_prefix(length);
    }
    if (!whole.empty()) {
      f(special);
      whole.remove_prefix(special.size());
    }
  }
}

}  // namespace pieces
}  // namespace detail

/// The characters that stand for bytes in the files of byte-pair encodings, GPT-2's bytes_to_unicode: themselves where
/// they can be seen, else U+0100 and on.
inline std::array<std::string, 256> byte_names() {
  std::array<std::string, 256> names;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    detail::unicode::append(names[byte], seen ? byte : next++);
  }
  return names;
}

/// Two tokens that become one, as the vocabulary spells them.
using BytePairMerge = std::pair<std::string, std::string>;

/// Byte-pair encoding (Sennrich, Haddow, Birch 2016) over bytes, as in GPT-2 (Radford et al. 2019) and CLIP: a text is
/// cut into words, a word into bytes, and of all neighbours those whose merge was learned first become one, again and
/// again. Nothing is unknown.
///
///   const BytePair tokenizer = load_clip_vocabulary("bpe_simple_vocab_16e6.txt.gz");
///   const auto [ids, lengths] = tokenizer.encode(captions);        // as clip.tokenize; pack(ids, lengths) for a model
///
/// The ids are those of OpenAI's SimpleTokenizer (without ftfy's repair of damaged text: what is not UTF-8 is an error)
/// or, with BytePairForm::gpt2, of its encoder for GPT-2, where "<|endoftext|>" in a text is that token too. Classes
/// and case of characters are Unicode 14's.
class BytePair {
 public:
  /// A token's id is its place in the vocabulary, which spells bytes as GPT-2 does. Throws ValueError, saying which,
  /// when the vocabulary lacks a byte or a special name or has a token twice; when a merge's tokens or result are not
  /// in it, or it has the same result as another; and when tokens come of no merge: one of the two is cut short or of
  /// another model.
  BytePair(std::vector<std::string> vocabulary, std::vector<BytePairMerge> merges, const BytePairOptions& options = {})
      : options_(options), tokens_(std::move(vocabulary)), merges_(std::move(merges)) {
    const bool clip = options_.form == BytePairForm::clip;
    std::unordered_map<std::string_view, std::int32_t> ids;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const auto [found, added] = ids.emplace(tokens_[i], static_cast<std::int32_t>(i));
      require(added, "BytePair: token '", tokens_[i], "' comes twice in the vocabulary: ", found->second, " and ", i);
    }
    const auto id = [&](const std::string& token) {
      const auto found = ids.find(token);
      return found == ids.end() ? -1 : found->second;
    };
    std::vector<bool> made(tokens_.size(), false);
    const auto needed = [&](const std::string& token, const char* what) {
      const std::int32_t found = id(token);
      require(found >= 0, "BytePair: the vocabulary of ", size(), " tokens has no '", token, "', ", what);
      made[static_cast<std::size_t>(found)] = true;
      return found;
    };
    const auto names = byte_names();
    for (std::size_t byte = 0; byte < 256; ++byte) {
      inner_[byte] = needed(names[byte], "a byte");
      last_[byte] = clip ? needed(names[byte] + end_of_word, "a byte at the end of a word") : inner_[byte];
    }
    end_ = needed("<|endoftext|>", "the end of a text");
    start_ = clip ? needed("<|startoftext|>", "the beginning of a text") : end_;
    add_merges(id, made);
    for (std::size_t i = 0; i < tokens_.size(); ++i)  // other models' "<pad>" and so on are let pass
      require(made[i] || (tokens_[i].starts_with('<') && tokens_[i].ends_with('>')), "BytePair: token ", i, ", '",
              tokens_[i], "', comes of none of the ", merges_.size(),
              " merges; are they cut short, or of another model?");
    add_words(names);
  }

  /// The number of tokens.
  Index size() const { return static_cast<Index>(tokens_.size()); }
  /// The tokens, in the order of their ids.
  const std::vector<std::string>& vocabulary() const { return tokens_; }
  /// The merges, in the order in which they were learned.
  const std::vector<BytePairMerge>& merges() const { return merges_; }
  /// What it was made with.
  const BytePairOptions& options() const { return options_; }
  /// The id of "<|startoftext|>" (GPT-2 has none but that of the end) and "<|endoftext|>".
  /// @{
  std::int32_t start() const { return start_; }
  std::int32_t end() const { return end_; }
  /// @}

  /// The ids of a text alone, however many. Throws ValueError for what is not UTF-8, with its place.
  std::vector<std::int32_t> tokens(std::string_view text) const {
    std::vector<std::int32_t> ids;
    add(text, ids);
    return ids;
  }

  /// The ids of a text between those of start and end (of GPT-2: alone). If they are more than max_length, those too
  /// many before the end are cut off with options().truncate; otherwise, and for max_length < 2, ValueError is thrown.
  std::vector<std::int32_t> encode(std::string_view text, Index max_length = 77) const {
    require(max_length >= 2, "BytePair: max_length must be at least 2, got ", max_length);
    std::vector<std::int32_t> ids;
    ids.reserve(32);
    const bool framed = options_.form == BytePairForm::clip;
    if (framed) ids.push_back(start_);
    add(text, ids);
    if (framed) ids.push_back(end_);
    if (const auto most = static_cast<std::size_t>(max_length); ids.size() > most) {
      require(options_.truncate, "BytePair: '", text.substr(0, 60), text.size() > 60 ? "..." : "", "' has ", ids.size(),
              " tokens, more than ", max_length, "; BytePairOptions::truncate cuts off");
      ids.resize(most);
      if (framed) ids.back() = end_;
    }
    return ids;
  }

  /// The tokens of many texts on all threads, padded with zeros, as OpenAI's, to the longest of them, or to `length`.
  EncodedTexts encode(std::span<const std::string> texts, Index max_length = 77,
                      std::optional<Index> length = {}) const {
    std::vector<std::vector<std::int32_t>> rows(texts.size());
    parallel_for(0, static_cast<Index>(texts.size()), 256, [&](Index first, Index last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
        rows[i] = encode(texts[i], std::min(max_length, length.value_or(max_length)));
    });
    return padded(rows, 0, length.value_or(0));
  }

  /// The bytes of tokens, which need not be whole characters; a space behind each word of CLIP's. The names of start
  /// and end are left out. Throws ValueError for an id that is not in the vocabulary.
  std::string decode(std::span<const std::int32_t> ids) const {
    std::string text;
    for (const std::int32_t i : ids) {
      require(i >= 0 && i < size(), "BytePair: no token ", i, ", the vocabulary has ", size());
      if (i == start_ || i == end_) continue;
      text += bytes_[static_cast<std::size_t>(i)];
      if (options_.form == BytePairForm::clip && tokens_[static_cast<std::size_t>(i)].ends_with(end_of_word))
        text += ' ';
    }
    return text;
  }

 private:
  static constexpr const char* end_of_word = "</w>";

  /// The merge of two tokens: its rank and result, or a rank of -1.
  struct Merged {
    std::uint64_t pair = ~std::uint64_t{0};
    std::int32_t rank = -1, id = -1;
  };
  static constexpr std::uint64_t key(std::int32_t a, std::int32_t b) {
    return static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint32_t>(b);
  }
  /// Its slot, or the empty one where it would be.
  std::size_t slot(std::uint64_t pair) const {
    const std::size_t mask = pairs_.size() - 1;
    std::size_t at = (pair * 0x9e3779b97f4a7c15) >> 32 & mask;
    while (pairs_[at].rank >= 0 && pairs_[at].pair != pair) at = (at + 1) & mask;
    return at;
  }

  template <class Id>
  void add_merges(const Id& id, std::vector<bool>& made) {
    std::size_t slots = 16;
    while (slots < 2 * merges_.size()) slots *= 2;
    pairs_.resize(slots);
    for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
      const auto& [first, second] = merges_[rank];
      const std::int32_t a = id(first), b = id(second), both = id(first + second);
      require(a >= 0 && b >= 0 && both >= 0, "BytePair: merge ", rank, " makes '", first + second, "' of '", first,
              "' and '", second, "', but the vocabulary has no '",
              a < 0   ? first
              : b < 0 ? second
                      : first + second,
              "'; are they of one model?");
      require(!made[static_cast<std::size_t>(both)], "BytePair: merge ", rank, " makes '", first + second,
              "', which is there already");
      made[static_cast<std::size_t>(both)] = true;
      pairs_[slot(key(a, b))] = {key(a, b), static_cast<std::int32_t>(rank), both};
    }
  }

  /// The bytes of every token, and the ids of those that a whole word becomes.
  void add_words(const std::array<std::string, 256>& names) {
    std::unordered_map<std::string_view, char> bytes;
    for (std::size_t byte = 0; byte < 256; ++byte) bytes.emplace(names[byte], static_cast<char>(byte));
    const bool clip = options_.form == BytePairForm::clip;
    std::size_t slots = 16;
    while (slots < 4 * tokens_.size()) slots *= 2;
    words_.assign(slots, -1);
    bytes_.resize(tokens_.size());
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const auto token = static_cast<std::int32_t>(i);
      const bool special = token == start_ || token == end_, ends = tokens_[i].ends_with(end_of_word);
      std::string_view rest = tokens_[i];
      if (clip && ends) rest.remove_suffix(std::string_view(end_of_word).size());
      while (!rest.empty()) {
        const std::string_view before = rest;
        detail::unicode::take(rest);
        const auto byte = bytes.find(before.substr(0, before.size() - rest.size()));
        if (byte == bytes.end()) break;  // in a name like "<pad>"
        bytes_[i] += byte->second;
      }
      if (special) bytes_[i] = tokens_[i];
      if (!special && (bytes_[i].empty() || (clip && !ends))) continue;
      ids.clear();
      if (!special) merge(bytes_[i], ids);
      if (special || (ids.size() == 1 && ids[0] == token)) words_[word_slot(bytes_[i])] = token;
    }
  }

  template <std::size_t n>
  static std::uint64_t bytes_at(const char* from) {
    std::uint64_t value = 0;
    std::memcpy(&value, from, n);
    return value;
  }
  static constexpr std::uint64_t mix(std::uint64_t value) {
    value *= 0x9e3779b97f4a7c15;
    return value ^ value >> 32;
  }
  std::size_t word_slot(std::string_view word) const {
    std::uint64_t hash = word.size();
    std::size_t i = 0;
    for (; i + 8 <= word.size(); i += 8) hash = mix(hash ^ bytes_at<8>(word.data() + i));
    if (word.size() & 4) hash = mix(hash ^ bytes_at<4>(word.data() + i)), i += 4;
    for (; i < word.size(); ++i) hash = hash << 8 ^ static_cast<unsigned char>(word[i]);
    hash = mix(hash);
    const std::size_t mask = words_.size() - 1;
    std::size_t at = hash & mask;
    while (words_[at] >= 0 && bytes_[static_cast<std::size_t>(words_[at])] != word) at = (at + 1) & mask;
    return at;
  }

  void add(std::string_view text, std::vector<std::int32_t>& ids) const {
    if (const std::size_t at = is_ascii(text) ? text.size() : detail::unicode::find_invalid(text); at < text.size())
      throw ValueError(lamina::text("BytePair: the text is not UTF-8 at byte ", at));
    const auto piece = [&](std::string_view word) {
      if (const std::int32_t id = words_[word_slot(word)]; id >= 0)
        ids.push_back(id);
      else
        merge(word, ids);
    };
    if (options_.form == BytePairForm::gpt2) return detail::pieces::for_each_gpt2(text, piece);
    std::string clean;
    if (text.find('&') != std::string_view::npos) {
      clean = detail::html::unescape(detail::html::unescape(text));
      text = clean;
    }
    text = stripped(text);
    detail::pieces::for_each_clip(is_ascii(text) ? ascii_lower_case(text) : unicode_lower_case(text), piece);
  }

  static bool is_ascii(std::string_view text) {
    unsigned char all = 0;
    for (const char c : text) all |= static_cast<unsigned char>(c);
    return all < 0x80;
  }
  static std::string ascii_lower_case(std::string_view text) {
    std::string result(text);
    for (char& c : result) c = static_cast<char>(c + (c >= 'A' && c <= 'Z') * 32);
    return result;
  }

  /// U+0345, which is a letter in one case alone, is neither letter nor sign where case is ignored: it parts words.
  static std::string unicode_lower_case(std::string_view text) {
    constexpr std::string_view iota = "\xcd\x85";
    std::string lower = detail::unicode::lower_case(text);
    for (std::size_t at = lower.find(iota); at != std::string::npos; at = lower.find(iota, at))
      lower[at] = lower[at + 1] = ' ';
    return lower;
  }

  static std::string_view stripped(std::string_view text) {
    while (!text.empty()) {
      std::string_view rest = text;
      if (!detail::unicode::is_stripped(detail::unicode::take(rest))) break;
      text = rest;
    }
    while (!text.empty()) {
      std::size_t begin = text.size() - 1;
      while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
      std::string_view character = text.substr(begin);
      if (!detail::unicode::is_stripped(detail::unicode::take(character))) break;
      text = text.substr(0, begin);
    }
    return text;
  }

  /// A pair that can be merged: by rank, and then from left to right.
  struct Candidate {
    std::int32_t rank;
    std::size_t at;
    std::uint64_t pair;
    bool operator>(const Candidate& other) const { return std::pair(rank, at) > std::pair(other.rank, other.at); }
  };

  /// Appends the ids of a word that is not one token: in each round all pairs of the lowest rank are merged.
  void merge(std::string_view word, std::vector<std::int32_t>& ids) const {
    thread_local std::vector<std::int32_t> symbols;                            // negative: merged into one before
    thread_local std::vector<std::pair<std::size_t, std::size_t>> neighbours;  // before and behind, word.size(): none
    thread_local std::vector<Candidate> queue, round;
    symbols.clear();
    neighbours.clear();
    queue.clear();
    const std::size_t none = word.size();
    for (std::size_t i = 0; i < word.size(); ++i) {
      const auto byte = static_cast<unsigned char>(word[i]);
      symbols.push_back(i + 1 < word.size() ? inner_[byte] : last_[byte]);
      neighbours.emplace_back(i > 0 ? i - 1 : none, i + 1);
    }
    const auto propose = [&](std::size_t at) {
      const std::size_t next = at == none ? none : neighbours[at].second;
      if (next == none) return;
      const std::uint64_t pair = key(symbols[at], symbols[next]);
      if (const Merged& found = pairs_[slot(pair)]; found.rank >= 0) {
        queue.push_back({found.rank, at, pair});
        std::push_heap(queue.begin(), queue.end(), std::greater<>());
      }
    };
    for (std::size_t i = 0; i < word.size(); ++i) propose(i);
    while (!queue.empty()) {
      round.clear();
      const std::int32_t rank = queue.front().rank;
      while (!queue.empty() && queue.front().rank == rank) {
        round.push_back(queue.front());
        std::pop_heap(queue.begin(), queue.end(), std::greater<>());
        queue.pop_back();
      }
      std::erase_if(round, [&](const Candidate& c) {  // those that are still there
        const std::size_t next = neighbours[c.at].second;
        if (symbols[c.at] < 0 || next == none || key(symbols[c.at], symbols[next]) != c.pair) return true;
        symbols[c.at] = pairs_[slot(c.pair)].id;
        symbols[next] = -1;
        const std::size_t behind = neighbours[c.at].second = neighbours[next].second;
        if (behind != none) neighbours[behind].first = c.at;
        return false;
      });
      for (const Candidate& c : round) {
        propose(neighbours[c.at].first);
        propose(c.at);
      }
    }
    for (const std::int32_t symbol : symbols)
      if (symbol >= 0) ids.push_back(symbol);
  }

  BytePairOptions options_;
  std::vector<std::string> tokens_, bytes_;  // as spelled, and what they stand for
  std::vector<BytePairMerge> merges_;
  std::array<std::int32_t, 256> inner_{}, last_{};  // of single bytes, within words and at their ends
  std::int32_t start_ = 0, end_ = 0;
  std::vector<Merged> pairs_;        // by hash
  std::vector<std::int32_t> words_;  // ids by hash of their bytes; -1: empty
};

/// Options of decode_clip_vocabulary.
struct ClipVocabularyOptions {
  Index merges = 48894;   ///< how many of the file's merges are used: all but the last two tokens of 49,408
  bool truncate = false;  ///< see BytePairOptions
};

namespace detail {

/// The two tokens of a line of merges.
inline BytePairMerge merge_of_line(std::string_view line, const std::string& source, Index number) {
  const std::size_t space = line.find(' ');
  const bool two = space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
                   line.find(' ', space + 1) == std::string_view::npos;
  if (!two)
    throw FileError(text(source, ": line ", number, ": expected two tokens with a space between, found '",
                         line.substr(0, 60), "'"));
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

}  // namespace detail

/// A BytePair of what `source`, a file, holds: as the constructor, but its errors are FileErrors that name the source.
template <class Vocabulary>
BytePair byte_pair_of(Vocabulary vocabulary, std::vector<BytePairMerge> merges, const BytePairOptions& options,
                      const std::string& source) {
  try {
    return BytePair(std::move(vocabulary), std::move(merges), options);
  } catch (const ValueError& error) {
    throw FileError(text(source, ": ", error.what()));
  }
}

/// CLIP's tokenizer from the text of its bpe_simple_vocab_16e6.txt: a first line that is no merge, then one merge a
/// line. Its 49,408 tokens are the bytes, the bytes at the ends of words, what the merges make, and the two special
/// names. `source` is the file's path, for messages. Throws FileError, with the line, for what is not so: too few
/// merges, a merge of tokens that are not there yet, merges none of which ends a word (GPT-2's).
inline BytePair decode_clip_vocabulary(std::string_view text, const std::string& source,
                                       const ClipVocabularyOptions& options = {}) {
  std::vector<std::string> vocabulary;
  const auto names = byte_names();
  for (const bool seen : {true, false})  // those that stand for themselves first
    for (char32_t byte = 0; byte < 256; ++byte) {
      std::string_view name = names[byte];
      if ((detail::unicode::take(name) == byte) == seen) vocabulary.push_back(names[byte]);
    }
  for (std::size_t i = 0; i < 256; ++i) vocabulary.push_back(vocabulary[i] + "</w>");
  std::vector<BytePairMerge> merges;
  bool ends = false;
  take_line(text);
  for (Index number = 2; !text.empty() && static_cast<Index>(merges.size()) < options.merges; ++number) {
    merges.push_back(detail::merge_of_line(take_line(text), source, number));
    ends = ends || merges.back().second.ends_with("</w>");
    vocabulary.push_back(merges.back().first + merges.back().second);
  }
  require<FileError>(static_cast<Index>(merges.size()) == options.merges, source, ": expected ", options.merges,
                     " merges, found ", merges.size(), " (cut short?)");
  require<FileError>(ends, source, ": none of its merges ends a word with </w>; is it of another model?");
  vocabulary.emplace_back("<|startoftext|>");
  vocabulary.emplace_back("<|endoftext|>");
  return byte_pair_of(std::move(vocabulary), std::move(merges),
                      {.form = BytePairForm::clip, .truncate = options.truncate}, source);
}

/// The merges of the text of a merges.txt, one a line; lines that begin with "#version" are none. Throws FileError,
/// with the line, for one that is not two tokens.
inline std::vector<BytePairMerge> decode_merges(std::string_view text, const std::string& source) {
  std::vector<BytePairMerge> merges;
  for (Index number = 1; !text.empty(); ++number) {
    const std::string_view line = take_line(text);
    if (line.starts_with("#version") || (line.empty() && text.empty())) continue;
    merges.push_back(detail::merge_of_line(line, source, number));
  }
  return merges;
}

}  // namespace lamina::inline LAMINA_ABI
