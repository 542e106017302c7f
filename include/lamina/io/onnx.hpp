#pragma once

/// ONNX files: save_onnx and load_onnx.
#include "lamina/io/onnx/load/load.hpp"
#include "lamina/io/onnx/save/save.hpp"
