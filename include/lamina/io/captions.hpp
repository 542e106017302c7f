#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lamina/data/captions.hpp"
#include "lamina/data/wordpiece.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"

namespace lamina::inline LAMINA_ABI {

/// Reads a vocab.txt, one token a line; see decode_vocabulary. Throws FileError when it cannot be read.
WordPiece load_vocabulary(const std::string& path, const WordPieceOptions& options = {});

/// Captions of COCO's captions_*.json (Chen et al. 2015), {"images": [{"id", "file_name"}, ...], "annotations":
/// [{"image_id", "caption"}, ...]}: the images that have some, in the file's order. `source` is the file's path, for
/// messages. Throws FileError for what is not such a text (cut short, another annotation file), for a caption of an
/// image that is not listed, and for an empty one.
std::vector<ImageCaptions> decode_coco_captions(const std::string& text, const std::string& source);

/// Image files, decoded when asked for; their targets are their numbers.
template <class Scalar = float>
class ImageFiles : public Dataset<Scalar> {
 public:
  /// Images at these paths, decoded when asked for; grey ones become RGB unless said otherwise.
  explicit ImageFiles(std::vector<std::string> paths, ImageOptions options = {.channels = 3})
      : paths_(std::move(paths)), options_(options) {}

  /// The number of images.
  Index size() const override { return static_cast<Index>(paths_.size()); }
  Example<Scalar> get(Index i) const override {
    check_sample("ImageFiles", i, size());
    return {to_float<Scalar>(read_image(paths_[static_cast<std::size_t>(i)], options_)),
            Labels::full({}, static_cast<std::int32_t>(i))};
  }

 private:
  std::vector<std::string> paths_;
  ImageOptions options_;
};

/// Options of load_captions.
struct LoadCaptionsOptions {
  std::string captions = {};    ///< the file of captions; empty: the one in the folder
  std::string images = {};      ///< the folder of images; empty: the one in the folder
  bool skip_unmatched = false;  ///< leave out images without captions and captions without images
};

namespace detail {

/// The only file of captions in a folder.
std::string find_captions(const std::string& dir);

}  // namespace detail

/// The folder of images in a folder of a data set: images, or what Flickr8k and Flickr30k call it. Throws FileError if
/// there is none.
std::string find_image_folder(const std::string& dir);

/// Images with captions in the layout of Flickr8k (Hodosh, Young, Hockenmaier 2013), Flickr30k (Young et al. 2014) and
/// COCO: in `dir` a folder of images and a file of captions (see decode_captions and decode_coco_captions). Throws
/// FileError for what is missing or damaged; for captions of images that are not there and for images without captions,
/// unless asked to leave them out: their number and the first of them. (Flickr8k itself has captions for one image that
/// it has not.)
template <class Scalar = float>
CaptionDataset<Scalar> load_captions(const std::string& dir, const LoadCaptionsOptions& options = {}) {
  try {
    const std::string source = options.captions.empty() ? detail::find_captions(dir) : options.captions;
    const std::string folder = options.images.empty() ? find_image_folder(dir) : options.images;
    std::vector<ImageCaptions> entries = source.ends_with(".json") ? decode_coco_captions(read_text(source), source)
                                                                   : decode_captions(read_text(source), source);
    std::vector<std::string> present;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.is_regular_file() && has_image_extension(entry.path()))
        present.push_back(entry.path().filename().string());
    std::sort(present.begin(), present.end());

    const auto absent = [&](const ImageCaptions& entry) {
      return !std::binary_search(present.begin(), present.end(), entry.image);
    };
    const auto first_absent = std::find_if(entries.begin(), entries.end(), absent);
    if (first_absent != entries.end() && !options.skip_unmatched)
      throw FileError(text(source, ": ", std::count_if(entries.begin(), entries.end(), absent), " of ", entries.size(),
                           " images are not in ", folder, ", the first is ", first_absent->image));
    std::erase_if(entries, absent);
    require<FileError>(!entries.empty(), source, ": none of its images are in ", folder);

    if (!options.skip_unmatched) {
      std::unordered_set<std::string_view> described;
      for (const ImageCaptions& entry : entries) described.insert(entry.image);
      const auto silent = [&](const std::string& name) { return !described.contains(name); };
      const auto first = std::find_if(present.begin(), present.end(), silent);
      if (first != present.end())
        throw FileError(text(folder, ": ", std::count_if(present.begin(), present.end(), silent), " of ",
                             present.size(), " images have no captions in ", source, ", the first is ", *first));
    }
    std::vector<std::string> paths;
    for (const ImageCaptions& entry : entries) paths.push_back(text(folder, "/", entry.image));
    return {std::make_shared<const ImageFiles<Scalar>>(std::move(paths)), std::move(entries)};
  } catch (const std::filesystem::filesystem_error& error) {
    throw FileError(text(error.path1().string(), ": cannot read: ", error.code().message()));
  }
}

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/captions-inl.hpp"
#endif
