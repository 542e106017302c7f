#pragma once

#include <mutex>
#include <optional>
#include <utility>

#include "lamina/core/process.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI::detail {

/// A layer's weight as the kernel of the last inference read it, kept for the next: packing takes as long as the
/// inference of an image. It is told by the storage of the weight from which it was made: the copy held here makes
/// every writer to the weight take new storage. Of weights in wrapped memory nothing is kept, nor in training.
template <class Scalar, class Packed>
class PackedCache {
 public:
  PackedCache() = default;
  PackedCache(const PackedCache&) {}
  PackedCache& operator=(const PackedCache&) {
    clear();
    return *this;
  }

  /// Keeps nothing any more: training changes the weight, and wants the memory.
  void clear() {
    const std::lock_guard lock(mutex());
    weight_ = {};
    packed_.reset();
  }

  /// What is kept for this weight if fits(it), else make(), which is kept from now on.
  template <class Fits, class Make>
  Packed get(const Tensor<Scalar>& weight, Fits fits, Make make) const {
    {
      const std::lock_guard lock(mutex());
      if (packed_ && fits(*packed_) && weight_.shares_storage(weight) && std::as_const(weight_).data() == weight.data())
        return *packed_;
    }
    Packed packed = make();
    if (weight.owns_data()) {
      const std::lock_guard lock(mutex());
      weight_ = weight;
      packed_ = packed;
    }
    return packed;
  }

 private:
  /// One for all, which a fork leaves free: it is held for moments.
  static std::mutex& mutex() { return program_mutex<PackedCache>(); }

  mutable Tensor<Scalar> weight_;
  mutable std::optional<Packed> packed_;
};

}  // namespace lamina::inline LAMINA_ABI::detail
