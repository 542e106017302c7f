#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "lamina/io/image_folder.hpp"

using namespace lamina;

TEST_CASE("ImageFolder numbers classes by name and decodes when asked") {
  const TemporaryFolder folder;
  const auto image = [](std::uint8_t value, Index width) { return Tensor<std::uint8_t>::full({2, width}, value); };
  std::filesystem::create_directories(folder / "dog/more");
  std::filesystem::create_directories(folder / "cat");
  write_png(folder / "dog/b.png", image(30, 2));
  write_png(folder / "dog/a.PNG", image(20, 3));
  write_png(folder / "dog/more/c.png", image(40, 2));
  write_png(folder / "cat/z.png", image(10, 2));
  put(folder / "cat/notes.txt", "not an image");
  put(folder / "README", "not a class");
  const ImageFolder data(folder.path());
  CHECK(data.classes() == std::vector<std::string>{"cat", "dog"});
  REQUIRE(data.size() == 4);
  const int values[] = {10, 20, 30, 40};
  for (Index i = 0; i < 4; ++i) {
    const auto [input, target] = data.get(i);
    CHECK(input.dim(0) == 3);
    CHECK(input(0, 0, 0) == static_cast<float>(values[i]) / 255);
    CHECK(target.item() == (i > 0));
  }
  CHECK(data.path(1) == folder / "dog/a.PNG");
  CHECK(ImageFolder(folder.path(), {.channels = 0}).get(0).input.shape() == Shape{1, 2, 2});
  put(folder / "cat/z.png", "broken");
  CHECK_THROWS_WITH_AS(data.get(0), doctest::Contains("cat/z.png: not a readable PNG or JPEG image"), FileError);
  CHECK_THROWS_WITH_AS(data.get(4), "ImageFolder: no sample 4, there are 4", ValueError);

  std::filesystem::create_directory(folder / "bird");
  CHECK_THROWS_WITH_AS(ImageFolder(folder.path()), (folder / "bird: no PNG or JPEG image for this class").c_str(),
                       FileError);
  CHECK_THROWS_WITH_AS(ImageFolder(folder / "bird"),
                       (folder / "bird: expected a folder for each class, found none").c_str(), FileError);
  CHECK_THROWS_WITH_AS(ImageFolder(folder / "fish"), (folder / "fish: cannot read: No such file or directory").c_str(),
                       FileError);
}

TEST_CASE("ImageFolder takes grey, transparent and one-pixel images among colour ones") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "all");
  const auto image = [&](const std::string& name, const Shape& shape, std::vector<std::uint8_t> values) {
    write_png(folder / ("all/" + name), Tensor<std::uint8_t>(shape, std::move(values)));
  };
  image("a_grey.png", {1, 1, 1}, {51});
  image("b_colour.png", {3, 1, 2}, {0, 51, 102, 153, 204, 255});
  image("c_transparent.png", {4, 1, 1}, {255, 204, 153, 0});
  image("d_grey_transparent.png", {2, 1, 1}, {102, 0});
  const ImageFolder<float> data(folder.path());
  CHECK(data.get(0).input == Tensor<float>({3, 1, 1}, {0.2f, 0.2f, 0.2f}));
  CHECK(data.get(1).input == Tensor<float>({3, 1, 2}, {0, 0.2f, 0.4f, 0.6f, 0.8f, 1}));
  CHECK(data.get(2).input == Tensor<float>({3, 1, 1}, {1, 0.8f, 0.6f}));
  CHECK(data.get(3).input == Tensor<float>({3, 1, 1}, {0.4f, 0.4f, 0.4f}));
  CHECK(ImageFolder(folder.path(), {.channels = 1}).get(3).input == Tensor<float>({1, 1, 1}, {0.4f}));
}

TEST_CASE("ImageFolder has the classes of another, and says which one is not among them") {
  const TemporaryFolder folder;
  for (const char* name : {"train/cat", "train/dog", "test/dog", "other/dog", "other/zebra", "train/.thumbnails"})
    std::filesystem::create_directories(folder / name);
  const auto pixel = Tensor<std::uint8_t>::full({1, 1}, 7);
  for (const char* name :
       {"train/cat/1.png", "train/dog/1.png", "test/dog/1.png", "other/dog/1.png", "other/zebra/1.png"})
    write_png(folder / name, pixel);
  const ImageFolder<float> train(folder / "train");
  CHECK(train.classes() == std::vector<std::string>{"cat", "dog"});
  CHECK(train.labels() == Labels({2}, {0, 1}));
  const ImageFolder<float> test(folder / "test", {.classes = train.classes()});
  CHECK(test.labels() == Labels({1}, {1}));
  CHECK_THROWS_WITH_AS(ImageFolder<float>(folder / "other", {.classes = train.classes()}),
                       (folder / "other/zebra: 'zebra' is none of the 2 classes cat, dog").c_str(), FileError);
}

TEST_CASE("ImageFolder leaves out what cannot be read, if asked to, and tells") {
  const TemporaryFolder folder;
  for (const char* name : {"cat", "dog"}) std::filesystem::create_directories(folder / name);
  const auto pixel = Tensor<std::uint8_t>::full({1, 1}, 7);
  write_png(folder / "cat/1.png", pixel);
  write_png(folder / "dog/2.png", pixel);
  put(folder / "cat/0.png", "broken");
  put(folder / "dog/9.jpg", "");
  const ImageFolder<float> data(folder.path(), {.skip_unreadable = true});
  CHECK(data.labels() == Labels({2}, {0, 1}));
  REQUIRE(data.skipped().size() == 2);
  CHECK(data.skipped()[0].path == folder / "cat/0.png");
  CHECK(data.skipped()[0].reason == folder / "cat/0.png: not a readable PNG or JPEG image: unknown image type");
  CHECK(data.skipped()[1].path == folder / "dog/9.jpg");
  CHECK(ImageFolder<float>(folder.path()).size() == 4);

  std::filesystem::remove(folder / "cat/1.png");
  CHECK_THROWS_WITH_AS(ImageFolder<float>(folder.path(), {.skip_unreadable = true}),
                       (folder / "cat: none of the images of this class can be read").c_str(), FileError);
}
