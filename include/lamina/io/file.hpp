#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/core/error.hpp"
#include "lamina/data/lines.hpp"

namespace lamina::inline LAMINA_ABI {

/// The contents of a file.
using Bytes = std::vector<std::uint8_t>;

namespace detail {

/// Throws FileError: "PATH: cannot open: No such file or directory".
[[noreturn]] inline void fail_file(const std::string& path, const char* action, int error) {
  throw FileError(text(path, ": cannot ", action, ": ", std::strerror(error)));
}

/// An open file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

Descriptor open_to_read(const std::string& path);

}  // namespace detail

/// f(), in which memory that ends is an error of this file.
template <class F>
auto within_memory(const std::string& path, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    detail::fail_file(path, "read", ENOMEM);
  } catch (const OutOfMemory& error) {
    throw FileError(text(path, ": cannot read: ", error.what()));
  }
}

/// Limits of reading.
struct ReadOptions {
  /// Most bytes that compressed data may become, or that come from what has no size of its own (a pipe, a device).
  std::size_t max_bytes = std::size_t{1} << 30;
};

namespace detail {

/// The bytes of a file as they are.
Bytes read_all(const std::string& path, const ReadOptions& options = {});

/// Decompressed data, and the offset at which the compressed data ended.
struct Inflated {
  Bytes data;
  std::size_t end;
};

/// Inflates bytes from an offset on: gzip, one or more members, or raw deflate. More than `most` bytes are an error:
/// "SOURCE: the decompressed data exceeds BOUND".
enum class Deflated { gzip, raw };
Inflated inflated(const std::string& source, std::span<const std::uint8_t> bytes, std::size_t begin, Deflated form,
                  std::size_t most, std::string_view bound);

}  // namespace detail

/// Whether there is something at this path, readable or not.
bool file_exists(const std::string& path);

/// Bytes that begin as gzip does, one or more members, decompressed; others as they are. `source` is the file's path,
/// for messages. Throws FileError, with the offset, when the compressed data is damaged, cut short, or followed by
/// other data, and when it is larger than options.max_bytes.
Bytes decompress(Bytes bytes, const std::string& source, const ReadOptions& options = {});

/// All bytes of a file, decompressed if it is gzip; see decompress. Throws FileError, with the system's reason, when it
/// cannot be read or memory does not hold it.
Bytes read_file(const std::string& path, const ReadOptions& options = {});

/// A text file, decompressed as by read_file, without the UTF-8 byte order mark that some editors write before it.
std::string read_text(const std::string& path, const ReadOptions& options = {});

/// The lines of a text file, whether they end as on Unix or on Windows.
std::vector<std::string> read_lines(const std::string& path, const ReadOptions& options = {});

namespace detail {

/// What writing to a path writes: the path, or what a symbolic link there leads to, be it there yet or not.
std::string behind_links(const std::string& path);

}  // namespace detail

/// Writes a file whole or not at all: into a temporary file beside it, which commit() syncs to the disk and renames
/// over the old one. Without commit(), or after a failure, the temporary file is removed and the old one is as it was;
/// what a writer leaves that is killed, the next one removes. Through a symbolic link the file behind it is written.
/// What is not a regular file (/dev/stdout, a pipe) is written directly.
class AtomicFile {
 public:
  /// Throws FileError when the directory cannot be written.
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends. Throws FileError with the system's reason (a full disk: "No space left on device"; the limit of a file's
  /// size, which would otherwise end the program: "File too large").
  void write(std::span<const std::uint8_t> bytes);
  /// Appends characters.
  void write(std::string_view characters) {
    write({reinterpret_cast<const std::uint8_t*>(characters.data()), characters.size()});
  }

  /// Makes what was written the file. Throws FileError; the old file is then as it was.
  void commit();

 private:
  [[noreturn]] void abandon(const char* action, int error);

  std::string path_;       // as the caller gave it
  std::string target_;     // the file to replace
  std::string temporary_;  // empty: writing directly, or done
  detail::Descriptor file_;
};

/// Writes a whole file by AtomicFile.
void write_file_atomically(const std::string& path, std::span<const std::uint8_t> bytes);
/// The same with characters.
void write_file_atomically(const std::string& path, std::string_view characters);

namespace detail {

/// The bytes of a file, mapped into memory for reading or given, shared by the tensors over them.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  MappedFile() = default;
  explicit MappedFile(Bytes bytes) : given_(std::move(bytes)) {}
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  std::span<const std::uint8_t> bytes() const { return mapped_.data() ? mapped_ : given_; }

 private:
  std::span<const std::uint8_t> mapped_;
  Bytes given_;
};

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/file-inl.hpp"
#endif
