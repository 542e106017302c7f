#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "lamina/core/error.hpp"

/// A folder for one test, removed at its end; in memory where there is such a place, since syncing to a disk takes
/// long.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const bool memory = ::access("/dev/shm", W_OK) == 0;
    const std::string parent = memory ? "/dev/shm" : std::filesystem::temp_directory_path().string();
    std::string pattern = parent + "/lamina-test-XXXXXX";
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("cannot make " + pattern);
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  /// How many files and folders lie in it.
  int entries() const { return static_cast<int>(std::distance(std::filesystem::directory_iterator(path_), {})); }

 private:
  std::string path_;
};

inline void put(const std::string& path, std::string_view content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Bytes from hexadecimal digits.
inline std::string hex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  return bytes;
}

/// Whether read(path) throws a FileError that begins with the path for every proper beginning of the content. Prints
/// the first size that does not.
template <class Read>
bool refuses_truncations(const std::string& path, const std::string& content, Read read) {
  for (std::size_t size = 0; size < content.size(); ++size) {
    put(path, content.substr(0, size));
    try {
      read(path);
    } catch (const lamina::FileError& error) {
      if (std::string_view(error.what()).starts_with(path + ": ")) continue;
      MESSAGE("cut to ", size, " bytes: ", error.what());
      return false;
    }
    MESSAGE("accepted when cut to ", size, " of ", content.size(), " bytes");
    return false;
  }
  return true;
}

/// Calls read(path) with every byte of the content damaged in turn; it may succeed or throw a FileError, nothing else.
template <class Read>
void survives_damage(const std::string& path, const std::string& content, Read read) {
  for (std::size_t at = 0; at < content.size(); ++at)
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      put(path, damaged);
      try {
        read(path);
      } catch (const lamina::FileError&) {
      }
    }
}
