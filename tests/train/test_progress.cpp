#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <thread>

#include "lamina/train/progress.hpp"

using namespace lamina;

namespace {

/// A stream whose contents can be read back.
class Sink {
 public:
  std::FILE* stream() { return file_.get(); }
  std::string text() {
    std::string result;
    std::rewind(file_.get());
    for (int c; (c = std::fgetc(file_.get())) != EOF;) result += static_cast<char>(c);
    return result;
  }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), std::fclose};
};

void wait(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

}  // namespace

TEST_CASE("durations") {
  CHECK(duration_text(0) == "0:00");
  CHECK(duration_text(59.6) == "1:00");
  CHECK(duration_text(754) == "12:34");
  CHECK(duration_text(3675) == "1:01:15");
  CHECK(duration_text(-1) == "0:00");
}

TEST_CASE("away from a terminal, progress is plain lines") {
  Sink sink;
  {
    Progress progress(4, {.stream = sink.stream(), .interval = 0});
    progress.section("epoch 1/2", 2);
    progress.advance(1000, "loss 1.5");
    progress.line("a row");
    progress.section("epoch 2/2", 2);
    progress.advance(1000, "");
  }
  const std::string text = sink.text();
  CAPTURE(text);
  CHECK(text.starts_with("epoch 1/2   50%  loss 1.5  "));
  CHECK(text.find("/s  ") != std::string::npos);
  CHECK(text.find(" left\na row\nepoch 2/2   50%  ") != std::string::npos);
  CHECK(text.ends_with(" left\n"));
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("plain lines come no oftener than the interval") {
  Sink sink;
  {
    Progress progress(100, {.stream = sink.stream(), .interval = 1000});
    progress.section("epoch 1/1", 100);
    for (int i = 0; i < 100; ++i) progress.advance(1, "");
  }
  CHECK(sink.text().empty());
}

TEST_CASE("on a terminal, progress is one line that is redrawn and removed") {
  Sink sink;
  {
    Progress progress(10, {.stream = sink.stream(), .terminal = true});
    progress.section("epoch 1/1", 10);
    for (int i = 0; i < 5; ++i) {
      wait(i == 4 ? 110 : 0);
      progress.advance(1, "loss 0.25");
    }
    progress.line("a row");
  }
  const std::string text = sink.text();
  CAPTURE(text);
  CHECK(text.starts_with("\repoch 1/1 ["));  // one drawing in a tenth of a second
  CHECK(text.find(" 50%  loss 0.25") != std::string::npos);
  CHECK(text.find("\x1b[K\r\x1b[Ka row\n") != std::string::npos);
  CHECK(text.ends_with("a row\n"));
  CHECK(text.find('\n') == text.size() - 1);
}

TEST_CASE("a bar never fills more than the terminal's width") {
  Sink sink;
  {
    Progress progress(10, {.stream = sink.stream(), .terminal = true});
    progress.section("a very long label that leaves no room at all for anything like a bar in eighty columns", 10);
    wait(110);
    progress.advance(1, "loss 0.25");
  }
  const std::string text = sink.text();
  CHECK(text.find("\x1b[K") == 1 + 79);
}
