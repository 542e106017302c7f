#pragma once

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/openai_clip.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE OpenAIClip<float> load_openai_clip(const std::string& path, const OpenAIClipHints& hints) {
  const StateDict<float> state = load_safetensors(path);
  try {
    return openai_clip_of(state, hints);
  } catch (const StateError& error) {
    throw FileError(text(path, ": ", error.what()));
  }
}

}  // namespace lamina::inline LAMINA_ABI
