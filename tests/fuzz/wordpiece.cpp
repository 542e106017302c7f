#include "lamina/data/wordpiece.hpp"

#include <algorithm>
#include <vector>

#include "fuzz.hpp"

// A vocabulary, a zero byte, and a text that is read with it and with a small one that is always good.
FUZZ_TARGET(wordpiece, const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::text({data, size});
  const std::size_t zero = std::min(input.find('\0'), input.size());
  const std::string text(input.substr(std::min(zero + 1, input.size())));
  const auto use = [&](const lamina::WordPiece& tokenizer) {
    const std::vector<std::int32_t> ids = tokenizer.encode(text, 64);
    fuzz::expect(ids.size() >= 2 && ids.size() <= 64, "a text of no or too many tokens");
    tokenizer.decode(ids);
    fuzz::expect(lamina::decode_vocabulary(lamina::encode_vocabulary(tokenizer), "f").size() == tokenizer.size(),
                 "a vocabulary is not what was written");
  };
  fuzz::attempt("f", [&] { use(lamina::decode_vocabulary(input.substr(0, zero), "f")); });
  static const lamina::WordPiece good({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "\xc3\xa9", "##\xc3\xa9"});
  fuzz::attempt("f", [&] { use(good); });
  fuzz::attempt("f", [&] { use(lamina::train_wordpiece(std::vector<std::string>{text}, {.size = 40})); });
  return 0;
}
