#pragma once

/// Files: the opt-in part of Lamina, which needs nlohmann-json, stb and zlib (CMake target lamina::io). Text is here
/// too: its vocabularies and captions come from files, and its headers cost compile time.
// clang-format off: this include is the first one
#include "lamina/core/detail/macros_hide.inc"
// clang-format on

#include "lamina/data/byte_pair.hpp"
#include "lamina/data/captions.hpp"
#include "lamina/data/encoded_texts.hpp"
#include "lamina/data/wordpiece.hpp"
#include "lamina/io/byte_pair.hpp"
#include "lamina/io/captions.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/dtype.hpp"
#include "lamina/io/embedding_index.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/history.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
#include "lamina/io/npy.hpp"
#include "lamina/io/onnx.hpp"
#include "lamina/io/openai_clip.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/io/segmentation.hpp"
#include "lamina/plot/canvas.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"

#ifdef LAMINA_COMPILED_IO
#include "lamina/compiled/onnx.hpp"
#endif

// clang-format off: and this the last
#include "lamina/core/detail/macros_restore.inc"
