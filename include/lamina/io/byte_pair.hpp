#pragma once

#include <string>
#include <vector>

#include "lamina/data/byte_pair.hpp"
#include "lamina/io/file.hpp"

namespace lamina::inline LAMINA_ABI {

/// CLIP's tokenizer from OpenAI's bpe_simple_vocab_16e6.txt.gz, or the file without gz; see decode_clip_vocabulary.
/// Throws FileError when it cannot be read.
BytePair load_clip_vocabulary(const std::string& path, const ClipVocabularyOptions& options = {});

/// A byte-pair tokenizer from the two files of Hugging Face's: GPT-2's, or CLIP's if tokens end words with `</w>`. Both
/// may be gzip. Throws FileError, naming the file, when one cannot be read or is damaged, and when they do not belong
/// together.
BytePair load_byte_pair(const std::string& vocabulary, const std::string& merges, bool truncate = false);

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/byte_pair-inl.hpp"
#endif
