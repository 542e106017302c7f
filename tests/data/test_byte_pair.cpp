#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lamina/data/byte_pair.hpp"
#include "lamina/io/byte_pair.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/npy.hpp"

using namespace lamina;

namespace byte_pair {

using Ids = std::vector<std::int32_t>;

/// A few merges, learned from a few sentences, and what OpenAI's code makes of texts with them (make_byte_pair.py).
const nlohmann::json& fixture() {
  static const nlohmann::json json =
      nlohmann::json::parse(read_text(std::string(LAMINA_GOLDEN_DIR) + "/byte_pair.json"));
  return json;
}

std::string lines_of(const nlohmann::json& merges, std::size_t count) {
  std::string text = "#version: 0.2\n";
  for (std::size_t i = 0; i < count; ++i) text += merges[i].get<std::string>() + "\n";
  return text;
}

BytePair small_clip(const ClipVocabularyOptions& options = {.merges = 150}) {
  return decode_clip_vocabulary(lines_of(fixture()["clip"]["merges"], 150), "a/bpe.txt", options);
}

/// GPT-2's two files.
struct Files {
  std::shared_ptr<TemporaryFolder> folder = std::make_shared<TemporaryFolder>();
  std::string vocabulary = *folder / "vocab.json", merges = *folder / "merges.txt";
  nlohmann::json ids;
  std::string lines = lines_of(fixture()["gpt2"]["merges"], 170);

  Files() {
    const auto& tokens = fixture()["gpt2"]["vocabulary"];
    for (std::size_t i = 0; i < tokens.size(); ++i) ids[tokens[i].get<std::string>()] = i;
  }
  BytePair load(bool truncate = false) const {
    put(vocabulary, ids.dump());
    put(merges, lines);
    return load_byte_pair(vocabulary, merges, truncate);
  }
};

void check_ids(const BytePair& tokenizer, const nlohmann::json& cases) {
  REQUIRE(cases["texts"].size() == cases["ids"].size());
  REQUIRE(cases["texts"].size() > 200);
  for (std::size_t i = 0; i < cases["texts"].size(); ++i) {
    const auto text = cases["texts"][i].get<std::string>();
    CAPTURE(text);
    CHECK(tokenizer.tokens(text) == cases["ids"][i].get<Ids>());
  }
}

}  // namespace byte_pair

using byte_pair::Ids;

TEST_CASE("BytePair gives the ids of OpenAI's SimpleTokenizer and of its encoder for GPT-2") {
  const BytePair clip = byte_pair::small_clip();
  CHECK(clip.size() == 664);
  CHECK(clip.start() == 662);
  CHECK(clip.end() == 663);
  byte_pair::check_ids(clip, byte_pair::fixture()["clip"]);
  const BytePair gpt2 = byte_pair::Files().load();
  CHECK(gpt2.options().form == BytePairForm::gpt2);
  byte_pair::check_ids(gpt2, byte_pair::fixture()["gpt2"]);
  // As Hugging Face's: the end of text in a text is that token.
  CHECK(gpt2.tokens("<|endoftext|>") == Ids{gpt2.end()});
  Ids both = gpt2.tokens("a ");
  both.push_back(gpt2.end());
  for (const std::int32_t id : gpt2.tokens(" b")) both.push_back(id);
  CHECK(gpt2.tokens("a <|endoftext|> b") == both);
}

TEST_CASE("BytePair frames, cuts off, pads and gives texts back") {
  const BytePair clip = byte_pair::small_clip(), cut = byte_pair::small_clip({.merges = 150, .truncate = true});
  Ids ids = clip.tokens("a photo of the dogs");
  CHECK(clip.decode(ids) == "a photo of the dogs ");
  ids.insert(ids.begin(), 662);
  ids.push_back(663);
  CHECK(clip.encode("A photo  of the dogs") == ids);
  CHECK(clip.decode(ids) == "a photo of the dogs ");
  CHECK(clip.encode("") == Ids{662, 663});
  CHECK(cut.encode("a photo of the dogs", 4) == Ids{662, ids[1], ids[2], 663});
  CHECK(cut.encode("a photo of the dogs", 2) == Ids{662, 663});
  CHECK(clip.encode("a photo of the dogs", static_cast<Index>(ids.size())) == ids);
  const std::vector<std::string> texts{"a", "", "a photo"};
  const auto [rows, lengths] = clip.encode(texts, 77, 6);
  CHECK(rows.shape() == Shape{3, 6});
  CHECK(lengths[0] == 3);
  CHECK(lengths[1] == 2);
  CHECK(Labels(rows[1]) == Labels({6}, {662, 663, 0, 0, 0, 0}));
  CHECK(clip.encode(texts).ids.dim(1) == lengths[2]);

  const BytePair gpt2 = byte_pair::Files().load();
  for (const char* text : {"Two dogs, naïve  \n x", " 's", "日本 \u00a0"})
    CHECK(gpt2.decode(gpt2.tokens(text)) == text);
  CHECK(gpt2.encode("a dog") == gpt2.tokens("a dog"));
  CHECK(byte_pair::Files().load(true).encode("xyzxyz", 2).size() == 2);

  CHECK_THROWS_WITH_AS(clip.encode("a photo of the dogs", 4), doctest::Contains("BytePair: 'a photo of the dogs' has "),
                       ValueError);
  CHECK_THROWS_WITH_AS(clip.encode("a photo of the dogs", 4),
                       doctest::Contains(" tokens, more than 4; BytePairOptions::truncate cuts off"), ValueError);
  CHECK_THROWS_WITH_AS(clip.encode("a", 1), "BytePair: max_length must be at least 2, got 1", ValueError);
  CHECK_THROWS_WITH_AS(clip.tokens("ab\xc3("), "BytePair: the text is not UTF-8 at byte 2", ValueError);
  CHECK_THROWS_WITH_AS(gpt2.tokens("\xed\xa0\x80"), "BytePair: the text is not UTF-8 at byte 0", ValueError);
  CHECK_THROWS_WITH_AS(clip.decode(Ids{664}), "BytePair: no token 664, the vocabulary has 664", ValueError);
}

TEST_CASE("A word of any length is merged in time") {
  const BytePair clip = byte_pair::small_clip();
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "the";
  CHECK(clip.tokens(text).size() > 50000);
}

TEST_CASE("decode_clip_vocabulary and load_byte_pair name what is wrong with their files") {
  const auto& merges = byte_pair::fixture()["clip"]["merges"];
  const auto fails = [&](const std::string& text, const std::string& message, Index count = 150) {
    CHECK_THROWS_WITH_AS(decode_clip_vocabulary(text, "a/bpe.txt", {.merges = count}), message.c_str(), FileError);
  };
  fails("", "a/bpe.txt: expected 150 merges, found 0 (cut short?)");
  fails(byte_pair::lines_of(merges, 120), "a/bpe.txt: expected 150 merges, found 120 (cut short?)");
  fails("#version\na b\nc\n", "a/bpe.txt: line 3: expected two tokens with a space between, found 'c'", 2);
  fails("#version\na b\nab cd</w>\n",
        "a/bpe.txt: BytePair: merge 1 makes 'abcd</w>' of 'ab' and 'cd</w>', but the vocabulary has no 'cd</w>'; are "
        "they of one model?",
        2);
  fails("#version\na b</w>\na b</w>\n",
        "a/bpe.txt: BytePair: token 'ab</w>' comes twice in the vocabulary: 512 and 513", 2);
  fails(byte_pair::lines_of(byte_pair::fixture()["gpt2"]["merges"], 170),
        "a/bpe.txt: none of its merges ends a word with </w>; is it of another model?");

  byte_pair::Files files;
  const auto wrong = [](const byte_pair::Files& bad, const std::string& message) {
    CHECK_THROWS_WITH_AS(bad.load(), message.c_str(), FileError);
  };
  const auto both = [](const byte_pair::Files& bad) { return bad.vocabulary + " and " + bad.merges + ": "; };
  files.lines = byte_pair::lines_of(byte_pair::fixture()["gpt2"]["merges"], 169);
  const auto& tokens = byte_pair::fixture()["gpt2"]["vocabulary"];
  wrong(files, both(files) + "BytePair: token 425, '" + tokens[425].get<std::string>() +
                   "', comes of none of the 169 merges; are they cut short, or of another model?");
  files = {};
  files.ids.erase("<|endoftext|>");
  wrong(files, both(files) + "BytePair: the vocabulary of 426 tokens has no '<|endoftext|>', the end of a text");
  files = {};
  files.ids["more"] = 600;
  wrong(files, files.vocabulary + ": token 'more': expected an id below 428, found 600");
  files = {};
  files.ids["<more>"] = 5;
  CHECK_THROWS_WITH_AS(files.load(), doctest::Contains("both have the id 5"), FileError);
  files = {};
  files.ids = 7;
  wrong(files, files.vocabulary + ": expected an object of tokens and their ids");
  put(files.vocabulary, "{\"a\": 1, \"b");
  CHECK_THROWS_WITH_AS(load_byte_pair(files.vocabulary, files.merges), doctest::Contains("not JSON (cut short?): "),
                       FileError);
}

TEST_CASE("Letters, numbers, spaces and cases are what Python says they are") {
  namespace unicode = detail::unicode;
  std::uint64_t checksum = 0xcbf29ce484222325;
  const auto add = [&](char32_t value) { checksum = (checksum ^ value) * 0x100000001b3; };
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    add(unicode::contains(unicode::letters, c)      ? U'L'
        : unicode::contains(unicode::numbers, c)    ? U'N'
        : unicode::contains(unicode::unassigned, c) ? U'U'
        : unicode::is_stripped(c)                   ? U'S'
                                                    : U'-');
    add(unicode::contains(unicode::case_ignorable, c));
    add(unicode::contains(unicode::cased, c));
    unicode::lower(c, add);
  }
  CHECK(checksum == 0x69e0226a5ff41044);  // make_unicode.py prints it
}

TEST_CASE("CLIP's vocabulary: hard texts and all captions of Flickr8k have OpenAI's ids") {
  const char* folder = std::getenv("LAMINA_DATA");
  const std::string data = std::string(folder ? folder : "/nowhere") + "/text/";
  if (!file_exists(data + "clip/bpe_simple_vocab_16e6.txt.gz")) {
    MESSAGE("no text/clip/bpe_simple_vocab_16e6.txt.gz in LAMINA_DATA");
    return;
  }
  const BytePair tokenizer = load_clip_vocabulary(data + "clip/bpe_simple_vocab_16e6.txt.gz");
  CHECK(tokenizer.size() == 49408);
  CHECK(tokenizer.start() == 49406);
  CHECK(tokenizer.end() == 49407);
  for (const auto& hard : nlohmann::json::parse(read_text(data + "clip/clip_bpe_hard.json"))) {
    const auto text = hard["text"].get<std::string>();
    CAPTURE(text);
    CHECK(tokenizer.tokens(text) == hard["ids"].get<Ids>());
  }
  const NpzFile expected(data + "clip/clip_bpe_ids.npz");
  const Labels ids = expected.tensor<std::int32_t>("ids"), lengths = expected.tensor<std::int32_t>("lengths");
  const std::vector<std::string> lines = read_lines(data + "Flickr8k.token.txt");
  std::vector<std::string> captions;
  for (const std::string& line : lines) captions.push_back(line.substr(line.find('\t') + 1));
  REQUIRE(captions.size() == 40460);
  REQUIRE(lengths.numel() == 40460);
  const EncodedTexts encoded = tokenizer.encode(captions);
  Index different = 0;
  const std::int32_t* next = ids.data();
  for (Index i = 0; i < 40460; ++i) {
    const Index length = lengths(i);
    const std::int32_t* const row = encoded.ids.data() + i * encoded.ids.dim(1);
    different += encoded.lengths[static_cast<std::size_t>(i)] != length + 2 || row[0] != 49406 ||
                 row[length + 1] != 49407 || !std::equal(next, next + length, row + 1);
    next += length;
  }
  CHECK(different == 0);
  CHECK(next == ids.data() + ids.numel());
}
