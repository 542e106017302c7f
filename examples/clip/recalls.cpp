#include "clip/recalls.hpp"

#include <cstdio>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/train/retrieval.hpp"

namespace lamina::examples::clip {

Recalls recalls(Tensor<float> images, Tensor<float> texts, const CaptionDataset<float>& data) {
  images = l2_normalize(std::move(images));
  texts = l2_normalize(std::move(texts));
  std::vector<Index> image_items, text_items;
  for (Index i = 0; i < data.size(); ++i) {
    image_items.push_back(i);
    text_items.insert(text_items.end(), data.captions(i).size(), i);
  }
  const auto to_image = retrieval_ranks(texts, text_items, images, image_items);
  const auto to_text = retrieval_ranks(images, image_items, texts, text_items);
  Recalls result;
  result.images = data.size();
  result.captions = static_cast<Index>(text_items.size());
  for (std::size_t k = 0; k < recall_ranks.size(); ++k) {
    const Index first = recall_ranks[k];
    result.to_image[k] = recall_at(first, to_image);
    result.to_text[k] = recall_at(first, to_text);
    result.chance_to_image[k] = recall_by_chance(first, 1, result.images);
    for (Index i = 0; i < data.size(); ++i)
      result.chance_to_text[k] +=
          recall_by_chance(first, static_cast<Index>(data.captions(i).size()), result.captions) /
          static_cast<double>(data.size());
  }
  return result;
}

Recalls judge(const Clip& clip, const CaptionDataset<float>& data, const Settings& s) {
  return recalls(embed(clip, data, s, "images"), embed(clip, data.all_captions()), data);
}

void print(const Recalls& r) {
  std::printf("%s images, %s captions         recall at 1      at 5     at 10\n", with_commas(r.images).c_str(),
              with_commas(r.captions).c_str());
  const auto row = [](const char* name, const std::array<double, 3>& values) {
    std::printf("  %-28s %13.3f %9.3f %9.3f\n", name, values[0], values[1], values[2]);
  };
  row("text to image", r.to_image);
  row("  by chance", r.chance_to_image);
  row("image to text", r.to_text);
  row("  by chance", r.chance_to_text);
}

Json to_json(const Recalls& r) {
  return {{"images", r.images},
          {"captions", r.captions},
          {"at", recall_ranks},
          {"text_to_image", r.to_image},
          {"text_to_image_by_chance", r.chance_to_image},
          {"image_to_text", r.to_text},
          {"image_to_text_by_chance", r.chance_to_text}};
}

}  // namespace lamina::examples::clip
