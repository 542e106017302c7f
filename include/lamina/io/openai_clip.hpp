#pragma once

#include <string>

#include "lamina/io/safetensors.hpp"
#include "lamina/models/openai_clip_state.hpp"

namespace lamina::inline LAMINA_ABI {

/// CLIP from a safetensors file of OpenAI's, open_clip's or Hugging Face's weights in F32, F16 or BF16; see
/// openai_clip_state. Throws FileError, naming the path, for what is not such a file: a missing tower, weights of
/// another width.
OpenAIClip<float> load_openai_clip(const std::string& path, const OpenAIClipHints& hints = {});

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/openai_clip-inl.hpp"
#endif
