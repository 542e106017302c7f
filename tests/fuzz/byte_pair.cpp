#include "lamina/io/byte_pair.hpp"

#include <algorithm>
#include <vector>

#include "fuzz.hpp"

namespace {

/// The input up to a zero byte, which is taken off it.
std::string_view part(std::string_view& input) {
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view result = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return result;
}

void use(const lamina::BytePair& tokenizer, const std::string& text) {
  const std::vector<std::int32_t> ids = tokenizer.tokens(text);
  for (const std::int32_t id : ids) fuzz::expect(id >= 0 && id < tokenizer.size(), "an id is not in the vocabulary");
  const std::string back = tokenizer.decode(ids);
  if (tokenizer.options().form == lamina::BytePairForm::gpt2 && text.find("<|endoftext|>") == std::string::npos)
    fuzz::expect(back == text, "a text is not what its tokens stand for:", text);
  const std::size_t length = tokenizer.encode(text, 8).size();
  fuzz::expect(length <= 8 && length >= std::min<std::size_t>(8, ids.size()), "too many or too few tokens");
}

lamina::BytePair small(lamina::BytePairForm form) {
  const std::string end = form == lamina::BytePairForm::clip ? "</w>" : "";
  std::vector<std::string> tokens;
  for (const std::string& name : lamina::byte_names()) {
    tokens.push_back(name);
    if (!end.empty()) tokens.push_back(name + end);
  }
  std::vector<lamina::BytePairMerge> merges{{"a", "b"}, {"ab", "a" + end}, {"\xc3\x83", "\xc2\xa9" + end}};
  for (const auto& [first, second] : merges) tokens.push_back(first + second);
  tokens.emplace_back("<|startoftext|>");
  tokens.emplace_back("<|endoftext|>");
  return {tokens, merges, {.form = form, .truncate = true}};
}

}  // namespace

// A vocab.json, a list of merges (of Hugging Face's, and CLIP's), and a text that is read with them, and with small
// vocabularies that are always good; zero bytes between.
FUZZ_TARGET(byte_pair, const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::text({data, size});
  const std::string_view vocabulary = part(input), merges = part(input);
  const std::string text(input);
  static fuzz::InputFile vocabulary_file, merges_file;
  const auto put = [](fuzz::InputFile& file, std::string_view bytes) {
    return file.put({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  };
  const std::string vocabulary_path = put(vocabulary_file, vocabulary), merges_path = put(merges_file, merges);
  fuzz::attempt("/proc/self/fd/", [&] { use(lamina::load_byte_pair(vocabulary_path, merges_path, true), text); });
  const auto lines = static_cast<lamina::Index>(std::count(merges.begin(), merges.end(), '\n'));
  fuzz::attempt("f", [&] {
    use(lamina::decode_clip_vocabulary(merges, "f",
                                       {.merges = std::max<lamina::Index>(1, lines - 1), .truncate = true}),
        text);
  });
  static const lamina::BytePair clip = small(lamina::BytePairForm::clip), gpt2 = small(lamina::BytePairForm::gpt2);
  fuzz::attempt("f", [&] { use(clip, text); });
  fuzz::attempt("f", [&] { use(gpt2, text); });
  return 0;
}
