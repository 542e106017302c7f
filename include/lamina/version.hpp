#pragma once

// The version of these headers. It is said here alone: CMake, find_package, pkg-config and the packages read it.
//
// Versions are semantic (semver.org), for what is in namespace lamina outside detail, for CMake's targets and for the
// files that Lamina writes. PATCH mends what was wrong. MINOR adds; before 1.0 it may also change what a program must
// say, and find_package(lamina 0.1) accepts no 0.2 then. From 1.0 on only MAJOR does that.
//
// lamina::compiled and the headers of a program are of the very same version: lamina/compiled/version.hpp sees to that.

#define LAMINA_VERSION_MAJOR 0
#define LAMINA_VERSION_MINOR 1
#define LAMINA_VERSION_PATCH 0

#define LAMINA_QUOTE(text) #text
#define LAMINA_QUOTE_VERSION(major, minor, patch) LAMINA_QUOTE(major) "." LAMINA_QUOTE(minor) "." LAMINA_QUOTE(patch)

namespace lamina {

/// The version of these headers, "0.1.0". For the preprocessor: LAMINA_VERSION_MAJOR, _MINOR and _PATCH.
inline constexpr const char* version =
    LAMINA_QUOTE_VERSION(LAMINA_VERSION_MAJOR, LAMINA_VERSION_MINOR, LAMINA_VERSION_PATCH);

}  // namespace lamina

#undef LAMINA_QUOTE_VERSION
#undef LAMINA_QUOTE
