#pragma once

/// ONNX files: save_onnx and load_onnx.
#include "lamina/io/onnx/load/load.hpp"
#include "lamina/io/onnx/save/save.hpp"

#ifdef LAMINA_COMPILED_ONNX
namespace lamina {
#define LAMINA_TEMPLATE extern template
#include "lamina/compiled/onnx.inc"
#undef LAMINA_TEMPLATE
}  // namespace lamina
#endif
