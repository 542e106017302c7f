#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/distributed.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/core/shape.hpp"

namespace lamina::examples::clip {

/// What a model is made of; saved with its weights.
struct Architecture {
  std::string image_model = "resnet";  // or mobilenet_v2
  Index resnet = 18, image_size = 64, layers = 2, features = 128, heads = 4, max_length = 48, positions = 48,
        projection = 128;
  double width = 0.25;
  Index logit_bias = 0;      // whether there is one
  double mean = 0, std = 0;  // of the pixels; 0: ImageNet's of each channel
};

struct Settings {
  Architecture network;
  std::string dataset, data, captions, out = "out", model, resume, vocabulary, image_weights, text_weights,
                                       loss = "openai", split = "held-out", images, image, classes = "figures",
                                       rows = "image", index, tokenizer, templates, class_names, validation, test;
  std::vector<std::string> prompts{"a photo of a {}"}, queries;
  Index epochs = 30, batch_size = 128, scenes = 8000, held_out = 0, vocabulary_size = 4000, patience = 1, count = 9,
        limit = 1000, chunk = 0, top_classes = 5, text_heads = 0, image_heads = 0;
  std::optional<double> lr_image, lr_text, temperature, target_temperature;  // of --loss soft
  double lr_heads = 1e-3, weight_decay = 1e-3, factor = 0.8, dropout = 0.1;
  bool skip_unmatched = false, freeze_image = false, freeze_text = false, json = false, gelu = false;
  int threads = num_threads();
  std::uint64_t seed = 0;
  DistributedSettings distributed;

  std::string file(const std::string& name) const { return out + "/" + name; }
};

}  // namespace lamina::examples::clip
