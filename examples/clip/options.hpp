#pragma once

#include <CLI/CLI.hpp>

#include "clip/settings.hpp"

namespace lamina::examples::clip {

// The subcommands, each with its options. Parsing the command line runs the one that is named.
void add_train(CLI::App& app, Settings& s);
void add_embed(CLI::App& app, Settings& s);
void add_find(CLI::App& app, Settings& s);
void add_similar(CLI::App& app, Settings& s);
void add_evaluate(CLI::App& app, Settings& s);
void add_zero_shot(CLI::App& app, Settings& s);

/// A subcommand with the options that all have.
CLI::App* add_command(CLI::App& app, Settings& s, const char* name, const char* what, void (*run)(Settings));

// Options that several have.
void add_images(CLI::App* sub, Settings& s, const char* otherwise);  ///< which images; otherwise: what is the default
void add_model(CLI::App* sub, Settings& s);
void add_split(CLI::App* sub, Settings& s);
void add_out(CLI::App* sub, Settings& s);
void add_top(CLI::App* sub, Settings& s);             ///< how many matches, and --json
CLI::Option* add_photos(CLI::App* sub, Settings& s);  ///< --images, in place of a dataset, with add_weights
void add_tokenizer(CLI::App* sub, Settings& s);       ///< of weights that are not this program's
void add_weights(CLI::App* sub, Settings& s);         ///< and what else they do not say

}  // namespace lamina::examples::clip
