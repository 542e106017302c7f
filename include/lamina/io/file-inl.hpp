#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <array>

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/file.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

LAMINA_IO_INLINE Descriptor open_to_read(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_file(path, "open", errno);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail_file(path, "open", errno);
  if (S_ISDIR(status.st_mode)) fail_file(path, "read", EISDIR);
  return file;
}

LAMINA_IO_INLINE Bytes read_all(const std::string& path, const ReadOptions& options) {
  const Descriptor file = open_to_read(path);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail_file(path, "read", errno);
  const std::size_t expected = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  const auto memory = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(::getpagesize());
  require<FileError>(expected < memory, path, ": cannot read: the file has ", expected, " bytes, this machine ", memory,
                     " of memory");
  const std::size_t most = std::max(expected, options.max_bytes);
  // One byte more than a regular file has shows its end without another reallocation.
  Bytes bytes(expected + 1);
  std::size_t size = 0;
  while (true) {
    require<FileError>(size <= most, path, ": exceeds the limit of ", most, " bytes (ReadOptions::max_bytes)");
    if (size == bytes.size()) bytes.resize(2 * size + 4096);
    const ssize_t got = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_file(path, "read", errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

LAMINA_IO_INLINE bool is_gzip(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

LAMINA_IO_INLINE Inflated inflated(const std::string& source, std::span<const std::uint8_t> bytes, std::size_t begin,
                                   Deflated form, std::size_t most, std::string_view bound) {
  z_stream stream{};
  require<FileError>(inflateInit2(&stream, form == Deflated::gzip ? 31 : -15) == Z_OK, source, ": cannot start zlib");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  constexpr std::size_t largest = 1u << 30;                          // zlib counts in 32 bits
  Bytes out(std::min(most, 4 * (bytes.size() - begin) + 1024) + 1);  // one more shows what is too much
  std::size_t used = 0, position = begin;
  while (true) {
    if (stream.avail_in == 0) {
      const std::size_t piece = std::min(bytes.size() - position, largest);
      stream.next_in = const_cast<Bytef*>(bytes.data() + position);
      stream.avail_in = static_cast<uInt>(piece);
      position += piece;
    }
    if (used == out.size()) out.resize(std::min(most, 2 * used) + 1);
    const std::size_t room = std::min(out.size() - used, largest);
    stream.next_out = out.data() + used;
    stream.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream, Z_NO_FLUSH);
    used += room - stream.avail_out;
    require<FileError>(used <= most, source, ": the decompressed data exceeds ", bound);
    const std::size_t at = position - stream.avail_in;
    if (result == Z_STREAM_END) {
      if (form == Deflated::gzip && is_gzip(bytes.subspan(at)) && inflateReset(&stream) == Z_OK) continue;
      out.resize(used);
      return {std::move(out), at};
    }
    if (result == Z_BUF_ERROR && at == bytes.size())
      throw FileError(text(source, ": the compressed data is cut short at offset ", at));
    if (result != Z_OK && result != Z_BUF_ERROR)
      throw FileError(text(source, ": the compressed data is damaged at offset ", at, ": ",
                           stream.msg ? stream.msg : zError(result)));
  }
}

}  // namespace detail

LAMINA_IO_INLINE bool file_exists(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

LAMINA_IO_INLINE Bytes decompress(Bytes bytes, const std::string& source, const ReadOptions& options) {
  if (!detail::is_gzip(bytes)) return bytes;
  const std::string bound = text("the limit of ", options.max_bytes, " bytes (ReadOptions::max_bytes)");
  auto [data, end] = detail::inflated(source, bytes, 0, detail::Deflated::gzip, options.max_bytes, bound);
  require<FileError>(end == bytes.size(), source, ": ", bytes.size() - end,
                     " bytes of other data after the end of the gzip data, at offset ", end);
  return std::move(data);
}

LAMINA_IO_INLINE Bytes read_file(const std::string& path, const ReadOptions& options) {
  return within_memory(path, [&] { return decompress(detail::read_all(path, options), path, options); });
}

LAMINA_IO_INLINE std::string read_text(const std::string& path, const ReadOptions& options) {
  const Bytes bytes = read_file(path, options);
  return std::string(without_byte_order_mark({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

LAMINA_IO_INLINE std::vector<std::string> read_lines(const std::string& path, const ReadOptions& options) {
  const std::string text = read_text(path, options);
  std::vector<std::string> lines;
  for (std::string_view rest = text; !rest.empty();) lines.emplace_back(take_line(rest));
  return lines;
}

namespace detail {

LAMINA_IO_INLINE std::string behind_links(const std::string& path) {
  std::string target = path;
  for (int links = 0; links < 40; ++links) {
    std::array<char, 4096> to;
    const ssize_t size = ::readlink(target.c_str(), to.data(), to.size());
    if (size < 0) return target;
    const std::string_view next(to.data(), static_cast<std::size_t>(size));
    target = next.starts_with('/') ? std::string(next) : target.substr(0, target.rfind('/') + 1) + std::string(next);
  }
  fail_file(path, "write", ELOOP);
}

/// Keeps a signal from the calling thread while it lives; one that this thread causes meanwhile is forgotten.
class WithoutSignal {
 public:
  explicit WithoutSignal(int signal) : signal_(signal), pending_before_(pending()) {
    sigemptyset(&set_);
    sigaddset(&set_, signal);
    ::pthread_sigmask(SIG_BLOCK, &set_, &old_);
  }
  WithoutSignal(const WithoutSignal&) = delete;
  WithoutSignal& operator=(const WithoutSignal&) = delete;
  ~WithoutSignal() {
    int taken;
    if (!pending_before_ && pending()) ::sigwait(&set_, &taken);
    ::pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }

 private:
  bool pending() const {
    sigset_t now;
    return ::sigpending(&now) == 0 && sigismember(&now, signal_) == 1;
  }
  int signal_;
  bool pending_before_;
  sigset_t set_, old_;
};

/// A new file "TARGET.tmp-NUMBER" to write, with the smallest number that nobody uses. Who writes one holds a lock on
/// it, which ends with the process however that ends: so one that exists without a lock was left by a writer that died,
/// and is removed. Neither process numbers nor machines that share the folder can be confused.
class TemporaryFile {
 public:
  /// Throws FileError, of `path`, when the folder cannot be written.
  TemporaryFile(const std::string& path, const std::string& target, mode_t mode) {
    int number = 0;
    while (!create(text(target, ".tmp-", number), mode)) {
      if (errno != EEXIST) fail_file(path, "write", errno);
      number += !remove_leftover(text(target, ".tmp-", number));
    }
    for (int other = number + 1; other < number + 8; ++other) remove_leftover(text(target, ".tmp-", other));
  }

  Descriptor file;
  std::string name;

 private:
  /// Whether a file could be made and locked; else errno says why.
  bool create(const std::string& candidate, mode_t mode) {
    while (true) {
      Descriptor opened(::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
      if (opened.get() < 0) return false;
      // A file system without locks has no leftovers removed either.
      while (::flock(opened.get(), LOCK_EX) != 0 && errno == EINTR) continue;
      struct stat status;
      if (::fstat(opened.get(), &status) == 0 && status.st_nlink == 0) continue;  // taken for a leftover meanwhile
      file = std::move(opened);
      name = candidate;
      return true;
    }
  }

  /// Whether there was a file of a writer that died, which is gone now.
  static bool remove_leftover(const std::string& name) {
    const Descriptor file(::open(name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.get() < 0 || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return false;
    struct stat locked, named;  // the name may be another file's since
    if (::fstat(file.get(), &locked) != 0 || ::lstat(name.c_str(), &named) != 0) return false;
    if (!S_ISREG(locked.st_mode) || locked.st_ino != named.st_ino || locked.st_dev != named.st_dev) return false;
    return ::unlink(name.c_str()) == 0;
  }
};

LAMINA_IO_INLINE std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file = open_to_read(path);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) fail_file(path, "read", errno);
  const auto size = static_cast<std::size_t>(status.st_size);
  auto result = std::make_shared<MappedFile>();
  if (size == 0) return result;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail_file(path, "map", errno);
  result->mapped_ = {static_cast<const std::uint8_t*>(data), size};
  return result;
}

LAMINA_IO_INLINE MappedFile::~MappedFile() {
  if (mapped_.data()) ::munmap(const_cast<std::uint8_t*>(mapped_.data()), mapped_.size());
}

}  // namespace detail

LAMINA_IO_INLINE AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  struct stat old;
  const bool exists = ::stat(path_.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode)) {
    file_ = detail::Descriptor(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (file_.get() < 0) detail::fail_file(path_, "write", errno);
    return;
  }
  target_ = detail::behind_links(path_);
  detail::TemporaryFile temporary(path_, target_, exists ? old.st_mode & 0666 : 0666);
  temporary_ = std::move(temporary.name);
  file_ = std::move(temporary.file);
  if (exists && ::fchmod(file_.get(), old.st_mode & 07777) != 0) abandon("write", errno);
}

LAMINA_IO_INLINE AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

LAMINA_IO_INLINE void AtomicFile::write(std::span<const std::uint8_t> bytes) {
  const detail::WithoutSignal guard(SIGXFSZ);
  while (!bytes.empty()) {
    const ssize_t put = ::write(file_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) abandon("write", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

LAMINA_IO_INLINE void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (::close(file_.release()) != 0) detail::fail_file(path_, "write", errno);
    return;
  }
  if (::fsync(file_.get()) != 0) abandon("write", errno);
  // Closed afterwards, since the lock must last until then; what close could say has been said by fsync.
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) abandon("replace", errno);
  temporary_.clear();
  file_ = detail::Descriptor();
  // The new name reaches the disk with its directory. The file is complete either way, so a file system that cannot
  // sync directories is no error.
  const std::size_t slash = target_.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : target_.substr(0, slash + 1);
  const detail::Descriptor parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() >= 0) ::fsync(parent.get());
}

[[noreturn]] LAMINA_IO_INLINE void AtomicFile::abandon(const char* action, int error) {
  if (!temporary_.empty()) ::unlink(std::exchange(temporary_, {}).c_str());
  detail::fail_file(path_, action, error);
}

LAMINA_IO_INLINE void write_file_atomically(const std::string& path, std::span<const std::uint8_t> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

LAMINA_IO_INLINE void write_file_atomically(const std::string& path, std::string_view characters) {
  AtomicFile file(path);
  file.write(characters);
  file.commit();
}

}  // namespace lamina::inline LAMINA_ABI
