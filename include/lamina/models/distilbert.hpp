#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/embedding.hpp"
#include "lamina/nn/positions.hpp"
#include "lamina/nn/transformer_block.hpp"

namespace lamina {

struct DistilBertOptions {
  Index vocabulary = 30522;
  Index positions = 512;  ///< the longest sequence
  Index layers = 6;
  Index features = 768;
  Index heads = 12;
  Index hidden = 3072;  ///< of the feed-forward branches
  double dropout = 0.1;
  double attention_dropout = 0.1;
  std::int32_t padding_index = 0;  ///< its embedding starts as zeros and is not learned
};

/// DistilBERT (Sanh, Debut, Chaumond, Wolf 2019): BERT's encoder with half of its layers.
///
///   h = dropout(norm(word[id] + position)),   then `layers` post-norm TransformerBlocks with GELU and eps = 1e-12
///
/// Shapes: a packed batch of token ids -> the last hidden states [tokens, features]. As a Module it takes ids as
/// numbers, [L] or [N, L], all of them real tokens, to [..., L, features].
/// Parameters: 66,362,880 with the options' defaults. Linear weights and embeddings start from N(0, 0.02^2), biases
/// from zeros. The state_dict keys are those of Hugging Face's DistilBertModel; see distilbert_state() for checkpoints
/// of models around it. Throws as Embedding for ids beyond the vocabulary, as LearnedPositions for a sequence that is
/// too long.
template <class Scalar = float>
class DistilBert : public Layer<DistilBert<Scalar>, Scalar> {
 public:
  Embedding<Scalar> words;
  LearnedPositions<Scalar> positions;
  LayerNorm<Scalar> norm;
  std::vector<TransformerBlock<Scalar>> blocks;

  explicit DistilBert(const DistilBertOptions& options = {})
      : words(options.vocabulary, options.features, {.padding_index = options.padding_index}),
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

  using Module<Scalar>::infer;
  using Module<Scalar>::forward;

  Tensor<Scalar> infer(const PackedTokens& tokens) const {
    Tensor<Scalar> x = norm.infer(positions.infer(words.infer(tokens.ids), tokens.sequences));
    for (const auto& block : blocks) x = block.infer(std::move(x), tokens.sequences);
    return x;
  }
  Tensor<Scalar> forward(const PackedTokens& tokens, Tape& tape) {
    return this->recorded(tape, [&] { return run_forward(tokens, tape); });
  }

  /// Of the hidden states.
  Index features() const { return options_.features; }

  Shape output_shape(const Shape& ids) const override {
    detail::require<ShapeError>(ids.rank() == 1 || ids.rank() == 2, name(), ": expected ids [L] or [N, L], got shape ",
                                ids);
    return positions.output_shape(words.output_shape(ids));
  }
  Members<Scalar> members() override {
    Members<Scalar> result{{"embeddings.word_embeddings", &words},
                           {"embeddings.position_embeddings", &positions},
                           {"embeddings.LayerNorm", &norm},
                           {"", &dropout_}};
    for (std::size_t i = 0; i < blocks.size(); ++i)
      result.push_back({"transformer.layer." + std::to_string(i), &blocks[i]});
    return result;
  }
  std::string name() const override {
    return detail::text("DistilBert(", options_.layers, " layers, ", options_.features, ", ", options_.heads, ", ",
                        options_.hidden, ")");
  }
  Index multiply_adds(const Shape& ids) const override {
    Index total = 0;
    for (const auto& block : blocks) total += block.multiply_adds(output_shape(ids));
    return total;
  }
  void trace(const Shape& ids, const std::string& path, int depth,
             std::vector<TraceStep<Scalar>>& steps) const override {
    const Shape shape = output_shape(ids);
    const std::string prefix = path.empty() ? "" : path + ".";
    steps.push_back({path, depth, this, ids, shape});
    words.trace(ids, prefix + "embeddings.word_embeddings", depth + 1, steps);
    positions.trace(shape, prefix + "embeddings.position_embeddings", depth + 1, steps);
    norm.trace(shape, prefix + "embeddings.LayerNorm", depth + 1, steps);
    for (std::size_t i = 0; i < blocks.size(); ++i)
      blocks[i].trace(shape, prefix + "transformer.layer." + std::to_string(i), depth + 1, steps);
  }

 private:
  static constexpr double eps = 1e-12;

  PackedTokens tokens_of(const Tensor<Scalar>& x) const {
    output_shape(x.shape());
    return {detail::ids_of(name(), x).reshape({-1}), Sequences(x.rank() == 2 ? x.dim(0) : 1, x.dim(-1))};
  }
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    return infer(tokens_of(x)).reshape(output_shape(x.shape()));
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    return run_forward(tokens_of(x), tape).reshape(output_shape(x.shape()));
  }

  Tensor<Scalar> run_forward(const PackedTokens& tokens, Tape& tape) {
    Tensor<Scalar> x = words.forward(tokens.ids, tape);
    x = norm.forward(positions.forward(std::move(x), tokens.sequences, tape), tape);
    x = dropout_.forward(std::move(x), tape);
    for (auto& block : blocks) x = block.forward(std::move(x), tokens.sequences, tape);
    return x;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const Shape packed{dy.numel() / features(), features()};
    dy = std::move(dy).reshape(packed);
    const bool embeddings = trainable(words) || trainable(positions) || trainable(norm);
    std::size_t first = 0;  // the lowest block that is learned, or has something learned below
    while (!embeddings && first < blocks.size() && !trainable(blocks[first])) ++first;
    for (std::size_t i = blocks.size(); i-- > 0;) {
      if (i < first)
        blocks[i].discard(tape);
      else
        dy = blocks[i].backward(std::move(dy), tape, i == first && !embeddings ? InputGrad::skip : InputGrad::compute);
    }
    if (!embeddings) {
      dropout_.discard(tape);
      norm.discard(tape);
      positions.discard(tape);
      words.discard(tape);
      return {};
    }
    dy = norm.backward(dropout_.backward(std::move(dy), tape), tape);
    return words.backward(positions.backward(std::move(dy), tape), tape);
  }

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

}  // namespace lamina
