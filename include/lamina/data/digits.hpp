#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>
#include <string_view>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/data/dataset.hpp"

namespace lamina::inline LAMINA_ABI {

/// Names of the ten classes of digits() and of MNIST.
inline constexpr std::array<std::string_view, 10> digit_classes = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

/// Which handwriting digits() draws.
struct DigitsOptions {
  std::uint64_t seed = 0;  ///< of all samples; see first
  Index first = 0;         ///< the number of the first sample: disjoint ranges give disjoint training and test sets
  double rotation = 9;     ///< largest angle, degrees
  double shear = 0.18;     ///< largest slant: columns moved for each row
  double scale = 0.12;     ///< largest relative change of width and of height
  double translation = 1;  ///< largest shift, pixels
  double waviness = 0.05;  ///< standard deviation of the strokes' smooth displacement, of the digit's height
  double noise = 0.15;     ///< largest amplitude of the pixel noise; full ink is 1
};

namespace detail {

struct Point {
  float x, y;
};

/// Pen movements: smooth curves through the points, x to the right and y down in [0, 1]; `lift` ends a curve.
inline constexpr Point lift{-1, -1};

struct Glyph {
  int digit;
  std::span<const Point> points;
};

/// The ways to write each digit.
inline std::span<const Glyph> glyphs() {
  static constexpr Point zero[] = {{.5f, 0},    {.2f, .14f}, {.08f, .5f}, {.2f, .87f}, {.5f, 1},
                                   {.8f, .86f}, {.92f, .5f}, {.8f, .13f}, {.5f, 0},    {.35f, .04f}};
  static constexpr Point one[] = {{.5f, 0}, {.5f, 1}};
  static constexpr Point one_flag[] = {{.25f, .27f}, {.58f, 0}, lift, {.58f, 0}, {.56f, 1}};
  static constexpr Point one_base[] = {{.25f, .25f}, {.55f, 0}, lift, {.55f, 0}, {.55f, 1}, lift, {.22f, 1}, {.88f, 1}};
  static constexpr Point two[] = {{.12f, .25f}, {.27f, .05f}, {.55f, 0}, {.82f, .14f}, {.8f, .4f},
                                  {.5f, .7f},   {.1f, 1},     lift,      {.1f, 1},     {.92f, .98f}};
  static constexpr Point two_loop[] = {{.15f, .2f},  {.35f, .02f}, {.65f, .02f}, {.82f, .22f},
                                       {.7f, .5f},   {.42f, .82f}, {.18f, 1},    {.06f, .88f},
                                       {.22f, .76f}, {.48f, .88f}, {.7f, .98f},  {.95f, .92f}};
  static constexpr Point three[] = {{.15f, .12f}, {.45f, 0},   {.78f, .1f},  {.74f, .35f}, {.4f, .47f}, lift,
                                    {.4f, .47f},  {.8f, .57f}, {.86f, .82f}, {.5f, 1},     {.1f, .88f}};
  static constexpr Point three_flat[] = {{.15f, .02f}, {.82f, 0},   lift,        {.82f, 0}, {.42f, .4f}, lift,
                                         {.42f, .4f},  {.8f, .52f}, {.86f, .8f}, {.5f, 1},  {.1f, .88f}};
  static constexpr Point four_open[] = {{.2f, 0},     {.14f, .3f}, {.1f, .58f},  lift,       {.1f, .58f},
                                        {.92f, .54f}, lift,        {.74f, .05f}, {.7f, .5f}, {.68f, 1}};
  static constexpr Point four_closed[] = {{.66f, 0},    {.05f, .66f}, lift,      {.05f, .66f},
                                          {.96f, .66f}, lift,         {.66f, 0}, {.66f, 1}};
  static constexpr Point five[] = {{.84f, .02f}, {.26f, 0},   lift,        {.26f, 0},    {.18f, .45f}, lift,
                                   {.18f, .45f}, {.5f, .36f}, {.84f, .5f}, {.84f, .82f}, {.5f, 1},     {.1f, .9f}};
  static constexpr Point five_round[] = {{.88f, .02f}, {.6f, .06f},  {.3f, .04f}, {.26f, .22f}, {.3f, .4f},
                                         {.6f, .46f},  {.84f, .66f}, {.7f, .92f}, {.4f, 1},     {.12f, .9f}};
  static constexpr Point six[] = {{.76f, .02f}, {.42f, .2f}, {.16f, .58f}, {.2f, .9f},  {.5f, 1},
                                  {.82f, .86f}, {.8f, .62f}, {.52f, .5f},  {.22f, .66f}};
  static constexpr Point six_straight[] = {{.5f, 0},     {.26f, .36f}, {.14f, .72f}, {.3f, .97f}, {.6f, .98f},
                                           {.78f, .78f}, {.62f, .58f}, {.34f, .62f}, {.17f, .78f}};
  static constexpr Point seven[] = {{.08f, .02f}, {.9f, 0}, lift, {.9f, 0}, {.6f, .45f}, {.4f, 1}};
  static constexpr Point seven_bar[] = {{.08f, .1f},  {.1f, 0},  {.9f, 0}, lift,        {.9f, 0},
                                        {.62f, .45f}, {.44f, 1}, lift,     {.3f, .52f}, {.84f, .48f}};
  static constexpr Point eight[] = {{.76f, .12f}, {.5f, 0},     {.22f, .12f}, {.28f, .35f}, {.54f, .5f},
                                    {.82f, .7f},  {.76f, .92f}, {.5f, 1},     {.2f, .9f},   {.22f, .68f},
                                    {.5f, .48f},  {.76f, .32f}, {.76f, .12f}, {.6f, .02f}};
  static constexpr Point eight_rings[] = {{.5f, .46f},  {.24f, .33f}, {.28f, .08f}, {.52f, 0},    {.78f, .12f},
                                          {.74f, .34f}, {.5f, .46f},  lift,         {.5f, .46f},  {.16f, .62f},
                                          {.16f, .88f}, {.5f, 1},     {.84f, .88f}, {.84f, .62f}, {.5f, .46f}};
  static constexpr Point nine[] = {{.8f, .16f},  {.52f, 0}, {.2f, .12f},  {.16f, .38f}, {.44f, .52f}, {.74f, .4f},
                                   {.82f, .14f}, lift,      {.82f, .14f}, {.78f, .55f}, {.7f, 1}};
  static constexpr Point nine_hook[] = {{.8f, .18f},  {.52f, 0}, {.2f, .13f},  {.17f, .38f}, {.44f, .5f}, {.74f, .38f},
                                        {.82f, .16f}, lift,      {.82f, .16f}, {.84f, .62f}, {.6f, .96f}, {.2f, .94f}};
  static constexpr Glyph all[] = {
      {0, zero},        {0, zero},  {1, one},          {1, one_flag},  {1, one_base},    {2, two},
      {2, two_loop},    {3, three}, {3, three_flat},   {4, four_open}, {4, four_closed}, {5, five},
      {5, five_round},  {6, six},   {6, six_straight}, {7, seven},     {7, seven_bar},   {8, eight},
      {8, eight_rings}, {9, nine},  {9, nine_hook}};
  return all;
}

/// Draws one digit into 28 x 28 bytes.
class DigitPainter {
 public:
  static constexpr Index side = 28;

  DigitPainter(const DigitsOptions& options, Random random) : random_(random) {
    const auto range = [&](double largest) { return static_cast<float>(largest * (2 * random_.uniform() - 1)); };
    const float angle = range(options.rotation * std::numbers::pi / 180), slant = range(options.shear);
    const float width = 12.5f * (1 + range(options.scale)), height = 19 * (1 + range(options.scale));
    // Row major; a slant moves the upper end to the right, as a right-handed writer's.
    matrix_ = {width * std::cos(angle), -height * (std::sin(angle) + slant * std::cos(angle)), width * std::sin(angle),
               height * (std::cos(angle) - slant * std::sin(angle))};
    constexpr float middle = side / 2.0f;
    shift_ = {range(options.translation) + middle, range(options.translation) + middle};
    for (Wave& wave : waves_) {
      wave.amplitude = static_cast<float>(options.waviness * random_.normal());
      wave.fx = range(4);
      wave.fy = range(4);
      wave.phase = range(std::numbers::pi);
    }
    radius_ = 0.75f + 0.85f * static_cast<float>(random_.uniform());
    ink_ = 0.7f + 0.3f * static_cast<float>(random_.uniform());
    noise_ = static_cast<float>(options.noise * random_.uniform());
  }

  void paint(int digit, std::uint8_t* image) {
    std::vector<const Glyph*> ways;
    for (const Glyph& glyph : glyphs())
      if (glyph.digit == digit) ways.push_back(&glyph);
    const auto points = ways[static_cast<std::size_t>(random_.below(static_cast<Index>(ways.size())))]->points;
    auto begin = points.begin();
    while (begin != points.end()) {
      const auto end = std::find_if(begin, points.end(), [](Point p) { return p.x < 0; });
      curve({begin, end});
      begin = end == points.end() ? end : end + 1;
    }
    const Tensor<float> grain = random_.uniform<float>({side * side}, -noise_, noise_);
    for (Index i = 0; i < side * side; ++i) {
      const float value = ink_ * coverage_[static_cast<std::size_t>(i)] + grain.data()[i];
      image[i] = static_cast<std::uint8_t>(std::lround(255 * std::clamp(value, 0.f, 1.f)));
    }
  }

 private:
  /// One part of the smooth displacement: a plane wave along x (even) or y (odd).
  struct Wave {
    float amplitude, fx, fy, phase;
  };

  /// From the unit square to pixels. The displacement is a function of place, so that strokes that meet still do.
  Point place(Point p) const {
    float moved[2] = {p.x - 0.5f, p.y - 0.5f};
    for (std::size_t k = 0; k < waves_.size(); ++k)
      moved[k % 2] += waves_[k].amplitude * std::sin(waves_[k].fx * p.x + waves_[k].fy * p.y + waves_[k].phase);
    return {matrix_[0] * moved[0] + matrix_[1] * moved[1] + shift_.x,
            matrix_[2] * moved[0] + matrix_[3] * moved[1] + shift_.y};
  }

  /// A Catmull-Rom spline through the points.
  void curve(std::span<const Point> points) {
    constexpr int steps = 6;
    const auto at = [&](std::size_t i) { return points[std::min(i, points.size() - 1)]; };
    Point from = place(points[0]);
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
      const Point a = points[i == 0 ? 0 : i - 1], b = points[i], c = points[i + 1], d = at(i + 2);
      for (int step = 1; step <= steps; ++step) {
        const float t = static_cast<float>(step) / steps;
        const auto blend = [t](float p, float q, float r, float s) {
          return 0.5f * (2 * q + t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p))));
        };
        const Point to = place({blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)});
        segment(from, to);
        from = to;
      }
    }
  }

  /// Covers every pixel by how much of it lies within the pen's radius of the segment, about.
  void segment(Point a, Point b) {
    const float reach = radius_ + 1;
    const auto low = [&](float p, float q) {
      return std::max<Index>(0, static_cast<Index>(std::floor(std::min(p, q) - reach)));
    };
    const auto high = [&](float p, float q) {
      return std::min<Index>(side - 1, static_cast<Index>(std::ceil(std::max(p, q) + reach)));
    };
    const float dx = b.x - a.x, dy = b.y - a.y, length = std::max(dx * dx + dy * dy, 1e-6f);
    for (Index y = low(a.y, b.y); y <= high(a.y, b.y); ++y)
      for (Index x = low(a.x, b.x); x <= high(a.x, b.x); ++x) {
        const float px = static_cast<float>(x) + 0.5f - a.x, py = static_cast<float>(y) + 0.5f - a.y;
        const float t = std::clamp((px * dx + py * dy) / length, 0.f, 1.f);
        const float distance = std::sqrt((px - t * dx) * (px - t * dx) + (py - t * dy) * (py - t * dy));
        float& covered = coverage_[static_cast<std::size_t>(y * side + x)];
        covered = std::max(covered, std::clamp(radius_ - distance + 0.5f, 0.f, 1.f));
      }
  }

  Random random_;
  std::array<float, 4> matrix_;
  Point shift_;
  std::array<Wave, 4> waves_;
  float radius_, ink_, noise_;
  std::array<float, side * side> coverage_{};
};

}  // namespace detail

/// Drawn digits, a stand-in for MNIST that needs no file: `count` images [1, 28, 28] of white strokes on black, with
/// their classes 0..9. Each is one of a few ways to write a random digit, bent, turned, slanted, scaled and shifted,
/// drawn with a random pen and overlaid with noise. Sample i is a function of the seed and first + i alone.
///
///   auto train = digits(60000), test = digits(10000, {.first = 60000});
///
/// Throws ValueError for a negative count or option.
template <class Scalar = float>
TensorDataset<Scalar> digits(Index count, const DigitsOptions& options = {}) {
  require(count >= 0 && options.first >= 0, "digits: count and first must not be negative, got ", count, " and ",
          options.first);
  for (const double value :
       {options.rotation, options.shear, options.scale, options.translation, options.waviness, options.noise})
    require(value >= 0, "digits: options must not be negative, got ", value);
  constexpr Index side = detail::DigitPainter::side;
  Tensor<std::uint8_t> images({count, 1, side, side});
  Labels labels({count});
  std::uint8_t* image = images.data();
  std::int32_t* label = labels.data();
  parallel_for(0, count, 64, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      Random random = Random(options.seed).split(static_cast<std::uint64_t>(options.first + i));
      label[i] = static_cast<std::int32_t>(random.below(10));
      detail::DigitPainter(options, random).paint(label[i], image + i * side * side);
    }
  });
  return TensorDataset<Scalar>(std::move(images), std::move(labels));
}

}  // namespace lamina::inline LAMINA_ABI
