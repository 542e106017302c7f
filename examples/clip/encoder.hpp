#pragma once

#include <functional>
#include <string>
#include <vector>

#include "clip/settings.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/data/transforms.hpp"

namespace lamina::examples::clip {

/// What puts images and sentences into one space, wherever its weights come from. Both encoders are Plans.
struct Encoder {
  Index image_size, projection;
  double scale;                                                         // of the similarities, before a softmax
  std::string fingerprint;                                              // of all that embeddings depend on
  Transform<float> prepare;                                             // an image as images() takes it
  std::function<Tensor<float>(Tensor<float>)> images;                   // [N, projection], of length 1
  std::function<Tensor<float>(const std::vector<std::string>&)> texts;  // likewise; all of them at once
};

/// Reads the file of --model: a model of this program, or OpenAI's, open_clip's or Hugging Face's weights, whose
/// tokenizer, --tokenizer or the files beside the model, is read when there are texts. Throws FileError if it is none.
Encoder read_encoder(const Settings& s);

}  // namespace lamina::examples::clip
