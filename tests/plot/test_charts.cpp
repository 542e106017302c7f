#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "lamina/io/image.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"

using namespace lamina;

namespace {

/// How many pixels of a part of a picture are of a colour.
Index count(const Tensor<std::uint8_t>& image, Color color, Index x0, Index y0, Index x1, Index y1) {
  Index result = 0;
  for (Index y = y0; y < y1; ++y)
    for (Index x = x0; x < x1; ++x)
      result += image(0, y, x) == color.r && image(1, y, x) == color.g && image(2, y, x) == color.b;
  return result;
}
Index count(const Tensor<std::uint8_t>& image, Color color) {
  return count(image, color, 0, 0, image.dim(2), image.dim(1));
}

constexpr Color red{255, 0, 0}, white{255, 255, 255}, black{0, 0, 0};

}  // namespace

TEST_CASE("rectangles, lines and dots") {
  Canvas canvas(40, 30);
  canvas.rectangle(10, 5, 4, 3, red);
  CHECK(count(canvas.image(), red) == 12);
  CHECK(count(canvas.image(), red, 10, 5, 14, 8) == 12);
  canvas.rectangle(38, 28, 10, 10, red);  // cut off at the edge
  CHECK(count(canvas.image(), red) == 16);
  CHECK(count(canvas.image(), white) == 40 * 30 - 16);

  Canvas lines(100, 100);
  lines.line(10, 50.5, 90, 50.5, 3, black);
  CHECK(count(lines.image(), black) >= 3 * 79);
  CHECK(count(lines.image(), black) <= 3 * 83);
  Canvas dots(100, 100);
  dots.dot(50, 50, 20, black);
  const double area = static_cast<double>(100 * 100 - count(dots.image(), white) + count(dots.image(), black)) / 2;
  CHECK(area == doctest::Approx(std::acos(-1.0) * 400).epsilon(0.02));
  dots.line(-1e9, -1e9, 1e9, 1e9, 1, red);  // far outside, but no harm
  CHECK_THROWS_WITH_AS(Canvas(0, 5), "Canvas: expected sides from 1 to 32768 pixels, got 0 x 5", ValueError);
}

TEST_CASE("every character is drawn, and no two alike") {
  std::set<std::vector<std::uint8_t>> seen;
  for (char c = '!'; c <= '~'; ++c) {
    Canvas canvas(60, 60);
    canvas.text(20, 40, std::string(1, c), {.size = 24});
    CAPTURE(c);
    CHECK(count(canvas.image(), white) < 60 * 60);
    CHECK(seen.emplace(canvas.image().values().begin(), canvas.image().values().end()).second);
    // Inside the line: nothing is far above the capitals or below the descenders.
    CHECK(count(canvas.image(), white, 0, 0, 60, 10) == 600);
    CHECK(count(canvas.image(), white, 0, 52, 60, 60) == 480);
  }
}

TEST_CASE("text is aligned and turned") {
  const auto extent = [](const TextOptions& options, int axis) {
    Canvas canvas(300, 300);
    canvas.text(150, 150, "Hm", options);
    Index low = 300, high = -1;
    for (Index y = 0; y < 300; ++y)
      for (Index x = 0; x < 300; ++x)
        if (canvas.image()(0, y, x) < 128) {
          low = std::min(low, axis ? y : x);
          high = std::max(high, axis ? y : x);
        }
    return std::pair(low, high);
  };
  const double width = Canvas::text_width("Hm", 20);
  const auto left = extent({.size = 20}, 0), middle = extent({.size = 20, .align = TextAlign::center}, 0);
  const auto right = extent({.size = 20, .align = TextAlign::right}, 0);
  CHECK(std::abs(static_cast<double>(left.first) - 150) <= 3);
  CHECK(std::abs(static_cast<double>(left.second) - 150 - width) <= 3);
  CHECK(std::abs(static_cast<double>(middle.first + middle.second) / 2 - 150) <= 2);
  CHECK(std::abs(static_cast<double>(right.second) - 150) <= 3);
  const auto upwards = extent({.size = 20, .upwards = true}, 1);
  CHECK(std::abs(static_cast<double>(upwards.second) - 150) <= 3);
  CHECK(std::abs(static_cast<double>(upwards.first) - 150 + width) <= 3);
}

TEST_CASE("pictures keep their pixels when enlarged and are averaged when reduced") {
  Canvas canvas(20, 20);
  canvas.picture(2, 2, 8, 8, Tensor<std::uint8_t>({1, 2, 2}, {0, 255, 255, 0}));
  CHECK(count(canvas.image(), black, 2, 2, 6, 6) == 16);
  CHECK(count(canvas.image(), black, 6, 6, 10, 10) == 16);
  CHECK(count(canvas.image(), black) == 32);
  canvas.picture(12, 12, 1, 1, Tensor<std::uint8_t>({3, 2, 1}, {100, 200, 0, 10, 7, 7}));
  CHECK(count(canvas.image(), {150, 5, 7}) == 1);
  CHECK_THROWS_WITH_AS(canvas.picture(0, 0, 1, 1, Tensor<std::uint8_t>({2, 2, 2})),
                       "Canvas: expected a picture [1, H, W] or [3, H, W], got shape [2, 2, 2]", ShapeError);
}

TEST_CASE("axes have round ticks") {
  const auto labels = [](double low, double high, int ticks, bool whole) {
    PlotAxis axis(low, high, ticks, whole);
    if (!whole) axis.widen_to_ticks();
    std::string text;
    for (double tick : axis.ticks()) text += axis.label(tick) + " ";
    return text;
  };
  CHECK(labels(0.13, 2.31, 6, false) == "0.0 0.5 1.0 1.5 2.0 2.5 ");
  CHECK(labels(0.9712, 0.9899, 6, false) == "0.970 0.975 0.980 0.985 0.990 ");
  CHECK(labels(-3, 50, 6, false) == "-10 0 10 20 30 40 50 ");
  CHECK(labels(1, 10, 8, true) == "1 2 3 4 5 6 7 8 9 10 ");
  CHECK(labels(1, 100, 8, true) == "10 20 30 40 50 60 70 80 90 100 ");
  CHECK(labels(1, 1, 8, true) == "1 ");
  CHECK(labels(0, 0, 6, false).find("0.0") != std::string::npos);
}

TEST_CASE("curves: each series in its colour, NaN left out") {
  const double nan = std::nan("");
  const auto image = plot_lines({{"a", {1, 2, 3, nan, 5}}, {"b", {5, 4, 3, 2, 1}}},
                                {.title = "Title", .x_label = "x", .y_label = "y"});
  CHECK(image.shape() == Shape{3, 640, 900});
  for (std::size_t i = 0; i < 2; ++i) CHECK(count(image, plot_colors[i]) > 500);
  CHECK(count(image, plot_colors[2]) == 0);
  CHECK(count(image, white) > 640 * 900 / 2);

  CHECK(plot_lines({}).shape() == Shape{3, 640, 900});  // an empty chart
  CHECK(plot_lines({{"one", {0.5}}}).shape() == Shape{3, 640, 900});
  CHECK(plot_lines({{"nothing", {nan, nan}}}).shape() == Shape{3, 640, 900});
  CHECK_THROWS_WITH_AS(plot_lines({{"a", {1, 2}, {1}}}), "plot: 'a' has 1 x and 2 y", ShapeError);
}

TEST_CASE("a history's curves") {
  History history;
  for (int i = 1; i <= 5; ++i) history.epochs.push_back({.epoch = i, .train_loss = 1.0 / i, .train_accuracy = i / 5.0});
  const auto image = plot_history(history);
  CHECK(image.shape() == Shape{3, 640, 1640});
  CHECK(count(image, plot_colors[0], 0, 0, 820, 640) > 500);
  CHECK(count(image, plot_colors[0], 820, 0, 1640, 640) > 500);
  CHECK(count(image, plot_colors[1]) == 0);  // no test data
  for (EpochRecord& record : history.epochs) record.train_accuracy = std::nan("");
  CHECK(plot_history(history).shape() == Shape{3, 640, 820});
  CHECK(plot_history({}).shape() == Shape{3, 640, 820});
}

TEST_CASE("a grid of images") {
  const Tensor<float> images = Tensor<float>::zeros({5, 1, 4, 4});
  const auto plain = plot_images(images, {}, {.columns = 3, .cell = 40});
  CHECK(count(plain, black) == 5 * 40 * 40);
  const auto marked =
      plot_images(images, {"a\nb", "c", "d", "e", "f"},
                  {.title = "Five", .columns = 3, .cell = 40, .marked = {false, true, false, false, false}});
  CHECK(count(marked, {200, 30, 45}) >= 48 * 48 - 40 * 40);
  CHECK(marked.dim(1) > plain.dim(1));
  CHECK(plot_images(Tensor<std::uint8_t>({0, 3, 4, 4}), {}).rank() == 3);
  CHECK_THROWS_WITH_AS(plot_images(images, {"a"}), "plot_images: 1 captions for 5 images", ValueError);
  CHECK_THROWS_WITH_AS(plot_images(images, {}, {.marked = {true}}), "plot_images: 1 marks for 5 images", ValueError);
  CHECK_THROWS_WITH_AS(plot_images(images[0], {}), "plot_images: expected images [N, C, H, W], got shape [1, 4, 4]",
                       ShapeError);
}

TEST_CASE("a confusion matrix") {
  ConfusionMatrix matrix(3);
  matrix.add(Labels({4}, {0, 1, 2, 2}), Labels({4}, {0, 1, 2, 0}));
  const auto image = plot_confusion(matrix, {"cat", "dog", "a much longer name"});
  CHECK(count(image, {20, 85, 150}) > 2 * 76 * 76 - 2000);  // two classes without mistakes
  CHECK(plot_confusion(matrix).rank() == 3);
  CHECK(plot_confusion(ConfusionMatrix(100)).dim(1) < 1400);
  CHECK_THROWS_WITH_AS(plot_confusion(matrix, {"a"}), "plot_confusion: 1 names for 3 classes", ValueError);
}

TEST_CASE("plots survive being written and read as PNG") {
  const std::string path = std::string(std::getenv("TMPDIR") ? std::getenv("TMPDIR") : "/tmp") + "/lamina-plot-" +
                           std::to_string(::getpid()) + ".png";
  const auto image = plot_lines({{"a", {1, 4, 9}}});
  write_png(path, image);
  CHECK(read_image(path) == image);
  ::unlink(path.c_str());
}
