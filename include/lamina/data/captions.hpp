#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/data/lines.hpp"

namespace lamina::inline LAMINA_ABI {

/// An image's name and what is said of it.
struct ImageCaptions {
  std::string image;                  ///< its file's name, or a number
  std::vector<std::string> captions;  ///< sentences about it
};

/// Images with captions. A sample is an image, its target is its own number: a loader's batch says whose captions
/// belong to it. Copies share the images.
template <class Scalar = float>
class CaptionDataset : public Dataset<Scalar> {
 public:
  /// Throws ValueError unless there are as many entries as images, and each has a caption.
  CaptionDataset(std::shared_ptr<const Dataset<Scalar>> images, std::vector<ImageCaptions> entries)
      : images_(std::move(images)), entries_(std::move(entries)) {
    require(images_->size() == static_cast<Index>(entries_.size()), "CaptionDataset: ", images_->size(),
            " images, but captions of ", entries_.size());
    for (const ImageCaptions& entry : entries_)
      require(!entry.captions.empty(), "CaptionDataset: ", entry.image, " has no captions");
  }

  /// The number of images.
  Index size() const override { return static_cast<Index>(entries_.size()); }
  Example<Scalar> get(Index i) const override {
    check_sample("CaptionDataset", i, size());
    return {images_->get(i).input, Labels::full({}, static_cast<std::int32_t>(i))};
  }

  /// Of image i. Throws ValueError if there is none.
  /// @{
  const std::string& name(Index i) const { return entry(i).image; }
  const std::vector<std::string>& captions(Index i) const { return entry(i).captions; }
  /// @}
  /// The captions of all images, one after the other.
  std::vector<std::string> all_captions() const {
    std::vector<std::string> all;
    for (const ImageCaptions& each : entries_) all.insert(all.end(), each.captions.begin(), each.captions.end());
    return all;
  }

  /// The images at these places with their captions. Throws ValueError for a place that is not in the dataset.
  CaptionDataset subset(const std::vector<Index>& places) const {
    std::vector<ImageCaptions> entries;
    for (const Index i : places) entries.push_back(entry(i));
    return {std::make_shared<const Subset<Scalar>>(images_, places), std::move(entries)};
  }

 private:
  const ImageCaptions& entry(Index i) const {
    check_sample("CaptionDataset", i, size());
    return entries_[static_cast<std::size_t>(i)];
  }

  std::shared_ptr<const Dataset<Scalar>> images_;
  std::vector<ImageCaptions> entries_;
};

/// Holds out images at random, with all their captions: a training and a test set, each in the order of the whole.
/// Throws ValueError unless both have an image.
template <class Scalar>
std::pair<CaptionDataset<Scalar>, CaptionDataset<Scalar>> split(const CaptionDataset<Scalar>& all, Index held_out,
                                                                std::uint64_t seed = 0) {
  require(held_out >= 1 && held_out < all.size(), "split: cannot hold out ", held_out, " of ", all.size(), " images");
  std::vector<Index> order = Random(seed).permutation(all.size());
  std::sort(order.begin(), order.begin() + held_out);
  std::sort(order.begin() + held_out, order.end());
  return {all.subset({order.begin() + held_out, order.end()}), all.subset({order.begin(), order.begin() + held_out})};
}

/// Without the spaces around it.
inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view spaces = " \t\r\n";
  const std::size_t begin = std::min(text.find_first_not_of(spaces), text.size());
  return text.substr(begin, text.find_last_not_of(spaces) + 1 - begin);
}

namespace detail {

/// The parts of a line between bars, without the spaces around them; the last one is the rest, at most `most` of them.
inline std::vector<std::string> split_bars(std::string_view line, std::size_t most) {
  std::vector<std::string> fields;
  while (fields.size() + 1 < most && line.find('|') != std::string_view::npos) {
    fields.emplace_back(trimmed(line.substr(0, line.find('|'))));
    line.remove_prefix(line.find('|') + 1);
  }
  fields.emplace_back(trimmed(line));
  return fields;
}

/// Reads captions; see decode_captions.
class CaptionReader {
 public:
  CaptionReader(std::string_view text, const std::string& source)
      : rest_(without_byte_order_mark(text)), source_(source) {}

  std::vector<ImageCaptions> read() {
    if (more()) {
      const std::string_view first = peek();
      if (first.find('\t') != std::string_view::npos)
        read_tokens();
      else
        read_table(first.find('|') != std::string_view::npos);
    }
    require<FileError>(!entries_.empty(), source_, ": there are no captions in it");
    return std::move(entries_);
  }

 private:
  template <class... Parts>
  void check(bool condition, Index line, const Parts&... parts) const {
    if (!condition) throw FileError(text(source_, ": line ", line, ": ", parts...));
  }
  std::string_view peek() const {
    std::string_view copy = rest_;
    return take_line(copy);
  }
  std::string_view line() {
    ++line_;
    return take_line(rest_);
  }
  /// Whether there is another line with something in it, which is then the next.
  bool more() {
    while (!rest_.empty() && trimmed(peek()).empty()) line();
    return !rest_.empty();
  }

  void read_tokens() {
    while (more()) {
      const std::string_view found = line();
      const std::size_t tab = found.find('\t'), hash = found.substr(0, std::min(tab, found.size())).rfind('#');
      check(tab != std::string_view::npos && hash != std::string_view::npos, line_,
            "expected name#number, a tab and a caption, found '", found, "'");
      add(line_, found.substr(0, hash), found.substr(tab + 1));
    }
  }

  void read_table(bool bars) {
    const std::string_view header = peek();
    const std::vector<std::string> names = bars ? split_bars(line(), header.size()) : comma_separated();
    const auto column = [&](const char* name, const char* other) {
      const auto is_it = [&](const std::string& each) { return trimmed(each) == name || trimmed(each) == other; };
      return static_cast<std::size_t>(std::find_if(names.begin(), names.end(), is_it) - names.begin());
    };
    const std::size_t image = column("image", "image_name"), caption = column("caption", "comment");
    check(std::max(image, caption) < names.size(), line_,
          "expected name#number, a tab and a caption, or a table with columns image and caption, found '", header, "'");
    while (more()) {
      const Index first_line = line_ + 1;
      const std::string_view found = peek();
      const std::vector<std::string> fields = bars ? barred(names.size()) : comma_separated();
      check(std::max(image, caption) < fields.size(), first_line, "expected at least ", std::max(image, caption) + 1,
            " fields, found '", found, "'");
      add(first_line, fields[image], fields[caption]);
    }
  }

  /// A line of Flickr30k. One of the published file's, "2199200615.jpg| 4   A dog runs ...", lacks the second bar.
  std::vector<std::string> barred(std::size_t columns) {
    std::vector<std::string> fields = split_bars(line(), columns);
    const std::size_t digits = std::min(fields.back().find_first_not_of("0123456789"), fields.back().size());
    if (fields.size() + 1 == columns && digits > 0 && fields.back().substr(digits).starts_with(' ')) {
      fields.emplace_back(trimmed(fields.back().substr(digits)));
      fields[columns - 2].resize(digits);
    }
    return fields;
  }

  /// The fields of the next record of comma-separated values; quoted ones may contain commas, line ends, and quotes
  /// twice.
  std::vector<std::string> comma_separated() {
    const Index first_line = ++line_;
    std::vector<std::string> fields{""};
    bool quoted = false;
    std::size_t i = 0;
    for (; i < rest_.size() && (quoted || rest_[i] != '\n'); ++i) {
      const char c = rest_[i];
      if (c == '"' && quoted && rest_.substr(i + 1).starts_with('"')) {
        fields.back() += rest_[++i];
      } else if (c == '"' && (quoted || fields.back().empty())) {
        quoted = !quoted;
      } else if (c == ',' && !quoted) {
        fields.emplace_back();
      } else {
        fields.back() += c;
        line_ += c == '\n';
      }
    }
    check(!quoted, first_line, "a quote without end");
    if (fields.back().ends_with('\r')) fields.back().pop_back();
    rest_.remove_prefix(std::min(i + 1, rest_.size()));
    return fields;
  }

  void add(Index line, std::string_view image, std::string_view caption) {
    check(!image.empty(), line, "there is no image");
    check(!trimmed(caption).empty(), line, "the caption of ", image, " is empty");
    const auto [place, added] = places_.emplace(std::string(image), entries_.size());
    if (added) entries_.push_back({std::string(image), {}});
    entries_[place->second].captions.emplace_back(trimmed(caption));
  }

  std::string_view rest_;
  const std::string& source_;
  Index line_ = 0;  // the last one taken
  std::vector<ImageCaptions> entries_;
  std::unordered_map<std::string, std::size_t> places_;
};

}  // namespace detail

/// Captions in one of the forms in which Flickr8k and Flickr30k are found, images in the order of their first caption:
///
///   1000268201_693b08cb0e.jpg#0	A child in a pink dress is climbing up a set of stairs .      a token file
///   image,caption                                              a table, whose first line names its columns; others
///   1000268201_693b08cb0e.jpg,"A child , climbing stairs ."    than these two are ignored
///   image_name| comment_number| comment                        a table with bars, without quotes
///   1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .
///
/// A quoted field may go on over several lines; a byte order mark before the text is ignored. `source` is the file's
/// path, for messages. Throws FileError, with the line, for what is none of these, and for a caption without words.
inline std::vector<ImageCaptions> decode_captions(std::string_view text, const std::string& source) {
  return detail::CaptionReader(text, source).read();
}

/// A colour of figures.
struct FigureColor {
  const char* name;           ///< as captions say it
  std::array<double, 3> rgb;  ///< red, green and blue, 0 to 1
};

/// The colours of captioned_figures.
inline constexpr std::array<FigureColor, 6> figure_colors{{{"red", {0.85, 0.12, 0.12}},
                                                           {"green", {0.15, 0.65, 0.2}},
                                                           {"blue", {0.15, 0.25, 0.9}},
                                                           {"yellow", {0.95, 0.85, 0.15}},
                                                           {"purple", {0.6, 0.2, 0.75}},
                                                           {"white", {0.97, 0.97, 0.97}}}};

/// A shape has two names.
struct FigureShape {
  const char* name;   ///< as captions say it
  const char* other;  ///< another word for it
};

/// The shapes of captioned_figures.
inline constexpr std::array<FigureShape, 5> figure_shapes{
    {{"circle", "disc"}, {"square", "box"}, {"triangle", "triangle"}, {"cross", "plus"}, {"ring", "hoop"}}};

namespace detail {

inline constexpr Index figure_kinds = 30;  // colours times shapes

/// Two figures; the first is left of the second, or above it.
struct Arrangement {
  Index first, second;
  bool above;
};
inline constexpr Index arrangement_count = figure_kinds * (figure_kinds - 1) * 2;
inline constexpr Index held_out_arrangements = 200;

inline Arrangement arrangement(Index number) {
  const Index first = number / 2 / (figure_kinds - 1), second = number / 2 % (figure_kinds - 1);
  return {first, second + (second >= first), number % 2 == 1};
}
/// All arrangements in an order that is always the same; the first ones are held out.
inline const std::vector<Index>& arrangement_order() {
  static const std::vector<Index> order = Random(20210226).permutation(arrangement_count);
  return order;
}

/// How far a place is inside a shape around the origin (negative: outside), in the unit of the radius.
inline double inside_figure(Index shape, double radius, double x, double y) {
  const double u = std::abs(x), v = std::abs(y), distance = std::hypot(x, y);
  switch (shape) {
    case 0:
      return radius - distance;
    case 1:
      return 0.85 * radius - std::max(u, v);
    case 2:  // a corner at the top
      return std::min(0.8 * radius - y, (y + radius - 1.8 * u) / 2.06);
    case 3:
      return std::max(std::min(radius - u, 0.32 * radius - v), std::min(radius - v, 0.32 * radius - u));
    default:
      return 0.22 * radius - std::abs(distance - 0.78 * radius);
  }
}

/// Draws figures on a grey ground into bytes [3, side, side]; centres are in units of the side.
struct PlacedFigure {
  Index kind;
  double x, y, radius;
};
inline void draw_figures(const std::vector<PlacedFigure>& figures, Index side, Random& random, std::uint8_t* image) {
  const auto range = [&](double low, double high) { return low + (high - low) * random.uniform(); };
  const double base = range(0.2, 0.5), across = range(-0.1, 0.1), down = range(-0.1, 0.1);
  std::vector<std::array<double, 3>> colors;
  for (const PlacedFigure& figure : figures) {
    std::array<double, 3> rgb = figure_colors[static_cast<std::size_t>(figure.kind / 5)].rgb;
    for (double& value : rgb) value += range(-0.06, 0.06);
    colors.push_back(rgb);
  }
  const Tensor<float> grain = random.normal<float>({3, side, side}, 0, 0.03f);
  const auto extent = static_cast<double>(side);
  for (Index i = 0; i < side * side; ++i) {
    const double x = (static_cast<double>(i % side) + 0.5) / extent, y = (static_cast<double>(i / side) + 0.5) / extent;
    const double ground = base + across * (x - 0.5) + down * (y - 0.5);
    std::array<double, 3> color{ground, ground, ground};
    for (std::size_t k = 0; k < figures.size(); ++k) {
      const PlacedFigure& f = figures[k];
      const double radius = f.radius * extent, u = (x - f.x) * extent, v = (y - f.y) * extent;
      if (std::max(std::abs(u), std::abs(v)) > radius + 2) continue;  // no shape reaches farther
      const double inside = inside_figure(f.kind % 5, radius, u, v);
      const double cover = std::clamp(inside + 0.5, 0.0, 1.0);
      for (std::size_t c = 0; c < 3; ++c) color[c] += cover * (colors[k][c] - color[c]);
    }
    for (Index c = 0; c < 3; ++c) {
      const double value = color[static_cast<std::size_t>(c)] + static_cast<double>(grain.data()[c * side * side + i]);
      image[c * side * side + i] = static_cast<std::uint8_t>(255 * std::clamp(value, 0.0, 1.0) + 0.5);
    }
  }
}

inline std::vector<PlacedFigure> place_figures(const Arrangement& scene, Random& random) {
  const auto range = [&](double low, double high) { return low + (high - low) * random.uniform(); };
  const double r1 = range(0.12, 0.19), r2 = range(0.12, 0.19);
  const double gap = range(0.03, 0.12), length = 2 * r1 + 2 * r2 + gap;
  const double begin = range(0.02, 0.98 - length), widest = std::max(r1, r2);
  const double middle = range(widest + 0.06, 0.94 - widest);  // of both, across; up to 0.04 apart
  const double a = begin + r1, b = begin + 2 * r1 + gap + r2;
  const double a2 = middle + range(-0.04, 0.04), b2 = middle + range(-0.04, 0.04);
  if (scene.above) return {{scene.first, a2, a, r1}, {scene.second, b2, b, r2}};
  return {{scene.first, a, a2, r1}, {scene.second, b, b2, r2}};
}

/// Five ways to say what is seen, with words that vary.
inline std::vector<std::string> describe(const Arrangement& scene, Random& random) {
  const auto name = [&](Index kind) {
    const FigureShape& shape = figure_shapes[static_cast<std::size_t>(kind % 5)];
    return text(figure_colors[static_cast<std::size_t>(kind / 5)].name, " ",
                random.uniform() < 0.7 ? shape.name : shape.other);
  };
  const auto any = [&](std::initializer_list<const char*> phrases) {
    return std::string(phrases.begin()[random.below(static_cast<Index>(phrases.size()))]);
  };
  struct Said {
    std::string a, relation, b;
  };
  const auto said = [&]() -> Said {  // from the first figure or from the second
    const std::string first = name(scene.first), second = name(scene.second);
    if (random.uniform() < 0.5)
      return {first, scene.above ? any({"above", "over"}) : any({"to the left of", "left of"}), second};
    return {second, scene.above ? any({"below", "under"}) : any({"to the right of", "right of"}), first};
  };
  std::vector<std::string> captions;
  Said s = said();
  captions.push_back(text("a ", s.a, " ", s.relation, " a ", s.b));
  s = said();
  captions.push_back(text("The ", s.a, " is ", s.relation, " the ", s.b, "."));
  s = said();
  captions.push_back(
      text(any({"There is", "We see", "Here is"}), " a ", s.a, ", and it is ", s.relation, " a ", s.b, "."));
  s = said();
  captions.push_back(
      text(any({"a photo of", "a picture of", "a drawing of"}), " a ", s.a, " ", s.relation, " a ", s.b));
  const std::string first = name(scene.first), second = name(scene.second);
  captions.push_back(scene.above ? text("a ", first, " at the top and a ", second, " at the bottom")
                                 : text("on the left a ", first, ", on the right a ", second));
  return captions;
}

}  // namespace detail

/// Options of captioned_figures.
struct CaptionedFiguresOptions {
  std::uint64_t seed = 0;  ///< of the scenes
  Index first = 0;         ///< the number of the first scene
  Index side = 64;         ///< of the images
  bool held_out = false;   ///< scenes of the arrangements that are never drawn otherwise: scene i of arrangement i
};

/// Drawn scenes with captions, which need no download: two figures (a colour of six, a shape of five) beside or above
/// each other on grey ground, as images of bytes [3, side, side], and five sentences about them that name colours,
/// shapes and where they are, in varying words. Of the 1740 arrangements 200 are held out: they are seen only in
/// scenes with held_out, so that who knows them has understood what they are made of. Scene i depends on the seed and
/// on first + i alone.
///
///   auto train = captioned_figures(8000), test = captioned_figures(200, {.held_out = true});
///
/// Throws ValueError for a negative count or first, and for sides below 16.
template <class Scalar = float>
CaptionDataset<Scalar> captioned_figures(Index count, const CaptionedFiguresOptions& options = {}) {
  require(count >= 0 && options.first >= 0, "captioned_figures: count and first must not be negative, got ", count,
          " and ", options.first);
  require(options.side >= 16, "captioned_figures: the side must be at least 16, got ", options.side);
  const std::vector<Index>& order = detail::arrangement_order();
  constexpr Index held = detail::held_out_arrangements, known = detail::arrangement_count - held;
  Tensor<std::uint8_t> images({count, 3, options.side, options.side});
  std::vector<ImageCaptions> entries(static_cast<std::size_t>(count));
  std::uint8_t* const pixels = images.data();
  parallel_for(0, count, 16, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const Index number = options.first + i;
      Random random = Random(options.seed).split(static_cast<std::uint64_t>(number), options.held_out);
      const Index place = options.held_out ? number % held : held + random.below(known);
      const detail::Arrangement scene = detail::arrangement(order[static_cast<std::size_t>(place)]);
      const auto figures = detail::place_figures(scene, random);
      entries[static_cast<std::size_t>(i)] = {text(options.held_out ? "held out " : "scene ", number),
                                              detail::describe(scene, random)};
      detail::draw_figures(figures, options.side, random, pixels + i * 3 * options.side * options.side);
    }
  });
  return {std::make_shared<const TensorDataset<Scalar>>(std::move(images), Labels({count})), std::move(entries)};
}

/// The thirty kinds of figures, "red circle" and so on.
inline std::vector<std::string> figure_classes() {
  std::vector<std::string> names;
  for (const auto& color : figure_colors)
    for (const auto& shape : figure_shapes) names.push_back(text(color.name, " ", shape.name));
  return names;
}

/// Drawn scenes of one figure alone, with its class of figure_classes(): what captioned_figures() never shows. Options
/// as there; held_out is another random sequence only.
template <class Scalar = float>
TensorDataset<Scalar> single_figures(Index count, const CaptionedFiguresOptions& options = {}) {
  require(count >= 0 && options.first >= 0, "single_figures: count and first must not be negative, got ", count,
          " and ", options.first);
  require(options.side >= 16, "single_figures: the side must be at least 16, got ", options.side);
  Tensor<std::uint8_t> images({count, 3, options.side, options.side});
  Labels classes({count});
  for (Index i = 0; i < count; ++i) {
    Random random = Random(options.seed).split(static_cast<std::uint64_t>(options.first + i), 2 + options.held_out);
    const Index kind = random.below(detail::figure_kinds);
    const double radius = 0.12 + 0.07 * random.uniform(), room = 0.96 - 2 * radius;
    const double x = 0.02 + radius + room * random.uniform(), y = 0.02 + radius + room * random.uniform();
    detail::draw_figures({{kind, x, y, radius}}, options.side, random,
                         images.data() + i * 3 * options.side * options.side);
    classes(i) = static_cast<std::int32_t>(kind);
  }
  return TensorDataset<Scalar>(std::move(images), std::move(classes));
}

}  // namespace lamina::inline LAMINA_ABI
