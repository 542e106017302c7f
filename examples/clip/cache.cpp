#include "clip/cache.hpp"

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>

#include "lamina/core/numbers.hpp"
#include "lamina/io/safetensors.hpp"

namespace lamina::examples::clip {

namespace {

/// FNV-1a of what goes in, eight bytes at a time.
struct Fingerprint {
  std::uint64_t value = 0xcbf29ce484222325;
  void add(std::span<const std::uint8_t> bytes) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data(), sizeof word);
      value = (value ^ word) * 0x100000001b3;
      value ^= value >> 32;  // or the upper bytes would never reach the lower ones
    }
    for (const std::uint8_t byte : bytes) value = (value ^ byte) * 0x100000001b3;
  }
  void add(const std::string& text) { add({reinterpret_cast<const std::uint8_t*>(text.c_str()), text.size() + 1}); }
  std::string hex() const {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(value));
    return digits;
  }
};

/// Of the images' names and their captions, and of their files' sizes and times.
std::string fingerprint(const CaptionDataset<float>& images, const std::string& folder) {
  Fingerprint print;
  print.add(folder);
  for (Index i = 0; i < images.size(); ++i) {
    print.add(images.name(i));
    if (folder.empty()) {
      for (const std::string& caption : images.captions(i)) print.add(caption);
      continue;
    }
    const std::filesystem::path path = std::filesystem::path(folder) / images.name(i);
    std::error_code ignored;
    print.add(text(static_cast<Index>(std::filesystem::file_size(path, ignored)), " ",
                   std::filesystem::last_write_time(path, ignored).time_since_epoch().count()));
  }
  return print.hex();
}

}  // namespace

std::string fingerprint_of_file(const std::string& path) {
  Fingerprint print;
  print.add(read_file(path));
  return print.hex();
}
std::string fingerprint_of_text(const std::string& text) {
  Fingerprint print;
  print.add(text);
  return print.hex();
}

std::pair<Clip, Data> open(Settings& s) {
  Clip clip = read_model(s);
  s.network = clip.network;
  if (s.dataset.empty()) {
    s.dataset = clip.dataset;
    if (s.validation.empty()) s.validation = clip.validation;
    if (s.test.empty()) s.test = clip.test;
  }
  require(!s.dataset.empty(), s.model, ": does not say what it has learned from: --dataset");
  return {std::move(clip), load(s)};
}

Tensor<float> cached_embeddings(const Clip& clip, const CaptionDataset<float>& images, const std::string& folder,
                                const Settings& s) {
  const std::string path = text(s.model, ".", s.split, ".embeddings");
  const Metadata wanted{{"model", fingerprint_of_file(s.model)}, {"images", fingerprint(images, folder)}};
  if (file_exists(path)) {
    try {
      const SafetensorsFile file(path);
      const auto same = [&](const char* key) {
        const auto found = file.metadata().find(key);
        return found != file.metadata().end() && found->second == wanted.at(key);
      };
      if (same("model") && same("images")) {
        Tensor<float> embeddings = file.tensor("embeddings");
        if (embeddings.shape() == Shape{images.size(), clip.network.projection}) {
          std::printf("embeddings of %s images from %s\n", with_commas(images.size()).c_str(), path.c_str());
          return embeddings;
        }
      }
      std::printf("%s is of %s; embedding again\n", path.c_str(), same("model") ? "other images" : "another model");
    } catch (const FileError& error) {
      std::printf("%s; embedding again\n", error.what());
    }
  }
  const Tensor<float> embeddings = l2_normalize(embed(clip, images, s, "embedding"));
  write_safetensors(path, {{"embeddings", AnyTensor(embeddings)}}, wanted);
  std::printf("embeddings of %s images written to %s\n", with_commas(images.size()).c_str(), path.c_str());
  return embeddings;
}

}  // namespace lamina::examples::clip
