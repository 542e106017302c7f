// A program's own stb, its implementation and options, before Lamina's headers.
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_GIF
#define STBI_MAX_DIMENSIONS 4096
#include <stb_image.h>
#undef STB_IMAGE_IMPLEMENTATION  // in a unity build other units follow

#include "lamina/io/image.hpp"

#ifndef STBI_NO_GIF
#error "Lamina took an option of the program's stb away"
#endif
#if STBI_MAX_DIMENSIONS != 4096 || STBI_VERSION != 1
#error "Lamina changed an option of the program's stb"
#endif

lamina::Tensor<std::uint8_t> by_lamina(const std::string& path) { return lamina::read_image(path); }
