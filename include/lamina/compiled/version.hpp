#pragma once

// Classes change between versions: headers of one and a lamina::compiled of another would read each other's memory
// wrongly. A program made of both ends before main() with an error that names them.

#include "lamina/version.hpp"

namespace lamina {

/// The version of the lamina::compiled that the program is linked with, "0.1.0". Only where it is linked.
const char* compiled_version() noexcept;

namespace core_detail {

// Throws Error unless lamina::compiled is of this version. It is defined there.
bool require_compiled_version(int major, int minor, int patch);

// Once in each translation unit, as each could be compiled with other headers.
[[maybe_unused]] static const bool compiled_version_is_right =
    require_compiled_version(LAMINA_VERSION_MAJOR, LAMINA_VERSION_MINOR, LAMINA_VERSION_PATCH);

}  // namespace core_detail
}  // namespace lamina
