#pragma once

#include <string>

#include "lamina/io/safetensors.hpp"
#include "lamina/models/openai_clip_state.hpp"

namespace lamina::inline LAMINA_ABI {

/// CLIP from a safetensors file of OpenAI's, open_clip's or Hugging Face's weights in F32, F16 or BF16; see
/// openai_clip_state. Throws FileError, naming the path, for what is not such a file: a missing tower, weights of
/// another width.
inline OpenAIClip<float> load_openai_clip(const std::string& path, const OpenAIClipHints& hints = {}) {
  const StateDict<float> state = load_safetensors(path);
  try {
    return openai_clip_of(state, hints);
  } catch (const StateError& error) {
    throw FileError(text(path, ": ", error.what()));
  }
}

}  // namespace lamina::inline LAMINA_ABI
