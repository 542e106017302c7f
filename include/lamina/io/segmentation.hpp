#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <string_view>
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
inline std::vector<std::string> png_files(const std::string& dir) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error))
    if (entry.path().extension() == ".png") names.push_back(entry.path().filename().string());
  require<FileError>(!error, dir, ": cannot read the folder: ", error.message());
  require<FileError>(!names.empty(), dir, ": there are no PNG images");
  std::sort(names.begin(), names.end());
  return names;
}
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

}  // namespace lamina::inline LAMINA_ABI
