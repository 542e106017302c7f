#pragma once

#include "clip/encoder.hpp"
#include "lamina/io/embedding_index.hpp"

namespace lamina::examples::clip {

/// The images below --images as the index file has them: those that are new or have another time or size are embedded,
/// those that are gone are left out, and the file is written if anything has changed. Images that cannot be read are
/// skipped, counted and listed. Throws FileError for --index of another model, and if no image can be read.
EmbeddingIndex indexed_photos(const Encoder& encoder, const Settings& s);

/// Prints what is found, or as JSON with --json, and draws matches.png.
void show_matches(const EmbeddingIndex& index, const std::vector<Neighbour>& found, const std::string& title,
                  const Settings& s);

}  // namespace lamina::examples::clip
