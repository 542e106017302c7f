#pragma once

#include <functional>
#include <string>
#include <vector>

#include "clip/settings.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/data/transforms.hpp"

namespace lamina::examples::clip {

/// What puts images and sentences into one space, wherever its weights come from.
struct Encoder {
  Index image_size, projection;
  std::string fingerprint;                                              // of the weights
  Transform<float> prepare;                                             // an image as images() takes it
  std::function<Tensor<float>(Tensor<float>)> images;                   // [N, projection], of length 1
  std::function<Tensor<float>(const std::vector<std::string>&)> texts;  // likewise
};

/// Reads the file of --model: a model of this program, or OpenAI's, open_clip's or Hugging Face's weights, with
/// --tokenizer or the tokenizer's files beside it. Throws FileError if it is none.
Encoder read_encoder(const Settings& s);

}  // namespace lamina::examples::clip
