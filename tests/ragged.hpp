#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lamina/nn/block.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI::testing {

/// A layer of packed sequences that keeps their shape as a Module of one tensor [tokens, D], for the suites that check
/// modules.
template <class L, class Scalar>
class Ragged : public Block<Ragged<L, Scalar>, Scalar> {
 public:
  Ragged(L layer, Sequences sequences)
      : layer_(std::move(layer)), sequences_(std::make_shared<const Sequences>(std::move(sequences))) {}

  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    x.sequences = sequences_;
    return run(layer_, std::move(x));
  }
  Members<Scalar> members() override { return {{"", layer_}}; }
  Fields fields() const override { return Fields("Ragged").remark(layer_.name()); }

 private:
  L layer_;
  std::shared_ptr<const Sequences> sequences_;
};

/// `layer` on sequences of these lengths.
template <class L>
auto ragged(L layer, std::initializer_list<Index> lengths) {
  return Ragged<L, lamina::ScalarOf<L>>(std::move(layer), Sequences(std::span<const Index>(lengths)));
}

}  // namespace lamina::inline LAMINA_ABI::testing
