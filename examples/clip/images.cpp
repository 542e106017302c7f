#include "clip/images.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "lamina/io/captions.hpp"
#include "lamina/io/datasets.hpp"

namespace lamina::examples::clip {

namespace {

/// Photographs with captions, and the folder of their files.
std::pair<CaptionDataset<float>, std::string> load_folder(const std::string& dir, const std::string& captions,
                                                          const Settings& s) {
  const std::string folder = find_image_folder(dir);
  return {load_captions(dir, {.captions = captions, .images = folder, .skip_unmatched = s.skip_unmatched}), folder};
}

}  // namespace

Data load(const Settings& s) {
  if (s.dataset == "figures") {
    require(s.validation.empty() && s.test.empty(), "--validation and --test are for photographs; scenes are drawn");
    constexpr Index many = 1 << 30;
    const Index side = s.network.image_size;
    return {captioned_figures(s.scenes, {.side = side}), captioned_figures(200, {.first = many, .side = side}),
            captioned_figures(s.held_out ? s.held_out : 200, {.side = side, .held_out = true})};
  }
  const std::string dir = s.dataset == "flickr8k" ? data_directory(s.data) + "/flickr8k" : s.dataset;
  auto [rest, folder] = load_folder(dir, s.captions, s);
  const Index all = rest.size(), judged = s.held_out ? s.held_out : std::max<Index>(1, all / 10);
  const Index parts = s.validation.empty() + s.test.empty();
  require(parts * judged < all, dir, ": of ", all, " images ", parts * judged, " cannot be kept from learning");
  const auto part = [&](const std::string& other, std::uint64_t seed) {
    if (!other.empty()) return load_folder(other, "", s);
    auto [others, taken] = split(rest, judged, seed);
    rest = others;
    return std::pair(taken, folder);
  };
  const auto [held_out, held_out_folder] = part(s.test, 0);
  const auto [validation, validation_folder] = part(s.validation, 1);
  return {rest, validation, held_out, folder, validation_folder, held_out_folder};
}

Transform<float> prepared_images(const Architecture& n) {
  const Resize resize(Size2(n.image_size, n.image_size));
  if (n.std > 0) return Compose{resize, Normalize({n.mean, n.mean, n.mean}, {n.std, n.std, n.std})};
  return Compose{resize, Normalize({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225})};
}
DataLoader<float> make_loader(const CaptionDataset<float>& images, const Settings& s) {
  return DataLoader<float>(
      images, {.batch_size = std::min(s.batch_size, images.size()), .transform = prepared_images(s.network)});
}

}  // namespace lamina::examples::clip
