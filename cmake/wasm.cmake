# Debian's Emscripten (package emscripten), with node to run what it makes.
include(/usr/share/emscripten/cmake/Modules/Platform/Emscripten.cmake)
# Vectors of 128 bits; exceptions, which are how Lamina says what is wrong.
set(CMAKE_CXX_FLAGS_INIT "-msimd128 -fexceptions")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-fexceptions -sALLOW_MEMORY_GROWTH=1 -sEXIT_RUNTIME=1 -sTOTAL_STACK=1048576")
# Headers without machine code (Eigen, doctest) are this machine's.
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
# This Emscripten asks a web server for the program where there is `fetch`, which node has since version 18.
set(CMAKE_CROSSCOMPILING_EMULATOR node --no-experimental-fetch)
