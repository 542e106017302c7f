#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "lamina/data/captions.hpp"
#include "lamina/data/loader.hpp"

using namespace lamina;

namespace {

using Strings = std::vector<std::string>;

void fails(const std::string& text, const char* message) {
  CHECK_THROWS_WITH_AS(decode_captions(text, "a/b"), message, FileError);
}

}  // namespace

TEST_CASE("decode_captions reads token files") {
  const auto entries =
      decode_captions("b.jpg#0\tA dog .\r\nb.jpg#1\t two, dogs#  \n\na.jpg.1#0\tA \"cat\"\nb.jpg#2\tx", "f");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].image == "b.jpg");
  CHECK(entries[0].captions == Strings{"A dog .", "two, dogs#", "x"});
  CHECK(entries[1].image == "a.jpg.1");
  CHECK(entries[1].captions == Strings{"A \"cat\""});
}

TEST_CASE("decode_captions reads tables") {
  const auto entries =
      decode_captions("image,caption\nb.jpg,A dog .\nb.jpg,\"two, \"\"big\"\" dogs\"\na.jpg,a \"cat\" , black\n", "f");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].captions == Strings{"A dog .", "two, \"big\" dogs"});
  CHECK(entries[1].captions == Strings{"a \"cat\""});  // a comma that is not quoted separates
  const auto more = decode_captions("id,caption,image\n0,A dog,b.jpg\n0,A cat,b.jpg", "f");
  REQUIRE(more.size() == 1);
  CHECK(more[0].captions == Strings{"A dog", "A cat"});
}

TEST_CASE("decode_captions ignores a byte order mark") {
  CHECK(decode_captions("\xef\xbb\xbf"
                        "b.jpg#0\tA dog",
                        "f")[0]
            .image == "b.jpg");
  CHECK(decode_captions("\xef\xbb\xbf"
                        "image,caption\r\na.jpg,\"A dog , running .\"\r\n",
                        "f")[0]
            .captions == Strings{"A dog , running ."});
  CHECK(decode_captions("\xef\xbb\xbf\r\nimage|caption\na.jpg|A dog", "f")[0].captions == Strings{"A dog"});
  fails("\xef\xbb\xbf", "a/b: there are no captions in it");
}

TEST_CASE("decode_captions reads quoted fields of several lines") {
  const auto entries = decode_captions(
      "caption,\"image\"\r\n\"A dog\r\nruns,\n\n\"\"fast\"\"\",b.jpg\r\n\n\" A "
      "cat\n\",\"a.jpg\"\r\n\"\"\"x\"\"\",b.jpg",
      "f");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].image == "b.jpg");
  CHECK(entries[0].captions == Strings{"A dog\r\nruns,\n\n\"fast\"", "\"x\""});
  CHECK(entries[1].captions == Strings{"A cat"});
  // Lines are counted as an editor counts them.
  fails("image,caption\nx.jpg,\"a\nb\"\ny.jpg\n", "a/b: line 4: expected at least 2 fields, found 'y.jpg'");
  fails("image,caption\nx.jpg,a\nx.jpg,\"b\nc\n", "a/b: line 3: a quote without end");
}

TEST_CASE("decode_captions reads Flickr30k's bars") {
  const auto entries = decode_captions(
      "image_name| comment_number| comment\n1.jpg| 0| A \"dog\" , a | b .\n1.jpg| 1| \"Two\n2.jpg| 4   A dog runs .\n",
      "f");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].image == "1.jpg");
  CHECK(entries[0].captions == Strings{"A \"dog\" , a | b .", "\"Two"});
  CHECK(entries[1].captions == Strings{"A dog runs ."});  // the published file has one such line
  fails("image_name|comment_number|comment\n1.jpg| 0\n", "a/b: line 2: expected at least 3 fields, found '1.jpg| 0'");
  fails("image_name|comment_number|comment\n1.jpg| 0| \n", "a/b: line 2: the caption of 1.jpg is empty");
  fails("a|b\n1.jpg|x",
        "a/b: line 1: expected name#number, a tab and a caption, or a table with columns image and caption, found "
        "'a|b'");
}

TEST_CASE("decode_captions says in which line something is wrong") {
  fails("", "a/b: there are no captions in it");
  fails("\n \n", "a/b: there are no captions in it");
  fails("image,caption\n", "a/b: there are no captions in it");
  fails("\nhello",
        "a/b: line 2: expected name#number, a tab and a caption, or a table with columns image and caption, found "
        "'hello'");
  fails("x.jpg#0\ta\nx.jpg#1 b", "a/b: line 2: expected name#number, a tab and a caption, found 'x.jpg#1 b'");
  fails("x.jpg#0\ta\nx.jpg\tb#c", "a/b: line 2: expected name#number, a tab and a caption, found 'x.jpg\tb#c'");
  fails("x.jpg#0\t \n", "a/b: line 1: the caption of x.jpg is empty");
  fails("#0\ta\n", "a/b: line 1: there is no image");
  fails("image,caption\nx.jpg", "a/b: line 2: expected at least 2 fields, found 'x.jpg'");
  fails("image,caption\nx.jpg,\"\"", "a/b: line 2: the caption of x.jpg is empty");
}

TEST_CASE("CaptionDataset: images with their captions, split by image") {
  const CaptionDataset<float> all = captioned_figures(40);
  DataLoader loader(all, {.batch_size = 8, .shuffle = true});
  std::multiset<std::int32_t> seen;
  for (auto& [images, numbers] : loader) {
    CHECK(images.shape() == Shape{8, 3, 64, 64});
    for (Index k = 0; k < 8; ++k) CHECK(images[k] == all.get(numbers(k)).input);
    seen.insert(numbers.values().begin(), numbers.values().end());
  }
  CHECK(seen.size() == 40);
  CHECK(std::set<std::int32_t>(seen.begin(), seen.end()).size() == 40);
  CHECK(all.all_captions().size() == 200);
  CHECK(all.all_captions()[7] == all.captions(1)[2]);

  const auto [train, test] = split(all, 10, 3);
  CHECK(train.size() == 30);
  CHECK(test.size() == 10);
  std::set<std::string> names;
  for (const auto* part : {&train, &test})
    for (Index i = 0; i < part->size(); ++i) {
      names.insert(part->name(i));
      const Index number = std::stoi(part->name(i).substr(6));
      CHECK(part->get(i).input == all.get(number).input);
      CHECK(part->get(i).target.item() == i);
      CHECK(part->captions(i) == all.captions(number));
    }
  CHECK(names.size() == 40);
  CHECK(split(all, 10, 3).second.name(0) == test.name(0));
  CHECK_THROWS_WITH_AS(split(all, 40), "split: cannot hold out 40 of 40 images", ValueError);
  CHECK_THROWS_WITH_AS(all.captions(40), "CaptionDataset: no sample 40, there are 40", ValueError);
  const auto images = std::make_shared<const TensorDataset<float>>(Tensor<float>::zeros({1, 3, 2, 2}), Labels({1}));
  CHECK_THROWS_WITH_AS(CaptionDataset<float>(images, {}), "CaptionDataset: 1 images, but captions of 0", ValueError);
  CHECK_THROWS_WITH_AS(CaptionDataset<float>(images, {{"x.jpg", {}}}), "CaptionDataset: x.jpg has no captions",
                       ValueError);
}

TEST_CASE("captioned_figures holds out arrangements") {
  const auto train = captioned_figures(3000), test = captioned_figures(200, {.held_out = true});
  // The last caption names the arrangement, up to the shapes' other names.
  const auto arrangement = [](std::string caption) {
    for (const auto& shape : figure_shapes)
      for (std::size_t at;
           std::string(shape.name) != shape.other && (at = caption.find(shape.other)) != std::string::npos;)
        caption.replace(at, std::string(shape.other).size(), shape.name);
    return caption;
  };
  std::set<std::string> known, held;
  for (Index i = 0; i < train.size(); ++i) known.insert(arrangement(train.captions(i)[4]));
  for (Index i = 0; i < test.size(); ++i) {
    CHECK(test.captions(i).size() == 5);
    held.insert(arrangement(test.captions(i)[4]));
  }
  CHECK(held.size() == 200);
  for (const std::string& each : held) CHECK_FALSE(known.contains(each));
  CHECK(known.size() > 1200);
  // Each colour and shape of the held-out scenes is known from others.
  for (const std::string& kind : figure_classes())
    CHECK(std::any_of(known.begin(), known.end(),
                      [&](const std::string& each) { return each.find(kind) != std::string::npos; }));
}

TEST_CASE("captioned_figures: a scene depends on its number alone, and its captions agree with what is drawn") {
  const auto a = captioned_figures(20), b = captioned_figures(5, {.first = 15});
  for (Index i = 0; i < 5; ++i) {
    CHECK(a.get(15 + i).input == b.get(i).input);
    CHECK(a.captions(15 + i) == b.captions(i));
  }
  CHECK_FALSE(captioned_figures(1).get(0).input == captioned_figures(1, {.seed = 1}).get(0).input);
  CHECK(captioned_figures<double>(1, {.side = 32}).get(0).input.shape() == Shape{3, 32, 32});
  // Where a scene's figures are is where the colours of the first and the second caption's figures are found.
  int right = 0, scenes = 0;
  for (Index i = 0; i < 20; ++i) {
    const std::string& caption = a.captions(i)[4];
    const auto center = [&](const std::string& color) {  // of the pixels nearest to the colour
      const auto& rgb = std::find_if(figure_colors.begin(), figure_colors.end(), [&](const auto& each) {
                          return each.name == color;
                        })->rgb;
      const Tensor<float> image = a.get(i).input;
      double sum_x = 0, sum_y = 0, count = 0;
      for (Index y = 0; y < 64; ++y)
        for (Index x = 0; x < 64; ++x) {
          double distance = 0;
          for (Index c = 0; c < 3; ++c)
            distance += std::abs(static_cast<double>(image(c, y, x)) - rgb[static_cast<std::size_t>(c)]);
          if (distance < 0.35) sum_x += static_cast<double>(x), sum_y += static_cast<double>(y), ++count;
        }
      return std::array{sum_x / count, sum_y / count, count};
    };
    const bool above = caption.starts_with("a ");
    const auto color_at = [&](std::size_t at) { return caption.substr(at, caption.find(' ', at) - at); };
    const std::string first = color_at(above ? 2 : 14), second = color_at(caption.rfind(" a ") + 3);
    if (first == second) continue;
    const auto p = center(first), q = center(second);
    CAPTURE(caption);
    CHECK(p[2] > 20);
    CHECK(q[2] > 20);
    right += above ? p[1] < q[1] : p[0] < q[0];
    ++scenes;
  }
  CHECK(scenes > 10);
  CHECK(right == scenes);
  CHECK_THROWS_WITH_AS(captioned_figures(-1), "captioned_figures: count and first must not be negative, got -1 and 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(captioned_figures(1, {.side = 8}), "captioned_figures: the side must be at least 16, got 8",
                       ValueError);
}

TEST_CASE("single_figures: every kind, with its class") {
  CHECK(figure_classes().size() == 30);
  CHECK(figure_classes()[7] == "green triangle");
  const auto figures = single_figures(300);
  std::set<std::int32_t> kinds(figures.targets().values().begin(), figures.targets().values().end());
  CHECK(kinds.size() == 30);
  CHECK(single_figures(3, {.first = 4}).get(1).input == figures.get(5).input);
  CHECK_THROWS_AS(single_figures(-1), ValueError);
}
