#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// Names of CIFAR-10's classes.
inline constexpr std::array<std::string_view, 10> cifar10_classes = {
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

/// Names of CIFAR-100's fine classes.
inline constexpr std::array<std::string_view, 100> cifar100_classes = {
    "apple",      "aquarium_fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn_mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple_tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak_tree",   "orange",      "orchid",      "otter",
    "palm_tree",  "pear",          "pickup_truck", "pine_tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet_pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow_tree", "wolf",
    "woman",      "worm"};

/// Images [N, 3, 32, 32] as bytes, and their classes [N].
struct CifarRecords {
  Tensor<std::uint8_t> images;  ///< [N, 3, 32, 32]
  Labels labels;                ///< [N]
};

/// Decodes a CIFAR binary file (Krizhevsky 2009): records of one label byte (CIFAR-10) or a coarse and a fine one
/// (CIFAR-100, of which the fine one is kept), and 3 x 32 x 32 bytes. `classes` is 10 or 100; `source` is the file's
/// path, for messages. Throws ValueError for other classes, FileError for a size that is not whole records or a label
/// that is no class.
inline CifarRecords decode_cifar(std::span<const std::uint8_t> bytes, Index classes, const std::string& source) {
  require(classes == 10 || classes == 100, "decode_cifar: classes must be 10 or 100, got ", classes);
  constexpr Index pixels = 3 * 32 * 32;
  const Index label_bytes = classes == 10 ? 1 : 2, record = label_bytes + pixels;
  const auto size = static_cast<Index>(bytes.size());
  require<FileError>(size > 0 && size % record == 0, source, ": expected CIFAR-", classes, " records of ", record,
                     " bytes each, found ", size, " bytes, which is ", size / record, " records and ", size % record,
                     " bytes");
  const Index count = size / record;
  CifarRecords result{Tensor<std::uint8_t>({count, 3, 32, 32}), Labels({count})};
  std::uint8_t* image = result.images.data();
  std::int32_t* label = result.labels.data();
  for (Index i = 0; i < count; ++i) {
    const std::uint8_t* from = bytes.data() + i * record;
    label[i] = from[label_bytes - 1];
    require<FileError>(label[i] < classes, source, ": record ", i, " at offset ", i * record, ": label ", label[i],
                       " is not a class of CIFAR-", classes);
    std::copy_n(from + label_bytes, pixels, image + i * pixels);
  }
  return result;
}

}  // namespace lamina::inline LAMINA_ABI
