#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/data/scenes.hpp"
#include "lamina/data/segmentation.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/segmentation.hpp"
#include "lamina/plot/canvas.hpp"
#include "segmentation/network.hpp"
#include "segmentation/pretrained.hpp"

/// The images that `segment` learns from, what their labels mean and how they are shown.
namespace lamina::examples::segmentation {

struct Data {
  std::shared_ptr<const Dataset<float>> train, test;
  std::vector<std::string> classes;
  std::int32_t ignored;  // the label that does not count
  std::vector<Color> colors;
  bool equal = true;  // all images have the size of the first test image

  Index count() const { return static_cast<Index>(classes.size()); }
  Shape image() const { return test->get(0).input.shape(); }
};

inline std::shared_ptr<const Dataset<float>> first_of(std::shared_ptr<const Dataset<float>> all, Index limit) {
  if (limit >= all->size()) return all;
  return std::make_shared<const Subset<float, Labels>>(std::move(all), limit);
}
template <class D>
std::shared_ptr<const Dataset<float>> shared(D data) {
  return std::make_shared<const D>(std::move(data));
}

/// Images of files, which may differ in size.
template <class D>
Data of_files(const Settings& s, D train, D test, std::vector<std::string> classes) {
  Data data{first_of(shared(std::move(train)), s.limit_train),
            first_of(shared(std::move(test)), s.limit_test),
            std::move(classes),
            segmentation_void,
            {},
            false};
  for (Index k = 0; k < data.count(); ++k) data.colors.push_back(voc_color(k));
  return data;
}

/// Drawn scenes; `apart` as ScenesOptions has it.
inline Data drawn(const Settings& s, Index training, Index testing, ScenesOptions options) {
  auto train = scenes(std::min(s.limit_train, training), options);
  options.first = training;
  return {shared(std::move(train)),
          shared(scenes(std::min(s.limit_test, testing), options)),
          {scene_classes.begin(), scene_classes.end()},
          255,
          {{205, 205, 200}, {240, 190, 60}, {215, 60, 50}, {50, 150, 80}}};
}

inline Data load(const Settings& s) {
  if (s.dataset == "shapes") return drawn(s, 800, 200, {});
  if (s.dataset == "context") {
    const Size2 size = 97;
    const Index reach = reach_without_context(s, size);
    const double apart = static_cast<double>(reach + 1);
    lamina::require(apart < 0.6 * static_cast<double>(size.h), "the network without its context module sees ", reach,
                    " pixels far: too much for context scenes of ", size, " pixels; --backbone plain sees less");
    std::printf(
        "without its context module the network sees %td pixels far; the signal is farther from what it decides\n",
        reach);
    return drawn(s, 800, 200, {.size = size, .apart = apart});
  }
  const std::string dir = data_directory(s.data);
  if (s.dataset == "voc")
    return of_files(s, load_voc(dir + "/VOCdevkit/VOC2012", "train"), load_voc(dir + "/VOCdevkit/VOC2012", "val"),
                    {voc_classes.begin(), voc_classes.end()});
  if (s.dataset == "ade20k") {
    std::vector<std::string> classes;
    for (int k = 1; k <= 150; ++k) classes.push_back(text("class ", k));
    return of_files(s, load_ade20k(dir + "/ADEChallengeData2016", "training"),
                    load_ade20k(dir + "/ADEChallengeData2016", "validation"), std::move(classes));
  }
  if (s.dataset == "cityscapes")
    return of_files(s, load_cityscapes(dir + "/cityscapes", "train"), load_cityscapes(dir + "/cityscapes", "val"),
                    {cityscapes_classes.begin(), cityscapes_classes.end()});
  return {shared(load_camvid(dir, "train", s.limit_train)),
          shared(load_camvid(dir, "test", s.limit_test)),
          {camvid_classes.begin(), camvid_classes.end()},
          camvid_void,
          {{128, 170, 220},
           {150, 75, 60},
           {192, 192, 128},
           {128, 64, 128},
           {235, 150, 160},
           {90, 130, 40},
           {240, 200, 40},
           {70, 70, 130},
           {50, 30, 190},
           {220, 50, 50},
           {0, 140, 160}}};
}

/// The size of the training crops: --crop, else what HamNet pads the images to, for files 513 as in the paper.
inline Size2 crop_size(const Settings& s, const Data& data) {
  if (s.crop > 0) return aligned_size(s.crop, s.stride);
  if (!data.equal) return aligned_size(513, s.stride);
  const Shape image = data.image();
  return aligned_size({image[1], image[2]}, s.stride);
}

/// What the backbone's weights are used to.
inline Normalize normalize_for(const Settings& s) {
  if (s.backbone_name() == "mobilenet_v2") return Normalize({0.5, 0.5, 0.5}, {0.5, 0.5, 0.5});
  return Normalize({0.45, 0.45, 0.45}, {0.25, 0.25, 0.25});
}

}  // namespace lamina::examples::segmentation
