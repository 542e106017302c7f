#include <cstdlib>

#include "files.hpp"
#include "lamina/io/captions.hpp"

using namespace lamina;

namespace {

void put_image(const std::string& path, std::uint8_t value) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  write_png(path, Tensor<std::uint8_t>::full({3, 2, 4}, value));
}

}  // namespace

TEST_CASE("load_captions reads a folder as Flickr8k's") {
  const TemporaryFolder folder;
  put_image(folder / "images/a.png", 51);
  put_image(folder / "images/b.png", 102);
  const std::string tokens = folder / "x.token.txt";
  put(tokens, "b.png#0\tA dog\nb.png#1\tTwo dogs\na.png#0\tA cat\n");
  const auto data = load_captions(folder.path());
  REQUIRE(data.size() == 2);
  CHECK(data.name(0) == "b.png");
  CHECK(data.captions(0) == std::vector<std::string>{"A dog", "Two dogs"});
  CHECK(data.get(0).input.shape() == Shape{3, 2, 4});
  CHECK(data.get(1).input(0, 0, 0) == 0.2f);
  CHECK(data.get(1).target.item() == 1);
  CHECK(split(data, 1).second.size() == 1);

  const std::string table = folder / "captions.csv";
  put(table, "image,caption\na.png,\"A cat, black\"\nb.png,A dog");
  CHECK_THROWS_WITH_AS(
      load_captions(folder.path()),
      (folder.path() + ": several files of captions, " + table + " and " + tokens + ": say which").c_str(), FileError);
  CHECK(load_captions(folder.path(), {.captions = table}).captions(0)[0] == "A cat, black");
  std::filesystem::remove(tokens);
  std::filesystem::rename(folder / "images", folder / "Images");
  CHECK(load_captions<double>(folder.path()).size() == 2);
}

TEST_CASE("load_captions reads a folder as Flickr30k's, with a byte order mark") {
  const TemporaryFolder folder;
  put_image(folder / "flickr30k_images/a.png", 51);
  put(folder / "results.csv",
      "\xef\xbb\xbf"
      "image_name| comment_number| comment\r\na.png| 0| Two dogs , one cat .\r\n");
  CHECK(load_captions(folder.path()).captions(0) == std::vector<std::string>{"Two dogs , one cat ."});
  std::filesystem::rename(folder / "results.csv", folder / "results_20130124.token");
  put(folder / "results_20130124.token",
      "\xef\xbb\xbf"
      "a.png#0\tTwo dogs\n");
  CHECK(load_captions(folder.path()).name(0) == "a.png");
}

TEST_CASE("load_captions names what is missing, or leaves it out") {
  const TemporaryFolder folder;
  const std::string images = folder / "images", captions = folder / "captions.txt";
  CHECK_THROWS_WITH_AS(
      load_captions(folder.path()),
      (folder.path() +
       ": no captions: expected a captions.csv, captions.txt, results.csv, captions_*.json, *.token.txt or "
       "*.token")
          .c_str(),
      FileError);
  put(captions, "");
  CHECK_THROWS_WITH_AS(load_captions(folder.path()),
                       (folder.path() + ": no folder images, Images, Flicker8k_Dataset or flickr30k_images").c_str(),
                       FileError);
  put_image(images + "/a.png", 1);
  CHECK_THROWS_WITH_AS(load_captions(folder.path()), (captions + ": there are no captions in it").c_str(), FileError);
  put(captions, "image,caption\na.png,x\nb.png,y\nc.png,z\n");
  CHECK_THROWS_WITH_AS(load_captions(folder.path()),
                       (captions + ": 2 of 3 images are not in " + images + ", the first is b.png").c_str(), FileError);
  CHECK(load_captions(folder.path(), {.skip_unmatched = true}).size() == 1);
  put_image(images + "/b.png", 1);
  put_image(images + "/c.png", 1);
  put_image(images + "/d.png", 1);
  put(images + "/Thumbs.db", "not an image");
  CHECK_THROWS_WITH_AS(load_captions(folder.path()),
                       (images + ": 1 of 4 images have no captions in " + captions + ", the first is d.png").c_str(),
                       FileError);
  CHECK(load_captions(folder.path(), {.skip_unmatched = true}).size() == 3);
  put(captions, "image,caption\ne.png,x\n");
  CHECK_THROWS_WITH_AS(load_captions(folder.path(), {.skip_unmatched = true}),
                       (captions + ": none of its images are in " + images).c_str(), FileError);
  put(captions, "image,caption\na.png,x\n");
  put(images + "/a.png", "not an image");
  const auto damaged = load_captions(folder.path(), {.skip_unmatched = true});
  CHECK_THROWS_WITH_AS(damaged.get(0), doctest::Contains("images/a.png: not a readable PNG or JPEG image"), FileError);
  CHECK_THROWS_WITH_AS(load_captions(folder / "nowhere"),
                       (folder / "nowhere: cannot read: No such file or directory").c_str(), FileError);
  CHECK_THROWS_WITH_AS(load_captions(folder.path(), {.captions = "/nowhere.txt"}),
                       "/nowhere.txt: cannot open: No such file or directory", FileError);
}

TEST_CASE("load_vocabulary reads a file") {
  const TemporaryFolder folder;
  const std::string path = folder / "vocab.txt";
  CHECK_THROWS_WITH_AS(load_vocabulary(path), (path + ": cannot open: No such file or directory").c_str(), FileError);
  put(path, "");
  CHECK_THROWS_WITH_AS(load_vocabulary(path),
                       (path + ": expected a vocabulary, one token a line; the file is empty").c_str(), FileError);
  put(path, "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n");
  CHECK(load_vocabulary(path).encode("Cat") == std::vector<std::int32_t>{2, 4, 3});
  put(path, "\xef\xbb\xbf[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\ncat\r\n");
  CHECK(load_vocabulary(path).encode("Cat") == std::vector<std::int32_t>{2, 4, 3});
}

TEST_CASE("Flickr8k's photographs and captions") {
  const char* data = std::getenv("LAMINA_DATA");
  if (!data || !std::filesystem::exists(std::string(data) + "/flickr8k/images")) {
    MESSAGE("no flickr8k/ in LAMINA_DATA");
    return;
  }
  const std::string dir = data;
  const auto some = load_captions(dir + "/flickr8k");
  for (Index i = 0; i < some.size(); i += 50) {
    CHECK(some.captions(i).size() == 5);
    CHECK(some.get(i).input.dim(0) == 3);
  }
  const std::string all = dir + "/text/Flickr8k.token.txt";
  if (!std::filesystem::exists(all)) return;
  CHECK(decode_captions(read_text(all), all).size() == 8092);
  const auto known = load_captions(dir + "/flickr8k", {.captions = all, .skip_unmatched = true});
  CHECK(known.size() == some.size());
  CHECK(known.captions(known.size() - 1) == some.captions(some.size() - 1));
}
