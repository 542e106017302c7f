#include <doctest/doctest.h>

#include "lamina/lamina.hpp"

using namespace lamina;

TEST_CASE("the version is said as text and as numbers, and lamina::compiled is of the same") {
  CHECK(std::string(version) == text(LAMINA_VERSION_MAJOR, '.', LAMINA_VERSION_MINOR, '.', LAMINA_VERSION_PATCH));
  CHECK(std::string(compiled_version()) == version);
}
