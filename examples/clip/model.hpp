#pragma once

#include <string>
#include <vector>

#include "clip/settings.hpp"
#include "lamina/data/captions.hpp"
#include "lamina/data/wordpiece.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/clip.hpp"

namespace lamina::examples::clip {

/// A model with its tokenizer: what model.safetensors holds.
struct Clip {
  Architecture network;
  WordPiece tokenizer;
  ClipModel<float> net;
  std::string dataset, validation, test;  // that it has learned from, and the folders of others

  PackedTokens tokens(const std::vector<std::string>& texts) const {
    const auto [ids, lengths] = tokenizer.encode(texts, network.max_length);
    return pack(ids, lengths);
  }
};

/// What the metadata of this program's models says of their format.
inline constexpr const char* format = "lamina clip 1";

/// The network with its initial weights, for that many tokens.
ClipModel<float> make_network(const Architecture& n, Index vocabulary, double dropout);

/// Writes model.safetensors.
void save(const Clip& clip, const std::string& path);

/// Whether a file holds weights that the listing ("OpenAI-CLIP") saved, converted from its best.pt.
bool is_listing(const SafetensorsFile& file);

/// Reads the file of --model: of this program, or of the listing with its vocabulary. Throws FileError if it is
/// neither.
Clip read_model(const Settings& s);

/// The embeddings [N, projection] of images, not normalised; `what` is shown beside the progress. Throws NumericalError
/// for NaN, which is like nothing and unlike nothing.
Tensor<float> embed(const Clip& clip, const CaptionDataset<float>& images, const Settings& s, const char* what);
/// Of sentences.
Tensor<float> embed(const Clip& clip, const std::vector<std::string>& texts);

}  // namespace lamina::examples::clip
