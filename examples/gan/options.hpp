#pragma once

#include <CLI/CLI.hpp>

#include "gan/settings.hpp"

namespace lamina::examples::gan {

// The subcommands, each with its options. Parsing the command line runs the one that is named.
void add_train(CLI::App& app, Settings& s);
void add_sample(CLI::App& app, Settings& s);
void add_interpolate(CLI::App& app, Settings& s);
void add_evaluate(CLI::App& app, Settings& s);

/// A subcommand with the options that all have.
CLI::App* add_command(CLI::App& app, Settings& s, const char* name, const char* what, void (*run)(Settings));

// Options that several have.
void add_dataset(CLI::App* sub, Settings& s);
void add_model(CLI::App* sub, Settings& s);
void add_label(CLI::App* sub, Settings& s);

}  // namespace lamina::examples::gan
