#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "lamina/core/parallel.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/io/image.hpp"

/// One's own photographs: a folder for each class.
namespace lamina::inline LAMINA_ABI {

/// Whether a file name's extension is that of a PNG or JPEG image.
inline bool has_image_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

/// Options of ImageFolder.
struct ImageFolderOptions {
  int channels = 3;                       ///< grey, coloured and transparent images become so; 0: each as stored
  Index max_pixels = Index{1} << 26;      ///< of an image, see ImageOptions
  std::vector<std::string> classes = {};  ///< the only ones allowed, in this order: those of the training images
  bool skip_unreadable = false;           ///< decode all images once, and leave out those that cannot be read
};

/// Images in a folder for each class, `dir/CLASS/.../NAME.png` (or .jpg, .jpeg, any case), decoded when asked for;
/// other files are ignored, and folders whose name begins with a dot. Classes are numbered by name, or as
/// ImageFolderOptions::classes says, and then one may have no folder. Images are sorted by class and path, and may
/// differ in size; a transform of the loader makes them equal.
template <class Scalar = float>
class ImageFolder : public Dataset<Scalar> {
 public:
  /// An image that was left out, and why: the message begins with its path.
  struct Skipped {
    std::string path;    ///< of the file
    std::string reason;  ///< what reading it said
  };

  /// Throws FileError when the folder cannot be read, holds no folders, one that is not among the given classes, or one
  /// without images, or without any that can be read.
  explicit ImageFolder(const std::string& dir, ImageFolderOptions options = {})
      : options_(std::move(options)), classes_(options_.classes) {
    namespace fs = std::filesystem;
    try {
      const std::vector<std::string> folders = folders_of(dir);
      require<FileError>(!folders.empty(), dir, ": expected a folder for each class, found none");
      if (classes_.empty()) classes_ = folders;
      for (const std::string& name : folders) {
        const std::string folder = (fs::path(dir) / name).string();
        const auto place = std::find(classes_.begin(), classes_.end(), name);
        require<FileError>(place != classes_.end(), folder, ": '", name, "' is none of the ", classes_.size(),
                           " classes ", listed(classes_));
        const std::size_t before = files_.size();
        for (const auto& entry : fs::recursive_directory_iterator(folder))
          if (entry.is_regular_file() && has_image_extension(entry.path()))
            files_.push_back({entry.path().string(), static_cast<std::int32_t>(place - classes_.begin())});
        require<FileError>(files_.size() > before, folder, ": no PNG or JPEG image for this class");
      }
    } catch (const fs::filesystem_error& error) {
      throw FileError(text(error.path1().string(), ": cannot read: ", error.code().message()));
    }
    std::sort(files_.begin(), files_.end(),
              [](const File& a, const File& b) { return std::tie(a.label, a.path) < std::tie(b.label, b.path); });
    if (options_.skip_unreadable) skip_unreadable(dir);
  }

  /// The number of images.
  Index size() const override { return static_cast<Index>(files_.size()); }
  /// Throws FileError for an image that cannot be read.
  Example<Scalar> get(Index i) const override {
    check_sample("ImageFolder", i, size());
    const File& file = files_[static_cast<std::size_t>(i)];
    return {to_float<Scalar>(read(file)), Labels::full({}, file.label)};
  }

  /// The folders' names, by class.
  const std::vector<std::string>& classes() const { return classes_; }
  /// The class of each image [N]; no image is decoded.
  Labels labels() const {
    Labels result({size()});
    for (Index i = 0; i < size(); ++i) result.data()[i] = files_[static_cast<std::size_t>(i)].label;
    return result;
  }
  /// The file of sample i.
  const std::string& path(Index i) const {
    check_sample("ImageFolder", i, size());
    return files_[static_cast<std::size_t>(i)].path;
  }
  /// The images that were left out.
  const std::vector<Skipped>& skipped() const { return skipped_; }

 private:
  struct File {
    std::string path;
    std::int32_t label;
  };

  static std::vector<std::string> folders_of(const std::string& dir) {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(dir))
      if (std::string name = entry.path().filename().string(); entry.is_directory() && !name.starts_with('.'))
        result.push_back(std::move(name));
    std::sort(result.begin(), result.end());
    return result;
  }
  /// The first names, for messages.
  static std::string listed(const std::vector<std::string>& names) {
    std::string result;
    for (std::size_t i = 0; i < std::min<std::size_t>(5, names.size()); ++i) result += (i ? ", " : "") + names[i];
    return result + (names.size() > 5 ? ", ..." : "");
  }

  Tensor<std::uint8_t> read(const File& file) const {
    return read_image(file.path, {.channels = options_.channels, .max_pixels = options_.max_pixels});
  }

  void skip_unreadable(const std::string& dir) {
    std::vector<std::string> reasons(files_.size());  // empty: it can be read
    parallel_for(0, size(), 1, [&](Index first, Index last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
        try {
          read(files_[i]);
        } catch (const FileError& error) {
          reasons[i] = error.what();
        }
      }
    });
    std::vector<File> readable;
    std::vector<bool> found(classes_.size(), false), wanted(classes_.size(), false);
    for (std::size_t i = 0; i < files_.size(); ++i) {
      const auto label = static_cast<std::size_t>(files_[i].label);
      wanted[label] = true;
      if (!reasons[i].empty()) {
        skipped_.push_back({files_[i].path, std::move(reasons[i])});
        continue;
      }
      found[label] = true;
      readable.push_back(std::move(files_[i]));
    }
    for (std::size_t label = 0; label < classes_.size(); ++label)
      require<FileError>(found[label] || !wanted[label], (std::filesystem::path(dir) / classes_[label]).string(),
                         ": none of the images of this class can be read");
    files_ = std::move(readable);
  }

  ImageFolderOptions options_;
  std::vector<std::string> classes_;
  std::vector<File> files_;
  std::vector<Skipped> skipped_;
};

}  // namespace lamina::inline LAMINA_ABI
