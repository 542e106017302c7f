#include <doctest/doctest.h>

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "lamina/data/wordpiece.hpp"

using namespace lamina;

namespace {

std::vector<std::string> words_of(const std::string& text, bool lower_case = true) {
  std::vector<std::string> words;
  for_each_word(text, lower_case, [&](std::string_view word, Index) {
    words.emplace_back(word);
    return true;
  });
  return words;
}

const std::vector<std::string> small_vocabulary{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "want", "##want",
                                                "##ed",  "wa",    "un",    "runn",  "##ing",  ",",    "a",
                                                "b",     "##b",   "##bc",  "bbbb",  "##",     "你"};

std::vector<std::string> pieces_of(const WordPiece& tokenizer, const std::string& text) {
  std::vector<std::string> pieces;
  for (const std::int32_t id : tokenizer.encode(text))
    pieces.push_back(tokenizer.vocabulary()[static_cast<std::size_t>(id)]);
  return pieces;
}

/// The file below the data folder, or nothing when it is not at hand.
std::string data(const std::string& name) {
  const char* folder = std::getenv("LAMINA_DATA");
  std::ifstream file(std::string(folder ? folder : "/nowhere") + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A text, the words that it has and the ids of its pieces in BERT's uncased vocabulary: from BERT's published rules in
/// Python, over its unicodedata.
struct HardCase {
  std::string text;
  std::vector<std::string> words;
  std::vector<std::int32_t> ids;
};
// clang-format off
const std::vector<HardCase> hard_cases{
    {"", {}, {}},
    {" \011\015\012 ", {}, {}},
    {"Hello, World!", {"hello", ",", "world", "!"}, {7592, 1010, 2088, 999}},
    {"HeLLo wORLD", {"hello", "world"}, {7592, 2088}},
    {"don't it's o'clock's", {"don", "'", "t", "it", "'", "s", "o", "'", "clock", "'", "s"}, {2123, 1005, 1056, 2009, 1005, 1055, 1051, 1005, 5119, 1005, 1055}},
    {"rock'n'roll isn’t", {"rock", "'", "n", "'", "roll", "isn", "’", "t"}, {2600, 1005, 1050, 1005, 4897, 3475, 1521, 1056}},
    {"(a)[b]{c}<d>", {"(", "a", ")", "[", "b", "]", "{", "c", "}", "<", "d", ">"}, {1006, 1037, 1007, 1031, 1038, 1033, 1063, 1039, 1065, 1026, 1040, 1028}},
    {"3.14% of $5=10^2", {"3", ".", "14", "%", "of", "$", "5", "=", "10", "^", "2"}, {1017, 1012, 2403, 1003, 1997, 1002, 1019, 1027, 2184, 1034, 1016}},
    {"e-mail@site.com #1", {"e", "-", "mail", "@", "site", ".", "com", "#", "1"}, {1041, 1011, 5653, 1030, 2609, 1012, 4012, 1001, 1015}},
    {"Crème brûlée à la carte", {"creme", "brulee", "a", "la", "carte"}, {13675, 21382, 7987, 9307, 2063, 1037, 2474, 11122, 2063}},
    {"naïve façade", {"naive", "facade"}, {15743, 8508}},
    {"Cre\u0300me", {"creme"}, {13675, 21382}},
    {"ÅNGSTRÖM Øre Łódź", {"angstrom", "øre", "łodz"}, {17076, 15687, 1100, 2890, 17814}},
    {"İstanbul ΑΘΗΝΑ Ёлка", {"istanbul", "αθηνα", "елка"}, {9960, 1155, 29725, 24824, 16177, 14608, 1185, 29436, 28598}},
    {"ﬁne ǅungla", {"ﬁne", "ǆungla"}, {1984, 2638, 100}},
    {"straße ẞ", {"straße", "ß"}, {2358, 27807, 1096}},
    {"我爱北京 is 中文", {"我", "爱", "北", "京", "is", "中", "文"}, {1855, 100, 1781, 1755, 2003, 1746, 1861}},
    {"日本語のテスト ガギグ", {"日", "本", "語", "のテスト", "カキク"}, {1864, 1876, 1950, 1671, 30239, 30233, 30240, 1700, 30227, 30228}},
    {"한국어 문장", {"한국어", "문장"}, {1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 1459, 30014, 30021, 30000, 30006, 30025}},
    {"\uf900豈 \U0002f800", {"豈", "豈", "丽"}, {100, 100, 100}},
    {"㐀𠀀x", {"㐀", "𠀀", "x"}, {100, 100, 1060}},
    {"😀 cool😀", {"😀", "cool😀"}, {100, 100}},
    {"👩\u200d💻 coding", {"👩💻", "coding"}, {100, 16861}},
    {"❤\ufe0f heart", {"❤", "heart"}, {100, 2540}},
    {"a\u00adb\u200bc\ufeffd", {"abcd"}, {5925, 2094}},
    {std::string("nul\000bell\007del\177end\302\205x", 19), {"nulbelldelendx"}, {16371, 20850, 5349, 9247, 10497, 2595}},
    {"tab\011new\012line\015return", {"tab", "new", "line", "return"}, {21628, 2047, 2240, 2709}},
    {"a\u00a0b\u2003c\u3000d\u2028e\u2029f\u202fg", {"a", "b", "c", "d", "e", "f", "g"}, {1037, 1038, 1039, 1040, 1041, 1042, 1043}},
    {"bad�char", {"badchar"}, {2919, 7507, 2099}},
    {"¿Qué? ¡No! «oui» “x” — … ‽", {"¿", "que", "?", "¡", "no", "!", "«", "oui", "»", "“", "x", "”", "—", "…", "‽"}, {1094, 10861, 1029, 1067, 2053, 999, 1077, 15068, 2072, 1090, 1523, 1060, 1524, 1517, 1529, 100}},
    {"a\u037eb ≠ \u1fefx", {"a", ";", "b", "=", "`", "x"}, {1037, 1025, 1038, 1027, 1036, 1060}},
    {"ह\u093fन\u094dद\u0940 भ\u093eष\u093e", {"ह\u093fनद\u0940", "भ\u093eष\u093e"}, {1339, 29877, 29863, 29861, 29878, 1330, 29876, 29873, 29876}},
    {"ব\u09cbঝ\u09be ক\u09cb", {"ব\u09c7\u09beঝ\u09be", "ক\u09c7\u09be"}, {100, 1353, 29917, 29914}},
    {"𝅘\U0001d165\U0001d16e music", {"𝅘\U0001d165\U0001d16e", "music"}, {100, 2189}},
    {"[CLS] and [MASK]", {"[", "cls", "]", "and", "[", "mask", "]"}, {1031, 18856, 2015, 1033, 1998, 1031, 7308, 1033}},
    {"##ing ## #", {"#", "#", "ing", "#", "#", "#"}, {1001, 1001, 13749, 1001, 1001, 1001}},
    {"unaffable antidisestablishmentarianism", {"unaffable", "antidisestablishmentarianism"}, {14477, 20961, 3468, 3424, 10521, 4355, 7875, 13602, 3672, 12199, 2964}},
    {"ﷺ № ™ ① ½", {"ﷺ", "№", "™", "①", "½"}, {100, 1578, 1580, 100, 1092}},
    {"ש\u05b8\u05c1לו\u05b9ם עליכם", {"שלום", "עליכם"}, {1266, 29799, 29792, 29800, 1259, 29799, 29796, 29798, 29800}},
    {"ا\u064eل\u0652ع\u064eر\u064eب\u0650ي\u064e\u0651ة\u064f آ", {"العربية", "ا"}, {1270, 23673, 29830, 17149, 29816, 14498, 19433, 1270}},
    {"ไทย ภาษา", {"ไทย", "ภาษา"}, {100, 100}},
    {"Ａｂｃ１２３", {"ａｂｃ１２３"}, {100}},
    {"ẛ\u0323 \u212b ϊ", {"ſ", "a", "ι"}, {100, 1037, 1163}},
    {"ʼn ŉ", {"ʼn", "ŉ"}, {1146, 2078, 100}},
    {"\u0345a \u0300\u0301", {"a"}, {1037}},
    {"𐐀𐐁 𞤀", {"𐐨𐐩", "𞤢"}, {100, 100}},
};
// clang-format on

}  // namespace

TEST_CASE("words: accents, CJK, emoji, apostrophes, control characters and what else makes them hard") {
  for (const HardCase& hard : hard_cases) {
    CAPTURE(hard.text);
    CHECK(words_of(hard.text) == hard.words);
  }
  CHECK(words_of("Crème, ÉTÉ\u0301 我X", false) == std::vector<std::string>{"Crème", ",", "ÉTÉ\u0301", "我", "X"});
}

TEST_CASE("words: what is not UTF-8 is left out") {
  const std::vector<std::string> ab{"ab"};
  for (const char* text : {"a\x80"
                           "b",
                           "a\xff"
                           "b",
                           "a\xc3"
                           "b",
                           "a\xe2\x82"
                           "b",
                           "a\xf0\x9f\x98"
                           "b",
                           "a\xc0\xaf"
                           "b",
                           "a\xed\xa0\x80"
                           "b",
                           "a\xf4\x90\x80\x80"
                           "b",
                           "a\xf8\x88\x80\x80\x80"
                           "b",
                           "ab\xc3", "ab\xf0\x9f"})
    CHECK(words_of(text) == ab);
}

TEST_CASE("Every character is what Python's unicodedata says it is") {
  std::uint64_t checksum = 0xcbf29ce484222325;
  const auto add = [&](char32_t value) { checksum = (checksum ^ value) * 0x100000001b3; };
  namespace unicode = detail::unicode;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    add(unicode::contains(unicode::marks, c)         ? U'M'
        : unicode::contains(unicode::punctuation, c) ? U'P'
        : unicode::contains(unicode::controls, c)    ? U'C'
        : unicode::contains(unicode::spaces, c)      ? U'S'
                                                     : U'-');
    unicode::fold(c, add);
  }
  CHECK(checksum == 0x47f743262aa0b1a7);  // make_unicode.py prints it
  std::string text;
  for (const char32_t c : {U'a', U'\u00e9', U'\u4f60', U'\U0001f600', U'\U0010ffff'}) {
    text.clear();
    unicode::append(text, c);
    std::string_view view = text;
    CHECK(unicode::take(view) == c);
    CHECK(view.empty());
  }
}

TEST_CASE("WordPiece takes the longest piece first, and all of a word or nothing") {
  const WordPiece tokenizer(small_vocabulary);
  CHECK(pieces_of(tokenizer, "UNwanted, running") ==
        std::vector<std::string>{"[CLS]", "un", "##want", "##ed", ",", "runn", "##ing", "[SEP]"});
  CHECK(pieces_of(tokenizer, "unwantedX a") == std::vector<std::string>{"[CLS]", "[UNK]", "a", "[SEP]"});
  CHECK(pieces_of(tokenizer, "abbc你a") == std::vector<std::string>{"[CLS]", "a", "##b", "##bc", "你", "a", "[SEP]"});
  CHECK(pieces_of(tokenizer, "bbbbb abbb") ==
        std::vector<std::string>{"[CLS]", "bbbb", "##b", "a", "##b", "##b", "##b", "[SEP]"});
  CHECK(pieces_of(tokenizer, "") == std::vector<std::string>{"[CLS]", "[SEP]"});
  CHECK(tokenizer.size() == 20);
  CHECK(tokenizer.id("##ed") == 7);
  CHECK_FALSE(tokenizer.id("##e").has_value());
  CHECK(tokenizer.decode(tokenizer.encode("UNwanted, running x", 20)) == "unwanted , running [UNK]");
  const WordPiece copy = tokenizer;
  CHECK(copy.encode("unwanted") == tokenizer.encode("unwanted"));
  const WordPiece short_words(small_vocabulary, {.longest_word = 3});
  CHECK(pieces_of(short_words, "abb abbb") == std::vector<std::string>{"[CLS]", "a", "##b", "##b", "[UNK]", "[SEP]"});
}

TEST_CASE("WordPiece cuts off and pads") {
  const WordPiece tokenizer(small_vocabulary);
  using Ids = std::vector<std::int32_t>;
  CHECK(tokenizer.encode("a b a", 5) == Ids{2, 13, 14, 13, 3});
  CHECK(tokenizer.encode("a b a", 4) == Ids{2, 13, 14, 3});
  CHECK(tokenizer.encode("unwanted", 4) == Ids{2, 9, 6, 3});  // within a word
  CHECK(tokenizer.encode("a b a", 2) == Ids{2, 3});
  const std::vector<std::string> texts{"a b a", "", "b"};
  const auto [ids, lengths] = tokenizer.encode(texts);
  CHECK(ids == Labels({3, 5}, {2, 13, 14, 13, 3, 2, 3, 0, 0, 0, 2, 14, 3, 0, 0}));
  CHECK(lengths == std::vector<Index>{5, 2, 3});
  const auto fixed = tokenizer.encode(texts, 4, 6);
  CHECK(fixed.ids == Labels({3, 6}, {2, 13, 14, 3, 0, 0, 2, 3, 0, 0, 0, 0, 2, 14, 3, 0, 0, 0}));
  CHECK(tokenizer.encode(texts, 512, 3).lengths == std::vector<Index>{3, 2, 3});
  CHECK(tokenizer.encode(std::vector<std::string>{}).ids.shape() == Shape{0, 0});
  CHECK_THROWS_WITH_AS(tokenizer.encode("a", 1), "WordPiece: max_length must be at least 2, got 1", ValueError);
  CHECK_THROWS_WITH_AS(tokenizer.decode(Ids{20}), "WordPiece: no token 20, the vocabulary has 20", ValueError);
  CHECK_THROWS_AS(tokenizer.decode(Ids{-1}), ValueError);
}

TEST_CASE("WordPiece follows Hugging Face's rules, or Google's") {
  std::vector<std::string> vocabulary = small_vocabulary;
  for (const char* token : {"[", "]", "cls", "mask", "σας", "##σ", "##ς", "σα", "x", "##y"})
    vocabulary.push_back(token);
  const WordPiece hugging_face(vocabulary), google(vocabulary, {.rules = WordPieceRules::google});
  using Pieces = std::vector<std::string>;
  // Names of special tokens: only in capitals, and wherever they are.
  CHECK(pieces_of(hugging_face, "a[MASK]b [CLS] [cls]") ==
        Pieces{"[CLS]", "a", "[MASK]", "b", "[CLS]", "[", "cls", "]", "[SEP]"});
  CHECK(pieces_of(google, "a[MASK]b [CLS]") == Pieces{"[CLS]", "a", "[", "mask", "]", "b", "[", "cls", "]", "[SEP]"});
  CHECK(hugging_face.encode("a [SEP] b", 4) == std::vector<std::int32_t>{2, 13, 3, 3});
  CHECK(hugging_face.encode("[PAD][UNK]a", 3) == std::vector<std::int32_t>{2, 0, 3});
  // A vocabulary without [MASK] has no such token.
  const WordPiece without({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[", "]", "mask"});
  CHECK(pieces_of(without, "[MASK]") == Pieces{"[CLS]", "[", "mask", "]", "[SEP]"});
  // Characters that are private or not assigned.
  CHECK(pieces_of(hugging_face, "x\uE000y \U000E0FFF") == Pieces{"[CLS]", "x", "##y", "[SEP]"});
  CHECK(pieces_of(google, "x\uE000y") == Pieces{"[CLS]", "[UNK]", "[SEP]"});
  // The last sigma of a word.
  CHECK(pieces_of(google, "ΣΑΣ") == Pieces{"[CLS]", "σας", "[SEP]"});
  CHECK(pieces_of(hugging_face, "ΣΑΣ") == Pieces{"[CLS]", "σα", "##σ", "[SEP]"});
}

TEST_CASE("decode_vocabulary names what is wrong with a vocabulary") {
  const auto read = [](const std::string& text) { return decode_vocabulary(text, "a/vocab.txt"); };
  const auto fails = [&](const std::string& text, const char* message) {
    CHECK_THROWS_WITH_AS(read(text), message, FileError);
  };
  const WordPiece tokenizer = read("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nx");
  CHECK(tokenizer.vocabulary().back() == "x");
  CHECK(encode_vocabulary(tokenizer) == "[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\n");
  CHECK(read(encode_vocabulary(tokenizer)).vocabulary() == tokenizer.vocabulary());
  fails("", "a/vocab.txt: expected a vocabulary, one token a line; the file is empty");
  fails("[PAD]\n[CLS]\n[SEP]\n", "a/vocab.txt: WordPiece: the vocabulary of 3 tokens has no [UNK]");
  fails("[PAD]\n[UNK]\n[SEP]\n", "a/vocab.txt: WordPiece: the vocabulary of 3 tokens has no [CLS]");
  fails("[PAD]\n[UNK]\n[CLS]\n", "a/vocab.txt: WordPiece: the vocabulary of 3 tokens has no [SEP]");
  fails("[UNK]\n[CLS]\n[SEP]\n", "a/vocab.txt: WordPiece: the vocabulary of 3 tokens has no [PAD]");
  fails("[PAD]\n\n[UNK]\n", "a/vocab.txt: WordPiece: token 1 of the vocabulary is empty");
  fails("[PAD]\nx\n[UNK]\nx\n", "a/vocab.txt: WordPiece: token 'x' comes twice in the vocabulary: 1 and 3");
  CHECK_THROWS_WITH_AS(WordPiece(small_vocabulary, {.longest_word = 0}),
                       "WordPiece: longest_word must be at least 1, got 0", ValueError);
}

TEST_CASE("train_wordpiece joins what is often seen together") {
  const std::vector<std::string> texts{"low low low low low", "lower lower newest newest newest newest newest newest",
                                       "widest widest widest Crème"};
  // The example of Sennrich et al.; by hand: es 9, est 9, lo 7, low 7 (with a mark for what continues a word).
  const WordPiece tokenizer = train_wordpiece(texts, {.size = 28});
  const auto& tokens = tokenizer.vocabulary();
  CHECK(std::vector<std::string>(tokens.begin(), tokens.begin() + 5) ==
        std::vector<std::string>{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"});
  for (const char* token : {"##es", "##est", "lo", "low", "c", "##r", "##m"}) CHECK_MESSAGE(tokenizer.id(token), token);
  CHECK(pieces_of(tokenizer, "lowest") == std::vector<std::string>{"[CLS]", "low", "##est", "[SEP]"});
  CHECK(pieces_of(tokenizer, "xlow") == std::vector<std::string>{"[CLS]", "[UNK]", "[SEP]"});
  // With room for everything, each word that is seen twice is a token; none whose pieces meet once is.
  const WordPiece whole = train_wordpiece(texts);
  for (const char* word : {"low", "lower", "newest", "widest"}) CHECK_MESSAGE(whole.id(word), word);
  CHECK_FALSE(whole.id("creme"));
  CHECK(whole.decode(whole.encode("Crème lower")) == "creme lower");
  CHECK(train_wordpiece(texts).vocabulary() == whole.vocabulary());
  CHECK_THROWS_WITH_AS(train_wordpiece(texts, {.size = 10}),
                       "train_wordpiece: the special tokens and characters are 18 tokens, more than the size of 10",
                       ValueError);
  CHECK_THROWS_WITH_AS(train_wordpiece(std::vector<std::string>{" ", ""}),
                       "train_wordpiece: there are no words in the texts", ValueError);
}

TEST_CASE("BERT's vocabulary: hard cases and all captions of Flickr8k") {
  const std::string vocabulary = data("text/vocab.txt");
  if (vocabulary.empty()) {
    MESSAGE("no text/vocab.txt in LAMINA_DATA");
    return;
  }
  const WordPiece tokenizer = decode_vocabulary(vocabulary, "vocab.txt");
  const WordPiece google = decode_vocabulary(vocabulary, "vocab.txt", {.rules = WordPieceRules::google});
  CHECK(tokenizer.size() == 30522);
  CHECK(tokenizer.padding() == 0);
  CHECK(tokenizer.unknown() == 100);
  CHECK(tokenizer.cls() == 101);
  CHECK(tokenizer.sep() == 102);
  const auto framed = [](std::vector<std::int32_t> ids) {
    ids.insert(ids.begin(), 101);
    ids.push_back(102);
    return ids;
  };
  for (const HardCase& hard : hard_cases) {
    CAPTURE(hard.text);
    CHECK(google.encode(hard.text) == framed(hard.ids));
    if (hard.text != "[CLS] and [MASK]") CHECK(tokenizer.encode(hard.text) == framed(hard.ids));
  }
  CHECK(tokenizer.encode("[CLS] and [MASK]") == framed({101, 1998, 103}));
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "e\u0301";
  CHECK(tokenizer.encode(std::string(100, 'x')).size() == 52);
  CHECK(tokenizer.encode(std::string(101, 'x')) == framed({100}));
  CHECK(tokenizer.encode(accents).size() == 52);  // characters are counted without their accents
  CHECK(tokenizer.encode(accents + "e") == framed({100}));

  // BERT's rules again, for ASCII: lower case; words end at white space and around punctuation; greedy longest match.
  std::set<std::string> tokens(tokenizer.vocabulary().begin(), tokenizer.vocabulary().end());
  const auto reference = [&](const std::string& caption) {
    std::string spaced;
    for (const char c : caption) {
      const auto u = static_cast<unsigned char>(c);
      if (std::ispunct(u))
        spaced += std::string{' ', c, ' '};
      else
        spaced += std::isspace(u) ? ' ' : static_cast<char>(std::tolower(u));
    }
    std::vector<std::string> pieces{"[CLS]"};
    for (std::size_t at = 0; at < spaced.size();) {
      const std::size_t end = std::min(spaced.find(' ', at), spaced.size());
      std::string word = spaced.substr(at, end - at);
      at = end + 1;
      std::vector<std::string> of_word;
      for (std::string prefix; !word.empty(); prefix = "##") {
        std::size_t length = word.size();
        while (length > 0 && !tokens.contains(prefix + word.substr(0, length))) --length;
        if (length == 0) {
          of_word = {"[UNK]"};
          break;
        }
        of_word.push_back(prefix + word.substr(0, length));
        word.erase(0, length);
      }
      pieces.insert(pieces.end(), of_word.begin(), of_word.end());
    }
    pieces.push_back("[SEP]");
    return pieces;
  };
  std::string captions = data("text/Flickr8k.token.txt");
  REQUIRE_MESSAGE(!captions.empty(), "no text/Flickr8k.token.txt in LAMINA_DATA");
  Index count = 0, different = 0, ids = 0;
  std::uint64_t checksum = 0xcbf29ce484222325;
  for (std::size_t at = 0; at < captions.size();) {
    const std::size_t end = std::min(captions.find('\n', at), captions.size()), tab = captions.find('\t', at);
    const std::string caption = captions.substr(tab + 1, end - tab - 1);
    at = end + 1;
    different += pieces_of(tokenizer, caption) != reference(caption);
    for (const std::int32_t id : tokenizer.encode(caption)) {
      checksum = (checksum ^ static_cast<std::uint64_t>(id)) * 0x100000001b3;
      ++ids;
    }
    ++count;
  }
  CHECK(count == 40460);
  CHECK(different == 0);
  CHECK(ids == 577976);
  CHECK(checksum == 0x276e5ad19d1e74c);  // of the ids that BERT's rules give in Python
}
