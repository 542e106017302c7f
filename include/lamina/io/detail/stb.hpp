#pragma once
#pragma GCC system_header  // stb's warnings are not Lamina's users' concern

// Before stb, which would otherwise include them within the namespace.
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__) || defined(__x86_64__)
#include <emmintrin.h>
#endif

#include <new>
#include <utility>
#include <vector>

#include "lamina/core/isa.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// Thrown where stb's assertions would abort the program.
struct DamagedImage {};

/// The memory of one decoding by stb: zeroed, since a damaged JPEG may refer to tables that it has not set; at most
/// `budget` bytes at once; freed at the end, also when stb is left by an exception. Decodings may nest.
class StbMemory {
 public:
  explicit StbMemory(size_t budget) : left_(budget), outer_(std::exchange(current_, this)) {}
  StbMemory(const StbMemory&) = delete;
  StbMemory& operator=(const StbMemory&) = delete;
  ~StbMemory() {
    for (const Block& block : blocks_) ::free(block.memory);
    current_ = outer_;
  }

  /// Whether stb asked for more than the budget.
  bool exhausted() const { return exhausted_; }

  /// malloc, realloc and free for stb in this thread; throw std::bad_alloc where those return null.
  static void* allocate(size_t bytes) { return current_->take(bytes); }
  static void* resize(void* memory, size_t old_bytes, size_t bytes) {
    void* const result = current_->take(bytes);
    if (memory) memcpy(result, memory, old_bytes < bytes ? old_bytes : bytes);
    release(memory);
    return result;
  }
  static void release(void* memory) {
    for (Block& block : current_->blocks_)
      if (block.memory == memory) {
        ::free(std::exchange(block.memory, nullptr));
        current_->left_ += std::exchange(block.bytes, 0);
      }
  }

 private:
  struct Block {
    void* memory;
    size_t bytes;
  };

  void* take(size_t bytes) {
    exhausted_ = exhausted_ || bytes > left_;
    blocks_.push_back({nullptr, 0});  // first, as it may throw
    void* const memory = exhausted_ ? nullptr : ::calloc(1, bytes);
    if (!memory) throw std::bad_alloc();
    blocks_.back() = {memory, bytes};
    left_ -= bytes;
    return memory;
  }

  inline static thread_local StbMemory* current_ = nullptr;
  std::vector<Block> blocks_;  // stb allocates a dozen times
  size_t left_;
  bool exhausted_ = false;
  StbMemory* outer_;
};

}  // namespace lamina::inline LAMINA_ABI::detail

// stb's image reader for Lamina alone: in a namespace, with internal linkage, and no macro of it seen outside. A unit
// may have an stb of its own beside it, before or after this header, of another version and with any options.
#include "lamina/io/detail/stb_macros_hide.inc"

#define STB_IMAGE_IMPLEMENTATION
#define STBIDEF extern "C++" inline  // stb's declarations stand within extern "C", which knows no namespaces
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_ASSERT(condition) ((condition) ? (void)0 : throw lamina::detail::DamagedImage{})
#define STBI_MALLOC(bytes) lamina::detail::StbMemory::allocate(bytes)
#define STBI_REALLOC_SIZED(memory, old_bytes, bytes) lamina::detail::StbMemory::resize(memory, old_bytes, bytes)
#define STBI_FREE(memory) lamina::detail::StbMemory::release(memory)

namespace lamina::inline LAMINA_ABI::detail::stb {
namespace {
#if __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#else
#include <stb_image.h>
#endif
}  // namespace
}  // namespace lamina::inline LAMINA_ABI::detail::stb

#include "lamina/io/detail/stb_macros_restore.inc"
