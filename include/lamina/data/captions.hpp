#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/data/dataset.hpp"

namespace lamina {

/// An image's name and what is said of it.
struct ImageCaptions {
  std::string image;
  std::vector<std::string> captions;
};

/// Images with captions. A sample is an image, its target is its own number: a loader's batch says whose captions
/// belong to it. Copies share the images.
template <class Scalar = float>
class CaptionDataset : public Dataset<Scalar> {
 public:
  /// Throws ValueError unless there are as many entries as images, and each has a caption.
  CaptionDataset(std::shared_ptr<const Dataset<Scalar>> images, std::vector<ImageCaptions> entries)
      : images_(std::move(images)), entries_(std::move(entries)) {
    detail::require(images_->size() == static_cast<Index>(entries_.size()), "CaptionDataset: ", images_->size(),
                    " images, but captions of ", entries_.size());
    for (const ImageCaptions& entry : entries_)
      detail::require(!entry.captions.empty(), "CaptionDataset: ", entry.image, " has no captions");
  }

  Index size() const override { return static_cast<Index>(entries_.size()); }
  Example<Scalar> get(Index i) const override {
    detail::check_sample("CaptionDataset", i, size());
    return {images_->get(i).input, Labels::full({}, static_cast<std::int32_t>(i))};
  }

  const std::string& name(Index i) const { return entry(i).image; }
  const std::vector<std::string>& captions(Index i) const { return entry(i).captions; }
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
    detail::check_sample("CaptionDataset", i, size());
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
  detail::require(held_out >= 1 && held_out < all.size(), "split: cannot hold out ", held_out, " of ", all.size(),
                  " images");
  std::vector<Index> order = Random(seed).permutation(all.size());
  std::sort(order.begin(), order.begin() + held_out);
  std::sort(order.begin() + held_out, order.end());
  return {all.subset({order.begin() + held_out, order.end()}), all.subset({order.begin(), order.begin() + held_out})};
}

namespace detail {

/// Takes a line off a text, without its end.
inline std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// The fields of a line of comma-separated values; quoted ones may contain commas, and quotes twice.
inline std::vector<std::string> split_csv(std::string_view line) {
  std::vector<std::string> fields{""};
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && (quoted || fields.back().empty())) {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"')
        fields.back() += line[++i];
      else
        quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

}  // namespace detail

/// Captions in one of the two forms in which Flickr8k is found, images in the order of their first caption:
///
///   1000268201_693b08cb0e.jpg#0<tab>A child in a pink dress is climbing up a set of stairs .      a token file
///   image,caption                                              a table, whose first line names its columns; others
///   1000268201_693b08cb0e.jpg,"A child , climbing stairs ."    than these two are ignored
///
/// `source` is the file's path, for messages. Throws FileError, with the line, for what is neither, and for a caption
/// without words.
inline std::vector<ImageCaptions> decode_captions(std::string_view text, const std::string& source) {
  using detail::require;
  std::vector<ImageCaptions> entries;
  std::unordered_map<std::string, std::size_t> places;
  const auto add = [&](Index line, std::string_view image, std::string_view caption) {
    require<FileError>(!image.empty(), source, ": line ", line, ": there is no image");
    require<FileError>(!detail::trimmed(caption).empty(), source, ": line ", line, ": the caption of ", image,
                       " is empty");
    const auto [place, added] = places.emplace(std::string(image), entries.size());
    if (added) entries.push_back({std::string(image), {}});
    entries[place->second].captions.emplace_back(detail::trimmed(caption));
  };
  Index number = 0;
  std::optional<std::pair<std::size_t, std::size_t>> columns;  // of image and caption in a table
  while (!text.empty()) {
    const std::string_view line = detail::take_line(text);
    ++number;
    if (detail::trimmed(line).empty()) continue;
    if (entries.empty() && !columns && line.find('\t') == std::string_view::npos) {
      const std::vector<std::string> names = detail::split_csv(line);
      const auto column = [&](const char* name) {
        return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
      };
      columns = {column("image"), column("caption")};
      require<FileError>(std::max(columns->first, columns->second) < names.size(), source, ": line ", number,
                         ": expected name#number, a tab and a caption, or a table with columns image and caption, "
                         "found '",
                         line, "'");
    } else if (columns) {
      const std::vector<std::string> fields = detail::split_csv(line);
      require<FileError>(std::max(columns->first, columns->second) < fields.size(), source, ": line ", number,
                         ": expected at least ", std::max(columns->first, columns->second) + 1, " fields, found '",
                         line, "'");
      add(number, fields[columns->first], fields[columns->second]);
    } else {
      const std::size_t tab = line.find('\t'), hash = line.substr(0, std::min(tab, line.size())).rfind('#');
      require<FileError>(tab != std::string_view::npos && hash != std::string_view::npos, source, ": line ", number,
                         ": expected name#number, a tab and a caption, found '", line, "'");
      add(number, line.substr(0, hash), line.substr(tab + 1));
    }
  }
  require<FileError>(!entries.empty(), source, ": there are no captions in it");
  return entries;
}

namespace detail {

struct FigureColor {
  const char* name;
  std::array<double, 3> rgb;
};
inline constexpr std::array<FigureColor, 6> figure_colors{{{"red", {0.85, 0.12, 0.12}},
                                                           {"green", {0.15, 0.65, 0.2}},
                                                           {"blue", {0.15, 0.25, 0.9}},
                                                           {"yellow", {0.95, 0.85, 0.15}},
                                                           {"purple", {0.6, 0.2, 0.75}},
                                                           {"white", {0.97, 0.97, 0.97}}}};
/// A shape's name, and another for the same.
struct FigureShape {
  const char *name, *other;
};
inline constexpr std::array<FigureShape, 5> figure_shapes{
    {{"circle", "disc"}, {"square", "box"}, {"triangle", "triangle"}, {"cross", "plus"}, {"ring", "hoop"}}};
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
      const double inside = inside_figure(f.kind % 5, f.radius * extent, (x - f.x) * extent, (y - f.y) * extent);
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

struct CaptionedFiguresOptions {
  std::uint64_t seed = 0;
  Index first = 0;        ///< the number of the first scene
  Index side = 64;        ///< of the images
  bool held_out = false;  ///< scenes of the arrangements that are never drawn otherwise: scene i of arrangement i
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
  detail::require(count >= 0 && options.first >= 0, "captioned_figures: count and first must not be negative, got ",
                  count, " and ", options.first);
  detail::require(options.side >= 16, "captioned_figures: the side must be at least 16, got ", options.side);
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
      entries[static_cast<std::size_t>(i)] = {detail::text(options.held_out ? "held out " : "scene ", number),
                                              detail::describe(scene, random)};
      detail::draw_figures(figures, options.side, random, pixels + i * 3 * options.side * options.side);
    }
  });
  return {std::make_shared<const TensorDataset<Scalar>>(std::move(images), Labels({count})), std::move(entries)};
}

/// The thirty kinds of figures, "red circle" and so on.
inline std::vector<std::string> figure_classes() {
  std::vector<std::string> names;
  for (const auto& color : detail::figure_colors)
    for (const auto& shape : detail::figure_shapes) names.push_back(detail::text(color.name, " ", shape.name));
  return names;
}

/// Drawn scenes of one figure alone, with its class of figure_classes(): what captioned_figures() never shows. Options
/// as there; held_out is another random sequence only.
template <class Scalar = float>
TensorDataset<Scalar> single_figures(Index count, const CaptionedFiguresOptions& options = {}) {
  detail::require(count >= 0 && options.first >= 0, "single_figures: count and first must not be negative, got ", count,
                  " and ", options.first);
  detail::require(options.side >= 16, "single_figures: the side must be at least 16, got ", options.side);
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

}  // namespace lamina
