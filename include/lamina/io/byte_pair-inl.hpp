#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/byte_pair.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE BytePair load_clip_vocabulary(const std::string& path, const ClipVocabularyOptions& options) {
  return decode_clip_vocabulary(read_text(path), path, options);
}

namespace detail {

/// The tokens of a vocab.json, {token: id, ...}, in the order of their ids.
LAMINA_IO_INLINE std::vector<std::string> decode_vocabulary_json(const std::string& text, const std::string& source) {
  using Json = nlohmann::json;
  try {
    const Json json = Json::parse(text);
    require<FileError>(json.is_object() && !json.empty(), source, ": expected an object of tokens and their ids");
    std::vector<std::string> tokens(json.size());
    for (const auto& [token, id] : json.items()) {
      const bool fits = id.is_number_unsigned() && id.get<std::uint64_t>() < tokens.size();
      require<FileError>(fits, source, ": token '", token, "': expected an id below ", tokens.size(), ", found ",
                         id.dump().substr(0, 60));
      std::string& place = tokens[id.get<std::size_t>()];
      require<FileError>(place.empty(), source, ": tokens '", place, "' and '", token, "' both have the id ",
                         id.dump());
      place = token;
    }
    return tokens;
  } catch (const Json::exception& error) {
    throw FileError(lamina::text(source, ": not JSON (cut short?): ", error.what()));
  }
}

}  // namespace detail

LAMINA_IO_INLINE BytePair load_byte_pair(const std::string& vocabulary, const std::string& merges, bool truncate) {
  std::vector<std::string> tokens = detail::decode_vocabulary_json(read_text(vocabulary), vocabulary);
  const bool clip = std::any_of(tokens.begin(), tokens.end(),
                                [](const std::string& token) { return token.size() > 4 && token.ends_with("</w>"); });
  return byte_pair_of(std::move(tokens), decode_merges(read_text(merges), merges),
                      {.form = clip ? BytePairForm::clip : BytePairForm::gpt2, .truncate = truncate},
                      lamina::text(vocabulary, " and ", merges));
}

}  // namespace lamina::inline LAMINA_ABI
