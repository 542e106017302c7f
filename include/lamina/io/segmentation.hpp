#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/data/dataset.hpp"
#include "lamina/io/image.hpp"

namespace lamina::inline LAMINA_ABI {

/// The classes of CamVid as SegNet has them; label 11 is void.
inline constexpr std::array<std::string_view, 11> camvid_classes = {
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"};
inline constexpr std::int32_t camvid_void = 11;  ///< the label of pixels that belong to none of the classes

/// The classes of Pascal VOC's segmentations.
inline constexpr std::array<std::string_view, 21> voc_classes = {
    "background", "aeroplane", "bicycle",     "bird",  "boat",        "bottle", "bus",
    "car",        "cat",       "chair",       "cow",   "diningtable", "dog",    "horse",
    "motorbike",  "person",    "pottedplant", "sheep", "sofa",        "train",  "tvmonitor"};

namespace detail {
std::vector<std::string> png_files(const std::string& dir);
}  // namespace detail

/// CamVid (Brostow, Fauqueur, Cipolla 2009) in SegNet's layout, and any dataset laid out alike: colour images
/// dir/camvid/SPLIT/*.png and labels dir/camvid/SPLITannot/*.png of the same names, single-channel with class indices,
/// for the splits "train", "val" and "test". All images have one size; the first `limit` of them are read. Throws
/// FileError, naming the file, for images and labels that differ in number, name or size, labels that are no class, and
/// what cannot be read.
template <class Scalar = float>
TensorDataset<Scalar> load_camvid(const std::string& dir, const std::string& split,
                                  Index limit = std::numeric_limits<Index>::max()) {
  const std::string folder = text(dir, "/camvid/", split);
  const std::vector<std::string> names = detail::png_files(folder), annotated = detail::png_files(folder + "annot");
  require<FileError>(names.size() == annotated.size(), folder, ": ", names.size(), " images, but ", annotated.size(),
                     " labels in ", folder, "annot");
  require<FileError>(names == annotated, folder, ": images and labels do not have the same names");
  const Index count = std::min(limit, static_cast<Index>(names.size()));
  Tensor<std::uint8_t> images;
  Labels labels;
  for (Index i = 0; i < count; ++i) {
    const std::string& name = names[static_cast<std::size_t>(i)];
    const std::string image_path = folder + "/" + name, label_path = folder + "annot/" + name;
    const Tensor<std::uint8_t> image = read_image(image_path, {.channels = 3}), label = read_image(label_path);
    const Shape size = image.shape().tail(1);
    if (i == 0) {
      images = Tensor<std::uint8_t>(image.shape().batch(count));
      labels = Labels(size.batch(count));
    }
    require<FileError>(size == labels.shape().tail(1), image_path, ": the image has size ", size, ", the first one ",
                       labels.shape().tail(1));
    require<FileError>(label.shape() == size.batch(1), label_path, ": expected labels of shape ", size.batch(1),
                       ", got ", label.shape());
    for (const std::uint8_t value : label.values())
      require<FileError>(value <= camvid_void, label_path, ": ", int{value}, " is not one of the ",
                         camvid_classes.size(), " classes, nor ", camvid_void, " for void");
    std::copy_n(image.data(), image.numel(), images.data() + i * image.numel());
    std::copy_n(label.data(), label.numel(), labels.data() + i * label.numel());
  }
  return TensorDataset<Scalar>(std::move(images), std::move(labels));
}

/// The 19 classes of Cityscapes that count, by their train ids.
inline constexpr std::array<std::string_view, 19> cityscapes_classes = {
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky",  "person",   "rider",    "car",  "truck", "bus",  "train",         "motorcycle",   "bicycle"};

inline constexpr std::int32_t segmentation_void = 255;  ///< the label of pixels that do not count

/// The numbers [H, W] that a PNG file has for its pixels: grey values, or indices of its palette, as the annotations of
/// segmentation data are kept (Pascal VOC, ADE20K, Cityscapes). Throws FileError for a file that is no such image, or
/// has colours or grey values of other than 8 bits.
Labels read_label_image(const std::string& path);

/// An image and the file of its labels.
struct SegmentationFile {
  std::string image;   ///< PNG or JPEG
  std::string labels;  ///< PNG, see read_label_image
};

/// Images with a class for every pixel, each in two files, decoded when asked for; they may differ in size, and
/// SegmentationAugment, say, makes them equal. A table of 256 says which class a stored number is, or
/// segmentation_void; numbers that it has -1 for are none.
template <class Scalar = float>
class SegmentationFiles : public Dataset<Scalar> {
 public:
  using Table = std::array<std::int32_t, 256>;  ///< the class of each stored number

  /// Numbers 0 to classes - 1 are classes, 255 is segmentation_void.
  static Table plain(Index classes) {
    Table table;
    for (std::size_t i = 0; i < 256; ++i)
      table[i] = static_cast<Index>(i) < classes ? static_cast<std::int32_t>(i) : -1;
    table[255] = segmentation_void;
    return table;
  }

  /// Throws ValueError without files.
  SegmentationFiles(std::vector<SegmentationFile> files, const Table& table) : files_(std::move(files)), table_(table) {
    require(!files_.empty(), "SegmentationFiles: there are no files");
  }

  /// The number of images.
  Index size() const override { return static_cast<Index>(files_.size()); }
  /// Throws FileError, naming the file, for what cannot be read, an image and labels of different sizes, and a number
  /// that is no class.
  Example<Scalar> get(Index i) const override {
    check_sample("SegmentationFiles", i, size());
    const SegmentationFile& file = files_[static_cast<std::size_t>(i)];
    const Tensor<std::uint8_t> image = read_image(file.image, {.channels = 3});
    Labels labels = read_label_image(file.labels);
    require<FileError>(labels.shape() == image.shape().tail(1), file.labels, ": expected labels of the image's size ",
                       image.shape().tail(1), ", got ", labels.shape());
    for (Index p = 0; p < labels.numel(); ++p) {
      const std::int32_t stored = std::as_const(labels).data()[p], label = table_[static_cast<std::size_t>(stored)];
      require<FileError>(label >= 0, file.labels, ": ", stored, " is none of the classes");
      labels.data()[p] = label;
    }
    return {to_float<Scalar>(image), std::move(labels)};
  }

  /// The files of sample i.
  const SegmentationFile& file(Index i) const {
    check_sample("SegmentationFiles", i, size());
    return files_[static_cast<std::size_t>(i)];
  }

 private:
  std::vector<SegmentationFile> files_;
  Table table_;
};

/// Pascal VOC's layout: dir/JPEGImages/NAME.jpg, dir/ANNOTATIONS/NAME.png with the palette's indices, and a NAME in
/// each line of dir/ImageSets/Segmentation/SPLIT.txt ("train", "val", "trainval"; "trainaug" where it was added, with
/// annotations "SegmentationClassAug"). dir is VOCdevkit/VOC2012. Throws FileError for a list that cannot be read, or
/// is empty.
template <class Scalar = float>
SegmentationFiles<Scalar> load_voc(const std::string& dir, const std::string& split,
                                   const std::string& annotations = "SegmentationClass") {
  const std::string list = text(dir, "/ImageSets/Segmentation/", split, ".txt");
  std::vector<SegmentationFile> files;
  for (const std::string& name : read_lines(list))
    if (!name.empty())
      files.push_back({text(dir, "/JPEGImages/", name, ".jpg"), text(dir, "/", annotations, "/", name, ".png")});
  require<FileError>(!files.empty(), list, ": there are no names");
  return {std::move(files), SegmentationFiles<Scalar>::plain(static_cast<Index>(voc_classes.size()))};
}

/// ADE20K's layout (SceneParsing): dir/images/SPLIT/NAME.jpg and dir/annotations/SPLIT/NAME.png for the splits
/// "training" and "validation", where 0 does not count and 1 to 150 are the classes 0 to 149. Throws FileError for a
/// folder that cannot be read or has no images.
template <class Scalar = float>
SegmentationFiles<Scalar> load_ade20k(const std::string& dir, const std::string& split) {
  std::vector<SegmentationFile> files;
  for (const std::string& name : detail::png_files(text(dir, "/annotations/", split)))
    files.push_back({text(dir, "/images/", split, "/", name.substr(0, name.size() - 4), ".jpg"),
                     text(dir, "/annotations/", split, "/", name)});
  typename SegmentationFiles<Scalar>::Table table;
  table.fill(-1);
  table[0] = segmentation_void;
  for (std::int32_t k = 1; k <= 150; ++k) table[static_cast<std::size_t>(k)] = k - 1;
  return {std::move(files), table};
}

/// Cityscapes' layout: dir/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and dir/gtFine/SPLIT/CITY/*_gtFine_labelIds.png for
/// the splits "train" and "val"; the 34 ids become the 19 train ids, and segmentation_void where they do not count.
/// Throws FileError for folders that cannot be read or have no images.
template <class Scalar = float>
SegmentationFiles<Scalar> load_cityscapes(const std::string& dir, const std::string& split) {
  const std::string images = text(dir, "/leftImg8bit/", split), ending = "_leftImg8bit.png";
  std::error_code error;
  std::vector<std::string> cities;
  for (const auto& entry : std::filesystem::directory_iterator(images, error))
    if (entry.is_directory()) cities.push_back(entry.path().filename().string());
  require<FileError>(!error, images, ": cannot read the folder: ", error.message());
  require<FileError>(!cities.empty(), images, ": there are no folders of cities");
  std::sort(cities.begin(), cities.end());
  std::vector<SegmentationFile> files;
  for (const std::string& city : cities)
    for (const std::string& name : detail::png_files(images + "/" + city)) {
      if (!name.ends_with(ending)) continue;
      const std::string stem = name.substr(0, name.size() - ending.size());
      files.push_back({text(images, "/", city, "/", name),
                       text(dir, "/gtFine/", split, "/", city, "/", stem, "_gtFine_labelIds.png")});
    }
  require<FileError>(!files.empty(), images, ": there are no images *", ending);
  typename SegmentationFiles<Scalar>::Table table;
  table.fill(-1);
  std::fill_n(table.begin(), 34, segmentation_void);
  table[255] = segmentation_void;  // the license plates' -1
  constexpr std::array ids = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33};
  for (std::size_t k = 0; k < ids.size(); ++k) table[static_cast<std::size_t>(ids[k])] = static_cast<std::int32_t>(k);
  return {std::move(files), table};
}

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/segmentation-inl.hpp"
#endif
