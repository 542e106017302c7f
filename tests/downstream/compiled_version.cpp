#include <cstdio>
#include <lamina/compiled/version.hpp>

// Runs where its headers and its lamina::compiled are of one version.
int main() { std::printf("headers %s, lamina::compiled %s\n", lamina::version, lamina::compiled_version()); }
