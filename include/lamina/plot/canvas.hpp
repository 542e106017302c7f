#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numbers>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// Red, green and blue, 0 to 255.
struct Color {
  std::uint8_t r;  ///< red
  std::uint8_t g;  ///< green
  std::uint8_t b;  ///< blue
};

/// A place on a Canvas, in pixels: x to the right, y down. The middle of the first pixel is at (0.5, 0.5).
struct CanvasPoint {
  double x;  ///< to the right
  double y;  ///< down
};

namespace detail {

/// The characters ' ' to '~' as pen strokes, in units of which a capital is 12 high: the top at y = 0, the baseline at
/// 12, small letters from 4, descenders to 16. `path`: "M x y" begins a stroke, "L x y" draws a line, "A cx cy rx ry
/// from to" an elliptic arc between two angles in degrees (0 right, 90 down), joined to the stroke; "|" ends the
/// stroke.
struct StrokeGlyph {
  double width;
  const char* path;
};
inline constexpr std::array<StrokeGlyph, 95> stroke_font{{
    {3, ""},                                                                                               // space
    {0, "M0 0 L0 8.3 | M0 11.6 L0 12"},                                                                    // !
    {2.5, "M0 0 L0 3 | M2.5 0 L2.5 3"},                                                                    // "
    {8, "M2.5 1 L1.5 11 | M6.5 1 L5.5 11 | M.3 4 L8 4 | M0 8 L7.7 8"},                                     // #
    {7, "A3.5 3 3.2 3 -30 -270 A3.5 9 3.5 3 -90 150 | M3.5 -1.5 L3.5 13.5"},                               // $
    {10, "A2 2.7 2 2.7 0 360 | A8 9.3 2 2.7 0 360 | M8 0 L2 12"},                                          // %
    {8.6, "M8.6 12 L1.9 4 A3.7 2.5 2.2 2.5 140 400 L1.4 7 A3.4 9 3.4 3 220 30 L8.4 6.5"},                  // &
    {0, "M0 0 L0 3"},                                                                                      // '
    {2.3, "A6 6 6 8 232 128"},                                                                             // (
    {2.3, "A-3.7 6 6 8 -52 52"},                                                                           // )
    {4.4, "M2.2 1 L2.2 6 | M0 2.2 L4.4 4.8 | M4.4 2.2 L0 4.8"},                                            // *
    {7, "M3.5 4 L3.5 11 | M0 7.5 L7 7.5"},                                                                 // +
    {.6, "M.6 11.4 L0 14"},                                                                                // ,
    {4.5, "M0 7.5 L4.5 7.5"},                                                                              // -
    {0, "M0 11.6 L0 12"},                                                                                  // .
    {5, "M5 -.5 L0 13"},                                                                                   // /
    {7, "A3.5 6 3.5 6 0 360"},                                                                             // 0
    {7, "M1.2 2.6 L4.2 0 L4.2 12"},                                                                        // 1
    {7, "A3.5 3.5 3.4 3.5 190 390 L0 12 L7 12"},                                                           // 2
    {7, "A3.4 3.1 3 3.1 205 450 A3.4 9.1 3.6 2.9 -90 155"},                                                // 3
    {7, "M5.3 12 L5.3 0 L0 8.8 L7 8.8"},                                                                   // 4
    {7, "M6.2 0 L1 0 L.54 5.76 A3.4 8.2 3.6 3.8 220 510"},                                                 // 5
    {7, "A5.8 8.4 5.8 8.4 270 180 | A3.5 8.4 3.5 3.6 0 360"},                                              // 6
    {7, "M0 0 L7 0 L2.4 12"},                                                                              // 7
    {7, "A3.5 3 2.9 3 0 360 | A3.5 9 3.5 3 0 360"},                                                        // 8
    {7, "A3.5 3.6 3.5 3.6 0 360 | A1.2 3.6 5.8 8.4 0 90"},                                                 // 9
    {0, "M0 5.2 L0 5.6 | M0 11.6 L0 12"},                                                                  // :
    {.6, "M.6 5.2 L.6 5.6 | M.6 11.4 L0 14"},                                                              // ;
    {7, "M7 4 L0 7.5 L7 11"},                                                                              // <
    {7, "M0 5.8 L7 5.8 | M0 9.2 L7 9.2"},                                                                  // =
    {7, "M0 4 L7 7.5 L0 11"},                                                                              // >
    {6, "A3 3 3 3 190 400 L3 7 L3 8.5 | M3 11.6 L3 12"},                                                   // ?
    {11, "A5.5 7 2.4 2.8 0 360 | M7.9 4.4 L7.9 8.4 A9.4 8.4 1.5 1.5 180 0 A5.5 7 5.4 6.2 -5 -310"},        // @
    {8, "M0 12 L4 0 L8 12 | M1.4 8 L6.6 8"},                                                               // A
    {7, "M0 6 L0 0 L3.8 0 A3.8 3 2.8 3 -90 90 L0 6 L0 12 L3.8 12 A3.8 9 3.2 3 90 -90"},                    // B
    {7.2, "A4.2 6 4.2 6 -48 -312"},                                                                        // C
    {8, "M0 0 L0 12 L3 12 A3 6 5 6 90 -90 L0 0"},                                                          // D
    {6.5, "M6.5 0 L0 0 L0 12 L6.5 12 | M0 6 L5.5 6"},                                                      // E
    {6.5, "M6.5 0 L0 0 L0 12 | M0 6 L5.5 6"},                                                              // F
    {8.4, "A4.2 6 4.2 6 -48 -352 L8.4 6.8 L4.8 6.8"},                                                      // G
    {8, "M0 0 L0 12 | M8 0 L8 12 | M0 6 L8 6"},                                                            // H
    {0, "M0 0 L0 12"},                                                                                     // I
    {5, "M5 0 L5 8.5 A2.5 8.5 2.5 3.5 0 160"},                                                             // J
    {7.5, "M0 0 L0 12 | M7.2 0 L0 7.2 | M2.8 4.6 L7.5 12"},                                                // K
    {6, "M0 0 L0 12 L6 12"},                                                                               // L
    {9.5, "M0 12 L0 0 L4.75 8 L9.5 0 L9.5 12"},                                                            // M
    {8, "M0 12 L0 0 L8 12 L8 0"},                                                                          // N
    {9, "A4.5 6 4.5 6 0 360"},                                                                             // O
    {7.1, "M0 12 L0 0 L3.8 0 A3.8 3.3 3.3 3.3 -90 90 L0 6.6"},                                             // P
    {9, "A4.5 6 4.5 6 0 360 | M5.5 8.5 L9 12.6"},                                                          // Q
    {7.5, "M0 12 L0 0 L3.8 0 A3.8 3.3 3.3 3.3 -90 90 L0 6.6 | M3.8 6.6 L7.5 12"},                          // R
    {7, "A3.5 3 3.2 3 -30 -270 A3.5 9 3.5 3 -90 150"},                                                     // S
    {8, "M0 0 L8 0 | M4 0 L4 12"},                                                                         // T
    {8, "M0 0 L0 7.5 A4 7.5 4 4.5 180 0 L8 0"},                                                            // U
    {8, "M0 0 L4 12 L8 0"},                                                                                // V
    {12, "M0 0 L3 12 L6 1.5 L9 12 L12 0"},                                                                 // W
    {8, "M0 0 L8 12 | M8 0 L0 12"},                                                                        // X
    {8, "M0 0 L4 6.2 L8 0 | M4 6.2 L4 12"},                                                                // Y
    {7.5, "M0 0 L7.5 0 L0 12 L7.5 12"},                                                                    // Z
    {2.5, "M2.5 -.5 L0 -.5 L0 13 L2.5 13"},                                                                // [
    {5, "M0 -.5 L5 13"},                                                                                   // backslash
    {2.5, "M0 -.5 L2.5 -.5 L2.5 13 L0 13"},                                                                // ]
    {6, "M0 5 L3 0 L6 5"},                                                                                 // ^
    {7, "M0 14 L7 14"},                                                                                    // _
    {1.5, "M0 0 L1.5 2"},                                                                                  // `
    {6.6, "A3.3 8 3.3 4 0 360 | M6.6 4 L6.6 12"},                                                          // a
    {6.6, "M0 0 L0 12 | A3.3 8 3.3 4 0 360"},                                                              // b
    {5.6, "A3.3 8 3.3 4 -48 -312"},                                                                        // c
    {6.6, "A3.3 8 3.3 4 0 360 | M6.6 0 L6.6 12"},                                                          // d
    {6.6, "M0 8 L6.6 8 A3.3 8 3.3 4 0 -315"},                                                              // e
    {4, "M1.5 12 L1.5 2.8 A4 2.8 2.5 2.8 180 265 | M0 4 L4 4"},                                            // f
    {6.6, "A3.3 8 3.3 4 0 360 | M6.6 4 L6.6 12.6 A3.3 12.6 3.3 3.4 0 150"},                                // g
    {6.2, "M0 0 L0 12 | M0 7.5 A3.1 7.5 3.1 3.5 180 360 L6.2 12"},                                         // h
    {0, "M0 4 L0 12 | M0 .6 L0 .9"},                                                                       // i
    {1.6, "M1.6 4 L1.6 13.4 A-.6 13.4 2.2 2.6 0 90 | M1.6 .6 L1.6 .9"},                                    // j
    {6.2, "M0 0 L0 12 | M5.8 4 L0 9 | M2.2 7.2 L6.2 12"},                                                  // k
    {2, "M0 0 L0 10 A2 10 2 2 180 90"},                                                                    // l
    {10, "M0 4 L0 12 | M0 7 A2.5 7 2.5 3 180 360 L5 12 | M5 7 A7.5 7 2.5 3 180 360 L10 12"},               // m
    {6.2, "M0 4 L0 12 | M0 7.5 A3.1 7.5 3.1 3.5 180 360 L6.2 12"},                                         // n
    {6.8, "A3.4 8 3.4 4 0 360"},                                                                           // o
    {6.6, "M0 4 L0 16 | A3.3 8 3.3 4 0 360"},                                                              // p
    {6.6, "M6.6 4 L6.6 16 | A3.3 8 3.3 4 0 360"},                                                          // q
    {3.8, "M0 4 L0 12 | M0 7.6 A3.2 7.6 3.2 3.6 180 285"},                                                 // r
    {5.4, "A2.7 6 2.5 2 -30 -270 A2.7 10 2.7 2 -90 150"},                                                  // s
    {4, "M1.5 1 L1.5 9.5 A4 9.5 2.5 2.5 180 90 | M0 4 L4 4"},                                              // t
    {6.2, "M0 4 L0 8.5 A3.1 8.5 3.1 3.5 180 0 | M6.2 4 L6.2 12"},                                          // u
    {6.4, "M0 4 L3.2 12 L6.4 4"},                                                                          // v
    {9.6, "M0 4 L2.4 12 L4.8 5 L7.2 12 L9.6 4"},                                                           // w
    {6, "M0 4 L6 12 | M6 4 L0 12"},                                                                        // x
    {6.4, "M0 4 L3.2 12 | M6.4 4 L1.6 16"},                                                                // y
    {5.8, "M0 4 L5.8 4 L0 12 L5.8 12"},                                                                    // z
    {3.2, "M3.2 -.5 A3.2 1 1.6 1.5 270 180 L1.6 4.6 L0 6.2 L1.6 7.9 L1.6 11.5 A3.2 11.5 1.6 1.5 180 90"},  // {
    {0, "M0 -.5 L0 13"},                                                                                   // |
    {3.2, "M0 -.5 A0 1 1.6 1.5 270 360 L1.6 4.6 L3.2 6.2 L1.6 7.9 L1.6 11.5 A0 11.5 1.6 1.5 0 90"},        // }
    {7.6, "A1.9 7.6 1.9 1.2 180 360 A5.7 7.6 1.9 1.2 180 0"}                                               // ~
}};

/// The strokes of a character, moved by x; a box for one that the font does not have.
inline double add_glyph(unsigned char c, double x, std::vector<std::vector<CanvasPoint>>& strokes) {
  const StrokeGlyph glyph = c >= ' ' && c <= '~' ? stroke_font[static_cast<std::size_t>(c - ' ')]
                                                 : StrokeGlyph{6, "M0 0 L6 0 L6 12 L0 12 L0 0"};
  bool open = false;
  const auto add = [&](double px, double py) {
    if (!open) strokes.emplace_back();
    open = true;
    strokes.back().push_back({x + px, py});
  };
  const char* at = glyph.path;
  const auto next = [&] {
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    at = end;
    return value;
  };
  while (*at) {
    const char command = *at++;
    if (command == '|' || command == 'M') open = false;
    if (command == 'M' || command == 'L') {
      const double px = next(), py = next();
      add(px, py);
    } else if (command == 'A') {
      const double cx = next(), cy = next(), rx = next(), ry = next(), from = next(), to = next();
      const int steps = std::max(2, static_cast<int>(std::abs(to - from) / 9));
      for (int i = 0; i <= steps; ++i) {
        const double angle = (from + (to - from) * i / steps) * std::numbers::pi / 180;
        add(cx + rx * std::cos(angle), cy + ry * std::sin(angle));
      }
    }
  }
  return x + glyph.width;
}

}  // namespace detail

/// Which point of a text its place is.
enum class TextAlign { left, center, right };

/// Options of a text on a Canvas.
struct TextOptions {
  double size = 20;                   ///< height of a capital, pixels
  Color color = {40, 44, 52};         ///< of the strokes
  TextAlign align = TextAlign::left;  ///< of a line of text
  bool bold = false;                  ///< thicker strokes
  bool upwards = false;               ///< turned by a quarter, to be read from below
};

/// An RGB picture to draw on: filled rectangles, anti-aliased lines, text in a stroke font (ASCII) and other pictures.
/// What lies outside is cut off.
class Canvas {
 public:
  /// Throws ValueError unless both sides are from 1 to 32768.
  Canvas(Index width, Index height, Color background = {255, 255, 255}) : width_(width), height_(height), pixels_({1}) {
    require(width >= 1 && height >= 1 && width <= 32768 && height <= 32768,
            "Canvas: expected sides from 1 to 32768 pixels, got ", width, " x ", height);
    pixels_ = Tensor<std::uint8_t>({3, height, width});
    rectangle(0, 0, static_cast<double>(width), static_cast<double>(height), background);
  }

  /// In pixels.
  /// @{
  Index width() const { return width_; }
  Index height() const { return height_; }
  /// @}
  /// [3, height, width].
  const Tensor<std::uint8_t>& image() const { return pixels_; }

  /// Fills the pixels whose middle is inside.
  void rectangle(double x, double y, double width, double height, Color color) {
    const Index x0 = clip(x, width_), x1 = clip(x + width, width_), y0 = clip(y, height_),
                y1 = clip(y + height, height_);
    if (x0 >= x1) return;
    std::uint8_t* plane = pixels_.data();
    for (const std::uint8_t value : {color.r, color.g, color.b}) {
      for (Index row = y0; row < y1; ++row) std::fill(plane + row * width_ + x0, plane + row * width_ + x1, value);
      plane += width_ * height_;
    }
  }

  /// A line through the points, with round ends and joins.
  void polyline(std::span<const CanvasPoint> points, double width, Color color, double opacity = 1) {
    strokes({std::vector<CanvasPoint>(points.begin(), points.end())}, width, color, opacity);
  }
  /// A line between two points, with round ends.
  void line(double x0, double y0, double x1, double y1, double width, Color color) {
    strokes({{{x0, y0}, {x1, y1}}}, width, color, 1);
  }
  /// A filled circle.
  void dot(double x, double y, double radius, Color color) { line(x, y, x, y, 2 * radius, color); }

  /// One line of text, its baseline beginning, centred or ending at (x, y).
  void text(double x, double y, std::string_view text, const TextOptions& options = {}) {
    const double scale = options.size / cap_height;
    std::vector<std::vector<CanvasPoint>> glyphs;
    double end = 0;
    for (const char c : text) end = detail::add_glyph(static_cast<unsigned char>(c), end, glyphs) + letter_gap;
    end = std::max(0.0, end - letter_gap);
    const double shift = options.align == TextAlign::left ? 0 : options.align == TextAlign::center ? end / 2 : end;
    for (auto& stroke : glyphs)
      for (CanvasPoint& p : stroke) {
        const double along = (p.x - shift) * scale, down = (p.y - cap_height) * scale;
        p = options.upwards ? CanvasPoint{x + down, y - along} : CanvasPoint{x + along, y + down};
      }
    strokes(glyphs, options.size * (options.bold ? 0.17 : 0.11) + 0.3, options.color, 1);
  }
  /// How wide text of this capital height is.
  static double text_width(std::string_view text, double size) {
    std::vector<std::vector<CanvasPoint>> glyphs;
    double end = 0;
    for (const char c : text) end = detail::add_glyph(static_cast<unsigned char>(c), end, glyphs) + letter_gap;
    return std::max(0.0, end - letter_gap) * size / cap_height;
  }

  /// A picture [1, H, W] (grey) or [3, H, W], stretched to width x height. Pixels stay squares when it is enlarged, and
  /// are averaged when it is reduced. Throws ShapeError for another shape.
  void picture(double x, double y, double width, double height, const Tensor<std::uint8_t>& image) {
    if (image.rank() != 3 || (image.dim(0) != 1 && image.dim(0) != 3) || image.empty())
      throw ShapeError(lamina::text("Canvas: expected a picture [1, H, W] or [3, H, W], got shape ", image.shape()));
    const Index rows = image.dim(1), columns = image.dim(2), plane = rows * columns;
    const std::uint8_t* source = image.data();
    const auto range = [](Index i, double first, double size, Index cells) {
      const double low = (static_cast<double>(i) - first) / size * static_cast<double>(cells);
      const double high = (static_cast<double>(i) + 1 - first) / size * static_cast<double>(cells);
      const double middle = (low + high) / 2;  // of the pixel: decides alone when the picture is enlarged
      const bool enlarged = high - low <= 1;
      const auto begin = static_cast<Index>(std::floor(enlarged ? middle : low + 0.5));
      const auto end = enlarged ? begin + 1 : static_cast<Index>(std::floor(high + 0.5));
      return std::pair(std::clamp<Index>(begin, 0, cells - 1), std::clamp<Index>(end, 1, cells));
    };
    const Index x0 = clip(x, width_), x1 = clip(x + width, width_);
    std::vector<std::pair<Index, Index>> spans;
    for (Index column = x0; column < x1; ++column) spans.push_back(range(column, x, width, columns));
    for (Index row = clip(y, height_); row < clip(y + height, height_); ++row) {
      const auto [r0, r1] = range(row, y, height, rows);
      for (Index k = 0; k < 3; ++k) {
        const std::uint8_t* const in = source + (image.dim(0) == 3 ? k * plane : 0);
        std::uint8_t* out = pixels_.data() + (k * height_ + row) * width_ + x0;
        for (const auto& [c0, c1] : spans) {
          Index sum = 0;
          for (Index r = r0; r < r1; ++r)
            for (Index c = c0; c < c1; ++c) sum += in[r * columns + c];
          const Index count = (r1 - r0) * (c1 - c0);
          *out++ = static_cast<std::uint8_t>((2 * sum + count) / (2 * count));  // rounded
        }
      }
    }
  }

 private:
  static constexpr double cap_height = 12, letter_gap = 3.4;

  static Index clip(double position, Index limit) {
    return std::clamp<Index>(static_cast<Index>(std::lround(std::clamp(position, -1e6, 1e6))), 0, limit);
  }

  void blend(Index x, Index y, Color color, double opacity) {
    std::uint8_t* p = pixels_.data() + y * width_ + x;
    for (const std::uint8_t value : {color.r, color.g, color.b}) {
      *p = static_cast<std::uint8_t>(*p + (value - *p) * opacity + 0.5);
      p += width_ * height_;
    }
  }

  /// Strokes of one colour: a pixel is covered by as much as the nearest covers it, so that joins and crossings are not
  /// darker.
  void strokes(const std::vector<std::vector<CanvasPoint>>& paths, double width, Color color, double opacity) {
    const double radius = width / 2, reach = radius + 1, far = (radius + 0.5) * (radius + 0.5);
    double left = 1e6, right = -1e6, top = 1e6, bottom = -1e6;
    for (const auto& path : paths)
      for (const CanvasPoint& p : path) {
        left = std::min(left, p.x - reach), right = std::max(right, p.x + reach + 1);
        top = std::min(top, p.y - reach), bottom = std::max(bottom, p.y + reach + 1);
      }
    const Index x0 = clip(left, width_), x1 = clip(right, width_), y0 = clip(top, height_), y1 = clip(bottom, height_);
    if (x0 >= x1 || y0 >= y1) return;
    std::vector<float> coverage(static_cast<std::size_t>((x1 - x0) * (y1 - y0)));
    const auto segment = [&](CanvasPoint a, CanvasPoint b) {
      const double dx = b.x - a.x, dy = b.y - a.y, length = std::max(dx * dx + dy * dy, 1e-12);
      const Index row0 = std::max(y0, clip(std::min(a.y, b.y) - reach, height_));
      const Index row1 = std::min(y1, clip(std::max(a.y, b.y) + reach + 1, height_));
      const Index column0 = std::max(x0, clip(std::min(a.x, b.x) - reach, width_));
      const Index column1 = std::min(x1, clip(std::max(a.x, b.x) + reach + 1, width_));
      for (Index row = row0; row < row1; ++row)
        for (Index column = column0; column < column1; ++column) {
          const double px = static_cast<double>(column) + 0.5 - a.x, py = static_cast<double>(row) + 0.5 - a.y;
          const double t = std::clamp((px * dx + py * dy) / length, 0.0, 1.0);
          const double away_x = px - t * dx, away_y = py - t * dy;
          if (away_x * away_x + away_y * away_y >= far) continue;
          const double distance = std::hypot(away_x, away_y);
          float& cell = coverage[static_cast<std::size_t>((row - y0) * (x1 - x0) + column - x0)];
          cell = std::max(cell, static_cast<float>(std::clamp(radius - distance + 0.5, 0.0, 1.0)));
        }
    };
    for (const auto& path : paths) {
      if (path.size() == 1) segment(path[0], path[0]);
      for (std::size_t i = 1; i < path.size(); ++i) segment(path[i - 1], path[i]);
    }
    for (Index row = y0; row < y1; ++row)
      for (Index column = x0; column < x1; ++column) {
        const float cover = coverage[static_cast<std::size_t>((row - y0) * (x1 - x0) + column - x0)];
        if (cover > 0) blend(column, row, color, opacity * static_cast<double>(cover));
      }
  }

  Index width_, height_;
  Tensor<std::uint8_t> pixels_;
};

}  // namespace lamina::inline LAMINA_ABI
