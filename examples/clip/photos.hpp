#pragma once

#include <string>
#include <vector>

#include "clip/encoder.hpp"
#include "lamina/io/embedding_index.hpp"

namespace lamina::examples::clip {

/// Says on stderr which images cannot be read, each with its reason, beside so many others that can.
void report_skipped(const std::vector<std::string>& skipped, Index others);

/// The images below --images as the index file has them: those that are new or have another time or size are embedded,
/// those that are gone are left out, and the file is written if anything has changed, and now and then before all is
/// done. Images that cannot be read are skipped, counted and listed. Throws FileError for --index of another model or
/// of other images, and if no image can be read.
EmbeddingIndex indexed_photos(const Encoder& encoder, const Settings& s);

/// Shows the --top images of the index that are most like each of the embeddings [N, D]; `queries` says what they are.
void show_nearest(const EmbeddingIndex& index, const Tensor<float>& embeddings, const std::vector<std::string>& queries,
                  const Settings& s);

}  // namespace lamina::examples::clip
