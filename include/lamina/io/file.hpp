#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/core/error.hpp"

namespace lamina {

/// The contents of a file.
using Bytes = std::vector<std::uint8_t>;

namespace detail {

/// Throws FileError: "PATH: cannot open: No such file or directory".
[[noreturn]] inline void fail(const std::string& path, const char* action, int error) {
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

inline Descriptor open_to_read(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail(path, "open", errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail(path, "open", errno);
  if (S_ISDIR(status.st_mode)) fail(path, "read", EISDIR);
  return file;
}

inline Bytes read_all(const std::string& path) {
  const Descriptor file = open_to_read(path);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail(path, "read", errno);
  // One byte more than a regular file has shows its end without another reallocation.
  Bytes bytes(static_cast<std::size_t>(status.st_size) + 1);
  std::size_t size = 0;
  while (true) {
    if (size == bytes.size()) bytes.resize(2 * size + 4096);
    const ssize_t got = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path, "read", errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

/// Inflates data from offset `begin` of a file. `window` is zlib's windowBits: 31 for gzip, -15 for raw deflate.
/// Returns where the compressed data ended.
inline std::size_t inflate_into(const std::string& path, std::span<const std::uint8_t> bytes, std::size_t begin,
                                int window, Bytes& out) {
  z_stream stream{};
  require<FileError>(inflateInit2(&stream, window) == Z_OK, path, ": cannot start zlib");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  constexpr std::size_t largest = 1u << 30;  // zlib counts in 32 bits
  std::size_t used = out.size(), position = begin;
  while (true) {
    if (stream.avail_in == 0) {
      const std::size_t piece = std::min(bytes.size() - position, largest);
      stream.next_in = const_cast<Bytef*>(bytes.data() + position);
      stream.avail_in = static_cast<uInt>(piece);
      position += piece;
    }
    if (used == out.size()) out.resize(std::max<std::size_t>(2 * used, 4 * bytes.size() + 1024));
    const std::size_t room = std::min(out.size() - used, largest);
    stream.next_out = out.data() + used;
    stream.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream, Z_NO_FLUSH);
    used += room - stream.avail_out;
    const std::size_t at = position - stream.avail_in;
    if (result == Z_STREAM_END) {
      out.resize(used);
      return at;
    }
    if (result == Z_BUF_ERROR && at == bytes.size())
      throw FileError(text(path, ": the compressed data is cut short at offset ", at));
    if (result != Z_OK && result != Z_BUF_ERROR)
      throw FileError(text(path, ": the compressed data is damaged at offset ", at, ": ",
                           stream.msg ? stream.msg : zError(result)));
  }
}

}  // namespace detail

/// Whether the path names something that can be opened for reading.
inline bool file_exists(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

/// All bytes of a file; one that begins as gzip does is decompressed. Throws FileError, with the system's reason, when
/// it cannot be read, and with the offset when the compressed data is damaged, cut short, or followed by other data.
inline Bytes read_file(const std::string& path) {
  Bytes bytes = detail::read_all(path);
  const auto is_gzip = [&](std::size_t at) {
    return bytes.size() >= at + 2 && bytes[at] == 0x1f && bytes[at + 1] == 0x8b;
  };
  if (!is_gzip(0)) return bytes;
  Bytes out;
  std::size_t end = 0;
  do {  // a gzip file is one or more members
    end = detail::inflate_into(path, bytes, end, 31, out);
  } while (is_gzip(end));
  detail::require<FileError>(end == bytes.size(), path, ": ", bytes.size() - end,
                             " bytes of other data after the end of the gzip data, at offset ", end);
  return out;
}

/// Writes a file whole or not at all: into a temporary file beside it, which commit() syncs to the disk and renames
/// over the old one. Without commit(), or after a failure, the temporary file is removed and the old one is as it was.
/// What is not a regular file (/dev/stdout, a pipe) is written directly.
class AtomicFile {
 public:
  /// Throws FileError when the directory cannot be written.
  explicit AtomicFile(std::string path) : path_(std::move(path)), target_(path_) {
    struct stat old;
    const bool exists = ::stat(path_.c_str(), &old) == 0;
    if (exists && !S_ISREG(old.st_mode)) {
      file_ = detail::Descriptor(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
      if (file_.get() < 0) detail::fail(path_, "write", errno);
      return;
    }
    if (exists) {  // through a symbolic link, to the file itself
      const std::unique_ptr<char, void (*)(void*)> real(::realpath(path_.c_str(), nullptr), std::free);
      if (real) target_ = real.get();
    }
    static std::atomic<unsigned> counter{0};
    temporary_ = detail::text(target_, ".tmp-", ::getpid(), "-", counter++);
    file_ = detail::Descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file_.get() < 0) {
      temporary_.clear();
      detail::fail(path_, "write", errno);
    }
    if (exists && ::fchmod(file_.get(), old.st_mode & 07777) != 0) abandon("write", errno);
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  /// Appends. Throws FileError with the system's reason (a full disk: "No space left on device").
  void write(std::span<const std::uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t put = ::write(file_.get(), bytes.data(), bytes.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) abandon("write", errno);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
  }
  void write(std::string_view characters) {
    write({reinterpret_cast<const std::uint8_t*>(characters.data()), characters.size()});
  }

  /// Makes what was written the file. Throws FileError; the old file is then as it was.
  void commit() {
    if (temporary_.empty()) {
      if (::close(file_.release()) != 0) detail::fail(path_, "write", errno);
      return;
    }
    if (::fsync(file_.get()) != 0) abandon("write", errno);
    if (::close(file_.release()) != 0) abandon("write", errno);
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) abandon("replace", errno);
    temporary_.clear();
    // The new name reaches the disk with its directory. The file is complete either way, so a file system that cannot
    // sync directories is no error.
    const std::size_t slash = target_.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : target_.substr(0, slash + 1);
    const detail::Descriptor parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent.get() >= 0) ::fsync(parent.get());
  }

 private:
  [[noreturn]] void abandon(const char* action, int error) {
    if (!temporary_.empty()) ::unlink(std::exchange(temporary_, {}).c_str());
    detail::fail(path_, action, error);
  }

  std::string path_;       // as the caller gave it
  std::string target_;     // the file to replace
  std::string temporary_;  // empty: writing directly, or done
  detail::Descriptor file_;
};

/// Writes a whole file by AtomicFile.
inline void write_file_atomically(const std::string& path, std::span<const std::uint8_t> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}
inline void write_file_atomically(const std::string& path, std::string_view characters) {
  AtomicFile file(path);
  file.write(characters);
  file.commit();
}

namespace detail {

/// A file mapped into memory for reading, shared by the tensors over it.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path) {
    const Descriptor file = open_to_read(path);
    struct stat status;
    if (::fstat(file.get(), &status) != 0) fail(path, "read", errno);
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = nullptr;
    if (size > 0) {
      data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
      if (data == MAP_FAILED) fail(path, "map", errno);
    }
    return std::shared_ptr<const MappedFile>(new MappedFile(data, size));
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_) ::munmap(data_, size_);
  }
  std::span<const std::uint8_t> bytes() const { return {static_cast<const std::uint8_t*>(data_), size_}; }

 private:
  MappedFile(void* data, std::size_t size) : data_(data), size_(size) {}
  void* data_;
  std::size_t size_;
};

}  // namespace detail
}  // namespace lamina
