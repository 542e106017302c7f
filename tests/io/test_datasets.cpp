#include <zlib.h>

#include <array>
#include <numeric>

#include "files.hpp"
#include "lamina/io/captions.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/segmentation.hpp"

using namespace lamina;

namespace {

/// An IDX file with these extents; element i is i modulo 10.
std::string idx(std::initializer_list<int> extents) {
  std::string bytes = hex("000008");
  bytes += static_cast<char>(extents.size());
  int count = 1;
  for (const int extent : extents) {
    bytes += hex("000000");
    bytes += static_cast<char>(extent);
    count *= extent;
  }
  for (int i = 0; i < count; ++i) bytes += static_cast<char>(i % 10);
  return bytes;
}

std::string cifar(int label_bytes, std::initializer_list<int> labels) {
  std::string bytes;
  for (const int label : labels) {
    for (int i = 1; i < label_bytes; ++i) bytes += '\7';
    bytes += static_cast<char>(label);
    bytes += std::string(3072, static_cast<char>(label + 100));
  }
  return bytes;
}

/// How many samples each class has.
template <std::size_t classes>
std::array<int, classes> histogram(const TensorDataset<float>& data) {
  std::array<int, classes> count{};
  for (const int label : data.targets().values()) ++count.at(static_cast<std::size_t>(label));
  return count;
}

/// The mean of the pixels of one channel over the first n samples.
double mean(const TensorDataset<float>& data, Index n, Index channel) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += data.get(i).input[channel].array().cast<double>().mean();
  return sum / static_cast<double>(n);
}

}  // namespace

TEST_CASE("load_mnist reads raw and compressed files") {
  const TemporaryFolder folder;
  put(folder / "mnist/train-images-idx3-ubyte", idx({3, 2, 2}));
  put(folder / "mnist/train-labels-idx1-ubyte.gz", gzipped(idx({3})));
  const auto data = load_mnist(folder.path());
  CHECK(data.size() == 3);
  CHECK(data.input_shape() == Shape{1, 2, 2});
  CHECK(data.targets() == Labels({3}, {0, 1, 2}));
  CHECK(data.get(1).input(0, 0, 1) == 5.0f / 255);
  const std::string test = folder / "mnist/t10k-images-idx3-ubyte";
  CHECK_THROWS_WITH_AS(load_mnist(folder.path(), false),
                       (test + ": no such file, nor with .gz; looked in the data folder '" + folder.path() +
                        "', which --data DIR or LAMINA_DATA sets")
                           .c_str(),
                       FileError);
  put(test + ".gz", gzipped(idx({2, 3, 3})));
  put(folder / "mnist/t10k-labels-idx1-ubyte.gz", gzipped(idx({2})));
  CHECK(load_mnist<double>(folder.path(), false).get(0).input.shape() == Shape{1, 3, 3});
  CHECK_THROWS_WITH_AS(load_fashion_mnist(folder.path()), doctest::Contains("fashion-mnist/train-images-idx3-ubyte"),
                       FileError);
}

TEST_CASE("load_mnist reads files named with a dot, beside folders that have the files' names") {
  const TemporaryFolder folder;
  put(folder / "mnist/train-images.idx3-ubyte", idx({3, 2, 2}));
  put(folder / "mnist/train-labels.idx1-ubyte.gz", gzipped(idx({3})));
  put(folder / "mnist/train-images-idx3-ubyte/train-images-idx3-ubyte", "unpacked once more");
  CHECK(load_mnist(folder.path()).size() == 3);
  put(folder / "fashion-mnist/t10k-images.idx3-ubyte.gz", gzipped(idx({2, 3, 3})));
  put(folder / "fashion-mnist/t10k-labels.idx1-ubyte", idx({2}));
  CHECK(load_fashion_mnist(folder.path(), false).size() == 2);
}

TEST_CASE("a file or folder that may not be read is not said to be absent") {
  const TemporaryFolder folder;
  const std::string images = folder / "mnist/train-images-idx3-ubyte",
                    batch = folder / "cifar10/cifar-10-batches-bin/data_batch_1.bin";
  put(images, idx({3, 2, 2}));
  put(folder / "mnist/train-labels-idx1-ubyte", idx({3}));
  put(batch, "x");
  put(folder / "captions/images/a.png", "x");
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(images, std::filesystem::perms::none);
  std::filesystem::permissions(folder / "cifar10", std::filesystem::perms::none);
  std::filesystem::permissions(folder / "captions", std::filesystem::perms::none);
  const auto says = [&](const std::string& wanted, auto load) {
    return in_child([&] {
      if (::geteuid() == 0 && ::setuid(65534) != 0) return 2;  // root may read everything
      try {
        load();
      } catch (const FileError& error) {
        return std::string_view(error.what()).find(wanted) != std::string_view::npos ? 7 : 1;
      }
      return 0;
    });
  };
  CHECK(says(images + ": cannot open: Permission denied", [&] { load_mnist(folder.path()); }) == 7);
  CHECK(says(batch + ": cannot open: Permission denied", [&] { load_cifar10(folder.path()); }) == 7);
  CHECK(says("cannot read: Permission denied", [&] { load_captions(folder / "captions"); }) == 7);
  CHECK(says("annot read the folder: Permission denied", [&] { load_camvid(folder / "captions", "train"); }) == 7);
  CHECK(says(folder / "file: cannot write: Permission denied", [&] { write_file_atomically(folder / "file", "x"); }) ==
        7);
  std::filesystem::permissions(folder / "cifar10", std::filesystem::perms(0700));
  std::filesystem::permissions(folder / "captions", std::filesystem::perms(0700));
}

TEST_CASE("load_mnist checks that images and labels belong together") {
  const TemporaryFolder folder;
  const std::string images = folder / "mnist/train-images-idx3-ubyte",
                    labels = folder / "mnist/train-labels-idx1-ubyte";
  put(images, idx({3, 2, 2}));
  put(labels, idx({2}));
  CHECK_THROWS_WITH_AS(load_mnist(folder.path()), (labels + ": 2 labels, but " + images + " has 3 images").c_str(),
                       FileError);
  put(labels, idx({3, 1, 1}));
  CHECK_THROWS_WITH_AS(load_mnist(folder.path()), (labels + ": expected labels [N], found shape [3, 1, 1]").c_str(),
                       FileError);
  put(labels, hex("00000801000000030105ff"));
  CHECK_THROWS_WITH_AS(load_mnist(folder.path()), (labels + ": label 2: expected 0 to 9, found 255").c_str(),
                       FileError);
  put(images, idx({3}));
  CHECK_THROWS_WITH_AS(load_mnist(folder.path()), (images + ": expected images [N, H, W], found shape [3]").c_str(),
                       FileError);
  put(images, gzipped(idx({3, 2, 2})).substr(0, 30));
  CHECK_THROWS_WITH_AS(load_mnist(folder.path()), (images + ": the compressed data is cut short at offset 30").c_str(),
                       FileError);
}

TEST_CASE("load_cifar10 and load_cifar100 read their files in order") {
  const TemporaryFolder folder;
  const std::string ten = folder / "cifar10/cifar-10-batches-bin/", hundred = folder / "cifar100/cifar-100-binary/";
  for (int i = 1; i <= 4; ++i) put(ten + "data_batch_" + std::to_string(i) + ".bin", cifar(1, {i, 9}));
  CHECK_THROWS_WITH_AS(load_cifar10(folder.path()),
                       doctest::Contains("cifar-10-batches-bin/data_batch_5.bin: no such file; "), FileError);
  put(ten + "data_batch_5.bin", cifar(1, {5}));
  const auto data = load_cifar10(folder.path());
  CHECK(data.targets() == Labels({9}, {1, 9, 2, 9, 3, 9, 4, 9, 5}));
  CHECK(data.get(8).input.shape() == Shape{3, 32, 32});
  CHECK(data.get(8).input(2, 31, 31) == 105.0f / 255);
  put(ten + "test_batch.bin", cifar(1, {7}) + "x");
  CHECK_THROWS_WITH_AS(load_cifar10(folder.path(), false), doctest::Contains("expected CIFAR-10 records of 3073 bytes"),
                       FileError);
  put(hundred + "train.bin", cifar(2, {99, 0}));
  CHECK(load_cifar100(folder.path()).targets() == Labels({2}, {99, 0}));
}

TEST_CASE("load_camvid reads images with their labels, and says which of them do not belong together") {
  const TemporaryFolder folder;
  for (const char* dir : {"camvid/train", "camvid/trainannot", "camvid/val", "camvid/valannot"})
    std::filesystem::create_directories(folder / dir);
  const auto image = [&](const std::string& name, const Shape& size, std::uint8_t value) {
    write_png(folder / "camvid/train/" + name, Tensor<std::uint8_t>::full(size.batch(3), value));
  };
  const auto labels = [&](const std::string& name, const Tensor<std::uint8_t>& values) {
    write_png(folder / "camvid/trainannot/" + name, values);
  };
  const auto fails = [&](const std::string& message) {
    CHECK_THROWS_WITH_AS(load_camvid(folder.path(), "train"), (folder / "camvid/train" + message).c_str(), FileError);
  };
  image("b.png", {2, 3}, 51);
  image("a.png", {2, 3}, 255);
  labels("a.png", Tensor<std::uint8_t>({2, 3}, {0, 1, 2, 9, 10, 11}));
  fails(": 2 images, but 1 labels in " + folder / "camvid/trainannot");
  labels("c.png", Tensor<std::uint8_t>({2, 3}));
  fails(": images and labels do not have the same names");
  std::filesystem::rename(folder / "camvid/trainannot/c.png", folder / "camvid/trainannot/b.png");
  labels("b.png", Tensor<std::uint8_t>::full({2, 3}, 4));

  const auto data = load_camvid(folder.path(), "train");
  REQUIRE(data.size() == 2);
  CHECK(data.get(0).target == Labels({2, 3}, {0, 1, 2, 9, 10, 11}));
  CHECK(data.get(0).input == Tensor<float>::ones({3, 2, 3}));
  CHECK(data.get(1).target == Labels::full({2, 3}, 4));
  CHECK(data.get(1).input(2, 1, 2) == 0.2f);
  CHECK(load_camvid(folder.path(), "train", 1).size() == 1);

  labels("b.png", Tensor<std::uint8_t>({3, 2}));
  fails("annot/b.png: expected labels of shape [1, 2, 3], got [1, 3, 2]");
  labels("b.png", Tensor<std::uint8_t>({3, 2, 3}));
  fails("annot/b.png: expected labels of shape [1, 2, 3], got [3, 2, 3]");
  labels("b.png", Tensor<std::uint8_t>({2, 3}, {0, 1, 12, 0, 0, 0}));
  fails("annot/b.png: 12 is not one of the 11 classes, nor 11 for void");
  image("b.png", {3, 3}, 51);
  fails("/b.png: the image has size [3, 3], the first one [2, 3]");
  put(folder / "camvid/train/b.png", "broken");
  CHECK_THROWS_WITH_AS(load_camvid(folder.path(), "train"), doctest::Contains("train/b.png: not a readable PNG"),
                       FileError);
  CHECK_THROWS_WITH_AS(load_camvid(folder.path(), "val"), (folder / "camvid/val: there are no PNG images").c_str(),
                       FileError);
  CHECK_THROWS_WITH_AS(load_camvid(folder.path(), "test"), doctest::Contains("camvid/test: cannot read the folder: "),
                       FileError);
}

TEST_CASE("the real datasets, where LAMINA_DATA has them") {
  const char* dir = std::getenv("LAMINA_DATA");
  if (!dir) {
    MESSAGE("LAMINA_DATA is not set: the real datasets are not read");
    return;
  }
  CHECK(data_directory() == dir);
  const auto mnist = load_mnist(dir), mnist_test = load_mnist(dir, false);
  CHECK(mnist.size() == 60000);
  CHECK(histogram<10>(mnist) == std::array{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949});
  CHECK(histogram<10>(mnist_test) == std::array{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
  CHECK(mean(mnist, 60000, 0) == doctest::Approx(0.1307).epsilon(1e-3));
  const auto fashion = load_fashion_mnist(dir), fashion_test = load_fashion_mnist(dir, false);
  for (const int n : histogram<10>(fashion)) CHECK(n == 6000);
  for (const int n : histogram<10>(fashion_test)) CHECK(n == 1000);
  CHECK(mean(fashion, 60000, 0) == doctest::Approx(0.2860).epsilon(1e-3));
  const auto cifar10 = load_cifar10(dir);
  for (const int n : histogram<10>(cifar10)) CHECK(n == 5000);
  CHECK(load_cifar10(dir, false).size() == 10000);
  const double channels[] = {0.4914, 0.4822, 0.4465};
  for (Index c = 0; c < 3; ++c) CHECK(mean(cifar10, 50000, c) == doctest::Approx(channels[c]).epsilon(5e-3));
  if (!std::filesystem::exists(std::string(dir) + "/camvid")) return;
  const auto camvid = load_camvid(dir, "test");
  CHECK(camvid.input_shape().rank() == 3);
  for (const std::int32_t label : camvid.targets().values()) REQUIRE((label >= 0 && label <= camvid_void));
}

namespace {

/// A PNG file of these indices [H, W] of a palette of reds, greens and blues, as Pascal VOC's annotations are.
void write_palette_png(const std::string& path, const Tensor<std::uint8_t>& indices) {
  write_png(path, indices);
  std::string png = contents(path);
  const auto big_endian = [](std::size_t value) {
    std::string bytes;
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(value >> shift));
    return bytes;
  };
  const auto checksum = [&](const std::string& chunk) {
    return big_endian(crc32(0, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<uInt>(chunk.size())));
  };
  png[25] = 3;
  png.replace(29, 4, checksum(png.substr(12, 17)));
  std::string palette = "PLTE";
  for (int i = 0; i < 256; ++i)
    palette += {static_cast<char>(255 - i), static_cast<char>(37 * i), static_cast<char>(i / 2)};
  png.insert(33, big_endian(palette.size() - 4) + palette + checksum(palette));
  put(path, png);
}

}  // namespace

TEST_CASE("read_label_image gives a palette's indices, and grey values") {
  const TemporaryFolder folder;
  Tensor<std::uint8_t> values({3, 100});
  for (Index i = 0; i < values.numel(); ++i) values.data()[i] = static_cast<std::uint8_t>(i * 7);
  write_palette_png(folder / "palette.png", values);
  write_png(folder / "grey.png", values);
  CHECK(read_image(folder / "palette.png").dim(0) == 3);
  for (const char* name : {"palette.png", "grey.png"}) {
    const Labels labels = read_label_image(folder / name);
    REQUIRE(labels.shape() == values.shape());
    for (Index i = 0; i < values.numel(); ++i) CHECK(labels.data()[i] == values.data()[i]);
  }
  write_png(folder / "colours.png", Tensor<std::uint8_t>({3, 2, 2}));
  CHECK_THROWS_WITH_AS(read_label_image(folder / "colours.png"),
                       (folder / "colours.png: expected grey values of 8 bits or a palette's indices").c_str(),
                       FileError);
  put(folder / "text.png", "no image");
  CHECK_THROWS_WITH_AS(read_label_image(folder / "text.png"),
                       (folder / "text.png: expected a PNG image with a number for every pixel").c_str(), FileError);
}

TEST_CASE("Pascal VOC, ADE20K and Cityscapes are read in their layouts") {
  const TemporaryFolder folder;
  const auto image = [&](const std::string& path, Index h, Index w) {
    std::filesystem::create_directories(std::filesystem::path(folder / path).parent_path());
    write_png(folder / path, Tensor<std::uint8_t>::full({3, h, w}, 51));
  };
  const auto labels = [&](const std::string& path, bool palette, Index h, Index w, std::uint8_t first,
                          std::uint8_t other) {
    std::filesystem::create_directories(std::filesystem::path(folder / path).parent_path());
    Tensor<std::uint8_t> values = Tensor<std::uint8_t>::full({h, w}, other);
    values.data()[0] = first;
    palette ? write_palette_png(folder / path, values) : write_png(folder / path, values);
  };

  put(folder / "voc/ImageSets/Segmentation/val.txt", "2007_b\n2007_a\r\n");
  for (const char* name : {"2007_a", "2007_b"}) image(text("voc/JPEGImages/", name, ".jpg"), 4, 6);
  labels("voc/SegmentationClass/2007_a.png", true, 4, 6, 255, 15);
  labels("voc/SegmentationClass/2007_b.png", true, 4, 6, 20, 0);
  const auto voc = load_voc(folder / "voc", "val");
  REQUIRE(voc.size() == 2);
  CHECK(voc.file(0).image == folder / "voc/JPEGImages/2007_b.jpg");
  CHECK(voc.get(0).target(0, 0) == 20);
  CHECK(voc.get(0).input(2, 3, 5) == doctest::Approx(0.2));
  CHECK(voc.get(1).target(0, 0) == segmentation_void);
  CHECK(voc.get(1).target(3, 5) == 15);
  labels("voc/SegmentationClass/2007_a.png", true, 4, 6, 21, 0);
  CHECK_THROWS_WITH_AS(voc.get(1), (folder / "voc/SegmentationClass/2007_a.png: 21 is none of the classes").c_str(),
                       FileError);
  labels("voc/SegmentationClass/2007_a.png", true, 4, 5, 1, 0);
  CHECK_THROWS_WITH_AS(
      voc.get(1),
      (folder / "voc/SegmentationClass/2007_a.png: expected labels of the image's size [4, 6], got [4, 5]").c_str(),
      FileError);
  put(folder / "voc/ImageSets/Segmentation/none.txt", "\n");
  CHECK_THROWS_WITH_AS(load_voc(folder / "voc", "none"),
                       (folder / "voc/ImageSets/Segmentation/none.txt: there are no names").c_str(), FileError);
  CHECK_THROWS_AS(load_voc(folder / "voc", "train"), FileError);

  image("ade/images/validation/ADE_val_1.jpg", 3, 5);
  labels("ade/annotations/validation/ADE_val_1.png", false, 3, 5, 0, 150);
  const auto ade = load_ade20k(folder / "ade", "validation");
  REQUIRE(ade.size() == 1);
  CHECK(ade.get(0).target(0, 0) == segmentation_void);
  CHECK(ade.get(0).target(1, 1) == 149);
  CHECK_THROWS_AS(load_ade20k(folder / "ade", "training"), FileError);

  image("city/leftImg8bit/val/ulm/ulm_1_2_leftImg8bit.png", 4, 8);
  labels("city/gtFine/val/ulm/ulm_1_2_gtFine_labelIds.png", false, 4, 8, 3, 26);
  const auto city = load_cityscapes(folder / "city", "val");
  REQUIRE(city.size() == 1);
  CHECK(city.get(0).target(0, 0) == segmentation_void);
  CHECK(cityscapes_classes[static_cast<std::size_t>(city.get(0).target(1, 1))] == "car");
  CHECK_THROWS_WITH_AS(load_cityscapes(folder / "city", "train"),
                       (folder / "city/leftImg8bit/train: cannot read the folder: No such file or directory").c_str(),
                       FileError);
}
