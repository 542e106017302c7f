#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
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

/// What gzip makes of a text.
inline std::string gzipped(std::string_view text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// The exit code of f() in a process of its own, for what would change this one.
template <class F>
int in_child(F f) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(f());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// How long f() takes, in the processor's time, which does not depend on what else runs.
template <class F>
double seconds(F f) {
  const std::clock_t begin = std::clock();
  f();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

/// The message of the FileError that f() throws, without the path before it; empty if there is none.
template <class F>
std::string complaint_of(const std::string& path, F f) {
  try {
    f();
  } catch (const lamina::FileError& error) {
    const std::string what = error.what();
    REQUIRE(what.starts_with(path + ": "));
    return what.substr(path.size() + 2);
  }
  return "";
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
