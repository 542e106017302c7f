#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "lamina/core/error.hpp"
#include "lamina/core/process.hpp"

namespace lamina {

/// What the storage cache has done so far; see storage_statistics().
struct StorageStatistics {
  std::int64_t system_allocations = 0;  ///< calls to the system allocator since the program began
  std::size_t bytes_in_use = 0;         ///< held by tensors now
  std::size_t bytes_cached = 0;         ///< freed by tensors, kept for the next
  std::size_t peak_bytes = 0;           ///< the largest bytes_in_use since reset_peak_storage()
};

namespace core_detail {

inline constexpr std::size_t storage_alignment = 64;

/// Keeps freed storage by size class, so that the second training step asks the system for nothing. Thread-safe.
///
/// What is held, in use and kept, is at most twice what was in use at once since the last release(): where the sizes
/// vary, a request that would go beyond takes a larger free block, or the blocks that were free for longest go back to
/// the system. (A training step of fixed sizes holds 1.3 to 1.9 times what it has in use at once.)
class StorageCache {
 public:
  /// The one cache of the program. Its memory is never destroyed, since tensors with static lifetime may outlive any
  /// order of destruction; from the end of the program (or of the plugin that holds this code) on it keeps nothing.
  static StorageCache& instance() {
    alignas(StorageCache) static std::byte memory[sizeof(StorageCache)];
    static const Lifetime<StorageCache> lifetime(memory);
    return *lifetime.object;
  }

  /// Bytes are rounded up to one of eight classes per power of two, so at most an eighth is wasted.
  static std::size_t round_up(std::size_t bytes) {
    if (bytes <= 512) return (bytes + 63) / 64 * 64;
    const std::size_t step = std::bit_floor(bytes) / 8;
    return (bytes + step - 1) / step * step;
  }

  /// Memory for a rounded number of bytes, which becomes that of the block.
  void* allocate(std::size_t& bytes) {
    const std::lock_guard lock(program_mutex<StorageCache>());
    const std::size_t asked = bytes;
    void* memory = take(bin_of(asked), bytes);
    if (!memory && held() + asked > bound(asked)) memory = take_larger(bytes);
    if (!memory) memory = from_system(asked);
    statistics_.bytes_in_use += bytes;
    most_ = std::max(most_, statistics_.bytes_in_use);
    statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.bytes_in_use);
    return memory;
  }

  void deallocate(void* memory, std::size_t bytes) noexcept {
    const std::lock_guard lock(program_mutex<StorageCache>());
    statistics_.bytes_in_use -= bytes;
    if (closed_) return to_system(memory, bytes);
    FreeBlock*& top = bins_[bin_of(bytes)];
    FreeBlock* const block = new (memory) FreeBlock{bytes, nullptr, top, newest_, nullptr};
    (top ? top->above : top) = block;
    top = block;
    (newest_ ? newest_->newer : oldest_) = block;
    newest_ = block;
    statistics_.bytes_cached += bytes;
  }

  void release() {
    const std::lock_guard lock(program_mutex<StorageCache>());
    release_locked();
    most_ = statistics_.bytes_in_use;
  }

  StorageStatistics statistics() {
    const std::lock_guard lock(program_mutex<StorageCache>());
    return statistics_;
  }

  void reset_peak() {
    const std::lock_guard lock(program_mutex<StorageCache>());
    statistics_.peak_bytes = statistics_.bytes_in_use;
  }

  void set_limit(std::size_t bytes) {
    const std::lock_guard lock(program_mutex<StorageCache>());
    limit_ = bytes;
    shrink_to(limit_);
  }

  void close() {
    const std::lock_guard lock(program_mutex<StorageCache>());
    closed_ = true;
    release_locked();
  }

 private:
  /// What a free block holds: its places in its bin and among all free blocks by age.
  struct FreeBlock {
    std::size_t bytes;
    FreeBlock *above, *below, *older, *newer;
  };

  /// The bin of a rounded size: multiples of 64 up to 512, then eight for each power of two.
  static std::size_t bin_of(std::size_t bytes) {
    if (bytes <= 512) return bytes / 64;
    const auto power = static_cast<std::size_t>(std::bit_width(bytes)) - 1;
    return 8 * (power - 7) + (bytes >> (power - 3)) - 15;
  }

  std::size_t held() const { return statistics_.bytes_in_use + statistics_.bytes_cached; }
  /// What may be held when so many bytes more are in use.
  std::size_t bound(std::size_t bytes) const {
    return std::min(limit_, 2 * std::max(most_, statistics_.bytes_in_use + bytes));
  }

  /// The newest free block of a bin, or null.
  void* take(std::size_t bin, std::size_t& bytes) {
    FreeBlock* const block = bins_[bin];
    if (!block) return nullptr;
    bytes = block->bytes;
    unlink(block);
    return block;
  }
  /// A block of up to four times the size.
  void* take_larger(std::size_t& bytes) {
    const std::size_t asked = bytes;
    for (std::size_t bin = bin_of(asked) + 1; bin <= bin_of(4 * asked); ++bin)
      if (void* const memory = take(bin, bytes)) return memory;
    return nullptr;
  }

  void* from_system(std::size_t bytes) {
    shrink_to(bound(bytes) - std::min(bound(bytes), bytes));
    void* memory = nullptr;
    if (statistics_.bytes_in_use + bytes <= limit_) {
      memory = system_memory(bytes);
      if (!memory) {
        release_locked();
        memory = system_memory(bytes);
      }
    }
    if (!memory)
      throw OutOfMemory(text("Tensor storage: cannot allocate ", bytes, " bytes (", statistics_.bytes_in_use, " in use",
                             limit_ == SIZE_MAX ? "" : text(", limit ", limit_), ")"));
    ++statistics_.system_allocations;
    return memory;
  }
  /// What is large is asked for in large pages, where the system has them: it is then read a fifth faster.
  static constexpr std::size_t page = std::size_t{1} << 21, large = 2 * page;
  static std::align_val_t alignment(std::size_t bytes) {
    return std::align_val_t{bytes >= large ? page : storage_alignment};
  }
  static void* system_memory(std::size_t bytes) noexcept {
    void* const memory = ::operator new(bytes, alignment(bytes), std::nothrow);
#if defined(MADV_HUGEPAGE)
    if (memory && bytes >= large) ::madvise(memory, bytes / page * page, MADV_HUGEPAGE);
#endif
    return memory;
  }
  static void to_system(void* memory, std::size_t bytes) noexcept { ::operator delete(memory, alignment(bytes)); }

  void unlink(FreeBlock* block) noexcept {
    (block->above ? block->above->below : bins_[bin_of(block->bytes)]) = block->below;
    if (block->below) block->below->above = block->above;
    (block->older ? block->older->newer : oldest_) = block->newer;
    (block->newer ? block->newer->older : newest_) = block->older;
    statistics_.bytes_cached -= block->bytes;
  }

  /// Gives the blocks that were free for longest back, until no more than so many bytes are held.
  void shrink_to(std::size_t bytes) noexcept {
    while (oldest_ && held() > bytes) {
      FreeBlock* const block = oldest_;
      unlink(block);
      to_system(block, block->bytes);
    }
  }
  void release_locked() noexcept { shrink_to(0); }

  std::array<FreeBlock*, 8 * 64> bins_{};  // the newest of each
  FreeBlock *oldest_ = nullptr, *newest_ = nullptr;
  StorageStatistics statistics_;
  std::size_t most_ = 0;  // bytes in use at once
  std::size_t limit_ = SIZE_MAX;
  bool closed_ = false;
};

/// A reference-counted piece of memory: owned (from the cache, header in front of the data) or foreign.
class Storage {
 public:
  Storage() = default;

  /// Uninitialised memory for `bytes` bytes, aligned to 64.
  explicit Storage(std::size_t bytes) : block_(make(bytes)) { block_->data = block_->end_of_header(); }

  /// Foreign memory, constant or not; `keep_alive` is released with the last reference. Only this object may write to
  /// it, if it is not constant: copies and what it is moved to copy the memory first.
  Storage(void* foreign, bool constant, std::shared_ptr<const void> keep_alive)
      : block_(make(0)), writes_through_(!constant) {
    block_->data = static_cast<std::byte*>(foreign);
    block_->foreign = true;
    block_->keep_alive = std::move(keep_alive);
  }

  Storage(const Storage& other) noexcept : block_(other.block_) {
    if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) { other.writes_through_ = false; }
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
    writes_through_ = false;
    return *this;
  }
  ~Storage() {
    if (block_ && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const std::size_t bytes = block_->bytes;
      block_->~Block();
      StorageCache::instance().deallocate(block_, bytes);
    }
  }

  std::byte* data() const { return block_ ? block_->data : nullptr; }

  /// Whether a write would be seen by nobody else.
  bool exclusive() const { return !block_ || (!block_->foreign && unshared()); }

  /// Whether this object may write to the memory as it is.
  bool writable() const { return exclusive() || (writes_through_ && unshared()); }

  bool owned() const { return !block_ || !block_->foreign; }

  friend bool operator==(const Storage& a, const Storage& b) { return a.block_ == b.block_; }

 private:
  struct alignas(storage_alignment) Block {
    std::atomic<std::int64_t> references{1};
    std::size_t bytes = 0;
    std::byte* data = nullptr;
    bool foreign = false;
    std::shared_ptr<const void> keep_alive;

    std::byte* end_of_header() { return reinterpret_cast<std::byte*>(this) + sizeof(Block); }
  };

  bool unshared() const { return block_->references.load(std::memory_order_acquire) == 1; }

  static Block* make(std::size_t bytes) {
    std::size_t size = StorageCache::round_up(sizeof(Block) + bytes);
    Block* block = new (StorageCache::instance().allocate(size)) Block;
    block->bytes = size;
    return block;
  }

  Block* block_ = nullptr;
  bool writes_through_ = false;
};

}  // namespace core_detail

/// Counts of the storage cache: calls to the system, bytes in use, cached and at the peak.
inline StorageStatistics storage_statistics() { return core_detail::StorageCache::instance().statistics(); }

/// Gives all cached storage back to the system.
inline void release_cached_storage() { core_detail::StorageCache::instance().release(); }

/// Starts a new peak measurement at the present use.
inline void reset_peak_storage() { core_detail::StorageCache::instance().reset_peak(); }

/// Bounds the bytes that tensors may hold, kept ones included; an allocation beyond it throws OutOfMemory. No bound by
/// default: then what is kept for the next tensors and what is in use are together at most twice what was in use at
/// once since the last release_cached_storage().
inline void set_storage_limit(std::size_t bytes) { core_detail::StorageCache::instance().set_limit(bytes); }

}  // namespace lamina
