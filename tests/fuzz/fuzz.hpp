#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "lamina/core/error.hpp"

/// Begins the function of a target: FUZZ_TARGET(npy, const std::uint8_t* data, std::size_t size) { ...; return 0; }.
/// libFuzzer's main calls the one of its program; the driver's program has all of them.
#ifdef FUZZ_LIBFUZZER
#define FUZZ_TARGET(name, ...)                        \
  extern "C" int LLVMFuzzerTestOneInput(__VA_ARGS__); \
  extern "C" int LLVMFuzzerTestOneInput(__VA_ARGS__)
#else
#define FUZZ_TARGET(name, ...)                                                          \
  static int target_##name(__VA_ARGS__);                                                \
  static const bool has_##name = fuzz::targets().emplace(#name, &target_##name).second; \
  static int target_##name(__VA_ARGS__)
#endif

/// Fuzz targets: each gives bytes that nobody would write to one of Lamina's readers, which may read them or throw an
/// Error that a stranger can act on, and nothing else. fuzz/driver.cpp runs them, or clang's libFuzzer (preset "fuzz").
namespace fuzz {

/// A target's function.
using Target = int (*)(const std::uint8_t* data, std::size_t size);

/// The program's targets, by name.
inline std::map<std::string, Target>& targets() {
  static std::map<std::string, Target> all;
  return all;
}

using Input = std::span<const std::uint8_t>;

inline std::string_view text(Input input) { return {reinterpret_cast<const char*>(input.data()), input.size()}; }

inline void expect(bool condition, const char* what, const std::string& found = "") {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s %s\n", what, found.c_str());
  std::abort();
}

/// Calls read(), which may throw an Error; a FileError must begin with the file's path. Returns whether it was read.
template <class Read>
bool attempt(const std::string& path, Read read) {
  try {
    read();
    return true;
  } catch (const lamina::FileError& error) {
    expect(std::string_view(error.what()).starts_with(path), "an error does not name the file:", error.what());
  } catch (const lamina::Error&) {
  }
  return false;
}

/// A file that lies in memory and is written anew for each input.
class InputFile {
 public:
  InputFile() : descriptor_(::memfd_create("fuzz", 0)), path_("/proc/self/fd/" + std::to_string(descriptor_)) {
    expect(descriptor_ >= 0, "cannot make a file in memory");
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile() { ::close(descriptor_); }

  const std::string& put(Input input) {
    expect(::ftruncate(descriptor_, 0) == 0, "cannot empty a file in memory");
    for (std::size_t done = 0; done < input.size();) {
      const ssize_t put = ::pwrite(descriptor_, input.data() + done, input.size() - done, static_cast<off_t>(done));
      expect(put > 0, "cannot write a file in memory");
      done += static_cast<std::size_t>(put);
    }
    return path_;
  }

 private:
  int descriptor_;
  std::string path_;
};

}  // namespace fuzz
