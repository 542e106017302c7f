#include "clip/images.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "lamina/io/captions.hpp"
#include "lamina/io/datasets.hpp"

namespace lamina::examples::clip {

Data load(const Settings& s) {
  if (s.dataset == "figures") {
    constexpr Index many = 1 << 30;
    const Index side = s.network.image_size;
    return {captioned_figures(s.scenes, {.side = side}), captioned_figures(200, {.first = many, .side = side}),
            captioned_figures(s.held_out ? s.held_out : 200, {.side = side, .held_out = true}), ""};
  }
  const std::string dir = s.dataset == "flickr8k" ? data_directory(s.data) + "/flickr8k" : s.dataset;
  const std::string folder = find_image_folder(dir);
  const auto all = load_captions(dir, {.captions = s.captions, .images = folder, .skip_unmatched = s.skip_unmatched});
  const Index judged = s.held_out ? s.held_out : std::max<Index>(1, all.size() / 10);
  require(2 * judged < all.size(), dir, ": of ", all.size(), " images ", judged, " cannot be held out and ", judged,
          " be for validation");
  const auto [others, held_out] = split(all, judged);
  const auto [train, validation] = split(others, judged, 1);
  return {train, validation, held_out, folder};
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
