#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/embedding.hpp"
#include "lamina/nn/positions.hpp"
#include "lamina/nn/transformer_block.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of DistilBert; the defaults are DistilBERT's.
struct DistilBertOptions {
  Index vocabulary = 30522;        ///< the number of token ids
  Index positions = 512;           ///< the longest sequence
  Index layers = 6;                ///< transformer blocks
  Index features = 768;            ///< of a token
  Index heads = 12;                ///< of the attention; they divide features
  Index hidden = 3072;             ///< of the feed-forward branches
  double dropout = 0.1;            ///< of the embeddings and behind the feed-forward branches
  double attention_dropout = 0.1;  ///< of the attention's probabilities
  std::int32_t padding_index = 0;  ///< its embedding starts as zeros and is not learned
};

/// DistilBERT (Sanh, Debut, Chaumond, Wolf 2019): BERT's encoder with half of its layers.
///
///   h = dropout(norm(word[id] + position)),   then `layers` post-norm TransformerBlocks with GELU and eps = 1e-12
///
/// Shapes: a packed batch of token ids -> the last hidden states [tokens, features]; ids [L] or [N, L], all of them
/// real tokens, -> [..., L, features]. Parameters: 66,362,880 with the options' defaults. Linear weights and embeddings
/// start from N(0, 0.02^2), biases from zeros. The state_dict keys are those of Hugging Face's DistilBertModel; see
/// distilbert_state() for checkpoints of models around it. Throws as Embedding for ids beyond the vocabulary, as
/// LearnedPositions for a sequence that is too long.
template <class Scalar = float>
class DistilBert : public Block<DistilBert<Scalar>, Scalar> {
 public:
  Embedding<Scalar> words;                       ///< of the token ids
  LearnedPositions<Scalar> positions;            ///< of the places in a sequence
  LayerNorm<Scalar> norm;                        ///< of the sum of both
  std::vector<TransformerBlock<Scalar>> blocks;  ///< in order

  /// Weights are drawn from default_random().
  explicit DistilBert(const DistilBertOptions& options = {})
      : words(options.vocabulary, options.features, {.padding_idx = options.padding_index}),
        positions(options.positions, options.features),
        norm(options.features, {.eps = eps}),
        options_(options),
        dropout_(options.dropout) {
    const TransformerBlockOptions block{
        .norm = NormPosition::post,
        .eps = eps,
        .dropout = options.dropout,
        .attention = {.dropout = options.attention_dropout,
                      .keys = {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"}},
        .keys = {"", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"}};
    for (Index i = 0; i < options.layers; ++i)
      blocks.emplace_back(options.features, options.heads, options.hidden, block);
    constexpr Scalar deviation = Scalar(0.02);
    words.weight.value *= deviation;  // they are from N(0, 1)
    positions.weight.value *= deviation;
    for (auto& b : blocks)
      for_each<Linear<Scalar>>(b, [](Linear<Scalar>& linear) {
        init::normal(linear.weight.value, 0, deviation);
        linear.bias.value.fill(0);
      });
  }

  /// Of the hidden states.
  Index features() const { return options_.features; }

  /// What flows through it, see Block.
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> ids) const {
    const int rank = ids.shape().rank();
    require<ShapeError>(ids.sequences ? rank == 1 : rank == 1 || rank == 2, *this,
                        ": expected ids [L] or [N, L], got shape ", ids.shape());
    Value<Scalar> x = run(dropout_, run(norm, run(positions, run(words, std::move(ids)))));
    for (const auto& block : blocks) x = run(block, std::move(x));
    return x;
  }

  Members<Scalar> members() override {
    Members<Scalar> result{{"embeddings.word_embeddings", words},
                           {"embeddings.position_embeddings", positions},
                           {"embeddings.LayerNorm", norm},
                           {"", dropout_}};
    for (std::size_t i = 0; i < blocks.size(); ++i)
      result.push_back({"transformer.layer." + std::to_string(i), blocks[i]});
    return result;
  }
  Fields fields() const override {
    return Fields("DistilBert")
        .field("layers", options_.layers, text(options_.layers, " layers"))
        .argument("features", options_.features)
        .argument("heads", options_.heads)
        .argument("hidden", options_.hidden);
  }

 private:
  static constexpr double eps = 1e-12;

  DistilBertOptions options_;
  Dropout<Scalar> dropout_;
};

/// What a checkpoint of a model around DistilBERT holds of DistilBERT itself: the entries "distilbert.KEY" as KEY. A
/// state without such entries is returned as it is.
template <class Scalar>
StateDict<Scalar> distilbert_state(const StateDict<Scalar>& checkpoint) {
  constexpr std::string_view prefix = "distilbert.";
  StateDict<Scalar> result;
  for (const auto& [key, value] : checkpoint)
    if (key.starts_with(prefix)) result.emplace_back(key.substr(prefix.size()), value);
  return result.empty() ? checkpoint : result;
}

}  // namespace lamina::inline LAMINA_ABI
