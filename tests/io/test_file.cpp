#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>

#include "files.hpp"
#include "lamina/io/file.hpp"

using namespace lamina;

namespace {

// gzip -n of "hello hello hello hello\n"
const std::string gzip = hex("1f8b0800000000000203cb48cdc9c957c84027b9000088590b18000000");

std::string text_of(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

TEST_CASE("read_file reads plain and compressed files") {
  const TemporaryFolder folder;
  put(folder / "plain", "abc");
  CHECK(text_of(read_file(folder / "plain")) == "abc");
  put(folder / "empty", "");
  CHECK(read_file(folder / "empty").empty());
  put(folder / "one", gzip);
  CHECK(text_of(read_file(folder / "one")) == "hello hello hello hello\n");
  put(folder / "two", gzip + gzip);  // members one after the other are one file
  CHECK(text_of(read_file(folder / "two")) == "hello hello hello hello\nhello hello hello hello\n");
  CHECK(read_file("/proc/self/stat").size() > 10);  // a file whose size is not known before
}

TEST_CASE("read_file refuses damaged gzip, with the offset") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gz";
  CHECK(refuses_truncations(path, gzip.substr(0), [](const std::string& p) {
    if (read_file(p).size() < 2) throw FileError(p + ": too short to be recognised as gzip");
  }));
  put(path, gzip.substr(0, 20));
  CHECK_THROWS_WITH_AS(read_file(path), (path + ": the compressed data is cut short at offset 20").c_str(), FileError);
  put(path, gzip + "garbage");
  CHECK_THROWS_WITH_AS(
      read_file(path),
      (path + ": 7 bytes of other data after the end of the gzip data, at offset " + std::to_string(gzip.size()))
          .c_str(),
      FileError);
  std::string damaged = gzip;
  damaged[damaged.size() - 6] ^= 1;  // in the checksum
  put(path, damaged);
  CHECK_THROWS_WITH_AS(read_file(path), doctest::Contains("the compressed data is damaged at offset"), FileError);
  CHECK_THROWS_WITH_AS(read_file(path), doctest::Contains("incorrect data check"), FileError);
  survives_damage(path, gzip, [](const std::string& p) { read_file(p); });
}

TEST_CASE("read_file gives the system's reason") {
  const TemporaryFolder folder;
  const std::string missing = folder / "missing";
  CHECK_THROWS_WITH_AS(read_file(missing), (missing + ": cannot open: No such file or directory").c_str(), FileError);
  CHECK_THROWS_WITH_AS(read_file(folder.path()), (folder.path() + ": cannot read: Is a directory").c_str(), FileError);
  if (::geteuid() != 0) {
    put(folder / "secret", "x");
    ::chmod((folder / "secret").c_str(), 0);
    CHECK_THROWS_WITH_AS(read_file(folder / "secret"), doctest::Contains("cannot open: Permission denied"), FileError);
  }
}

TEST_CASE("AtomicFile replaces the old file only when committed") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  put(path, "old");
  ::chmod(path.c_str(), 0640);
  {
    AtomicFile file(path);
    file.write("new");
    CHECK(contents(path) == "old");
    CHECK(folder.entries() == 2);
  }
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);
  write_file_atomically(path, "new");
  CHECK(contents(path) == "new");
  CHECK(folder.entries() == 1);
  struct stat status;
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);

  std::filesystem::create_symlink(path, folder / "link");
  write_file_atomically(folder / "link", "through");
  CHECK(contents(path) == "through");
  CHECK(std::filesystem::is_symlink(folder / "link"));
}

TEST_CASE("a folder that is missing or read-only is named with the system's reason") {
  const TemporaryFolder folder;
  const std::string path = folder / "nowhere/file";
  CHECK_THROWS_WITH_AS(write_file_atomically(path, "x"), (path + ": cannot write: No such file or directory").c_str(),
                       FileError);
  CHECK_THROWS_WITH_AS(write_file_atomically("/proc/lamina", "x"), doctest::Contains("/proc/lamina: cannot write: "),
                       FileError);
  std::filesystem::create_directory(folder / "is-folder");
  CHECK_THROWS_WITH_AS(write_file_atomically(folder / "is-folder", "x"),
                       doctest::Contains("cannot write: Is a directory"), FileError);
}

TEST_CASE("a full disk leaves the old file and no temporary one") {
  CHECK_THROWS_WITH_AS(write_file_atomically("/dev/full", "x"), "/dev/full: cannot write: No space left on device",
                       FileError);
  CHECK(std::filesystem::is_character_file("/dev/full"));

  const TemporaryFolder folder;
  const std::string path = folder / "file";
  put(path, "old");
  const std::string large(100000, 'x');
  // In a process of its own, since the limit would hold for the rest of the tests.
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{50000, 50000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomically(path, large);
    } catch (const FileError& error) {
      ::_exit(error.what() == path + ": cannot write: File too large" ? 7 : 1);
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);
}
