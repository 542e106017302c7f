#pragma once

// lamina/io/onnx.hpp for programs that link lamina::compiled_io: load_onnx and save_onnx of float are not
// instantiated again.

#include "lamina/io/onnx.hpp"

namespace lamina {
#define LAMINA_TEMPLATE extern template
#include "lamina/compiled/onnx.inc"
#undef LAMINA_TEMPLATE
}  // namespace lamina
