// Runs fuzz targets without libFuzzer, on any compiler: inputs are mutations of a corpus, the n-th always the same.
//
//   fuzz_readers npy [-max_total_time=SECONDS] [-runs=N] [-seed=N] CORPUS_FOLDER...  mutations, until Ctrl-C unless
//   told fuzz_readers npy FILE...                                                         just these inputs
//
// An input that crashes, hangs or takes 2 GB is written to crash-SEED-NUMBER in the working directory.
#include <signal.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "fuzz.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t longest = 1 << 17;
constexpr int most_seconds = 10;  // of the processor, for one input, with sanitizers

class Mutator {
 public:
  explicit Mutator(const std::vector<Bytes>& corpus) : corpus_(corpus) {}

  /// The input of this number: a file of the corpus after a few changes.
  Bytes operator()(std::uint64_t number) {
    state_ = number * 0x9e3779b97f4a7c15;
    input_ = any_file();
    do change();
    while (below(3) > 0);
    if (input_.size() > longest) input_.resize(longest);
    return std::move(input_);
  }

 private:
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  std::size_t below(std::size_t bound) { return bound ? next() % bound : 0; }
  const Bytes& any_file() { return corpus_[below(corpus_.size())]; }
  std::uint64_t any_number() {
    static constexpr std::array<std::uint64_t, 8> edges = {0, 1, 0x7f, 0xff, 0x7fff, 0x7fffffff, 0xffffffff, ~0ull};
    const std::uint64_t edge = edges[below(edges.size())];
    return below(2) ? edge + below(3) - 1 : below(2) ? 1ull << below(64) : input_.size() + below(17) - 8;
  }
  /// A few bytes, or, rarely, many.
  std::size_t any_length(std::size_t bound) { return std::min(bound, 1 + below(below(4) ? 8 : bound)); }

  void change() {
    const std::size_t size = input_.size(), at = below(size), length = any_length(size - at);
    const auto begin = input_.begin() + static_cast<std::ptrdiff_t>(at),
               end = begin + static_cast<std::ptrdiff_t>(length);
    switch (size == 0 ? 3 : below(9)) {
      case 0:
        input_[at] ^= static_cast<std::uint8_t>(1 << below(8));
        break;
      case 1:
        input_[at] = static_cast<std::uint8_t>(next());
        break;
      case 2:
        input_.erase(begin, end);
        break;
      case 3: {  // bytes of another file, or of this one
        const Bytes other = below(2) ? any_file() : input_;
        const std::size_t from = below(other.size()), count = any_length(other.size() - from);
        insert(at, {other.begin() + static_cast<std::ptrdiff_t>(from),
                    other.begin() + static_cast<std::ptrdiff_t>(from + count)});
        break;
      }
      case 4:
        insert(at, repeated({begin, end}));
        break;
      case 5:
        overwrite_number(at);
        break;
      case 6:
        overwrite_digits(at);
        break;
      case 7: {  // a character that means something in many formats
        static constexpr std::string_view special = "{}[]():,.-+eE\"'\\#|\t\r\n 09<>_\x01\x7f\xef\xbb\xbf\xff";
        input_[at] = static_cast<std::uint8_t>(special[below(special.size())]);
        break;
      }
      default:
        input_.resize(at);
    }
  }

  void insert(std::size_t at, const Bytes& bytes) {
    input_.insert(input_.begin() + static_cast<std::ptrdiff_t>(at), bytes.begin(), bytes.end());
  }
  Bytes repeated(const Bytes& part) {
    const std::size_t times = below(8) ? 1 + below(4) : (std::size_t{1} << below(16));
    Bytes result;
    for (std::size_t i = 0; i < times && result.size() + part.size() <= longest; ++i)
      result.insert(result.end(), part.begin(), part.end());
    return result;
  }
  void overwrite_number(std::size_t at) {
    const std::uint64_t value = any_number();
    const std::size_t width = std::size_t{1} << below(4);
    const bool big_endian = below(2);
    for (std::size_t i = 0; i < width && at + i < input_.size(); ++i)
      input_[at + i] = static_cast<std::uint8_t>(value >> 8 * (big_endian ? width - 1 - i : i));
  }
  /// The first digits from there on become another number.
  void overwrite_digits(std::size_t at) {
    const auto digit = [](std::uint8_t c) { return c >= '0' && c <= '9'; };
    const auto from = std::find_if(input_.begin() + static_cast<std::ptrdiff_t>(at), input_.end(), digit);
    const auto to = std::find_if_not(from, input_.end(), digit);
    const std::string number = std::to_string(any_number());
    const auto place = static_cast<std::size_t>(from - input_.begin());
    input_.erase(from, to);
    insert(place, {number.begin(), number.end()});
  }

  const std::vector<Bytes>& corpus_;
  Bytes input_;
  std::uint64_t state_ = 0;
};

// What the handlers need to know.
Bytes current;
std::string current_name;
std::atomic<std::clock_t> current_begin{0};
std::atomic<bool> interrupted{false};

void save_current() {
  if (current_name.empty()) return;
  const std::string name = std::exchange(current_name, {});
  std::ofstream(name, std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()), static_cast<std::streamsize>(current.size()));
  std::fprintf(stderr, "fuzz: the input is in %s\n", name.c_str());
}

void on_abort(int) {
  save_current();
  ::signal(SIGABRT, SIG_DFL);
  std::abort();
}

void on_timer(int) {
  fuzz::expect(std::clock() - current_begin < most_seconds * CLOCKS_PER_SEC, "an input takes too long");
}

void run(fuzz::Target target, const Bytes& input, const std::string& crash_name) {
  current = input;
  current_name = crash_name;
  current_begin = std::clock();
  const Bytes exact(input);  // of its own, so that reading beyond it is seen
  target(exact.data(), exact.size());
}

Bytes contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  fuzz::expect(file.good(), "cannot read", path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

// Sanitizers abort, and an allocation of 2 GB is a finding.
extern "C" {
const char* __asan_default_options();
const char* __asan_default_options() { return "abort_on_error=1:max_allocation_size_mb=2048:hard_rss_limit_mb=2560"; }
const char* __ubsan_default_options();
const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }
}

int main(int argc, char** argv) {
  double seconds = 1e18;
  std::uint64_t runs = ~0ull, seed = 1;
  std::vector<Bytes> corpus;
  bool folders = false;
  const auto target = fuzz::targets().find(argc > 1 ? argv[1] : "");
  fuzz::expect(target != fuzz::targets().end(),
               "there is no reader of this name:", argc > 1 ? argv[1] : "(none given)");
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&] { return argument.substr(argument.find('=') + 1); };
    if (argument.starts_with("-max_total_time=")) {
      seconds = std::stod(value());
    } else if (argument.starts_with("-runs=")) {
      runs = std::stoull(value());
    } else if (argument.starts_with("-seed=")) {
      seed = std::stoull(value());
    } else if (std::filesystem::is_directory(argument)) {
      folders = true;
      std::vector<std::filesystem::path> files{std::filesystem::directory_iterator(argument), {}};
      std::sort(files.begin(), files.end());
      for (const auto& path : files) corpus.push_back(contents(path));
    } else {
      corpus.push_back(contents(argument));
    }
  }
  fuzz::expect(!corpus.empty(), "no inputs given");

  ::signal(SIGABRT, on_abort);
  ::signal(SIGINT, [](int) { interrupted = true; });
  const auto begin = Clock::now();
  ::signal(SIGPROF, on_timer);
  const itimerval every{{1, 0}, {1, 0}};
  ::setitimer(ITIMER_PROF, &every, nullptr);

  for (const Bytes& input : corpus) run(target->second, input, "crash-corpus");
  Mutator mutate(corpus);
  std::uint64_t count = 0;
  const auto running = [&] { return std::chrono::duration<double>(Clock::now() - begin).count() < seconds; };
  for (; folders && count < runs && running() && !interrupted; ++count)
    run(target->second, mutate((seed << 40) + count), "crash-" + std::to_string(seed) + "-" + std::to_string(count));
  std::printf("%zu files, %llu mutations in %.1f s\n", corpus.size(), static_cast<unsigned long long>(count),
              std::chrono::duration<double>(Clock::now() - begin).count());
}
