#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "lamina/core/error.hpp"

namespace lamina {

/// What the storage cache has done so far; see storage_statistics().
struct StorageStatistics {
  std::int64_t system_allocations = 0;  ///< calls to the system allocator since the program began
  std::size_t bytes_in_use = 0;         ///< held by tensors now
  std::size_t bytes_cached = 0;         ///< freed by tensors, kept for the next
  std::size_t peak_bytes = 0;           ///< the largest bytes_in_use since reset_peak_storage()
};

namespace detail {

inline constexpr std::size_t storage_alignment = 64;

/// Keeps freed storage by size class, so that the second training step asks the system for nothing. Thread-safe.
class StorageCache {
 public:
  /// The one cache of the program. Never destroyed: tensors with static lifetime may outlive any order of destruction.
  static StorageCache& instance() {
    static StorageCache* cache = new StorageCache;
    return *cache;
  }

  /// Bytes are rounded up to one of eight classes per power of two, so at most an eighth is wasted.
  static std::size_t round_up(std::size_t bytes) {
    if (bytes <= 512) return (bytes + 63) / 64 * 64;
    const std::size_t step = std::bit_floor(bytes) / 8;
    return (bytes + step - 1) / step * step;
  }

  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* memory = nullptr;
    Bin& bin = bins_[bin_of(bytes)];
    if (!bin.free.empty()) {
      memory = bin.free.back();
      bin.free.pop_back();
      statistics_.bytes_cached -= bytes;
    } else {
      memory = from_system(bytes, bin);
    }
    statistics_.bytes_in_use += bytes;
    if (statistics_.bytes_in_use > statistics_.peak_bytes) statistics_.peak_bytes = statistics_.bytes_in_use;
    return memory;
  }

  void deallocate(void* memory, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    bins_[bin_of(bytes)].free.push_back(memory);  // room was reserved when the block was made
    statistics_.bytes_in_use -= bytes;
    statistics_.bytes_cached += bytes;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    release_locked();
  }

  StorageStatistics statistics() {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    statistics_.peak_bytes = statistics_.bytes_in_use;
  }

  void set_limit(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
  }

 private:
  /// The blocks of one size.
  struct Bin {
    std::size_t bytes = 0;
    std::size_t made = 0;  // blocks alive, in use or free
    std::vector<void*> free;
  };

  /// The bin of a rounded size: multiples of 64 up to 512, then eight for each power of two.
  static std::size_t bin_of(std::size_t bytes) {
    if (bytes <= 512) return bytes / 64;
    const auto power = static_cast<std::size_t>(std::bit_width(bytes)) - 1;
    return 8 * (power - 7) + (bytes >> (power - 3)) - 15;
  }

  void* from_system(std::size_t bytes, Bin& bin) {
    bin.bytes = bytes;
    if (bin.free.capacity() <= bin.made) bin.free.reserve(2 * bin.made + 4);
    if (statistics_.bytes_in_use + statistics_.bytes_cached + bytes > limit_) release_locked();
    void* memory = nullptr;
    if (statistics_.bytes_in_use + bytes <= limit_) {
      memory = ::operator new (bytes, std::align_val_t{storage_alignment}, std::nothrow);
      if (!memory) {
        release_locked();
        memory = ::operator new (bytes, std::align_val_t{storage_alignment}, std::nothrow);
      }
    }
    if (!memory)
      throw OutOfMemory(text("Tensor storage: cannot allocate ", bytes, " bytes (", statistics_.bytes_in_use, " in use",
                             limit_ == SIZE_MAX ? "" : text(", limit ", limit_), ")"));
    ++statistics_.system_allocations;
    ++bin.made;
    return memory;
  }

  void release_locked() noexcept {
    for (Bin& bin : bins_) {
      for (void* memory : bin.free) ::operator delete (memory, std::align_val_t{storage_alignment});
      bin.made -= bin.free.size();
      statistics_.bytes_cached -= bin.bytes * bin.free.size();
      bin.free.clear();
    }
  }

  std::mutex mutex_;
  std::array<Bin, 8 * 64> bins_;
  StorageStatistics statistics_;
  std::size_t limit_ = SIZE_MAX;
};

/// A reference-counted piece of memory: owned (from the cache, header in front of the data) or foreign.
class Storage {
 public:
  Storage() = default;

  /// Uninitialised memory for `bytes` bytes, aligned to 64.
  explicit Storage(std::size_t bytes) : block_(make(bytes)) { block_->data = block_->end_of_header(); }

  /// Foreign memory; `keep_alive` is released with the last reference. Not writable: writers copy first.
  Storage(void* foreign, bool writable, std::shared_ptr<const void> keep_alive) : block_(make(0)) {
    block_->data = static_cast<std::byte*>(foreign);
    block_->writable = writable;
    block_->keep_alive = std::move(keep_alive);
  }

  Storage(const Storage& other) noexcept : block_(other.block_) {
    if (block_) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Storage(Storage&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Storage& operator=(Storage other) noexcept {
    std::swap(block_, other.block_);
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

  /// True when a write would be seen by nobody else.
  bool exclusive() const {
    return !block_ || (block_->writable && block_->references.load(std::memory_order_acquire) == 1);
  }

  /// False for foreign memory that may be written to, by others too.
  bool stable() const { return !block_ || !block_->writable || block_->data == block_->end_of_header(); }

  friend bool operator==(const Storage& a, const Storage& b) { return a.block_ == b.block_; }

 private:
  struct alignas(storage_alignment) Block {
    std::atomic<std::int64_t> references{1};
    std::size_t bytes = 0;
    std::byte* data = nullptr;
    bool writable = true;
    std::shared_ptr<const void> keep_alive;

    std::byte* end_of_header() { return reinterpret_cast<std::byte*>(this) + sizeof(Block); }
  };

  static Block* make(std::size_t bytes) {
    const std::size_t rounded = StorageCache::round_up(sizeof(Block) + bytes);
    Block* block = new (StorageCache::instance().allocate(rounded)) Block;
    block->bytes = rounded;
    return block;
  }

  Block* block_ = nullptr;
};

}  // namespace detail

/// Counts of the storage cache: calls to the system, bytes in use, cached and at the peak.
inline StorageStatistics storage_statistics() { return detail::StorageCache::instance().statistics(); }

/// Gives all cached storage back to the system.
inline void release_cached_storage() { detail::StorageCache::instance().release(); }

/// Starts a new peak measurement at the present use.
inline void reset_peak_storage() { detail::StorageCache::instance().reset_peak(); }

/// Bounds the bytes that tensors may hold; beyond it, allocation throws OutOfMemory. No bound by default.
inline void set_storage_limit(std::size_t bytes) { detail::StorageCache::instance().set_limit(bytes); }

}  // namespace lamina
