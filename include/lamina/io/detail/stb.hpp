#pragma once

#include <stdlib.h>

namespace lamina::detail {
struct DamagedImage {};  // thrown where stb would abort the program
}  // namespace lamina::detail

// stb's implementations with internal linkage: any number of translation units may include this header, and others may
// have stb's external functions. Within one translation unit there can be one stb only, and it must be this.
#if defined(STBI_INCLUDE_STB_IMAGE_H) || defined(INCLUDE_STB_IMAGE_WRITE_H)
#error "include lamina's headers before stb_image.h and stb_image_write.h, which they bring themselves"
#endif

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_ASSERT(condition) ((condition) ? (void)0 : throw lamina::detail::DamagedImage{})
#define STBI_MALLOC(bytes) calloc(1, bytes)  // a damaged JPEG may refer to tables that it has not set
#define STBI_REALLOC(memory, bytes) realloc(memory, bytes)
#define STBI_FREE(memory) free(memory)
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#else
#include <stb_image.h>
#include <stb_image_write.h>
#endif
#pragma GCC diagnostic pop

#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_IMPLEMENTATION
