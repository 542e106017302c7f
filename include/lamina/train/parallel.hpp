#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/optim/state.hpp"

namespace lamina::inline LAMINA_ABI {

/// What must be the same on all ranks, as texts: names and values.
using RunSettings = std::vector<std::pair<std::string, std::string>>;

/// What makes several processes, ranks, train one model together, each on its part of every batch (see Shard); fit asks
/// it to (FitOptions::parallel). mpi::DataParallel is one. All ranks make the same calls in the same order.
template <class Scalar = float>
class Parallel {
 public:
  virtual ~Parallel() = default;

  virtual Index rank() const = 0;   ///< which one this is, from 0
  virtual Index ranks() const = 0;  ///< how many there are

  /// Before the first step: gives all ranks the model of rank 0. Throws StateError, which names the rank and the
  /// setting, where a rank's settings are not those of rank 0.
  virtual void begin(Module<Scalar>& net, const RunSettings& settings) = 0;
  /// Before each backward; `last`: the step follows it, so that gradients may be sent off as soon as they are done.
  virtual void before_backward(Tape& tape, bool last) = 0;
  /// After the last backward of a step: Parameter::grad becomes the sum over the ranks.
  virtual void after_backward(Tape& tape) = 0;
  /// Adds up numbers over the ranks, in place: all get the same bits.
  virtual void sum(std::span<double> values) = 0;
  /// After an epoch's last step, before the test: what is not learned (running statistics) becomes the average over the
  /// ranks. Throws StateError, which names the rank, if a model is no longer that of rank 0.
  virtual void end_epoch(Module<Scalar>& net) = 0;
};

/// A number for some bytes, in which a changed byte shows: 64 bits of a hash that is not cryptographic. The same on all
/// machines of one byte order.
class Hash {
 public:
  /// Adds bytes.
  void add(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const unsigned char*>(data);
    for (; bytes >= 8; bytes -= 8, from += 8) add_word(from, 8);
    add_word(from, bytes);
    mix(bytes);
  }
  /// Adds a tensor: its shape and its values.
  template <class T>
  void add(const Tensor<T>& tensor) {
    for (const Index extent : tensor.shape()) mix(static_cast<std::uint64_t>(extent));
    add(tensor.data(), static_cast<std::size_t>(tensor.numel()) * sizeof(T));
  }
  /// Adds a text.
  void add(const std::string& text) { add(text.data(), text.size()); }
  /// Adds names with their tensors: a state_dict, or what an optimiser has gathered.
  template <class Value>
  void add(const std::vector<std::pair<std::string, Value>>& state) {
    for (const auto& [name, value] : state) {
      add(name);
      std::visit([this](const auto& tensor) { this->add(tensor); }, value);
    }
  }

  /// Of all that was added.
  std::uint64_t value() const { return state_; }
  /// As 16 hexadecimal digits.
  std::string text() const {
    std::string digits(16, '0');
    for (std::size_t i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[state_ >> (60 - 4 * i) & 15];
    return digits;
  }

 private:
  void add_word(const unsigned char* from, std::size_t bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, bytes);
    mix(word);
  }
  /// As the finish of splitmix64 (Steele, Lea and Flood 2014).
  void mix(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15U;
    state_ = (state_ ^ state_ >> 30) * 0xbf58476d1ce4e5b9U;
    state_ ^= state_ >> 27;
  }

  std::uint64_t state_ = 0x243f6a8885a308d3U;
};

}  // namespace lamina::inline LAMINA_ABI
