#include <sys/resource.h>
#include <sys/stat.h>

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
  const auto write_too_much = [&](auto handler) {
    return in_child([&] {  // a process of its own, since the limit would hold for the rest of the tests
      std::signal(SIGXFSZ, handler);
      const rlimit limit{50000, 50000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      try {
        write_file_atomically(path, large);
      } catch (const FileError& error) {
        if (error.what() != path + ": cannot write: File too large") return 1;
        sigset_t pending;
        ::sigpending(&pending);
        return sigismember(&pending, SIGXFSZ) ? 2 : 7;
      }
      return 0;
    });
  };
  CHECK(write_too_much(SIG_IGN) == 7);
  CHECK(write_too_much(SIG_DFL) == 7);  // the signal that would end the program does not come
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("gzip of many members takes no longer than one") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gz", empty = gzipped("");
  std::string many = gzipped("begin "), members;
  for (int i = 0; i < 200000; ++i) many += empty;
  put(path, many + gzipped("end"));
  CHECK(seconds([&] { CHECK(text_of(read_file(path)) == "begin end"); }) < 10);  // was 94
  const std::string line = gzipped("0123456789\n");
  for (int i = 0; i < 300000; ++i) members += line;
  put(path, members);
  CHECK(seconds([&] { CHECK(read_file(path).size() == 3300000); }) < 10);
}

TEST_CASE("compressed data and endless files have a limit, which the message names") {
  const TemporaryFolder folder;
  const std::string path = folder / "x.gz", large = gzipped(std::string(1 << 20, '0'));
  put(path, large);
  CHECK(large.size() < 2000);
  CHECK(ReadOptions().max_bytes == std::size_t{1} << 30);
  CHECK(read_file(path, {.max_bytes = 1 << 20}).size() == 1 << 20);
  const auto fails = [&](std::size_t limit, const std::string& bound) {
    CHECK_THROWS_WITH_AS(read_file(path, {.max_bytes = limit}),
                         (path + ": the decompressed data exceeds the limit of " + bound).c_str(), FileError);
  };
  fails((1 << 20) - 1, "1048575 bytes (ReadOptions::max_bytes)");
  fails(0, "0 bytes (ReadOptions::max_bytes)");
  put(path, large + large);
  fails(1 << 20, "1048576 bytes (ReadOptions::max_bytes)");
  CHECK_THROWS_WITH_AS(read_file("/dev/zero", {.max_bytes = 100000}),
                       "/dev/zero: exceeds the limit of 100000 bytes (ReadOptions::max_bytes)", FileError);
  put(path, std::string(1000, 'x'));  // a file is as large as it is
  CHECK(read_file(path, {.max_bytes = 10}).size() == 1000);
}

TEST_CASE("a file that is larger than the memory is named") {
  const TemporaryFolder folder;
  const std::string path = folder / "sparse";
  put(path, "");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 43);
  CHECK_THROWS_WITH_AS(read_file(path),
                       doctest::Contains((path + ": cannot read: the file has 8796093022208 bytes").c_str()),
                       FileError);
  CHECK(complaint_of(path, [&] { within_memory(path, []() -> int { throw std::bad_alloc(); }); }) ==
        "cannot read: Cannot allocate memory");
  CHECK(complaint_of(path, [&] { within_memory(path, []() -> int { throw OutOfMemory("no more"); }); }) ==
        "cannot read: no more");
}

TEST_CASE("text files: byte order marks and both ends of lines") {
  const TemporaryFolder folder;
  const std::string path = folder / "f.txt";
  put(path,
      "\xef\xbb\xbf"
      "cat\r\n\r\ndog");
  CHECK(read_text(path) == "cat\r\n\r\ndog");
  CHECK(read_lines(path) == std::vector<std::string>{"cat", "", "dog"});
  put(path, gzipped("\xef\xbb\xbf"
                    "cat\n"));
  CHECK(read_lines(path) == std::vector<std::string>{"cat"});
  put(path, "");
  CHECK(read_lines(path).empty());
}

TEST_CASE("what a writer that died has left is removed; what a living one writes is not") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const auto die_writing = [&] {
    return in_child([&]() -> int {
      AtomicFile first(path), second(path);
      first.write("half");
      ::kill(::getpid(), SIGKILL);
      return 0;
    });
  };
  // Names do not depend on the process, so that one of the same number cannot find "File exists".
  CHECK(die_writing() == 128 + SIGKILL);
  CHECK(folder.entries() == 2);
  CHECK(die_writing() == 128 + SIGKILL);
  CHECK(folder.entries() == 2);
  {
    AtomicFile living(path);
    living.write("living");
    write_file_atomically(path, "other");
    CHECK(contents(path) == "other");
    CHECK(folder.entries() == 2);
    living.commit();
  }
  CHECK(contents(path) == "living");
  CHECK(folder.entries() == 1);
  // What has the name and is no file, or no temporary file of ours, stays.
  put(folder / "target", "x");
  std::filesystem::create_symlink(folder / "target", path + ".tmp-0");
  std::filesystem::create_directory(path + ".tmp-1");
  write_file_atomically(path, "new");
  CHECK(contents(path) == "new");
  CHECK(contents(folder / "target") == "x");
  CHECK(folder.entries() == 4);
}

TEST_CASE("a symbolic link is written through, whether its target is there or not") {
  const TemporaryFolder folder;
  const std::string link = folder / "link", target = folder / "data/target";
  std::filesystem::create_directory(folder / "data");
  std::filesystem::create_symlink("data/middle", link);
  std::filesystem::create_symlink("target", folder / "data/middle");
  for (const char* text : {"first", "second"}) {
    write_file_atomically(link, text);
    CHECK(contents(target) == text);
    CHECK(std::filesystem::is_symlink(link));
    CHECK(std::filesystem::is_symlink(folder / "data/middle"));
  }
  std::filesystem::remove(link);
  std::filesystem::create_symlink("nowhere/target", link);
  CHECK_THROWS_WITH_AS(write_file_atomically(link, "x"), (link + ": cannot write: No such file or directory").c_str(),
                       FileError);
  std::filesystem::remove(link);
  std::filesystem::create_symlink("link", link);
  CHECK_THROWS_WITH_AS(write_file_atomically(link, "x"),
                       (link + ": cannot write: Too many levels of symbolic links").c_str(), FileError);
}
