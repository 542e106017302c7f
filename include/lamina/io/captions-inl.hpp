#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/captions.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE WordPiece load_vocabulary(const std::string& path, const WordPieceOptions& options) {
  return decode_vocabulary(read_text(path), path, options);
}

LAMINA_IO_INLINE std::vector<ImageCaptions> decode_coco_captions(const std::string& text, const std::string& source) {
  using Json = nlohmann::json;
  try {
    const Json json = Json::parse(text);
    require<FileError>(json.is_object() && json.contains("images") && json.contains("annotations"), source,
                       ": expected an object with images and annotations");
    std::vector<ImageCaptions> entries;
    std::unordered_map<std::int64_t, std::size_t> places;
    for (const Json& image : json["images"]) {
      const bool added = places.emplace(image.at("id").get<std::int64_t>(), entries.size()).second;
      require<FileError>(added, source, ": image ", image.at("id").dump(), " is listed twice");
      entries.push_back({image.at("file_name").get<std::string>(), {}});
    }
    for (const Json& annotation : json["annotations"]) {
      const auto place = places.find(annotation.at("image_id").get<std::int64_t>());
      require<FileError>(place != places.end(), source, ": a caption of image ", annotation.at("image_id").dump(),
                         ", which is not listed");
      const auto caption = annotation.at("caption").get<std::string>();
      const std::string_view words = trimmed(caption);
      require<FileError>(!words.empty(), source, ": a caption of ", entries[place->second].image, " is empty");
      entries[place->second].captions.emplace_back(words);
    }
    std::erase_if(entries, [](const ImageCaptions& entry) { return entry.captions.empty(); });
    require<FileError>(!entries.empty(), source, ": there are no captions in it");
    return entries;
  } catch (const Json::exception& error) {
    throw FileError(lamina::text(source, ": not COCO's captions (cut short?): ", error.what()));
  }
}

namespace detail {

LAMINA_IO_INLINE std::string find_captions(const std::string& dir) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    const bool known = name == "captions.csv" || name == "captions.txt" || name == "results.csv" ||
                       (name.starts_with("captions_") && name.ends_with(".json"));
    if (entry.is_regular_file() && (known || name.ends_with(".token.txt") || name.ends_with(".token")))
      found.push_back(entry.path().string());
  }
  std::sort(found.begin(), found.end());
  require<FileError>(
      !found.empty(), dir,
      ": no captions: expected a captions.csv, captions.txt, results.csv, captions_*.json, *.token.txt or "
      "*.token");
  require<FileError>(found.size() == 1, dir, ": several files of captions, ", found[0], " and ",
                     found.size() > 1 ? found[1] : "", ": say which");
  return found[0];
}

}  // namespace detail

LAMINA_IO_INLINE std::string find_image_folder(const std::string& dir) {
  for (const char* name :
       {"images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images", "flickr30k-images"})
    if (std::filesystem::is_directory(std::filesystem::path(dir) / name)) return text(dir, "/", name);
  throw FileError(text(dir, ": no folder images, Images, Flicker8k_Dataset or flickr30k_images"));
}

}  // namespace lamina::inline LAMINA_ABI
