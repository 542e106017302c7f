#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <new>
#include <string>
#include <system_error>

#include "lamina/io/file.hpp"

namespace lamina::examples {

/// The main of every example: add_options says what the command line may hold (and what the subcommands do), run does
/// the work. The exit code is 0, or after an error, whose message goes to stderr, 1.
template <class Settings, class Run = void (*)(const Settings&)>
int program(
    int argc, char** argv, const char* description, void (*add_options)(CLI::App&, Settings&),
    const Run& run = [](const Settings&) {}) {
  CLI::App app(description);
  try {
    Settings settings;
    add_options(app, settings);
    app.parse(argc, argv);
    run(settings);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "out of memory\n");
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

/// Makes the folder and sees that files can be written there, before any time is spent.
inline void prepare_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  lamina::require<FileError>(!error, folder, ": cannot make the folder: ", error.message());
  AtomicFile probe(folder + "/metrics.json");
}

/// What has been written, a line each.
struct Output {
  const char* name;
  const char* what;
};
inline void print_outputs(const std::string& folder, std::initializer_list<Output> files) {
  for (const Output& file : files) std::printf("  %-36s %s\n", (folder + "/" + file.name).c_str(), file.what);
}

}  // namespace lamina::examples
