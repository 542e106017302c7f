#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/program.hpp"
#include "lamina/compile/plan.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/io/segmentation.hpp"
#include "lamina/models/deeplab.hpp"
#include "lamina/plot/canvas.hpp"
#include "lamina/train/metrics.hpp"

/// `segment --pretrained`: DeepLab v3 with weights from elsewhere, on photographs.
namespace lamina::examples {

struct PretrainedSettings {
  std::string weights, labels, out;
  std::vector<std::string> photos;
  Index size;  ///< of a photograph's longer side, as the network sees it
};

/// The longer side `longer`, the other one to the nearest k stride + 1.
inline Size2 fitting_size(const Shape& image, Index longer, Index stride) {
  const Index h = image[1], w = image[2];
  const auto other = [&](Index side, Index of) {
    const double scaled = static_cast<double>(side) * static_cast<double>(longer) / static_cast<double>(of);
    return static_cast<Index>(std::lround((scaled - 1) / static_cast<double>(stride))) * stride + 1;
  };
  return h > w ? Size2(longer, other(w, h)) : Size2(other(h, w), longer);
}

/// Pascal VOC's colour of a class: its bits from the lowest on, three by three, are red, green and blue from the
/// highest bit down.
inline Color voc_color(Index label) {
  std::array<int, 3> color{};
  for (int bit = 7; label > 0; label >>= 3, --bit)
    for (std::size_t c = 0; c < 3; ++c) color[c] |= static_cast<int>(label >> c & 1) << bit;
  return {static_cast<std::uint8_t>(color[0]), static_cast<std::uint8_t>(color[1]),
          static_cast<std::uint8_t>(color[2])};
}

/// A class on a photograph and its share of the pixels.
struct Found {
  Index label;
  double share;
};
/// The classes but the background, the largest first.
inline std::vector<Found> found_in(const Labels& classes) {
  std::map<Index, Index> pixels;
  for (const std::int32_t label : classes.values()) ++pixels[label];
  std::vector<Found> result;
  for (const auto& [label, count] : pixels)
    if (label > 0) result.push_back({label, static_cast<double>(count) / static_cast<double>(classes.numel())});
  std::sort(result.begin(), result.end(), [](const Found& a, const Found& b) { return a.share > b.share; });
  return result;
}

/// "cat 12.3 %".
inline std::string said(const Found& found, const std::vector<std::string>& names) {
  char percent[16];
  std::snprintf(percent, sizeof percent, " %.1f %%", 100 * found.share);
  return names[static_cast<std::size_t>(found.label)] + percent;
}

/// The photograph (bytes [3, H, W]) with its classes [H, W] over it, white lines around them, and a legend.
inline Tensor<std::uint8_t> draw_over(const Tensor<std::uint8_t>& photo, const Labels& classes,
                                      const std::vector<Found>& found, const std::vector<std::string>& names) {
  const Index h = photo.dim(1), w = photo.dim(2), plane = h * w;
  Tensor<std::uint8_t> over = photo;
  std::uint8_t* const pixels = over.data();
  for (Index y = 0; y < h; ++y)
    for (Index x = 0; x < w; ++x) {
      const std::int32_t label = classes(y, x);
      const bool edge = (x + 1 < w && classes(y, x + 1) != label) || (y + 1 < h && classes(y + 1, x) != label);
      if (label == 0 && !edge) continue;
      const Color color = edge ? Color{255, 255, 255} : voc_color(label);
      std::uint8_t* const p = pixels + y * w + x;
      const std::array<std::uint8_t, 3> values{color.r, color.g, color.b};
      for (Index c = 0; c < 3; ++c) {
        std::uint8_t& value = p[c * plane];
        value = edge ? 255 : static_cast<std::uint8_t>((9 * value + 11 * values[static_cast<std::size_t>(c)]) / 20);
      }
    }
  Canvas canvas(w + 260, std::max<Index>(h, 32 + 40 * static_cast<Index>(std::max<std::size_t>(1, found.size()))));
  canvas.picture(0, 0, static_cast<double>(w), static_cast<double>(h), over);
  const auto left = static_cast<double>(w) + 20;
  if (found.empty()) canvas.text(left, 42, "background alone", {.size = 15});
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double y = 20 + 40 * static_cast<double>(i);
    canvas.rectangle(left, y, 32, 28, voc_color(found[i].label));
    canvas.text(left + 44, y + 21, said(found[i], names), {.size = 15});
  }
  return canvas.image();
}

inline AtInputSize<float> load_deeplab(const PretrainedSettings& s, Index classes) {
  auto net = deeplab_v3<float>({.classes = classes});
  try {
    load_state_dict(net, load_safetensors<float>(s.weights));
  } catch (const StateError& error) {
    const std::string what = error.what();  // a line with the whole model, then the list
    throw StateError(text(s.weights, ": not the weights of DeepLab v3 on MobileNet V2 with ", classes, " classes",
                          what.substr(what.find('\n'))));
  }
  return net;
}

/// Writes OUT/NAME.png, the photograph with its classes, and OUT/NAME_classes.png, the class of each pixel as its
/// value.
inline void segment_photograph(const PretrainedSettings& s, const AtInputSize<float>& net, const std::string& path,
                               const std::vector<std::string>& names) {
  Tensor<float> image = to_float(read_image(path, {.channels = 3}));
  image = Resize(fitting_size(image.shape(), s.size, 16))(std::move(image));
  Tensor<std::uint8_t> bytes(image.shape());
  std::transform(image.data(), image.data() + image.numel(), bytes.data(),
                 [](float v) { return static_cast<std::uint8_t>(255 * std::clamp(v, 0.f, 1.f) + 0.5f); });
  const Shape batch = image.shape().batch(1);
  const Plan plan = compile(net, batch);
  const Labels classes =
      predicted_classes(plan(Normalize({0.5, 0.5, 0.5}, {0.5, 0.5, 0.5})(std::move(image)).reshape(batch)))[0];
  const std::vector<Found> found = found_in(classes);
  std::string line;
  for (const Found& f : found) line += (line.empty() ? "" : ", ") + said(f, names);
  const std::string name = s.out + "/" + std::filesystem::path(path).stem().string();
  write_png(name + ".png", draw_over(bytes, classes, found, names));
  write_png(name + "_classes.png", classes.cast<std::uint8_t>());
  std::printf("%s: %s -> %s.png\n", path.c_str(), line.empty() ? "background alone" : line.c_str(), name.c_str());
  std::fflush(stdout);
}

/// A photograph that cannot be read does not stop the others, but is an error at the end.
inline void segment_photographs(const PretrainedSettings& s) {
  std::set<std::string> outputs;
  for (const std::string& path : s.photos) {
    const std::string stem = std::filesystem::path(path).stem().string();
    lamina::require(outputs.insert(stem).second, path, ": another photograph would have the same ", s.out, "/", stem,
                    ".png");
  }
  const std::vector<std::string> names =
      s.labels.empty() ? std::vector<std::string>(voc_classes.begin(), voc_classes.end()) : read_lines(s.labels);
  lamina::require(!names.empty() && names.size() <= 256, s.labels, ": expected 1 to 256 labels, got ", names.size());
  const auto net = load_deeplab(s, static_cast<Index>(names.size()));
  prepare_folder(s.out);
  int failures = 0;
  for (const std::string& path : s.photos) {
    try {
      segment_photograph(s, net, path, names);
    } catch (const FileError& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ++failures;
    }
  }
  lamina::require<FileError>(failures == 0, failures, " of ", s.photos.size(), " photographs failed");
}

}  // namespace lamina::examples
